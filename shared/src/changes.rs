//! What the table's stream tells, as public events: one record has the item as it was and as it is, and each difference that somebody
//! outside cares for is one change. Made of the record alone, so that a record that comes again makes the same changes with the same
//! ids. What they tell is what the API shows.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_dynamo::Item;
use serde_json::{Value, json};

use crate::{
    clock::rfc3339,
    content::truncate,
    error::{Error, Result},
    id::{ConversationId, OrganizationId, fingerprint},
    message::{Direction, Status},
    platform::Platform,
    store::{
        Conversation, ConversationStatus, Integration, Message, MessageType, Misfit,
        keys::{self, Subject},
    },
    view::{ConversationFacts, IntegrationView, MessageView},
};

/// What an event tells at most, in bytes of JSON; the message that it is about holds the rest.
const DATA_MAX_BYTES: usize = 20_000;
/// How much of a longer text an event tells.
const TEXT_MAX_BYTES: usize = 4_000;

/// A record of the table's stream, as Lambda hands it over.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    #[serde(rename = "eventID")]
    id: String,
    dynamodb: Images,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Images {
    keys: Item,
    new_image: Option<Item>,
    old_image: Option<Item>,
    /// Epoch seconds.
    approximate_creation_date_time: f64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A message came from the customer, or a line of the platform.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// The business wrote a message.
    #[serde(rename = "message.sent")]
    MessageSent,
    /// A message of the business went further, or failed.
    #[serde(rename = "message.status_changed")]
    MessageStatusChanged,
    /// A message says something else now.
    #[serde(rename = "message.edited")]
    MessageEdited,
    /// A message was taken back, or has gone from its thread.
    #[serde(rename = "message.unsent")]
    MessageUnsent,
    /// Somebody reacted to a message, or took that back.
    #[serde(rename = "message.reacted")]
    MessageReacted,
    /// An operator left a note, which never leaves the house.
    #[serde(rename = "note.added")]
    NoteAdded,
    /// A conversation began, or began again.
    #[serde(rename = "conversation.opened")]
    ConversationOpened,
    /// A conversation is done.
    #[serde(rename = "conversation.closed")]
    ConversationClosed,
    /// Somebody else cares for a conversation, or nobody any more.
    #[serde(rename = "conversation.assigned")]
    ConversationAssigned,
    /// A conversation has other labels.
    #[serde(rename = "conversation.labeled")]
    ConversationLabeled,
    /// An operator read a conversation, or made it unread again.
    #[serde(rename = "conversation.read")]
    ConversationRead,
    /// An integration was connected, changed or deleted.
    #[serde(rename = "integration.changed")]
    IntegrationChanged,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::MessageReceived,
        Self::MessageSent,
        Self::MessageStatusChanged,
        Self::MessageEdited,
        Self::MessageUnsent,
        Self::MessageReacted,
        Self::NoteAdded,
        Self::ConversationOpened,
        Self::ConversationClosed,
        Self::ConversationAssigned,
        Self::ConversationLabeled,
        Self::ConversationRead,
        Self::IntegrationChanged,
    ];

    /// Its name: the `type` of an event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
            Self::MessageSent => "message.sent",
            Self::MessageStatusChanged => "message.status_changed",
            Self::MessageEdited => "message.edited",
            Self::MessageUnsent => "message.unsent",
            Self::MessageReacted => "message.reacted",
            Self::NoteAdded => "note.added",
            Self::ConversationOpened => "conversation.opened",
            Self::ConversationClosed => "conversation.closed",
            Self::ConversationAssigned => "conversation.assigned",
            Self::ConversationLabeled => "conversation.labeled",
            Self::ConversationRead => "conversation.read",
            Self::IntegrationChanged => "integration.changed",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text names no kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such type of event")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// A change, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The same whenever it is made: of the record and what happened.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it happened to: a path of the API, without its base.
    pub subject: String,
    /// When, epoch milliseconds.
    pub at: i64,
    /// What the API shows of it.
    pub data: Value,
}

/// What a path segment takes as it is.
const IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Change {
    /// The change as a `CloudEvent` of this place in the organization's journal.
    ///
    /// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>
    #[must_use]
    pub fn event(self, organization: &OrganizationId, sequence: u64) -> Value {
        let time = rfc3339(self.at);
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/organizations/{}", utf8_percent_encode(organization.as_str(), IN_A_SEGMENT)),
            "type": self.kind,
            "subject": self.subject,
            "time": time,
            // As Standard Webhooks names it.
            "timestamp": time,
            "sequence": keys::sequence_digits(sequence),
            "datacontenttype": "application/json",
            "dataschema": format!("urn:kepleroai:social-integrations:{}:1", self.kind),
            "data": self.data,
        })
    }
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// When it is none; the error does not repeat what it holds.
    pub fn read(record: &Value) -> Result<Self> {
        Self::deserialize(record).map_err(|_| Error::internal("what the stream told is no record of a table"))
    }

    /// What it is about, of what the journal tells of.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        let key = |name: &str| self.dynamodb.keys.get(name).and_then(text);
        Subject::of(key(keys::PK)?, key(keys::SK)?)
    }

    /// When it was written, epoch milliseconds, rounded down to a second.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a time")]
    pub fn at(&self) -> i64 {
        (self.dynamodb.approximate_creation_date_time * 1000.0) as i64
    }

    /// The item as it was and as it is, where it was or is one.
    fn images<T: DeserializeOwned>(&self, is_one: impl Fn(&Item) -> bool) -> Result<(Option<T>, Option<T>)> {
        let image = |image: &Option<Item>| {
            let image = image.as_ref().filter(|image| is_one(image)).cloned();
            let image = image.map(serde_dynamo::from_item);
            image.transpose().map_err(|error| Error::internal(Misfit::new::<T>(&error)))
        };
        Ok((image(&self.dynamodb.old_image)?, image(&self.dynamodb.new_image)?))
    }

    /// A change of this record; `part` tells those of one kind apart.
    fn change(&self, kind: Kind, part: &str, subject: String, data: Value) -> Change {
        let id = fingerprint("event/1", format!("{}/{kind}/{part}", self.id).as_bytes());
        Change { id: format!("evt_{id}"), kind, subject, at: self.at(), data }
    }
}

fn text(value: &serde_dynamo::AttributeValue) -> Option<&str> {
    match value {
        serde_dynamo::AttributeValue::S(text) => Some(text),
        _ => None,
    }
}

/// The changes that a record tells of. `conversation` is that of a message, where it is known already.
///
/// # Errors
/// When an image is not what its key says.
pub fn of(record: &Record, conversation: Option<&Conversation>) -> Result<Vec<Change>> {
    match record.subject() {
        Some(Subject::Message(_, partition, _)) => of_message(record, &partition, conversation),
        Some(Subject::Conversation(..)) => of_conversation(record),
        Some(Subject::Integration(_, platform)) => of_integration(record, platform),
        None => Ok(Vec::new()),
    }
}

fn of_message(record: &Record, partition: &ConversationId, conversation: Option<&Conversation>) -> Result<Vec<Change>> {
    // A key may stand there alone: its message has gone.
    let (old, new) = record.images::<Message>(|item| item.contains_key("id"))?;
    let conversation_id = conversation.map_or(partition, |conversation| &conversation.id);
    let facts = conversation.map(|conversation| ConversationFacts::new(conversation.clone(), record.at()));
    let data = |message: Message| {
        json!({
            "origin": "live",
            "conversationId": conversation_id,
            "conversation": facts,
            "message": MessageView::alone(message, conversation_id, record.at()),
            "truncated": false,
        })
    };
    let subject = |message: &Message| format!("conversations/{conversation_id}/messages/{}", message.id);
    let (old, new) = match (old, new) {
        (None, None) => return Ok(Vec::new()),
        (None, Some(new)) => {
            let kind = match (new.message_type, new.direction) {
                (MessageType::InternalNote, _) => Kind::NoteAdded,
                (MessageType::Message, Direction::Inbound) => Kind::MessageReceived,
                (MessageType::Message, Direction::Outbound) => Kind::MessageSent,
            };
            return Ok(vec![record.change(kind, "", subject(&new), fitting(data(new)))]);
        }
        (Some(old), None) => {
            let gone = Message { text: None, content: None, deleted_at: Some(record.at()), ..old };
            let subject = subject(&gone);
            let mut data = data(gone);
            data["removed"] = json!(true);
            return Ok(vec![record.change(Kind::MessageUnsent, "", subject, data)]);
        }
        (Some(old), Some(new)) => (old, new),
    };
    let standing = |message: &Message| (message.status, message.assumed.clone(), message.resent_as.clone());
    let happened = [
        (Kind::MessageEdited, old.edited_at != new.edited_at),
        (Kind::MessageUnsent, old.deleted_at.is_none() && new.deleted_at.is_some()),
        (Kind::MessageReacted, old.reactions != new.reactions),
        (Kind::MessageStatusChanged, standing(&old) != standing(&new)),
    ];
    let happened = happened.into_iter().filter(|(_, happened)| *happened);
    Ok(happened
        .map(|(kind, _)| {
            let mut data = fitting(data(new.clone()));
            if kind == Kind::MessageUnsent {
                data["removed"] = json!(false);
            }
            record.change(kind, "", subject(&new), data)
        })
        .collect())
}

/// The data of a message as far as an event takes it.
fn fitting(mut data: Value) -> Value {
    if data.to_string().len() > DATA_MAX_BYTES {
        let message = &mut data["message"];
        if let Some(text) = message["text"].as_str() {
            message["text"] = json!(truncate(text, TEXT_MAX_BYTES));
        }
        message["content"] = json!({});
        data["truncated"] = json!(true);
    }
    data
}

fn of_conversation(record: &Record) -> Result<Vec<Change>> {
    // There may be the beginning of one only, or an alias.
    let is_one = |item: &Item| item.contains_key("lastMessageKey") && !item.contains_key("aliasOf");
    let (old, Some(new)) = record.images::<Conversation>(is_one)? else { return Ok(Vec::new()) };
    let subject = format!("conversations/{}", new.id);
    let was_open = old.as_ref().is_some_and(|old| old.status == ConversationStatus::Open);
    let is_open = new.status == ConversationStatus::Open;
    let of_old = |differs: &dyn Fn(&Conversation) -> bool| old.as_ref().is_some_and(differs);
    let assigned_to = old.as_ref().and_then(|old| old.assigned_to.clone());
    let labels = old.as_ref().map(|old| old.labels.clone()).unwrap_or_default();
    let happened = [
        (Kind::ConversationOpened, is_open && !was_open),
        (Kind::ConversationClosed, was_open && !is_open),
        (Kind::ConversationAssigned, assigned_to != new.assigned_to),
        (Kind::ConversationLabeled, labels != new.labels),
        (Kind::ConversationRead, of_old(&|old| old.read_mark() != new.read_mark())),
    ];
    let data = || json!({ "origin": "live", "conversation": ConversationFacts::new(new.clone(), record.at()) });
    let mut changes: Vec<Change> = happened
        .into_iter()
        .filter(|(_, happened)| *happened)
        .map(|(kind, _)| {
            let mut data = data();
            if kind == Kind::ConversationRead {
                data["unread"] = json!(new.unread_from.is_some());
            }
            record.change(kind, "", subject.clone(), data)
        })
        .collect();
    let raised = [
        (Status::Delivered, new.delivered_up_to, of_old(&|old| old.delivered_up_to < new.delivered_up_to)),
        (Status::Read, new.read_up_to, of_old(&|old| old.read_up_to < new.read_up_to)),
    ];
    for (status, at, _) in raised.into_iter().filter(|(.., is_raised)| *is_raised) {
        let mut data = data();
        data["conversationId"] = json!(new.id);
        data["upTo"] = json!({ "status": status, "timestamp": at.map(rfc3339) });
        changes.push(record.change(Kind::MessageStatusChanged, status.as_str(), subject.clone(), data));
    }
    Ok(changes)
}

fn of_integration(record: &Record, platform: Platform) -> Result<Vec<Change>> {
    let (old, new) = record.images::<Integration>(|_| true)?;
    let shown = |integration: Option<Integration>| json!(integration.map(IntegrationView::from));
    let (old, new) = (shown(old), shown(new));
    if without_times(old) == without_times(new.clone()) {
        return Ok(Vec::new());
    }
    let data = json!({ "origin": "live", "platform": platform, "integration": new });
    Ok(vec![record.change(Kind::IntegrationChanged, "", format!("social-integrations/{platform}"), data)])
}

/// A check that finds everything as it was changes nothing but these.
fn without_times(mut integration: Value) -> Value {
    if let Some(shown) = integration.as_object_mut() {
        shown.remove("lastSyncedAt");
        shown.remove("updatedAt");
        if let Some(health) = shown.get_mut("health").and_then(Value::as_object_mut) {
            health.remove("checkedAt");
        }
    }
    integration
}
