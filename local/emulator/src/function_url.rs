//! The Function URL: every path and method goes to one function.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-throttling>
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-monitoring.html>

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    cloudwatch::CloudWatch,
    event::{self, Request, json_response},
    lambda::{Failure, Lambda},
};

/// Lambda takes no larger event.
const BODY_LIMIT_BYTES: usize = 6 << 20;

#[derive(Debug, Clone)]
struct FunctionUrl {
    function: Option<String>,
    lambda: Arc<Lambda>,
    cloudwatch: CloudWatch,
}

/// The router of the Function URL of `function`; requests move the metrics of `cloudwatch`.
pub fn router(function: Option<String>, lambda: Arc<Lambda>, cloudwatch: CloudWatch) -> Router {
    Router::new().fallback(handle).with_state(FunctionUrl { function, lambda, cloudwatch })
}

async fn handle(State(url): State<FunctionUrl>, request: axum::extract::Request) -> Response {
    let Some(function) = url.function.clone() else {
        return json_response(StatusCode::FORBIDDEN, &json!({ "Message": "Forbidden" }));
    };
    // Who asked may be gone before there is an answer: it counts all the same.
    let counted = tokio::spawn(async move {
        let began = Instant::now();
        let response = url.answer(&function, request).await;
        let put = |metric, value| url.cloudwatch.put_of_function(&function, metric, value);
        put("UrlRequestCount", 1.0);
        put("UrlRequestLatency", began.elapsed().as_secs_f64() * 1000.0);
        if response.status().is_client_error() {
            put("Url4xxCount", 1.0);
        } else if response.status().is_server_error() {
            put("Url5xxCount", 1.0);
        }
        response
    });
    counted.await.unwrap_or_else(|_| bad_gateway())
}

impl FunctionUrl {
    async fn answer(&self, function: &str, request: axum::extract::Request) -> Response {
        let Ok(request) = Request::read(request, BODY_LIMIT_BYTES).await else {
            let message =
                format!("Request must be smaller than {BODY_LIMIT_BYTES} bytes for the InvokeFunction operation");
            return json_response(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "Message": message }));
        };
        let event = request.function_url_event(OffsetDateTime::now_utc());
        match self.lambda.invoke(function, event.to_string().into_bytes()).await {
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
}

fn bad_gateway() -> Response {
    (StatusCode::BAD_GATEWAY, "Internal Server Error").into_response()
}
