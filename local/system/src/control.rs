//! What exists on one machine only, under `/local/`, beside the issuer: figures, alarms and processes, and what lets things go wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use emulator::{
    arn::secret_arn,
    cloudwatch::CloudWatch,
    event::{json_response, query_parameters},
    faults::Faults,
    iam::{Guard, Service},
    kms::Kms,
    lambda::{Failure, Lambda},
    meter::Meter,
    secrets::Secrets,
    stream::Stream,
};
use serde_json::{Value, json};

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Control {
    /// The processes.
    pub lambda: Arc<Lambda>,
    /// Knows what functions may do, and did.
    pub guard: Guard,
    /// Counts calls of KMS.
    pub kms: Kms,
    /// Keeps the secrets.
    pub secrets: Secrets,
    /// Counts calls of `DynamoDB`.
    pub meter: Option<Meter>,
    /// Lets calls of the services go wrong.
    pub faults: Option<Faults>,
    /// Reads the table's stream.
    pub stream: Stream,
    /// Keeps metrics and evaluates alarms.
    pub cloudwatch: CloudWatch,
    /// Where everything is.
    pub endpoints: BTreeMap<&'static str, String>,
}

/// The routes.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/local/meter", get(meter).delete(reset_meter))
        .route("/local/permissions", get(permissions))
        .route("/local/processes", get(processes))
        .route("/local/kill", post(kill))
        .route("/local/invoke", post(invoke))
        .route("/local/secret", post(put_secret))
        .route("/local/fault", post(fault))
        .route("/local/stream", get(stream).post(order_stream))
        .route("/local/concurrency", post(reserve).delete(unreserve))
        .route("/local/alarms", get(alarms).post(advance))
        .route("/local/metrics", get(metrics))
        .route("/local/endpoints", get(endpoints))
        .with_state(control)
}

/// A parameter of the query; empty where there is none.
fn parameter(query: &RawQuery, name: &str) -> String {
    let parameters = query_parameters(query.0.as_deref().unwrap_or_default());
    parameters.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn no_such_function() -> Response {
    problem("function names no function of the template")
}

fn problem(message: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": message }))
}

async fn meter(State(control): State<Control>) -> Response {
    let Some(meter) = &control.meter else {
        return json_response(StatusCode::NOT_FOUND, &json!({ "message": "nothing is counted here" }));
    };
    let mut figures = json!(meter.figures());
    figures["stream"] = json!(meter.figures_behind());
    figures["kms"] = json!(control.kms.calls());
    Json(figures).into_response()
}

async fn reset_meter(State(control): State<Control>) -> StatusCode {
    if let Some(meter) = &control.meter {
        meter.reset();
    }
    control.kms.forget_calls();
    StatusCode::NO_CONTENT
}

async fn permissions(State(control): State<Control>) -> Json<Value> {
    Json(json!(control.guard.permissions()))
}

async fn processes(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "processes": control.lambda.processes() }))
}

async fn kill(State(control): State<Control>, query: RawQuery) -> Response {
    match control.lambda.kill(&parameter(&query, "function")) {
        Some(killed) => Json(json!({ "killed": killed })).into_response(),
        None => no_such_function(),
    }
}

/// Invokes a function with the body as its event, as `aws lambda invoke` does.
async fn invoke(State(control): State<Control>, query: RawQuery, event: Bytes) -> Response {
    match control.lambda.invoke(&parameter(&query, "function"), event.to_vec()).await {
        Ok(answer) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(failure @ Failure::Throttled) => {
            json_response(StatusCode::TOO_MANY_REQUESTS, &json!({ "message": failure.to_string() }))
        }
        Err(failure) => json_response(StatusCode::BAD_GATEWAY, &json!({ "message": failure.to_string() })),
    }
}

/// `name=WebhookSecret`: the body becomes the current version of the secret, or a random text where there is none, as
/// `aws secretsmanager put-secret-value` does.
async fn put_secret(State(control): State<Control>, query: RawQuery, text: String) -> Response {
    let name = parameter(&query, "name");
    if name.is_empty() {
        return problem("name is the name of a secret");
    }
    let arn = secret_arn(&name);
    let kept = if text.is_empty() { control.secrets.rotate(&arn) } else { control.secrets.put(&arn, &text) };
    match kept {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => problem(&format!("the secret is not kept: {error}")),
    }
}

/// How many records of the table's stream wait for their function.
async fn stream(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "waiting": control.stream.waiting().await }))
}

/// `fault=repeat&batches=1`: this happens to the next batches.
async fn order_stream(State(control): State<Control>, query: RawQuery) -> Response {
    let Ok(batches) = parameter(&query, "batches").parse() else { return problem("batches is a number") };
    match control.stream.order(&parameter(&query, "fault"), batches) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(names) => problem(&format!("fault is one of {}", names.join(", "))),
    }
}

/// `service=table&fault=throttled&calls=20`: the next calls of the service go wrong in this way, of all functions but those that
/// read the table's stream; `&of=stream`: of those.
async fn fault(State(control): State<Control>, query: RawQuery) -> Response {
    let Some(faults) = &control.faults else {
        return json_response(StatusCode::NOT_FOUND, &json!({ "message": "nothing goes wrong here" }));
    };
    let service = parameter(&query, "service");
    let Some(service) = Service::ALL.into_iter().find(|known| known.name() == service) else {
        return problem(&format!("service is one of {}", Service::ALL.map(Service::name).join(", ")));
    };
    let Ok(calls) = parameter(&query, "calls").parse() else { return problem("calls is a number") };
    let behind = parameter(&query, "of") == "stream";
    match faults.order(service, &parameter(&query, "fault"), calls, behind) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(names) => problem(&format!("fault is one of {}", names.join(", "))),
    }
}

/// `function=receive-webhook&reserved=0`, as `aws lambda put-function-concurrency` does.
async fn reserve(State(control): State<Control>, query: RawQuery) -> Response {
    match parameter(&query, "reserved").parse() {
        Ok(reserved) => set_concurrency(&control, &query, Some(reserved)),
        Err(_) => problem("reserved is a number"),
    }
}

/// `function=receive-webhook`, as `aws lambda delete-function-concurrency` does.
async fn unreserve(State(control): State<Control>, query: RawQuery) -> Response {
    set_concurrency(&control, &query, None)
}

fn set_concurrency(control: &Control, query: &RawQuery, reserved: Option<usize>) -> Response {
    match control.lambda.reserve(&parameter(query, "function"), reserved) {
        Some(()) => StatusCode::NO_CONTENT.into_response(),
        None => no_such_function(),
    }
}

async fn alarms(State(control): State<Control>) -> Response {
    Json(BTreeMap::from([("alarms", control.cloudwatch.alarms())])).into_response()
}

/// `advance=300`: the alarms as they stand when so many seconds have passed, of which nothing but the metrics knows.
async fn advance(State(control): State<Control>, query: RawQuery) -> Response {
    let Ok(secs) = parameter(&query, "advance").parse() else { return problem("advance is a number of seconds") };
    control.cloudwatch.advance(Duration::from_secs(secs));
    alarms(State(control)).await
}

async fn metrics(State(control): State<Control>) -> Response {
    Json(BTreeMap::from([("metrics", control.cloudwatch.metrics())])).into_response()
}

async fn endpoints(State(control): State<Control>) -> Json<Value> {
    Json(json!(control.endpoints))
}
