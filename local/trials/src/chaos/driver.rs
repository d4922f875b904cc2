//! Asks the running system as people, the provider and its own tools do.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{body::Bytes, http::Request};
use client::Client;
use serde_json::{Value, json};
use system::start::Running;

/// Longer than any answer takes, waiting for a free process included.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// A system under test.
#[derive(Debug)]
pub(super) struct Driver {
    client: Client,
    api: String,
    webhook: String,
    provider: String,
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
            api: running.api.clone(),
            webhook: running.webhook.clone(),
            provider: running.provider.clone(),
            dynamodb: running.dynamodb.clone(),
            table: running.table.clone(),
            webhook_token: String::new(),
            tokens: Mutex::default(),
        };
        let url = format!("{}/local/invoke?function=issue-webhook-token", driver.api);
        let answer = driver.request("POST", &url, &[], json!({ "for": "service" }).to_string().into()).await;
        answer.json["token"].as_str().unwrap_or_default().clone_into(&mut driver.webhook_token);
        driver
    }

    async fn request(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let nothing = |problem: String| Answer { status: 0, text: problem, json: Value::Null };
        let answer = match request.body(body) {
            Ok(request) => self.client.send(request, TIME_LIMIT).await,
            Err(error) => return nothing(error.to_string()),
        };
        match answer {
            Ok(answer) => {
                let text = String::from_utf8_lossy(answer.body()).into_owned();
                let json = serde_json::from_str(&text).unwrap_or_default();
                Answer { status: answer.status().as_u16(), text, json }
            }
            Err(error) => nothing(error.to_string()),
        }
    }

    async fn token(&self, organization: &str, role: &'static str) -> String {
        let name = (organization.to_owned(), role);
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(token) = known {
            return token;
        }
        let url = format!("{}/local/token?organization={organization}&user={role}-1&role={role}", self.api);
        let answer = self.request("GET", &url, &[], Bytes::new()).await;
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
        let authorization = format!("Bearer {}", self.token(organization, role).await);
        let mut headers = vec![("authorization", authorization.as_str())];
        let body = if body.is_null() {
            Bytes::new()
        } else {
            headers.push(("content-type", "application/json"));
            body.to_string().into()
        };
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.request(method, &format!("{}/api/v1/{path}", self.api), &headers, body).await
    }

    /// A delivery; `authorization` is an account's own, or the global one.
    pub(super) async fn deliver(&self, authorization: Option<&str>, body: Bytes) -> u16 {
        let global = format!("Bearer {}", self.webhook_token);
        let headers = [("authorization", authorization.unwrap_or(&global)), ("content-type", "application/json")];
        self.request("POST", &self.webhook, &headers, body).await.status
    }

    /// What the account's key has registered: the `Authorization` header of its deliveries.
    pub(super) async fn registered(&self, api_key: &str) -> Option<String> {
        let url = format!("{}/v1/configs/webhook", self.provider);
        let answer = self.request("GET", &url, &[("d360-api-key", api_key)], Bytes::new()).await;
        answer.json["headers"]["Authorization"].as_str().map(str::to_owned)
    }

    /// A control of the simulator.
    pub(super) async fn simulate(&self, control: &str, body: &Value) -> Value {
        let url = format!("{}/simulate/{control}", self.provider);
        self.request("POST", &url, &[], body.to_string().into()).await.json
    }

    /// What the simulator accepted, without the first so many.
    pub(super) async fn sent(&self, from: usize) -> Vec<Value> {
        let url = format!("{}/simulate/sent?from={from}", self.provider);
        let answer = self.request("GET", &url, &[], Bytes::new()).await;
        answer.json["sent"].as_array().cloned().unwrap_or_default()
    }

    /// Kills all processes of a function; how many that were.
    pub(super) async fn kill(&self, function: &str) -> u64 {
        let url = format!("{}/local/kill?function={function}", self.api);
        self.request("POST", &url, &[], Bytes::new()).await.json["killed"].as_u64().unwrap_or_default()
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
            let headers = [
                ("x-amz-target", "DynamoDB_20120810.Query"),
                ("content-type", "application/x-amz-json-1.0"),
                ("x-amz-date", "20261123T100000Z"),
                (
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=local/20261123/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00",
                ),
            ];
            let url = format!("{}/", self.dynamodb);
            let mut answer = self.request("POST", &url, &headers, query.to_string().into()).await.json;
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
