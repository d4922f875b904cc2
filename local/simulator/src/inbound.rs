//! What a customer can do, on each platform, as the platform tells it: the bodies that `POST /simulate/inbound` delivers.

mod meta;
mod whatsapp;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Account, Platform,
    messages::new_id,
    payloads::as_millis,
    threads::{Change, Message, Party, Shown},
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
