//! Stands between the functions and an AWS service, and lets calls go wrong as they do in the cloud: refused, lost on the way
//! there, lost on the way back after they took effect, late.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    arn::table_arn,
    cloudwatch::CloudWatch,
    connection::cut,
    event::json_response,
    forward::{BODY_LIMIT_BYTES, operation},
    iam::{Service, acts_on_the_table, caller},
};

/// Longer than the functions wait for one attempt of a call (1.5 s).
const TOO_LONG: Duration = Duration::from_millis(1700);
/// The longest that a slow call takes, in milliseconds: noticeable, and no time-out.
const SLOW_MS: u64 = 250;

/// What goes wrong, of which calls and how often; clones share everything.
#[derive(Debug, Clone)]
pub struct Faults {
    state: Arc<Mutex<Plan>>,
    /// Functions that read the table's stream: what is ordered for the others does not happen to them.
    behind: Arc<OnceLock<BTreeSet<String>>>,
    under_way: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Plan {
    random: fastrand::Rng,
    per_mille: u32,
    /// How many of the next calls go wrong in this way; `true`: of the functions behind the others.
    ordered: BTreeMap<(Service, Fault, bool), u64>,
    injected: BTreeMap<String, u64>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Refused: too many calls.
    Throttled,
    /// Answered with 500; nothing was done.
    Error,
    /// Answered with 500 after it took effect.
    ErrorAfter,
    /// The connection breaks before it arrives.
    Broken,
    /// The connection breaks after it took effect.
    BrokenAfter,
    /// No answer in time; nothing was done.
    TimedOut,
    /// No answer in time; it took effect.
    TimedOutAfter,
    /// It takes effect when nobody waits for it any more, and after its own repetition.
    Late,
    /// It takes a while.
    Slow,
    /// Another transaction is under way on the item.
    Conflict,
    /// The answer is a part of the page: as where 1 MB was read.
    ShortPage,
    /// One statement of a batch is refused, the others are done.
    PartOfABatch,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Error => "error",
            Self::ErrorAfter => "error_after",
            Self::Broken => "broken",
            Self::BrokenAfter => "broken_after",
            Self::TimedOut => "timeout",
            Self::TimedOutAfter => "timeout_after",
            Self::Late => "late",
            Self::Slow => "slow",
            Self::Conflict => "conflict",
            Self::ShortPage => "short_page",
            Self::PartOfABatch => "part_of_a_batch",
        }
    }

    /// How often each is chosen, beside the others. What makes a function wait is rarer.
    fn weights(service: Service) -> &'static [(Self, u32)] {
        match service {
            Service::DynamoDb => &[
                (Self::Throttled, 6),
                (Self::Error, 4),
                (Self::ErrorAfter, 6),
                (Self::Broken, 3),
                (Self::BrokenAfter, 6),
                (Self::TimedOut, 1),
                (Self::TimedOutAfter, 1),
                (Self::Late, 1),
                (Self::Slow, 4),
                (Self::Conflict, 4),
                (Self::ShortPage, 12),
                (Self::PartOfABatch, 12),
            ],
            Service::Kms | Service::SecretsManager => &[
                (Self::Throttled, 4),
                (Self::Error, 4),
                (Self::Broken, 3),
                (Self::BrokenAfter, 3),
                (Self::TimedOut, 1),
                (Self::Slow, 4),
            ],
        }
    }

    /// Whether it can happen to this call.
    fn applies(self, operation: &str, request: &Map<String, Value>) -> bool {
        match self {
            Self::Conflict => matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems"),
            Self::ShortPage => {
                operation == "Query" && request.get("Limit").and_then(Value::as_u64).is_some_and(|limit| limit > 1)
            }
            // A claim on an account that is made when nobody wants it any more would stand until somebody notices.
            Self::Late => {
                matches!(operation, "PutItem" | "UpdateItem" | "BatchExecuteStatement") && !is_of_an_account(request)
            }
            Self::PartOfABatch => operation == "BatchExecuteStatement",
            _ => true,
        }
    }
}

fn is_of_an_account(request: &Map<String, Value>) -> bool {
    let key = request.get("Item").or(request.get("Key"));
    key.and_then(|key| key["pk"]["S"].as_str()).is_some_and(|pk| pk.starts_with("ACCOUNT#"))
}

fn every_name() -> impl Iterator<Item = String> {
    Service::ALL.into_iter().flat_map(|service| {
        Fault::weights(service).iter().map(move |(fault, _)| format!("{}: {}", service.name(), fault.name()))
    })
}

impl Faults {
    /// Nothing goes wrong until a rate is set, or something is ordered.
    #[must_use]
    pub fn new() -> Self {
        let injected = every_name().map(|name| (name, 0)).collect();
        let plan = Plan { random: fastrand::Rng::with_seed(0), per_mille: 0, ordered: BTreeMap::new(), injected };
        Self { state: Arc::new(Mutex::new(plan)), behind: Arc::default(), under_way: Arc::default() }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, so many calls of a thousand go wrong; which ones, the seed says.
    pub fn set(&self, per_mille: u32, seed: u64) {
        let mut plan = self.plan();
        plan.random = fastrand::Rng::with_seed(seed);
        plan.per_mille = per_mille;
    }

    /// Nothing goes wrong any more.
    pub fn off(&self) {
        self.plan().per_mille = 0;
    }

    /// The next `calls` calls of a service to which this can happen go wrong in this way; 0 takes an earlier order back. Those of
    /// the functions that read the table's stream are not among them, or the only ones: `behind`.
    ///
    /// # Errors
    /// When the service has no fault of this name: the names that it has.
    pub fn order(&self, service: Service, name: &str, calls: u64, behind: bool) -> Result<(), Vec<&'static str>> {
        let faults = Fault::weights(service).iter().map(|(fault, _)| *fault);
        let Some(fault) = faults.clone().find(|fault| fault.name() == name) else {
            return Err(faults.map(Fault::name).collect());
        };
        self.plan().ordered.insert((service, fault, behind), calls);
        Ok(())
    }

    /// These functions read the table's stream.
    pub fn set_behind(&self, functions: BTreeSet<String>) {
        self.behind.get_or_init(|| functions);
    }

    /// How often each fault was injected, also those that never were.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<String, u64> {
        self.plan().injected.clone()
    }

    /// Calls that have not taken effect yet, whoever has given up waiting for them.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// The service, with its faults before it; refused calls of the table move the metrics of `cloudwatch`.
    pub fn before(&self, service: Service, router: Router, cloudwatch: &CloudWatch) -> Router {
        router.layer(middleware::from_fn_with_state((self.clone(), service, cloudwatch.clone()), pass))
    }

    fn is_off(&self) -> bool {
        let plan = self.plan();
        plan.per_mille == 0 && plan.ordered.values().all(|calls| *calls == 0)
    }

    fn draw(
        &self,
        service: Service,
        operation: &str,
        request: &Map<String, Value>,
        behind: bool,
    ) -> Option<(Fault, u64)> {
        let mut plan = self.plan();
        let fault = plan
            .ordered(service, operation, request, behind)
            .or_else(|| plan.by_chance(service, operation, request))?;
        let number = plan.random.u64(..);
        *plan.injected.entry(format!("{}: {}", service.name(), fault.name())).or_default() += 1;
        Some((fault, number))
    }
}

impl Plan {
    fn ordered(
        &mut self,
        service: Service,
        operation: &str,
        request: &Map<String, Value>,
        behind: bool,
    ) -> Option<Fault> {
        let mut orders = self.ordered.iter_mut();
        let ((_, fault, _), calls) = orders.find(|((of, fault, of_behind), calls)| {
            *of == service && *of_behind == behind && **calls > 0 && fault.applies(operation, request)
        })?;
        *calls -= 1;
        Some(*fault)
    }

    fn by_chance(&mut self, service: Service, operation: &str, request: &Map<String, Value>) -> Option<Fault> {
        if self.random.u32(0..1000) >= self.per_mille {
            return None;
        }
        let possible = Fault::weights(service).iter().filter(|(fault, _)| fault.applies(operation, request));
        let possible: Vec<_> = possible.copied().collect();
        let mut drawn = self.random.u32(0..possible.iter().map(|(_, weight)| weight).sum());
        let (fault, _) = possible.into_iter().find(|(_, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        })?;
        Some(fault)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

/// A call on its way to the service.
struct Call {
    service: Next,
    parts: Parts,
    body: Bytes,
    under_way: Arc<AtomicUsize>,
}

impl Call {
    /// The service's answer. The call goes on when whoever made it goes away: a service does not notice that either.
    async fn answer(self, after: Duration) -> Response {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let call = tokio::spawn(async move {
            // Even a sleep of no time takes up to a millisecond.
            if !after.is_zero() {
                sleep(after).await;
            }
            let answer = self.service.run(Request::from_parts(self.parts, Body::from(self.body))).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            answer
        });
        call.await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
    }
}

async fn pass(
    State((faults, service, cloudwatch)): State<(Faults, Service, CloudWatch)>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let mut call = Call { service: next, parts, body, under_way: Arc::clone(&faults.under_way) };
    if faults.is_off() {
        return call.answer(Duration::ZERO).await;
    }
    let mut request: Map<String, Value> = serde_json::from_slice(&call.body).unwrap_or_default();
    let operation = operation(&call.parts.headers);
    let behind = faults.behind.get().zip(caller(&call.parts.headers)).is_some_and(|(behind, of)| behind.contains(of));
    let Some((fault, number)) = faults.draw(service, operation, &request, behind) else {
        return call.answer(Duration::ZERO).await;
    };
    match fault {
        Fault::Throttled => {
            if service == Service::DynamoDb {
                count_throttled(operation, request, &cloudwatch);
            }
            refused(throttled(service, number))
        }
        Fault::Error => server_error(),
        Fault::ErrorAfter => {
            call.answer(Duration::ZERO).await;
            server_error()
        }
        Fault::Broken => cut(),
        Fault::BrokenAfter => {
            call.answer(Duration::ZERO).await;
            cut()
        }
        Fault::TimedOut => {
            sleep(TOO_LONG).await;
            cut()
        }
        Fault::TimedOutAfter => {
            call.answer(Duration::ZERO).await;
            sleep(TOO_LONG).await;
            cut()
        }
        Fault::Late => {
            call.answer(TOO_LONG).await;
            cut()
        }
        Fault::Slow => call.answer(Duration::from_millis(number % SLOW_MS)).await,
        Fault::Conflict => conflict(&request, number),
        Fault::PartOfABatch => {
            let left_out = leave_out(&mut request, number);
            let rest = request.get("Statements").and_then(Value::as_array).is_some_and(|rest| !rest.is_empty());
            call.body = Value::Object(request).to_string().into();
            let answer = if rest {
                call.answer(Duration::ZERO).await
            } else {
                json_response(StatusCode::OK, &json!({ "Responses": [] }))
            };
            with_refused(answer, left_out).await
        }
        Fault::ShortPage => {
            let limit = request.get("Limit").and_then(Value::as_u64).unwrap_or(1);
            request.insert("Limit".to_owned(), (1 + number % limit.saturating_sub(1).max(1)).into());
            call.body = Value::Object(request).to_string().into();
            call.answer(Duration::ZERO).await
        }
    }
}

/// Takes a statement out of a batch; where it stood.
fn leave_out(request: &mut Map<String, Value>, number: u64) -> usize {
    let Some(statements) = request.get_mut("Statements").and_then(Value::as_array_mut) else { return 0 };
    let left_out = usize::try_from(number).unwrap_or(0) % statements.len().max(1);
    if left_out < statements.len() {
        statements.remove(left_out);
    }
    left_out
}

/// The answer to the other statements, and what is said about the one that was left out.
async fn with_refused(answer: Response, left_out: usize) -> Response {
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, BODY_LIMIT_BYTES).await.unwrap_or_default();
    let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    match answer["Responses"].as_array_mut() {
        Some(responses) if left_out <= responses.len() => {
            let error = json!({ "Code": "ThrottlingError", "Message": "Rate exceeded, slow down." });
            responses.insert(left_out, json!({ "Error": error }));
            json_response(StatusCode::OK, &answer)
        }
        _ => Response::from_parts(parts, Body::from(body)),
    }
}

/// A call is one event for each table or index that it reads or writes: what is of an index is not counted for its table.
fn count_throttled(operation: &str, request: Map<String, Value>, cloudwatch: &CloudWatch) {
    for act in acts_on_the_table(operation, &Value::Object(request), false) {
        let of_a_table = act.resource.strip_prefix(&table_arn("")).unwrap_or_default();
        let (table, index) = of_a_table.split_once("/index/").unzip();
        let mut dimensions = vec![("TableName", table.unwrap_or(of_a_table))];
        dimensions.extend(index.map(|index| ("GlobalSecondaryIndexName", index)));
        let reads = ["Get", "Query", "Scan"].iter().any(|word| act.action.contains(word));
        let metric = if reads { "ReadThrottleEvents" } else { "WriteThrottleEvents" };
        cloudwatch.put("AWS/DynamoDB", metric, &dimensions, 1.0);
    }
}

fn refused(kind: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "__type": kind, "message": "Rate exceeded, slow down." }))
}

fn throttled(service: Service, number: u64) -> &'static str {
    match (service, number % 2) {
        (Service::DynamoDb, 0) => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        _ => "com.amazon.coral.availability#ThrottlingException",
    }
}

fn server_error() -> Response {
    let body =
        json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "Internal server error" });
    json_response(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

fn conflict(request: &Map<String, Value>, number: u64) -> Response {
    const PREFIX: &str = "com.amazonaws.dynamodb.v20120810#";
    let body = match request.get("TransactItems").and_then(Value::as_array) {
        None => json!({
            "__type": format!("{PREFIX}TransactionConflictException"), "message": "Transaction is ongoing for the item",
        }),
        Some(writes) => {
            let mut reasons = vec![json!({ "Code": "None" }); writes.len()];
            if let Some(reason) = usize::try_from(number).ok().and_then(|number| reasons.get_mut(number % writes.len()))
            {
                *reason = json!({ "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" });
            }
            json!({
                "__type": format!("{PREFIX}TransactionCanceledException"),
                "message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
                "CancellationReasons": reasons,
            })
        }
    };
    json_response(StatusCode::BAD_REQUEST, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn nothing_goes_wrong_until_a_rate_is_set() {
        let faults = Faults::new();

        assert_eq!(faults.draw(Service::DynamoDb, "PutItem", &Map::new(), false), None);
        faults.set(1000, 1);
        assert!(faults.draw(Service::DynamoDb, "PutItem", &Map::new(), false).is_some());
        faults.off();
        assert_eq!(faults.draw(Service::DynamoDb, "PutItem", &Map::new(), false), None);
        assert_eq!(faults.injected().values().sum::<u64>(), 1);
    }

    #[test]
    fn so_many_calls_go_wrong_as_were_ordered() {
        let faults = Faults::new();
        let draw = |operation| faults.draw(Service::DynamoDb, operation, &Map::new(), false).map(|(fault, _)| fault);
        assert!(faults.order(Service::Kms, "conflict", 1, false).is_err_and(|names| names.contains(&"throttled")));

        faults.order(Service::DynamoDb, "conflict", 2, false).unwrap();

        assert_eq!(draw("GetItem"), None, "it cannot happen to this one");
        assert_eq!(faults.draw(Service::Kms, "PutItem", &Map::new(), false), None);
        assert_eq!(
            [draw("PutItem"), draw("PutItem"), draw("PutItem")],
            [Some(Fault::Conflict), Some(Fault::Conflict), None]
        );
        assert!(faults.is_off());
        faults.order(Service::DynamoDb, "error", 5, false).unwrap();
        faults.order(Service::DynamoDb, "error", 0, false).unwrap();
        assert!(faults.is_off());
    }

    #[test]
    fn refused_call_counts_for_each_table_and_index() {
        let cloudwatch = CloudWatch::for_two_minutes(Vec::new());
        let calls = [
            ("PutItem", json!({ "TableName": "t" })),
            ("Query", json!({ "TableName": "t", "IndexName": "inbox" })),
            (
                "TransactWriteItems",
                json!({ "TransactItems": [{ "Put": { "TableName": "t" } }, { "Delete": { "TableName": "t" } }] }),
            ),
        ];

        for (operation, call) in calls {
            count_throttled(operation, request(&call), &cloudwatch);
        }

        let inbox = json!({ "TableName": "t", "GlobalSecondaryIndexName": "inbox" });
        let expected = json!([
            { "namespace": "AWS/DynamoDB", "name": "ReadThrottleEvents", "dimensions": inbox, "count": 1, "sum": 1.0 },
            { "namespace": "AWS/DynamoDB", "name": "WriteThrottleEvents", "dimensions": { "TableName": "t" }, "count": 3, "sum": 3.0 },
        ]);
        assert_eq!(json!(cloudwatch.metrics()), expected);
    }

    #[test]
    fn a_seed_draws_the_same_faults_again() {
        let faults = Faults::new();
        let draw = |seed| {
            faults.set(300, seed);
            (0..50).map(|_| faults.draw(Service::DynamoDb, "UpdateItem", &Map::new(), false)).collect::<Vec<_>>()
        };

        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_fault_happens_only_where_it_can() {
        let page = request(&json!({ "Limit": 5 }));
        assert!(Fault::ShortPage.applies("Query", &page));
        assert!(!Fault::ShortPage.applies("Query", &Map::new()) && !Fault::ShortPage.applies("GetItem", &page));
        assert!(!Fault::Conflict.applies("GetItem", &Map::new()));
        assert!(Fault::PartOfABatch.applies("BatchExecuteStatement", &Map::new()));
        assert!(!Fault::PartOfABatch.applies("TransactWriteItems", &Map::new()));
        let claim = request(&json!({ "Item": { "pk": { "S": "ACCOUNT#whatsapp#1" } } }));
        assert!(!Fault::Late.applies("PutItem", &claim) && Fault::Late.applies("PutItem", &Map::new()));
    }
}
