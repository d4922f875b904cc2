//! The Function URL: every path and method goes to one function.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    event::{self, Request, json_response},
    runtime::{Failure, Lambda},
};

/// Lambda takes no larger event.
const BODY_LIMIT_BYTES: usize = 6 << 20;

/// The router of the Function URL of `function`.
pub fn router(function: Option<String>, lambda: Arc<Lambda>) -> Router {
    Router::new().fallback(handle).with_state((function, lambda))
}

async fn handle(
    State((function, lambda)): State<(Option<String>, Arc<Lambda>)>,
    request: axum::extract::Request,
) -> Response {
    let Some(function) = function else {
        return json_response(StatusCode::FORBIDDEN, &json!({ "Message": "Forbidden" }));
    };
    let Ok(request) = Request::read(request, BODY_LIMIT_BYTES).await else {
        let message = format!("Request must be smaller than {BODY_LIMIT_BYTES} bytes for the InvokeFunction operation");
        return json_response(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "Message": message }));
    };
    let event = request.function_url_event(OffsetDateTime::now_utc());
    match lambda.invoke(&function, event.to_string().into_bytes()).await {
        Ok(answer) => event::response(&answer, "application/json").unwrap_or_else(|bad_answer| {
            eprintln!("[{function}] ERROR {bad_answer}");
            bad_gateway()
        }),
        Err(failure @ Failure::Throttled) => {
            json_response(StatusCode::TOO_MANY_REQUESTS, &json!({ "Message": failure.to_string() }))
        }
        Err(Failure::Unavailable) => json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "Message": null })),
        Err(_) => bad_gateway(),
    }
}

fn bad_gateway() -> Response {
    (StatusCode::BAD_GATEWAY, "Internal Server Error").into_response()
}
