//! Statuses of what the business sent: they only rise.

use super::{
    ExternalId, Item, Store, Written,
    expression::{Expression, n, s},
    external_id::EXTERNAL_ID,
    keys,
    message::is_message,
    problem, read,
};
use crate::{
    error::{Error, Result},
    event::ProviderError,
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
        let (change, item) = self.raise_message(organization, conversation, id, update).await?;
        if let (Some(external_id), Some(item)) = (&update.external_id, item)
            && !item.contains_key(EXTERNAL_ID)
        {
            self.name_sent(organization, external_id, &read(item)?).await?;
        }
        Ok(change)
    }

    /// The one write of it; the message as it is.
    pub(super) async fn raise_message(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &MessageId,
        update: &Update,
    ) -> Result<(Change, Option<Item>)> {
        let raise = Expression::default()
            .set("status", s(update.status.as_str()))
            .set("statusRank", n(update.status.rank()))
            .set_entry("statusHistory", update.status.as_str(), n(update.at))
            .if_compares("statusRank", "<", n(update.status.rank()));
        let raise = match &update.error {
            Some(error) => {
                raise.set("error", serde_dynamo::to_attribute_value(error.shortened()).map_err(Error::internal)?)
            }
            // A message that arrives after all has not failed.
            None => raise.remove("error"),
        };
        let raise = if update.status == Status::Failed {
            problem::listed(raise, organization, id)
        } else {
            problem::unlisted(raise)
        };
        Ok(match self.update(&keys::message(organization, conversation, id), raise).await? {
            Written::Done(item) => (Change::Raised, Some(item)),
            Written::Refused(Some(item)) if is_message(&item) => (Change::Unchanged, Some(item)),
            Written::Refused(_) => (Change::NoMessage, None),
        })
    }
}
