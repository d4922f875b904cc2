//! Sending a text: the body per platform, the limit, and the rule when a send may be repeated.

use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Failure, Provider, answer, backoff};
use crate::{
    config::Preset,
    event::{Customer, ProviderError},
    id::AccountId,
    platform::Platform,
    store::Reply,
};

/// How often a send is tried where it certainly did not leave, or was answered with a rate limit.
const ATTEMPTS: u32 = 3;
/// The longest wait between two of them: the operator waits too.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// To whom and from where.
#[derive(Clone, Debug)]
pub struct Recipient<'a> {
    /// The platform.
    pub platform: Platform,
    /// The account that sends.
    pub account: &'a AccountId,
    /// It sends with the token of the page that it is linked with.
    pub by_page: bool,
    /// The customer.
    pub customer: &'a Customer,
}

/// A message that the provider took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The provider's id of it.
    pub external_id: String,
}

/// Why a message was not sent, or may not have been.
pub type SendError = Failure;

/// The longest text that a platform takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimit {
    /// How many.
    pub limit: usize,
    /// Of what: `characters` or `bytes`.
    pub unit: &'static str,
}

impl TextLimit {
    /// Whether a text is short enough.
    #[must_use]
    pub fn allows(self, text: &str) -> bool {
        let length = if self.unit == "bytes" { text.len() } else { text.chars().count() };
        length <= self.limit
    }
}

/// Reference section 7: WhatsApp 4,096 characters, Messenger 2,000 characters, Instagram 1,000 bytes.
#[must_use]
pub fn text_limit(platform: Platform) -> TextLimit {
    match platform {
        Platform::Whatsapp => TextLimit { limit: 4096, unit: "characters" },
        Platform::Facebook => TextLimit { limit: 2000, unit: "characters" },
        Platform::Instagram => TextLimit { limit: 1000, unit: "bytes" },
    }
}

impl Provider {
    /// Sends a reply. `callback_data` comes back with every status (`WhatsApp`) or with the echo.
    ///
    /// # Errors
    /// [`Failure::Unknown`] when it may have left: nobody may send it again.
    pub async fn send(
        &self,
        recipient: &Recipient<'_>,
        key: &SecretString,
        reply: &Reply,
        callback_data: &str,
    ) -> Result<Sent, SendError> {
        let platform = recipient.platform;
        let path = match (self.settings.preset(platform), platform) {
            (Preset::Graph, _) => "/me/messages".to_owned(),
            (Preset::Dialog360, Platform::Whatsapp) => "/messages".to_owned(),
            (Preset::Dialog360, Platform::Instagram) => format!("/instagram/{}/messages", recipient.account),
            (Preset::Dialog360, Platform::Facebook) => format!("/messenger/{}/messages", recipient.account),
        };
        let interface = self.interface(platform, recipient.by_page);
        let body = body(recipient, reply, callback_data).ok_or_else(no_address)?;
        let mut attempt = 1;
        loop {
            let request = self.request(interface, Method::POST, &path, key).await?.json(&body);
            let failure = match answer(request).await {
                // Taken, but without an id nobody can tell which message it became.
                Ok(answer) => return sent(platform, &answer).ok_or(Failure::Unknown),
                Err(failure) => failure,
            };
            let wait = match &failure {
                Failure::RateLimited { retry_after } => retry_after.unwrap_or(backoff(attempt)),
                Failure::Unreachable => backoff(attempt),
                _ => return Err(failure),
            };
            if attempt >= ATTEMPTS || wait > WAIT_MAX {
                return Err(failure);
            }
            attempt += 1;
            tokio::time::sleep(wait).await;
        }
    }
}

fn no_address() -> Failure {
    Failure::Rejected(ProviderError {
        code: "NO_ADDRESS".into(),
        title: "the customer has no address on this platform".into(),
        ..ProviderError::default()
    })
}

fn body(recipient: &Recipient<'_>, reply: &Reply, callback_data: &str) -> Option<Value> {
    let quoted = reply.reply_to.as_ref().map(|(_, external_id)| external_id);
    let mut body = match recipient.platform {
        Platform::Whatsapp => {
            let mut body = json!({
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "type": "text",
                "text": { "body": reply.text, "preview_url": true },
                "biz_opaque_callback_data": callback_data,
            });
            // A phone number wins over a business-scoped id: that one is newer than many senders.
            match (&recipient.customer.phone, &recipient.customer.user_id) {
                (Some(phone), _) => body["to"] = json!(phone),
                (None, Some(user_id)) => body["recipient"] = json!(user_id),
                (None, None) => return None,
            }
            body
        }
        Platform::Instagram | Platform::Facebook => json!({
            "recipient": { "id": recipient.customer.user_id.as_ref()? },
            "messaging_type": "RESPONSE",
            "message": { "text": reply.text, "metadata": callback_data },
        }),
    };
    if let Some(quoted) = quoted {
        match recipient.platform {
            Platform::Whatsapp => body["context"] = json!({ "message_id": quoted }),
            Platform::Instagram | Platform::Facebook => body["reply_to"] = json!({ "mid": quoted }),
        }
    }
    Some(body)
}

fn sent(platform: Platform, answer: &Value) -> Option<Sent> {
    let id = match platform {
        Platform::Whatsapp => answer.pointer("/messages/0/id"),
        Platform::Instagram | Platform::Facebook => answer.get("message_id"),
    };
    let id = id.and_then(Value::as_str).filter(|id| !id.is_empty())?;
    Some(Sent { external_id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(quoted: Option<&str>) -> Reply {
        let id = "1767877200000-0123456789abcdef0123456789abcdef".parse().unwrap();
        Reply { text: "Yes".into(), reply_to: quoted.map(|external| (id, external.into())), ..Reply::default() }
    }

    #[test]
    fn whatsapp_gets_the_documented_body() {
        let account = "700100200300402".parse().unwrap();
        let customer =
            Customer { phone: Some("491713920012".into()), user_id: Some("DE.8".into()), ..Customer::default() };
        let recipient =
            Recipient { platform: Platform::Whatsapp, account: &account, by_page: false, customer: &customer };

        let body = body(&recipient, &reply(Some("wamid.A1")), "c.m").unwrap();

        assert_eq!(
            body,
            json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "491713920012", "type": "text",
                "text": {"body": "Yes", "preview_url": true}, "context": {"message_id": "wamid.A1"}, "biz_opaque_callback_data": "c.m"})
        );
    }

    #[test]
    fn a_customer_without_a_phone_number_is_addressed_by_user_id() {
        let account = "700100200300402".parse().unwrap();
        let customer = Customer { user_id: Some("DE.8".into()), ..Customer::default() };
        let recipient =
            Recipient { platform: Platform::Whatsapp, account: &account, by_page: false, customer: &customer };

        let body = body(&recipient, &reply(None), "c.m").unwrap();

        assert_eq!((body.get("to"), &body["recipient"]), (None, &json!("DE.8")));
    }

    #[test]
    fn messenger_and_instagram_get_metas_body() {
        let account = "110220330440550".parse().unwrap();
        let customer = Customer { user_id: Some("7301122334455667".into()), ..Customer::default() };
        let recipient =
            Recipient { platform: Platform::Facebook, account: &account, by_page: false, customer: &customer };

        let body = body(&recipient, &reply(Some("m_AbC1")), "c.m").unwrap();

        assert_eq!(
            body,
            json!({"recipient": {"id": "7301122334455667"}, "messaging_type": "RESPONSE",
                "message": {"text": "Yes", "metadata": "c.m"}, "reply_to": {"mid": "m_AbC1"}})
        );
    }

    #[test]
    fn instagram_counts_bytes() {
        assert!(text_limit(Platform::Instagram).allows(&"😀".repeat(250)));
        assert!(!text_limit(Platform::Instagram).allows(&"😀".repeat(251)));
        assert!(text_limit(Platform::Whatsapp).allows(&"😀".repeat(4096)));
    }
}
