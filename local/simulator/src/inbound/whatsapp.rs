//! What customers do on `WhatsApp`, in its words.

use serde_json::{Value, json};

use super::{
    super::payloads::{display_phone_number, seconds, whatsapp},
    Inbound, Kind, Problem,
};

impl Inbound {
    /// A message of `WhatsApp`, and the part of it that its type is about.
    pub(super) fn whatsapp(&self, id: &str, at: i64) -> Result<(Value, Value), Problem> {
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
            message["context"] = json!({ "from": display_phone_number(&self.account_id), "id": quoted });
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
        call["to"] = display_phone_number(&self.account_id).into();
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

    fn media(&self, mime_type: &str, id: &str) -> Value {
        let mut media = json!({ "mime_type": mime_type, "sha256": "b2xkIGZyaWVuZHM=", "id": id });
        if let Some(caption) = &self.text {
            media["caption"] = caption.as_str().into();
        }
        self.filled(media)
    }
}
