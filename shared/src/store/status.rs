//! Statuses of what the business sent: they only rise, and none is lost when it comes before its message.

use serde::Deserialize;

use super::{
    ExternalId, Item, Store, Written,
    expression::{Expression, n, s},
    external_id::EXTERNAL_ID,
    fault, keys,
    message::is_message,
    read,
};
use crate::{
    error::{Error, Result},
    event::{ProviderError, StatusChange},
    id::{ConversationId, MessageId, OrganizationId},
    message::Status,
};

/// What a status changes on a message.
#[derive(Clone, Debug)]
pub struct Update {
    /// The new status.
    pub status: Status,
    /// When, epoch milliseconds.
    pub at: i64,
    /// What the provider calls the message, where that may not be known yet.
    pub external_id: Option<ExternalId>,
    /// Why it failed.
    pub error: Option<ProviderError>,
}

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The message rose.
    Raised,
    /// It was as high or higher already.
    Unchanged,
    /// There is no such message.
    NoMessage,
}

/// What became of a status that is addressed by the provider's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its message is known.
    Applied(Change),
    /// Its message is not known yet: kept until it comes.
    Parked,
}

/// How long a status waits for its message: longer than the provider repeats a delivery.
const PARKED_TTL_SECS: i64 = 8 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParkedStatus {
    status: Status,
    at: i64,
    error: Option<ProviderError>,
}

impl Store {
    /// Raises a message's status, never to a lower one: one write, and two more where the provider tells for the first time what it
    /// calls the message.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn raise_status(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &MessageId,
        update: &Update,
    ) -> Result<Change> {
        let raise = Expression::default()
            .set("status", s(update.status.as_str()))
            .set("statusRank", n(update.status.rank()))
            .set_entry("statusHistory", update.status.as_str(), n(update.at))
            .if_compares("statusRank", "<", n(update.status.rank()));
        let raise = match &update.error {
            Some(error) => raise.set("error", serde_dynamo::to_attribute_value(error).map_err(Error::internal)?),
            // A message that arrives after all has not failed.
            None => raise.remove("error"),
        };
        let (change, item) = match self.update(&keys::message(organization, conversation, id), raise).await? {
            Written::Done(item) => (Change::Raised, item),
            Written::Refused(Some(item)) if is_message(&item) => (Change::Unchanged, item),
            Written::Refused(_) => return Ok(Change::NoMessage),
        };
        if let Some(external_id) = &update.external_id
            && !item.contains_key(EXTERNAL_ID)
        {
            self.name_sent(organization, external_id, &read(item)?).await?;
        }
        Ok(change)
    }

    /// Raises the status of the message that the provider calls so; parks it where that is not known yet.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn raise_status_by_external_id(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        change: &StatusChange,
        now_ms: i64,
    ) -> Result<Settled> {
        let at = change.timestamp.unwrap_or(now_ms);
        let update = Update { status: change.status, at, external_id: None, error: change.error.clone() };
        if let Some((conversation, id)) = self.message_by_external_id(organization, external_id).await? {
            return Ok(Settled::Applied(self.raise_status(organization, &conversation, &id, &update).await?));
        }
        let mut item = Item::from([
            ("status".into(), s(change.status.as_str())),
            ("at".into(), n(at)),
            (keys::EXPIRES_AT.into(), n(now_ms / 1000 + PARKED_TTL_SECS)),
        ]);
        if let Some(error) = &change.error {
            item.insert("error".into(), serde_dynamo::to_attribute_value(error).map_err(Error::internal)?);
        }
        self.put_if_absent(&keys::parked(organization, external_id, change.status.as_str()), item).await?;
        // The message may have come between the look-up and the put.
        match self.message_by_external_id(organization, external_id).await? {
            Some((conversation, id)) => {
                Ok(Settled::Applied(self.raise_status(organization, &conversation, &id, &update).await?))
            }
            None => Ok(Settled::Parked),
        }
    }

    /// Applies what was parked for a message whose provider's id has just become known.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn apply_parked(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &MessageId,
        external_id: &ExternalId,
    ) -> Result<()> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk AND begins_with(#sk, :status)")
            .expression_attribute_names("#pk", keys::PK)
            .expression_attribute_names("#sk", keys::SK)
            .expression_attribute_values(":pk", s(keys::external(organization, external_id).pk))
            .expression_attribute_values(":status", s(keys::STATUS_PREFIX))
            .send()
            .await
            .map_err(|error| fault("Query", &error))?;
        for item in output.items.unwrap_or_default() {
            let parked: ParkedStatus = read(item)?;
            let update = Update { status: parked.status, at: parked.at, external_id: None, error: parked.error };
            self.raise_status(organization, conversation, id, &update).await?;
        }
        Ok(())
    }
}
