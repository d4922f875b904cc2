//! The provider: the only code that knows a URL, header or path of 360dialog, or of Meta where a platform is spoken to directly.
//!
//! `WhatsApp` is documented (<https://docs.360dialog.com/docs/messaging-api/api-reference/messages>). Instagram and Messenger through
//! 360dialog are not: what stands here for them is the earlier system's practice with Meta's documented bodies, chosen by a
//! preset per platform.

pub mod advice;
mod send;
pub mod signature;
pub mod webhook;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderValue, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use self::send::{Recipient, SendError, Sent, TextLimit, text_limit};
use crate::{
    config::{Preset, Provider as Settings},
    error::{Cause, Error},
    event::ProviderError,
    id::AccountId,
    platform::Platform,
    store::HealthStatus,
};

const API_KEY_HEADER: &str = "D360-API-KEY";
const HEALTH_PATH: &str = "/health_status";
/// What a WhatsApp number is asked for besides: the number as people write it comes only on request.
const WHATSAPP_HEALTH_PATH: &str = "/health_status?fields=health_status,id,display_phone_number";
/// What Meta is asked with the token of an Instagram login. `id` would be one that only the app knows: webhooks carry `user_id`.
/// <https://developers.facebook.com/docs/instagram-platform/instagram-api-with-instagram-login/get-started>
const INSTAGRAM_LOGIN_PATH: &str = "/me?fields=user_id,username";
/// What Meta is asked with a page's token for the Instagram account that is linked with the page.
const LINKED_INSTAGRAM_PATH: &str = "/me?fields=id,name,instagram_business_account";
/// What Meta is asked with a page's token.
const PAGE_PATH: &str = "/me?fields=id,name";
/// The header of deliveries that brings the token.
const AUTHORIZATION: &str = "Authorization";
const WEBHOOK_PATH: &str = "/v1/configs/webhook";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A send: long enough that few stay unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a question is asked; a send has rules of its own.
const GET_ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(150);
/// A question; three of them have to fit into one request of an admin.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A question that has taken this long is not asked again: somebody waits for the answer.
const ASK_AGAIN_WITHIN: Duration = Duration::from_secs(4);

/// Why the provider did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The key is not, or no longer, valid.
    #[error("the provider refuses the API key")]
    Unauthorized,
    /// Too many calls.
    #[error("the provider is too busy")]
    RateLimited {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It understood and refused.
    #[error("the provider refused: code {}", .0.code)]
    Rejected(ProviderError),
    /// No connection: the request certainly did not leave.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// It answered that it cannot: nothing was done.
    #[error("the provider is out of order")]
    Unavailable,
    /// The request may have arrived and may have been done.
    #[error("the provider's answer is not known")]
    Unknown,
}

/// What the provider says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCheck {
    /// The account that the key speaks for, where the answer names one of that platform.
    pub account: Option<String>,
    /// The `WhatsApp` Business Account, where the answer names one.
    pub waba_id: Option<String>,
    /// The phone number as people write it.
    pub display_phone_number: Option<String>,
    /// Whether it can send.
    pub status: HealthStatus,
    /// Why not, where it cannot.
    pub reasons: Vec<String>,
    /// The key is a page's token, which speaks for the Instagram account that is linked with the page.
    pub is_of_page: bool,
}

/// Whose interface a call goes to.
#[derive(Clone, Copy, Debug)]
enum Interface {
    Dialog360,
    /// Meta's, for the tokens of pages.
    Facebook,
    /// Meta's, for the tokens of Instagram logins.
    Instagram,
}

/// The provider's client. Its connections wait for the first use.
pub struct Provider {
    settings: Settings,
    client: OnceCell<Client>,
}

/// The webhook of a number, as the provider has it.
pub struct RegisteredWebhook {
    /// Where it delivers.
    pub url: String,
    /// The header `Authorization` of its deliveries, empty where they have none; `None` where the provider does not tell.
    pub authorization: Option<SecretString>,
}

impl Provider {
    /// A client of the provider at that place.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: OnceCell::new() }
    }

    /// The provider that the environment names.
    ///
    /// # Errors
    /// When the environment is wrong.
    pub fn from_env() -> Result<Self, Cause> {
        Ok(Self::new(Settings::from_env()?))
    }

    async fn client(&self) -> Result<&Client, Failure> {
        let client = self.client.get_or_try_init(async || http_client()).await;
        client.map_err(|error: Cause| {
            tracing::error!("the provider's HTTP client cannot be made: {error}");
            Failure::Unreachable
        })
    }

    /// Who is asked about an account of that platform; `is_of_page` tells the two kinds of tokens for Instagram apart.
    fn interface(&self, platform: Platform, is_of_page: bool) -> Interface {
        match (self.settings.preset(platform), platform) {
            (Preset::Dialog360, _) => Interface::Dialog360,
            (Preset::Graph, Platform::Instagram) if !is_of_page => Interface::Instagram,
            (Preset::Graph, _) => Interface::Facebook,
        }
    }

    async fn request(
        &self,
        interface: Interface,
        method: Method,
        path: &str,
        key: &SecretString,
    ) -> Result<RequestBuilder, Failure> {
        let client = self.client().await?;
        let graph =
            |base_url: &str| format!("{}/{}{path}", base_url.trim_end_matches('/'), self.settings.graph_version);
        let url = match interface {
            Interface::Dialog360 => format!("{}{path}", self.settings.dialog360_base_url.trim_end_matches('/')),
            Interface::Facebook => graph(&self.settings.graph_base_url),
            Interface::Instagram => graph(&self.settings.instagram_graph_base_url),
        };
        let request = client.request(method, url);
        Ok(match interface {
            Interface::Dialog360 => request.header(API_KEY_HEADER, header(key)?),
            Interface::Facebook | Interface::Instagram => request.bearer_auth(key.expose_secret()),
        })
    }

    /// Asks what a key speaks for, and how well that is.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`] for a key that is not valid; the others as they say.
    pub async fn check_key(&self, platform: Platform, key: &SecretString) -> Result<KeyCheck, Failure> {
        match self.settings.preset(platform) {
            Preset::Dialog360 => {
                let path = if platform == Platform::Whatsapp { WHATSAPP_HEALTH_PATH } else { HEALTH_PATH };
                let answer = self.get(Interface::Dialog360, path, key).await?;
                Ok(key_check(platform, &answer))
            }
            Preset::Graph => {
                let (account, is_of_page) = self.account_of_token(platform, key).await?;
                let (status, reasons) = (HealthStatus::Available, Vec::new());
                Ok(KeyCheck { account, waba_id: None, display_phone_number: None, status, reasons, is_of_page })
            }
        }
    }

    /// The account that a token of Meta's speaks for, named as webhooks name it, and whether it is a page's token.
    async fn account_of_token(
        &self,
        platform: Platform,
        token: &SecretString,
    ) -> Result<(Option<String>, bool), Failure> {
        let id = |answer: &Value, pointer: &str| answer.pointer(pointer).and_then(text);
        if platform != Platform::Instagram {
            let page = self.get(Interface::Facebook, PAGE_PATH, token).await?;
            return Ok((id(&page, "/id"), true));
        }
        match self.get(Interface::Instagram, INSTAGRAM_LOGIN_PATH, token).await {
            // The documentation shows a list of one, the interface answers with the object itself.
            Ok(user) => Ok((id(&user, "/user_id").or_else(|| id(&user, "/data/0/user_id")), false)),
            Err(Failure::Unauthorized | Failure::Rejected(_)) => {
                let page = self.get(Interface::Facebook, LINKED_INSTAGRAM_PATH, token).await?;
                Ok((id(&page, "/instagram_business_account/id"), true))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether an account that the provider names to nobody may be connected all the same. 360dialog names `WhatsApp` numbers, and
    /// Meta every account.
    #[must_use]
    pub fn is_trusted(&self, platform: Platform) -> bool {
        let is_named = platform == Platform::Whatsapp || self.settings.preset(platform) == Preset::Graph;
        self.settings.trust_partner_channel && !is_named
    }

    /// Whether the provider lets us register a webhook for accounts of that platform.
    #[must_use]
    pub fn registers_webhooks(&self, platform: Platform) -> bool {
        self.settings.preset(platform) == Preset::Dialog360
    }

    /// Registers the webhook of the number, with the token that each delivery shall carry.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn register_webhook(
        &self,
        platform: Platform,
        key: &SecretString,
        url: &str,
        token: &SecretString,
    ) -> Result<(), Failure> {
        let body = json!({ "url": url, "headers": { AUTHORIZATION: format!("Bearer {}", token.expose_secret()) } });
        let interface = self.interface(platform, false);
        let request = self.request(interface, Method::POST, WEBHOOK_PATH, key).await?;
        // Setting it again overwrites: harmless to repeat.
        self.repeat(request.json(&body)).await.map(drop)
    }

    /// The webhook that is registered for the number; `None` when there is none.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn registered_webhook(
        &self,
        platform: Platform,
        key: &SecretString,
    ) -> Result<Option<RegisteredWebhook>, Failure> {
        let answer = self.get(self.interface(platform, false), WEBHOOK_PATH, key).await?;
        let Some(url) = answer.get("url").and_then(Value::as_str) else { return Ok(None) };
        let headers = answer.get("headers").and_then(Value::as_object).map(|headers| {
            let mut headers = headers.iter();
            let authorization = headers.find(|(name, _)| name.eq_ignore_ascii_case(AUTHORIZATION));
            authorization.and_then(|(_, value)| value.as_str()).unwrap_or_default().into()
        });
        Ok(Some(RegisteredWebhook { url: url.to_owned(), authorization: headers }))
    }

    async fn get(&self, interface: Interface, path: &str, key: &SecretString) -> Result<Value, Failure> {
        let request = self.request(interface, Method::GET, path, key).await?;
        self.repeat(request).await
    }

    /// Asks, and asks again with jitter where that could help and cannot hurt.
    async fn repeat(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let request = request.timeout(QUESTION_TIMEOUT);
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            let failure = match answer(request.try_clone().ok_or(Failure::Unreachable)?).await {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            let wait = match &failure {
                Failure::Unreachable | Failure::Unavailable | Failure::Unknown => backoff(attempt),
                Failure::RateLimited { retry_after } => retry_after.unwrap_or(backoff(attempt)),
                Failure::Unauthorized | Failure::Rejected(_) => return Err(failure),
            };
            if attempt >= GET_ATTEMPTS || began.elapsed() + wait > ASK_AGAIN_WITHIN {
                return Err(failure);
            }
            attempt += 1;
            tokio::time::sleep(wait).await;
        }
    }
}

/// The key as a header that nothing prints.
fn header(key: &SecretString) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(key.expose_secret()).map_err(|_| Failure::Unauthorized)?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long to wait before the next attempt: doubling, and never the same for two callers.
fn backoff(attempt: u32) -> Duration {
    let mut random = [0; 1];
    let jitter = getrandom::fill(&mut random).map_or(0.5, |()| f64::from(random[0]) / 255.0);
    FIRST_BACKOFF.mul_f64(f64::from(2u32.pow(attempt - 1)) * (0.5 + jitter))
}

fn http_client() -> Result<Client, Cause> {
    let roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        // The key must never follow a redirect to another host.
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()?;
    Ok(client)
}

/// One call, with its answer sorted.
async fn answer(request: RequestBuilder) -> Result<Value, Failure> {
    let response = match request.send().await {
        Ok(response) => response,
        // Nothing was written yet: it certainly did not arrive.
        Err(error) if error.is_connect() || error.is_builder() => return Err(Failure::Unreachable),
        Err(_) => return Err(Failure::Unknown),
    };
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await;
    if status.is_success() {
        let body = body.map_err(|_| Failure::Unknown)?;
        return Ok(serde_json::from_slice(&body).unwrap_or(Value::Null));
    }
    let body = body.unwrap_or_default();
    Err(failure(status, &serde_json::from_slice(&body).unwrap_or(Value::Null), retry_after.map(Duration::from_secs)))
}

/// Codes of Meta that mean *too fast*: reference section 4.4 and 4.6.
const RATE_LIMIT_CODES: &[i64] = &[4, 17, 32, 613, 80006, 80007, 130_429, 131_056];
/// Codes that mean *not now, nothing was done*.
const TRANSIENT_CODES: &[i64] = &[1, 2, 131_000, 131_016, 131_057, 133_004, 1200];
/// Codes that mean *this key or token is dead*.
const CREDENTIAL_CODES: &[i64] = &[0, 190];

/// What an answer that is no success means. 360dialog tells rate limits as 400, and throttling is documented with 400 and seen as 429.
fn failure(status: StatusCode, body: &Value, retry_after: Option<Duration>) -> Failure {
    let error = provider_error(status, body);
    let code = error.code.parse::<i64>().ok();
    let is = |codes: &[i64]| code.is_some_and(|code| codes.contains(&code));
    let says = |text: &str| error.title.to_lowercase().contains(text);
    if status == StatusCode::UNAUTHORIZED || (body.get("error").is_some_and(Value::is_object) && is(CREDENTIAL_CODES)) {
        Failure::Unauthorized
    } else if status == StatusCode::TOO_MANY_REQUESTS || is(RATE_LIMIT_CODES) || says("rate limit") {
        Failure::RateLimited { retry_after }
    } else if advice::of_account(&error).is_some() {
        // Also where it is told as an error of the server.
        Failure::Rejected(error)
    } else if is(TRANSIENT_CODES) || body.pointer("/error/is_transient") == Some(&Value::Bool(true)) {
        Failure::Unavailable
    } else if status == StatusCode::BAD_GATEWAY || status == StatusCode::GATEWAY_TIMEOUT {
        // A gateway lost what stood behind it: that may have gone on.
        Failure::Unknown
    } else if status.is_server_error() {
        Failure::Unavailable
    } else {
        Failure::Rejected(error)
    }
}

/// The four body shapes of reference section 1.4, and anything else by its status.
fn provider_error(status: StatusCode, body: &Value) -> ProviderError {
    let at = |pointer: &str| body.pointer(pointer).and_then(text);
    let code = at("/error/code")
        .or_else(|| at("/errors/0/code"))
        .or_else(|| at("/detail/error/code"))
        .or_else(|| at("/meta/http_code"));
    let title = at("/error/message")
        .or_else(|| at("/error/title"))
        .or_else(|| at("/error"))
        .or_else(|| at("/errors/0/title"))
        .or_else(|| at("/detail/error/message"))
        .or_else(|| at("/meta/developer_message"))
        .or_else(|| at("/message"));
    ProviderError {
        code: code.unwrap_or_else(|| status.as_u16().to_string()),
        title: title.unwrap_or_else(|| format!("HTTP {}", status.as_u16())),
        subcode: at("/error/error_subcode"),
        details: at("/error/error_data/details").or_else(|| at("/errors/0/details")),
    }
}

/// A text that shows something, or a number as one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn key_check(platform: Platform, answer: &Value) -> KeyCheck {
    let empty = Vec::new();
    let entities = answer.pointer("/health_status/entities").and_then(Value::as_array).unwrap_or(&empty);
    let kind = |entity: &Value| entity.get("entity_type").and_then(Value::as_str).unwrap_or_default().to_uppercase();
    let id = |entity: &Value| entity.get("id").and_then(Value::as_str).map(str::to_owned);
    let whatsapp = platform == Platform::Whatsapp;
    let account_kind: fn(&str) -> bool = match platform {
        Platform::Whatsapp => |kind| kind == "PHONE_NUMBER",
        Platform::Instagram => |kind| kind.starts_with("INSTAGRAM"),
        Platform::Facebook => |kind| kind.contains("PAGE"),
    };
    let account = entities
        .iter()
        .find(|entity| account_kind(&kind(entity)))
        .and_then(id)
        .or_else(|| whatsapp.then(|| id(answer)).flatten());
    let mut status = HealthStatus::Available;
    let mut reasons = Vec::new();
    // Judged by what sending needs: the overall value can be BLOCKED for calling alone.
    for entity in entities.iter().filter(|entity| {
        matches!(kind(entity).as_str(), "PHONE_NUMBER" | "WABA" | "BUSINESS") || account_kind(&kind(entity))
    }) {
        let said = match entity.get("can_send_message").and_then(Value::as_str) {
            Some("BLOCKED") => HealthStatus::Blocked,
            Some("LIMITED") => HealthStatus::Limited,
            _ => continue,
        };
        status = if status == HealthStatus::Blocked { status } else { said };
        let infos = entity.get("additional_info").and_then(Value::as_array).into_iter().flatten();
        reasons.extend(infos.filter_map(Value::as_str).map(str::to_owned));
        for error in entity.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| error.get(name).and_then(Value::as_str);
            let words: Vec<&str> =
                [part("error_description"), part("possible_solution")].into_iter().flatten().collect();
            reasons.push(words.join(" "));
        }
    }
    KeyCheck {
        account,
        waba_id: entities.iter().find(|entity| whatsapp && kind(entity) == "WABA").and_then(id),
        display_phone_number: answer.get("display_phone_number").and_then(Value::as_str).map(str::to_owned),
        status,
        reasons,
        is_of_page: false,
    }
}

impl KeyCheck {
    /// Whether the key speaks for an account; `None` where the provider names none of that platform.
    #[must_use]
    pub fn speaks_for(&self, account: &AccountId) -> Option<bool> {
        self.account.as_deref().map(|named| named == account.as_str())
    }
}

impl From<Failure> for Error {
    /// For calls that are not sends: what an admin sees when connecting or testing.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unauthorized => Self::InvalidCredentials,
            Failure::Rejected(error) => {
                Self::ProviderRejected { message_id: None, code: error.code, title: error.title }
            }
            Failure::RateLimited { .. } | Failure::Unreachable | Failure::Unavailable | Failure::Unknown => {
                Self::ProviderUnavailable { message_id: None, code: None, title: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_one_also_as_400() {
        let body = json!({"error": "You have exceeded the endpoint rate limit."});
        assert_eq!(failure(StatusCode::BAD_REQUEST, &body, None), Failure::RateLimited { retry_after: None });
        let body = json!({"error": {"message": "(#131056) pair rate limit hit", "code": 131_056}});
        assert_eq!(failure(StatusCode::BAD_REQUEST, &body, None), Failure::RateLimited { retry_after: None });
    }

    #[test]
    fn every_body_shape_tells_its_code_and_title() {
        let bodies = [
            (
                json!({"error": "Could not send message due to lack of payment"}),
                "400",
                "Could not send message due to lack of payment",
            ),
            (json!({"meta": {"http_code": 400, "developer_message": "bad", "success": false}}), "400", "bad"),
            (
                json!({"error": {"message": "(#131047) Re-engagement message", "code": 131_047}}),
                "131047",
                "(#131047) Re-engagement message",
            ),
            (json!({"errors": [{"code": 1013, "title": "not valid", "details": "d"}]}), "1013", "not valid"),
            (Value::Null, "400", "HTTP 400"),
        ];
        for (body, code, title) in bodies {
            let Failure::Rejected(error) = failure(StatusCode::BAD_REQUEST, &body, None) else { panic!("{body}") };
            assert_eq!((error.code.as_str(), error.title.as_str()), (code, title));
        }
    }

    #[test]
    fn a_refusal_of_the_account_is_one_whatever_its_status() {
        let body = json!({"error": {"message": "(#131045) Message failed to send", "code": 131_045}});
        let Failure::Rejected(error) = failure(StatusCode::INTERNAL_SERVER_ERROR, &body, None) else { panic!() };
        assert_eq!(advice::of_account(&error).unwrap().health, HealthStatus::Blocked);
    }

    #[test]
    fn a_broken_gateway_leaves_the_outcome_open_and_a_broken_server_does_not() {
        assert_eq!(failure(StatusCode::BAD_GATEWAY, &Value::Null, None), Failure::Unknown);
        assert_eq!(failure(StatusCode::GATEWAY_TIMEOUT, &Value::Null, None), Failure::Unknown);
        assert_eq!(failure(StatusCode::INTERNAL_SERVER_ERROR, &Value::Null, None), Failure::Unavailable);
    }

    #[test]
    fn a_key_is_judged_by_what_sending_needs() {
        let answer = json!({"health_status": {"can_send_message": "BLOCKED", "entities": [
            {"entity_type": "PHONE_NUMBER", "id": "700100200300402", "can_send_message": "AVAILABLE"},
            {"entity_type": "WABA", "id": "900100200300401", "can_send_message": "LIMITED", "additional_info": ["name not approved"]},
            {"entity_type": "APP", "id": "1", "can_send_message": "BLOCKED"}]}});

        let check = key_check(Platform::Whatsapp, &answer);

        assert_eq!(check.account.as_deref(), Some("700100200300402"));
        assert_eq!(check.waba_id.as_deref(), Some("900100200300401"));
        assert_eq!((check.status, check.reasons), (HealthStatus::Limited, vec!["name not approved".to_owned()]));
    }
}
