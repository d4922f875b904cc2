//! What goes wrong on purpose, for the next calls of the provider's API.

use axum::{body::Bytes, extract::State, http::StatusCode, response::Response};
use emulator::event::json_response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Account, Simulator, control::problem, locked};

/// What goes wrong, for the next `calls` calls.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    kind: FaultKind,
    calls: u64,
    account: Option<String>,
    endpoint: Option<Endpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
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
pub(super) enum Endpoint {
    Messages,
    HealthStatus,
    Webhook,
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
    pub(super) fn fault(&self, endpoint: Endpoint, account: &Account) -> Option<FaultKind> {
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
}

/// What will go wrong, in the order in which it was asked for.
pub(super) async fn read_faults(State(simulator): State<Simulator>) -> Response {
    list_faults(&locked(&simulator.state).faults)
}

fn list_faults(faults: &[Fault]) -> Response {
    let faults: Vec<Value> = faults.iter().map(Fault::listed).collect();
    json_response(StatusCode::OK, &json!({ "faults": faults }))
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

pub(super) async fn simulate_fault(State(simulator): State<Simulator>, body: Bytes) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_by_name() {
        assert_eq!(FaultKind::parse("reject:131047"), Some(FaultKind::Reject(131_047)));
        assert_eq!(FaultKind::parse("timeout"), Some(FaultKind::Timeout));
        assert_eq!(FaultKind::parse("reject:"), None);
        assert_eq!(FaultKind::parse("earthquake"), None);
    }
}
