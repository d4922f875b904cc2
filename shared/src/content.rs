//! What a message holds: its kind, its text, its typed parts, and the preview that the inbox shows.

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
        let text = self.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        truncate(text.unwrap_or_else(|| self.fallback()), PREVIEW_MAX_BYTES)
    }

    fn fallback(&self) -> &str {
        let part = |name: &str| self.parts.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        match self.content_type {
            ContentType::Text => "Empty message",
            ContentType::Image => "Photo",
            ContentType::Video => "Video",
            ContentType::Audio if self.parts.get("voice") == Some(&Value::Bool(true)) => "Voice message",
            ContentType::Audio => "Audio",
            ContentType::Document => part("fileName").unwrap_or("Document"),
            ContentType::Sticker => "Sticker",
            ContentType::Location => part("name").or(part("address")).unwrap_or("Location"),
            ContentType::Contacts => "Contact",
            ContentType::Interactive | ContentType::Button => part("title").unwrap_or("Choice"),
            ContentType::Order => "Order",
            ContentType::System => "System message",
            ContentType::StoryReply => "Replied to your story",
            ContentType::StoryMention => "Mentioned you in a story",
            ContentType::Share => part("title").unwrap_or("Shared post"),
            ContentType::Postback => part("title").unwrap_or("Button"),
            ContentType::Call => "Call",
            ContentType::Unsupported => "Unsupported message",
        }
    }
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
    use super::*;

    #[test]
    fn a_preview_is_never_empty_and_never_long() {
        for text in [None, Some(String::new()), Some(" \n".into()), Some("😀".repeat(4096))] {
            let preview = Content { text, ..Content::text("") }.preview();
            assert!(!preview.trim().is_empty());
            assert!(preview.len() <= PREVIEW_MAX_BYTES);
        }
    }

    #[test]
    fn a_photo_previews_as_its_caption_or_its_name() {
        let photo = Content::new(ContentType::Image, Map::new());
        assert_eq!(photo.preview(), "Photo");
        assert_eq!(Content { text: Some("The label".into()), ..photo }.preview(), "The label");
    }
}
