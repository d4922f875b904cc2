//! Sending: an idempotency key and its message are stored together before anything leaves, the outcome after.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::{
    Activity, AuditAction, AuditEntry, Conversation, Item, LastMessage, Message, MessageType, Store, Written,
    expression::{Expression, n, s},
    keys, with_key,
};
use crate::{
    content::Content,
    error::{Error, Result},
    event::{Customer, ProviderError},
    id::{ConversationId, MessageId, OrganizationId, fingerprint},
    message::{Direction, Sender, Status},
};

/// What the first answer to the sender of a message was: a repeated request gets it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The provider took it.
    Accepted,
    /// Not known.
    Unknown,
    /// The provider refused it.
    Rejected,
    /// It certainly did not leave.
    Unavailable,
}

/// A reply that goes to the customer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// What it says.
    pub text: String,
    /// The message that it answers: our id and the provider's.
    pub reply_to: Option<(MessageId, Option<String>)>,
}

/// A note that operators leave each other. No function that speaks to the provider takes one.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it says.
    pub text: String,
}

/// What came of the attempt to begin.
#[derive(Debug)]
pub enum Begun {
    /// The message is stored, and ours to send.
    New(Message),
    /// The key was used with the same body: its message as it is now.
    Before(Message),
}

/// How long an idempotency key is kept.
const KEY_TTL_SECS: i64 = 24 * 60 * 60;

/// Who sends what under which key.
struct Attempt<'a> {
    key: &'a str,
    body: String,
    message: Message,
    audit: Option<AuditEntry>,
    now_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsedKey {
    body: String,
    message_id: MessageId,
    expires_at: i64,
}

impl Reply {
    fn fingerprint(&self) -> String {
        let replied = self.reply_to.as_ref().map(|(id, _)| id.as_str()).unwrap_or_default();
        fingerprint("reply/1", format!("{replied}\n{}", self.text).as_bytes())
    }
}

impl Store {
    /// Stores a reply as `sending` under its idempotency key.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key was used with another body.
    pub async fn begin_reply(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        operator: &str,
        key: &str,
        reply: &Reply,
        now_us: i64,
    ) -> Result<Begun> {
        let message = outbound(conversation, operator, &reply.text, now_us)?;
        let message = Message {
            reply_to: reply.reply_to.as_ref().map(|(id, _)| id.clone()),
            reply_to_external: reply.reply_to.as_ref().and_then(|(_, external)| external.clone()),
            ..message.with_status(Status::Sending, now_us / 1000)
        };
        let body = reply.fingerprint();
        let audit = AuditEntry {
            conversation_id: Some(conversation.clone()),
            message_id: Some(message.id.clone()),
            ..AuditEntry::new(AuditAction::Sent, Some(operator), now_us / 1000)?
        };
        self.begin(organization, Attempt { key, body, message, audit: Some(audit), now_ms: now_us / 1000 }).await
    }

    /// Stores a note under its idempotency key.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key was used with another body.
    pub async fn begin_note(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        operator: &str,
        key: &str,
        note: &Note,
        now_us: i64,
    ) -> Result<Begun> {
        let message = outbound(conversation, operator, &note.text, now_us)?;
        let message = Message { message_type: MessageType::InternalNote, answer: Some(Answer::Accepted), ..message };
        let body = fingerprint("note/1", note.text.as_bytes());
        self.begin(organization, Attempt { key, body, message, audit: None, now_ms: now_us / 1000 }).await
    }

    /// The reply that was sent under a key before; `None` where the key is free.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when it was used with another body.
    pub async fn used_reply(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        key: &str,
        reply: &Reply,
        now_ms: i64,
    ) -> Result<Option<Message>> {
        self.used(organization, conversation, key, &reply.fingerprint(), now_ms).await
    }

    async fn used(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        key: &str,
        body: &str,
        now_ms: i64,
    ) -> Result<Option<Message>> {
        let Some(used) = self.get::<UsedKey>(&keys::idempotency(organization, conversation, key)).await? else {
            return Ok(None);
        };
        // An expired key may still stand there: DynamoDB deletes it when it gets to it.
        if used.expires_at < now_ms / 1000 {
            return Ok(None);
        }
        if used.body != body {
            return Err(Error::IdempotencyKeyReused);
        }
        let message = self.message(organization, conversation, &used.message_id).await?;
        message.map(Some).ok_or_else(|| Error::internal("an idempotency key without its message"))
    }

    async fn begin(&self, organization: &OrganizationId, attempt: Attempt<'_>) -> Result<Begun> {
        const RACES: usize = 3;
        let Attempt { key, body, message, audit, now_ms } = attempt;
        let conversation = &message.conversation_id;
        let now_secs = now_ms / 1000;
        let used = keys::idempotency(organization, conversation, key);
        let free = Expression::default().if_absent_or(keys::EXPIRES_AT, "<", n(now_secs));
        let item = Item::from([
            ("body".into(), s(&body)),
            ("messageId".into(), s(message.id.as_str())),
            (keys::EXPIRES_AT.into(), n(now_secs + KEY_TTL_SECS)),
        ]);
        let put = |item: Item, condition: &Expression| {
            let put = Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .set_condition_expression(condition.conditions())
                .set_expression_attribute_names(condition.names())
                .set_expression_attribute_values(condition.values());
            put.build().map(|put| TransactWriteItem::builder().put(put).build()).map_err(Error::internal)
        };
        let absent = Expression::default().if_item_absent();
        let message_key = keys::message(organization, conversation, &message.id);
        for _ in 0..RACES {
            let mut writes = vec![
                put(with_key(item.clone(), &used), &free)?,
                put(with_key(message.to_item(organization)?, &message_key), &absent)?,
            ];
            writes.extend(audit.iter().map(|audit| self.audit_write(organization, audit)).collect::<Result<Vec<_>>>()?);
            match self.transact(writes, |_| Error::IdempotencyKeyReused).await {
                Ok(()) => return Ok(Begun::New(message)),
                // The key is taken; or two requests with one key met, or an answer was lost: what stands there tells.
                Err(Error::IdempotencyKeyReused | Error::Unavailable(_)) => {}
                Err(error) => return Err(error),
            }
            if let Some(before) = self.used(organization, conversation, key, &body, now_ms).await? {
                // Our own attempt whose answer was lost is ours to send: nobody else can have this id.
                return Ok(if before.id == message.id { Begun::New(before) } else { Begun::Before(before) });
            }
        }
        Err(Error::Unavailable("the message could not be stored".into()))
    }

    /// Tells the conversation of a reply: it becomes the newest message of the inbox.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn record_reply(
        &self,
        organization: &OrganizationId,
        conversation: &Conversation,
        message: &Message,
        preview: String,
        now_ms: i64,
    ) -> Result<()> {
        let activity = Activity {
            conversation: conversation.id.clone(),
            also: BTreeSet::new(),
            channel: conversation.channel,
            account: conversation.account_id.clone(),
            customer: Customer::default(),
            last: LastMessage {
                id: message.id.clone(),
                text: preview,
                sender: message.sender,
                received_at: message.received_at,
            },
            last_inbound_at: None,
            last_received_at: None,
            first_inbound: None,
        };
        let recorded = self.record_activity(organization, &activity, now_ms).await?;
        self.settle_activity(organization, &activity, recorded, &activity, now_ms).await
    }

    /// Stores what came of sending. A status that came back meanwhile stays: nothing is lowered.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn finish_reply(
        &self,
        organization: &OrganizationId,
        message: &Message,
        outcome: &Outcome,
        now_ms: i64,
    ) -> Result<Message> {
        let key = keys::message(organization, &message.conversation_id, &message.id);
        let with_external = |expression: Expression| match &outcome.external_id {
            Some(id) => {
                expression.set("externalId", s(id)).set(keys::EXTERNAL_KEY, s(keys::external(organization, id)))
            }
            None => expression,
        };
        let answer = serde_dynamo::to_attribute_value(outcome.answer).map_err(Error::internal)?;
        let mut raise = with_external(Expression::default())
            .set("answer", answer)
            .set("status", s(outcome.status.as_str()))
            .set("statusRank", n(outcome.status.rank()))
            .set_entry("statusHistory", outcome.status.as_str(), n(now_ms))
            .if_compares("statusRank", "<", n(outcome.status.rank()));
        if let Some(error) = &outcome.error {
            raise = raise.set("error", serde_dynamo::to_attribute_value(error).map_err(Error::internal)?);
        }
        let item = match self.update(&key, raise).await? {
            Written::Done(item) => item,
            Written::Refused(_) => {
                let answer = serde_dynamo::to_attribute_value(outcome.answer).map_err(Error::internal)?;
                let keep = with_external(Expression::default()).set("answer", answer).if_item_exists();
                match self.update(&key, keep).await? {
                    Written::Done(item) => item,
                    Written::Refused(_) => return Err(Error::internal("a message vanished while it was sent")),
                }
            }
        };
        super::read(item)
    }
}

/// What came of sending.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What its sender is answered.
    pub answer: Answer,
    /// Where the message stands.
    pub status: Status,
    /// The provider's id, where it told one.
    pub external_id: Option<String>,
    /// Why it failed.
    pub error: Option<ProviderError>,
}

/// An outbound message of an operator, with an id that no other attempt has.
fn outbound(conversation: &ConversationId, operator: &str, text: &str, now_us: i64) -> Result<Message> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Error::internal)?;
    let id = MessageId::of(now_us / 1000, &hex::encode(random));
    let content = Content::text(text);
    let message = Message::new(id, conversation.clone(), Direction::Outbound, Sender::Operator, &content, now_us);
    Ok(Message { operator_id: Some(operator.to_owned()), ..message })
}
