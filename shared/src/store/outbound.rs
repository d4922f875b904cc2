//! Sending: an idempotency key and its message are stored together before anything leaves, the outcome after.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    Activity, AuditAction, AuditEntry, Conversation, ExternalId, Item, LastMessage, Message, MessageType, Store,
    Written,
    expression::{Expression, n, s},
    external_id::{EXTERNAL_ID, Named},
    keys, problem, with_key,
};
use crate::{
    content::Content,
    error::{Error, Result},
    event::{Profile, ProviderError},
    http::causes,
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
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// What it says.
    pub text: String,
    /// The message that it answers: our id and the provider's.
    pub reply_to: Option<(MessageId, String)>,
    /// The message that it sends again, as it was read.
    pub resend_of: Option<Box<Message>>,
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

/// Who writes in which conversation, under which idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'a> {
    /// The conversation as the request names it: an id that has become an alias stays the one that the key was used on.
    pub conversation: &'a ConversationId,
    /// The operator.
    pub operator: &'a str,
    /// The idempotency key, the request's or a new one.
    pub key: &'a str,
}

/// What is written under which key, and what it is to the inbox.
struct Attempt<'a> {
    writing: Writing<'a>,
    body: String,
    message: Message,
    audit: AuditEntry,
    news: Option<Activity>,
    resend_of: Option<Box<Message>>,
    now_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsedKey {
    body: String,
    message_id: MessageId,
    /// Where the message is, when not under the conversation of the key.
    #[serde(default)]
    conversation_id: Option<ConversationId>,
    expires_at: i64,
}

impl Reply {
    fn fingerprint(&self) -> String {
        let replied = self.reply_to.as_ref().map(|(id, _)| id.as_str()).unwrap_or_default();
        match &self.resend_of {
            None => fingerprint("reply/1", format!("{replied}\n{}", self.text).as_bytes()),
            Some(first) => fingerprint("resend/1", format!("{}\n{replied}\n{}", first.id, self.text).as_bytes()),
        }
    }
}

impl Store {
    /// Stores a reply as `sending` under its idempotency key, and makes it the newest message of its conversation: both or none,
    /// since a function may end at any moment and nobody would tell the inbox later.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key was used with another body, [`Error::NotResendable`] when the message that it
    /// sends again has been sent again, or has been heard of, meanwhile.
    pub async fn begin_reply(
        &self,
        organization: &OrganizationId,
        conversation: &Conversation,
        writing: Writing<'_>,
        reply: &Reply,
        now_us: i64,
    ) -> Result<Begun> {
        let message = outbound(conversation, writing, &reply.text, now_us)?;
        let message = Message {
            reply_to: reply.reply_to.as_ref().map(|(id, _)| id.clone()),
            reply_to_external: reply.reply_to.as_ref().map(|(_, external)| external.clone()),
            resend_of: reply.resend_of.as_ref().map(|first| first.id.clone()),
            ..message.with_status(Status::Sending, now_us / 1000)
        };
        let news = Some(reply_activity(conversation, &message));
        let body = reply.fingerprint();
        let audit = written(AuditAction::Sent, writing, &message, now_us / 1000)?;
        let resend_of = reply.resend_of.clone();
        let attempt = Attempt { writing, body, message, audit, news, resend_of, now_ms: now_us / 1000 };
        self.begin(organization, attempt).await
    }

    /// Stores a note under its idempotency key.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key was used with another body.
    pub async fn begin_note(
        &self,
        organization: &OrganizationId,
        conversation: &Conversation,
        writing: Writing<'_>,
        note: &Note,
        now_us: i64,
    ) -> Result<Begun> {
        let message = outbound(conversation, writing, &note.text, now_us)?;
        let message = Message { message_type: MessageType::InternalNote, answer: Some(Answer::Accepted), ..message };
        let body = fingerprint("note/1", note.text.as_bytes());
        let audit = written(AuditAction::NoteAdded, writing, &message, now_us / 1000)?;
        let (news, resend_of) = (None, None);
        let attempt = Attempt { writing, body, message, audit, news, resend_of, now_ms: now_us / 1000 };
        self.begin(organization, attempt).await
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
        let partition = used.conversation_id.as_ref().unwrap_or(conversation);
        let message = self.message(organization, partition, &used.message_id).await?;
        message.map(Some).ok_or_else(|| Error::internal("an idempotency key without its message"))
    }

    async fn begin(&self, organization: &OrganizationId, attempt: Attempt<'_>) -> Result<Begun> {
        const RACES: usize = 4;
        /// The position of the conversation's write.
        const NEWS: usize = 2;
        let Attempt { writing, body, message, audit, news, resend_of, now_ms } = attempt;
        let Writing { conversation, key, .. } = writing;
        let now_secs = now_ms / 1000;
        let used = keys::idempotency(organization, conversation, key);
        let free = Expression::default().if_absent_or(keys::EXPIRES_AT, "<", n(now_secs));
        let item = Item::from([
            ("body".into(), s(&body)),
            ("messageId".into(), s(message.id.as_str())),
            ("conversationId".into(), s(message.conversation_id.as_str())),
            (keys::EXPIRES_AT.into(), n(now_secs + KEY_TTL_SECS)),
        ]);
        let absent = Expression::default().if_item_absent();
        let message_key = keys::message(organization, &message.conversation_id, &message.id);
        let mut stored = with_key(message.to_item()?, &message_key);
        if message.status == Some(Status::Sending) {
            // Among the problems until it is known to have left: a function may end at any moment.
            stored.insert(keys::INBOX_KEY.into(), s(keys::problems(organization)));
            stored.insert(keys::INBOX_SORT.into(), s(message.id.as_str()));
        }
        let resend = match &resend_of {
            Some(first) => {
                let resent = problem::unlisted(Expression::default())
                    .set("resentAs", s(message.id.as_str()))
                    .if_absent("resentAs")
                    .if_absent("assumed")
                    .if_still("statusRank", first.status.map(|status| n(status.rank())));
                let key = keys::message(organization, &first.conversation_id, &first.id);
                Some(self.transact_update(&key, &resent)?)
            }
            None => None,
        };
        let mut telling = match &news {
            Some(news) => {
                let (key, news) = self.news(organization, news, now_ms);
                Some(self.transact_update(&key, &news)?)
            }
            None => None,
        };
        for _ in 0..RACES {
            let mut writes = vec![
                self.transact_put(with_key(item.clone(), &used), &free)?,
                self.transact_put(stored.clone(), &absent)?,
            ];
            writes.extend(telling.clone());
            writes.push(self.audit_write(organization, &audit)?);
            writes.extend(resend.clone());
            let last = writes.len() - 1;
            let refused = |position| match (position, &resend_of) {
                (NEWS, _) if telling.is_some() => Error::Conflict,
                (position, Some(first)) if position == last => {
                    Error::NotResendable { message_id: first.id.to_string() }
                }
                _ => Error::IdempotencyKeyReused,
            };
            match self.transact(writes, refused).await {
                Ok(()) => {
                    if let (Some(news), None) = (&news, &telling) {
                        self.catch_up(organization, news, now_ms).await;
                    }
                    return Ok(Begun::New(message));
                }
                // The conversation knows something newer, or has become part of another: that is for afterwards.
                Err(Error::Conflict) => {
                    telling = None;
                    continue;
                }
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

    /// Tells a conversation of a reply that is no news, or not in that place. The reply is stored and has to leave: that this fails
    /// only leaves an older one in the inbox until the next message.
    async fn catch_up(&self, organization: &OrganizationId, activity: &Activity, now_ms: i64) {
        let told = async {
            let recorded = self.record_activity(organization, activity, now_ms).await?;
            self.settle_activity(organization, activity, recorded, activity, now_ms).await.map(drop)
        };
        if let Err(error) = told.await {
            warn!("the inbox was not told of a reply: {}", causes(&error));
        }
    }

    /// The external id, where it names the message now. The message has left, whatever becomes of that: a status or an echo will
    /// tell the id once more.
    async fn named<'a>(
        &self,
        organization: &OrganizationId,
        external_id: &'a ExternalId,
        message: &Message,
    ) -> Option<(&'a ExternalId, Named)> {
        match self.name(organization, external_id, message).await {
            Ok(named) => named.is(message).then_some((external_id, named)),
            Err(error) => {
                warn!("what the provider calls a reply was not stored: {}", causes(&error));
                None
            }
        }
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
        // Before the message says it: what says its external id is always found by it.
        let external_id = match &outcome.external_id {
            Some(external_id) => self.named(organization, external_id, message).await,
            None => None,
        };
        let with_external = |expression: Expression| {
            expression.set_some(EXTERNAL_ID, external_id.as_ref().map(|(external_id, _)| s(&external_id.id)))
        };
        let answer = serde_dynamo::to_attribute_value(outcome.answer).map_err(Error::internal)?;
        let mut raise = with_external(Expression::default())
            .set("answer", answer)
            .set("status", s(outcome.status.as_str()))
            .set("statusRank", n(outcome.status.rank()))
            .set_entry("statusHistory", outcome.status.as_str(), n(now_ms))
            .if_compares("statusRank", "<", n(outcome.status.rank()));
        if outcome.status == Status::Accepted {
            raise = problem::unlisted(raise);
        }
        if let Some(error) = &outcome.error {
            raise = raise.set("error", serde_dynamo::to_attribute_value(error.shortened()).map_err(Error::internal)?);
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
        if let Some((external_id, Named { has_pending: true, .. })) = &external_id {
            let place = (message.conversation_id.clone(), message.id.clone());
            if let Err(error) = Box::pin(self.apply_pending(organization, external_id, &place)).await {
                warn!("what was told of a reply before its answer was not applied: {}", causes(&error));
            }
        }
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
    /// What the provider calls it, where it told that.
    pub external_id: Option<ExternalId>,
    /// Why it failed.
    pub error: Option<ProviderError>,
}

/// That an operator wrote a message.
fn written(action: AuditAction, writing: Writing<'_>, message: &Message, now_ms: i64) -> Result<AuditEntry> {
    Ok(AuditEntry {
        conversation_id: Some(writing.conversation.clone()),
        message_id: Some(message.id.clone()),
        ..AuditEntry::new(action, Some(writing.operator), now_ms)?
    })
}

/// An outbound message of an operator, with an id that no other attempt has.
fn outbound(conversation: &Conversation, writing: Writing<'_>, text: &str, now_us: i64) -> Result<Message> {
    let Writing { conversation: name, operator, .. } = writing;
    let partition = conversation.outbound_partition(name);
    let id = MessageId::of(now_us / 1000, &unique_name()?);
    let content = Content::text(text);
    let message = Message::new(id, partition, Direction::Outbound, Sender::Operator, &content, now_us);
    Ok(Message { operator_id: Some(operator.to_owned()), ..message })
}

/// A name that nobody else has: of a new message, and the idempotency key of a request that brought none.
///
/// # Errors
/// When the system has no randomness.
pub fn unique_name() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Error::internal)?;
    Ok(hex::encode(random))
}

/// What a reply is to the inbox: the newest message, which opens nothing and leaves nothing unread.
fn reply_activity(conversation: &Conversation, message: &Message) -> Activity {
    Activity {
        conversation: conversation.id.clone(),
        also: BTreeSet::new(),
        channel: conversation.channel,
        account: conversation.account_id.clone(),
        customer: Profile::default(),
        last: LastMessage {
            id: message.id.clone(),
            shown: message.id.clone(),
            text: message.preview(),
            sender: message.sender,
            received_at: message.received_at,
        },
        last_inbound_at: None,
        last_received_at: None,
        last_received: None,
        first_inbound: None,
        is_addressed: true,
    }
}
