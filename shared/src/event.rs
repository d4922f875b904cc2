//! What a delivery of the provider says, in our own words: one [`Event`] per message, status or other happening.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    content::{Content, truncate},
    dialog360::webhook::Place,
    id::AccountId,
    message::Status,
    platform::Platform,
    store::HealthStatus,
};

/// One happening of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The platform it happened on.
    pub platform: Platform,
    /// The account that it is about; `None` where the body names none (old flat bodies: the webhook's token does).
    pub account: Option<AccountId>,
    /// What happened.
    pub kind: EventKind,
    /// The part of the body that tells it, as it came; an empty object where it is all that its place holds.
    pub raw: Value,
    /// Where that stood, so that it can be delivered again alone: what quarantine keeps.
    pub place: Place,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A customer wrote, or something happened that the thread shows as a line of its own.
    Message(IncomingMessage),
    /// The business wrote from elsewhere (its phone, the page's inbox), or the platform echoes what we sent.
    Echo(Echo),
    /// A message that the business sent changed its status.
    Status(StatusChange),
    /// Everything that the business sent up to a point was delivered or read.
    Watermark(Watermark),
    /// Somebody reacted to a message, or took the reaction back.
    Reaction(Reaction),
    /// A message was edited by its author.
    Edit(Edit),
    /// A message was unsent by its author.
    Unsend(Unsend),
    /// The provider tells of the account itself: for its admin.
    News(News),
    /// Understood, and nothing for a conversation: account news, quality ratings, typing. `what` is a fixed name for the log.
    Notice {
        /// A short fixed name such as `message_template_status_update`.
        what: String,
    },
    /// Not understood: goes to quarantine with the reason.
    Unknown {
        /// Why, in a few fixed words without anything of the content.
        reason: &'static str,
    },
}

impl EventKind {
    /// When it happened, epoch milliseconds, where the provider tells a usable time.
    #[must_use]
    pub fn happened_ms(&self) -> Option<i64> {
        match self {
            Self::Message(message) => message.timestamp,
            Self::Echo(echo) => echo.message.timestamp,
            Self::Status(change) => change.timestamp,
            Self::Reaction(reaction) => reaction.timestamp,
            Self::Edit(edit) => edit.timestamp,
            Self::Unsend(unsend) => unsend.timestamp,
            Self::News(news) => news.timestamp,
            Self::Watermark(_) | Self::Notice { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// What the provider tells of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// A short fixed name, like that of a notice.
    pub what: String,
    /// What the admin is told.
    pub message: String,
    /// Whether the account can send from then on, where it tells that.
    pub health: Option<HealthStatus>,
    /// The digits of the number that it is about, where it names one: a business account may have several.
    pub phone: Option<String>,
    /// When, epoch milliseconds; `None` where missing or absurd.
    pub timestamp: Option<i64>,
}

/// The ids and names under which the provider shows a customer. At least one of `phone` and `user_id` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// `WhatsApp`'s `wa_id`: digits, as the provider spells it.
    pub phone: Option<String>,
    /// Business-scoped (`WhatsApp`), page-scoped or Instagram-scoped user id.
    pub user_id: Option<String>,
    /// The profile's name, when not empty.
    pub name: Option<String>,
    /// The profile's username without `@`.
    pub username: Option<String>,
}

/// What is told of a customer, each with the time of what told it, epoch milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// [`Customer::phone`].
    pub phone: Option<(String, i64)>,
    /// [`Customer::user_id`].
    pub user_id: Option<(String, i64)>,
    /// [`Customer::name`].
    pub name: Option<(String, i64)>,
    /// [`Customer::username`].
    pub username: Option<(String, i64)>,
}

impl Profile {
    /// What was told at that time.
    #[must_use]
    pub fn told(customer: Customer, at: i64) -> Self {
        let Customer { phone, user_id, name, username } = customer;
        let told = |text: Option<String>| text.map(|text| (text, at));
        Self { phone: told(phone), user_id: told(user_id), name: told(name), username: told(username) }
    }

    /// Both: of each the later one, or of one time the other's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let later = |one: Option<(String, i64)>, other: Option<(String, i64)>| match (one, other) {
            (Some(one), Some(other)) => Some(if one.1 > other.1 { one } else { other }),
            (one, other) => other.or(one),
        };
        Self {
            phone: later(self.phone, other.phone),
            user_id: later(self.user_id, other.user_id),
            name: later(self.name, other.name),
            username: later(self.username, other.username),
        }
    }
}

/// A message as the platform tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingMessage {
    /// Who wrote it.
    pub customer: Customer,
    /// The provider's id: `wamid`, `mid`, or one derived from what never changes about it.
    pub external_id: String,
    /// When it was written, epoch milliseconds; `None` where the provider's time is missing or absurd
    /// (zero, negative, more than a day ahead).
    pub timestamp: Option<i64>,
    /// What it holds.
    pub content: Content,
    /// The external id of the message that it replies to.
    pub reply_to: Option<String>,
    /// Who it is from, as the thread shows it: `false` for the platform's system lines.
    pub from_customer: bool,
    /// Opens the messaging window, and counts as unread.
    pub opens_window: bool,
    /// Other ids of the same customer that it tells of: a changed phone number or user id.
    pub also_known_as: Option<Customer>,
}

/// A message of the business that was not sent through us, or comes back to us.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    /// The message; its `customer` is the one who received it.
    pub message: IncomingMessage,
    /// Our own callback data, where the platform returns it: then the message is ours.
    pub callback_data: Option<String>,
}

/// A step in the life of a message that the business sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The provider's id of the message.
    pub external_id: String,
    /// Our own `biz_opaque_callback_data`, where it came back.
    pub callback_data: Option<String>,
    /// The new status.
    pub status: Status,
    /// When, epoch milliseconds; `None` where missing or absurd.
    pub timestamp: Option<i64>,
    /// Why it failed.
    pub error: Option<ProviderError>,
}

/// What the provider says about a failure: fit for the operator's eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// The provider's code, as text.
    pub code: String,
    /// What the code means more exactly, on Instagram and Messenger.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subcode: Option<String>,
    /// Its title.
    pub title: String,
    /// Its details, where they say more than the title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<String>,
}

/// The longest title and details of an error that are kept, in bytes.
const ERROR_MAX_BYTES: usize = 1000;

impl ProviderError {
    /// The same, as long as an operator reads.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let shortened = |text: &String| truncate(text, ERROR_MAX_BYTES);
        Self {
            code: shortened(&self.code),
            subcode: self.subcode.as_ref().map(shortened),
            title: shortened(&self.title),
            details: self.details.as_ref().map(shortened),
        }
    }
}

/// How far the customer has received or read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watermark {
    /// The customer.
    pub customer: Customer,
    /// `Delivered` or `Read`.
    pub status: Status,
    /// Up to where.
    pub up_to: UpTo,
}

/// The end of a watermark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UpTo {
    /// Everything sent until then, epoch milliseconds.
    Time(i64),
    /// That message (external id) and all earlier ones.
    Message(String),
}

/// Who did something to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The customer.
    Customer,
    /// The business.
    Business,
}

/// A reaction; one per party and message, a new one replaces the old.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// The customer of the conversation.
    pub customer: Customer,
    /// Who reacted.
    pub by: Party,
    /// The provider's id of the reaction itself, or one derived from what never changes about it.
    pub external_id: String,
    /// External id of the message reacted to.
    pub target: String,
    /// The emoji; `None` takes the reaction back.
    pub emoji: Option<String>,
    /// When, epoch milliseconds; `None` where missing or absurd.
    pub timestamp: Option<i64>,
}

/// A new text (or content) for a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// The customer of the conversation.
    pub customer: Customer,
    /// Who edited.
    pub by: Party,
    /// The provider's id of the edit itself, or one derived from target and edit number.
    pub external_id: String,
    /// External id of the edited message.
    pub target: String,
    /// What it holds now.
    pub content: Content,
    /// When, epoch milliseconds; `None` where missing or absurd.
    pub timestamp: Option<i64>,
}

/// A message was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsend {
    /// The customer of the conversation.
    pub customer: Customer,
    /// Who took it back.
    pub by: Party,
    /// The provider's id of the unsend itself, or one derived from the target.
    pub external_id: String,
    /// External id of the message.
    pub target: String,
    /// When, epoch milliseconds; `None` where missing or absurd.
    pub timestamp: Option<i64>,
}

/// What is told of a message by its external id; it may come before the message itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MessageChange {
    /// It came further.
    Status(StatusChange),
    /// It and all that were sent before it were delivered or read.
    Watermark(Watermark),
    /// Somebody reacted to it, or took the reaction back.
    Reaction(Reaction),
    /// Its author edited it.
    Edit(Edit),
    /// Its author took it back.
    Unsend(Unsend),
}

impl MessageChange {
    /// Its name in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Watermark(_) => "watermark",
            Self::Reaction(_) => "reaction",
            Self::Edit(_) => "edit",
            Self::Unsend(_) => "unsend",
        }
    }

    /// When it happened, epoch milliseconds, where that is told.
    #[must_use]
    pub fn at(&self) -> Option<i64> {
        match self {
            Self::Status(change) => change.timestamp,
            Self::Watermark(_) => None,
            Self::Reaction(reaction) => reaction.timestamp,
            Self::Edit(edit) => edit.timestamp,
            Self::Unsend(unsend) => unsend.timestamp,
        }
    }

    /// The same; a status of which no time is told happened then.
    #[must_use]
    pub fn or_at(mut self, at: i64) -> Self {
        if let Self::Status(change) = &mut self {
            change.timestamp.get_or_insert(at);
        }
        self
    }

    /// Who made it; `None` where that is the platform.
    #[must_use]
    pub fn by(&self) -> Option<Party> {
        match self {
            Self::Status(_) => None,
            Self::Watermark(_) => Some(Party::Customer),
            Self::Reaction(reaction) => Some(reaction.by),
            Self::Edit(edit) => Some(edit.by),
            Self::Unsend(unsend) => Some(unsend.by),
        }
    }

    /// The customer of the conversation that it is made in, where that is told.
    #[must_use]
    pub fn customer(&self) -> Option<&Customer> {
        match self {
            Self::Status(_) => None,
            Self::Watermark(watermark) => Some(&watermark.customer),
            Self::Reaction(reaction) => Some(&reaction.customer),
            Self::Edit(edit) => Some(&edit.customer),
            Self::Unsend(unsend) => Some(&unsend.customer),
        }
    }
}
