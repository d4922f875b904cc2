//! The Runtime API: a process asks for its next request here, and answers it.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use time::OffsetDateTime;

use super::{
    Lambda, locked,
    pool::Pool,
    process::{Environment, Outcome},
};
use crate::{
    arn::{ACCOUNT_ID, REGION},
    event::epoch_millis,
};

/// What an answer may weigh, on Lambda.
const ANSWER_LIMIT_BYTES: usize = 6 << 20;

type Id = Path<(String, u64)>;
type RequestId = Path<(String, u64, String)>;

impl Lambda {
    /// The Runtime API of all environments; each has its own prefix.
    pub fn runtime_api(self: &Arc<Self>) -> Router {
        const PREFIX: &str = "/{function}/{environment}/2018-06-01/runtime";
        Router::new()
            .route(&format!("{PREFIX}/invocation/next"), get(next))
            .route(&format!("{PREFIX}/invocation/{{request_id}}/response"), post(answered))
            .route(&format!("{PREFIX}/invocation/{{request_id}}/error"), post(failed))
            .route(&format!("{PREFIX}/init/error"), post(init_failed))
            .layer(DefaultBodyLimit::max(2 * ANSWER_LIMIT_BYTES))
            .with_state(Arc::clone(self))
    }

    fn environment(&self, function: &str, id: u64) -> Option<(Arc<Pool>, Arc<Environment>)> {
        let pool = self.pools.get(function)?;
        let environment = locked(&pool.alive).get(&id).cloned()?;
        Some((Arc::clone(pool), environment))
    }
}

async fn next(State(lambda): State<Arc<Lambda>>, Path((function, id)): Id) -> Response {
    let Some((pool, environment)) = lambda.environment(&function, id) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    environment.first_poll.get_or_init(|| environment.spawned_at.elapsed());
    let Some(invocation) = environment.inbox.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    if invocation.started.send(()).is_err() {
        // Whoever invoked has given up, and the process is being killed.
        return StatusCode::GONE.into_response();
    }
    let deadline = epoch_millis(OffsetDateTime::now_utc() + pool.function.timeout);
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.request_id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", format!("arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{function}")),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.payload).into_response()
}

async fn answered(
    State(lambda): State<Arc<Lambda>>,
    Path((function, id, request_id)): RequestId,
    body: Bytes,
) -> StatusCode {
    let outcome = if body.len() > ANSWER_LIMIT_BYTES {
        Outcome::Error(format!(
            "Response payload size exceeded maximum allowed payload size ({ANSWER_LIMIT_BYTES} bytes)"
        ))
    } else {
        Outcome::Answer(body)
    };
    match lambda.environment(&function, id) {
        Some((_, environment)) => environment.settle(&request_id, outcome),
        None => StatusCode::FORBIDDEN,
    }
}

async fn failed(
    State(lambda): State<Arc<Lambda>>,
    Path((function, id, request_id)): RequestId,
    body: Bytes,
) -> StatusCode {
    match lambda.environment(&function, id) {
        Some((_, environment)) => {
            environment.settle(&request_id, Outcome::Error(String::from_utf8_lossy(&body).into_owned()))
        }
        None => StatusCode::FORBIDDEN,
    }
}

/// The process exits after this, which fails its request.
async fn init_failed(State(lambda): State<Arc<Lambda>>, Path((function, id)): Id, body: Bytes) -> StatusCode {
    let Some((pool, _)) = lambda.environment(&function, id) else { return StatusCode::FORBIDDEN };
    let message = format!("initialisation failed: {}", String::from_utf8_lossy(&body));
    pool.log.error(&message);
    StatusCode::ACCEPTED
}
