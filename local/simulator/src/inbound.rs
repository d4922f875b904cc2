//! What a customer can do, on each platform, as the platform tells it: the bodies that `POST /simulate/inbound` delivers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Account, Platform,
    messages::new_id,
    payloads::{as_millis, messaging, seconds, whatsapp},
    threads::{Change, Message, Party},
};

/// What a customer does: writes something, or changes what was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    #[default]
    Text,
    Image,
    /// Several photos in one message.
    Images,
    Video,
    Audio,
    Voice,
    Document,
    Sticker,
    Location,
    Contacts,
    /// A button of an interactive message was pressed.
    ButtonReply,
    /// An entry of a list was chosen.
    ListReply,
    /// A form was sent.
    FlowReply,
    /// A button of a template was pressed.
    Button,
    QuickReply,
    Order,
    Postback,
    StoryReply,
    StoryMention,
    Share,
    /// Somebody else's story, shared.
    SharedStory,
    /// A message that came from an ad.
    Referral,
    /// The customer followed a link to the chat.
    Link,
    OptIn,
    OptOut,
    /// A form of the platform, such as an address.
    Form,
    /// A form on how content the customer is.
    Feedback,
    /// A message of the business was rated.
    Rating,
    Call,
    CallEnd,
    Unsupported,
    Reaction,
    Edit,
    Unsend,
}

impl Kind {
    /// What customers of a platform can do.
    pub(super) fn of(platform: Platform) -> &'static [Self] {
        match platform {
            Platform::Whatsapp => &[
                Self::Text,
                Self::Image,
                Self::Video,
                Self::Audio,
                Self::Voice,
                Self::Document,
                Self::Sticker,
                Self::Location,
                Self::Contacts,
                Self::ButtonReply,
                Self::ListReply,
                Self::FlowReply,
                Self::Button,
                Self::Order,
                Self::Referral,
                Self::Call,
                Self::CallEnd,
                Self::Unsupported,
                Self::Reaction,
                Self::Edit,
                Self::Unsend,
            ],
            Platform::Instagram => &[
                Self::Text,
                Self::Image,
                Self::Images,
                Self::Video,
                Self::Audio,
                Self::Sticker,
                Self::QuickReply,
                Self::Postback,
                Self::StoryReply,
                Self::StoryMention,
                Self::Share,
                Self::SharedStory,
                Self::Referral,
                Self::Link,
                Self::Unsupported,
                Self::Reaction,
                Self::Edit,
                Self::Unsend,
            ],
            Platform::Facebook => &[
                Self::Text,
                Self::Image,
                Self::Images,
                Self::Video,
                Self::Audio,
                Self::Document,
                Self::Sticker,
                Self::Location,
                Self::QuickReply,
                Self::Order,
                Self::Postback,
                Self::Share,
                Self::Referral,
                Self::Link,
                Self::OptIn,
                Self::OptOut,
                Self::Form,
                Self::Feedback,
                Self::Rating,
                Self::Unsupported,
                Self::Reaction,
                Self::Edit,
            ],
        }
    }

    fn name(self) -> String {
        json!(self).as_str().unwrap_or_default().to_owned()
    }
}

/// A customer does something, or any body at all is delivered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Inbound {
    platform: Platform,
    account_id: String,
    #[serde(default, rename = "type")]
    kind: Kind,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// The words: a text, a caption, what stands on the button.
    #[serde(default)]
    text: Option<String>,
    /// Fields of the type in the platform's own words, instead of those of the example.
    #[serde(default)]
    content: Map<String, Value>,
    /// The message that is quoted.
    #[serde(default)]
    reply_to: Option<String>,
    /// The message that is reacted to, edited or unsent.
    #[serde(default)]
    target: Option<String>,
    /// A reaction; none takes the reaction back.
    #[serde(default)]
    emoji: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    timestamp: Option<i64>,
    /// `WhatsApp`'s business-scoped user id.
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    username: Option<String>,
    /// A body to deliver as it is.
    #[serde(default)]
    payload: Option<Value>,
    /// The same as text, JSON or not.
    #[serde(default)]
    payload_text: Option<String>,
}

/// What is delivered, and what the customer's phone shows of it.
#[derive(Debug)]
pub(super) struct Written {
    /// The id of the message, where there is one.
    pub(super) id: Option<String>,
    /// The body to deliver.
    pub(super) body: String,
    /// What the phone shows; nothing where the body was given.
    pub(super) shown: Option<Shown>,
}

#[derive(Debug)]
pub(super) struct Shown {
    pub(super) customer: String,
    pub(super) name: Option<String>,
    pub(super) change: Change,
}

type Problem = &'static str;

impl Inbound {
    pub(super) fn account(&self) -> Account {
        Account { platform: self.platform, id: self.account_id.clone() }
    }

    pub(super) fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// What is delivered. `edits` is how often the target was edited before.
    pub(super) fn written(self, now_ms: i64, edits: u64) -> Result<Written, Problem> {
        match (self.payload_text, self.payload) {
            (Some(body), _) => return Ok(Written { id: self.id, body, shown: None }),
            (None, Some(payload)) => return Ok(Written { id: self.id, body: payload.to_string(), shown: None }),
            (None, None) => {}
        }
        let inbound = Self { payload: None, payload_text: None, ..self };
        if !Kind::of(inbound.platform).contains(&inbound.kind) {
            return Err("customers of this platform cannot do that: GET /simulate/accounts lists the types");
        }
        let at = inbound.timestamp.map_or(now_ms, as_millis);
        let id = inbound.id.clone().unwrap_or_else(|| new_id(inbound.platform));
        let (body, content) = match inbound.platform {
            Platform::Whatsapp => inbound.whatsapp(&id, at)?,
            Platform::Instagram | Platform::Facebook => inbound.messaging(&id, at, edits)?,
        };
        let change = inbound.change(&id, at, content)?;
        let customer = inbound.customer()?;
        let shown = Some(Shown { customer, name: inbound.name, change });
        Ok(Written { id: Some(id), body: body.to_string(), shown })
    }

    /// Whose phone it is: the number's digits, or the platform's id of the person.
    fn customer(&self) -> Result<String, Problem> {
        let digits = |from: &String| from.chars().filter(char::is_ascii_digit).collect::<String>();
        match (self.platform, &self.from, &self.user_id) {
            (Platform::Whatsapp, Some(from), _) if !digits(from).is_empty() => Ok(digits(from)),
            (Platform::Whatsapp, _, Some(user_id)) => Ok(user_id.clone()),
            (Platform::Whatsapp, ..) => Err("from or userId is needed"),
            (_, from, _) => from.clone().ok_or("from is needed"),
        }
    }

    fn change(&self, id: &str, at: i64, content: Value) -> Result<Change, Problem> {
        Ok(match self.kind {
            Kind::Reaction => Change::Reaction { target: self.needed_target()?, emoji: self.emoji.clone() },
            Kind::Edit => Change::Edit { target: self.needed_target()?, text: self.needed_text()? },
            Kind::Unsend => Change::Unsend { target: self.needed_target()? },
            kind => Change::Message(Message {
                reply_to: self.reply_to.clone(),
                text: self.text.clone(),
                content,
                ..Message::new(id.to_owned(), at, Party::Customer, kind.name())
            }),
        })
    }

    fn needed_text(&self) -> Result<String, Problem> {
        self.text.clone().ok_or("text, payload or payloadText is needed")
    }

    fn needed_target(&self) -> Result<String, Problem> {
        self.target.clone().ok_or("target is needed: the id of a message")
    }

    /// The words, or those of the example.
    fn words<'a>(&'a self, example: &'a str) -> &'a str {
        self.text.as_deref().unwrap_or(example)
    }

    /// The example with the fields of the request in place of its own.
    fn filled(&self, example: Value) -> Value {
        let mut filled = example;
        for (name, value) in &self.content {
            filled[name.as_str()] = value.clone();
        }
        filled
    }

    fn media(&self, mime_type: &str, id: &str) -> Value {
        let mut media = json!({ "mime_type": mime_type, "sha256": "b2xkIGZyaWVuZHM=", "id": id });
        if let Some(caption) = &self.text {
            media["caption"] = caption.as_str().into();
        }
        self.filled(media)
    }

    /// A message of `WhatsApp`, and the part of it that its type is about.
    fn whatsapp(&self, id: &str, at: i64) -> Result<(Value, Value), Problem> {
        if matches!(self.kind, Kind::Call | Kind::CallEnd) {
            return self.call(id, at);
        }
        let mut message = json!({ "id": id, "timestamp": seconds(at) });
        let interactive = |kind: &str, reply: Value| json!({ "type": kind, kind: reply });
        let (wire_type, content) = match self.kind {
            Kind::Text => ("text", json!({ "body": self.needed_text()? })),
            Kind::Referral => ("text", json!({ "body": self.words("Hi, I saw your ad") })),
            Kind::Image => ("image", self.media("image/jpeg", "1101200300400500")),
            Kind::Video => ("video", self.media("video/mp4", "1101200300400501")),
            Kind::Audio => (
                "audio",
                self.filled(json!({ "mime_type": "audio/mpeg", "sha256": "YXVkaW8=", "id": "1101200300400502" })),
            ),
            Kind::Voice => {
                let voice = json!({ "mime_type": "audio/ogg; codecs=opus", "sha256": "YXVkaW8=", "id": "1101200300400502", "voice": true });
                ("audio", self.filled(voice))
            }
            Kind::Document => {
                let mut document = self.media("application/pdf", "1101200300400503");
                if document["filename"].is_null() {
                    document["filename"] = "Invoice.pdf".into();
                }
                ("document", document)
            }
            Kind::Sticker => {
                let sticker = json!({ "mime_type": "image/webp", "sha256": "c3RpY2tlcg==", "id": "1101200300400504", "animated": false });
                ("sticker", self.filled(sticker))
            }
            Kind::Location => {
                let place = json!({ "latitude": 52.520_008, "longitude": 13.404_954, "name": self.words("Shop"), "address": "Alexanderplatz 1, Berlin" });
                ("location", self.filled(place))
            }
            Kind::Contacts => {
                let name = self.words("Max Beispiel");
                let contact = json!({
                    "name": { "formatted_name": name, "first_name": name },
                    "phones": [{ "phone": "+49 171 3920013", "wa_id": "491713920013", "type": "CELL" }],
                    "emails": [{ "email": "max@example.com", "type": "WORK" }],
                });
                ("contacts", json!([self.filled(contact)]))
            }
            Kind::ButtonReply => {
                let reply = json!({ "id": "confirm:42", "title": self.words("Yes, please") });
                ("interactive", interactive("button_reply", self.filled(reply)))
            }
            Kind::ListReply => {
                let reply = json!({ "id": "slot-0930", "title": self.words("09:30"), "description": "Dr. Kim" });
                ("interactive", interactive("list_reply", self.filled(reply)))
            }
            Kind::FlowReply => {
                let reply = json!({ "name": "flow", "body": self.words("Sent"), "response_json": "{\"size\":\"M\"}" });
                ("interactive", interactive("nfm_reply", self.filled(reply)))
            }
            Kind::Button => {
                ("button", self.filled(json!({ "payload": "STOP-PROMO", "text": self.words("Stop promotions") })))
            }
            Kind::Order => {
                let order = json!({
                    "catalog_id": "600700800900", "text": self.words("Gift wrap please"),
                    "product_items": [{ "product_retailer_id": "SKU-1", "quantity": 2, "item_price": 19.9, "currency": "EUR" }],
                });
                ("order", self.filled(order))
            }
            Kind::Unsupported => {
                message["errors"] = json!([{
                    "code": 131_051, "title": "Message type unknown", "message": "Message type unknown",
                    "error_data": { "details": "Message type is currently not supported." },
                }]);
                ("unsupported", self.filled(json!({ "type": "poll" })))
            }
            Kind::Reaction => {
                let mut reaction = json!({ "message_id": self.needed_target()? });
                if let Some(emoji) = &self.emoji {
                    reaction["emoji"] = emoji.as_str().into();
                }
                ("reaction", reaction)
            }
            Kind::Edit => {
                let edited = json!({ "type": "text", "text": { "body": self.needed_text()? } });
                ("edit", json!({ "original_message_id": self.needed_target()?, "message": edited }))
            }
            Kind::Unsend => ("revoke", json!({ "original_message_id": self.needed_target()? })),
            _ => return Err("customers of WhatsApp cannot do that"),
        };
        message["type"] = wire_type.into();
        message[wire_type] = content.clone();
        if self.kind == Kind::Referral {
            let ad = json!({
                "source_url": "https://fb.me/xyz", "source_id": "120200300400", "source_type": "ad", "headline": "Spring sale", "body": "20 % off",
            });
            message["referral"] = self.filled(ad);
        }
        if let Some(quoted) = &self.reply_to {
            message["context"] =
                json!({ "from": super::payloads::display_phone_number(&self.account_id), "id": quoted });
        }
        let contact = self.contact(&mut message)?;
        Ok((whatsapp(&self.account_id, &json!({ "contacts": [contact], "messages": [message] })), content))
    }

    /// A call of `WhatsApp` begins, or the target ends.
    fn call(&self, id: &str, at: i64) -> Result<(Value, Value), Problem> {
        let event = match self.kind {
            Kind::CallEnd => json!({ "event": "terminate", "status": "COMPLETED", "duration": 93 }),
            _ => json!({ "event": "connect" }),
        };
        let mut call = self.filled(event);
        call["id"] = self.target.as_deref().unwrap_or(id).into();
        call["to"] = super::payloads::display_phone_number(&self.account_id).into();
        call["timestamp"] = seconds(at).into();
        call["direction"] = "USER_INITIATED".into();
        let contact = self.contact(&mut call)?;
        Ok((whatsapp(&self.account_id, &json!({ "contacts": [contact], "calls": [call] })), call))
    }

    /// The contact that goes with a message; the sender's ids are written into the message.
    fn contact(&self, message: &mut Value) -> Result<Value, Problem> {
        if self.from.is_none() && self.user_id.is_none() {
            return Err("from or userId is needed");
        }
        let mut contact = json!({ "profile": {} });
        if let Some(from) = &self.from {
            contact["wa_id"] = from.as_str().into();
            message["from"] = from.as_str().into();
        }
        if let Some(user_id) = &self.user_id {
            contact["user_id"] = user_id.as_str().into();
            message["from_user_id"] = user_id.as_str().into();
        }
        if let Some(name) = &self.name {
            contact["profile"]["name"] = name.as_str().into();
        }
        if let Some(username) = &self.username {
            contact["profile"]["username"] = username.as_str().into();
        }
        Ok(contact)
    }

    /// An item of Messenger or Instagram, and the part of it that its type is about.
    fn messaging(&self, id: &str, at: i64, edits: u64) -> Result<(Value, Value), Problem> {
        let from = self.from.as_ref().ok_or("from is needed")?;
        let (part, body, content) = if let Some((part, body)) = self.happening(id, edits)? {
            (part, body, Value::Null)
        } else {
            let (message, content) = self.message(id)?;
            ("message", message, content)
        };
        let mut item = json!({ "sender": { "id": from }, "recipient": { "id": self.account_id }, "timestamp": at });
        item[part] = body;
        Ok((messaging(self.platform, &self.account_id, at, &item), content))
    }

    /// A message of Messenger or Instagram, and what is attached to it.
    fn message(&self, id: &str) -> Result<(Value, Value), Problem> {
        let attached = |kind: &str, payload: Value| json!({ "type": kind, "payload": self.filled(payload) });
        let url = |file: &str| json!({ "url": format!("https://scontent.xx.fbcdn.net/v/{file}") });
        let mut message = json!({ "mid": id });
        if let Some(text) = &self.text {
            message["text"] = text.as_str().into();
        }
        if let Some(quoted) = &self.reply_to {
            message["reply_to"] = json!({ "mid": quoted });
        }
        let mut content = Value::Null;
        match self.kind {
            Kind::Text => drop(self.needed_text()?),
            Kind::Image => content = attached("image", url("1.jpg")),
            Kind::Images => content = json!([attached("image", url("1.jpg")), attached("image", url("2.jpg"))]),
            Kind::Video => content = attached("video", url("1.mp4")),
            Kind::Audio => content = attached("audio", url("1.m4a")),
            Kind::Document => content = attached("file", url("offer.pdf")),
            Kind::Sticker if self.platform == Platform::Instagram => content = json!({ "type": "like_heart" }),
            Kind::Sticker => {
                let like = json!({ "url": "https://scontent.xx.fbcdn.net/v/sticker.png", "sticker_id": 369_239_263_222_822_u64 });
                content = attached("sticker", like);
            }
            Kind::Location => {
                content = attached("location", json!({ "coordinates": { "lat": 52.520_008, "long": 13.404_954 } }));
                content["title"] = "Pinned location".into();
            }
            Kind::Share => {
                let kind = if self.platform == Platform::Instagram { "ig_post" } else { "post" };
                content = attached(kind, json!({ "url": "https://www.example.com/p/1", "title": "Our spring" }));
            }
            Kind::SharedStory => {
                content =
                    attached("ig_story", json!({ "url": "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=2" }));
            }
            Kind::StoryMention => {
                content = attached(
                    "story_mention",
                    json!({ "url": "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1" }),
                );
            }
            Kind::StoryReply => {
                let story = json!({ "id": "17900000000000001", "url": "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1" });
                message["reply_to"] = json!({ "story": self.filled(story) });
                message["text"] = self.words("Wow").into();
            }
            Kind::QuickReply => {
                message["text"] = self.words("Red").into();
                message["quick_reply"] = self.filled(json!({ "payload": "COLOR_RED" }));
            }
            Kind::Referral => {
                message["text"] = self.words("From the ad").into();
                let ad = json!({
                    "ref": "spring", "ad_id": "120200300400", "source": "ADS", "type": "OPEN_THREAD", "ads_context_data": { "ad_title": "Spring sale" },
                });
                message["referral"] = self.filled(ad);
            }
            Kind::Unsupported => message["is_unsupported"] = true.into(),
            Kind::Unsend => message = json!({ "mid": self.needed_target()?, "is_deleted": true }),
            _ => return Err("customers of this platform cannot do that"),
        }
        match &content {
            Value::Object(_) => message["attachments"] = json!([content]),
            Value::Array(_) => message["attachments"] = content.clone(),
            _ => {}
        }
        Ok((message, content))
    }

    /// What happens on Messenger or Instagram without being a message: its part of the item, and what that holds.
    fn happening(&self, id: &str, edits: u64) -> Result<Option<(&'static str, Value)>, Problem> {
        Ok(Some(match self.kind {
            Kind::Postback => {
                let button = json!({ "mid": id, "title": self.words("Get started"), "payload": "GET_STARTED" });
                ("postback", self.filled(button))
            }
            Kind::OptIn => {
                ("optin", self.filled(json!({ "type": "notification_messages", "payload": self.words("news") })))
            }
            Kind::OptOut => {
                let status = json!({
                    "type": "notification_messages", "payload": self.words("news"), "notification_messages_status": "STOP NOTIFICATIONS",
                });
                ("optin", self.filled(status))
            }
            Kind::Link => {
                let source = if self.platform == Platform::Instagram { "IGME" } else { "SHORTLINK" };
                let link = json!({ "ref": self.words("flyer"), "source": source, "type": "OPEN_THREAD" });
                ("referral", self.filled(link))
            }
            Kind::Order => {
                let cart = json!({
                    "note": self.words("Gift wrap please"),
                    "products": [{ "id": 123, "retailer_id": "SKU-1", "name": "Shirt", "unit_price": 19.9, "currency": "EUR", "quantity": 2 }],
                });
                ("order", self.filled(cart))
            }
            Kind::Form => {
                let answers = json!([{ "key": "name", "value": self.words("Lena Vogt") }, { "key": "zipcode", "value": "10178" }]);
                let form = json!({ "screens": [{ "screen_id": "address", "responses": answers }] });
                ("messaging_customer_information", self.filled(form))
            }
            Kind::Feedback => {
                let comment = json!({ "type": "free_form", "payload": self.words("Very kind") });
                let rating = json!({ "type": "csat", "payload": "4", "follow_up": comment });
                let form = json!({ "feedback_screens": [{ "screen_id": 0, "questions": { "rating": rating } }] });
                ("messaging_feedback", self.filled(form))
            }
            Kind::Rating => {
                ("response_feedback", self.filled(json!({ "feedback": "Good response", "mid": self.target })))
            }
            Kind::Reaction => {
                let mut reaction = json!({ "mid": self.needed_target()?, "action": "unreact" });
                if let Some(emoji) = &self.emoji {
                    reaction["action"] = "react".into();
                    reaction["reaction"] = "other".into();
                    reaction["emoji"] = emoji.as_str().into();
                }
                ("reaction", reaction)
            }
            Kind::Edit => {
                let edit = json!({ "mid": self.needed_target()?, "text": self.needed_text()?, "num_edit": edits + 1 });
                ("message_edit", edit)
            }
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: Value) -> (Option<String>, Value) {
        let inbound: Inbound = serde_json::from_value(request).unwrap();
        let written = inbound.written(1_767_877_200_123, 0).unwrap();
        (written.id, serde_json::from_str(&written.body).unwrap())
    }

    #[test]
    fn a_whatsapp_message_has_metas_envelope() {
        let (id, payload) = written(json!({
            "platform": "whatsapp", "accountId": "1001", "from": "491713920012", "name": "Lena", "text": "Hello", "id": "wamid.A1",
        }));

        assert_eq!(id.as_deref(), Some("wamid.A1"));
        let value = &payload["entry"][0]["changes"][0]["value"];
        assert_eq!(payload["entry"][0]["id"], "waba_1001");
        assert_eq!(value["metadata"]["phone_number_id"], "1001");
        assert_eq!(value["contacts"][0], json!({ "profile": { "name": "Lena" }, "wa_id": "491713920012" }));
        assert_eq!(
            value["messages"][0],
            json!({ "from": "491713920012", "id": "wamid.A1", "timestamp": "1767877200", "type": "text", "text": { "body": "Hello" } })
        );
    }

    #[test]
    fn a_customer_without_a_phone_number_has_only_a_user_id() {
        let (_, payload) =
            written(json!({ "platform": "whatsapp", "accountId": "1001", "userId": "DE.8172", "text": "Hello" }));

        let value = &payload["entry"][0]["changes"][0]["value"];
        assert_eq!(value["contacts"][0], json!({ "profile": {}, "user_id": "DE.8172" }));
        assert_eq!(value["messages"][0]["from"], Value::Null);
        assert_eq!(value["messages"][0]["from_user_id"], "DE.8172");
    }

    #[test]
    fn messenger_and_instagram_messages_differ_in_their_object() {
        for (platform, object) in [("facebook", "page"), ("instagram", "instagram")] {
            let request = json!({ "platform": platform, "accountId": "1001", "from": "73", "text": "Hi", "timestamp": 1_767_877_201 });
            let (_, payload) = written(request);
            assert_eq!(payload["object"], object);
            let item = &payload["entry"][0]["messaging"][0];
            assert_eq!(item["sender"]["id"], "73");
            assert_eq!(item["timestamp"], 1_767_877_201_000_i64);
        }
    }

    #[test]
    fn any_body_can_be_delivered() {
        let inbound: Inbound =
            serde_json::from_value(json!({ "platform": "whatsapp", "accountId": "1", "payloadText": "not json" }))
                .unwrap();

        let written = inbound.written(0, 0).unwrap();

        assert_eq!((written.id, written.body.as_str()), (None, "not json"));
        assert!(written.shown.is_none());
    }

    #[test]
    fn fields_of_the_request_replace_those_of_the_example() {
        let (_, payload) = written(json!({
            "platform": "whatsapp", "accountId": "1001", "from": "49", "type": "document", "text": "March",
            "content": { "filename": "Rechnung.pdf" }, "replyTo": "wamid.OUT1",
        }));

        let message = &payload["entry"][0]["changes"][0]["value"]["messages"][0];
        assert_eq!(message["type"], "document");
        assert_eq!(message["document"]["filename"], "Rechnung.pdf");
        assert_eq!(message["document"]["caption"], "March");
        assert_eq!(message["context"]["id"], "wamid.OUT1");
    }

    #[test]
    fn every_type_of_a_platform_can_be_built_and_no_other() {
        let kinds = Kind::of(Platform::Whatsapp).iter().chain(Kind::of(Platform::Instagram));
        for kind in kinds.chain(Kind::of(Platform::Facebook)) {
            for platform in [Platform::Whatsapp, Platform::Instagram, Platform::Facebook] {
                let request = json!({
                    "platform": platform, "accountId": "1001", "from": "73", "type": kind, "text": "Hi", "target": "m1", "emoji": "👍",
                });
                let inbound: Inbound = serde_json::from_value(request).unwrap();
                let built = inbound.written(1_767_877_200_123, 0);
                assert_eq!(built.is_ok(), Kind::of(platform).contains(kind), "{platform:?} {kind:?}");
            }
        }
    }
}
