//! What exists on one machine only, under `/local/`: tokens, figures, processes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::{
    authorizer::SigningKey,
    event::{json_response, query_parameters},
    iam::Guard,
    kms::Kms,
    meter::Meter,
    runtime::Lambda,
    template::{Authorizer, ClaimNames},
};

/// How long a token is good, unless asked otherwise.
const TOKEN_SECS: i64 = 24 * 60 * 60;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Developer {
    /// Signs tokens.
    pub signing_key: Arc<SigningKey>,
    /// What tokens must say.
    pub authorizer: Authorizer,
    /// Where they say it.
    pub claims: ClaimNames,
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
        .route("/local/token", get(token))
        .route("/local/jwks.json", get(key_set))
        .route("/local/.well-known/openid-configuration", get(openid_configuration))
        .route("/local/meter", get(meter).delete(reset_meter))
        .route("/local/permissions", get(permissions))
        .route("/local/processes", get(processes))
        .route("/local/kill", post(kill))
        .route("/local/endpoints", get(endpoints))
        .with_state(developer)
}

fn problem(message: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": message }))
}

/// `organization`, `user`, `role`, `expiresIn` (seconds, may be negative); any other parameter becomes a claim of that name.
async fn token(State(developer): State<Developer>, RawQuery(query): RawQuery) -> Response {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut lifetime = TOKEN_SECS;
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), developer.authorizer.issuer.clone().into());
    claims.insert("aud".to_owned(), developer.authorizer.audience.first().cloned().into());
    for (name, value) in query_parameters(&query.unwrap_or_default()) {
        match name.as_str() {
            "organization" => drop(claims.insert(developer.claims.organization.clone(), value)),
            "user" => drop(claims.insert(developer.claims.user.clone(), value)),
            "role" => drop(claims.insert(developer.claims.role.clone(), value)),
            "expiresIn" => match value.as_str().and_then(|value| value.parse().ok()) {
                Some(seconds) => lifetime = seconds,
                None => return problem("expiresIn is a number of seconds"),
            },
            _ => drop(claims.insert(name, value)),
        }
    }
    let expires = now.saturating_add(lifetime);
    claims.entry("exp").or_insert(expires.into());
    claims.entry("iat").or_insert(now.min(expires).into());
    match developer.signing_key.token(&Value::Object(claims)) {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(error) => problem(&error.to_string()),
    }
}

async fn key_set(State(developer): State<Developer>) -> Json<Value> {
    Json(developer.signing_key.key_set())
}

async fn openid_configuration(State(developer): State<Developer>) -> Json<Value> {
    let issuer = &developer.authorizer.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
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

async fn endpoints(State(developer): State<Developer>) -> Json<Value> {
    Json(json!(developer.endpoints))
}
