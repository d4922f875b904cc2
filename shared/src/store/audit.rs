//! The audit trail: who did what. An entry is written with its effect, never changed, and holds no secret, text, name or phone number.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::TransactWriteItem;
use serde::{Deserialize, Serialize};

use super::{Expression, Store, expression::n, keys, query::Query, read, with_key, write};
use crate::{
    error::{Error, Result},
    id::{AccountId, AuditId, ConversationId, MessageId, OrganizationId, QuarantineId, fingerprint},
    platform::Platform,
};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// An account was connected.
    Connected,
    /// An account was connected again, with the key that was stored.
    Reconnected,
    /// The API key of a connected account was replaced.
    KeyRotated,
    /// An account was disconnected.
    Disconnected,
    /// An integration was deleted.
    Deleted,
    /// Another organization has proven that the account is its own.
    AccountLost,
    /// The provider's webhook pointed elsewhere and was set to ours again.
    WebhookRepaired,
    /// The provider's webhook got a token of the current secret.
    WebhookTokenRenewed,
    /// An admin was shown the webhook token of an account.
    WebhookTokenShown,
    /// An operator took a message out of the problems.
    ProblemDismissed,
    /// An operator says that a message arrived of which nobody knows it.
    DeliveryAssumed,
    /// A reply was handed to the provider; what came of it is on the message.
    Sent,
    /// An entry of the quarantine was received again.
    Replayed,
    /// Who runs the service had an entry of the quarantine received that another organization's token had brought.
    ReplayedByService,
    /// An integration was tested.
    Tested,
    /// An internal note was written.
    NoteAdded,
    /// The status of a conversation was changed.
    StatusChanged,
    /// A conversation was assigned to somebody, or to nobody.
    Assigned,
    /// The labels of a conversation were changed.
    LabelsChanged,
    /// A message of the platform's own chatbot or telephony was recorded.
    Recorded,
    /// Somebody tried what their role may not do; told once an hour for each user and action.
    Refused,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its id; tells the time.
    pub id: AuditId,
    /// What was done.
    pub action: AuditAction,
    /// What a refused user tried to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempted: Option<AuditAction>,
    /// The user who did it; `None`: the service itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// The platform that it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<Platform>,
    /// The account that it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_id: Option<AccountId>,
    /// The conversation that it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation_id: Option<ConversationId>,
    /// The message that it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_id: Option<MessageId>,
    /// The entry of the quarantine that it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quarantine_id: Option<QuarantineId>,
}

/// How long an entry is kept: a year and a month, so that a yearly review finds the whole year. Sends are most of it, at some
/// 250 bytes each.
const TTL_SECS: i64 = 400 * 24 * 60 * 60;
/// A refused attempt is told once in so long for each user and action: who goes on trying writes no more than that.
const REFUSED_ONCE_IN_MS: i64 = 60 * 60 * 1000;
/// How many refused attempts a process remembers.
const REFUSED_MAX: usize = 1000;

impl AuditEntry {
    /// Something that is done now by a user, or by the service.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(action: AuditAction, by: Option<&str>, now_ms: i64) -> Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::internal)?;
        Ok(Self {
            id: AuditId::of(now_ms, &hex::encode(random)),
            action,
            attempted: None,
            by: by.map(str::to_owned),
            platform: None,
            account_id: None,
            conversation_id: None,
            message_id: None,
            quarantine_id: None,
        })
    }

    /// The same about an account.
    #[must_use]
    pub fn about(self, platform: Platform, account: &AccountId) -> Self {
        Self { platform: Some(platform), account_id: Some(account.clone()), ..self }
    }
}

impl Store {
    /// The write of an entry, to stand in the transaction of its effect.
    pub(super) fn audit_write(&self, organization: &OrganizationId, entry: &AuditEntry) -> Result<TransactWriteItem> {
        self.transact_put(item(organization, entry)?, &Expression::default())
    }

    /// Writes an entry beside its effect. One that is there stays as it is, so that it is harmless to repeat.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn audit(&self, organization: &OrganizationId, entry: &AuditEntry) -> Result<()> {
        let key = keys::audit(organization, &entry.id);
        self.put_if_absent(&key, item(organization, entry)?).await.map(drop)
    }

    /// Writes that a user's attempt was refused, once an hour for each user and action: a process remembers what it wrote, and the
    /// table what another one did.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn audit_refusal(
        &self,
        organization: &OrganizationId,
        user: &str,
        attempted: AuditAction,
        now_ms: i64,
    ) -> Result<()> {
        let hour = now_ms / REFUSED_ONCE_IN_MS;
        let attempt = fingerprint("refused/1", format!("{attempted:?}/{hour}/{user}").as_bytes());
        let key = keys::refusal(organization, &attempt);
        if !self.refusals.lock().is_ok_and(|mut known| remember(&mut known, format!("{}{attempt}", key.pk))) {
            return Ok(());
        }
        let mut marker = with_key(super::Item::new(), &key);
        marker.insert(keys::EXPIRES_AT.into(), n((hour + 2) * REFUSED_ONCE_IN_MS / 1000));
        let marker = self.transact_put(marker, &Expression::default().if_item_absent())?;
        let entry =
            AuditEntry { attempted: Some(attempted), ..AuditEntry::new(AuditAction::Refused, Some(user), now_ms)? };
        let writes = vec![marker, self.audit_write(organization, &entry)?];
        match self.transact(writes, |_| Error::Conflict).await {
            Ok(()) | Err(Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Up to `limit` entries before `before`, newest first, and where the next page begins.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn audit_trail(
        &self,
        organization: &OrganizationId,
        before: Option<&AuditId>,
        limit: usize,
    ) -> Result<(Vec<AuditEntry>, Option<AuditId>)> {
        let trail = Query::of(keys::audit_partition(organization)).below(before.map(AuditId::as_str));
        let items = self.query(trail.newest_first().limit(limit + 1)).await?;
        let mut entries = items.into_iter().map(read).collect::<Result<Vec<AuditEntry>>>()?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.id.clone());
        Ok((entries, next))
    }
}

/// Whether it is remembered only now.
fn remember(known: &mut HashSet<String>, attempt: String) -> bool {
    if known.len() >= REFUSED_MAX {
        known.clear();
    }
    known.insert(attempt)
}

fn item(organization: &OrganizationId, entry: &AuditEntry) -> Result<super::Item> {
    let mut item = with_key(write(entry)?, &keys::audit(organization, &entry.id));
    item.insert(keys::EXPIRES_AT.into(), n(entry.id.epoch_ms() / 1000 + TTL_SECS));
    Ok(item)
}
