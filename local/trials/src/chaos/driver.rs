//! Asks the running system as people, the provider and its own tools do.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use client::{Addresses, Call, Client, call::aws};
use serde_json::{Value, json};
use system::start::Running;

/// Longer than any answer takes, waiting for a free process included.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// A system under test.
#[derive(Debug)]
pub(super) struct Driver {
    client: Client,
    at: Addresses,
    dynamodb: String,
    table: String,
    /// The webhook's global token.
    webhook_token: String,
    /// Tokens of people by organization and role.
    tokens: Mutex<BTreeMap<(String, &'static str), String>>,
}

/// Status and body; status 0 where there was no answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Driver {
    pub(super) async fn new(running: &Running) -> Self {
        let mut driver = Self {
            client: Client::default(),
            at: running.addresses(),
            dynamodb: running.dynamodb.clone(),
            table: running.table.clone(),
            webhook_token: String::new(),
            tokens: Mutex::default(),
        };
        let invoke = driver.at.local("POST", "invoke?function=issue-webhook-token");
        let answer = driver.call(&invoke.body(json!({ "for": "service" }).to_string())).await;
        answer.json["token"].as_str().unwrap_or_default().clone_into(&mut driver.webhook_token);
        driver
    }

    async fn call(&self, call: &Call) -> Answer {
        let answer = self.client.call(call, TIME_LIMIT).await;
        match answer {
            Ok(answer) => {
                let text = String::from_utf8_lossy(answer.body()).into_owned();
                let json = serde_json::from_str(&text).unwrap_or_default();
                Answer { status: answer.status().as_u16(), text, json }
            }
            Err(error) => Answer { status: 0, text: error.to_string(), json: Value::Null },
        }
    }

    async fn token(&self, organization: &str, role: &'static str) -> String {
        let name = (organization.to_owned(), role);
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(token) = known {
            return token;
        }
        let answer = self.call(&self.at.token(&format!("organization={organization}&user={role}-1&role={role}"))).await;
        let token = answer.json["token"].as_str().unwrap_or_default().to_owned();
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(name, token.clone());
        token
    }

    /// A call of the API by a person (or program) of an organization; a null body is none.
    pub(super) async fn api(
        &self,
        (organization, role): (&str, &'static str),
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Answer {
        let token = self.token(organization, role).await;
        let mut call = self.at.operation(method, &format!("/api/v1/{path}"), &token, body);
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
        self.call(&call).await
    }

    /// A delivery; `authorization` is an account's own, or the global one.
    pub(super) async fn deliver(&self, authorization: Option<&str>, body: Bytes) -> u16 {
        let global = format!("Bearer {}", self.webhook_token);
        self.call(&self.at.delivery(authorization.unwrap_or(&global), body)).await.status
    }

    /// What the account's key has registered: the `Authorization` header of its deliveries.
    pub(super) async fn registered(&self, api_key: &str) -> Option<String> {
        let answer = self.call(&self.at.registration(api_key)).await;
        answer.json["headers"]["Authorization"].as_str().map(str::to_owned)
    }

    /// A control of the simulator.
    pub(super) async fn simulate(&self, control: &str, body: &Value) -> Value {
        self.call(&self.at.simulate(control, body)).await.json
    }

    /// What the simulator accepted, without the first so many.
    pub(super) async fn sent(&self, from: usize) -> Vec<Value> {
        let answer = self.call(&self.at.sent(from)).await;
        answer.json["sent"].as_array().cloned().unwrap_or_default()
    }

    /// Kills all processes of a function; how many that were.
    pub(super) async fn kill(&self, function: &str) -> u64 {
        let kill = self.at.local("POST", &format!("kill?function={function}"));
        self.call(&kill).await.json["killed"].as_u64().unwrap_or_default()
    }

    /// This happens to the next batch of the table's stream.
    pub(super) async fn order_of_the_stream(&self, fault: &str) {
        self.call(&self.at.local("POST", &format!("stream?fault={fault}&batches=1"))).await;
    }

    /// How many records of the table's stream wait for their function.
    pub(super) async fn untold(&self) -> u64 {
        self.call(&self.at.local("GET", "stream")).await.json["waiting"].as_u64().unwrap_or(u64::MAX)
    }

    /// Everything that was put into quarantine on a day: reason and bytes.
    pub(super) async fn quarantine(&self, day: &str) -> Vec<(String, Vec<u8>)> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = self.items(&format!("QUARANTINE#{day}#PARTITIONS")).await;
        let mut partitions = vec![format!("QUARANTINE#{day}")];
        partitions.extend(names.iter().map(|name| text(&name["sk"]["S"])));
        let mut kept = Vec::new();
        for partition in partitions {
            for item in self.items(&partition).await {
                let raw = STANDARD.decode(item["raw"]["B"].as_str().unwrap_or_default()).unwrap_or_default();
                kept.push((text(&item["reason"]["S"]), raw));
            }
        }
        kept
    }

    /// The items of a partition of the table.
    async fn items(&self, partition: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut start = Value::Null;
        loop {
            let mut query = json!({
                "TableName": self.table, "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": { ":pk": { "S": partition } },
            });
            if !start.is_null() {
                query["ExclusiveStartKey"] = start;
            }
            let url = format!("{}/", self.dynamodb);
            let mut answer = self.call(&aws("local", &url, "DynamoDB_20120810.Query", &query)).await.json;
            if let Value::Array(found) = answer["Items"].take() {
                items.extend(found);
            }
            start = answer["LastEvaluatedKey"].take();
            if start.is_null() {
                return items;
            }
        }
    }
}
