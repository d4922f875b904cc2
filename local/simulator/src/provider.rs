//! The provider's API: 360dialog's, and Meta's Graph API.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use emulator::{connection::cut, event::json_response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Account, Platform, Simulator,
    control::Statuses,
    faults::{Endpoint, FaultKind},
    locked,
    messages::{self, Refusal, Sent},
    now_ms, payloads,
    webhooks::Registration,
};

/// How long a call with the fault `timeout` is held before its connection is cut.
const HELD: Duration = Duration::from_secs(30);
/// How long a call with the fault `slow_answer` waits for its answer.
const SLOW_ANSWER: Duration = Duration::from_millis(700);

impl Simulator {
    /// Answers a call of the provider's API: who asks, what goes wrong, and else what `act` says.
    async fn call(
        &self,
        endpoint: Endpoint,
        account: Result<Account, Refusal>,
        act: impl FnOnce(&Account) -> Result<Value, Refusal>,
    ) -> Response {
        let account = match account {
            Ok(account) => account,
            Err(refusal) => return refusal.into_response(),
        };
        let fault = self.fault(endpoint, &account);
        let refusal = match fault {
            None | Some(FaultKind::DropAfterAccept | FaultKind::SlowAnswer) => None,
            Some(FaultKind::Unauthorized) => Some(Refusal::bad_key()),
            Some(FaultKind::RateLimit) => Some(Refusal::rate_limit(account.platform)),
            Some(FaultKind::RateLimit400) => Some(Refusal::endpoint_rate_limit()),
            Some(FaultKind::Reject(code)) => Some(Refusal::of_code(code, account.platform)),
            Some(FaultKind::ServerError) => Some(Refusal::server_error()),
            Some(FaultKind::Timeout) => {
                sleep(HELD).await;
                return cut();
            }
        };
        let answer = refusal.map_or_else(|| act(&account), Err);
        if fault == Some(FaultKind::DropAfterAccept) && answer.is_ok() {
            return cut();
        }
        if fault == Some(FaultKind::SlowAnswer) {
            sleep(SLOW_ANSWER).await;
        }
        match answer {
            Ok(body) => json_response(StatusCode::OK, &body),
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Notes a message as accepted and plans its statuses.
    fn accept(&self, sent: Sent) {
        let settings = locked(&self.state).settings.clone();
        let mut statuses = vec!["sent", "delivered", "read"];
        match settings.statuses {
            Statuses::Automatic => {}
            Statuses::Manual => statuses.clear(),
            Statuses::Reversed => statuses.reverse(),
            Statuses::Doubled => statuses = statuses.into_iter().flat_map(|status| [status, status]).collect(),
        }
        let now = now_ms();
        locked(&self.state).threads.receive(&sent, now);
        for (step, status) in (1..).zip(statuses) {
            let delay = Duration::from_millis(settings.delay_ms * step);
            let at = now + i64::try_from(delay.as_millis()).unwrap_or_default();
            if let Some(payload) = payloads::status(&sent, status, at, None) {
                locked(&self.state).threads.tell(&sent, status, at);
                // A number without a webhook hears nothing.
                drop(self.webhooks.deliver(&sent.account, payload.to_string(), delay));
            }
        }
        locked(&self.state).sent.push(sent);
    }

    /// The account that a key speaks for, unless it was revoked.
    fn account_of_key(&self, key: &str) -> Option<Account> {
        let (account, generation) = Account::of_key(key)?;
        let generated = locked(&self.state).generated_keys.get(&account).copied().unwrap_or_default();
        (generation == generated).then_some(account)
    }

    /// The account of 360dialog's key header.
    fn by_api_key(&self, headers: &HeaderMap) -> Result<Account, Refusal> {
        let key = headers.get("d360-api-key").and_then(|key| key.to_str().ok());
        key.and_then(|key| self.account_of_key(key)).ok_or_else(Refusal::bad_key)
    }

    /// The account of Meta's bearer token; each of its interfaces reads the tokens of one kind of account.
    fn by_bearer(&self, headers: &HeaderMap, platform: Platform) -> Result<Account, Refusal> {
        let header = headers.get("authorization").and_then(|header| header.to_str().ok());
        let key = header.and_then(|header| header.strip_prefix("Bearer "));
        let account = key.and_then(|key| self.account_of_key(key)).filter(|account| account.platform == platform);
        account.ok_or_else(Refusal::bad_token)
    }

    /// Meta's Send API, whichever path it came by.
    async fn send(&self, account: Result<Account, Refusal>, body: &[u8]) -> Response {
        let act = |account: &Account| {
            let (sent, answer) = messages::send_api(account, &messages::parse(body)?)?;
            if let Some(sent) = sent {
                self.accept(sent);
            }
            Ok(answer)
        };
        self.call(Endpoint::Messages, account, act).await
    }
}

/// The account, if it is on this platform and the one in the path.
fn only(account: Account, platform: Platform, in_path: Option<&str>) -> Result<Account, Refusal> {
    if account.platform == platform && in_path.is_none_or(|id| id == account.id) {
        Ok(account)
    } else {
        Err(Refusal::forbidden())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    fields: String,
}

pub(super) async fn health_status(
    State(simulator): State<Simulator>,
    headers: HeaderMap,
    Query(query): Query<Fields>,
) -> Response {
    let settings = locked(&simulator.state).settings.clone();
    let act = |account: &Account| Ok(payloads::health(account, &settings, &query.fields));
    simulator.call(Endpoint::HealthStatus, simulator.by_api_key(&headers), act).await
}

/// `graph.facebook.com`: a page's token speaks for the page, and for the Instagram account that is linked with it. Here, that has
/// the same number.
pub(super) async fn page_me(
    State(simulator): State<Simulator>,
    headers: HeaderMap,
    Query(query): Query<Fields>,
) -> Response {
    let act = |account: &Account| Ok(payloads::page(account, &query.fields));
    simulator.call(Endpoint::HealthStatus, simulator.by_bearer(&headers, Platform::Facebook), act).await
}

/// `graph.instagram.com`.
pub(super) async fn instagram_me(
    State(simulator): State<Simulator>,
    headers: HeaderMap,
    Query(query): Query<Fields>,
) -> Response {
    let act = |account: &Account| Ok(payloads::instagram_login(account, &query.fields));
    simulator.call(Endpoint::HealthStatus, simulator.by_bearer(&headers, Platform::Instagram), act).await
}

pub(super) async fn read_webhook(State(simulator): State<Simulator>, headers: HeaderMap) -> Response {
    let act = |account: &Account| Ok(json!(simulator.webhooks.registration(account).unwrap_or_default()));
    simulator.call(Endpoint::Webhook, simulator.by_api_key(&headers), act).await
}

pub(super) async fn register_webhook(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let act = |account: &Account| {
        let registration: Registration =
            serde_json::from_slice(&body).map_err(|error| Refusal::bad_request(&error.to_string()))?;
        registration.check().map_err(Refusal::bad_request)?;
        simulator.webhooks.register(account, registration.clone()).map_err(|_| Refusal::server_error())?;
        Ok(json!(registration))
    };
    simulator.call(Endpoint::Webhook, simulator.by_api_key(&headers), act).await
}

pub(super) async fn send_whatsapp(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let account = simulator.by_api_key(&headers).and_then(|account| only(account, Platform::Whatsapp, None));
    let act = |account: &Account| {
        let body = messages::parse(&body)?;
        let (sent, answer) = messages::whatsapp(account, &body)?;
        if let Some(sent) = sent {
            simulator.accept(sent);
        }
        Ok(answer)
    };
    simulator.call(Endpoint::Messages, account, act).await
}

pub(super) async fn send_instagram(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let account = simulator.by_api_key(&headers).and_then(|account| only(account, Platform::Instagram, Some(&id)));
    simulator.send(account, &body).await
}

pub(super) async fn send_messenger(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let account = simulator.by_api_key(&headers).and_then(|account| only(account, Platform::Facebook, Some(&id)));
    simulator.send(account, &body).await
}

pub(super) async fn send_by_page(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let account = simulator.by_bearer(&headers, Platform::Facebook).map(|page| {
        // The recipient tells which of the two it is for.
        let linked = Account { platform: Platform::Instagram, id: page.id.clone() };
        let to = messages::parse(&body).ok().and_then(|body| body.get("recipient").map(|to| to["id"].clone()));
        let customers = locked(&simulator.state).threads.customers(&linked);
        if customers.iter().any(|customer| Some(&customer["id"]) == to.as_ref()) { linked } else { page }
    });
    simulator.send(account, &body).await
}

pub(super) async fn send_by_instagram(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    simulator.send(simulator.by_bearer(&headers, Platform::Instagram), &body).await
}
