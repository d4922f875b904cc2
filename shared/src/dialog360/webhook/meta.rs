//! Reads what Meta delivers for Messenger (`object: page`) and Instagram: `entry[].messaging`, `entry[].standby` (the
//! same items, while another app answers) and `entry[].changes`.
//!
//! Sources: <https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks>,
//! <https://developers.facebook.com/documentation/business-messaging/instagram-messaging/webhooks>.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

use super::{
    MAX_EXTERNAL_ID_BYTES, Read, Reader, Reason, Source, Surroundings,
    account::news,
    checked_id, derived_id, edited, json,
    json::{camel_cased, flag, items, keep, number, object, put, text, trimmed},
    notice, optional_id, required_id, take, time,
};
use crate::{
    content::{Content, ContentType},
    event::{Customer, Echo, Edit, EventKind, IncomingMessage, Party, Reaction, Unsend, UpTo, Watermark},
    message::Status,
    platform::Platform,
};

/// What Meta calls its acting against a page: the documentation has both.
const ENFORCEMENTS: [&str; 2] = ["policy_enforcement", "policy-enforcement"];

/// What happens around a conversation and changes nothing in it: who answers, and the page's own affairs.
const NOTICES: [&str; 6] = [
    "pass_thread_control",
    "take_thread_control",
    "request_thread_control",
    "app_roles",
    "account_linking",
    "game_play",
];

/// What a stranger could use in the customer's or the business's name.
const TOKENS: [&str; 2] = ["notificationMessagesToken", "oneTimeNotifToken"];

pub(super) fn read_entry(
    reader: &mut Reader,
    platform: Platform,
    mut entry: Map<String, Value>,
    in_delivery: impl FnOnce(Map<String, Value>) -> Arc<Surroundings>,
) {
    let messaging = ["messaging", "standby"].map(|key| (key, take(&mut entry, key)));
    let changes = take(&mut entry, "changes");
    let object = in_delivery(entry);
    let source = Source::of(platform, object.get("id"), &object);
    let account = source.account.as_ref().map(ToString::to_string);
    let account = account.as_deref();
    let told_at = object.get("time").and_then(|told| time(&serde_json::json!({ "time": told }), "time", reader.now_ms));
    let mut known = changes.is_some();
    for (key, items) in messaging {
        known |= reader.each_event(&source, key, items, |json, now_ms| Item { json, account, now_ms }.read());
    }
    reader.each_event(&source, "changes", changes, |change, now_ms| read_change(change, account, told_at, now_ms));
    if !known {
        reader.push(&source, None, Err("entry without messaging"), Value::Object(Map::new()));
    }
}

/// A change is about the page's public side, or (from the dashboard's test button) holds an item of `messaging`.
fn read_change(change: &Value, account: Option<&str>, told_at: Option<i64>, now_ms: i64) -> Read {
    let field = text(change, "field").ok_or("change without field")?;
    match object(change, "value") {
        Some(value) if field == "messages" || object(value, "sender").is_some() => {
            Item { json: value, account, now_ms }.read()
        }
        None if field == "messages" => Err("change without value"),
        value => Ok(news(field, value.unwrap_or(&Value::Null), told_at, now_ms)),
    }
}

/// An item of `messaging`.
struct Item<'a> {
    json: &'a Value,
    account: Option<&'a str>,
    now_ms: i64,
}

impl Item<'_> {
    fn read(&self) -> Read {
        let body = |key| object(self.json, key);
        if self.is_to_oneself() {
            Ok(notice("message_to_oneself"))
        } else if let Some(message) = body("message") {
            self.message(message)
        } else if let Some(postback) = body("postback") {
            self.postback(postback)
        } else if let Some(edit) = body("message_edit") {
            self.edit(edit)
        } else if let Some(reaction) = body("reaction") {
            self.reaction(reaction)
        } else if let Some(delivery) = body("delivery") {
            self.watermark(Status::Delivered, delivery)
        } else if let Some(read) = body("read") {
            self.watermark(Status::Read, read)
        } else if let Some(optin) = body("optin") {
            self.optin(optin)
        } else if let Some(referral) = body("referral") {
            self.referral(referral)
        } else if let Some(order) = body("order") {
            self.order(order)
        } else if let Some(form) = body("messaging_customer_information") {
            self.form("customer_information", information(form))
        } else if let Some(form) = body("messaging_feedback") {
            self.form("feedback", ratings(form))
        } else if let Some(feedback) = body("response_feedback") {
            self.response_feedback(feedback)
        } else if let Some((name, told)) = ENFORCEMENTS.iter().find_map(|key| Some((key, body(key)?))) {
            Ok(news(name, told, self.timestamp(), self.now_ms))
        } else if let Some(name) = NOTICES.iter().find(|key| self.json.get(**key).is_some()) {
            Ok(notice(name))
        } else {
            Err("unknown messaging item")
        }
    }

    /// Whether the account wrote to itself: nobody becomes a customer of itself.
    fn is_to_oneself(&self) -> bool {
        let recipient = self.json.get("recipient").and_then(|recipient| json::id(recipient, "id"));
        let is_self = object(self.json, "message").is_some_and(|message| flag(message, "is_self"));
        is_self || (recipient.is_some() && recipient == self.sender())
    }

    /// Who did what the item tells, and the customer on the other side.
    fn parties(&self) -> Result<(Party, Customer), Reason> {
        let echo = object(self.json, "message").is_some_and(|message| flag(message, "is_echo"));
        let sender = self.sender();
        // An echo that does not say so must not make the account its own customer.
        let by = if echo || (sender.is_some() && sender.as_deref() == self.account) {
            Party::Business
        } else {
            Party::Customer
        };
        let customer = match by {
            Party::Customer => self.json.get("sender"),
            Party::Business => self.json.get("recipient"),
        };
        let user_id = required_id(customer.unwrap_or(&Value::Null), "id", "message without sender")?.into_owned();
        Ok((by, Customer { user_id: Some(user_id), ..Customer::default() }))
    }

    fn sender(&self) -> Option<Cow<'_, str>> {
        json::id(self.json.get("sender")?, "id")
    }

    fn timestamp(&self) -> Option<i64> {
        time(self.json, "timestamp", self.now_ms)
    }

    /// An id for what has none: the customer, the provider's time and these facts never change about it.
    fn derived_id(&self, what: &str, customer: &Customer, facts: &[Option<&str>]) -> String {
        let time = json::id(self.json, "timestamp").unwrap_or_default();
        let mut all = vec![customer.user_id.as_deref().unwrap_or_default(), &time];
        all.extend(facts.iter().map(|fact| fact.unwrap_or_default()));
        derived_id(what, &all)
    }

    fn message(&self, message: &Value) -> Read {
        let external_id = required_id(message, "mid", "message without id")?.into_owned();
        let (by, customer) = self.parties()?;
        let timestamp = self.timestamp();
        if flag(message, "is_deleted") {
            let target = external_id;
            let external_id = derived_id("unsend", &[&target]);
            return Ok(EventKind::Unsend(Unsend { customer, by, external_id, target, timestamp }));
        }
        let reply_to = object(message, "reply_to").and_then(|reply_to| optional_id(reply_to, "mid"));
        let incoming = IncomingMessage { reply_to, ..self.written(by, customer, external_id, content(message)) };
        Ok(written_by(by, incoming, text(message, "metadata")))
    }

    /// Something that a party wrote; a customer's opens the window.
    fn written(&self, by: Party, customer: Customer, external_id: String, content: Content) -> IncomingMessage {
        IncomingMessage {
            customer,
            external_id,
            timestamp: self.timestamp(),
            content,
            reply_to: None,
            from_customer: by == Party::Customer,
            opens_window: by == Party::Customer,
            also_known_as: None,
        }
    }

    fn postback(&self, postback: &Value) -> Read {
        let (by, customer) = self.parties()?;
        let external_id = checked_id(postback, "mid")?.map_or_else(
            || self.derived_id("postback", &customer, &[text(postback, "payload"), text(postback, "title")]),
            Cow::into_owned,
        );
        let mut parts = Map::new();
        put(&mut parts, "title", text(postback, "title"));
        put(&mut parts, "payload", text(postback, "payload"));
        put(&mut parts, "referral", object(postback, "referral").map(camel_cased));
        let words = text(postback, "title").map(str::to_owned);
        let content = Content { text: words, ..Content::new(ContentType::Postback, parts) };
        Ok(written_by(by, self.written(by, customer, external_id, content), None))
    }

    /// A cart that the customer sent.
    fn order(&self, order: &Value) -> Read {
        let (by, customer) = self.parties()?;
        let external_id = self.derived_id("order", &customer, &[Some(&order.to_string())]);
        let item = |item: &Value| {
            let mut parts = Map::new();
            put(&mut parts, "productRetailerId", optional_id(item, "retailer_id"));
            put(&mut parts, "name", trimmed(item, "name"));
            put(&mut parts, "quantity", number(item, "quantity"));
            put(&mut parts, "itemPrice", number(item, "unit_price"));
            put(&mut parts, "currency", text(item, "currency"));
            Value::Object(parts)
        };
        let products = items(order, "products").iter().map(item).collect::<Value>();
        let parts = Map::from_iter([("items".to_owned(), products)]);
        let note = text(order, "note").map(str::to_owned);
        let content = Content { text: note, ..Content::new(ContentType::Order, parts) };
        Ok(written_by(by, self.written(by, customer, external_id, content), None))
    }

    /// A form of the platform that the customer filled in. That it opens the window is not documented.
    fn form(&self, kind: &str, response: Map<String, Value>) -> Read {
        let (by, customer) = self.parties()?;
        let response = Value::Object(response);
        let external_id = self.derived_id(kind, &customer, &[Some(&response.to_string())]);
        let mut parts = Map::new();
        put(&mut parts, "kind", Some(kind));
        put(&mut parts, "response", Some(response));
        let content = Content::new(ContentType::Interactive, parts);
        let incoming = self.written(by, customer, external_id, content);
        Ok(written_by(by, IncomingMessage { opens_window: false, ..incoming }, None))
    }

    /// The customer rated a message of the business.
    fn response_feedback(&self, feedback: &Value) -> Read {
        let line = match trimmed(feedback, "feedback") {
            Some(rating) => format!("Rated a message: {rating}"),
            None => "Rated a message".to_owned(),
        };
        let read = self.line("response_feedback", feedback, line, false)?;
        Ok(match read {
            EventKind::Message(message) => {
                EventKind::Message(IncomingMessage { reply_to: optional_id(feedback, "mid"), ..message })
            }
            other => other,
        })
    }

    fn edit(&self, edit: &Value) -> Read {
        let target = required_id(edit, "mid", "edit without target")?.into_owned();
        let (by, customer) = self.parties()?;
        // Instagram announces messages that nobody has edited so.
        if json::integer(edit, "num_edit") == Some(0) && text(edit, "text").is_none() {
            return Ok(notice("message_edit"));
        }
        let external_id = match json::id(edit, "num_edit") {
            Some(number) => derived_id("edit", &[&target, &number]),
            None => self.derived_id("edit", &customer, &[Some(&target), text(edit, "text")]),
        };
        let content = edited(Content { text: text(edit, "text").map(str::to_owned), ..Content::text("") });
        let timestamp = self.timestamp();
        Ok(EventKind::Edit(Edit { customer, by, external_id, target, content, timestamp }))
    }

    fn reaction(&self, reaction: &Value) -> Read {
        let target = required_id(reaction, "mid", "reaction without target")?.into_owned();
        let (by, customer) = self.parties()?;
        let emoji = trimmed(reaction, "emoji").or(text(reaction, "reaction").map(emoji_of));
        let (action, emoji) = match text(reaction, "action") {
            Some("unreact") => ("unreact", None),
            Some("react") | None if emoji.is_some() => ("react", emoji),
            _ => return Err("reaction without emoji"),
        };
        let external_id = self.derived_id("reaction", &customer, &[Some(&target), Some(action), emoji]);
        let emoji = emoji.map(str::to_owned);
        let timestamp = self.timestamp();
        Ok(EventKind::Reaction(Reaction { customer, by, external_id, target, emoji, timestamp }))
    }

    fn watermark(&self, status: Status, body: &Value) -> Read {
        let (by, customer) = self.parties()?;
        if by == Party::Business {
            return Ok(notice("read_by_business"));
        }
        let message = || optional_id(body, "mid").or_else(|| last_mid(body));
        let up_to = match time(body, "watermark", self.now_ms) {
            Some(time) => UpTo::Time(time),
            None => UpTo::Message(message().ok_or("watermark without time")?),
        };
        Ok(EventKind::Watermark(Watermark { customer, status, up_to }))
    }

    fn optin(&self, optin: &Value) -> Read {
        // A checkbox on a website tells no sender: there is no conversation yet.
        if self.sender().is_none() {
            return Ok(notice("optin"));
        }
        // Only a customer who was opted in already tells a status.
        let (kind, what, opens_window) = match trimmed(optin, "notification_messages_status") {
            None if text(optin, "user_token_status") == Some("REFRESHED") => ("optin", "Opted in again", true),
            None => ("optin", "Opted in", true),
            Some(status) if status.starts_with("STOP") => ("optout", "Stopped notifications", false),
            Some(status) if status.starts_with("RESUME") => ("optin", "Resumed notifications", true),
            Some(_) => ("optin_status", "Changed notifications", false),
        };
        let about = trimmed(optin, "title").or(trimmed(optin, "payload")).or(trimmed(optin, "ref"));
        let line = about.map_or(what.to_owned(), |about| format!("{what}: {about}"));
        self.line(kind, optin, line, opens_window)
    }

    fn referral(&self, referral: &Value) -> Read {
        let from = match text(referral, "source") {
            Some("ADS") => "an ad",
            Some("SHORTLINK" | "IGME" | "MESSENGER_CODE") => "a link",
            Some("CUSTOMER_CHAT_PLUGIN") => "the website",
            Some("STORY_MENTION") => "a story that mentions you",
            _ => "elsewhere",
        };
        let line = match trimmed(referral, "ref") {
            Some(reference) => format!("Came from {from}: {reference}"),
            None => format!("Came from {from}"),
        };
        self.line("referral", referral, line, true)
    }

    /// A line of the platform's in the thread, with what it tells of in its parts.
    fn line(&self, kind: &str, facts: &Value, line: String, opens_window: bool) -> Read {
        let (by, customer) = self.parties()?;
        if by == Party::Business {
            return Ok(notice(kind));
        }
        let external_id = self.derived_id(kind, &customer, &[Some(&line)]);
        let mut parts = match camel_cased(facts) {
            Value::Object(parts) => parts,
            _ => Map::new(),
        };
        parts.retain(|key, _| !TOKENS.contains(&key.as_str()));
        put(&mut parts, "kind", Some(kind));
        Ok(EventKind::Message(IncomingMessage {
            customer,
            external_id,
            timestamp: self.timestamp(),
            content: Content { text: Some(line), ..Content::new(ContentType::System, parts) },
            reply_to: None,
            from_customer: false,
            opens_window,
            also_known_as: None,
        }))
    }
}

fn written_by(by: Party, message: IncomingMessage, callback_data: Option<&str>) -> EventKind {
    match by {
        Party::Customer => EventKind::Message(message),
        Party::Business => EventKind::Echo(Echo { message, callback_data: callback_data.map(str::to_owned) }),
    }
}

/// What was entered on the screens of a form, by the names of the fields.
fn information(form: &Value) -> Map<String, Value> {
    let fields = items(form, "screens").iter().flat_map(|screen| items(screen, "responses"));
    let field = |field: &Value| Some((text(field, "key")?.to_owned(), camel_cased(field.get("value")?)));
    fields.filter_map(field).collect()
}

/// The ratings of a feedback form and what was written beside them, by the kind of the rating (`csat`, `nps`, `ces`), or
/// by the business's name of the question, where that kind was asked before.
fn ratings(form: &Value) -> Map<String, Value> {
    let mut ratings = Map::new();
    let questions = items(form, "feedback_screens").iter().filter_map(|screen| screen.get("questions")?.as_object());
    for (name, question) in questions.flatten() {
        let kind = trimmed(question, "type").filter(|kind| !ratings.contains_key(*kind)).unwrap_or(name);
        put(&mut ratings, kind, question.get("payload").map(camel_cased));
        let words = object(question, "follow_up").and_then(|follow_up| text(follow_up, "payload"));
        put(&mut ratings, &format!("{kind} comment"), words);
    }
    ratings
}

fn content(message: &Value) -> Content {
    let attachments = match message.get("attachments") {
        Some(Value::Array(attachments)) => attachments.as_slice(),
        Some(attachment @ Value::Object(_)) => std::slice::from_ref(attachment),
        _ => &[],
    };
    let story = object(message, "reply_to").and_then(|reply_to| object(reply_to, "story"));
    let words = text(message, "text");
    let mut parts = Map::new();
    let content_type = match attachments.first() {
        _ if flag(message, "is_unsupported") => ContentType::Unsupported,
        _ if story.is_some() => ContentType::StoryReply,
        Some(first) => attachment_type(first),
        None if words.is_some() || message.get("text").is_some_and(Value::is_string) => ContentType::Text,
        None => ContentType::Unsupported,
    };
    if let Some(first) = attachments.first() {
        put(&mut parts, "url", attachment_text(first, "url"));
        put(&mut parts, "title", title(first));
        if content_type == ContentType::Location {
            let place = object(first, "payload").and_then(|payload| object(payload, "coordinates"));
            put(&mut parts, "latitude", place.and_then(|place| number(place, "lat")));
            put(&mut parts, "longitude", place.and_then(|place| number(place, "long")));
            put(&mut parts, "name", title(first));
        }
        put(&mut parts, "attachments", Some(attachments.iter().map(attachment).collect::<Value>()));
    }
    if content_type == ContentType::Unsupported {
        let kind = attachments.first().and_then(|first| text(first, "type")).unwrap_or("unsupported");
        put(&mut parts, "type", Some(kind));
        put(&mut parts, "raw", Some(keep(message)));
    }
    if content_type == ContentType::Interactive {
        put(&mut parts, "kind", attachments.first().and_then(|first| text(first, "type")));
    }
    put(&mut parts, "story", story.map(camel_cased));
    let quick_reply = object(message, "quick_reply").and_then(|reply| text(reply, "payload"));
    put(&mut parts, "quickReplyPayload", quick_reply);
    put(&mut parts, "referral", object(message, "referral").map(camel_cased));
    // A template has its words inside.
    let words = words.or(attachments.first().filter(|_| content_type == ContentType::Interactive).and_then(title));
    Content { content_type, text: words.map(str::to_owned), parts }
}

/// The content type of a message with that attachment.
fn attachment_type(attachment: &Value) -> ContentType {
    let payload = object(attachment, "payload");
    let has = |key| payload.and_then(|payload| payload.get(key)).is_some_and(|value| !value.is_null());
    match text(attachment, "type").unwrap_or_default() {
        "image" if has("sticker_id") => ContentType::Sticker,
        "sticker" | "like_heart" => ContentType::Sticker,
        "image" => ContentType::Image,
        "video" => ContentType::Video,
        "audio" => ContentType::Audio,
        "file" => ContentType::Document,
        "location" => ContentType::Location,
        "story_mention" => ContentType::StoryMention,
        "fallback" | "share" | "post" | "reel" | "ig_post" | "ig_reel" | "ig_story" => ContentType::Share,
        "template" if has("product") => ContentType::Share,
        "template" => ContentType::Interactive,
        _ => ContentType::Unsupported,
    }
}

/// A text of an attachment, which older ones have beside the payload.
fn attachment_text<'a>(attachment: &'a Value, key: &str) -> Option<&'a str> {
    object(attachment, "payload").and_then(|payload| trimmed(payload, key)).or(trimmed(attachment, key))
}

/// What a person calls it: its title, a template's text, the name of the first product.
fn title(attachment: &Value) -> Option<&str> {
    let payload = object(attachment, "payload");
    let product = payload.and_then(|payload| object(payload, "product"));
    let elements = items(product.or(payload).unwrap_or(&Value::Null), "elements");
    attachment_text(attachment, "title")
        .or(payload.and_then(|payload| trimmed(payload, "text")))
        .or(elements.first().and_then(|element| trimmed(element, "title")))
}

/// An attachment as it came, the payload's fields and its own on one level.
fn attachment(attachment: &Value) -> Value {
    let mut parts = match attachment.get("payload").map(camel_cased) {
        Some(Value::Object(payload)) => payload,
        _ => Map::new(),
    };
    put(&mut parts, "type", Some(text(attachment, "type").unwrap_or("unknown")));
    put(&mut parts, "url", attachment_text(attachment, "url"));
    put(&mut parts, "title", attachment_text(attachment, "title"));
    Value::Object(parts)
}

/// The emoji that Messenger and Instagram show for their named reactions.
fn emoji_of(reaction: &str) -> &'static str {
    match reaction {
        "smile" | "laugh" => "😆",
        "angry" => "😠",
        "sad" => "😢",
        "wow" => "😮",
        "love" => "❤️",
        "like" => "👍",
        "dislike" => "👎",
        _ => "❔",
    }
}

fn last_mid(delivery: &Value) -> Option<String> {
    items(delivery, "mids").last()?.as_str().filter(|mid| mid.len() <= MAX_EXTERNAL_ID_BYTES).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{NOW_MS, events, kinds, only},
        *,
    };
    use crate::event::Event;

    const PAGE: &str = "110220330440550";
    const INSTAGRAM_ACCOUNT: &str = "17841400001112223";

    fn customer_of(name: &str) -> Customer {
        let id = if name.starts_with("facebook/") { "7301122334455667" } else { "1029384756102938" };
        Customer { user_id: Some(id.into()), ..Customer::default() }
    }

    fn kind(name: &str) -> EventKind {
        let event = only(name);
        let account = if name.starts_with("facebook/") { PAGE } else { INSTAGRAM_ACCOUNT };
        assert_eq!(event.account.as_ref().map(ToString::to_string).as_deref(), Some(account), "{name}");
        event.kind
    }

    fn message(name: &str) -> IncomingMessage {
        match kind(name) {
            EventKind::Message(message) => {
                assert_eq!(message.customer, customer_of(name), "{name}");
                message
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The content of a fixture's message, which is the customer's own and opens the window.
    fn content(name: &str) -> Content {
        let message = message(name);
        assert!(message.from_customer && message.opens_window, "{name}");
        message.content
    }

    fn expected(content_type: ContentType, text: Option<&str>, parts: Value) -> Content {
        let Value::Object(parts) = parts else { panic!("{parts}") };
        Content { content_type, text: text.map(str::to_owned), parts }
    }

    fn echo(name: &str) -> Echo {
        match kind(name) {
            EventKind::Echo(echo) => echo,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// What an item made by a test turns out to be.
    fn one(item: &Value) -> EventKind {
        kinds(&json!({"object": "page", "entry": [{"id": PAGE, "messaging": [item]}]})).remove(0)
    }

    fn item(key: &str, body: impl Into<Value>) -> Value {
        let body = body.into();
        json!({"sender": {"id": "7"}, "recipient": {"id": PAGE}, "timestamp": 1_767_877_200_123_i64, key: body})
    }

    fn one_content(message: Value) -> Content {
        match one(&item("message", message)) {
            EventKind::Message(message) => message.content,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn message_to_oneself_makes_no_customer() {
        let own = json!({"id": PAGE});
        let text = |message: Value| json!({"sender": own, "recipient": own, "timestamp": 1, "message": message});
        for item in [
            text(json!({"mid": "m_1", "text": "Note to self"})),
            text(json!({"mid": "m_1", "text": "Note to self", "is_echo": true})),
            item("message", json!({"mid": "m_1", "text": "Note to self", "is_self": true})),
        ] {
            assert_eq!(one(&item), notice("message_to_oneself"), "{item}");
        }
    }

    #[test]
    fn a_text_is_read_whole() {
        let raw = json!({"sender": {"id": "7301122334455667"}, "recipient": {"id": PAGE},
            "timestamp": 1_767_877_200_123_i64, "message": {"mid": "m_AbC1", "text": "Hi, are you open today?"}});
        let message = IncomingMessage {
            customer: customer_of("facebook/text"),
            external_id: "m_AbC1".into(),
            timestamp: Some(1_767_877_200_123),
            content: Content::text("Hi, are you open today?"),
            reply_to: None,
            from_customer: true,
            opens_window: true,
            also_known_as: None,
        };
        let account = Some(PAGE.parse().unwrap());
        let place = only("facebook/text").place;
        let event = Event { platform: Platform::Facebook, account, kind: EventKind::Message(message), raw, place };
        assert_eq!(only("facebook/text"), event);

        let event = only("instagram/text");
        assert_eq!(event.platform, Platform::Instagram);
        assert!(
            matches!(event.kind, EventKind::Message(message) if message.content == Content::text("Love it! Price?"))
        );
    }

    #[test]
    fn attachments_are_read_all() {
        let (one, two) =
            ("https://scontent.xx.fbcdn.net/v/1.jpg?oe=66F", "https://scontent.xx.fbcdn.net/v/2.jpg?oe=66F");
        let parts = json!({"url": one, "attachments": [{"type": "image", "url": one}, {"type": "image", "url": two}]});
        assert_eq!(content("facebook/image"), expected(ContentType::Image, None, parts));
        assert_eq!(content("facebook/image").preview(), "Photo and 1 more");
    }

    #[test]
    fn the_first_attachment_names_the_content() {
        for (name, content_type) in [
            ("facebook/image", ContentType::Image),
            ("facebook/video", ContentType::Video),
            ("facebook/audio", ContentType::Audio),
            ("facebook/file", ContentType::Document),
            ("facebook/location", ContentType::Location),
            ("facebook/like", ContentType::Sticker),
            ("facebook/sticker", ContentType::Sticker),
            ("facebook/fallback", ContentType::Share),
            ("facebook/product", ContentType::Share),
            ("facebook/post", ContentType::Share),
            ("facebook/attachment_of_the_future", ContentType::Unsupported),
            ("instagram/image", ContentType::Image),
            ("instagram/story_mention", ContentType::StoryMention),
            ("instagram/share", ContentType::Share),
            ("instagram/reel", ContentType::Share),
            ("instagram/post", ContentType::Share),
            ("instagram/story", ContentType::Share),
            ("instagram/like_heart", ContentType::Sticker),
            ("instagram/view_once", ContentType::Unsupported),
        ] {
            let content = content(name);
            assert_eq!(content.content_type, content_type, "{name}");
            assert!(content.parts["attachments"][0]["type"].is_string(), "{name}");
        }
    }

    #[test]
    fn what_is_shared_has_its_title() {
        let attachment = json!({"type": "fallback", "url": "https://example.com/p/1", "title": "Product 1"});
        let parts = json!({"url": "https://example.com/p/1", "title": "Product 1", "attachments": [attachment]});
        assert_eq!(content("facebook/fallback"), expected(ContentType::Share, Some("https://example.com/p/1"), parts));
        assert_eq!(content("facebook/product").preview(), "Blue one");
        assert_eq!(content("instagram/reel").preview(), "How to");
        assert_eq!(content("instagram/reel").parts["attachments"][0]["reelVideoId"], "17900000000000002");
        assert_eq!(content("instagram/share").preview(), "Shared post");
        assert_eq!(content("instagram/story").preview(), "Shared story");
        // Older ones have no payload.
        let bare = one_content(json!({"mid": "m", "attachments": [{"type": "fallback", "title": "T", "url": "u"}]}));
        assert_eq!((&bare.parts["url"], &bare.parts["title"]), (&json!("u"), &json!("T")));
    }

    #[test]
    fn a_location_has_its_place() {
        let parts = content("facebook/location").parts;
        assert_eq!((&parts["latitude"], &parts["longitude"]), (&json!(52.520_008), &json!(13.404_954)));
        assert_eq!(parts["name"], "Pinned Location");
    }

    #[test]
    fn what_we_cannot_show_is_kept_and_told() {
        for (name, kind) in [
            ("instagram/unsupported", "unsupported"),
            ("instagram/view_once", "ephemeral"),
            ("facebook/attachment_of_the_future", "appointment_booking"),
        ] {
            let content = content(name);
            assert_eq!(content.content_type, ContentType::Unsupported, "{name}");
            assert_eq!(content.parts["type"], kind);
            assert_eq!(content.parts["raw"], only(name).raw["message"]);
        }
        let nothing = one_content(json!({"mid": "m"}));
        assert_eq!(nothing.content_type, ContentType::Unsupported);
        let strange = one_content(json!({"mid": "m", "text": "Look", "attachments": [7]}));
        assert_eq!((strange.content_type, strange.text.as_deref()), (ContentType::Unsupported, Some("Look")));
        assert_eq!(one_content(json!({"mid": "m", "text": ""})), Content { text: None, ..Content::text("") });
    }

    #[test]
    fn quick_replies_and_referrals_are_kept() {
        let red = expected(ContentType::Text, Some("Red"), json!({"quickReplyPayload": "COLOR_RED"}));
        assert_eq!(content("facebook/quick_reply"), red);
        let medium = expected(ContentType::Text, Some("Size M"), json!({"quickReplyPayload": "SIZE_M"}));
        assert_eq!(content("instagram/quick_reply"), medium);
        let product = json!({"referral": {"product": {"id": "4455667788"}}});
        assert_eq!(content("instagram/product"), expected(ContentType::Text, Some("This?"), product));
        let referral = json!({"ref": "spring", "adId": "120200300400", "source": "ADS", "type": "OPEN_THREAD",
            "adsContextData": {"adTitle": "Spring sale", "photoUrl": "https://example.com/p.jpg", "postId": "1_2"}});
        assert_eq!(content("facebook/message_referral").parts["referral"], referral);
        assert_eq!(content("instagram/message_referral").parts["referral"]["adsContextData"]["adTitle"], "Spring");
    }

    #[test]
    fn replies_name_their_message_or_story() {
        assert_eq!(message("facebook/reply").reply_to.as_deref(), Some("m_OUT1"));
        assert_eq!(message("instagram/reply").reply_to.as_deref(), Some("aWOUT1"));
        let story = message("instagram/story_reply");
        let url = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=18000000000000001&signature=AbC";
        let parts = json!({"story": {"id": "17900000000000001", "url": url}});
        assert_eq!(story.content, expected(ContentType::StoryReply, Some("Wow"), parts));
        assert_eq!(story.reply_to, None);
    }

    #[test]
    fn an_echo_goes_to_the_conversation_of_whom_it_was_written_to() {
        let message = IncomingMessage {
            customer: customer_of("facebook/echo"),
            external_id: "m_OUT2".into(),
            timestamp: Some(1_767_877_207_123),
            content: Content::text("We are open until 6 pm"),
            reply_to: None,
            from_customer: false,
            opens_window: false,
            also_known_as: None,
        };
        assert_eq!(echo("facebook/echo"), Echo { message, callback_data: Some("msg_01JH".into()) });
        let instagram = echo("instagram/echo");
        assert_eq!(instagram.message.customer, customer_of("instagram/echo"));
        assert_eq!((instagram.message.external_id.as_str(), instagram.callback_data), ("aWOUT1", None));
        let template = echo("facebook/echo_template").message.content;
        assert_eq!((template.content_type, template.preview()), (ContentType::Interactive, "Shall we confirm?".into()));
        let media = json!({"template_type": "media", "elements": [{"media_type": "image", "attachment_id": 1}]});
        let media =
            one_content(json!({"mid": "m", "attachments": [{"type": "template", "title": "", "payload": media}]}));
        assert_eq!((media.content_type, media.preview()), (ContentType::Interactive, "Template".into()));
    }

    #[test]
    fn the_account_is_never_its_own_customer() {
        let from_us = |key: &str, body: Value| {
            one(&json!({"sender": {"id": PAGE}, "recipient": {"id": "7"}, "timestamp": 1, key: body}))
        };
        let seven = Some("7".to_owned());
        assert!(matches!(from_us("message", json!({"mid": "m", "text": "x"})),
            EventKind::Echo(Echo { message, .. }) if message.customer.user_id == seven));
        assert!(matches!(from_us("message", json!({"mid": "m", "is_deleted": true})),
            EventKind::Unsend(Unsend { by: Party::Business, customer, .. }) if customer.user_id == seven));
        assert!(matches!(from_us("message_edit", json!({"mid": "m", "text": "x"})),
            EventKind::Edit(Edit { by: Party::Business, customer, .. }) if customer.user_id == seven));
        assert!(matches!(from_us("reaction", json!({"mid": "m", "emoji": "x"})),
            EventKind::Reaction(Reaction { by: Party::Business, customer, .. }) if customer.user_id == seven));
        assert!(matches!(from_us("postback", json!({"title": "x"})), EventKind::Echo(_)));
        for (key, name) in [("read", "read_by_business"), ("delivery", "read_by_business"), ("referral", "referral")] {
            assert_eq!(from_us(key, json!({"watermark": 5})), notice(name));
        }
        let nobody = json!({"sender": {"id": PAGE}, "message": {"mid": "m", "is_echo": true, "text": "x"}});
        assert_eq!(one(&nobody), EventKind::Unknown { reason: "message without sender" });
    }

    #[test]
    fn a_postback_is_a_message_of_the_customer() {
        let postback = message("facebook/postback");
        let parts = json!({"title": "Get started", "payload": "GET_STARTED",
            "referral": {"ref": "flyer", "source": "SHORTLINK", "type": "OPEN_THREAD"}});
        assert_eq!(postback.content, expected(ContentType::Postback, Some("Get started"), parts));
        assert_eq!(postback.external_id, "m_PB1");
        assert!(postback.from_customer && postback.opens_window);
        assert_eq!(message("instagram/postback").external_id, "aWPB1");
    }

    #[test]
    fn what_has_no_id_gets_one_that_a_repetition_has_too() {
        let id = |timestamp: Value, payload: &str| {
            let mut item = item("postback", json!({"title": "T", "payload": payload}));
            item["timestamp"] = timestamp;
            match one(&item) {
                EventKind::Message(message) => message.external_id,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(id(json!(5), "A"), id(json!("5"), "A"));
        assert_ne!(id(json!(5), "A"), id(json!(6), "A"));
        assert_ne!(id(json!(5), "A"), id(json!(5), "B"));
        assert!(message("facebook/postback_without_mid").external_id.starts_with("postback:"));
    }

    #[test]
    fn watermarks_tell_how_far() {
        let watermark = |name: &str| match kind(name) {
            EventKind::Watermark(watermark) => {
                assert_eq!(watermark.customer, customer_of(name));
                (watermark.status, watermark.up_to)
            }
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(watermark("facebook/delivery"), (Status::Delivered, UpTo::Time(1_767_877_211_000)));
        assert_eq!(watermark("facebook/read"), (Status::Read, UpTo::Time(1_767_877_212_000)));
        assert_eq!(watermark("instagram/read"), (Status::Read, UpTo::Message("aWOUT1".into())));
        let up_to = |body: Value| match one(&item("delivery", body)) {
            EventKind::Watermark(watermark) => Ok(watermark.up_to),
            EventKind::Unknown { reason } => Err(reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(up_to(json!({"mids": ["a", "b"]})), Ok(UpTo::Message("b".into())));
        assert_eq!(up_to(json!({"mids": [], "watermark": NOW_MS * 2})), Err("watermark without time"));
    }

    #[test]
    fn reactions_come_and_go() {
        for name in ["facebook/reaction", "instagram/reaction"] {
            let EventKind::Reaction(reaction) = kind(name) else { panic!("{name}") };
            let EventKind::Reaction(removed) = kind(&format!("{name}_removed")) else { panic!("{name}") };
            assert_eq!((&reaction.customer, reaction.by), (&customer_of(name), Party::Customer));
            assert!(reaction.emoji.as_deref().unwrap().starts_with('❤'));
            assert_eq!((removed.emoji, &removed.target), (None, &reaction.target));
            assert_ne!(removed.external_id, reaction.external_id);
        }
        let emoji = |body: Value| match one(&item("reaction", body)) {
            EventKind::Reaction(reaction) => Ok(reaction.emoji),
            EventKind::Unknown { reason } => Err(reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(emoji(json!({"mid": "m", "action": "react", "reaction": "wow"})), Ok(Some("😮".into())));
        assert_eq!(emoji(json!({"mid": "m", "reaction": "other"})), Ok(Some("❔".into())));
        assert_eq!(emoji(json!({"mid": "m", "action": "unreact", "emoji": "❤"})), Ok(None));
        assert_eq!(emoji(json!({"mid": "m", "action": "react"})), Err("reaction without emoji"));
        assert_eq!(emoji(json!({"action": "unreact"})), Err("reaction without target"));
    }

    #[test]
    fn messages_are_edited_and_unsent() {
        for (name, target) in [("facebook/message_edit", "m_AbC1"), ("instagram/message_edit", "aW2")] {
            let EventKind::Edit(edit) = kind(name) else { panic!("{name}") };
            assert_eq!((edit.target.as_str(), edit.by), (target, Party::Customer));
            assert!(edit.content.text.is_some());
            assert_ne!(edit.external_id, edit.target);
        }
        let id = |body: Value| match one(&item("message_edit", body)) {
            EventKind::Edit(edit) => edit.external_id,
            other => panic!("{other:?}"),
        };
        assert_ne!(id(json!({"mid": "m", "num_edit": 1})), id(json!({"mid": "m", "num_edit": 2})));
        assert_eq!(id(json!({"mid": "m", "num_edit": 1})), id(json!({"mid": "m", "num_edit": "1"})));

        for nothing in [json!({"mid": "m", "num_edit": 0}), json!({"mid": "m", "num_edit": 0, "text": ""})] {
            assert_eq!(one(&item("message_edit", nothing)), notice("message_edit"));
        }
        assert!(matches!(one(&item("message_edit", json!({"mid": "m", "num_edit": 1}))),
            EventKind::Edit(edit) if edit.content.text.is_none() && edit.content.parts.contains_key("reason")));

        let EventKind::Unsend(unsend) = kind("instagram/unsend") else { panic!() };
        assert_eq!((unsend.target.as_str(), unsend.by), ("aW1", Party::Customer));
        assert_ne!(unsend.external_id, unsend.target);
    }

    #[test]
    fn a_referral_is_a_line_that_opens_the_window() {
        let referral = message("facebook/referral");
        let parts = json!({"kind": "referral", "ref": "flyer", "source": "SHORTLINK", "type": "OPEN_THREAD"});
        assert_eq!(referral.content, expected(ContentType::System, Some("Came from a link: flyer"), parts));
        assert!(!referral.from_customer && referral.opens_window);
        let instagram = message("instagram/referral");
        assert!(instagram.external_id.starts_with("referral:") && instagram.opens_window);
    }

    #[test]
    fn an_opt_in_is_a_line_without_its_token() {
        let optin = message("facebook/optin");
        let parts = json!({"kind": "optin", "type": "notification_messages", "payload": "news",
            "tokenExpiryTimestamp": 1_799_413_200_000_i64, "notificationMessagesTimezone": "Europe/Berlin"});
        assert_eq!(optin.content, expected(ContentType::System, Some("Opted in: news"), parts));
        assert!(!optin.from_customer && optin.opens_window);
        assert_eq!(kind("facebook/optin_without_sender"), notice("optin"));
    }

    #[test]
    fn an_opt_in_is_what_its_status_says() {
        let told = |optin: Value| match one(&item("optin", optin)) {
            EventKind::Message(line) => (line.content.text.unwrap(), line.opens_window),
            other => panic!("{other:?}"),
        };
        let status = |status: &str| {
            told(json!({"type": "notification_messages", "title": "News", "notification_messages_status": status}))
        };
        for (name, line, opens) in [
            ("STOP NOTIFICATIONS", "Stopped notifications: News", false),
            ("STOP_NOTIFICATIONS", "Stopped notifications: News", false),
            ("RESUME NOTIFICATIONS", "Resumed notifications: News", true),
            ("OF THE FUTURE", "Changed notifications: News", false),
        ] {
            assert_eq!(status(name), (line.to_owned(), opens), "{name}");
        }
        let token = |status: &str| told(json!({"type": "notification_messages", "user_token_status": status}));
        assert_eq!(token("REFRESHED"), ("Opted in again".to_owned(), true));
        assert_eq!(token("NOT_REFRESHED"), ("Opted in".to_owned(), true));
        let stopped = message("facebook/optin_stopped");
        assert_eq!(stopped.content.text.as_deref(), Some("Stopped notifications: news"));
        assert_eq!(stopped.content.parts["kind"], "optout");
        assert!(!stopped.opens_window);
    }

    #[test]
    fn a_cart_is_an_order_that_opens_the_window() {
        let order = message("facebook/order");
        let parts = json!({"items": [
            {"productRetailerId": "SKU-1", "name": "Shirt", "quantity": 1, "itemPrice": 19.9, "currency": "EUR"},
            {"productRetailerId": "SKU-2", "name": "Cap", "quantity": 2, "itemPrice": 5, "currency": "EUR"}]});
        assert_eq!(order.content, expected(ContentType::Order, Some("Gift wrap please"), parts));
        assert!(order.from_customer && order.opens_window);
    }

    #[test]
    fn a_form_is_what_was_filled_in() {
        let form = message("facebook/customer_information");
        let response = json!({"name": "Lena Vogt", "zipcode": "10178"});
        let parts = json!({"kind": "customer_information", "response": response});
        assert_eq!(form.content, expected(ContentType::Interactive, None, parts));
        assert_eq!(form.content.preview(), "name: Lena Vogt, zipcode: 10178");
        assert!(form.from_customer && !form.opens_window);

        let feedback = message("facebook/feedback");
        let parts = json!({"kind": "feedback", "response": {"csat": "4", "csat comment": "Very kind"}});
        assert_eq!(feedback.content, expected(ContentType::Interactive, None, parts));
        let question = json!({"type": "nps", "payload": "9"});
        let screens = json!([{"questions": {"first": question, "second": {"type": "nps", "payload": "1"}}}]);
        let two = one(&item("messaging_feedback", json!({"feedback_screens": screens})));
        assert!(matches!(two, EventKind::Message(two) if two.content.preview() == "nps: 9, second: 1"));
        for empty in [json!({}), json!({"feedback_screens": [{"questions": 1}, 2]})] {
            let read = one(&item("messaging_feedback", empty));
            assert!(matches!(read, EventKind::Message(read) if read.content.preview() == "Answered form"));
        }
    }

    #[test]
    fn a_rating_of_a_message_is_a_line_that_names_it() {
        let rating = message("facebook/response_feedback");
        let parts = json!({"kind": "response_feedback", "feedback": "Bad response", "mid": "m_OUT1"});
        assert_eq!(rating.content, expected(ContentType::System, Some("Rated a message: Bad response"), parts));
        assert_eq!(rating.reply_to.as_deref(), Some("m_OUT1"));
        assert!(!rating.from_customer && !rating.opens_window);
    }

    #[test]
    fn what_changes_no_conversation_is_a_notice() {
        for name in ["pass_thread_control", "take_thread_control", "request_thread_control", "game_play", "feed"] {
            assert_eq!(kind(&format!("facebook/{name}")), notice(name));
        }
        for name in ["comments", "mentions"] {
            assert_eq!(kind(&format!("instagram/{name}")), notice(name));
        }
    }

    #[test]
    fn what_another_app_answers_is_read_the_same() {
        let events = events("facebook/standby");
        assert!(matches!(&events[..], [
            Event { kind: EventKind::Message(text), .. },
            Event { kind: EventKind::Message(postback), .. },
        ] if text.external_id == "m_AbC9" && postback.external_id == "m_PB2"));
    }

    #[test]
    fn the_dashboards_test_is_a_message_of_the_account_0() {
        let event = only("instagram/dashboard_test");
        assert_eq!(event.account.unwrap().as_str(), "0");
        let EventKind::Message(message) = event.kind else { panic!() };
        assert_eq!((message.external_id.as_str(), message.timestamp), ("random_mid", Some(1_527_459_824_000)));
        assert_eq!(message.customer.user_id.as_deref(), Some("12334"));
    }

    #[test]
    fn ids_may_be_numbers() {
        let event = only("facebook/numeric_ids");
        assert_eq!(event.account.unwrap().as_str(), PAGE);
        let EventKind::Message(message) = event.kind else { panic!() };
        assert_eq!(message.customer.user_id.as_deref(), Some("18446744073709551615"));
        assert_eq!(message.timestamp, Some(1_767_877_200_123));
    }

    #[test]
    fn what_cannot_be_placed_is_unknown() {
        assert_eq!(
            kind("facebook/item_of_the_future_unknown"),
            EventKind::Unknown { reason: "unknown messaging item" }
        );
        for (item, reason) in [
            (item("message", json!({"text": "x"})), "message without id"),
            (json!({"message": {"mid": "m", "text": "x"}}), "message without sender"),
            (item("message", json!("x")), "unknown messaging item"),
            (item("postback", json!({"mid": "x".repeat(1025)})), "id too long"),
        ] {
            assert_eq!(one(&item), EventKind::Unknown { reason }, "{item}");
        }
        let entry = |entry: Value| kinds(&json!({"object": "instagram", "entry": [entry]}));
        let unknown = |reason| [EventKind::Unknown { reason }];
        assert_eq!(entry(json!({"id": "1", "time": 1})), unknown("entry without messaging"));
        assert_eq!(entry(json!({"id": "1", "changes": [{"value": {}}]})), unknown("change without field"));
        assert_eq!(entry(json!({"id": "1", "changes": [{"field": "messages"}]})), unknown("change without value"));
        assert_eq!(entry(json!({"id": "1", "messaging": null, "changes": []})), []);
    }
}
