//! What customers do on Messenger and Instagram, in Meta's words.

use serde_json::{Value, json};

use super::{
    super::{Platform, payloads::messaging},
    Inbound, Kind, Problem,
};

impl Inbound {
    /// An item of Messenger or Instagram, and the part of it that its type is about.
    pub(super) fn messaging(&self, id: &str, at: i64, edits: u64) -> Result<(Value, Value), Problem> {
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
