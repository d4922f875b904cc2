//! Records a message of the platform's own chatbot or telephony.

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, json};
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    content::{Content, ContentType},
    event::Customer,
    http,
    id::{AccountId, MessageId},
    identity::Identity,
    message::{Direction, Sender},
    platform::Channel,
    store::{Arrival, Message, Store, Stored, Thread},
    view::MessageView,
};

const BODY_MAX_BYTES: usize = 256 * 1024;
const ID_MAX_BYTES: usize = 256;
const NAME_MAX_BYTES: usize = 200;
const PHONE_MAX_BYTES: usize = 40;
const TEXT_MAX_BYTES: usize = 100_000;
const URL_MAX_BYTES: usize = 2048;
/// How far ahead of our clock the sender's may be.
const AHEAD_MAX_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordMessageRequest {
    customer: RecordedCustomer,
    message: RecordedMessage,
    call: Option<Call>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedCustomer {
    id: String,
    name: Option<String>,
    phone: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedMessage {
    id: String,
    sender: RecordedSender,
    #[serde(default)]
    text: String,
    timestamp: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RecordedSender {
    Customer,
    Operator,
    Ai,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Call {
    direction: Direction,
    duration_seconds: Option<u32>,
    recording_url: Option<String>,
    transcript: Option<String>,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::RECORDERS)?;
    let organization = &caller.organization;
    let channel = http::recorded_channel(&request)?;
    let RecordMessageRequest { customer, message, call } = http::body(&request, BODY_MAX_BYTES)?;
    let now_us = clock::now_us();
    let told_ms = timestamp(message.timestamp.as_deref(), now_us / 1000)?;
    let external_id = required("message.id", message.id, ID_MAX_BYTES)?;
    let content = content(channel, message.text, call)?;
    let customer_id = required("customer.id", customer.id, ID_MAX_BYTES)?;
    // One customer is one conversation here: the caller's own id decides, a phone number is only shown.
    let by_id = Customer { user_id: Some(customer_id), ..Customer::default() };
    let account: AccountId = channel.as_str().parse().map_err(Error::internal)?;
    let identity = Identity::of(organization, channel, &account, &by_id)
        .ok_or_else(|| Error::invalid_body("`customer.id` is empty", "customer.id"))?;
    let customer = Customer {
        name: optional("customer.name", customer.name, NAME_MAX_BYTES)?,
        phone: optional("customer.phone", customer.phone, PHONE_MAX_BYTES)?,
        ..by_id
    };
    let (direction, sender) = match message.sender {
        RecordedSender::Customer => (Direction::Inbound, Sender::Customer),
        RecordedSender::Operator => (Direction::Outbound, Sender::Operator),
        RecordedSender::Ai => (Direction::Outbound, Sender::Ai),
    };

    // The first time that is told for an id counts: a repetition may come without one, or with another.
    let conversation_id = identity.conversation.clone();
    let sent_at = store.first_seen(organization, &conversation_id, &external_id, told_ms).await?;
    let message = Message {
        external_id: Some(external_id.clone()),
        ..Message::new(MessageId::of(sent_at, &external_id), conversation_id, direction, sender, &content, now_us)
    };
    let arrival = Arrival { preview: content.preview(), opens_window: direction == Direction::Inbound, message };
    let thread = Thread { identity, channel, account, customer };
    let received = store.receive(organization, &thread, std::slice::from_ref(&arrival), now_us / 1000).await?;

    let conversation = store.conversation(organization, &thread.identity.conversation).await?;
    let conversation = conversation.ok_or_else(|| Error::internal("a conversation vanished while it was written"))?;
    let stored = store.message(organization, &conversation.id, &arrival.message.id).await?;
    let view = MessageView::new(stored.unwrap_or(arrival.message), &conversation, clock::now_ms());
    let is_new = received.first().is_some_and(|received| received.stored == Stored::New);
    http::ok(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &view)
}

fn timestamp(told: Option<&str>, now_ms: i64) -> Result<i64> {
    let Some(text) = told else { return Ok(now_ms) };
    let usable = clock::parse_rfc3339(text).filter(|at| *at <= now_ms + AHEAD_MAX_MS);
    let message = "`message.timestamp` is an RFC 3339 time that is not ahead of now";
    usable.ok_or_else(|| Error::invalid_body(message, "message.timestamp"))
}

fn required(field: &'static str, text: String, max_bytes: usize) -> Result<String> {
    if text.trim().is_empty() || text.len() > max_bytes || text.contains('\0') {
        return Err(Error::invalid_body(format!("`{field}` has 1 to {max_bytes} bytes"), field));
    }
    Ok(text)
}

fn optional(field: &'static str, text: Option<String>, max_bytes: usize) -> Result<Option<String>> {
    text.filter(|text| !text.trim().is_empty()).map(|text| required(field, text, max_bytes)).transpose()
}

fn content(channel: Channel, text: String, call: Option<Call>) -> Result<Content> {
    let text = optional("message.text", Some(text), TEXT_MAX_BYTES)?;
    let Some(call) = call else {
        return text.map(Content::text).ok_or_else(|| Error::invalid_body("`message.text` is empty", "message.text"));
    };
    if channel != Channel::Phone {
        return Err(Error::invalid_body("`call` belongs to the phone channel", "call"));
    }
    let mut parts = Map::new();
    parts.insert("direction".into(), json!(call.direction));
    if let Some(seconds) = call.duration_seconds {
        parts.insert("durationSeconds".into(), json!(seconds));
    }
    let texts = [
        ("recordingUrl", optional("call.recordingUrl", call.recording_url, URL_MAX_BYTES)?),
        ("transcript", optional("call.transcript", call.transcript, TEXT_MAX_BYTES)?),
    ];
    parts.extend(texts.into_iter().filter_map(|(name, text)| Some((name.into(), json!(text?)))));
    Ok(Content { content_type: ContentType::Call, text, parts })
}
