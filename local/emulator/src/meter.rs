//! Counts what functions ask of `DynamoDB` and what it costs: a pass-through that asks for the consumed capacity of every call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    forward::{BODY_LIMIT_BYTES, Forward, operation},
    iam::caller,
};

/// The pass-through and its figures.
#[derive(Debug, Clone)]
pub struct Meter {
    forward: Forward,
    /// Functions that work behind the others: what they ask is counted apart.
    behind: Arc<BTreeSet<String>>,
    figures: Arc<Mutex<Figures>>,
    figures_behind: Arc<Mutex<Figures>>,
}

/// What was asked, and what it cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Calls, those that were refused included.
    pub requests: u64,
    /// Calls by operation.
    pub by_operation: BTreeMap<String, u64>,
    /// Consumed by successful writes, indexes included.
    pub write_units: f64,
    /// Consumed by reads.
    pub read_units: f64,
    /// Writes whose condition did not hold; `DynamoDB` charges for them too, and reports no units.
    pub failed_conditions: u64,
    /// Other calls that were refused.
    pub errors: u64,
}

impl Meter {
    /// A meter in front of the engine at `endpoint`; the functions that read the table's stream are `behind` the others.
    #[must_use]
    pub fn new(endpoint: String, behind: BTreeSet<String>) -> Self {
        let (figures, figures_behind) = Default::default();
        Self { forward: Forward::new(endpoint), behind: Arc::new(behind), figures, figures_behind }
    }

    /// What the functions' SDK talks to.
    pub fn router(&self) -> Router {
        Router::new().fallback(pass).layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES)).with_state(self.clone())
    }

    /// The figures since the start, or since [`Meter::reset`].
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The figures of the functions behind the others.
    #[must_use]
    pub fn figures_behind(&self) -> Figures {
        self.figures_behind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        *self.figures_behind.lock().unwrap_or_else(PoisonError::into_inner) = Figures::default();
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Figures::default();
    }
}

impl Figures {
    fn add(&mut self, operation: &str, status: StatusCode, answer: &Value) {
        self.requests += 1;
        *self.by_operation.entry(operation.to_owned()).or_default() += 1;
        if !status.is_success() {
            let kind = answer["__type"].as_str().unwrap_or_default();
            if kind.ends_with("ConditionalCheckFailedException") || kind.ends_with("TransactionCanceledException") {
                self.failed_conditions += 1;
            } else {
                self.errors += 1;
            }
            return;
        }
        let consumed = match &answer["ConsumedCapacity"] {
            Value::Array(tables) => tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum(),
            table => table["CapacityUnits"].as_f64().unwrap_or_default(),
        };
        // The statements of one call succeed or fail each for itself.
        for error in answer["Responses"].as_array().into_iter().flatten().filter_map(|response| response.get("Error")) {
            match error["Code"].as_str() {
                Some("DuplicateItem" | "ConditionalCheckFailed") => self.failed_conditions += 1,
                _ => self.errors += 1,
            }
        }
        let writes = ["PutItem", "UpdateItem", "DeleteItem", "BatchExecuteStatement"];
        if operation.contains("Write") || writes.contains(&operation) {
            self.write_units += consumed;
        } else {
            self.read_units += consumed;
        }
    }
}

async fn pass(State(meter): State<Meter>, headers: HeaderMap, body: Bytes) -> Response {
    let operation = operation(&headers);
    let body = match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(mut request) if reports_capacity(operation) => {
            request.insert("ReturnConsumedCapacity".to_owned(), "INDEXES".into());
            Bytes::from(Value::Object(request).to_string())
        }
        _ => body,
    };
    let answer = meter.forward.send(&headers, body).await;
    let parsed = serde_json::from_slice(&answer.2).unwrap_or_default();
    let is_behind = caller(&headers).is_some_and(|caller| meter.behind.contains(caller));
    let figures = if is_behind { &meter.figures_behind } else { &meter.figures };
    figures.lock().unwrap_or_else(PoisonError::into_inner).add(operation, answer.0, &parsed);
    answer.into_response()
}

/// Operations on items report what they consumed; those on tables do not know the field.
fn reports_capacity(operation: &str) -> bool {
    operation.contains("Item") || ["Query", "Scan", "BatchExecuteStatement"].contains(&operation)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn units_are_summed_by_kind() {
        let mut figures = Figures::default();

        figures.add("PutItem", StatusCode::OK, &json!({ "ConsumedCapacity": { "CapacityUnits": 2.0 } }));
        figures.add("Query", StatusCode::OK, &json!({ "ConsumedCapacity": { "CapacityUnits": 0.5 } }));
        let tables = json!({ "ConsumedCapacity": [{ "CapacityUnits": 4.0 }, { "CapacityUnits": 2.0 }] });
        figures.add("TransactWriteItems", StatusCode::OK, &tables);
        let refused = json!({ "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException" });
        figures.add("PutItem", StatusCode::BAD_REQUEST, &refused);

        let batch = json!({
            "Responses": [{ "TableName": "t" }, { "Error": { "Code": "DuplicateItem" } }, { "Error": { "Code": "ThrottlingError" } }],
            "ConsumedCapacity": [{ "CapacityUnits": 1.0 }],
        });
        figures.add("BatchExecuteStatement", StatusCode::OK, &batch);

        assert_eq!(figures.requests, 5);
        assert_eq!(figures.by_operation["PutItem"], 2);
        assert!((figures.write_units - 9.0).abs() < f64::EPSILON);
        assert!((figures.read_units - 0.5).abs() < f64::EPSILON);
        assert_eq!((figures.failed_conditions, figures.errors), (2, 1));
    }
}
