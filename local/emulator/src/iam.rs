//! What each function may do, by its policies in the template, and refused otherwise, as IAM does.
//!
//! A function's access key is its name: every signed call tells by it whose it is.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{
        HeaderMap, Request, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    arn::{ACCOUNT_ID, REGION, key_arn, table_arn},
    forward::BODY_LIMIT_BYTES,
};

const VIA_SERVICE: &str = "kms:ViaService";
const CONTEXT_KEYS: &str = "kms:EncryptionContextKeys";
const CONTEXT: &str = "kms:EncryptionContext:";

/// A statement with effect `Allow`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// `dynamodb:PutItem`; no wildcards.
    pub actions: Vec<String>,
    /// ARNs; no wildcards.
    pub resources: Vec<String>,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
}

/// A condition on one key of a request's context.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `Null`: whether the key is absent.
    Absent(String, bool),
    /// `StringEquals`: the key is there, with one of these values.
    Equals(String, Vec<String>),
    /// `ForAllValues:StringEquals`: the key has no other values than these.
    OnlyThese(String, Vec<String>),
}

/// One thing that a call does; some calls do several.
#[derive(Debug, PartialEq)]
pub(crate) struct Act {
    pub(crate) action: String,
    pub(crate) resource: String,
    context: BTreeMap<String, Vec<String>>,
}

/// An action on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Permission {
    /// `dynamodb:PutItem`
    pub action: String,
    /// An ARN.
    pub resource: String,
}

/// What a function was granted, and what it made of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Permissions {
    /// Granted, and never used since the start.
    pub unused: BTreeSet<Permission>,
    /// Used at least once.
    pub used: BTreeSet<Permission>,
    /// Tried, and not granted.
    pub denied: BTreeSet<Permission>,
}

/// The emulated service that a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The table's.
    DynamoDb,
    /// The key's.
    Kms,
    /// The secrets'.
    SecretsManager,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DynamoDb, Self::Kms, Self::SecretsManager];

    /// What it keeps, in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "table",
            Self::Kms => "kms",
            Self::SecretsManager => "secrets",
        }
    }
}

/// Stands before the emulated services, and lets pass what is allowed.
#[derive(Debug, Clone)]
pub struct Guard {
    statements: Arc<BTreeMap<String, Vec<Statement>>>,
    /// Whether the table is encrypted with the key, which whoever uses the table must then be allowed to use through it.
    table_uses_key: bool,
    seen: Arc<Mutex<BTreeMap<String, Permissions>>>,
}

impl Statement {
    fn covers(&self, act: &Act) -> bool {
        self.actions.contains(&act.action)
            && self.resources.contains(&act.resource)
            && self.conditions.iter().all(|condition| condition.holds(&act.context))
    }

    /// Whether it serves only calls that `DynamoDB` makes in the function's name.
    fn is_for_a_service(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(condition, Condition::Equals(key, _) if key == VIA_SERVICE))
    }

    fn permissions(&self) -> impl Iterator<Item = Permission> {
        self.actions.iter().flat_map(|action| {
            self.resources.iter().map(|resource| Permission { action: action.clone(), resource: resource.clone() })
        })
    }
}

impl Condition {
    fn holds(&self, context: &BTreeMap<String, Vec<String>>) -> bool {
        match self {
            Self::Absent(key, absent) => context.contains_key(key) != *absent,
            Self::Equals(key, values) => {
                context.get(key).is_some_and(|found| !found.is_empty() && found.iter().all(|one| values.contains(one)))
            }
            Self::OnlyThese(key, values) => {
                context.get(key).is_none_or(|found| found.iter().all(|one| values.contains(one)))
            }
        }
    }
}

impl Guard {
    /// A guard that knows these statements, by function.
    #[must_use]
    pub fn new(statements: BTreeMap<String, Vec<Statement>>, table_uses_key: bool) -> Self {
        Self { statements: Arc::new(statements), table_uses_key, seen: Arc::default() }
    }

    /// The service, with the guard before it.
    pub fn before(&self, service: Service, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state((self.clone(), service), check))
    }

    /// What each function was granted, used and denied since the start. What a managed policy grants for calls that a service
    /// makes in the function's name is left out: that list is AWS's.
    #[must_use]
    pub fn permissions(&self) -> BTreeMap<String, Permissions> {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (function, statements) in self.statements.iter() {
            let permissions = all.entry(function.clone()).or_default();
            let granted = statements.iter().filter(|statement| !statement.is_for_a_service());
            let granted: BTreeSet<_> = granted.flat_map(Statement::permissions).collect();
            permissions.unused = &granted - &permissions.used;
        }
        all
    }

    /// Whether a function may make this call; its refusal otherwise.
    fn decide(&self, service: Service, function: &str, operation: &str, request: &Value) -> Result<(), String> {
        let statements = self.statements.get(function).map(Vec::as_slice).unwrap_or_default();
        let acts = match service {
            Service::DynamoDb => acts_on_the_table(operation, request, self.table_uses_key),
            Service::Kms => vec![act_on_the_key(operation, request)],
            Service::SecretsManager => {
                let secret = request["SecretId"].as_str().unwrap_or_default();
                vec![act(format!("secretsmanager:{operation}"), secret.to_owned())]
            }
        };
        for act in acts {
            let allowed = statements.iter().any(|statement| statement.covers(&act));
            let is_own = !act.context.contains_key(VIA_SERVICE);
            let permission = Permission { action: act.action, resource: act.resource };
            let refusal = format!(
                "User: arn:aws:sts::{ACCOUNT_ID}:assumed-role/{function} is not authorized to perform: {} on resource: {} \
                 because no identity-based policy allows the {} action",
                permission.action, permission.resource, permission.action
            );
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = seen.entry(function.to_owned()).or_default();
            if !allowed {
                seen.denied.insert(permission);
                return Err(refusal);
            }
            if is_own {
                seen.used.insert(permission);
            }
        }
        Ok(())
    }
}

/// `INSERT INTO "table" …`: the action is named after the verb.
fn act_of_a_statement(statement: &str) -> Option<Act> {
    let verb = statement.split(' ').next()?.to_ascii_lowercase();
    let verb = format!("{}{}", verb.get(..1)?.to_ascii_uppercase(), verb.get(1..)?);
    Some(act(format!("dynamodb:PartiQL{verb}"), table_arn(statement.split('"').nth(1)?)))
}

fn act(action: String, resource: String) -> Act {
    Act { action, resource, context: BTreeMap::new() }
}

/// What a call of `DynamoDB` does. A transaction needs the permission of each of its writes, and none of its own.
pub(crate) fn acts_on_the_table(operation: &str, request: &Value, table_uses_key: bool) -> Vec<Act> {
    let resource = |request: &Value| {
        let table = table_arn(request["TableName"].as_str().unwrap_or_default());
        match request["IndexName"].as_str() {
            Some(index) => format!("{table}/index/{index}"),
            None => table,
        }
    };
    let of_transaction = |of: fn(&str) -> String| {
        let items = request["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object).flatten();
        items.map(|(kind, item)| act(of(kind), resource(item))).collect()
    };
    let mut acts: Vec<Act> = match operation {
        "TransactWriteItems" => of_transaction(|kind| match kind {
            "ConditionCheck" => "dynamodb:ConditionCheckItem".to_owned(),
            kind => format!("dynamodb:{kind}Item"),
        }),
        // Each statement needs what it does, and none the call itself.
        "BatchExecuteStatement" => {
            let statements = request["Statements"].as_array().into_iter().flatten();
            statements.filter_map(|statement| act_of_a_statement(statement["Statement"].as_str()?)).collect()
        }
        "TransactGetItems" => of_transaction(|kind| format!("dynamodb:{kind}Item")),
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flat_map(|tables| tables.keys());
            tables.map(|table| act(format!("dynamodb:{operation}"), table_arn(table))).collect()
        }
        _ => vec![act(format!("dynamodb:{operation}"), resource(request))],
    };
    if table_uses_key {
        let table = request["TableName"].as_str().map(str::to_owned);
        let table = table.or_else(|| Some(acts.first()?.resource.rsplit_once("table/")?.1.to_owned()));
        let context = BTreeMap::from([
            (VIA_SERVICE.to_owned(), vec![format!("dynamodb.{REGION}.amazonaws.com")]),
            (format!("{CONTEXT}aws:dynamodb:tableName"), table.into_iter().collect()),
        ]);
        acts.push(Act { action: "kms:Decrypt".to_owned(), resource: key_arn(), context });
    }
    acts
}

fn act_on_the_key(operation: &str, request: &Value) -> Act {
    let mut context = BTreeMap::new();
    for (name, value) in request["EncryptionContext"].as_object().into_iter().flatten() {
        context.insert(format!("{CONTEXT}{name}"), vec![value.as_str().unwrap_or_default().to_owned()]);
        context.entry(CONTEXT_KEYS.to_owned()).or_default().push(name.clone());
    }
    Act { action: format!("kms:{operation}"), resource: key_arn(), context }
}

async fn check(State((guard, service)): State<(Guard, Service)>, request: Request<Body>, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let Some(function) = caller(&parts.headers).filter(|caller| guard.statements.contains_key(*caller)) else {
        return refused("UnrecognizedClientException", "The security token included in the request is invalid.");
    };
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let call = serde_json::from_slice(&body).unwrap_or_default();
    if let Err(refusal) = guard.decide(service, function, operation, &call) {
        eprintln!("[{function}] ERROR {refusal}: see its Policies in the template");
        return refused("AccessDeniedException", &refusal);
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn refused(code: &str, message: &str) -> Response {
    let body = json!({ "__type": format!("com.amazon.coral.service#{code}"), "message": message }).to_string();
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response()
}

/// Whose access key signed: `Credential=send-message/20261123/eu-central-1/dynamodb/aws4_request`.
pub(crate) fn caller(headers: &HeaderMap) -> Option<&str> {
    let signature = headers.get(AUTHORIZATION)?.to_str().ok()?;
    signature.split_once("Credential=")?.1.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLATFORM: &str = "kms:EncryptionContext:platform";

    fn own(action: &str, resource: String) -> Statement {
        Statement { actions: vec![action.to_owned()], resources: vec![resource], conditions: Vec::new() }
    }

    fn guard(statements: Vec<Statement>, table_uses_key: bool) -> Guard {
        Guard::new(BTreeMap::from([("reader".to_owned(), statements)]), table_uses_key)
    }

    #[test]
    fn an_action_counts_on_its_own_resource_only() {
        let guard = guard(vec![own("dynamodb:Query", format!("{}/index/inbox", table_arn("t")))], false);
        let query = |index: Value| json!({ "TableName": "t", "IndexName": index });
        let decide = |operation, request: &Value| guard.decide(Service::DynamoDb, "reader", operation, request);

        assert!(decide("Query", &query(json!("inbox"))).is_ok());

        assert!(decide("Query", &query(json!("by-another"))).is_err());
        assert!(decide("Query", &query(Value::Null)).is_err());
        assert!(decide("Scan", &query(json!("inbox"))).is_err());
        assert!(guard.decide(Service::DynamoDb, "another", "Query", &query(json!("inbox"))).is_err());
        let permissions = &guard.permissions()["reader"];
        assert!(permissions.unused.is_empty());
        assert_eq!(permissions.denied.len(), 3);
    }

    #[test]
    fn a_transaction_needs_what_each_of_its_writes_needs() {
        let request = json!({ "TransactItems": [
            { "Put": { "TableName": "t" } }, { "Delete": { "TableName": "t" } }, { "ConditionCheck": { "TableName": "t" } },
        ] });
        let actions: Vec<_> =
            acts_on_the_table("TransactWriteItems", &request, false).into_iter().map(|act| act.action).collect();
        assert_eq!(actions, ["dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"]);

        let guard = guard(vec![own("dynamodb:PutItem", table_arn("t"))], false);

        let refusal = guard.decide(Service::DynamoDb, "reader", "TransactWriteItems", &request).unwrap_err();
        assert!(refusal.contains("dynamodb:DeleteItem"), "{refusal}");
    }

    #[test]
    fn batch_needs_what_each_statement_needs() {
        let statement = |text: &str| json!({ "Statement": text });
        let batch =
            |texts: &[&str]| json!({ "Statements": texts.iter().map(|text| statement(text)).collect::<Vec<_>>() });
        let guard = guard(vec![own("dynamodb:PartiQLInsert", table_arn("t"))], false);
        let decide =
            |texts: &[&str]| guard.decide(Service::DynamoDb, "reader", "BatchExecuteStatement", &batch(texts)).is_ok();

        assert!(decide(&["INSERT INTO \"t\" VALUE {'pk': ?}", "INSERT INTO \"t\" VALUE {'pk': ?}"]));

        assert!(!decide(&["INSERT INTO \"t\" VALUE {'pk': ?}", "INSERT INTO \"other\" VALUE {'pk': ?}"]));
        assert!(!decide(&["INSERT INTO \"t\" VALUE {'pk': ?}", "DELETE FROM \"t\" WHERE pk = 'a'"]));
    }

    #[test]
    fn a_table_under_a_key_needs_the_key_through_the_table() {
        let get = json!({ "TableName": "t" });
        let through = |table: &str| Statement {
            conditions: vec![
                Condition::Equals(VIA_SERVICE.to_owned(), vec![format!("dynamodb.{REGION}.amazonaws.com")]),
                Condition::Equals(format!("{CONTEXT}aws:dynamodb:tableName"), vec![table.to_owned()]),
            ],
            ..own("kms:Decrypt", key_arn())
        };
        let with = |statements: Vec<Statement>| {
            let get_item = own("dynamodb:GetItem", table_arn("t"));
            guard([vec![get_item], statements].concat(), true)
        };
        let decide = |guard: &Guard| guard.decide(Service::DynamoDb, "reader", "GetItem", &get);

        assert!(decide(&with(vec![])).unwrap_err().contains("kms:Decrypt"));
        assert!(decide(&with(vec![through("another")])).is_err());
        let right = with(vec![through("t")]);
        assert!(decide(&right).is_ok());
        let directly = right.decide(Service::Kms, "reader", "Decrypt", &json!({}));
        assert!(directly.is_err(), "that opens no sealed key");
        assert!(right.permissions()["reader"].unused.is_empty());
    }

    #[test]
    fn a_key_opens_under_the_named_context_only() {
        let only = vec!["organizationId".to_owned(), "platform".to_owned()];
        let statement = Statement {
            conditions: vec![
                Condition::Absent(PLATFORM.to_owned(), false),
                Condition::Absent("kms:EncryptionContext:organizationId".to_owned(), false),
                Condition::OnlyThese(CONTEXT_KEYS.to_owned(), only),
            ],
            ..own("kms:Decrypt", key_arn())
        };
        let guard = guard(vec![statement], false);
        let decide = |context: Value| {
            guard.decide(Service::Kms, "reader", "Decrypt", &json!({ "EncryptionContext": context })).is_ok()
        };

        assert!(decide(json!({ "organizationId": "acme", "platform": "whatsapp" })));

        for context in [
            Value::Null,
            json!({}),
            json!({ "platform": "whatsapp" }),
            json!({ "organizationId": "acme", "platform": "whatsapp", "more": "x" }),
        ] {
            assert!(!decide(context.clone()), "{context}");
        }
    }

    #[test]
    fn the_caller_is_who_signed() {
        let signed = "AWS4-HMAC-SHA256 Credential=send-message/20261123/eu-central-1/kms/aws4_request, Signature=00";
        let headers = HeaderMap::from_iter([(AUTHORIZATION, signed.parse().unwrap())]);

        assert_eq!(caller(&headers), Some("send-message"));
        assert_eq!(caller(&HeaderMap::new()), None);
    }
}
