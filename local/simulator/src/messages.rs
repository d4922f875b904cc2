//! Sends: what the provider accepts, what it answers, and how it refuses.

use axum::{
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::Response,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use emulator::event::json_response;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Account, Platform};

/// `WhatsApp`'s limit of a text, in characters.
const WHATSAPP_TEXT: usize = 4096;
/// Messenger's limit of a text, in characters.
const MESSENGER_TEXT: usize = 2000;
/// Instagram's limit of a text, in bytes.
const INSTAGRAM_TEXT_BYTES: usize = 1000;
/// Limit of `biz_opaque_callback_data`.
const CALLBACK_DATA: usize = 512;
/// Limit of a Messenger message's `metadata`.
const METADATA: usize = 1000;

/// An accepted message.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) account: Account,
    pub(super) id: String,
    pub(super) to: String,
    pub(super) text: Option<String>,
    pub(super) callback_data: Option<String>,
    pub(super) at: String,
    pub(super) body: Value,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            account: Account { platform: Platform::Whatsapp, id: String::new() },
            id: String::new(),
            to: String::new(),
            text: None,
            callback_data: None,
            at: String::new(),
            body: Value::Null,
        }
    }
}

impl Sent {
    /// As `GET /simulate/sent` lists it.
    pub(super) fn listed(&self) -> Value {
        json!({
            "platform": self.account.platform, "accountId": self.account.id, "id": self.id, "to": self.to,
            "text": self.text, "callbackData": self.callback_data, "at": self.at, "body": self.body,
        })
    }
}

/// An error answer of 360dialog or Meta.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    fn of_360dialog(status: StatusCode, message: &str) -> Self {
        let meta = json!({ "http_code": status.as_u16(), "developer_message": message, "success": false });
        Self { status, body: json!({ "meta": meta }) }
    }

    /// Meta's error body.
    fn of_meta(status: StatusCode, code: i64, title: &str, details: Option<&str>) -> Self {
        let mut error = json!({
            "message": format!("(#{code}) {title}"), "type": "OAuthException", "code": code,
            "fbtrace_id": URL_SAFE_NO_PAD.encode(random::<8>()),
        });
        if let Some(details) = details {
            error["error_data"] = json!({ "messaging_product": "whatsapp", "details": details });
        }
        Self { status, body: json!({ "error": error }) }
    }

    pub(super) fn bad_key() -> Self {
        Self::of_360dialog(StatusCode::UNAUTHORIZED, "Invalid api_key")
    }

    pub(super) fn bad_token() -> Self {
        let title = "Invalid OAuth access token - Cannot parse access token";
        Self::of_meta(StatusCode::UNAUTHORIZED, 190, title, None)
    }

    pub(super) fn forbidden() -> Self {
        Self::of_360dialog(StatusCode::FORBIDDEN, "The endpoint is blocked")
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::of_360dialog(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn server_error() -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, body: json!({ "error": "Internal Server Error" }) }
    }

    pub(super) fn endpoint_rate_limit() -> Self {
        let error = "You have exceeded the endpoint rate limit.";
        Self { status: StatusCode::BAD_REQUEST, body: json!({ "error": error }) }
    }

    pub(super) fn rate_limit(platform: Platform) -> Self {
        let code = match platform {
            Platform::Whatsapp => 130_429,
            Platform::Instagram | Platform::Facebook => 613,
        };
        let mut refusal = Self::of_code(code, platform);
        refusal.status = StatusCode::TOO_MANY_REQUESTS;
        refusal
    }

    /// The error of a code, as Meta words it.
    pub(super) fn of_code(code: i64, platform: Platform) -> Self {
        let (title, subcode) = match (code, platform) {
            (10, Platform::Facebook) => ("This message is sent outside of allowed window.", Some(2_018_278)),
            (10, Platform::Instagram) => ("This message is sent outside of allowed window.", Some(2_534_022)),
            (10, Platform::Whatsapp) => ("Application does not have permission for this action", None),
            (100, _) => ("Invalid parameter", None),
            (190, _) => ("Error validating access token", Some(467)),
            (368, _) => ("Temporarily blocked for policies violations", None),
            (551, _) => ("This person isn't available right now.", Some(1_545_041)),
            (613, _) => ("Calls to this api have exceeded the rate limit.", None),
            (130_429, _) => ("Rate limit hit", None),
            (131_026, _) => ("Message undeliverable", None),
            (131_031, _) => ("Business Account locked", None),
            (131_042, _) => ("Business eligibility payment issue", None),
            (131_047, _) => ("Re-engagement message", None),
            (131_051, _) => ("Unsupported message type", None),
            (131_056, _) => ("(Business Account, Consumer Account) pair rate limit hit", None),
            _ => ("The message was refused", None),
        };
        let details = match (platform, code) {
            (Platform::Whatsapp, 131_047) => Some(
                "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
            ),
            (Platform::Whatsapp, _) => Some("The simulator was told to refuse this call."),
            (Platform::Instagram | Platform::Facebook, _) => None,
        };
        let mut refusal = Self::of_meta(StatusCode::BAD_REQUEST, code, title, details);
        if let Some(subcode) = subcode {
            refusal.body["error"]["error_subcode"] = subcode.into();
        }
        refusal
    }

    /// A parameter that is missing.
    fn missing(parameter: &str) -> Self {
        Self::of_meta(StatusCode::BAD_REQUEST, 100, &format!("The parameter {parameter} is required."), None)
    }

    /// A parameter that is wrong.
    fn invalid(details: &str) -> Self {
        Self::of_meta(StatusCode::BAD_REQUEST, 131_009, "Parameter value is not valid", Some(details))
    }

    /// A parameter that is wrong, as the Send API says it.
    fn parameter(title: &str) -> Self {
        Self::of_meta(StatusCode::BAD_REQUEST, 100, title, None)
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body);
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Ids need not be unguessable here, only different.
    if getrandom::fill(&mut bytes).is_err() {
        for (byte, digit) in bytes.iter_mut().zip(super::now_ms().to_be_bytes().iter().rev().cycle()) {
            *byte = *digit;
        }
    }
    bytes
}

/// A new message id of the platform, with the characters that real ones have.
pub(super) fn new_id(platform: Platform) -> String {
    match platform {
        Platform::Whatsapp => format!("wamid.{}", STANDARD.encode([&b"\x1d\x18\x0c"[..], &random::<22>()].concat())),
        Platform::Facebook => format!("m_{}", URL_SAFE_NO_PAD.encode(random::<48>())),
        Platform::Instagram => format!("aWdfZAG1faXRlbTox{}", URL_SAFE_NO_PAD.encode(random::<100>())),
    }
}

/// The body of a send.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::parameter("Invalid JSON in the request body"))
}

fn accepted(
    account: &Account,
    to: &str,
    text: Option<&str>,
    callback_data: Option<&str>,
    body: &Map<String, Value>,
) -> Sent {
    Sent {
        account: account.clone(),
        id: new_id(account.platform),
        to: to.to_owned(),
        text: text.map(str::to_owned),
        callback_data: callback_data.map(str::to_owned),
        at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        body: Value::Object(body.clone()),
    }
}

/// `POST /messages`: the message, unless the call was a read receipt, and the answer.
pub(super) fn whatsapp(account: &Account, body: &Map<String, Value>) -> Result<(Option<Sent>, Value), Refusal> {
    let text_of = |name: &str| body.get(name).and_then(Value::as_str);
    if text_of("messaging_product") != Some("whatsapp") {
        return Err(Refusal::missing("messaging_product"));
    }
    if text_of("status") == Some("read") {
        text_of("message_id").ok_or_else(|| Refusal::missing("message_id"))?;
        return Ok((None, json!({ "success": true })));
    }
    let digits = text_of("to").map(|to| to.chars().filter(char::is_ascii_digit).collect::<String>());
    let contact = match (text_of("to"), digits, text_of("recipient")) {
        (Some(to), Some(digits), _) if !digits.is_empty() => json!({ "input": to, "wa_id": digits }),
        (None, _, Some(recipient)) if !recipient.is_empty() => json!({ "input": recipient, "user_id": recipient }),
        (Some(_), ..) => return Err(Refusal::invalid("The parameter to is not a phone number.")),
        _ => return Err(Refusal::missing("to")),
    };
    let kind = text_of("type").unwrap_or("text");
    let content = body.get(kind).ok_or_else(|| Refusal::missing(kind))?;
    let mut text = None;
    if kind == "text" {
        let body = content["body"].as_str().filter(|body| !body.trim().is_empty());
        let body = body.ok_or_else(|| Refusal::missing("text['body']"))?;
        if body.chars().count() > WHATSAPP_TEXT {
            return Err(Refusal::invalid("Param text['body'] must be at most 4096 characters long."));
        }
        text = Some(body);
    }
    let callback_data = match body.get("biz_opaque_callback_data") {
        None => None,
        Some(Value::String(data)) if data.len() <= CALLBACK_DATA => Some(data.as_str()),
        Some(_) => {
            return Err(Refusal::invalid("biz_opaque_callback_data must be a string of at most 512 characters."));
        }
    };
    if body.get("context").is_some_and(|context| !context["message_id"].is_string()) {
        return Err(Refusal::invalid("context must name a message_id."));
    }
    let to = contact["wa_id"].as_str().or(contact["user_id"].as_str()).unwrap_or_default();
    let sent = accepted(account, to, text, callback_data, body);
    let answer = json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [{ "id": sent.id }] });
    Ok((Some(sent), answer))
}

/// Meta's Send API: the message, unless the call was a sender action, and the answer.
pub(super) fn send_api(account: &Account, body: &Map<String, Value>) -> Result<(Option<Sent>, Value), Refusal> {
    let to = body.get("recipient").and_then(|recipient| recipient["id"].as_str()).filter(|id| !id.is_empty());
    let to = to.ok_or_else(|| Refusal::parameter("param recipient must be non-empty."))?;
    if body.get("sender_action").is_some_and(Value::is_string) {
        if body.contains_key("message") {
            return Err(Refusal::parameter("sender_action must be sent alone."));
        }
        return Ok((None, json!({ "recipient_id": to })));
    }
    match (body.get("messaging_type").and_then(Value::as_str), body.get("tag").and_then(Value::as_str)) {
        (Some("RESPONSE" | "UPDATE" | "UTILITY"), _) | (Some("MESSAGE_TAG"), Some("HUMAN_AGENT")) => {}
        (None, _) if account.platform == Platform::Instagram => {}
        _ => return Err(Refusal::parameter("Invalid parameter")),
    }
    let message = body.get("message").ok_or_else(|| Refusal::parameter("param message must be non-empty."))?;
    let text = message["text"].as_str();
    let has_attachment = message["attachment"].is_object() || message["attachments"].is_array();
    match text {
        Some(_) if has_attachment => return Err(Refusal::parameter("text and attachment cannot be sent together.")),
        None if has_attachment => {}
        Some(text) if !text.trim().is_empty() => {
            let is_too_long = match account.platform {
                Platform::Instagram => text.len() > INSTAGRAM_TEXT_BYTES,
                Platform::Facebook | Platform::Whatsapp => text.chars().count() > MESSENGER_TEXT,
            };
            if is_too_long {
                return Err(Refusal::parameter("Length of param message[text] is over the limit"));
            }
        }
        _ => return Err(Refusal::parameter("param message must be non-empty.")),
    }
    let metadata = match &message["metadata"] {
        Value::Null => None,
        Value::String(metadata) if metadata.len() <= METADATA => Some(metadata.as_str()),
        _ => return Err(Refusal::parameter("param message[metadata] must be a string of at most 1000 characters")),
    };
    let sent = accepted(account, to, text, metadata, body);
    let answer = json!({ "recipient_id": to, "message_id": sent.id });
    Ok((Some(sent), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(platform: Platform) -> Account {
        Account { platform, id: "1001".to_owned() }
    }

    fn text() -> Value {
        json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+49 171 3920012", "type": "text",
            "text": { "body": "Yes, it is in stock" }, "context": { "message_id": "wamid.A1" },
            "biz_opaque_callback_data": "c.m",
        })
    }

    fn send(body: &Value) -> Result<(Option<Sent>, Value), Refusal> {
        whatsapp(&account(Platform::Whatsapp), body.as_object().unwrap())
    }

    #[test]
    fn a_text_is_accepted_with_a_wamid() {
        let (sent, answer) = send(&text()).unwrap();

        let sent = sent.unwrap();
        assert!(sent.id.starts_with("wamid."));
        assert_eq!(sent.to, "491713920012");
        assert_eq!(sent.text.as_deref(), Some("Yes, it is in stock"));
        assert_eq!(sent.callback_data.as_deref(), Some("c.m"));
        assert_eq!(answer["contacts"][0], json!({ "input": "+49 171 3920012", "wa_id": "491713920012" }));
        assert_eq!(answer["messages"][0]["id"], sent.id);
    }

    #[test]
    fn a_text_is_refused_as_meta_would() {
        let cases = [
            ("messaging_product", Value::Null, 100),
            ("to", Value::Null, 100),
            ("to", json!("nobody"), 131_009),
            ("text", Value::Null, 100),
            ("text", json!({ "body": " " }), 100),
            ("text", json!({ "body": "x".repeat(4097) }), 131_009),
            ("biz_opaque_callback_data", json!("x".repeat(513)), 131_009),
            ("context", json!({}), 131_009),
        ];
        for (name, value, code) in cases {
            let mut body = text();
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
                value => body[name] = value,
            }
            let refusal = send(&body).unwrap_err();
            assert_eq!(refusal.status, 400, "{name}");
            assert_eq!(refusal.body["error"]["code"], code, "{name}");
        }
        assert!(
            send(&{
                let mut body = text();
                body["text"]["body"] = "ä".repeat(4096).into();
                body
            })
            .is_ok()
        );
    }

    #[test]
    fn a_business_scoped_user_can_be_the_recipient() {
        let mut body = text();
        body.as_object_mut().unwrap().remove("to");
        body["recipient"] = json!("DE.8172");

        let (sent, answer) = send(&body).unwrap();

        assert_eq!(sent.unwrap().to, "DE.8172");
        assert_eq!(answer["contacts"][0]["user_id"], "DE.8172");
    }

    #[test]
    fn a_read_receipt_is_no_message() {
        let body = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A1" });

        let (sent, answer) = send(&body).unwrap();

        assert!(sent.is_none());
        assert_eq!(answer["success"], true);
    }

    #[test]
    fn limits_of_the_send_api_depend_on_the_platform() {
        let call = |platform, text: &str| {
            let body = json!({
                "recipient": { "id": "73" }, "messaging_type": "RESPONSE", "message": { "text": text, "metadata": "c.m" },
            });
            send_api(&account(platform), body.as_object().unwrap())
        };

        assert!(call(Platform::Facebook, &"ä".repeat(2000)).is_ok());
        assert!(call(Platform::Facebook, &"ä".repeat(2001)).is_err());
        assert!(call(Platform::Instagram, &"ä".repeat(500)).is_ok());
        assert!(call(Platform::Instagram, &"ä".repeat(501)).is_err());
        assert!(call(Platform::Instagram, "").is_err());
        let (sent, answer) = call(Platform::Facebook, "Hi").unwrap();
        assert_eq!(sent.unwrap().callback_data.as_deref(), Some("c.m"));
        assert_eq!(answer["recipient_id"], "73");
    }

    #[test]
    fn retired_tags_are_refused() {
        let body = json!({
            "recipient": { "id": "73" }, "messaging_type": "MESSAGE_TAG", "tag": "ACCOUNT_UPDATE", "message": { "text": "x" },
        });

        let refusal = send_api(&account(Platform::Facebook), body.as_object().unwrap()).unwrap_err();

        assert_eq!(refusal.body["error"]["code"], 100);
    }

    #[test]
    fn a_closed_window_is_worded_by_platform() {
        let error = |platform, code| Refusal::of_code(code, platform).body["error"].clone();

        assert_eq!(error(Platform::Facebook, 10)["error_subcode"], 2_018_278);
        assert_eq!(error(Platform::Whatsapp, 131_047)["message"], "(#131047) Re-engagement message");
        assert!(error(Platform::Whatsapp, 131_047)["error_data"]["details"].as_str().unwrap().contains("24 hours"));
    }
}
