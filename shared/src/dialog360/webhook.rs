//! Reads the provider's deliveries: raw bytes in, [`Event`]s out. Nothing of a delivery is dropped: every item of it
//! becomes an event of its own, and what is not understood becomes [`EventKind::Unknown`] with its JSON.
//!
//! The envelopes and what they share are here; `whatsapp` and `meta` (Messenger, Instagram) read the items, `json`
//! cleans bodies and reads values tolerantly. Sources of the shapes: <https://developers.facebook.com/documentation/business-messaging>.
//!
//! The parts of a content, beside `reason` (why the platform says that something is missing) where there is one:
//!
//! | content type | parts |
//! |---|---|
//! | `image`, `video`, `audio`, `document`, `sticker` | `id`, `mimeType`, `fileName`, `voice`, `animated`, `url`, `sha256` |
//! | `location` | `latitude`, `longitude`, `name`, `address`, `url` |
//! | `contacts` | `contacts` (as given, keys in camel case), `origin` |
//! | `interactive` | `kind`, and by kind `id`, `title`, `description`, `name`, `body`, `response`, `expirationTimestamp`, … |
//! | `button` | `payload`, `title` |
//! | `order` | `catalogId`, `items` of `productRetailerId`, `name`, `quantity`, `itemPrice`, `currency` |
//! | `system` | `kind`; `body`, `phone`, `userId` of a changed number or id; what a referral or opt-in tells |
//! | `story_reply` | `story` of `id`, `url` |
//! | `share`, `story_mention` | `title`, `url` |
//! | `postback` | `title`, `payload` |
//! | `call` | `direction`; of one that ended `status`, `durationSeconds` |
//! | `unsupported` | `type` (the platform's name for it), `raw` (its JSON) |
//! | any, on `WhatsApp` | `forwarded`, `frequentlyForwarded`, `referredProduct`, `referral` |
//! | any, on Instagram and Messenger | `attachments` of `type`, `url`, `title`, …; `url` of the first; `quickReplyPayload`, `referral` |

mod account;
mod json;
mod meta;
mod place;
mod whatsapp;

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

pub use self::place::Place;
use self::place::Surroundings;
use crate::{
    content::{Content, ContentType, REASON},
    event::{Event, EventKind},
    id::{AccountId, fingerprint},
    platform::Platform,
};

/// The longest id of the provider that is taken for one, in bytes. `WhatsApp`'s and Meta's have up to about 250.
const MAX_EXTERNAL_ID_BYTES: usize = 1024;

/// The longest name of a [`EventKind::Notice`], in bytes.
const MAX_NOTICE_BYTES: usize = 64;

/// The most items that are taken out of one body. The provider sends up to 1,000; more than this cannot be messages
/// within the largest body, and would only fill the memory.
const MAX_ITEMS: usize = 20_000;

/// How far ahead of our clock the provider's may be, in milliseconds: a day.
const MAX_AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

/// Why an edit changes nothing, where the platform does not say.
const EDIT_WITHOUT_CONTENT: &str = "The edited content was not delivered.";

/// Times below this are in seconds, others in milliseconds.
const FIRST_MILLISECOND: i64 = 100_000_000_000;

/// A body that cannot be taken apart into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum NotUnderstood {
    /// Not JSON, or nested deeper than 128 levels.
    NotJson,
    /// JSON, but none of the provider's envelopes.
    UnknownShape,
    /// More than 20,000 items.
    TooManyItems,
}

impl NotUnderstood {
    /// Why, in fixed words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotJson => "the body is not JSON",
            Self::UnknownShape => "the body has no known shape",
            Self::TooManyItems => "the body has too many items",
        }
    }
}

/// Why an item is not understood, in a few fixed words.
type Reason = &'static str;

/// What an item turned out to be.
type Read = Result<EventKind, Reason>;

/// Reads a delivery's raw bytes. `now_ms` is the time of arrival, epoch milliseconds: times far ahead of it are absurd.
///
/// # Errors
/// The body is not JSON at all, or of no known shape: the caller quarantines it whole.
pub fn parse(body: &[u8], now_ms: i64) -> Result<Vec<Event>, NotUnderstood> {
    let body = json::read(body).ok_or(NotUnderstood::NotJson)?;
    let platform = platform(&body);
    let Value::Object(mut body) = body else { return Err(NotUnderstood::UnknownShape) };
    let mut reader = Reader { now_ms, events: Vec::new(), too_many: false };
    let entries = take(&mut body, "entry");
    match (platform, entries) {
        (Some(platform), Some(entries)) => reader.entries(platform, body, entries),
        (Some(Platform::Whatsapp) | None, None) if whatsapp::is_value(&body) => {
            whatsapp::read_value(&mut reader, None, None, body, Surroundings::root);
        }
        _ => return Err(NotUnderstood::UnknownShape),
    }
    if reader.too_many { Err(NotUnderstood::TooManyItems) } else { Ok(reader.events) }
}

/// The platform of an envelope: its `object`, or where that tells nothing, `WhatsApp` if its first values say so.
fn platform(body: &Value) -> Option<Platform> {
    match json::text(body, "object") {
        Some("whatsapp_business_account") => Some(Platform::Whatsapp),
        Some("page") => Some(Platform::Facebook),
        Some("instagram") => Some(Platform::Instagram),
        _ => json::items(body, "entry")
            .iter()
            .flat_map(|entry| json::items(entry, "changes"))
            .filter_map(|change| json::object(change, "value"))
            .any(|value| json::text(value, "messaging_product") == Some("whatsapp"))
            .then_some(Platform::Whatsapp),
    }
}

/// Whom a part of the body is about.
struct Source {
    platform: Platform,
    account: Option<AccountId>,
    /// The body names an account that can be none.
    invalid: bool,
    /// The part itself.
    object: Arc<Surroundings>,
}

impl Source {
    /// A part that names no account.
    fn nobody(platform: Platform, object: Arc<Surroundings>) -> Self {
        Self { platform, account: None, invalid: false, object }
    }

    /// The account that is named by `named`.
    fn of(platform: Platform, named: Option<&Value>, object: &Arc<Surroundings>) -> Self {
        let named = named.filter(|account| !account.is_null());
        let account = named.and_then(json::id_of).and_then(|account| account.parse().ok());
        Self { platform, invalid: named.is_some() && account.is_none(), account, object: Arc::clone(object) }
    }
}

/// Collects the events of one delivery.
struct Reader {
    now_ms: i64,
    events: Vec<Event>,
    too_many: bool,
}

impl Reader {
    fn entries(&mut self, platform: Platform, body: Map<String, Value>, entries: Value) {
        let nobody = Source::nobody(platform, Surroundings::root(body));
        self.each(&nobody, "entry", entries, |reader, entry| {
            let in_delivery = |fields| Surroundings::item(fields, &nobody.object, "entry");
            match platform {
                Platform::Whatsapp => whatsapp::read_entry(reader, entry, in_delivery),
                Platform::Instagram | Platform::Facebook => meta::read_entry(reader, platform, entry, in_delivery),
            }
        });
    }

    /// Reads every item of an array with `read`; an array that is none, and an item that is no object, are unknown.
    fn each(
        &mut self,
        source: &Source,
        key: &'static str,
        items: Value,
        mut read: impl FnMut(&mut Self, Map<String, Value>),
    ) {
        let Value::Array(items) = items else {
            let part = Value::Object(Map::from_iter([(key.to_owned(), items)]));
            return self.push(source, None, Err("not an array"), part);
        };
        if self.events.len() + items.len() > MAX_ITEMS {
            self.too_many = true;
            return;
        }
        self.events.reserve(items.len());
        for item in items {
            match item {
                Value::Object(item) => read(self, item),
                other => self.push(source, Some(key), Err("not an object"), other),
            }
        }
    }

    /// Like [`Self::each`], for items that are one event each. Returns whether there was an array.
    fn each_event(
        &mut self,
        source: &Source,
        key: &'static str,
        items: Option<Value>,
        read: impl Fn(&Value, i64) -> Read,
    ) -> bool {
        let Some(items) = items else { return false };
        self.each(source, key, items, |reader, item| {
            let item = Value::Object(item);
            reader.push(source, Some(key), read(&item, reader.now_ms), item);
        });
        true
    }

    /// An event of the source: an item of the array under `key`, or the source itself.
    fn push(&mut self, source: &Source, key: Option<&'static str>, read: Read, raw: Value) {
        let read = if source.invalid { Err("invalid account id") } else { read };
        let kind = read.unwrap_or_else(|reason| EventKind::Unknown { reason });
        let place = Place { object: Arc::clone(&source.object), key };
        self.events.push(Event { platform: source.platform, account: source.account.clone(), kind, raw, place });
    }
}

/// Takes an array out of an object; one that is null is not there.
fn take(object: &mut Map<String, Value>, key: &str) -> Option<Value> {
    object.remove(key).filter(|items| !items.is_null())
}

/// A notice named after something of the provider's: lower-case letters, digits and `_`, at most 64 bytes.
fn notice(name: &str) -> EventKind {
    let clean = |character: char| match character.to_ascii_lowercase() {
        clean @ ('a'..='z' | '0'..='9') => clean,
        _ => '_',
    };
    let what: String = name.chars().take(MAX_NOTICE_BYTES).map(clean).collect();
    EventKind::Notice { what: if what.is_empty() { "unnamed".to_owned() } else { what } }
}

/// A time of the provider's, in epoch milliseconds: seconds or milliseconds, as number or text; `None` if it is
/// missing or absurd.
fn time(value: &Value, key: &str, now_ms: i64) -> Option<i64> {
    let time = json::integer(value, key).filter(|time| *time > 0)?;
    let time_ms = if time < FIRST_MILLISECOND { time * 1000 } else { time };
    (time_ms <= now_ms.saturating_add(MAX_AHEAD_MS)).then_some(time_ms)
}

/// What an edit tells of its message. Where that did not come, it tells why, and nothing else.
fn edited(mut content: Content) -> Content {
    if content.tells_something() {
        return content;
    }
    let reason = content.parts.remove(REASON).unwrap_or_else(|| Value::from(EDIT_WITHOUT_CONTENT));
    Content::new(ContentType::Text, Map::from_iter([(REASON.to_owned(), reason)]))
}

/// An id that must be there; `missing` says what is wrong if it is not.
fn required_id<'a>(value: &'a Value, key: &str, missing: Reason) -> Result<Cow<'a, str>, Reason> {
    checked_id(value, key)?.ok_or(missing)
}

/// An id that may be missing, but not be too long.
fn checked_id<'a>(value: &'a Value, key: &str) -> Result<Option<Cow<'a, str>>, Reason> {
    match json::id(value, key) {
        Some(id) if id.len() > MAX_EXTERNAL_ID_BYTES => Err("id too long"),
        id => Ok(id),
    }
}

/// An id that may be missing, and is when it cannot be one.
fn optional_id(value: &Value, key: &str) -> Option<String> {
    json::id(value, key).filter(|id| id.len() <= MAX_EXTERNAL_ID_BYTES).map(Cow::into_owned)
}

/// An external id for what the provider gives none: the same for every repetition of it, another for everything else.
fn derived_id(what: &str, facts: &[&str]) -> String {
    // No fact holds a NUL: they are stripped from bodies.
    format!("{what}:{}", fingerprint(what, facts.join("\0").as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::event::{Echo, Edit, IncomingMessage};

    /// When the fixtures arrive: some minutes after the last of them was written.
    pub(super) const NOW_MS: i64 = 1_767_880_000_000;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    const FOLDERS: [&str; 3] = ["whatsapp", "facebook", "instagram"];

    /// The events of a fixture, named `<platform>/<kind>`.
    pub(super) fn events(name: &str) -> Vec<Event> {
        parse(&fs::read(format!("{FIXTURES}/{name}.json")).unwrap(), NOW_MS).unwrap()
    }

    /// The only event of a fixture.
    pub(super) fn only(name: &str) -> Event {
        let mut events = events(name);
        assert_eq!(events.len(), 1, "{name}");
        events.remove(0)
    }

    /// Whom a body is about, and what it tells, for bodies made by a test.
    pub(super) fn kinds(body: &Value) -> Vec<EventKind> {
        parse(body.to_string().as_bytes(), NOW_MS).unwrap().into_iter().map(|event| event.kind).collect()
    }

    pub(super) fn fixtures() -> Vec<(String, Vec<u8>)> {
        let mut fixtures = Vec::new();
        for folder in FOLDERS {
            for file in fs::read_dir(Path::new(FIXTURES).join(folder)).unwrap() {
                let path = file.unwrap().path();
                let name = format!("{folder}/{}", path.file_stem().unwrap().to_str().unwrap());
                fixtures.push((name, fs::read(path).unwrap()));
            }
        }
        fixtures.sort();
        fixtures
    }

    #[test]
    fn every_fixture_is_understood_unless_its_name_says_otherwise() {
        for (name, body) in fixtures() {
            let events = parse(&body, NOW_MS).unwrap();
            assert!(!events.is_empty(), "{name}");
            for event in events {
                let unknown = matches!(event.kind, EventKind::Unknown { .. });
                assert_eq!(unknown, name.contains("unknown"), "{name}: {:?}", event.kind);
                assert_eq!(event.platform.as_str(), name.split('/').next().unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn every_content_previews_as_something() {
        for (name, body) in fixtures() {
            for event in parse(&body, NOW_MS).unwrap() {
                let content = match event.kind {
                    EventKind::Message(message) => message.content,
                    EventKind::Echo(echo) => echo.message.content,
                    EventKind::Edit(edit) if edit.content.text.is_some() => edit.content,
                    _ => continue,
                };
                assert_ne!(content.preview(), "Empty message", "{name}");
            }
        }
    }

    #[test]
    fn a_repetition_is_the_same_whenever_it_arrives() {
        for (name, body) in fixtures() {
            let events = parse(&body, NOW_MS).unwrap();
            assert_eq!(events, parse(&body, NOW_MS + 7 * 24 * 60 * 60 * 1000).unwrap(), "{name}");
        }
    }

    #[test]
    fn what_is_no_delivery_is_not_understood() {
        for body in ["", "hello", "{", "\u{FEFF}", "{\"object\":\"page\",\"entry\":[]} x"] {
            assert_eq!(parse(body.as_bytes(), NOW_MS), Err(NotUnderstood::NotJson), "{body}");
        }
        for body in [
            json!(null),
            json!([]),
            json!("text"),
            json!({}),
            json!({"object": "page"}),
            json!({"object": "instagram", "entry": null}),
            json!({"object": "permissions", "entry": [{"id": "1", "changed_fields": ["x"]}]}),
            json!({"contacts": [{"wa_id": "491713920012"}]}),
            json!({"object": "page", "messages": []}),
        ] {
            assert_eq!(parse(body.to_string().as_bytes(), NOW_MS), Err(NotUnderstood::UnknownShape), "{body}");
        }
    }

    #[test]
    fn an_empty_delivery_is_understood() {
        assert_eq!(parse(br#"{"object":"page","entry":[]}"#, NOW_MS), Ok(vec![]));
        assert_eq!(parse(b"\xEF\xBB\xBF{\"messages\":[]}", NOW_MS), Ok(vec![]));
    }

    #[test]
    fn deep_nesting_is_not_understood() {
        let deep = format!("{{\"object\":\"page\",\"entry\":{}", "[".repeat(1_000_000));
        assert_eq!(parse(deep.as_bytes(), NOW_MS), Err(NotUnderstood::NotJson));
    }

    #[test]
    fn a_flood_of_items_is_not_understood() {
        let item = json!({"id": "1", "status": "sent"});
        let parse = |count| parse(json!({"statuses": vec![&item; count]}).to_string().as_bytes(), NOW_MS);
        assert_eq!(parse(MAX_ITEMS).unwrap().len(), MAX_ITEMS);
        assert_eq!(parse(MAX_ITEMS + 1), Err(NotUnderstood::TooManyItems));
        let entry = json!({"id": "1", "messaging": vec![json!({}); MAX_ITEMS / 2]});
        let body = json!({"object": "page", "entry": [entry, entry, entry]});
        assert_eq!(super::parse(body.to_string().as_bytes(), NOW_MS), Err(NotUnderstood::TooManyItems));
    }

    /// See *Fuzz* in `docs/contributing.md`.
    #[test]
    fn fuzz_any_body() {
        bolero::check!().for_each(|body: &[u8]| {
            let Ok(events) = parse(body, NOW_MS) else { return };
            assert_eq!(Ok(&events), parse(body, NOW_MS).as_ref(), "read twice, it says the same");
            for event in events {
                let message = match event.kind {
                    EventKind::Message(message) => message,
                    EventKind::Echo(echo) => echo.message,
                    _ => continue,
                };
                assert!((1..=MAX_EXTERNAL_ID_BYTES).contains(&message.external_id.len()));
                assert!(!message.content.preview().trim().is_empty());
                assert!(message.timestamp.is_none_or(|time| (1..=NOW_MS + MAX_AHEAD_MS).contains(&time)));
            }
        });
    }

    #[test]
    fn whatsapp_is_recognised_without_its_object() {
        let mut body = json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": {
            "messaging_product": "whatsapp", "statuses": [{"id": "wamid.1", "status": "sent"}]}}]}]});
        assert!(matches!(kinds(&body)[..], [EventKind::Status(_)]));
        body["object"] = json!("whatsapp_business_account_2");
        assert!(matches!(kinds(&body)[..], [EventKind::Status(_)]));
    }

    #[test]
    fn nothing_is_dropped_for_having_the_wrong_type() {
        let unknown = |reason| EventKind::Unknown { reason };
        for object in ["whatsapp_business_account", "page", "instagram"] {
            assert_eq!(kinds(&json!({"object": object, "entry": {"id": "1"}})), [unknown("not an array")]);
            let entries = json!([1, null, "x", [], {"id": "1", "changes": {}}, {"id": "1", "changes": [7]}]);
            let kinds = kinds(&json!({"object": object, "entry": entries}));
            assert_eq!(kinds[..4], vec![unknown("not an object"); 4]);
            assert_eq!(kinds[4..], [unknown("not an array"), unknown("not an object")]);
        }
        for key in ["messaging", "standby"] {
            let entries = json!([{"id": "1", key: {}}, {"id": "1", key: [null, 1]}]);
            let kinds = kinds(&json!({"object": "page", "entry": entries}));
            assert_eq!(kinds, [unknown("not an array"), unknown("not an object"), unknown("not an object")]);
        }
        for key in ["messages", "statuses", "message_echoes", "errors"] {
            assert_eq!(kinds(&json!({key: 1})), [unknown("not an array")]);
            assert_eq!(kinds(&json!({key: [null]})), [unknown("not an object")]);
        }
    }

    #[test]
    fn raw_is_what_came() {
        let events = parse(br#"{"object":"page","entry":{"id":"1"}}"#, NOW_MS).unwrap();
        assert_eq!(events[0].raw, json!({"entry": {"id": "1"}}));
    }

    #[test]
    fn an_account_that_can_be_none_is_unknown() {
        for id in [json!("1#2"), json!(""), json!("x".repeat(129)), json!(1.5), json!({"id": 1})] {
            let body = json!({"object": "page", "entry": [{"id": id, "messaging": [
                {"sender": {"id": "7"}, "recipient": {"id": "1"}, "timestamp": 1, "message": {"mid": "m", "text": "x"}}]}]});
            let events = parse(body.to_string().as_bytes(), NOW_MS).unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].account, None);
            assert_eq!(events[0].kind, EventKind::Unknown { reason: "invalid account id" });
        }
    }

    #[test]
    fn of_duplicate_keys_the_last_wins() {
        let body = br#"{"messages":1,"messages":[{"id":"a","id":"b","from":"1","type":"text","text":{"body":"x"}}]}"#;
        let events = parse(body, NOW_MS).unwrap();
        assert!(matches!(&events[..], [Event { kind: EventKind::Message(message), .. }] if message.external_id == "b"));
    }

    #[test]
    fn times_are_seconds_or_milliseconds_as_number_or_text() {
        let time = |value: Value| super::time(&json!({ "t": value }), "t", NOW_MS);
        for value in [json!(1_767_877_200), json!("1767877200"), json!(1_767_877_200_000_i64), json!("1767877200000")] {
            assert_eq!(time(value), Some(1_767_877_200_000));
        }
        assert_eq!(time(json!(99_999_999_999_i64)), None);
        assert_eq!(time(json!(100_000_000_000_i64)), Some(100_000_000_000));
        assert_eq!(time(json!(NOW_MS + MAX_AHEAD_MS)), Some(NOW_MS + MAX_AHEAD_MS));
        for absurd in [
            json!(NOW_MS + MAX_AHEAD_MS + 1),
            json!(0),
            json!("0"),
            json!(-5),
            json!(""),
            json!("soon"),
            json!(null),
            json!([1]),
            json!(1e300),
            json!(u64::MAX),
            json!(true),
        ] {
            assert_eq!(time(absurd.clone()), None, "{absurd}");
        }
    }

    #[test]
    fn a_notice_has_a_clean_name() {
        let name = |name: &str| match notice(name) {
            EventKind::Notice { what } => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(name("message_template_status_update"), "message_template_status_update");
        assert_eq!(name("Live Comments\n#é"), "live_comments___");
        assert_eq!(name(""), "unnamed");
        assert_eq!(name(&"x".repeat(1000)).len(), MAX_NOTICE_BYTES);
    }

    #[test]
    fn an_id_may_be_long_but_not_without_end() {
        let kinds_of = |length: usize| {
            kinds(
                &json!({"messages": [{"id": "x".repeat(length), "from": "1", "type": "text", "text": {"body": "x"}}]}),
            )
        };
        assert!(matches!(&kinds_of(1024)[..], [EventKind::Message(message)] if message.external_id.len() == 1024));
        assert_eq!(kinds_of(1025), [EventKind::Unknown { reason: "id too long" }]);
    }

    /// How many events a body must give at least: one for each item at a place that we know, whatever it is.
    fn items_of(body: &Value) -> usize {
        let entries = match body.get("entry").unwrap_or(&Value::Null) {
            Value::Array(entries) => entries,
            Value::Null => return count(body, &LISTINGS),
            _ => return 1,
        };
        let whatsapp = !matches!(body.get("object").and_then(Value::as_str), Some("page" | "instagram"));
        let items = |value: &Value| value.as_array().map_or(usize::from(!value.is_null()), Vec::len);
        entries
            .iter()
            .map(|entry| {
                if !entry.is_object() {
                    return 1;
                }
                let changes = match entry.get("changes") {
                    Some(Value::Array(changes)) if whatsapp => changes
                        .iter()
                        .map(|change| match change.get("value").filter(|value| value.is_object()) {
                            Some(value) if listings(change).iter().any(|key| value.get(*key).is_some()) => {
                                count(value, listings(change))
                            }
                            _ => 1,
                        })
                        .sum(),
                    Some(changes) => items(changes),
                    None => 0,
                };
                let messaging =
                    ["messaging", "standby"].iter().filter(|_| !whatsapp).map(|key| entry.get(*key).map_or(0, items));
                changes + messaging.sum::<usize>()
            })
            .sum()
    }

    /// The arrays of a change whose items are one event each.
    fn listings(change: &Value) -> &'static [&'static str] {
        let has = |key: &&str| change["value"].get(*key).is_some();
        match change.get("field").and_then(Value::as_str) {
            None | Some("messages" | "message_echoes" | "smb_message_echoes") => &LISTINGS,
            Some("calls") => &["calls", "statuses", "errors"],
            Some("history" | "smb_app_state_sync") => &[],
            _ if LISTINGS[..3].iter().any(has) => &LISTINGS,
            _ => &[],
        }
    }

    const LISTINGS: [&str; 4] = ["messages", "statuses", "message_echoes", "errors"];

    fn count(value: &Value, listings: &[&str]) -> usize {
        listings
            .iter()
            .filter_map(|key| value.get(*key))
            .map(|items| items.as_array().map_or(usize::from(!items.is_null()), Vec::len))
            .sum()
    }

    /// Parses a body as a stranger would send it, and checks what must hold for every body.
    fn check(body: &[u8]) {
        let Ok(events) = parse(body, NOW_MS) else { return };
        let value = json::read(body).unwrap();
        assert!(events.len() >= items_of(&value), "{} events of {value}", events.len());
        for event in events {
            match event.kind {
                EventKind::Message(IncomingMessage { customer, external_id, content, .. })
                | EventKind::Echo(Echo { message: IncomingMessage { customer, external_id, content, .. }, .. })
                | EventKind::Edit(Edit { customer, external_id, content, .. }) => {
                    assert!(customer.phone.is_some() || customer.user_id.is_some());
                    assert!(!external_id.is_empty() && external_id.len() <= MAX_EXTERNAL_ID_BYTES);
                    assert!(!content.preview().trim().is_empty());
                    assert!(!Value::Object(content.parts).to_string().contains("\\u0000"));
                }
                EventKind::Notice { what } => assert!(!what.is_empty() && what.len() <= MAX_NOTICE_BYTES),
                _ => {}
            }
        }
    }

    /// Any JSON, with the provider's words for keys and values so that it gets past the first doors.
    fn any_json() -> impl Strategy<Value = Value> {
        const WORDS: [&str; 60] = [
            "object",
            "entry",
            "changes",
            "field",
            "value",
            "messaging",
            "standby",
            "messages",
            "statuses",
            "errors",
            "message_echoes",
            "calls",
            "contacts",
            "metadata",
            "phone_number_id",
            "id",
            "from",
            "to",
            "from_user_id",
            "wa_id",
            "user_id",
            "profile",
            "name",
            "timestamp",
            "type",
            "text",
            "body",
            "image",
            "interactive",
            "nfm_reply",
            "response_json",
            "order",
            "product_items",
            "system",
            "reaction",
            "message_id",
            "emoji",
            "edit",
            "revoke",
            "original_message_id",
            "message",
            "context",
            "referral",
            "sender",
            "recipient",
            "mid",
            "attachments",
            "payload",
            "postback",
            "delivery",
            "watermark",
            "read",
            "optin",
            "message_edit",
            "status",
            "whatsapp_business_account",
            "page",
            "instagram",
            "unsupported",
            "code",
        ];
        let word = || prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            word().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(10, 96, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(prop_oneof![8 => word(), 1 => "\\PC{0,6}".boxed()], inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Everything in a value, as JSON pointers.
    fn places(value: &Value, path: &str, places: &mut Vec<String>) {
        places.push(path.to_owned());
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self::places(item, &format!("{path}/{index}"), places);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self::places(field, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), places);
                }
            }
            _ => {}
        }
    }

    #[derive(Clone, Debug)]
    enum Mutation {
        Delete,
        Replace(Value),
        Duplicate,
        Wrap,
    }

    fn mutate(body: &mut Value, place: usize, mutation: Mutation) {
        let mut all = Vec::new();
        places(body, "", &mut all);
        let path = &all[place % all.len()];
        match mutation {
            Mutation::Replace(other) => *body.pointer_mut(path).unwrap() = other,
            Mutation::Wrap => {
                let inner = body.pointer_mut(path).unwrap().take();
                *body.pointer_mut(path).unwrap() = json!([inner]);
            }
            Mutation::Delete | Mutation::Duplicate => {
                let Some((parent, key)) = path.rsplit_once('/') else { return };
                match (body.pointer_mut(parent).unwrap(), mutation) {
                    (Value::Array(items), Mutation::Delete) => {
                        items.remove(key.parse().unwrap());
                    }
                    (Value::Array(items), _) => {
                        let item = items[key.parse::<usize>().unwrap()].clone();
                        items.push(item);
                    }
                    (Value::Object(fields), Mutation::Delete) => {
                        fields.remove(&key.replace("~1", "/").replace("~0", "~"));
                    }
                    _ => {}
                }
            }
        }
    }

    fn any_mutation() -> impl Strategy<Value = Mutation> {
        prop_oneof![
            2 => Just(Mutation::Delete),
            2 => any_json().prop_map(Mutation::Replace),
            1 => Just(Mutation::Duplicate),
            1 => Just(Mutation::Wrap),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..256)) {
            check(&body);
        }

        #[test]
        fn any_json_is_survived(body in any_json()) {
            check(body.to_string().as_bytes());
        }

        #[test]
        fn any_entry_is_survived_and_none_of_its_items_dropped(
            object in prop::sample::select(vec!["whatsapp_business_account", "page", "instagram"]),
            entries in prop::collection::vec(any_json(), 0..4),
        ) {
            check(json!({"object": object, "entry": entries}).to_string().as_bytes());
        }

        #[test]
        fn any_value_is_survived_and_none_of_its_items_dropped(
            field in prop::sample::select(vec!["messages", "smb_message_echoes", "calls", "other"]),
            key in prop::sample::select(vec!["messages", "statuses", "message_echoes", "calls", "errors"]),
            items in prop::collection::vec(any_json(), 0..4),
        ) {
            let value = json!({"metadata": {"phone_number_id": "1"}, key: items});
            let entry = json!({"id": "1", "changes": [{"field": field, "value": value}]});
            check(json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string().as_bytes());
        }

        #[test]
        fn mutated_deliveries_are_survived_and_none_of_their_items_dropped(
            fixture in prop::sample::select(fixtures()),
            mutations in prop::collection::vec((any::<usize>(), any_mutation()), 1..6),
        ) {
            let mut body = json::read(&fixture.1).unwrap();
            for (place, mutation) in mutations {
                mutate(&mut body, place, mutation);
            }
            check(body.to_string().as_bytes());
        }

        #[test]
        fn damaged_deliveries_are_survived(
            fixture in prop::sample::select(fixtures()),
            length in any::<prop::sample::Index>(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let (_, mut body) = fixture;
            for (place, byte) in damage {
                let place = place.index(body.len());
                body[place] = byte;
            }
            check(&body);
            body.truncate(length.index(body.len()));
            check(&body);
        }
    }
}
