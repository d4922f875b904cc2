//! `/simulate/…`: plays the customer, tells what was accepted, and changes how the simulator behaves.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use emulator::event::json_response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Account, Platform, Simulator,
    inbound::{Inbound, Kind},
    locked,
    messages::Sent,
    now_ms, payloads,
};

/// Between two statuses of a message, unless set otherwise.
const STATUS_DELAY_MS: u64 = 250;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Statuses {
    #[default]
    Automatic,
    Manual,
    Reversed,
    Doubled,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Health {
    #[default]
    Available,
    Limited,
    Blocked,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) statuses: Statuses,
    pub(super) delay_ms: u64,
    pub(super) health: Health,
    /// 360dialog names the account of each platform's key; it is documented for WhatsApp alone.
    pub(super) names_accounts: bool,
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

pub(super) fn problem(text: impl std::fmt::Display) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": text.to_string() }))
}

pub(super) async fn simulate_inbound(State(simulator): State<Simulator>, body: Bytes) -> Response {
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
pub(super) async fn simulate_accounts(State(simulator): State<Simulator>) -> Response {
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
pub(super) struct ThreadRequest {
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
pub(super) async fn simulate_thread(
    State(simulator): State<Simulator>,
    Query(request): Query<ThreadRequest>,
) -> Response {
    let account = Account { platform: request.platform, id: request.account_id };
    let is_waiting = |id: &str| simulator.webhooks.is_waiting(&account, id);
    let threads = &locked(&simulator.state).threads;
    let messages = threads.messages(&account, &request.customer, request.limit, now_ms(), is_waiting);
    json_response(StatusCode::OK, &json!({ "messages": messages }))
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

/// Generates a key for an account, which revokes the one before.
pub(super) async fn simulate_key(State(simulator): State<Simulator>, body: Bytes) -> Response {
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
pub(super) struct From {
    /// Messages that were accepted before these are left out.
    #[serde(default)]
    from: usize,
}

pub(super) async fn simulate_sent(State(simulator): State<Simulator>, Query(query): Query<From>) -> Response {
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

pub(super) async fn simulate_status(State(simulator): State<Simulator>, body: Bytes) -> Response {
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

pub(super) async fn read_settings(State(simulator): State<Simulator>) -> Response {
    json_response(StatusCode::OK, &json!(locked(&simulator.state).settings))
}

/// Changes the settings that are named, and leaves the others.
pub(super) async fn simulate_settings(State(simulator): State<Simulator>, body: Bytes) -> Response {
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

pub(super) async fn undelivered(State(simulator): State<Simulator>) -> Response {
    json_response(StatusCode::OK, &json!({ "undelivered": simulator.webhooks.undelivered() }))
}
