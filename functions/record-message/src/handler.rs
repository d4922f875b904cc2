//! Records a message of the platform's own chatbot or telephony.

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, json};
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    content::{Content, ContentType, is_blank},
    event::{Customer, Profile},
    http,
    id::{AccountId, AuditId, MessageId, fingerprint},
    identity::Identity,
    message::{Direction, Sender},
    platform::Channel,
    store::{Arrival, AuditAction, AuditEntry, Message, Store, Stored, Thread},
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
    let caller = auth::caller_or_told(&request, claims, auth::RECORDERS, store, AuditAction::Recorded).await?;
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
    let thread = Thread { identity, channel, account, customer: Profile::told(customer, sent_at) };
    let received = store.receive(organization, &thread, std::slice::from_ref(&arrival), now_us / 1000).await?;

    if let Some(first) = received.first() {
        // Of the same id whenever it is repeated: then it completes what a fault has left out, and tells nothing twice.
        let recorded = AuditEntry {
            id: AuditId::of(first.received_at / 1000, &fingerprint("recorded/1", external_id.as_bytes())),
            conversation_id: Some(arrival.message.conversation_id.clone()),
            message_id: Some(arrival.message.id.clone()),
            ..AuditEntry::new(AuditAction::Recorded, Some(&caller.user), now_us / 1000)?
        };
        store.audit(organization, &recorded).await?;
    }
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
    if is_blank(&text) || text.len() > max_bytes || text.contains('\0') {
        return Err(Error::invalid_body(format!("`{field}` has 1 to {max_bytes} bytes"), field));
    }
    Ok(text)
}

fn optional(field: &'static str, text: Option<String>, max_bytes: usize) -> Result<Option<String>> {
    text.filter(|text| !is_blank(text)).map(|text| required(field, text, max_bytes)).transpose()
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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared::store::{Conversation, InboxFilter};
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::Account,
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/record-message.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    fn recorded(sender: &str, id: &str) -> Value {
        json!({ "customer": { "id": "visitor-1" }, "message": { "id": id, "sender": sender, "text": "Hello" } })
    }

    async fn website(account: &Account, store: &Store) -> Vec<Conversation> {
        let filter = InboxFilter { channels: vec![Channel::Website], ..InboxFilter::default() };
        store.inbox(&account.organization, &filter, None, 10).await.unwrap().conversations
    }

    #[tokio::test]
    async fn the_event_becomes_one_message_however_often_it_comes() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let call = Call::of(EVENT).from(&account.organization);

        let first = answer(&table, call.clone()).await;
        let again = answer(&table, call).await;

        assert_eq!((first.status, again.status), (201, 200));
        assert_eq!(first.body["data"], again.body["data"]);
        let data = &first.body["data"];
        assert_eq!(
            (&data["text"], &data["timestamp"]),
            (&json!("When do you open?"), &json!("2026-11-23T09:40:00.000Z"))
        );
        let [conversation] = &website(&account, &store).await[..] else { panic!("one conversation") };
        assert_eq!(data["conversationId"], json!(conversation.id));
        assert_eq!(conversation.customer_name.as_deref(), Some("Max Beispiel"));
        assert_eq!(account.thread(&store, conversation).await.len(), 1);
    }

    #[tokio::test]
    async fn only_what_the_customer_says_is_inbound_and_unread() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let call = Call::of(EVENT).from(&account.organization);

        for (sender, direction) in [("operator", "outbound"), ("ai", "outbound"), ("customer", "inbound")] {
            assert!(website(&account, &store).await.iter().all(|conversation| conversation.unread_from.is_none()));
            let answer = answer(&table, call.clone().body(&recorded(sender, sender))).await;
            assert_eq!(answer.status, 201);
            assert_eq!(
                (&answer.body["data"]["sender"], &answer.body["data"]["direction"]),
                (&json!(sender), &json!(direction))
            );
        }
        assert!(website(&account, &store).await[0].unread_from.is_some());
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_taken_is_refused_before_anything_is_read() {
        let table = Table::open().await;
        let with = |pointer: &str, value: Value| {
            let mut body = recorded("customer", "m1");
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
            body
        };
        let too_far_ahead = clock::rfc3339(clock::now_ms() + AHEAD_MAX_MS + 60_000);
        let refused = [
            (with("/message/text", json!(" ")), json!("message.text")),
            (with("/message/text", json!("x".repeat(TEXT_MAX_BYTES + 1))), json!("message.text")),
            (with("/message/id", json!("")), json!("message.id")),
            (with("/message/timestamp", json!("today")), json!("message.timestamp")),
            (with("/message/timestamp", json!(too_far_ahead)), json!("message.timestamp")),
            (with("/message/sender", json!("robot")), Value::Null),
            (with("/customer/id", json!("a\0b")), json!("customer.id")),
            (with("/customer/name", json!("x".repeat(NAME_MAX_BYTES + 1))), json!("customer.name")),
            (with("/call", json!({ "direction": "inbound" })), json!("call")),
            (with("/other", json!(1)), Value::Null),
        ];

        table.meter.start([]);
        for (body, field) in refused {
            let answer = answer(&table, Call::of(EVENT).body(&body)).await;
            assert_eq!(answer.refusal(), (400, "INVALID_BODY"), "{field}");
            assert_eq!(answer.body["error"]["details"]["field"], field);
        }
        for channel in ["whatsapp", "instagram", "email", ""] {
            let answer = answer(&table, Call::of(EVENT).path("channel", channel)).await;
            assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"), "{channel}");
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn one_customer_id_in_two_organizations_is_two_customers() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());

        let ours = answer(&table, Call::of(EVENT).from(&account.organization)).await;
        let theirs = answer(&table, Call::of(EVENT).from(&other.organization)).await;

        assert_eq!((ours.status, theirs.status), (201, 201));
        assert_ne!(ours.body["data"]["conversationId"], theirs.body["data"]["conversationId"]);
        assert_eq!(website(&account, &table.store()).await.len(), 1);
    }

    #[tokio::test]
    async fn what_was_not_stored_whole_is_not_acknowledged_and_is_whole_once_repeated() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());
        let call = Call::of(EVENT).from(&account.organization);

        for number in 0..3 {
            table.meter.start([(number, Fault::Before)]);
            assert_eq!(answer(&table, call.clone()).await.refusal(), (503, "UNAVAILABLE"), "{number}");
            table.meter.stop();
        }
        let whole = answer(&table, call).await;

        assert!(matches!(whole.status, 200 | 201), "{whole:?}");
        let [conversation] = &website(&account, &table.store()).await[..] else { panic!("one conversation") };
        assert_eq!(account.thread(&table.store(), conversation).await.len(), 1);
    }

    #[tokio::test]
    async fn strangers_are_refused_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for (call, code) in Call::of(EVENT).by_strangers(&["admin", "service"]) {
            assert_eq!(answer(&table, call).await.refusal(), (403, code));
        }

        let calls = table.meter.stop().calls;
        assert!(calls.iter().all(|call| call == "TransactWriteItems"), "told in the audit trail alone: {calls:?}");
    }
}
