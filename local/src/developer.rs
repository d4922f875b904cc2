//! What exists on one machine only, under `/local/`, beside the issuer: figures and processes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    event::{json_response, query_parameters},
    iam::Guard,
    kms::Kms,
    meter::Meter,
    runtime::Lambda,
};

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Developer {
    /// The processes.
    pub lambda: Arc<Lambda>,
    /// Knows what functions may do, and did.
    pub guard: Guard,
    /// Counts calls of KMS.
    pub kms: Kms,
    /// Counts calls of `DynamoDB`.
    pub meter: Option<Meter>,
    /// Where everything is.
    pub endpoints: BTreeMap<&'static str, String>,
}

/// The routes.
pub fn router(developer: Developer) -> Router {
    Router::new()
        .route("/local/meter", get(meter).delete(reset_meter))
        .route("/local/permissions", get(permissions))
        .route("/local/processes", get(processes))
        .route("/local/kill", post(kill))
        .route("/local/invoke", post(invoke))
        .route("/local/endpoints", get(endpoints))
        .with_state(developer)
}

fn problem(message: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": message }))
}

async fn meter(State(developer): State<Developer>) -> Response {
    let Some(meter) = &developer.meter else {
        return json_response(StatusCode::NOT_FOUND, &json!({ "message": "nothing is counted here" }));
    };
    let mut figures = json!(meter.figures());
    figures["kms"] = json!(developer.kms.calls());
    Json(figures).into_response()
}

async fn reset_meter(State(developer): State<Developer>) -> StatusCode {
    if let Some(meter) = &developer.meter {
        meter.reset();
    }
    developer.kms.forget_calls();
    StatusCode::NO_CONTENT
}

async fn permissions(State(developer): State<Developer>) -> Json<Value> {
    Json(json!(developer.guard.permissions()))
}

async fn processes(State(developer): State<Developer>) -> Json<Value> {
    Json(json!({ "processes": developer.lambda.processes() }))
}

async fn kill(State(developer): State<Developer>, RawQuery(query): RawQuery) -> Response {
    let query = query_parameters(&query.unwrap_or_default());
    let function = query.get("function").and_then(Value::as_str).unwrap_or_default();
    match developer.lambda.kill(function) {
        Some(killed) => Json(json!({ "killed": killed })).into_response(),
        None => problem("function names no function of the template"),
    }
}

/// Invokes a function with the body as its event, as `aws lambda invoke` does.
async fn invoke(State(developer): State<Developer>, RawQuery(query): RawQuery, event: Bytes) -> Response {
    let query = query_parameters(&query.unwrap_or_default());
    let function = query.get("function").and_then(Value::as_str).unwrap_or_default();
    match developer.lambda.invoke(function, event.to_vec()).await {
        Ok(answer) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(failure) => json_response(StatusCode::BAD_GATEWAY, &json!({ "message": failure.to_string() })),
    }
}

async fn endpoints(State(developer): State<Developer>) -> Json<Value> {
    Json(json!(developer.endpoints))
}
