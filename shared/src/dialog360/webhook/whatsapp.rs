//! Reads what `WhatsApp` delivers: `entry[].changes[].value`, and the same value without an envelope, as the provider's
//! old webhooks send it.
//!
//! Sources: <https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text>
//! and its sibling pages.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Read, Reader, Reason, Source, Surroundings,
    account::news,
    checked_id, derived_id, edited, json,
    json::{camel_cased, flag, items, keep, number, object, put, text, trimmed},
    notice, optional_id, required_id, take, time,
};
use crate::{
    content::{Content, ContentType, REASON, is_blank, truncate},
    event::{Customer, Echo, Edit, EventKind, IncomingMessage, Party, ProviderError, Reaction, StatusChange, Unsend},
    message::Status,
    phone::canonical_phone,
    platform::Platform,
};

/// The longest file name that is kept, in characters.
const MAX_FILE_NAME_CHARS: usize = 200;

/// The longest extension that a shortened file name keeps, in characters.
const MAX_EXTENSION_CHARS: usize = 10;

/// The longest username that is kept, in bytes; the platform's have up to 30 characters.
const MAX_USERNAME_BYTES: usize = 120;

/// What the platform says for whoever sends the form of a flow, whatever is in it.
const FLOW_SENT: &str = "Sent";

/// The types of messages, each beside an object (or an array) of the same name.
const TYPES: [&str; 16] = [
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "document",
    "sticker",
    "location",
    "contacts",
    "interactive",
    "button",
    "order",
    "system",
    "reaction",
    "edit",
    "revoke",
];

/// The arrays of a value that hold messages and what happens to them.
const CONVERSATION_KEYS: [&str; 3] = ["messages", "statuses", "message_echoes"];

/// Whether a body without envelope is a value.
pub(super) fn is_value(body: &Map<String, Value>) -> bool {
    CONVERSATION_KEYS.iter().chain(&["errors"]).any(|key| body.get(*key).is_some_and(|items| !items.is_null()))
}

pub(super) fn read_entry(
    reader: &mut Reader,
    mut entry: Map<String, Value>,
    in_delivery: impl FnOnce(Map<String, Value>) -> Arc<Surroundings>,
) {
    let changes = take(&mut entry, "changes");
    let told_at =
        entry.get("time").cloned().and_then(|told| time(&serde_json::json!({ "time": told }), "time", reader.now_ms));
    // Until a change names a phone number id, nobody knows whose it is: the entry's id is the business account's.
    let entry = Source::nobody(Platform::Whatsapp, in_delivery(entry));
    let Some(changes) = changes else {
        return reader.push(&entry, None, Err("entry without changes"), Value::Object(Map::new()));
    };
    reader.each(&entry, "changes", changes, |reader, mut change| {
        let field = change.get("field").and_then(Value::as_str).map(str::to_owned);
        match (field, change.remove("value")) {
            (field, Some(Value::Object(value))) => {
                let change = Surroundings::item(change, &entry.object, "changes");
                let in_change = |fields| Surroundings::member(fields, &change, "value");
                read_value(reader, field.as_deref(), told_at, value, in_change);
            }
            (field, value) => {
                put(&mut change, "value", value);
                let read = match field.as_deref() {
                    Some(field) if !is_conversation(field) => Ok(notice(field)),
                    _ => Err("change without value"),
                };
                reader.push(&entry, Some("changes"), read, Value::Object(change));
            }
        }
    });
}

fn is_conversation(field: &str) -> bool {
    matches!(field, "messages" | "smb_message_echoes" | "message_echoes")
}

/// Reads one value. `field` says what it is about, `told_at` when that was told; without envelope there is neither.
pub(super) fn read_value(
    reader: &mut Reader,
    field: Option<&str>,
    told_at: Option<i64>,
    mut value: Map<String, Value>,
    in_delivery: impl FnOnce(Map<String, Value>) -> Arc<Surroundings>,
) {
    let arrays: &[&'static str] = match field {
        Some("calls") => &["calls", "statuses", "errors"],
        Some(field @ ("history" | "smb_app_state_sync")) => return whole(reader, field, told_at, value, in_delivery),
        Some(field) if !is_conversation(field) && !CONVERSATION_KEYS.iter().any(|key| value.contains_key(*key)) => {
            return whole(reader, field, told_at, value, in_delivery);
        }
        _ => &["messages", "message_echoes", "statuses", "errors"],
    };
    let arrays: Vec<_> = arrays.iter().map(|key| (*key, take(&mut value, key))).collect();
    // A message that lost its content tells why in the value's errors: they go with each of its messages.
    let errors = arrays.iter().find_map(|(key, items)| items.as_ref().filter(|_| *key == "errors"));
    put(&mut value, "errors", errors.cloned());
    let object = in_delivery(value);
    let source = &source_of(&object);
    let contacts = &Contacts::new(object.get("contacts"));
    let why = object.get("errors").and_then(reason);
    let why = why.as_deref();
    let own_number = object.get("metadata").and_then(|metadata| text(metadata, "display_phone_number"));
    let mut known = false;
    for (key, items) in arrays {
        known |= match (field, key) {
            (_, "messages") => reader
                .each_event(source, key, items, |item, now_ms| message(item, Party::Customer, contacts, why, now_ms)),
            (_, "message_echoes") => reader.each_event(source, key, items, |item, now_ms| {
                if is_to(item, own_number) {
                    return Ok(notice("message_to_oneself"));
                }
                message(item, Party::Business, contacts, why, now_ms)
            }),
            (_, "calls") => reader.each_event(source, key, items, |item, now_ms| call(item, contacts, now_ms)),
            (Some("calls"), "statuses") => reader.each_event(source, key, items, |_, _| Ok(notice("call_status"))),
            (_, "statuses") => reader.each_event(source, key, items, status),
            _ => reader.each_event(source, key, items, |_, _| Ok(notice("value_error"))),
        };
    }
    if !known {
        let read = if field == Some("calls") { Ok(notice("calls")) } else { Err("change without messages") };
        reader.push(source, None, read, Value::Object(Map::new()));
    }
}

/// A value that is one event.
fn whole(
    reader: &mut Reader,
    field: &str,
    told_at: Option<i64>,
    value: Map<String, Value>,
    in_delivery: impl FnOnce(Map<String, Value>) -> Arc<Surroundings>,
) {
    let value = Value::Object(value);
    let read = news(field, &value, told_at, reader.now_ms);
    let Value::Object(value) = value else { return };
    let source = source_of(&in_delivery(value));
    reader.push(&source, None, Ok(read), Value::Object(Map::new()));
}

fn source_of(object: &Arc<Surroundings>) -> Source {
    let named = object.get("metadata").and_then(|metadata| metadata.get("phone_number_id"));
    Source::of(Platform::Whatsapp, named, object)
}

fn message(item: &Value, by: Party, contacts: &Contacts<'_>, why: Option<&str>, now_ms: i64) -> Read {
    if json::id(item, "group_id").is_some() {
        return Err("group message");
    }
    let external_id = required_id(item, "id", "message without id")?.into_owned();
    let kind = type_of(item);
    let mut also_known_as = None;
    let customer = match (by, object(item, "system").filter(|_| kind == Some("system"))) {
        (Party::Customer, Some(system)) => {
            let (customer, new_ids) = changed_customer(item, system, contacts)?;
            also_known_as = new_ids;
            customer
        }
        (Party::Customer, None) => customer(item, "from", "from_user_id", contacts)?,
        (Party::Business, _) => customer(item, "to", "to_user_id", contacts)?,
    };
    let timestamp = time(item, "timestamp", now_ms);
    match kind {
        Some("reaction") => {
            let reaction = object(item, "reaction").ok_or("reaction without target")?;
            let target = required_id(reaction, "message_id", "reaction without target")?.into_owned();
            let emoji = trimmed(reaction, "emoji").map(str::to_owned);
            Ok(EventKind::Reaction(Reaction { customer, by, external_id, target, emoji, timestamp }))
        }
        Some("edit") => {
            let edit = object(item, "edit").ok_or("edit without target")?;
            let target = required_id(edit, "original_message_id", "edit without target")?.into_owned();
            let content = edited(content(object(edit, "message").ok_or("edit without message")?, why));
            Ok(EventKind::Edit(Edit { customer, by, external_id, target, content, timestamp }))
        }
        Some("revoke") => {
            let revoke = object(item, "revoke").ok_or("revoke without target")?;
            let target = required_id(revoke, "original_message_id", "revoke without target")?.into_owned();
            Ok(EventKind::Unsend(Unsend { customer, by, external_id, target, timestamp }))
        }
        kind => {
            let incoming = IncomingMessage {
                external_id,
                timestamp,
                content: content(item, why),
                reply_to: object(item, "context").and_then(|context| optional_id(context, "id")),
                from_customer: by == Party::Customer && !matches!(kind, Some("system" | "request_welcome")),
                opens_window: by == Party::Customer && kind != Some("system"),
                also_known_as,
                customer,
            };
            Ok(match by {
                Party::Customer => EventKind::Message(incoming),
                Party::Business => {
                    let callback_data = text(item, "biz_opaque_callback_data").map(str::to_owned);
                    EventKind::Echo(Echo { message: incoming, callback_data })
                }
            })
        }
    }
}

/// Who wrote a message, or received an echo: the item's own ids, completed by the contact that goes with them.
fn customer(item: &Value, phone_key: &str, user_key: &str, contacts: &Contacts<'_>) -> Result<Customer, Reason> {
    let (phone, user_id) = ids(item, phone_key, user_key)?;
    let mut customer = Customer { phone, user_id, ..Customer::default() };
    if let Some(contact) = contacts.of(customer.phone.as_deref(), customer.user_id.as_deref()) {
        let (phone, user_id) = ids(contact, "wa_id", "user_id")?;
        customer.phone = customer.phone.or(phone);
        customer.user_id = customer.user_id.or(user_id);
        take_names(&mut customer, contact);
    }
    if customer.phone.is_none() && customer.user_id.is_none() { Err("message without sender") } else { Ok(customer) }
}

/// A phone number and a user id.
fn ids(value: &Value, phone_key: &str, user_key: &str) -> Result<(Option<String>, Option<String>), Reason> {
    let id = |key| checked_id(value, key).map(|id| id.map(Cow::into_owned));
    // Where a user id stands for a phone number, it is shown to nobody as one, and nothing is sent to it as one.
    Ok(match (id(phone_key)?, id(user_key)?) {
        (Some(phone), user_id) if is_user_id(&phone) => (None, user_id.or(Some(phone))),
        ids => ids,
    })
}

fn take_names(customer: &mut Customer, contact: &Value) {
    let Some(profile) = object(contact, "profile") else { return };
    let username = trimmed(profile, "username").map(|username| username.trim_start_matches('@'));
    customer.name = trimmed(profile, "name").map(str::to_owned);
    customer.username = username.filter(|username| !username.is_empty()).map(|name| truncate(name, MAX_USERNAME_BYTES));
}

/// Whom a line of the platform is about, and the new ids that it tells of: the sender is who the customer was. Where it shows
/// only new ids, it is about whoever has them.
fn changed_customer(
    item: &Value,
    system: &Value,
    contacts: &Contacts<'_>,
) -> Result<(Customer, Option<Customer>), Reason> {
    let new_phone = optional_id(system, "wa_id").or(optional_id(system, "new_wa_id"));
    let new_user_id = optional_id(system, "user_id");
    let (from, from_user_id) = ids(item, "from", "from_user_id")?;
    // The old interface names whoever changed the number only as its `customer`.
    let (named, previous) = ids(system, "customer", "previous_user_id")?;
    // The sender may be shown with the new ids already.
    let user_id = previous.or(from_user_id);
    let (old_phone, old_user_id) = (from.or(named), user_id.filter(|id| Some(id) != new_user_id.as_ref()));
    let changed_phone = new_phone.clone().filter(|id| Some(id) != old_phone.as_ref());
    let mut customer = Customer { phone: old_phone, user_id: old_user_id, ..Customer::default() };
    let mut new_ids = Customer { phone: changed_phone, user_id: new_user_id, ..Customer::default() };
    if customer.phone.is_none() && customer.user_id.is_none() {
        customer = Customer { phone: new_phone, user_id: new_ids.user_id, ..Customer::default() };
        new_ids = Customer::default();
    }
    if customer.phone.is_none() && customer.user_id.is_none() {
        return Err("message without sender");
    }
    if let Some(contact) = contacts.of(customer.phone.as_deref(), customer.user_id.as_deref()) {
        take_names(&mut customer, contact);
    }
    let is_changed = new_ids.phone.is_some() || new_ids.user_id.is_some();
    Ok((customer, is_changed.then_some(new_ids)))
}

/// Whether it has the form of a business-scoped user id: a country's two letters, a dot, and more.
fn is_user_id(id: &str) -> bool {
    matches!(id.as_bytes(), [one, two, b'.', _, ..] if one.is_ascii_uppercase() && two.is_ascii_uppercase())
}

/// Whether a message of the business went to its own number: nobody becomes a customer of itself.
fn is_to(item: &Value, own_number: Option<&str>) -> bool {
    let digits = |number: &str| number.chars().filter(char::is_ascii_digit).collect::<String>();
    own_number.zip(json::id(item, "to")).is_some_and(|(own, to)| canonical_phone(&digits(own)) == canonical_phone(&to))
}

/// The `contacts` of a value: who the people in it are.
struct Contacts<'a> {
    all: &'a [Value],
    /// By the name and value of each of their ids, where there are several.
    by_id: HashMap<(&'static str, Cow<'a, str>), &'a Value>,
}

impl<'a> Contacts<'a> {
    fn new(contacts: Option<&'a Value>) -> Self {
        let all = contacts.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut by_id = HashMap::new();
        if all.len() > 1 {
            for contact in all {
                for key in ["wa_id", "user_id"] {
                    if let Some(id) = json::id(contact, key) {
                        // Of several for one person, the last is what the provider knows now.
                        by_id.insert((key, id), contact);
                    }
                }
            }
        }
        Self { all, by_id }
    }

    /// The contact with one of these ids; else the only contact, unless it has other ids.
    fn of(&self, phone: Option<&str>, user_id: Option<&str>) -> Option<&'a Value> {
        if let [only] = self.all {
            return Some(only).filter(|only| !is_somebody_else(only, phone, user_id));
        }
        let find = |key, id: &str| self.by_id.get(&(key, Cow::Borrowed(id))).copied();
        let by_phone = phone.and_then(|phone| find("wa_id", phone));
        let by_user = || user_id.and_then(|user_id| find("user_id", user_id).or_else(|| find("wa_id", user_id)));
        by_phone.or_else(by_user)
    }
}

/// Whether a contact has none of these ids, and others instead.
fn is_somebody_else(contact: &Value, phone: Option<&str>, user_id: Option<&str>) -> bool {
    let compare = |key, id: Option<&str>, same: fn(&str, &str) -> bool| Some(same(id?, &json::id(contact, key)?));
    let same_phone = compare("wa_id", phone, |one, other| canonical_phone(one) == canonical_phone(other));
    let same_user = compare("user_id", user_id, |one, other| one == other);
    let any = |wanted| same_phone == Some(wanted) || same_user == Some(wanted);
    any(false) && !any(true)
}

/// What a message is: its type, or where that is missing, what it holds.
fn type_of(message: &Value) -> Option<&str> {
    let holds = |kind: &&str| message.get(*kind).is_some_and(|body| body.is_object() || body.is_array());
    text(message, "type").or_else(|| TYPES.into_iter().find(holds))
}

/// What a message holds. `why` is what the platform says about messages whose content it lost.
fn content(message: &Value, why: Option<&str>) -> Content {
    let kind = type_of(message).unwrap_or("unknown");
    let why_not = message.get("errors").and_then(reason);
    let mut content = object(message, kind)
        .and_then(|body| typed(kind, body))
        .or_else(|| match kind {
            "contacts" => contacts(message),
            "request_welcome" => {
                let parts = Map::from_iter([("kind".to_owned(), Value::from(kind))]);
                Some(Content { text: Some("Opened the chat".to_owned()), ..Content::new(ContentType::System, parts) })
            }
            _ => None,
        })
        .unwrap_or_else(|| unsupported(message, kind, why));
    put(&mut content.parts, REASON, why_not);
    if let Some(context) = object(message, "context") {
        put(&mut content.parts, "forwarded", flag(context, "forwarded").then_some(true));
        put(&mut content.parts, "frequentlyForwarded", flag(context, "frequently_forwarded").then_some(true));
        put(&mut content.parts, "referredProduct", object(context, "referred_product").map(camel_cased));
    }
    put(&mut content.parts, "referral", object(message, "referral").map(camel_cased));
    content
}

/// The content of a message of that type, whose object of the same name is `body`.
fn typed(kind: &str, body: &Value) -> Option<Content> {
    Some(match kind {
        "text" => Content { text: text(body, "body").map(str::to_owned), ..Content::text("") },
        "image" => media(ContentType::Image, body),
        "video" => media(ContentType::Video, body),
        "audio" => media(ContentType::Audio, body),
        "voice" => {
            let mut content = media(ContentType::Audio, body);
            put(&mut content.parts, "voice", Some(true));
            content
        }
        "document" => media(ContentType::Document, body),
        "sticker" => media(ContentType::Sticker, body),
        "location" => location(body),
        "interactive" => interactive(body),
        "button" => {
            let mut parts = Map::new();
            put(&mut parts, "payload", text(body, "payload"));
            put(&mut parts, "title", text(body, "text"));
            Content { text: text(body, "text").map(str::to_owned), ..Content::new(ContentType::Button, parts) }
        }
        "order" => order(body),
        "system" => system(body),
        _ => return None,
    })
}

fn media(content_type: ContentType, media: &Value) -> Content {
    let mut parts = Map::new();
    put(&mut parts, "id", optional_id(media, "id"));
    put(&mut parts, "mimeType", text(media, "mime_type"));
    put(&mut parts, "fileName", text(media, "filename").and_then(file_name));
    put(&mut parts, "voice", media.get("voice").and_then(Value::as_bool));
    put(&mut parts, "animated", media.get("animated").and_then(Value::as_bool));
    put(&mut parts, "url", text(media, "url"));
    put(&mut parts, "sha256", text(media, "sha256"));
    Content { text: text(media, "caption").map(str::to_owned), ..Content::new(content_type, parts) }
}

/// A name that is safe to show and to save under: no path, no control characters, not too long.
fn file_name(name: &str) -> Option<String> {
    // Beside control characters, those that reverse the direction of writing: they disguise extensions.
    let invisible = |character: char| {
        character.is_control()
            || matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let separated = |character| if matches!(character, '/' | '\\') { '_' } else { character };
    let name: String = name.chars().filter(|character| !invisible(*character)).map(separated).collect();
    let name = name.trim();
    if name.trim_matches('.').is_empty() {
        return None;
    }
    if name.chars().count() <= MAX_FILE_NAME_CHARS {
        return Some(name.to_owned());
    }
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension: String = match extension.chars().count() {
        1..=MAX_EXTENSION_CHARS => format!(".{extension}"),
        _ => String::new(),
    };
    let stem = MAX_FILE_NAME_CHARS - extension.chars().count();
    Some(name.chars().take(stem).chain(extension.chars()).collect())
}

fn location(location: &Value) -> Content {
    let mut parts = Map::new();
    put(&mut parts, "latitude", number(location, "latitude"));
    put(&mut parts, "longitude", number(location, "longitude"));
    for key in ["name", "address", "url"] {
        put(&mut parts, key, trimmed(location, key));
    }
    Content::new(ContentType::Location, parts)
}

fn contacts(message: &Value) -> Option<Content> {
    let contacts = message.get("contacts").filter(|contacts| contacts.is_array())?;
    let names: Vec<&str> = items(message, "contacts").iter().filter_map(contact_name).collect();
    let mut parts = Map::new();
    put(&mut parts, "contacts", Some(camel_cased(contacts)));
    put(&mut parts, "origin", text(message, "origin"));
    let text = (!names.is_empty()).then(|| names.join(", "));
    Some(Content { text, ..Content::new(ContentType::Contacts, parts) })
}

/// What a person calls a card: its name, or else the number or address to reach whoever it is.
fn contact_name(contact: &Value) -> Option<&str> {
    let name = object(contact, "name").unwrap_or(&Value::Null);
    let first = |list: &'static str, key: &str| items(contact, list).iter().find_map(|item| trimmed(item, key));
    let vcard = text(contact, "vcard").unwrap_or_default();
    ["formatted_name", "first_name", "last_name"]
        .iter()
        .find_map(|key| trimmed(name, key))
        .or_else(|| vcard_line(vcard, "FN"))
        .or_else(|| trimmed(object(contact, "org")?, "company"))
        .or_else(|| first("phones", "phone").or_else(|| first("phones", "wa_id")))
        .or_else(|| vcard_line(vcard, "TEL"))
        .or_else(|| first("emails", "email").or_else(|| vcard_line(vcard, "EMAIL")))
}

/// The first value of a property of a vCard, whatever its parameters and its group: `item1.TEL;type=CELL:+49 171`.
fn vcard_line<'a>(vcard: &'a str, property: &str) -> Option<&'a str> {
    vcard.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.split(';').next()?;
        let name = name.rsplit('.').next()?;
        Some(value.trim()).filter(|value| name.eq_ignore_ascii_case(property) && !is_blank(value))
    })
}

fn interactive(interactive: &Value) -> Content {
    let kind = text(interactive, "type").or_else(|| {
        let mut bodies = interactive.as_object()?.iter().filter(|(_, body)| body.is_object());
        bodies.next().map(|(kind, _)| kind.as_str())
    });
    let kind = kind.unwrap_or("unknown");
    let body = object(interactive, kind).unwrap_or(interactive);
    let mut parts = Map::new();
    let text = match kind {
        "button_reply" | "list_reply" => {
            for key in ["id", "title", "description"] {
                put(&mut parts, key, text(body, key));
            }
            text(body, "title").map(str::to_owned)
        }
        "nfm_reply" => {
            put(&mut parts, "name", text(body, "name"));
            put(&mut parts, "body", text(body, "body"));
            put(&mut parts, "response", body.get("response_json").filter(|response| !response.is_null()).map(response));
            text(body, "body").filter(|body| *body != FLOW_SENT).map(str::to_owned)
        }
        "call_permission_reply" => {
            put(&mut parts, "response", text(body, "response"));
            put(&mut parts, "expirationTimestamp", number(body, "expiration_timestamp"));
            put(&mut parts, "responseSource", text(body, "response_source"));
            text(body, "response").map(|response| format!("Call permission: {response}"))
        }
        _ => {
            if let Value::Object(fields) = camel_cased(body) {
                parts = fields;
            }
            let inner = object(interactive, "body").and_then(|body| text(body, "text"));
            text(body, "title").or(text(body, "text")).or(inner).map(str::to_owned)
        }
    };
    put(&mut parts, "kind", Some(kind));
    Content { text, ..Content::new(ContentType::Interactive, parts) }
}

/// The answers of a flow: JSON within a text; as it came, where it is none.
fn response(response: &Value) -> Value {
    match response.as_str().map(|text| json::read(text.as_bytes())) {
        Some(Some(parsed)) => keep(&parsed),
        _ => keep(response),
    }
}

fn order(order: &Value) -> Content {
    let item = |item: &Value| {
        let mut parts = Map::new();
        put(&mut parts, "productRetailerId", optional_id(item, "product_retailer_id"));
        put(&mut parts, "quantity", number(item, "quantity"));
        put(&mut parts, "itemPrice", number(item, "item_price"));
        put(&mut parts, "currency", text(item, "currency"));
        Value::Object(parts)
    };
    let mut parts = Map::new();
    put(&mut parts, "catalogId", optional_id(order, "catalog_id"));
    put(&mut parts, "items", Some(items(order, "product_items").iter().map(item).collect::<Value>()));
    Content { text: text(order, "text").map(str::to_owned), ..Content::new(ContentType::Order, parts) }
}

fn system(system: &Value) -> Content {
    let kind = text(system, "type").unwrap_or("unknown");
    let mut parts = Map::new();
    put(&mut parts, "kind", Some(kind));
    put(&mut parts, "body", text(system, "body"));
    put(&mut parts, "phone", optional_id(system, "wa_id").or(optional_id(system, "new_wa_id")));
    put(&mut parts, "userId", optional_id(system, "user_id"));
    let line = text(system, "body").or(match kind {
        "user_changed_number" | "customer_changed_number" => Some("Changed the phone number"),
        "user_changed_user_id" => Some("Changed the user id"),
        "customer_identity_changed" => Some("Changed the security code"),
        _ => None,
    });
    Content { text: line.map(str::to_owned), ..Content::new(ContentType::System, parts) }
}

/// What we cannot show: its type and its JSON as they came.
fn unsupported(message: &Value, kind: &str, why: Option<&str>) -> Content {
    let mut parts = Map::new();
    // Newer webhooks tell what it would have been.
    let told = object(message, "unsupported").and_then(|unsupported| text(unsupported, "type"));
    put(&mut parts, "type", Some(told.unwrap_or(kind)));
    put(&mut parts, "raw", Some(keep(message)));
    put(&mut parts, REASON, why);
    Content::new(ContentType::Unsupported, parts)
}

/// The first of the provider's errors, in its most telling words.
fn reason(errors: &Value) -> Option<String> {
    let error = provider_error(errors)?;
    Some(error.details.unwrap_or(error.title)).filter(|reason| !reason.is_empty())
}

/// The first of the provider's errors.
fn provider_error(errors: &Value) -> Option<ProviderError> {
    let error = errors.as_array().and_then(|errors| errors.first()).unwrap_or(errors);
    if !error.is_object() {
        return None;
    }
    let title = text(error, "title").or(text(error, "message")).unwrap_or_default();
    let details = object(error, "error_data").and_then(|data| text(data, "details"));
    let details = details.or(text(error, "details")).or(text(error, "message")).filter(|details| *details != title);
    Some(ProviderError {
        code: json::id(error, "code").unwrap_or_default().into_owned(),
        title: title.to_owned(),
        details: details.map(str::to_owned),
        ..ProviderError::default()
    })
}

fn status(item: &Value, now_ms: i64) -> Read {
    // Calls and payments have statuses of their own, which say nothing about the message that they are told of.
    match text(item, "type") {
        None | Some("message") => {}
        Some(kind @ ("call" | "payment")) => return Ok(notice(&format!("{kind}_status"))),
        Some(_) => return Err("unknown type of status"),
    }
    let external_id = required_id(item, "id", "status without id")?.into_owned();
    let status = match text(item, "status") {
        Some("sent") => Status::Sent,
        Some("delivered") => Status::Delivered,
        // A voice message that is played is read.
        Some("read" | "played") => Status::Read,
        Some("failed") => Status::Failed,
        // The old interface's: the customer deleted our message; a product of a catalogue is missing.
        Some(other @ ("deleted" | "warning")) => return Ok(notice(&format!("status_{other}"))),
        Some(_) => return Err("unknown status"),
        None => return Err("status without status"),
    };
    let error = item.get("errors").filter(|_| status == Status::Failed).and_then(provider_error);
    let callback_data = text(item, "biz_opaque_callback_data").map(str::to_owned);
    let timestamp = time(item, "timestamp", now_ms);
    Ok(EventKind::Status(StatusChange { external_id, callback_data, status, timestamp, error }))
}

fn call(item: &Value, contacts: &Contacts<'_>, now_ms: i64) -> Read {
    match (text(item, "event"), text(item, "direction")) {
        (Some("connect"), Some("USER_INITIATED")) => {
            let parts = Map::from_iter([("direction".to_owned(), Value::from("inbound"))]);
            Ok(EventKind::Message(IncomingMessage {
                external_id: required_id(item, "id", "message without id")?.into_owned(),
                customer: customer(item, "from", "from_user_id", contacts)?,
                timestamp: time(item, "timestamp", now_ms),
                content: Content::new(ContentType::Call, parts),
                reply_to: None,
                from_customer: true,
                opens_window: true,
                also_known_as: None,
            }))
        }
        (Some("terminate"), direction) => call_end(item, direction, contacts, now_ms),
        (Some(event), _) => Ok(notice(&format!("call_{event}"))),
        (None, _) => Err("call without event"),
    }
}

/// How a call ended: a line of the thread.
fn call_end(item: &Value, direction: Option<&str>, contacts: &Contacts<'_>, now_ms: i64) -> Read {
    let id = required_id(item, "id", "message without id")?;
    let (direction, customer) = match direction {
        Some("BUSINESS_INITIATED") => ("outbound", customer(item, "to", "to_user_id", contacts)?),
        _ => ("inbound", customer(item, "from", "from_user_id", contacts)?),
    };
    let duration = json::integer(item, "duration").filter(|duration| *duration >= 0);
    let failed = text(item, "status").is_some_and(|status| status.eq_ignore_ascii_case("failed"));
    let line = match duration {
        _ if failed => "The call failed".to_owned(),
        Some(seconds @ ..60) => format!("The call ended after {seconds} s"),
        Some(seconds) => format!("The call ended after {} min {} s", seconds / 60, seconds % 60),
        None => "The call ended".to_owned(),
    };
    let mut parts = Map::new();
    put(&mut parts, "direction", Some(direction));
    put(&mut parts, "durationSeconds", duration);
    put(&mut parts, "status", text(item, "status").map(str::to_ascii_lowercase));
    Ok(EventKind::Message(IncomingMessage {
        // The call's own id is its beginning's.
        external_id: derived_id("call_terminate", &[&id]),
        customer,
        timestamp: time(item, "timestamp", now_ms),
        content: Content { text: Some(line), ..Content::new(ContentType::Call, parts) },
        reply_to: None,
        from_customer: false,
        opens_window: false,
        also_known_as: None,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{events, kinds, only},
        *,
    };
    use crate::event::Event;

    const ACCOUNT: &str = "700100200300402";
    const SENT_MS: i64 = 1_767_877_200_000;

    fn lena() -> Customer {
        Customer {
            phone: Some("491713920012".into()),
            user_id: Some("DE.81720034455667788990".into()),
            name: Some("Lena Vogt".into()),
            username: None,
        }
    }

    fn kind(name: &str) -> EventKind {
        let event = only(&format!("whatsapp/{name}"));
        assert_eq!(event.account.as_ref().map(ToString::to_string).as_deref(), Some(ACCOUNT), "{name}");
        event.kind
    }

    fn message(name: &str) -> IncomingMessage {
        match kind(name) {
            EventKind::Message(message) => message,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The content of a fixture's message, which is the customer's own and opens the window.
    fn content(name: &str) -> Content {
        let message = message(name);
        assert!(message.from_customer && message.opens_window, "{name}");
        assert_eq!(message.customer, lena(), "{name}");
        message.content
    }

    fn expected(content_type: ContentType, text: Option<&str>, parts: Value) -> Content {
        let Value::Object(parts) = parts else { panic!("{parts}") };
        Content { content_type, text: text.map(str::to_owned), parts }
    }

    /// What a message made by a test turns out to be.
    fn one(message: &Value) -> EventKind {
        kinds(&json!({"messages": [message]})).remove(0)
    }

    fn one_content(message: &Value) -> Content {
        match one(message) {
            EventKind::Message(message) => message.content,
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn a_text_is_read_whole() {
        let raw = json!({"from": "491713920012", "from_user_id": "DE.81720034455667788990",
            "id": "wamid.HBgMNDkxNzEzOTIwMDEyFQIAEhgWM0VCMDA0", "timestamp": "1767877200", "type": "text",
            "text": {"body": "Hello, is the blue one in stock?"}});
        let message = IncomingMessage {
            customer: Customer { username: Some("lenavogt".into()), ..lena() },
            external_id: "wamid.HBgMNDkxNzEzOTIwMDEyFQIAEhgWM0VCMDA0".into(),
            timestamp: Some(SENT_MS),
            content: Content::text("Hello, is the blue one in stock?"),
            reply_to: None,
            from_customer: true,
            opens_window: true,
            also_known_as: None,
        };
        let account = Some(ACCOUNT.parse().unwrap());
        let place = only("whatsapp/text").place;
        let event = Event { platform: Platform::Whatsapp, account, kind: EventKind::Message(message), raw, place };
        assert_eq!(only("whatsapp/text"), event);
    }

    #[test]
    fn a_sender_is_known_by_whatever_is_there() {
        let without_phone = message("text_without_phone").customer;
        assert_eq!(without_phone, Customer { phone: None, username: Some("lenavogt".into()), ..lena() });
        let without_contacts = message("text_without_contacts").customer;
        assert_eq!(without_contacts, Customer { phone: lena().phone, ..Customer::default() });
        assert_eq!(message("text_of_many_contacts").customer, lena());
    }

    #[test]
    fn user_id_in_place_of_a_number_is_no_number() {
        let item = |from: &str| json!({"from": from, "id": "wamid.1", "type": "text", "text": {"body": "x"}});
        let contact = json!({"wa_id": "DE.8172", "profile": {"name": "Lena"}});
        let lena = Customer { user_id: Some("DE.8172".into()), name: Some("Lena".into()), ..Customer::default() };
        for contacts in [json!([contact]), json!([{"wa_id": "1"}, contact])] {
            let EventKind::Message(message) =
                kinds(&json!({"contacts": contacts, "messages": [item("DE.8172")]})).remove(0)
            else {
                panic!("{contacts}")
            };
            assert_eq!(message.customer, lena, "{contacts}");
        }
        for number in ["491713920012", "DE8172", "de.8172", "DE."] {
            assert!(!is_user_id(number), "{number}");
        }
    }

    #[test]
    fn last_of_several_contacts_names_the_customer() {
        let contact = |name: &str| json!({"wa_id": "1", "profile": {"name": name}});
        let item = json!({"from": "1", "id": "wamid.1", "type": "text", "text": {"body": "x"}});
        let EventKind::Message(message) =
            kinds(&json!({"contacts": [contact("Before"), contact("Now")], "messages": [item]})).remove(0)
        else {
            panic!("a message")
        };
        assert_eq!(message.customer.name.as_deref(), Some("Now"));
    }

    #[test]
    fn echo_to_the_own_number_makes_no_customer() {
        let echo = |to: &str| {
            let item = json!({"to": to, "id": "wamid.1", "type": "text", "text": {"body": "x"}});
            let metadata = json!({"phone_number_id": ACCOUNT, "display_phone_number": "+49 30 123456"});
            kinds(&json!({"metadata": metadata, "message_echoes": [item]})).remove(0)
        };
        assert_eq!(echo("4930123456"), notice("message_to_oneself"));
        assert!(matches!(echo("491713920012"), EventKind::Echo(_)));
    }

    #[test]
    fn a_contact_goes_with_the_message_that_has_its_ids() {
        let customer = |contacts: Value, message: Value| {
            let mut item = json!({"id": "wamid.1", "type": "text", "text": {"body": "x"}});
            item.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
            match kinds(&json!({"contacts": contacts, "messages": [item]})).remove(0) {
                EventKind::Message(message) => Ok(message.customer),
                EventKind::Unknown { reason } => Err(reason),
                other => panic!("{other:?}"),
            }
        };
        let phone = |phone: &str| Customer { phone: Some(phone.into()), ..Customer::default() };
        let ann = json!({"wa_id": "1", "user_id": "US.1", "profile": {"name": " Ann ", "username": "@@"}});
        let ann_is = Customer { user_id: Some("US.1".into()), name: Some("Ann".into()), ..phone("1") };
        let bob = json!({"wa_id": "2", "profile": {"name": "  "}});

        // By either id, and the only one where the message has none.
        assert_eq!(customer(json!([bob, ann]), json!({"from": "1"})), Ok(ann_is.clone()));
        assert_eq!(customer(json!([bob, ann]), json!({"from_user_id": "US.1"})), Ok(ann_is.clone()));
        assert_eq!(customer(json!([ann]), json!({})), Ok(ann_is.clone()));
        assert_eq!(customer(json!([ann, bob]), json!({})), Err("message without sender"));
        assert_eq!(customer(json!([bob]), json!({"from": 2})), Ok(phone("2")));
        // Never somebody else's.
        assert_eq!(customer(json!([ann]), json!({"from": "3"})), Ok(phone("3")));
        assert_eq!(customer(json!([ann, bob]), json!({"from": "3"})), Ok(phone("3")));
        let other = Customer { user_id: Some("US.2".into()), ..Customer::default() };
        assert_eq!(customer(json!([ann]), json!({"from_user_id": "US.2"})), Ok(other));
        // Another spelling of the same number is no other.
        let brazilian = json!({"wa_id": "551187654321", "profile": {"name": "Ana"}});
        let ana = Customer { name: Some("Ana".into()), ..phone("5511987654321") };
        assert_eq!(customer(json!([brazilian]), json!({"from": "5511987654321"})), Ok(ana));
        // Nonsense is nobody.
        for contacts in [json!(null), json!({}), json!([null]), json!([{"profile": 1}]), json!([{"wa_id": ""}])] {
            assert_eq!(customer(contacts.clone(), json!({})), Err("message without sender"), "{contacts}");
            assert_eq!(customer(contacts, json!({"from": "1"})), Ok(phone("1")));
        }
    }

    #[test]
    fn media_are_read_with_their_metadata() {
        let image = json!({"id": "1101200300400500", "mimeType": "image/jpeg", "sha256": "b2xkIGZyaWVuZHM=",
            "url": "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1101200300400500&source=webhook&ext=1767877501&hash=AbC"});
        assert_eq!(content("image"), expected(ContentType::Image, Some("The label"), image));
        let video = json!({"id": "1101200300400501", "mimeType": "video/mp4", "sha256": "dmlkZW8="});
        assert_eq!(content("video"), expected(ContentType::Video, Some("Noise"), video));
        let audio = json!({"id": "1101200300400502", "mimeType": "audio/ogg; codecs=opus", "sha256": "YXVkaW8=", "voice": true});
        assert_eq!(content("audio"), expected(ContentType::Audio, None, audio));
        let voice = json!({"id": "463eb7ec-ff4d-4d9b-b110-0da05eb4bc95", "mimeType": "audio/ogg; codecs=opus",
            "sha256": "dm9pY2U=", "voice": true});
        assert_eq!(content("voice"), expected(ContentType::Audio, None, voice));
        let document = json!({"id": "1101200300400503", "mimeType": "application/pdf", "sha256": "cGRm",
            "fileName": "Rechnung März.pdf"});
        assert_eq!(content("document"), expected(ContentType::Document, Some("Invoice"), document));
        let sticker =
            json!({"id": "1101200300400504", "mimeType": "image/webp", "sha256": "c3RpY2tlcg==", "animated": false});
        assert_eq!(content("sticker"), expected(ContentType::Sticker, None, sticker));
    }

    #[test]
    fn media_that_did_not_come_are_shown_with_the_reason() {
        let content = content("image_too_large");
        assert_eq!(content.content_type, ContentType::Unsupported);
        assert_eq!(content.parts["type"], "image");
        assert_eq!(
            content.parts["reason"],
            "Failed to download the media from the sender. Reason: media file is over 100 MB"
        );
    }

    #[test]
    fn file_names_are_safe() {
        for (name, safe) in [
            ("Rechnung März.pdf", Some("Rechnung März.pdf")),
            ("../../etc/passwd", Some(".._.._etc_passwd")),
            ("C:\\temp\\x.exe", Some("C:_temp_x.exe")),
            ("a\n\u{7f}\u{9b}b.txt", Some("ab.txt")),
            ("invoice\u{202E}fdp.exe", Some("invoicefdp.exe")),
            ("  .. ", None),
            (".", None),
            (" \t", None),
            ("", None),
            (".env", Some(".env")),
        ] {
            assert_eq!(file_name(name).as_deref(), safe, "{name:?}");
        }
        let long = file_name(&format!("{}.pdf", "ä".repeat(300))).unwrap();
        assert_eq!(long.chars().count(), MAX_FILE_NAME_CHARS);
        assert!(long.ends_with("ä.pdf"));
        let long = file_name(&format!("x.{}", "y".repeat(300))).unwrap();
        assert_eq!(long, format!("x.{}", "y".repeat(198)));
    }

    #[test]
    fn a_location_is_read() {
        let parts = json!({"latitude": 52.520_008, "longitude": 13.404_954, "name": "Shop", "address": "Alex 1, Berlin",
            "url": "https://example.com"});
        assert_eq!(content("location"), expected(ContentType::Location, None, parts));
    }

    #[test]
    fn contact_cards_are_read() {
        let content = content("contacts");
        assert_eq!((content.content_type, content.text.as_deref()), (ContentType::Contacts, Some("Max Beispiel")));
        let card = &content.parts["contacts"][0];
        assert_eq!(card["name"]["formattedName"], "Max Beispiel");
        assert_eq!(card["phones"], json!([{"phone": "+49 171 3920013", "waId": "491713920013", "type": "CELL"}]));
        assert_eq!(card["addresses"][0]["countryCode"], "de");
        let shared = json!({"id": "1", "from": "1", "type": "contacts", "origin": "contact_request", "contacts": []});
        let parts = json!({"contacts": [], "origin": "contact_request"});
        assert_eq!(one_content(&shared), expected(ContentType::Contacts, None, parts));
    }

    #[test]
    fn replies_to_buttons_lists_and_flows_are_read() {
        let parts = json!({"kind": "button_reply", "id": "confirm:42", "title": "Yes, please"});
        assert_eq!(content("button_reply"), expected(ContentType::Interactive, Some("Yes, please"), parts));
        assert_eq!(message("button_reply").reply_to.as_deref(), Some("wamid.OUT9"));
        let parts = json!({"kind": "list_reply", "id": "slot-0930", "title": "09:30", "description": "Dr. Kim"});
        assert_eq!(content("list_reply"), expected(ContentType::Interactive, Some("09:30"), parts));
        let response = json!({"flow_token": "f-77", "size": "M"});
        let parts = json!({"kind": "nfm_reply", "name": "flow", "body": "Sent", "response": response});
        assert_eq!(content("flow_reply"), expected(ContentType::Interactive, None, parts));
        assert_eq!(content("flow_reply").preview(), "size: M");
        let parts = json!({"kind": "call_permission_reply", "response": "accept", "expirationTimestamp": 1_768_482_000,
            "responseSource": "user_action"});
        let text = Some("Call permission: accept");
        assert_eq!(content("call_permission_reply"), expected(ContentType::Interactive, text, parts));
        let parts = json!({"payload": "STOP-PROMO", "title": "Stop promotions"});
        assert_eq!(content("button"), expected(ContentType::Button, Some("Stop promotions"), parts));
    }

    #[test]
    fn the_answers_of_a_flow_are_json_or_text() {
        let response = |response: Value| {
            let body = json!({"type": "nfm_reply", "nfm_reply": {"response_json": response}});
            let message = json!({"id": "1", "from": "1", "type": "interactive", "interactive": body});
            one_content(&message).parts.remove("response")
        };
        assert_eq!(response(json!("{not json")), Some(json!("{not json")));
        assert_eq!(response(json!("\"a\\u0000b\\ud83d\"")), Some(json!("ab\u{FFFD}")));
        assert_eq!(response(json!({"a_b": 1})), Some(json!({"a_b": 1})));
        assert_eq!(response(json!(null)), None);
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(response(json!(deep)), Some(json!(deep)));
    }

    #[test]
    fn other_interactive_messages_keep_what_they_hold() {
        let content = |interactive: Value| {
            one_content(&json!({"id": "1", "from": "1", "type": "interactive", "interactive": interactive}))
        };
        let future = content(json!({"type": "slider_reply", "slider_reply": {"title": "7 of 10", "slider_value": 7}}));
        let parts = json!({"kind": "slider_reply", "title": "7 of 10", "sliderValue": 7});
        assert_eq!(future, expected(ContentType::Interactive, Some("7 of 10"), parts));
        let untyped = content(json!({"button_reply": {"id": "a", "title": "b"}}));
        let parts = json!({"kind": "button_reply", "id": "a", "title": "b"});
        assert_eq!(untyped, expected(ContentType::Interactive, Some("b"), parts));
        let sent = content(json!({"type": "button", "body": {"text": "Shall we?"}}));
        assert_eq!(sent.text.as_deref(), Some("Shall we?"));
        assert_eq!(content(json!({})).parts["kind"], "unknown");
    }

    #[test]
    fn an_interactive_message_without_content_is_shown_with_the_reason() {
        let events = events("whatsapp/interactive_without_content");
        let [Event { kind: EventKind::Message(message), raw, .. }, Event { kind: error, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        let parts = json!({"type": "interactive", "raw": raw, "reason": "Message content could not be read."});
        assert_eq!(message.content, expected(ContentType::Unsupported, None, parts));
        assert_eq!(error, &notice("value_error"));
    }

    #[test]
    fn reactions_come_and_go() {
        let reaction = Reaction {
            customer: lena(),
            by: Party::Customer,
            external_id: "wamid.A12".into(),
            target: "wamid.OUT12".into(),
            emoji: Some("👍🏽".into()),
            timestamp: Some(SENT_MS + 12_000),
        };
        assert_eq!(kind("reaction"), EventKind::Reaction(reaction.clone()));
        let timestamp = Some(SENT_MS + 13_000);
        let removed = Reaction { external_id: "wamid.A12R".into(), emoji: None, timestamp, ..reaction };
        assert_eq!(kind("reaction_removed"), EventKind::Reaction(removed));
        for emoji in [json!(""), json!(null)] {
            let body = json!({"message_id": "wamid.1", "emoji": emoji});
            let item = json!({"id": "1", "from": "1", "type": "reaction", "reaction": body});
            assert!(matches!(one(&item), EventKind::Reaction(Reaction { emoji: None, .. })));
        }
    }

    #[test]
    fn an_order_is_read() {
        let parts = json!({"catalogId": "600700800900", "items": [
            {"productRetailerId": "SKU-1", "quantity": 2, "itemPrice": 19.9, "currency": "EUR"},
            {"productRetailerId": "SKU-2", "quantity": 1, "itemPrice": 5, "currency": "EUR"}]});
        assert_eq!(content("order"), expected(ContentType::Order, Some("Gift wrap please"), parts));
    }

    /// Whom a line is about, and the new ids that it tells.
    fn changed(mut item: Value, contacts: &Value) -> (Customer, Option<Customer>) {
        item["id"] = json!("wamid.S");
        item["type"] = json!("system");
        match kinds(&json!({"contacts": contacts, "messages": [item]})).remove(0) {
            EventKind::Message(message) => (message.customer, message.also_known_as),
            other => panic!("{other:?}"),
        }
    }

    fn known(phone: Option<&str>, user_id: Option<&str>) -> Customer {
        Customer { phone: phone.map(Into::into), user_id: user_id.map(Into::into), ..Customer::default() }
    }

    #[test]
    fn changed_user_id_without_sender_is_of_the_previous_one() {
        let system = json!({"type": "user_changed_user_id", "user_id": "DE.2", "previous_user_id": "DE.1"});
        for item in [
            json!({"system": system}),
            json!({"from_user_id": "DE.2", "system": system}),
            json!({"from_user_id": "DE.1", "system": system}),
        ] {
            for contacts in [json!([]), json!([{"user_id": "DE.2", "profile": {"name": "New"}}])] {
                let told = changed(item.clone(), &contacts);
                assert_eq!(told, (known(None, Some("DE.1")), Some(known(None, Some("DE.2")))), "{item}");
            }
        }
    }

    #[test]
    fn changed_number_with_a_previous_user_id_tells_both() {
        let system =
            json!({"type": "user_changed_number", "wa_id": "492", "user_id": "DE.2", "previous_user_id": "DE.1"});
        let (old, new) = (known(Some("491"), Some("DE.1")), known(Some("492"), Some("DE.2")));
        assert_eq!(changed(json!({"from": "491", "system": system}), &json!([])), (old.clone(), Some(new.clone())));
        assert_eq!(
            changed(json!({"from": "491", "from_user_id": "DE.2", "system": system}), &json!([])),
            (old, Some(new))
        );
        let only_user = (known(None, Some("DE.1")), Some(known(Some("492"), Some("DE.2"))));
        assert_eq!(changed(json!({"system": system}), &json!([])), only_user);
    }

    #[test]
    fn line_takes_no_ids_of_a_contact() {
        let system = json!({"type": "user_changed_user_id", "user_id": "DE.2"});
        let contacts = json!([{"wa_id": "491", "user_id": "DE.2", "profile": {"name": "Lena"}}]);
        let told = changed(json!({"from": "491", "system": system}), &contacts);
        let old = Customer { name: Some("Lena".into()), ..known(Some("491"), None) };
        assert_eq!(told, (old, Some(known(None, Some("DE.2")))));
    }

    #[test]
    fn user_id_changed_to_itself_tells_nothing_new() {
        let system = json!({"type": "user_changed_user_id", "user_id": "DE.1", "previous_user_id": "DE.1"});
        assert_eq!(changed(json!({"system": system}), &json!([])), (known(None, Some("DE.1")), None));
        assert_eq!(
            changed(json!({"from_user_id": "DE.1", "system": system}), &json!([])),
            (known(None, Some("DE.1")), None)
        );
    }

    #[test]
    fn a_system_message_is_a_line_that_opens_nothing_and_tells_the_new_ids() {
        let phone = |phone: &str| Some(Customer { phone: Some(phone.into()), ..Customer::default() });
        let user = "DE.99988877766655544433";
        let user_id = Some(Customer { user_id: Some(user.into()), ..Customer::default() });
        for (name, kind, also_known_as) in [
            ("system_changed_number", "user_changed_number", phone("491713920099")),
            ("system_changed_number_old", "customer_changed_number", phone("491713920099")),
            ("system_changed_user_id", "user_changed_user_id", user_id.clone()),
            ("system_identity_changed", "customer_identity_changed", None),
        ] {
            let message = message(name);
            assert_eq!(message.content.content_type, ContentType::System, "{name}");
            assert_eq!(message.content.parts["kind"], kind);
            assert_eq!(message.customer.phone, lena().phone, "{name}");
            assert_eq!(message.also_known_as, also_known_as, "{name}");
            assert!(!message.from_customer && !message.opens_window, "{name}");
        }
        let previous = message("system_previous_user_id");
        assert_eq!(previous.customer, known(None, Some("DE.81720034455667788990")));
        assert_eq!(previous.also_known_as, user_id);
        let content = message("system_changed_number").content;
        let text = "User Lena Vogt changed from 491713920012 to 491713920099";
        let parts = json!({"kind": "user_changed_number", "body": text, "phone": "491713920099"});
        assert_eq!(content, expected(ContentType::System, Some(text), parts));
        assert_eq!(message("system_changed_user_id").content.parts["userId"], user);
        assert_eq!(message("system_identity_changed").content.text.as_deref(), Some("Changed the security code"));
    }

    #[test]
    fn what_we_cannot_show_is_kept_and_told() {
        let parts = |name: &str| {
            let content = content(name);
            assert_eq!((content.content_type, content.text), (ContentType::Unsupported, None), "{name}");
            assert_eq!(content.parts["raw"], only(&format!("whatsapp/{name}")).raw, "{name}");
            (content.parts["type"].clone(), content.parts.get("reason").cloned())
        };
        assert_eq!(parts("unsupported"), (json!("poll"), Some(json!("Message type is currently not supported."))));
        let old = Some(json!("Message type is not currently supported"));
        assert_eq!(parts("unsupported_old"), (json!("unknown"), old));
        assert_eq!(parts("ephemeral").0, "ephemeral");
        assert_eq!(parts("type_of_the_future"), (json!("hologram"), None));
    }

    #[test]
    fn a_type_without_its_object_is_unsupported() {
        for kind in ["text", "image", "location", "contacts", "interactive", "button", "order", "system", "from"] {
            let content = one_content(&json!({"id": "1", "from": "1", "type": kind, kind: "x"}));
            assert_eq!((content.content_type, &content.parts["type"]), (ContentType::Unsupported, &json!(kind)));
        }
        assert_eq!(one_content(&json!({"id": "1", "from": "1"})).parts["type"], "unknown");
    }

    #[test]
    fn an_empty_text_is_no_text() {
        for text in [json!({"body": ""}), json!({"body": null}), json!({"body": 1}), json!({})] {
            let content = one_content(&json!({"id": "1", "from": "1", "type": "text", "text": text}));
            assert_eq!(content, Content { text: None, ..Content::text("") });
        }
    }

    #[test]
    fn opening_the_chat_is_a_line_that_opens_the_window() {
        let message = message("request_welcome");
        let parts = json!({"kind": "request_welcome"});
        assert_eq!(message.content, expected(ContentType::System, Some("Opened the chat"), parts));
        assert!(message.opens_window && !message.from_customer);
    }

    #[test]
    fn messages_are_edited_and_revoked() {
        let edit = Edit {
            customer: lena(),
            by: Party::Customer,
            external_id: "wamid.A17".into(),
            target: "wamid.A1".into(),
            content: Content::text("…and the red one?"),
            timestamp: Some(SENT_MS + 17_000),
        };
        assert_eq!(kind("edit"), EventKind::Edit(edit));
        let unsend = Unsend {
            customer: lena(),
            by: Party::Customer,
            external_id: "wamid.A18".into(),
            target: "wamid.A1".into(),
            timestamp: Some(SENT_MS + 18_000),
        };
        assert_eq!(kind("revoke"), EventKind::Unsend(unsend));
    }

    #[test]
    fn an_edit_without_content_tells_only_why() {
        let edited = |message: Value| {
            let edit = json!({"original_message_id": "wamid.A1", "message": message});
            match one(&json!({"id": "1", "from": "1", "type": "edit", "edit": edit})) {
                EventKind::Edit(edit) => edit.content,
                other => panic!("{other:?}"),
            }
        };
        let why = |reason: &str| expected(ContentType::Text, None, json!({ "reason": reason }));
        let unsupported = json!([{"code": 131_051, "title": "Message type unknown",
            "error_data": {"details": "Message type is currently not supported."}}]);
        assert_eq!(
            edited(json!({"type": "unsupported", "errors": unsupported})),
            why("Message type is currently not supported.")
        );
        for message in [
            json!({}),
            json!({"type": "unsupported"}),
            json!({"type": "text"}),
            json!({"type": "text", "text": {"body": ""}}),
            json!({"type": "image", "image": {}}),
        ] {
            assert_eq!(edited(message.clone()), why("The edited content was not delivered."), "{message}");
        }
        let caption = json!({"type": "image", "image": {"caption": "The other label"}});
        assert_eq!(edited(caption), expected(ContentType::Image, Some("The other label"), json!({})));
    }

    #[test]
    fn what_a_message_refers_to_is_kept() {
        assert_eq!(message("reply").reply_to.as_deref(), Some("wamid.OUT12"));
        let (forwarded, frequently) = (message("forwarded"), message("forwarded_frequently"));
        assert_eq!(forwarded.content, expected(ContentType::Text, Some("FYI"), json!({"forwarded": true})));
        assert_eq!(frequently.content.parts, *json!({"frequentlyForwarded": true}).as_object().unwrap());
        assert_eq!(forwarded.reply_to, None);
        let product = json!({"catalogId": "600700800900", "productRetailerId": "SKU-1"});
        let content = message("referred_product").content;
        assert_eq!(content.parts, *json!({ "referredProduct": product }).as_object().unwrap());
        let referral = json!({"sourceUrl": "https://fb.me/xyz", "sourceId": "120200300400", "sourceType": "ad",
            "headline": "Spring sale", "body": "20 % off", "mediaType": "image", "imageUrl": "https://example.com/i.jpg",
            "ctwaClid": "ARAkLk", "welcomeMessage": {"text": "How can we help?"}});
        let parts = json!({ "referral": referral });
        assert_eq!(message("referral").content, expected(ContentType::Text, Some("Hi, I saw your ad"), parts));
    }

    #[test]
    fn what_cannot_be_placed_is_unknown() {
        let group = EventKind::Unknown { reason: "group message" };
        assert_eq!(kind("group_message_unknown"), group);
        assert_eq!(only("whatsapp/account_unknown").account, None);
        for (item, reason) in [
            (json!({"from": "1", "type": "text"}), "message without id"),
            (json!({"id": "", "from": "1", "type": "text"}), "message without id"),
            (json!({"id": "1", "type": "text"}), "message without sender"),
            (json!({"id": "1", "from": "x".repeat(1025), "type": "text"}), "id too long"),
            (json!({"id": "1", "from": "1", "type": "reaction"}), "reaction without target"),
            (
                json!({"id": "1", "from": "1", "type": "reaction", "reaction": {"emoji": "x"}}),
                "reaction without target",
            ),
            (json!({"id": "1", "from": "1", "type": "edit", "edit": {"message": {}}}), "edit without target"),
            (
                json!({"id": "1", "from": "1", "type": "edit", "edit": {"original_message_id": "2"}}),
                "edit without message",
            ),
            (json!({"id": "1", "from": "1", "type": "revoke", "revoke": null}), "revoke without target"),
        ] {
            assert_eq!(one(&item), EventKind::Unknown { reason }, "{item}");
        }
    }

    #[test]
    fn a_status_is_read_whole() {
        let status = StatusChange {
            external_id: "wamid.OUT12".into(),
            callback_data: Some(
                "1a9d669738860f034c07171091c3c799.1767877299000-0123456789abcdef0123456789abcdef".into(),
            ),
            status: Status::Sent,
            timestamp: Some(1_767_877_300_000),
            error: None,
        };
        assert_eq!(kind("status_sent"), EventKind::Status(status));
    }

    #[test]
    fn statuses_are_told_apart() {
        for (name, expected) in [
            ("status_sent", Status::Sent),
            ("status_delivered", Status::Delivered),
            ("status_read", Status::Read),
            ("status_played", Status::Read),
            ("status_failed", Status::Failed),
            ("status_of_a_group", Status::Read),
        ] {
            let EventKind::Status(StatusChange { status, error, .. }) = kind(name) else { panic!("{name}") };
            assert_eq!(status, expected, "{name}");
            assert_eq!(error.is_some(), name == "status_failed");
        }
        assert_eq!(kind("status_deleted"), notice("status_deleted"));
        assert_eq!(kind("status_of_the_future_unknown"), EventKind::Unknown { reason: "unknown status" });
        let unnamed = kinds(&json!({"statuses": [{"status": "sent"}, {"id": "1"}, {"id": "1", "status": "warning"}]}));
        let unknown = |reason| EventKind::Unknown { reason };
        let expected = [unknown("status without id"), unknown("status without status"), notice("status_warning")];
        assert_eq!(unnamed, expected);
    }

    #[test]
    fn a_failure_tells_why() {
        let EventKind::Status(StatusChange { error, .. }) = kind("status_failed") else { panic!() };
        let details = "Message failed to send because more than 24 hours have passed since the customer last replied to this number.";
        let expected = ProviderError {
            code: "131047".into(),
            title: "Re-engagement message".into(),
            details: Some(details.into()),
            ..ProviderError::default()
        };
        assert_eq!(error, Some(expected));

        let error = |errors: Value| provider_error(&errors).map(|error| (error.code, error.title, error.details));
        let old = json!([{"code": "470", "title": "Outside", "details": "More than 24 hours"}]);
        assert_eq!(error(old), Some(("470".into(), "Outside".into(), Some("More than 24 hours".into()))));
        let same = json!([{"code": 1, "message": "Same", "details": "Same"}]);
        assert_eq!(error(same), Some(("1".into(), "Same".into(), None)));
        for nothing in [json!(null), json!([]), json!(["x"]), json!("x")] {
            assert_eq!(error(nothing), None);
        }
    }

    #[test]
    fn everything_else_is_a_notice_of_its_name() {
        for name in ["history", "smb_app_state_sync"] {
            assert_eq!(only(&format!("whatsapp/{name}")).kind, notice(name));
        }
        assert_eq!(kind("value_errors"), notice("value_error"));
        assert_eq!(kind("call_status"), notice("call_status"));
    }

    #[test]
    fn a_change_of_a_new_field_that_holds_messages_is_read() {
        let change = |change: Value| {
            kinds(&json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}))
        };
        let message = json!({"id": "1", "from": "1", "type": "text", "text": {"body": "x"}});
        let read = change(json!({"field": "standby", "value": {"messages": [message, message]}}));
        assert!(matches!(read[..], [EventKind::Message(_), EventKind::Message(_)]));
        assert!(matches!(change(json!({"value": {"messages": [message]}}))[..], [EventKind::Message(_)]));
        assert_eq!(change(json!({"field": "standby", "value": 1})), [notice("standby")]);
        assert_eq!(change(json!({"field": "standby"})), [notice("standby")]);
        let unknown = |reason| [EventKind::Unknown { reason }];
        assert_eq!(change(json!({"field": "messages", "value": 1})), unknown("change without value"));
        assert_eq!(change(json!({"value": 1})), unknown("change without value"));
        assert_eq!(change(json!({"field": "messages", "value": {}})), unknown("change without messages"));
        assert_eq!(change(json!({"field": "calls", "value": {}})), [notice("calls")]);
    }

    #[test]
    fn an_echo_goes_to_the_conversation_of_whom_it_was_written_to() {
        let EventKind::Echo(echo) = kind("echo") else { panic!() };
        let message = IncomingMessage {
            customer: lena(),
            external_id: "wamid.E1".into(),
            timestamp: Some(1_767_878_200_000),
            content: Content::text("Sent from the phone app"),
            reply_to: None,
            from_customer: false,
            opens_window: false,
            also_known_as: None,
        };
        assert_eq!(echo, Echo { message, callback_data: None });
        let EventKind::Edit(edit) = kind("echo_edit") else { panic!() };
        assert_eq!((edit.customer, edit.by, edit.target.as_str()), (lena(), Party::Business, "wamid.E1"));
        assert_eq!(edit.content, Content::text("Sent from my phone"));
        let EventKind::Unsend(unsend) = kind("echo_revoke") else { panic!() };
        assert_eq!((unsend.customer, unsend.by, unsend.target.as_str()), (lena(), Party::Business, "wamid.E1"));
    }

    #[test]
    fn a_customers_call_is_a_line_that_opens_the_window() {
        let message = message("call_connect");
        assert_eq!(message.external_id, "wacid.X");
        assert_eq!(message.content, expected(ContentType::Call, None, json!({"direction": "inbound"})));
        assert!(message.from_customer && message.opens_window);
    }

    #[test]
    fn how_a_call_ended_is_a_line_that_opens_nothing() {
        let end = message("call_terminate");
        let parts = json!({"direction": "inbound", "durationSeconds": 90, "status": "completed"});
        assert_eq!(end.content, expected(ContentType::Call, Some("The call ended after 1 min 30 s"), parts));
        assert!(!end.from_customer && !end.opens_window);
        assert_ne!(end.external_id, message("call_connect").external_id);
        assert_eq!(end.customer.phone, lena().phone);

        let end = |more: Value| {
            let mut call = json!({"id": "wacid.1", "from": "1", "to": "2", "event": "terminate"});
            call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let change = json!({"field": "calls", "value": {"calls": [call]}});
            let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]});
            match kinds(&body).remove(0) {
                EventKind::Message(end) => {
                    let direction = end.content.parts["direction"].clone();
                    (end.customer.phone.unwrap(), direction, end.content.text.unwrap())
                }
                other => panic!("{other:?}"),
            }
        };
        let told = |phone: &str, direction: &str, line: &str| (phone.to_owned(), json!(direction), line.to_owned());
        assert_eq!(end(json!({})), told("1", "inbound", "The call ended"));
        assert_eq!(end(json!({"status": "Failed", "duration": 0})), told("1", "inbound", "The call failed"));
        let ours = json!({"direction": "BUSINESS_INITIATED", "status": "COMPLETED", "duration": "33"});
        assert_eq!(end(ours), told("2", "outbound", "The call ended after 33 s"));
    }

    #[test]
    fn a_message_without_type_is_what_it_holds() {
        let held = json!({
            "text": {"body": "Hello"},
            "image": {"id": "1", "caption": "Hello"},
            "video": {"id": "1"},
            "audio": {"id": "1"},
            "voice": {"id": "1"},
            "document": {"id": "1"},
            "sticker": {"id": "1"},
            "location": {"latitude": 1, "longitude": 2},
            "contacts": [{"name": {"first_name": "Max"}}],
            "interactive": {"button_reply": {"id": "a", "title": "b"}},
            "button": {"text": "Yes"},
            "order": {"product_items": []},
            "system": {"type": "customer_identity_changed"},
            "reaction": {"message_id": "2", "emoji": "x"},
            "edit": {"original_message_id": "2", "message": {"text": {"body": "Hello"}}},
            "revoke": {"original_message_id": "2"},
        });
        for kind in TYPES {
            let mut typed = json!({"id": "1", "from": "1", "type": kind, kind: held[kind]});
            let read = one(&typed);
            typed.as_object_mut().unwrap().remove("type");
            assert_eq!(one(&typed), read, "{kind}");
            let unsupported = |content: &Content| content.content_type == ContentType::Unsupported;
            assert!(!matches!(&read, EventKind::Unknown { .. }), "{kind}");
            assert!(!matches!(&read, EventKind::Message(message) if unsupported(&message.content)), "{kind}");
        }
    }

    #[test]
    fn a_card_without_a_name_is_called_by_its_number() {
        let called = |card: Value| {
            let message = json!({"id": "1", "from": "1", "type": "contacts", "contacts": [card]});
            one_content(&message).preview()
        };
        let vcard = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:;;;;\r\nitem1.TEL;type=CELL;waid=4917:+49 17\r\nEND:VCARD";
        let phones = json!([{"phone": "+49 171 3920013", "wa_id": "491713920013"}]);
        for (card, name) in [
            (json!({"vcard": vcard, "phones": phones}), "+49 171 3920013"),
            (json!({"vcard": vcard, "name": {"formatted_name": "\u{3164}"}}), "+49 17"),
            (
                json!({"vcard": "BEGIN:VCARD\nFN;CHARSET=UTF-8:Max Beispiel\nEND:VCARD", "phones": phones}),
                "Max Beispiel",
            ),
            (json!({"phones": [{"wa_id": "491713920013"}]}), "491713920013"),
            (json!({"name": {"last_name": "Beispiel"}}), "Beispiel"),
            (json!({"org": {"company": "Beispiel AG"}, "phones": phones}), "Beispiel AG"),
            (json!({"emails": [{"email": "max@example.com"}]}), "max@example.com"),
            (json!({}), "Contact"),
            (json!(null), "Contact"),
        ] {
            assert_eq!(called(card.clone()), name, "{card}");
        }
    }

    #[test]
    fn invisible_names_and_texts_are_absent() {
        for blank in ["\u{3164}", "\u{200B}", "\u{2800}", " \u{FEFF} "] {
            let message = json!({"id": "1", "from": "1", "type": "text", "text": {"body": blank}});
            let contact = json!({"wa_id": "1", "profile": {"name": blank, "username": blank}});
            let read = kinds(&json!({"contacts": [contact], "messages": [message]})).remove(0);
            let EventKind::Message(message) = read else { panic!("{read:?}") };
            assert_eq!(message.content.text, None, "{blank:?}");
            assert_eq!((message.customer.name, message.customer.username), (None, None), "{blank:?}");
        }
    }

    #[test]
    fn a_username_of_any_length_fits() {
        let contact = json!({"wa_id": "1", "profile": {"username": "x".repeat(500_000)}});
        let message = json!({"id": "1", "from": "1", "type": "text", "text": {"body": "x"}});
        let read = kinds(&json!({"contacts": [contact], "messages": [message]})).remove(0);
        assert!(matches!(read, EventKind::Message(message)
            if message.customer.username.as_ref().is_some_and(|name| name.len() <= MAX_USERNAME_BYTES)));
    }

    #[test]
    fn a_payment_that_fails_fails_no_message() {
        let status =
            |kind: &str| kinds(&json!({"statuses": [{"id": "1", "status": "failed", "type": kind}]})).remove(0);
        assert_eq!(status("payment"), notice("payment_status"));
        assert!(matches!(status("message"), EventKind::Status(StatusChange { status: Status::Failed, .. })));
        assert_eq!(status("of_the_future"), EventKind::Unknown { reason: "unknown type of status" });
    }

    #[test]
    fn bodies_without_envelope_are_whatsapp_of_no_account() {
        let message = only("whatsapp/flat_messages");
        assert_eq!((message.platform, message.account), (Platform::Whatsapp, None));
        let EventKind::Message(message) = message.kind else { panic!() };
        assert_eq!(message.customer, Customer { user_id: None, ..lena() });
        let status = only("whatsapp/flat_statuses");
        assert_eq!((status.platform, status.account), (Platform::Whatsapp, None));
        assert!(matches!(status.kind, EventKind::Status(_)));
    }

    #[test]
    fn a_batch_becomes_all_its_events_in_order() {
        let told: Vec<String> = events("whatsapp/batch")
            .into_iter()
            .map(|event| {
                let account = event.account.map_or("-".to_owned(), |account| account.to_string());
                let what = match event.kind {
                    EventKind::Message(message) => {
                        format!("{} {}", message.external_id, message.customer.name.unwrap_or_default())
                    }
                    EventKind::Status(change) => format!("{} {}", change.external_id, change.status.as_str()),
                    EventKind::News(news) => news.what,
                    other => panic!("{other:?}"),
                };
                format!("{account} {what}")
            })
            .collect();
        let expected = [
            "700100200300402 wamid.M1 Lena Vogt",
            "700100200300402 wamid.M2 Max Beispiel",
            "700100200300402 wamid.OUT20 sent",
            "700100200300402 wamid.OUT20 delivered",
            "700100200300403 wamid.M3 ",
            "- account_update",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn text_is_unescaped_and_cleaned() {
        let read = |name: &str| {
            let message = message(name);
            (message.customer.name.unwrap(), message.content.text.unwrap())
        };
        assert_eq!(read("text_escaped"), ("Jörg".into(), "äöå 😀 a/b".into()));
        assert_eq!(read("text_with_lone_surrogate").1, "Cut \u{FFFD}");
        assert_eq!(read("text_with_nul").1, "ab");
    }
}
