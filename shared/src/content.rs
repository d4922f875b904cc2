//! What a message holds: its kind, its text, its typed parts, and the preview that the inbox shows.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kind of a message, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ContentType {
    Text,
    Image,
    Video,
    Audio,
    Document,
    Sticker,
    Location,
    Contacts,
    Interactive,
    Button,
    Order,
    System,
    StoryReply,
    StoryMention,
    Share,
    Postback,
    Call,
    Unsupported,
}

/// What a message holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Its kind.
    pub content_type: ContentType,
    /// What a person reads in it: body, caption, button title.
    pub text: Option<String>,
    /// The typed parts, as `openapi.yaml` describes them for each kind.
    pub parts: Map<String, Value>,
}

/// The part that tells why something of a message is missing.
pub const REASON: &str = "reason";

/// The longest preview, in bytes: an inbound text then costs the conversation one write unit.
const PREVIEW_MAX_BYTES: usize = 160;

impl Content {
    /// A plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { content_type: ContentType::Text, text: Some(text.into()), parts: Map::new() }
    }

    /// Content of a kind, with its parts and no text.
    #[must_use]
    pub fn new(content_type: ContentType, parts: Map<String, Value>) -> Self {
        Self { content_type, text: None, parts }
    }

    /// Whether it holds anything beside the reason why it does not.
    #[must_use]
    pub fn tells_something(&self) -> bool {
        self.content_type != ContentType::Unsupported
            && (self.text.is_some() || self.parts.keys().any(|part| part != REASON))
    }

    /// What the inbox shows of it: never empty, at most 160 bytes.
    #[must_use]
    pub fn preview(&self) -> String {
        let text = self.text.as_deref().filter(|text| !is_blank(text)).map(|text| Cow::Borrowed(text.trim()));
        truncate(&text.unwrap_or_else(|| self.without_words()), PREVIEW_MAX_BYTES)
    }

    /// What stands for it where it has no words.
    fn without_words(&self) -> Cow<'_, str> {
        let attachments = self.parts.get("attachments").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let name = match self.content_type {
            ContentType::Text => "Empty message",
            ContentType::Image => "Photo",
            ContentType::Video => "Video",
            ContentType::Audio if self.parts.get("voice") == Some(&Value::Bool(true)) => "Voice message",
            ContentType::Audio => "Audio",
            ContentType::Document => self.part("fileName").unwrap_or("Document"),
            ContentType::Sticker => "Sticker",
            ContentType::Location => self.part("name").or(self.part("address")).unwrap_or("Location"),
            ContentType::Contacts => "Contact",
            ContentType::Interactive => return self.interaction(),
            ContentType::Order => "Order",
            ContentType::System => "System message",
            ContentType::StoryReply => "Replied to your story",
            ContentType::StoryMention => "Mentioned you in a story",
            ContentType::Share => self.part("title").unwrap_or_else(|| shared(attachments.first())),
            ContentType::Button | ContentType::Postback => self.part("title").unwrap_or("Pressed a button"),
            ContentType::Call => "Call",
            ContentType::Unsupported => "Unsupported message",
        };
        match (self.content_type, attachments.len()) {
            // Of what is shared, the platform may send two descriptions.
            (ContentType::Share, _) | (_, 0 | 1) => Cow::Borrowed(name),
            (_, count) => Cow::Owned(format!("{name} and {} more", count - 1)),
        }
    }

    /// What stands for an interactive message: its title, what was filled in, or its kind.
    fn interaction(&self) -> Cow<'_, str> {
        if let Some(title) = self.part("title") {
            return Cow::Borrowed(title);
        }
        if let Some(answers) = self.parts.get("response").and_then(Value::as_object).map(answers)
            && !answers.is_empty()
        {
            return Cow::Owned(answers);
        }
        Cow::Borrowed(match self.part("kind").unwrap_or_default() {
            "button_reply" | "list_reply" => "Choice",
            "nfm_reply" | "customer_information" | "feedback" => "Answered form",
            "call_permission_reply" => "Call permission",
            "product" | "product_list" | "catalog_message" => "Product",
            "template" => "Template",
            _ => "Interactive message",
        })
    }

    /// A part that is text and shows something.
    fn part(&self, name: &str) -> Option<&str> {
        self.parts.get(name).and_then(Value::as_str).filter(|text| !is_blank(text))
    }
}

/// What the customer shares, by the platform's name of it.
fn shared(attachment: Option<&Value>) -> &'static str {
    match attachment.and_then(|attachment| attachment.get("type")).and_then(Value::as_str) {
        Some("ig_story") => "Shared story",
        Some("reel" | "ig_reel") => "Shared reel",
        Some("template") => "Product",
        _ => "Shared post",
    }
}

/// The answers of a form that a person can read in a line.
fn answers(response: &Map<String, Value>) -> String {
    let answer = |(name, value): (&String, &Value)| match value {
        // The business's own name of the form.
        _ if name == "flow_token" => None,
        Value::String(text) if !is_blank(text) && text.len() <= PREVIEW_MAX_BYTES => Some(format!("{name}: {text}")),
        Value::Number(_) | Value::Bool(_) => Some(format!("{name}: {value}")),
        _ => None,
    };
    response.iter().filter_map(answer).collect::<Vec<_>>().join(", ")
}

/// Whether nothing of a text can be seen: it has only blanks, controls, and characters that are drawn as nothing.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// White space, controls, and what Unicode calls default ignorable; and the empty Braille pattern, which is drawn as a blank.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'
                | '\u{1160}'
                | '\u{17B4}'
                | '\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFF8}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// Stands where something was cut.
const ELLIPSIS: char = '…';

/// The longest beginning of `text` that has at most `max_bytes`, with `…` where something was cut.
#[must_use]
pub fn truncate(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    format!("{}{ELLIPSIS}", &text[..text.floor_char_boundary(max_bytes.saturating_sub(ELLIPSIS.len_utf8()))])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_is_never_empty_and_never_long() {
        for text in [None, Some(String::new()), Some(" \n".into()), Some("\u{3164}".into()), Some("😀".repeat(4096))]
        {
            let preview = Content { text, ..Content::text("") }.preview();
            assert!(!preview.trim().is_empty());
            assert!(preview.len() <= PREVIEW_MAX_BYTES);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_blank() {
        for blank in ["", " \n\t", "\u{3164}", "\u{200B}\u{200D}", "\u{2800}", "\u{FEFF}", "\u{E0020}", "\u{AD} \0"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        for seen in ["x", "\u{3164}x", "❤\u{FE0F}", "👩\u{200D}👧", "한", "⠁", "\u{FFFD}", "ㅤ."] {
            assert!(!is_blank(seen), "{seen:?}");
        }
    }

    #[test]
    fn what_has_no_words_previews_as_what_it_is() {
        let parts = |parts: Value| parts.as_object().unwrap().clone();
        for (content_type, held, preview) in [
            (ContentType::Interactive, json!({"kind": "button_reply"}), "Choice"),
            (ContentType::Interactive, json!({"kind": "nfm_reply", "body": "Sent"}), "Answered form"),
            (ContentType::Interactive, json!({"kind": "nfm_reply", "response": {"flow_token": "f"}}), "Answered form"),
            (
                ContentType::Interactive,
                json!({"kind": "nfm_reply", "response": {"size": "M", "count": 2, "gift": true, "photo": {"id": 1}}}),
                "count: 2, gift: true, size: M",
            ),
            (ContentType::Interactive, json!({"kind": "product"}), "Product"),
            (ContentType::Interactive, json!({"kind": "template"}), "Template"),
            (ContentType::Interactive, json!({"kind": "of_the_future"}), "Interactive message"),
            (ContentType::Share, json!({"attachments": [{"type": "ig_story"}]}), "Shared story"),
            (ContentType::Share, json!({"attachments": [{"type": "share"}, {"type": "ig_post"}]}), "Shared post"),
            (ContentType::Share, json!({"attachments": [{"type": "template"}]}), "Product"),
            (ContentType::Image, json!({"attachments": [{}, {}, {}]}), "Photo and 2 more"),
            (ContentType::Document, json!({"fileName": "\u{200B}"}), "Document"),
        ] {
            assert_eq!(Content::new(content_type, parts(held.clone())).preview(), preview, "{held}");
        }
    }

    #[test]
    fn a_photo_previews_as_its_caption_or_its_name() {
        let photo = Content::new(ContentType::Image, Map::new());
        assert_eq!(photo.preview(), "Photo");
        assert_eq!(Content { text: Some("The label".into()), ..photo }.preview(), "The label");
    }
}
