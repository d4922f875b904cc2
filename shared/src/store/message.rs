//! Messages: what stands in a thread.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Item, Partition, ReadThrough, Store, Stored, Written,
    expression::{Expression, n, s},
    keys,
    query::Query,
    read, write,
};
use crate::{
    content::{Content, ContentType, REASON, truncate},
    error::{Error, Result},
    event::{Party, ProviderError},
    id::{ConversationId, MessageId, OrganizationId, time_digits},
    message::{Assumed, Direction, Sender, Standing, Status},
};

/// A message, or a note that operators leave each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    /// Goes to the customer, or came from them.
    Message,
    /// Never leaves the house.
    InternalNote,
}

/// A party's reaction to a message. `emoji` is `None` where it was taken back: kept, so that an older one that comes late
/// does not return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionEntry {
    /// The emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// When, epoch milliseconds.
    pub at: i64,
    /// The provider's ids of what happened at that time.
    pub ids: Vec<String>,
}

/// A message of a thread, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id; tells the time that it is sorted by.
    pub id: MessageId,
    /// The conversation that it is stored under.
    pub conversation_id: ConversationId,
    /// Which way it went.
    pub direction: Direction,
    /// Who wrote it.
    pub sender: Sender,
    /// The operator who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_id: Option<String>,
    /// Message or note.
    #[serde(rename = "type")]
    pub message_type: MessageType,
    /// The kind of content.
    pub content_type: ContentType,
    /// What a person reads in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The typed parts as JSON text: the table would refuse what a customer can put into a number or a depth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The provider's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The provider's id of the message that it replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_external: Option<String>,
    /// Our id of the message that it replies to, where an operator chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// By party.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<String, ReactionEntry>,
    /// When it was last edited, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<i64>,
    /// When it was unsent, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
    /// When it came to us, epoch microseconds: unique within a delivery, and the order within one second.
    pub received_at: i64,
    /// Where an outbound one stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// [`Status::rank`] of it, for conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_rank: Option<u8>,
    /// When it reached each status, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_history: Option<BTreeMap<String, i64>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ProviderError>,
    /// What the first answer to its sender was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<super::outbound::Answer>,
    /// The message that it sends again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resend_of: Option<MessageId>,
    /// The message that it was sent again as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent_as: Option<MessageId>,
    /// Who says that it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Assumed>,
}

/// A message that is still `sending` after this long was left by a function that ended: whether it left is not known.
const SENDING_MAX_MS: i64 = 30_000;
/// A message of which nothing was heard for this long will hardly be heard of any more.
const UNCONFIRMED_AFTER_MS: i64 = 120_000;

/// The largest page of messages, in bytes of the answer: Lambda takes 6 MB, of which the page's frame needs little.
const PAGE_MAX_BYTES: usize = 5 * 1024 * 1024;

/// What a message costs in an answer beside what is counted: ids, times and the names of the fields.
const FRAME_BYTES: usize = 2048;

/// How many reactions of one time are told apart.
const REACTIONS_OF_A_TIME: usize = 50;

impl ReactionEntry {
    /// What stands there once this one has come as well: the newest, and of one time the one that came last.
    fn after(&self, current: Option<Self>) -> Self {
        match current {
            Some(current) if current.at > self.at => current,
            Some(current) if current.at == self.at => {
                if self.ids.iter().all(|id| current.ids.contains(id)) {
                    return current;
                }
                let mut ids = [current.ids, self.ids.clone()].concat();
                ids.drain(..ids.len().saturating_sub(REACTIONS_OF_A_TIME));
                Self { ids, ..self.clone() }
            }
            _ => self.clone(),
        }
    }
}

/// How often a change that lost a race is tried again.
const RACES: usize = 8;
/// The largest text and content of one item; DynamoDB takes 400 KB.
const CONTENT_MAX_BYTES: usize = 150_000;

impl Message {
    /// A message with what every message has.
    #[must_use]
    pub fn new(
        id: MessageId,
        conversation_id: ConversationId,
        direction: Direction,
        sender: Sender,
        content: &Content,
        received_at: i64,
    ) -> Self {
        Self {
            id,
            conversation_id,
            direction,
            sender,
            operator_id: None,
            message_type: MessageType::Message,
            content_type: content.content_type,
            text: stored_text(content),
            content: stored_parts(&content.parts),
            external_id: None,
            reply_to_external: None,
            reply_to: None,
            reactions: BTreeMap::new(),
            edited_at: None,
            deleted_at: None,
            received_at,
            status: None,
            status_rank: None,
            status_history: None,
            error: None,
            answer: None,
            resend_of: None,
            resent_as: None,
            assumed: None,
        }
    }

    /// Whether something of the content did not fit and was left out.
    #[must_use]
    pub fn fits(content: &Content) -> bool {
        let parts = serde_json::to_string(&content.parts).map_or(0, |parts| parts.len());
        parts <= CONTENT_MAX_BYTES && content.text.as_ref().is_none_or(|text| text.len() <= CONTENT_MAX_BYTES)
    }

    /// Whether the customer wrote it.
    #[must_use]
    pub fn is_from_customer(&self) -> bool {
        self.direction == Direction::Inbound && self.sender == Sender::Customer
    }

    /// The same message in a status.
    #[must_use]
    pub fn with_status(self, status: Status, at: i64) -> Self {
        let history = BTreeMap::from([(status.as_str().to_owned(), at)]);
        Self { status: Some(status), status_rank: Some(status.rank()), status_history: Some(history), ..self }
    }

    /// Where an outbound one stands now.
    #[must_use]
    pub fn standing(&self, now_ms: i64) -> Option<Standing> {
        let age_ms = now_ms - self.id.epoch_ms();
        self.status.map(|status| match status {
            Status::Sending | Status::Unknown if self.assumed.is_some() => Standing::Assumed,
            Status::Sending | Status::Unknown if age_ms > UNCONFIRMED_AFTER_MS => Standing::Unconfirmed,
            Status::Sending if age_ms > SENDING_MAX_MS => Standing::Told(Status::Unknown),
            status => Standing::Told(status),
        })
    }

    /// It failed, or may not have arrived, and nobody has sent it again.
    #[must_use]
    pub fn is_problem(&self, now_ms: i64) -> bool {
        self.resent_as.is_none() && self.standing(now_ms).is_some_and(Standing::is_problem)
    }

    /// What the inbox shows of it, as it is now.
    #[must_use]
    pub fn preview(&self) -> String {
        if self.deleted_at.is_some() {
            return "Message unsent".into();
        }
        Content { content_type: self.content_type, text: self.text.clone(), parts: self.parts() }.preview()
    }

    /// How many bytes it takes in an answer, at most.
    fn answer_bytes(&self) -> usize {
        let error = self.error.iter().flat_map(|error| [&error.code, &error.title].into_iter().chain(&error.details));
        let emoji = self.reactions.values().filter_map(|reaction| reaction.emoji.as_ref());
        let texts = self.text.iter().chain(&self.reply_to_external).chain(&self.operator_id).chain(error).chain(emoji);
        // Text is escaped twice: it stands in the JSON of the body, and that in the JSON that Lambda is given.
        let text_bytes: usize = texts.map(|text| escaped_bytes(text, 7, 4)).sum();
        let parts_bytes = self.content.as_ref().map_or(0, |parts| escaped_bytes(parts, 6, 2));
        FRAME_BYTES + text_bytes + parts_bytes
    }

    fn parts(&self) -> Map<String, Value> {
        self.content.as_deref().and_then(|parts| serde_json::from_str(parts).ok()).unwrap_or_default()
    }

    /// The same message after an edit: what that tells is new, and only that. An edit whose content did not come tells the
    /// reason.
    fn edited(&self, content: &Content, at: i64) -> Self {
        // What could not be shown before is replaced as a whole.
        let replaced = self.content_type == ContentType::Unsupported && content.tells_something();
        let mut parts = if replaced { Map::new() } else { self.parts() };
        parts.remove(REASON);
        parts.extend(content.parts.clone());
        Self {
            content_type: if replaced { content.content_type } else { self.content_type },
            text: stored_text(content).or_else(|| self.text.clone()),
            content: stored_parts(&parts),
            edited_at: Some(at),
            ..self.clone()
        }
    }

    pub(super) fn to_item(&self) -> Result<Item> {
        write(self)
    }
}

/// The length of a text in which a control character takes so many bytes, and a quote or a backslash so many.
fn escaped_bytes(text: &str, control: usize, quote: usize) -> usize {
    let bytes = |byte| match byte {
        0..=0x1F => control,
        b'"' | b'\\' => quote,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

/// Where the sort keys of a partition's messages begin and end.
fn bounds(partition: &Partition) -> (String, String) {
    let key =
        |time: Option<i64>, all: &str| format!("{}{}", keys::MESSAGE_PREFIX, time.map_or(all.into(), time_digits));
    (key(partition.from, ""), key(partition.until, "~"))
}

/// How many of the messages fit into one answer, at least one.
fn fitting(messages: &[Message]) -> usize {
    let sizes = messages.iter().scan(0, |total, message| {
        *total += message.answer_bytes();
        Some(*total)
    });
    sizes.take_while(|total| *total <= PAGE_MAX_BYTES).count().max(1)
}

/// The text, as far as it fits.
fn stored_text(content: &Content) -> Option<String> {
    content.text.as_deref().map(|text| truncate(text, CONTENT_MAX_BYTES))
}

/// The parts as JSON text, where there are some and they fit.
fn stored_parts(parts: &Map<String, Value>) -> Option<String> {
    let parts = if parts.is_empty() { None } else { serde_json::to_string(parts).ok() };
    parts.filter(|parts| parts.len() <= CONTENT_MAX_BYTES)
}

/// What of a conversation was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadMark {
    /// What came until then, epoch microseconds.
    pub read_at: i64,
    /// What stands in the thread up to there.
    pub through: Option<ReadThrough>,
}

impl ReadMark {
    /// Demands a message of the customer that is not read.
    fn unread_only(&self) -> Expression {
        let expression = Expression::default()
            .if_compares("direction", "=", s("inbound"))
            .if_compares("sender", "=", s("customer"))
            .if_compares("receivedAt", ">", n(self.read_at));
        match self.through {
            None => expression,
            Some(ReadThrough { at, received_at, until }) => expression.if_behind(
                ("id", s(time_digits(at)), s(time_digits(at + 1))),
                ("receivedAt", n(received_at), n(until)),
            ),
        }
    }
}

/// A message that nobody has read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadMessage {
    /// Its id.
    pub id: MessageId,
    /// When it came to us, epoch microseconds.
    pub received_at: i64,
}

impl UnreadMessage {
    /// Where it stands in the thread.
    #[must_use]
    pub fn position(&self) -> (i64, i64) {
        (self.id.epoch_ms(), self.received_at)
    }
}

/// What became of a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whether it came for the first time.
    pub stored: Stored,
    /// The conversation that it is stored under: where it came to first.
    pub conversation: ConversationId,
    /// Its id: of the time that was told first.
    pub id: MessageId,
    /// When it came for the first time, epoch microseconds.
    pub received_at: i64,
    /// Something was told of it before it came, and has still to be applied.
    pub(super) has_pending: bool,
}

impl Received {
    /// Whether it is stored as it was told.
    pub(super) fn is(&self, message: &Message) -> bool {
        self.conversation == message.conversation_id && self.id == message.id
    }
}

impl Store {
    /// When a message whose time is unusable or not its own was first seen: the same answer however often it comes.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn first_seen(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        external_id: &str,
        now_ms: i64,
    ) -> Result<i64> {
        let key = keys::first_seen(organization, conversation, external_id);
        let existing = self.put_if_absent(&key, Item::from([("at".into(), n(now_ms))])).await?;
        Ok(existing.and_then(|item| number(&item, "at")).unwrap_or(now_ms))
    }

    /// One message.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn message(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &MessageId,
    ) -> Result<Option<Message>> {
        let item = self.get_item(&keys::message(organization, conversation, id)).await?;
        item.filter(is_message).map(read).transpose()
    }

    /// One message of a conversation, wherever its partitions hold it.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn message_of(
        &self,
        organization: &OrganizationId,
        partitions: &[Partition],
        id: &MessageId,
    ) -> Result<Option<Message>> {
        for partition in partitions.iter().filter(|partition| partition.contains(id.epoch_ms())) {
            if let Some(message) = self.message(organization, &partition.id, id).await? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The newest of the messages that count, and the highest id of those of its time.
    pub(super) async fn newest(
        &self,
        organization: &OrganizationId,
        partitions: &[Partition],
        counts: impl Fn(&Message) -> bool,
    ) -> Result<Option<(Message, MessageId)>> {
        const PAGE: usize = 50;
        let mut before = None;
        loop {
            let (messages, next) = self.messages(organization, partitions, before.as_ref(), PAGE).await?;
            if let Some(newest) = messages.iter().find(|message| counts(message)) {
                let of_its_time = messages.iter().filter(|other| other.id.epoch_ms() == newest.id.epoch_ms());
                let highest = of_its_time.filter(|other| counts(other)).map(|other| &other.id).max();
                return Ok(highest.map(|highest| (newest.clone(), highest.clone())));
            }
            if next.is_none() {
                return Ok(None);
            }
            before = next;
        }
    }

    /// Up to `limit` messages of a conversation that are older than `before`, newest first, as many as fit into one answer; and
    /// the last of them, where there are more.
    /// Messages of the same millisecond (`WhatsApp` tells whole seconds) stand in the order of their arrival, and are only
    /// split over two pages when they alone fill one.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn messages(
        &self,
        organization: &OrganizationId,
        partitions: &[Partition],
        before: Option<&MessageId>,
        limit: usize,
    ) -> Result<(Vec<Message>, Option<MessageId>)> {
        let pages = partitions.iter().map(|partition| self.partition(organization, partition, before, limit + 1));
        let pages = futures_util::future::try_join_all(pages).await?;
        let mut messages: Vec<Message> = pages.into_iter().flatten().collect();
        messages.sort_by(|a, b| b.id.cmp(&a.id));
        let most = fitting(&messages).min(limit);
        let next = if messages.len() > most {
            let cut_ms = messages[most].id.epoch_ms();
            let whole = messages[..most].iter().rposition(|message| message.id.epoch_ms() != cut_ms);
            messages.truncate(whole.map_or(most, |last| last + 1));
            messages.last().map(|message| message.id.clone())
        } else {
            None
        };
        messages.sort_by_key(|message| std::cmp::Reverse((message.id.epoch_ms(), message.received_at)));
        Ok((messages, next))
    }

    async fn partition(
        &self,
        organization: &OrganizationId,
        partition: &Partition,
        before: Option<&MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let (lowest, end) = bounds(partition);
        let highest = before.map_or_else(|| end.clone(), |id| end.clone().min(format!("{}{id}", keys::MESSAGE_PREFIX)));
        let mut messages = Vec::new();
        if lowest > highest {
            return Ok(messages);
        }
        let query = Query::of(keys::conversation_partition(organization, &partition.id));
        let query = query.between(lowest, highest).newest_first();
        let mut pages = self.pages(query.limit(limit + usize::from(before.is_some())));
        // What does not fit into the answer need not be read: these alone fill it.
        while messages.len() < limit
            && fitting(&messages) >= messages.len()
            && let Some(items) = pages.next().await?
        {
            for item in items.into_iter().filter(is_message) {
                let message: Message = read(item)?;
                if Some(&message.id) != before {
                    messages.push(message);
                }
            }
        }
        messages.truncate(limit);
        Ok(messages)
    }

    /// The customer's messages that are unread, from the message `from` on, and up to those of a millisecond; of each partition
    /// `most` of the oldest.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn unread_messages(
        &self,
        organization: &OrganizationId,
        partitions: &[Partition],
        from: &str,
        until_ms: Option<i64>,
        mark: ReadMark,
        most: usize,
    ) -> Result<Vec<UnreadMessage>> {
        const PAGE: usize = 100;
        let lowest = format!("{}{from}", keys::MESSAGE_PREFIX);
        let highest = until_ms.map_or_else(|| "~".to_owned(), |ms| time_digits(ms + 1));
        let highest = format!("{}{highest}", keys::MESSAGE_PREFIX);
        let mut unread = Vec::new();
        for partition in partitions {
            let (first, end) = bounds(partition);
            let (lowest, highest) = (first.max(lowest.clone()), end.min(highest.clone()));
            if lowest > highest {
                continue;
            }
            let before = unread.len();
            let query = Query::of(keys::conversation_partition(organization, &partition.id)).eventually_consistent();
            let query = query.between(lowest, highest).filter(mark.unread_only());
            let mut pages = self.pages(query.only(&["id", "receivedAt"]).limit(PAGE));
            while unread.len() - before < most
                && let Some(items) = pages.next().await?
            {
                unread.extend(items.into_iter().map(read).collect::<Result<Vec<_>>>()?);
            }
            unread.truncate(before.saturating_add(most));
        }
        Ok(unread)
    }

    /// Applies reactions to a message, of each party the newest.
    pub(super) async fn react(
        &self,
        organization: &OrganizationId,
        mut message: Message,
        reactions: &[(Party, ReactionEntry)],
    ) -> Result<Stored> {
        let key = keys::message(organization, &message.conversation_id, &message.id);
        let attribute = |map: &BTreeMap<String, ReactionEntry>| {
            serde_dynamo::to_attribute_value::<_, AttributeValue>(map).map_err(Error::internal)
        };
        for _ in 0..RACES {
            let mut newest = message.reactions.clone();
            for (by, reaction) in reactions {
                let party = match by {
                    Party::Customer => "customer",
                    Party::Business => "business",
                };
                let entry = newest.remove(party);
                newest.insert(party.to_owned(), reaction.after(entry));
            }
            if newest == message.reactions {
                return Ok(Stored::Duplicate);
            }
            let before = if message.reactions.is_empty() { None } else { Some(attribute(&message.reactions)?) };
            let expression = Expression::default()
                .set("reactions", attribute(&newest)?)
                .if_still("reactions", before)
                .if_item_exists();
            match self.update(&key, expression).await? {
                Written::Done(_) => return Ok(Stored::New),
                Written::Refused(Some(item)) => message = read(item)?,
                Written::Refused(None) => return Ok(Stored::Duplicate),
            }
        }
        Err(Error::Unavailable("a reaction lost every race against others".into()))
    }

    /// Gives a message what edits tell of it, the oldest first, and leaves the rest; the message as it is then.
    pub(super) async fn edit(
        &self,
        organization: &OrganizationId,
        mut message: Message,
        edits: &[(i64, Content)],
    ) -> Result<(Stored, Message)> {
        let key = keys::message(organization, &message.conversation_id, &message.id);
        for _ in 0..RACES {
            let is_newer = |message: &Message, at| message.edited_at.is_none_or(|edited_at| edited_at < at);
            let edited = edits.iter().fold(message.clone(), |message, (at, content)| {
                if message.deleted_at.is_none() && is_newer(&message, *at) {
                    message.edited(content, *at)
                } else {
                    message
                }
            });
            if edited.edited_at == message.edited_at {
                return Ok((Stored::Duplicate, message));
            }
            let expression = Expression::default()
                .set("editedAt", n(edited.edited_at.unwrap_or_default()))
                .set("contentType", serde_dynamo::to_attribute_value(edited.content_type).map_err(Error::internal)?)
                .set_or_remove("text", edited.text.as_ref().map(s))
                .set_or_remove("content", edited.content.as_ref().map(s))
                .if_item_exists()
                .if_absent("deletedAt")
                .if_still("editedAt", message.edited_at.map(n));
            match self.update(&key, expression).await? {
                Written::Done(_) => return Ok((Stored::New, edited)),
                Written::Refused(Some(item)) => message = read(item)?,
                Written::Refused(None) => return Ok((Stored::Duplicate, message)),
            }
        }
        Err(Error::Unavailable("an edit lost every race against others".into()))
    }

    /// Takes a message back: what it held is forgotten; the message as it is then.
    pub(super) async fn unsend(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &MessageId,
        at: i64,
    ) -> Result<(Stored, Option<Message>)> {
        let expression = Expression::default()
            .set("deletedAt", n(at))
            .remove("text")
            .remove("content")
            .if_item_exists()
            .if_absent("deletedAt");
        self.update(&keys::message(organization, conversation, id), expression).await?.into_change()
    }
}

impl Written {
    /// What came of a change of a message, and the message as it is.
    fn into_change(self) -> Result<(Stored, Option<Message>)> {
        let (stored, item) = match self {
            Self::Done(item) => (Stored::New, Some(item)),
            Self::Refused(item) => (Stored::Duplicate, item),
        };
        Ok((stored, item.map(read).transpose()?))
    }
}

/// A key may stand there alone: its message has gone.
pub(super) fn is_message(item: &Item) -> bool {
    item.contains_key("id")
}

/// A number attribute of an item.
pub(super) fn number(item: &Item, attribute: &str) -> Option<i64> {
    item.get(attribute)?.as_n().ok()?.parse().ok()
}
