//! A stand-in for 360dialog (and Meta's Graph API): checks keys, accepts messages, reports statuses, lets you write as a customer.
//!
//! Any key `sim_<platform>_<account id>` speaks for that account; others get 401. A key that is generated (`…~1`, `…~2`) revokes
//! the ones before it. It knows nothing of the rest of this crate's
//! system: it delivers to whatever URL was registered with it.

mod inbound;
mod messages;
mod page;
mod payloads;
mod threads;
mod webhooks;

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as UrlPath, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};
use emulator::{
    connection::{self, cut},
    event::{epoch_millis, json_response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::sleep;

use inbound::{Inbound, Kind};
use messages::{Refusal, Sent};
use threads::Threads;
use webhooks::{Registration, Webhooks};

/// How long a call with the fault `timeout` is held before its connection is cut.
const HELD: Duration = Duration::from_secs(30);
/// Meta delivers bodies of up to 3 MB; tests want to deliver more.
const BODY_LIMIT_BYTES: usize = 32 << 20;
/// Between two statuses of a message, unless set otherwise.
const STATUS_DELAY_MS: u64 = 250;
/// How long a call with the fault `slow_answer` waits for its answer.
const SLOW_ANSWER: Duration = Duration::from_millis(700);

/// Where an account lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Platform {
    Whatsapp,
    Instagram,
    Facebook,
}

/// One number, Instagram account or page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Account {
    platform: Platform,
    id: String,
}

/// The simulator; clones share everything.
#[derive(Debug, Clone)]
pub struct Simulator {
    webhooks: Arc<Webhooks>,
    state: Arc<Mutex<Memory>>,
}

/// What does not survive a restart.
#[derive(Debug, Default)]
struct Memory {
    faults: Vec<Fault>,
    settings: Settings,
    sent: Vec<Sent>,
    threads: Threads,
    /// How many keys were generated for an account: only the last one is valid.
    generated_keys: BTreeMap<Account, u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Statuses {
    #[default]
    Automatic,
    Manual,
    Reversed,
    Doubled,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Health {
    #[default]
    Available,
    Limited,
    Blocked,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Settings {
    statuses: Statuses,
    delay_ms: u64,
    health: Health,
    /// 360dialog names the account of each platform's key; it is documented for WhatsApp alone.
    names_accounts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            statuses: Statuses::default(),
            delay_ms: STATUS_DELAY_MS,
            health: Health::default(),
            names_accounts: false,
        }
    }
}

/// What goes wrong, for the next `calls` calls.
#[derive(Debug, Clone)]
struct Fault {
    kind: FaultKind,
    calls: u64,
    account: Option<String>,
    endpoint: Option<Endpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    Unauthorized,
    RateLimit,
    RateLimit400,
    Reject(i64),
    Timeout,
    DropAfterAccept,
    SlowAnswer,
    ServerError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Endpoint {
    Messages,
    HealthStatus,
    Webhook,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> i64 {
    epoch_millis(OffsetDateTime::now_utc())
}

impl Platform {
    fn name(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Facebook => "facebook",
        }
    }
}

impl Account {
    /// The account that a key was made for, and how many were made for it before.
    fn of_key(key: &str) -> Option<(Self, u64)> {
        let (platform, id) = key.strip_prefix("sim_")?.split_once('_')?;
        let platform = [Platform::Whatsapp, Platform::Instagram, Platform::Facebook]
            .into_iter()
            .find(|known| known.name() == platform)?;
        let (id, generation) = match id.split_once('~') {
            Some((id, generation)) => (id, generation.parse().ok()?),
            None => (id, 0),
        };
        (!id.is_empty()).then(|| (Self { platform, id: id.to_owned() }, generation))
    }
}

impl FaultKind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "unauthorized" => Self::Unauthorized,
            "rate_limit" => Self::RateLimit,
            "rate_limit_400" => Self::RateLimit400,
            "timeout" => Self::Timeout,
            "drop_after_accept" => Self::DropAfterAccept,
            "slow_answer" => Self::SlowAnswer,
            "server_error" => Self::ServerError,
            other => Self::Reject(other.strip_prefix("reject:")?.parse().ok()?),
        })
    }

    fn name(self) -> String {
        let name = match self {
            Self::Unauthorized => "unauthorized",
            Self::RateLimit => "rate_limit",
            Self::RateLimit400 => "rate_limit_400",
            Self::Timeout => "timeout",
            Self::DropAfterAccept => "drop_after_accept",
            Self::SlowAnswer => "slow_answer",
            Self::ServerError => "server_error",
            Self::Reject(code) => return format!("reject:{code}"),
        };
        name.to_owned()
    }
}

impl Fault {
    fn listed(&self) -> Value {
        json!({ "fault": self.kind.name(), "calls": self.calls, "accountId": self.account, "path": self.endpoint })
    }
}

impl Simulator {
    /// A simulator whose registrations and undelivered updates are kept in `file`. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(file: &Path) -> io::Result<Self> {
        Ok(Self { webhooks: Webhooks::open(file)?, state: Arc::default() })
    }

    /// Serves on `listener`.
    ///
    /// # Errors
    /// When the listener is unusable.
    pub fn serve(&self, listener: TcpListener) -> io::Result<()> {
        connection::serve(listener, self.router(), "the provider simulator")
    }

    /// Keeps what is not delivered yet.
    pub fn stop(&self) {
        self.webhooks.save();
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/health_status", get(health_status))
            .route("/v1/configs/webhook", get(read_webhook).post(register_webhook))
            .route("/messages", post(send_whatsapp))
            .route("/instagram/{account}/messages", post(send_instagram))
            .route("/messenger/{account}/messages", post(send_messenger))
            .route("/{version}/me", get(page_me))
            .route("/{version}/me/messages", post(send_by_page))
            .route("/graph.instagram.com/{version}/me", get(instagram_me))
            .route("/graph.instagram.com/{version}/me/messages", post(send_by_instagram))
            .route("/simulate/inbound", post(simulate_inbound))
            .route("/simulate/accounts", get(simulate_accounts))
            .route("/simulate/thread", get(simulate_thread))
            .route("/simulate/fault", get(read_faults).post(simulate_fault))
            .route("/simulate/key", post(simulate_key))
            .route("/simulate/sent", get(simulate_sent))
            .route("/simulate/status", post(simulate_status))
            .route("/simulate/settings", get(read_settings).post(simulate_settings))
            .route("/simulate/undelivered", get(undelivered))
            .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
            .with_state(self.clone())
            .merge(page::router())
    }

    fn fault(&self, endpoint: Endpoint, account: &Account) -> Option<FaultKind> {
        let mut state = locked(&self.state);
        let applies = |fault: &Fault| {
            fault.endpoint.is_none_or(|only| only == endpoint)
                && fault.account.as_ref().is_none_or(|only| *only == account.id)
        };
        let index = state.faults.iter().position(applies)?;
        let fault = &mut state.faults[index];
        let kind = fault.kind;
        fault.calls -= 1;
        if fault.calls == 0 {
            state.faults.remove(index);
        }
        Some(kind)
    }

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
}

impl Simulator {
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
struct Fields {
    #[serde(default)]
    fields: String,
}

async fn health_status(
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
async fn page_me(State(simulator): State<Simulator>, headers: HeaderMap, Query(query): Query<Fields>) -> Response {
    let act = |account: &Account| Ok(payloads::page(account, &query.fields));
    simulator.call(Endpoint::HealthStatus, simulator.by_bearer(&headers, Platform::Facebook), act).await
}

/// `graph.instagram.com`.
async fn instagram_me(State(simulator): State<Simulator>, headers: HeaderMap, Query(query): Query<Fields>) -> Response {
    let act = |account: &Account| Ok(payloads::instagram_login(account, &query.fields));
    simulator.call(Endpoint::HealthStatus, simulator.by_bearer(&headers, Platform::Instagram), act).await
}

async fn read_webhook(State(simulator): State<Simulator>, headers: HeaderMap) -> Response {
    let act = |account: &Account| Ok(json!(simulator.webhooks.registration(account).unwrap_or_default()));
    simulator.call(Endpoint::Webhook, simulator.by_api_key(&headers), act).await
}

async fn register_webhook(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let act = |account: &Account| {
        let registration: Registration =
            serde_json::from_slice(&body).map_err(|error| Refusal::bad_request(&error.to_string()))?;
        registration.check().map_err(Refusal::bad_request)?;
        simulator.webhooks.register(account, registration.clone()).map_err(|_| Refusal::server_error())?;
        Ok(json!(registration))
    };
    simulator.call(Endpoint::Webhook, simulator.by_api_key(&headers), act).await
}

async fn send_whatsapp(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
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

async fn send_instagram(
    State(simulator): State<Simulator>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let account = simulator.by_api_key(&headers).and_then(|account| only(account, Platform::Instagram, Some(&id)));
    simulator.send(account, &body).await
}

async fn send_messenger(
    State(simulator): State<Simulator>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let account = simulator.by_api_key(&headers).and_then(|account| only(account, Platform::Facebook, Some(&id)));
    simulator.send(account, &body).await
}

async fn send_by_page(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let account = simulator.by_bearer(&headers, Platform::Facebook).map(|page| {
        // The recipient tells which of the two it is for.
        let linked = Account { platform: Platform::Instagram, id: page.id.clone() };
        let to = messages::parse(&body).ok().and_then(|body| body.get("recipient").map(|to| to["id"].clone()));
        let customers = locked(&simulator.state).threads.customers(&linked);
        if customers.iter().any(|customer| Some(&customer["id"]) == to.as_ref()) { linked } else { page }
    });
    simulator.send(account, &body).await
}

async fn send_by_instagram(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    simulator.send(simulator.by_bearer(&headers, Platform::Instagram), &body).await
}

impl Simulator {
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

fn problem(text: impl std::fmt::Display) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": text.to_string() }))
}

async fn simulate_inbound(State(simulator): State<Simulator>, body: Bytes) -> Response {
    let inbound: Inbound = match serde_json::from_slice(&body) {
        Ok(inbound) => inbound,
        Err(error) => return problem(error),
    };
    let account = inbound.account();
    let edits = inbound.target().map_or(0, |target| locked(&simulator.state).threads.edits(&account, target));
    let written = match inbound.written(now_ms(), edits) {
        Ok(written) => written,
        Err(error) => return problem(error),
    };
    if let Some(shown) = written.shown {
        locked(&simulator.state).threads.note(&account, shown);
    }
    first_attempt(&simulator, &account, written.body, &json!({ "id": written.id })).await
}

/// The accounts that can be written to, with what their platform has, and their customers so far.
async fn simulate_accounts(State(simulator): State<Simulator>) -> Response {
    let connected = simulator.webhooks.accounts();
    let threads = &locked(&simulator.state).threads;
    let mut accounts = connected.clone();
    for account in threads.accounts() {
        if !accounts.contains(account) {
            accounts.push(account.clone());
        }
    }
    let listed = accounts.iter().map(|account| {
        json!({
            "platform": account.platform, "id": account.id, "connected": connected.contains(account),
            "types": Kind::of(account.platform), "statuses": payloads::statuses(account.platform), "customers": threads.customers(account),
        })
    });
    json_response(StatusCode::OK, &json!({ "accounts": listed.collect::<Vec<_>>() }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThreadRequest {
    platform: Platform,
    account_id: String,
    customer: String,
    #[serde(default = "a_screenful")]
    limit: usize,
}

fn a_screenful() -> usize {
    100
}

/// The last messages of a conversation, as the customer's phone shows them, oldest first.
async fn simulate_thread(State(simulator): State<Simulator>, Query(request): Query<ThreadRequest>) -> Response {
    let account = Account { platform: request.platform, id: request.account_id };
    let is_waiting = |id: &str| simulator.webhooks.is_waiting(&account, id);
    let threads = &locked(&simulator.state).threads;
    let messages = threads.messages(&account, &request.customer, request.limit, now_ms(), is_waiting);
    json_response(StatusCode::OK, &json!({ "messages": messages }))
}

/// What will go wrong, in the order in which it was asked for.
async fn read_faults(State(simulator): State<Simulator>) -> Response {
    list_faults(&locked(&simulator.state).faults)
}

fn list_faults(faults: &[Fault]) -> Response {
    let faults: Vec<Value> = faults.iter().map(Fault::listed).collect();
    json_response(StatusCode::OK, &json!({ "faults": faults }))
}

/// Delivers now, and tells how the first attempt went; later ones go on behind the scenes.
async fn first_attempt(simulator: &Simulator, account: &Account, payload: String, answer: &Value) -> Response {
    let mut answer = answer.clone();
    let status = if let Some(attempt) = simulator.webhooks.deliver(account, payload, Duration::ZERO) {
        attempt.await.ok().flatten()
    } else {
        let Account { platform, id } = account;
        let platform = platform.name();
        answer["message"] = format!("no webhook is registered for {platform} {id}: connect the account first").into();
        None
    };
    answer["delivered"] = (status == Some(200)).into();
    answer["status"] = status.into();
    json_response(StatusCode::OK, &answer)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FaultRequest {
    fault: String,
    #[serde(default = "once")]
    calls: u64,
    account_id: Option<String>,
    path: Option<Endpoint>,
}

fn once() -> u64 {
    1
}

async fn simulate_fault(State(simulator): State<Simulator>, body: Bytes) -> Response {
    let request: FaultRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return problem(error),
    };
    let faults = &mut locked(&simulator.state).faults;
    if request.fault == "none" {
        faults.clear();
    } else if let (Some(kind), true) = (FaultKind::parse(&request.fault), request.calls > 0) {
        faults.push(Fault { kind, calls: request.calls, account: request.account_id, endpoint: request.path });
    } else {
        return problem(
            "fault is unauthorized, rate_limit, rate_limit_400, reject:<code>, timeout, drop_after_accept, slow_answer, server_error or none; \
             calls is at least 1",
        );
    }
    list_faults(faults)
}

/// Generates a key for an account, which revokes the one before.
async fn simulate_key(State(simulator): State<Simulator>, body: Bytes) -> Response {
    let account: Account = match serde_json::from_slice(&body) {
        Ok(account) => account,
        Err(error) => return problem(error),
    };
    let key = format!("sim_{}_{}", account.platform.name(), account.id);
    let mut state = locked(&simulator.state);
    let generated = state.generated_keys.entry(account).or_default();
    *generated += 1;
    json_response(StatusCode::OK, &json!({ "apiKey": format!("{key}~{generated}") }))
}

#[derive(Debug, Deserialize)]
struct From {
    /// Messages that were accepted before these are left out.
    #[serde(default)]
    from: usize,
}

async fn simulate_sent(State(simulator): State<Simulator>, Query(query): Query<From>) -> Response {
    let sent: Vec<Value> = locked(&simulator.state).sent.iter().skip(query.from).map(Sent::listed).collect();
    json_response(StatusCode::OK, &json!({ "sent": sent }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusRequest {
    account_id: String,
    id: String,
    status: String,
    errors: Option<Value>,
    /// For a message that this simulator did not accept.
    platform: Option<Platform>,
    #[serde(default)]
    to: String,
    callback_data: Option<String>,
    timestamp: Option<i64>,
}

async fn simulate_status(State(simulator): State<Simulator>, body: Bytes) -> Response {
    let request: StatusRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return problem(error),
    };
    let known = locked(&simulator.state)
        .sent
        .iter()
        .find(|sent| sent.id == request.id && sent.account.id == request.account_id)
        .cloned();
    let sent = known.unwrap_or_else(|| Sent {
        account: Account { platform: request.platform.unwrap_or(Platform::Whatsapp), id: request.account_id },
        id: request.id,
        to: request.to,
        callback_data: request.callback_data,
        ..Sent::default()
    });
    let at = request.timestamp.map_or_else(now_ms, payloads::as_millis);
    let Some(payload) = payloads::status(&sent, &request.status, at, request.errors) else {
        return problem(format!("{} reports no status {}", sent.account.platform.name(), request.status));
    };
    locked(&simulator.state).threads.tell(&sent, &request.status, at);
    first_attempt(&simulator, &sent.account, payload.to_string(), &json!({ "id": sent.id })).await
}

async fn read_settings(State(simulator): State<Simulator>) -> Response {
    json_response(StatusCode::OK, &json!(locked(&simulator.state).settings))
}

/// Changes the settings that are named, and leaves the others.
async fn simulate_settings(State(simulator): State<Simulator>, body: Bytes) -> Response {
    let mut state = locked(&simulator.state);
    let mut settings = json!(state.settings);
    match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(changes)) => {
            for (name, value) in changes {
                settings[name] = value;
            }
        }
        _ => return problem("a JSON object is needed"),
    }
    match serde_json::from_value(settings) {
        Ok(settings) => state.settings = settings,
        Err(error) => return problem(error),
    }
    json_response(StatusCode::OK, &json!(state.settings))
}

async fn undelivered(State(simulator): State<Simulator>) -> Response {
    json_response(StatusCode::OK, &json!({ "undelivered": simulator.webhooks.undelivered() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_speaks_for_its_account_only() {
        let (account, _) = Account::of_key("sim_whatsapp_700100200300402").unwrap();
        assert_eq!((account.platform, account.id.as_str()), (Platform::Whatsapp, "700100200300402"));
        assert_eq!(Account::of_key("sim_whatsapp_700100200300402~2"), Some((account, 2)));
        for key in
            ["", "sim_whatsapp_", "sim_whatsapp_~1", "sim_whatsapp_1~x", "sim_telegram_1", "whatsapp_1", "sim_whatsapp"]
        {
            assert_eq!(Account::of_key(key), None, "{key}");
        }
    }

    #[test]
    fn faults_are_read_by_name() {
        assert_eq!(FaultKind::parse("reject:131047"), Some(FaultKind::Reject(131_047)));
        assert_eq!(FaultKind::parse("timeout"), Some(FaultKind::Timeout));
        assert_eq!(FaultKind::parse("reject:"), None);
        assert_eq!(FaultKind::parse("earthquake"), None);
    }
}
