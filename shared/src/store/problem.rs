//! Problems: messages that failed, or of which nobody knows whether they arrived.
//!
//! A message stands in its organization's problems from the write that stores it until the write that tells that it left; the
//! write of a failure puts it there again. So status and problem change together, and a reply whose function ended on the way
//! is found as well.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::{
    AuditAction, AuditEntry, Conversation, InboxFilter, InboxPage, Message, Partition, Store,
    expression::{Expression, n, s},
    keys,
    query::Query,
    read,
};
use crate::{
    error::{Error, Result},
    id::{MessageId, OrganizationId},
    message::{Assumed, Status},
};

/// How many messages are looked at, the newest first.
const PROBLEMS_MAX: usize = 300;
/// How many conversations are read at once.
const CONCURRENCY: usize = 16;

/// Puts a message among the problems, in the write that changes it.
pub(super) fn listed(expression: Expression, organization: &OrganizationId, id: &MessageId) -> Expression {
    expression.set(keys::INBOX_KEY, s(keys::problems(organization))).set(keys::INBOX_SORT, s(id.as_str()))
}

/// Takes a message out of the problems, in the write that changes it.
pub(super) fn unlisted(expression: Expression) -> Expression {
    expression.remove(keys::INBOX_KEY).remove(keys::INBOX_SORT)
}

impl Store {
    /// The messages that are on their way, failed, or are not known to have arrived, newest first.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn unsettled(&self, organization: &OrganizationId) -> Result<Vec<Message>> {
        let problems =
            Query::of_inbox(keys::problems(organization)).filter(Expression::default().if_absent("resentAs"));
        let items = self.query(problems.newest_first().limit(PROBLEMS_MAX)).await?;
        items.into_iter().map(read).collect()
    }

    /// Up to `limit` conversations with a problem that stand behind `after`; the newest problem comes first.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn with_problems(
        &self,
        organization: &OrganizationId,
        problems: &[&Message],
        filter: &InboxFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<InboxPage> {
        let mut known = BTreeSet::new();
        let newest = problems.iter().filter(|problem| known.insert(&problem.conversation_id));
        let newest = newest.filter(|problem| after.is_none_or(|after| problem.id.as_str() < after));
        let newest: Vec<_> = newest.map(|problem| (problem.id.clone(), problem.conversation_id.clone())).collect();
        let mut reading = stream::iter(newest)
            .map(
                |(position, id)| async move { Ok::<_, Error>((position, self.conversation(organization, &id).await?)) },
            )
            .buffered(CONCURRENCY.min(limit));
        let mut found: Vec<(MessageId, Conversation)> = Vec::new();
        while found.len() <= limit
            && let Some(read) = reading.next().await
        {
            let (position, conversation) = read?;
            found.extend(
                conversation
                    .filter(|conversation| {
                        // Two ids of a customer may lead to one conversation.
                        filter.matches(conversation) && found.iter().all(|(_, known)| known.id != conversation.id)
                    })
                    .map(|conversation| (position, conversation)),
            );
        }
        let next = if found.len() > limit {
            found.truncate(limit);
            found.last().map(|(position, _)| position.to_string())
        } else {
            None
        };
        Ok(InboxPage { conversations: found.into_iter().map(|(_, conversation)| conversation).collect(), next })
    }

    /// Takes a message out of the problems: an operator has seen it. One that has changed since it was read stays.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn dismiss(
        &self,
        organization: &OrganizationId,
        message: &Message,
        by: &str,
        now_ms: i64,
    ) -> Result<bool> {
        let still = message.status.map(|status| n(status.rank()));
        let dismiss = unlisted(Expression::default()).if_exists(keys::INBOX_KEY).if_still("statusRank", still);
        self.settle(organization, message, dismiss, AuditAction::ProblemDismissed, by, now_ms).await
    }

    /// Takes an operator's word that a message arrived, of which nobody knows it. What the provider says later wins.
    ///
    /// # Errors
    /// [`Error::MessageNotFound`]; [`Error::Conflict`] where it is known that it did not, or that it is none of ours.
    pub async fn assume_delivered(
        &self,
        organization: &OrganizationId,
        partitions: &[Partition],
        id: &MessageId,
        by: &str,
        now_ms: i64,
    ) -> Result<()> {
        let message = self.message_of(organization, partitions, id).await?.ok_or(Error::MessageNotFound)?;
        let assumed = Assumed { by: by.to_owned(), at: now_ms };
        let assumed = serde_dynamo::to_attribute_value(assumed).map_err(Error::internal)?;
        let assume = unlisted(Expression::default()).set("assumed", assumed).if_absent("assumed").if_compares(
            "statusRank",
            "<=",
            n(Status::Unknown.rank()),
        );
        if self.settle(organization, &message, assume, AuditAction::DeliveryAssumed, by, now_ms).await? {
            return Ok(());
        }
        // It was assumed before, or its status has come: then there is nothing left to assume.
        let message = self.message_of(organization, partitions, id).await?.ok_or(Error::MessageNotFound)?;
        match message.status {
            Some(Status::Failed) | None => Err(Error::Conflict),
            Some(_) => Ok(()),
        }
    }

    /// An operator's change of a message, with its entry of the audit trail; whether it was made.
    async fn settle(
        &self,
        organization: &OrganizationId,
        message: &Message,
        change: Expression,
        action: AuditAction,
        by: &str,
        now_ms: i64,
    ) -> Result<bool> {
        let entry = AuditEntry {
            conversation_id: Some(message.conversation_id.clone()),
            message_id: Some(message.id.clone()),
            ..AuditEntry::new(action, Some(by), now_ms)?
        };
        let key = keys::message(organization, &message.conversation_id, &message.id);
        let writes = vec![self.transact_update(&key, &change)?, self.audit_write(organization, &entry)?];
        match self.transact(writes, |_| Error::Conflict).await {
            Ok(()) => Ok(true),
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
