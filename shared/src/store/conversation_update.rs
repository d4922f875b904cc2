//! What an operator changes on a conversation: its status, what is read, who cares for it, its labels.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    AuditAction, AuditEntry, Conversation, ConversationStatus, ReadThrough, Store, Written,
    conversation_item::{ALIAS_OF, MAX_RACES},
    expression::{Expression, n, s},
    keys,
    message::{Message, ReadMark},
    read,
};
use crate::{
    error::{Error, Result},
    id::{ConversationId, MessageId, OrganizationId},
};

/// How many labels a conversation has at most.
pub const LABELS_MAX: usize = 20;
/// Longer than a delivery is under way at the table.
const DELIVERY_MS: i64 = 60_000;

/// Who cares for a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignee {
    /// Nobody in particular.
    Nobody,
    /// This operator.
    User(String),
}

/// What an operator changes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The user who changes it, for the audit trail.
    pub by: Option<String>,
    /// Open or closed.
    pub status: Option<ConversationStatus>,
    /// Everything that came until then (epoch microseconds) is read.
    pub read_up_to: Option<i64>,
    /// This message is read, and whatever the thread shows above it.
    pub read_through: Option<MessageId>,
    /// The newest message is unread again, where nothing else is.
    pub unread: bool,
    /// Who cares.
    pub assigned_to: Option<Assignee>,
    /// Only where this is who cares until then.
    pub if_assigned_to: Option<Assignee>,
    /// Exactly these labels.
    pub labels: Option<BTreeSet<String>>,
    /// These labels beside the others.
    pub add_labels: BTreeSet<String>,
    /// The others without these labels.
    pub remove_labels: BTreeSet<String>,
}

impl Assignee {
    fn of(user: Option<&String>) -> Self {
        user.cloned().map_or(Self::Nobody, Self::User)
    }
}

impl Store {
    /// Applies what an operator changed, and returns the conversation as it is then.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`] when there is none, [`Error::AlreadyAssigned`] when somebody else than expected cares for
    /// it, [`Error::InvalidBody`] when it would have too many labels.
    pub async fn change_conversation(
        &self,
        organization: &OrganizationId,
        id: &ConversationId,
        changes: &Changes,
        now_ms: i64,
    ) -> Result<Conversation> {
        for _ in 0..MAX_RACES {
            let conversation = self.conversation(organization, id).await?.ok_or(Error::ConversationNotFound)?;
            let mut expression =
                Expression::default().set("updatedAt", n(now_ms)).if_absent(ALIAS_OF).if_exists("lastMessageKey");
            if let Some(status) = changes.status.filter(|status| *status != conversation.status) {
                let before = s(conversation.status.as_str());
                expression = expression.set("status", s(status.as_str())).if_compares("status", "=", before);
            }
            if let Some(read_up_to) = changes.read_up_to {
                // What is still on its way was not read, whatever its arrival will have been.
                let read_up_to = read_up_to.min(conversation.last_received_at.unwrap_or(0));
                let read_at = read_up_to.max(conversation.read_at.unwrap_or(0));
                expression = expression.set("readAt", n(read_at));
                if conversation.read_through.is_some_and(|through| through.until <= read_at) {
                    expression = expression.remove("readThrough");
                }
                if self.is_read(organization, &conversation, read_at, now_ms).await? {
                    expression = expression.remove("unreadFrom");
                }
            }
            if let Some(id) = &changes.read_through {
                expression = self.with_read_through(expression, organization, &conversation, id, now_ms).await?;
            }
            if changes.unread {
                expression = self.with_unread(expression, organization, &conversation).await?;
            }
            if changes.read_up_to.is_some() || changes.read_through.is_some() || changes.unread {
                expression = expression
                    .if_still("lastReceivedAt", conversation.last_received_at.map(n))
                    .if_still("unreadFrom", conversation.unread_from.as_ref().map(s));
            }
            expression = with_assignee(expression, changes, &conversation)?;
            expression = with_labels(expression, changes, &conversation)?;
            let key = keys::conversation(organization, &conversation.id);
            let entries = changes.entries(&conversation, now_ms)?;
            if entries.is_empty() {
                match self.update(&key, expression).await? {
                    Written::Done(item) => return read(item),
                    Written::Refused(_) => continue,
                }
            }
            // Both or none: a repetition finds what was done, and would tell nothing.
            let mut writes = vec![self.transact_update(&key, &expression)?];
            for entry in &entries {
                writes.push(self.audit_write(organization, entry)?);
            }
            match self.transact(writes, |_| Error::Conflict).await {
                Ok(()) => return self.get(&key).await?.ok_or(Error::ConversationNotFound),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Reads up to a message as the thread shows it: what stands there now. One query of what becomes read, one of whether
    /// anything is left.
    async fn with_read_through(
        &self,
        expression: Expression,
        organization: &OrganizationId,
        conversation: &Conversation,
        id: &MessageId,
        now_ms: i64,
    ) -> Result<Expression> {
        let partitions = conversation.partitions();
        let shown = self.message_of(organization, &partitions, id).await?.ok_or(Error::MessageNotFound)?;
        let Some(from) = &conversation.unread_from else { return Ok(expression) };
        let mark = conversation.read_mark();
        let position = (id.epoch_ms(), shown.received_at);
        // Further down something was read before: that stays read.
        let further = mark.through.filter(|known| known.position() > position);
        let end_ms = further.map_or(position.0, |known| known.at);
        let unread = self.unread_messages(organization, &partitions, from, Some(end_ms), mark, usize::MAX).await?;
        let above = |end: (i64, i64)| unread.iter().filter(move |message| message.position() <= end);
        let until = above(position).map(|message| message.received_at);
        let until = until.chain(mark.through.map(|known| known.until)).chain([shown.received_at]).max();
        let until = until.unwrap_or(shown.received_at);
        let through = match further {
            // Something that nobody was shown stands between the two: rather unread twice than never.
            Some(known) if above(known.position()).count() > above(position).count() => return Ok(expression),
            Some(known) => ReadThrough { until, ..known },
            None => ReadThrough { at: position.0, received_at: position.1, until },
        };
        let mark = ReadMark { through: Some(through), ..mark };
        let from = crate::id::time_digits(through.at).max(from.clone());
        let left = self.unread_messages(organization, &partitions, &from, None, mark, 1).await?;
        let received_at = conversation.last_received_at.unwrap_or(0);
        // What is told already may still be on its way into the table.
        let has_settled = received_at <= until.max(mark.read_at) || received_at / 1000 + DELIVERY_MS < now_ms;
        let first = left.iter().map(|message| message.id.as_str()).min();
        Ok(match first {
            None if has_settled => expression
                .set("readAt", n(received_at.max(until).max(mark.read_at)))
                .remove("readThrough")
                .remove("unreadFrom"),
            first => expression
                .set("readThrough", serde_dynamo::to_attribute_value(through).map_err(Error::internal)?)
                .set_some("unreadFrom", first.filter(|_| has_settled).map(s)),
        })
    }

    /// Makes the customer's newest message unread, where nothing is: what is unread already stays as it is.
    async fn with_unread(
        &self,
        expression: Expression,
        organization: &OrganizationId,
        conversation: &Conversation,
    ) -> Result<Expression> {
        let partitions = conversation.partitions();
        if let Some(from) = &conversation.unread_from {
            let unread =
                self.unread_messages(organization, &partitions, from, None, conversation.read_mark(), 1).await?;
            if !unread.is_empty() {
                return Ok(expression);
            }
        }
        let Some((last, _)) = self.newest(organization, &partitions, Message::is_from_customer).await? else {
            return Ok(expression);
        };
        let (at, received_at) = (last.id.epoch_ms(), last.received_at - 1);
        let until = conversation.last_received_at.unwrap_or(0).max(last.received_at);
        let through = ReadThrough { at, received_at, until };
        Ok(expression
            .set("readAt", n(received_at))
            .set("readThrough", serde_dynamo::to_attribute_value(through).map_err(Error::internal)?)
            .set("unreadFrom", s(crate::id::time_digits(at))))
    }

    /// Whether everything that came is read. `lastReceivedAt` may be later than every message: then the messages tell, once those
    /// of the latest delivery have to be there.
    async fn is_read(
        &self,
        organization: &OrganizationId,
        conversation: &Conversation,
        read_at: i64,
        now_ms: i64,
    ) -> Result<bool> {
        match (conversation.last_received_at, &conversation.unread_from) {
            (Some(received_at), Some(from)) if received_at > read_at => {
                let mark = ReadMark { read_at, ..conversation.read_mark() };
                let partitions = conversation.partitions();
                Ok(received_at / 1000 + DELIVERY_MS < now_ms
                    && self.unread_messages(organization, &partitions, from, None, mark, 1).await?.is_empty())
            }
            _ => Ok(true),
        }
    }
}

impl Changes {
    /// What the audit trail tells of them: what others see, where it differs from what is there.
    fn entries(&self, conversation: &Conversation, now_ms: i64) -> Result<Vec<AuditEntry>> {
        let Some(by) = &self.by else { return Ok(Vec::new()) };
        let assignee = Assignee::of(conversation.assigned_to.as_ref());
        let changes = [
            (AuditAction::StatusChanged, self.status.is_some_and(|status| status != conversation.status)),
            (AuditAction::Assigned, self.assigned_to.as_ref().is_some_and(|assigned| *assigned != assignee)),
            (AuditAction::LabelsChanged, self.labels_after(&conversation.labels) != conversation.labels),
        ];
        let told = changes.into_iter().filter(|(_, is_changed)| *is_changed);
        told.map(|(action, _)| {
            let entry = AuditEntry::new(action, Some(by), now_ms)?;
            Ok(AuditEntry { conversation_id: Some(conversation.id.clone()), ..entry })
        })
        .collect()
    }

    fn labels_after(&self, before: &BTreeSet<String>) -> BTreeSet<String> {
        match &self.labels {
            Some(labels) => labels.clone(),
            None => before.difference(&self.remove_labels).chain(&self.add_labels).cloned().collect(),
        }
    }
}

/// Who cares from now on. Where the change is on a condition, so is the write: of several at once, one gets it.
fn with_assignee(expression: Expression, changes: &Changes, conversation: &Conversation) -> Result<Expression> {
    let current = Assignee::of(conversation.assigned_to.as_ref());
    let expression = match &changes.if_assigned_to {
        // A repeated request finds that it has been done.
        Some(expected) if *expected == current || changes.assigned_to.as_ref() == Some(&current) => {
            expression.if_still("assignedTo", conversation.assigned_to.as_ref().map(s))
        }
        Some(_) => {
            return Err(Error::AlreadyAssigned { assigned_to: conversation.assigned_to.clone(), conversation: None });
        }
        None => expression,
    };
    let assignee = changes.assigned_to.as_ref().filter(|assignee| **assignee != current);
    let before = || conversation.assigned_to.as_ref().map(s);
    Ok(match assignee {
        Some(Assignee::User(user)) => expression.set("assignedTo", s(user)).if_still("assignedTo", before()),
        Some(Assignee::Nobody) => expression.remove("assignedTo").if_still("assignedTo", before()),
        None => expression,
    })
}

/// The labels from now on. What is added or taken away touches no other label, so that two operators at once lose none; of two who
/// do the same, one does it.
fn with_labels(expression: Expression, changes: &Changes, conversation: &Conversation) -> Result<Expression> {
    let set = |labels: &BTreeSet<String>| AttributeValue::Ss(labels.iter().cloned().collect());
    let (before, after) = (&conversation.labels, changes.labels_after(&conversation.labels));
    if !changes.add_labels.is_empty() && after.len() > LABELS_MAX {
        return Err(Error::invalid_body(format!("a conversation has at most {LABELS_MAX} labels"), "addLabels"));
    }
    let add: BTreeSet<_> = after.difference(before).cloned().collect();
    let remove: BTreeSet<_> = before.difference(&after).cloned().collect();
    Ok(match (add.is_empty(), remove.is_empty()) {
        (true, true) => expression,
        (false, true) if changes.labels.is_none() => {
            let expression = expression.add("labels", set(&add)).if_at_most("labels", LABELS_MAX - add.len());
            add.iter().fold(expression, |expression, label| expression.unless_contains("labels", s(label)))
        }
        (true, false) if changes.labels.is_none() => {
            let expression = expression.delete("labels", set(&remove));
            remove.iter().fold(expression, |expression, label| expression.if_contains("labels", s(label)))
        }
        // Exactly these, or both at once, which one expression cannot do to one set: what was read stands in for it.
        _ => {
            let labels = (!after.is_empty()).then(|| set(&after));
            let still = (!before.is_empty()).then(|| set(before));
            expression.set_or_remove("labels", labels).if_still("labels", still)
        }
    })
}
