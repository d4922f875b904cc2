//! The running system is what `openapi.yaml` says: every answer fits its schema, and every status and error code that it
//! documents is really given.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use support::{Answer, Rig};

use crate::{
    openapi::{Operation, codes, document, operations, problems, resolved, validator},
    shared::{Account, Organization, api_key, run, table, text, unique},
};

/// What nothing over HTTP provokes on one machine: status, code, and why.
const NOT_PROVOKED: [(u16, &str, &str); 5] = [
    (429, "gateway", "the gateway here does not throttle"),
    (500, "gateway", "a function that crashes: shown by killing one, in the tests of the system itself"),
    (503, "gateway", "a function that takes longer than API Gateway waits"),
    (503, "UNAVAILABLE", "a table or a KMS that does not answer: shown by the functions' own tests"),
    (503, "", "a table that does not answer: shown by the webhook's own tests"),
];

/// The id of an entry of the quarantine that is not there.
const NO_ENTRY: &str = "1795427900310-0123456789abcdef0123456789abcdef";

/// Calls operations, checks each answer, and notes what has been seen.
struct Contract<'a> {
    rig: &'a Rig,
    operations: BTreeMap<&'static str, Operation>,
    seen: RefCell<BTreeSet<(String, u16, String)>>,
}

/// A request of one operation.
#[derive(Clone, Debug)]
struct Call<'a> {
    operation: &'static str,
    /// By name, wherever the contract puts them.
    parameters: Vec<(&'static str, String)>,
    token: &'a str,
    body: Value,
    /// Instead of the JSON in `body`.
    raw: Option<(&'static str, Vec<u8>)>,
}

fn call<'a>(operation: &'static str, token: &'a str, parameters: &[(&'static str, &str)]) -> Call<'a> {
    let parameters = parameters.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Call { operation, parameters, token, body: Value::Null, raw: None }
}

impl Call<'_> {
    fn body(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    fn raw(mut self, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.raw = Some((content_type, body.into()));
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.parameters.push((name, value.to_owned()));
        self
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl<'a> Contract<'a> {
    fn new(rig: &'a Rig) -> Self {
        let operations = operations().into_iter().map(|operation| (operation.id, operation)).collect();
        Self { rig, operations, seen: RefCell::default() }
    }

    /// Sends the request and checks the answer.
    async fn send(&self, call: Call<'_>) -> Answer {
        let operation = &self.operations[call.operation];
        let mut path = operation.path.to_owned();
        let mut query = Vec::new();
        let mut headers = Vec::new();
        for (name, value) in &call.parameters {
            let parameter = operation.parameters.iter().find(|parameter| parameter["name"] == *name);
            let parameter = parameter.unwrap_or_else(|| panic!("{} takes no {name}", call.operation));
            match text(&parameter["in"]) {
                "path" => path = path.replace(&format!("{{{name}}}"), &encoded(value)),
                "query" => query.push(format!("{name}={}", encoded(value))),
                _ => headers.push((*name, value.clone())),
            }
        }
        let base = if operation.is_of_the_api {
            self.rig.api.clone()
        } else {
            self.rig.webhook.trim_end_matches(operation.path).to_owned()
        };
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        if !call.token.is_empty() {
            headers.push(("authorization", format!("Bearer {}", call.token)));
        }
        let body = match (&call.raw, &call.body) {
            (Some((content_type, body)), _) => {
                headers.push(("content-type", (*content_type).to_owned()));
                body.clone()
            }
            (None, Value::Null) => Vec::new(),
            (None, body) => {
                headers.push(("content-type", "application/json".to_owned()));
                body.to_string().into_bytes()
            }
        };
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.rig.request(&operation.method, &format!("{base}{path}{query}"), &headers, body).await;
        self.check(operation, &call, &answer);
        answer
    }

    fn check(&self, operation: &Operation, call: &Call<'_>, answer: &Answer) {
        let shown = format!("{} {:?}\n{} {}", operation.id, call, answer.status, answer.text());
        let documented = operation.responses.get(&answer.status);
        let response = documented.unwrap_or_else(|| panic!("undocumented status: {shown}"));
        let Some(content) = response["content"].as_object() else {
            assert_eq!(answer.text(), "", "a body: {shown}");
            self.seen.borrow_mut().insert((operation.id.to_owned(), answer.status, String::new()));
            return;
        };
        let content_type = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
        let media = content.get(content_type).unwrap_or_else(|| panic!("undocumented {content_type}: {shown}"));
        let value = if content_type == "application/json" { answer.json() } else { json!(answer.text()) };
        assert_eq!(problems(&validator(&media["schema"]), &value), "", "{shown}");
        let code = match (&value["success"], &value["error"]["code"]) {
            (Value::Bool(_), code) => code.as_str().unwrap_or_default(),
            _ if value["message"].is_string() => "gateway",
            _ => "",
        };
        self.seen.borrow_mut().insert((operation.id.to_owned(), answer.status, code.to_owned()));
        if let (200..300, Some(body), None) = (answer.status, operation.body, &call.raw) {
            let schema = &body["content"]["application/json"]["schema"];
            assert_eq!(problems(&validator(schema), &call.body), "", "taken, but against the contract: {shown}");
        }
    }

    /// Sends a request that must be answered so.
    async fn expect(&self, status: u16, code: &str, call: Call<'_>) -> Value {
        let shown = format!("{call:?}");
        let answer = self.send(call).await;
        let body = answer.json();
        let given = body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((answer.status, given), (status, code), "{shown}\n{}", answer.text());
        body
    }

    /// Everything that is documented.
    fn documented(&self) -> BTreeSet<(String, u16, String)> {
        let mut documented = BTreeSet::new();
        for operation in self.operations.values() {
            for (status, response) in &operation.responses {
                let of_status = |code: String| (operation.id.to_owned(), *status, code);
                let codes = codes(&response["content"]["application/json"]["schema"]);
                if codes.is_empty() {
                    documented.insert(of_status(String::new()));
                }
                documented.extend(codes.into_iter().map(of_status));
            }
        }
        documented
    }

    async fn fault(&self, account: &str, fault: &str, calls: u64, endpoint: &str) {
        let body = json!({ "fault": fault, "calls": calls, "accountId": account, "path": endpoint });
        self.rig.simulate("fault", body).await;
    }

    /// Parameters and a body that an operation could be called with.
    fn usable(&self, operation: &str) -> (Vec<(&'static str, String)>, Value) {
        let operation = &self.operations[operation];
        let required = operation.parameters.iter().filter(|parameter| parameter["required"] == true);
        let parameters = required.map(|parameter| {
            let value = match text(&parameter["name"]) {
                "platform" => "whatsapp".to_owned(),
                "channel" => "website".to_owned(),
                "conversationId" => "0123456789abcdef0123456789abcdef".to_owned(),
                "quarantineId" => NO_ENTRY.to_owned(),
                other => panic!("no value for the parameter {other}"),
            };
            (text(&parameter["name"]), value)
        });
        let examples = operation.body.map(|body| &body["content"]["application/json"]["examples"]);
        let body = examples.and_then(|examples| examples.as_object()?.values().next());
        (parameters.collect(), body.map_or(Value::Null, |example| resolved(example)["value"].clone()))
    }
}

#[test]
fn the_system_answers_what_the_contract_documents() {
    run(async |rig| {
        let contract = Contract::new(rig);
        callers(&contract).await;
        bodies(&contract).await;
        integrations(&contract).await;
        refused_connections(&contract).await;
        conversations(&contract).await;
        sends(&contract).await;
        recorded(&contract).await;
        quarantine(&contract).await;
        events(&contract).await;
        faults_of_ours(&contract).await;
        webhook(&contract).await;

        let (seen, documented) = (contract.seen.borrow(), contract.documented());
        let excused: BTreeSet<_> = documented.iter().filter(|found| is_excused(found)).cloned().collect();
        assert!(documented.len() - excused.len() > 100, "{documented:#?}");
        let never: Vec<_> = documented.iter().filter(|found| !seen.contains(*found) && !is_excused(found)).collect();
        assert!(never.is_empty(), "documented, and never seen: {never:#?}");
        let needless: Vec<_> = seen.intersection(&excused).collect();
        assert!(needless.is_empty(), "excused, and seen: {needless:#?}");
    });
}

fn is_excused((_, status, code): &(String, u16, String)) -> bool {
    NOT_PROVOKED.iter().any(|(of, name, _)| of == status && name == code)
}

/// Who calls: no token, an expired one, one without an organization, each role that may not.
async fn callers(contract: &Contract<'_>) {
    let organization = Organization::new(contract.rig).await;
    let expired = contract.rig.token_with(&format!("organization={}&role=admin&expiresIn=-60", organization.id)).await;
    let nowhere = contract.rig.token_with("user=ada&role=admin").await;
    for operation in contract.operations.values().filter(|operation| operation.is_of_the_api) {
        let (parameters, body) = contract.usable(operation.id);
        let call = |token| Call {
            operation: operation.id,
            parameters: parameters.clone(),
            token,
            body: body.clone(),
            raw: None,
        };
        for token in ["", "nonsense", &expired] {
            assert_eq!(contract.send(call(token)).await.status, 401);
        }
        contract.expect(403, "NO_ORGANIZATION", call(&nowhere)).await;
        // The description names the roles that may.
        let described = text(&document()["paths"][operation.path][operation.method.to_lowercase()]["description"]);
        let described = &described[described.find("Role").unwrap()..];
        let roles =
            [("admin", &organization.admin), ("operator", &organization.operator), ("service", &organization.service)];
        for (role, token) in roles {
            let forbidden = contract.send(call(token)).await.json()["error"]["code"] == "FORBIDDEN";
            assert_eq!(forbidden, !described.contains(&format!("`{role}`")), "{} as {role}", operation.id);
        }
    }
}

/// Bodies that are no JSON, not said to be, or too large.
async fn bodies(contract: &Contract<'_>) {
    let organization = Organization::new(contract.rig).await;
    for operation in
        contract.operations.values().filter(|operation| operation.is_of_the_api && operation.body.is_some())
    {
        let (parameters, _) = contract.usable(operation.id);
        let token = organization.admin.as_str();
        let call = Call { operation: operation.id, parameters, token, body: Value::Null, raw: None };
        contract.expect(400, "INVALID_BODY", call.clone().raw("application/json", "{")).await;
        contract.expect(415, "UNSUPPORTED_MEDIA_TYPE", call.clone().raw("text/plain", "{}")).await;
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(256 * 1024));
        let answer = contract.expect(413, "BODY_TOO_LARGE", call.raw("application/json", large)).await;
        assert!(answer["error"]["details"]["limitBytes"].is_u64(), "{answer}");
    }
}

fn connect_body(platform: &str, account: &str) -> Value {
    let field = match platform {
        "whatsapp" => "phoneNumberId",
        "instagram" => "instagramAccountId",
        _ => "facebookPageId",
    };
    json!({ "apiKey": api_key(platform, account), field: account })
}

fn new_account() -> String {
    format!("70040050{:07}", unique())
}

async fn integrations(contract: &Contract<'_>) {
    let organization = Organization::new(contract.rig).await;
    let admin = organization.admin.as_str();
    contract.expect(200, "", call("listIntegrations", admin, &[])).await;
    for platform in ["whatsapp", "instagram", "facebook"] {
        let account = new_account();
        let of = |operation| call(operation, admin, &[("platform", platform)]);
        for operation in ["getWebhook", "testIntegration", "disconnectIntegration", "deleteIntegration"] {
            contract.expect(404, "INTEGRATION_NOT_FOUND", of(operation)).await;
        }
        contract.expect(200, "", of("getIntegration")).await;
        let connect = of("connectIntegration").body(connect_body(platform, &account));
        contract.expect(201, "", connect.clone()).await;
        contract.expect(200, "", connect.clone()).await;
        contract.expect(200, "", of("getWebhook")).await;
        contract.expect(200, "", of("testIntegration")).await;
        for endpoint in ["health_status", "webhook"] {
            contract.fault(&account, "unauthorized", 1, endpoint).await;
            let refused = contract.expect(200, "", of("testIntegration")).await;
            assert_eq!(refused["data"]["status"], "error", "{endpoint}");
        }
        contract.expect(200, "", of("getIntegration")).await;
        contract.fault(&account, "server_error", 3, "health_status").await;
        contract.expect(503, "PROVIDER_UNAVAILABLE", of("testIntegration")).await;
        contract.fault(&account, "reject:131031", 1, "health_status").await;
        contract.expect(422, "PROVIDER_REJECTED", of("testIntegration")).await;
        contract.expect(200, "", call("listIntegrations", admin, &[])).await;
        contract.expect(200, "", of("disconnectIntegration")).await;

        // A claim that somebody else has taken meanwhile.
        let claim = claim(contract.rig, platform, &account).await;
        let mut stolen = claim.clone();
        stolen["organizationId"]["S"] = json!("somebody-else");
        put(contract.rig, &stolen).await;
        contract.expect(409, "CONFLICT", of("disconnectIntegration")).await;
        contract.expect(409, "CONFLICT", of("deleteIntegration")).await;
        put(contract.rig, &claim).await;
        contract.expect(200, "", of("deleteIntegration")).await;
    }
    for operation in [
        "getIntegration",
        "getWebhook",
        "connectIntegration",
        "testIntegration",
        "disconnectIntegration",
        "deleteIntegration",
    ] {
        let call = call(operation, admin, &[("platform", "telegram")]).body(connect_body("whatsapp", "1"));
        contract.expect(400, "INVALID_PARAMETER", call).await;
    }
}

async fn put(rig: &Rig, item: &Value) {
    let answer = rig.dynamodb("PutItem", json!({ "TableName": table(rig).await, "Item": item })).await;
    assert_eq!(answer, json!({}));
}

async fn item(rig: &Rig, pk: &str, sk: &str) -> Value {
    let key = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
    let answer = rig.dynamodb("GetItem", json!({ "TableName": table(rig).await, "Key": key })).await;
    assert!(answer["Item"].is_object(), "no item {pk} {sk}");
    answer["Item"].clone()
}

async fn claim(rig: &Rig, platform: &str, account: &str) -> Value {
    item(rig, &format!("ACCOUNT#{platform}#{account}"), "OWNER").await
}

async fn refused_connections(contract: &Contract<'_>) {
    let (owner, taken) = Organization::with(contract.rig, "whatsapp").await;
    let organization = Organization::new(contract.rig).await;
    let connect = |body| call("connectIntegration", &organization.admin, &[("platform", "whatsapp")]).body(body);
    let account = new_account();

    contract.expect(400, "INVALID_BODY", connect(json!({ "apiKey": "x" }))).await;
    contract.expect(400, "INVALID_BODY", connect(json!({ "apiKey": "", "phoneNumberId": "1" }))).await;
    contract.expect(400, "INVALID_BODY", connect(json!({ "apiKey": "x", "phoneNumberId": "1#2" }))).await;
    let unknown = json!({ "apiKey": "unknown", "phoneNumberId": account });
    contract.expect(400, "INVALID_CREDENTIALS", connect(unknown)).await;
    let other = json!({ "apiKey": api_key("whatsapp", &account), "phoneNumberId": "1" });
    contract.expect(400, "ACCOUNT_MISMATCH", connect(other)).await;
    // A key of Instagram's names no number.
    let nobodys = json!({ "apiKey": api_key("instagram", &account), "phoneNumberId": account });
    contract.expect(400, "ACCOUNT_NOT_PROVEN", connect(nobodys)).await;
    contract.expect(409, "ACCOUNT_IN_USE", connect(connect_body("whatsapp", &taken.id))).await;
    contract.fault(&account, "reject:131031", 1, "health_status").await;
    contract.expect(422, "PROVIDER_REJECTED", connect(connect_body("whatsapp", &account))).await;
    contract.fault(&account, "server_error", 3, "health_status").await;
    contract.expect(503, "PROVIDER_UNAVAILABLE", connect(connect_body("whatsapp", &account))).await;

    // While the provider makes one admin wait, another one changes the integration.
    contract.fault(&taken.id, "rate_limit", 1, "webhook").await;
    let slow =
        call("connectIntegration", &owner.admin, &[("platform", "whatsapp")]).body(connect_body("whatsapp", &taken.id));
    let meanwhile = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        contract.expect(200, "", call("disconnectIntegration", &owner.admin, &[("platform", "whatsapp")])).await;
    };
    tokio::join!(contract.expect(409, "CONFLICT", slow), meanwhile);
}

async fn conversations(contract: &Contract<'_>) {
    let (organization, account) = Organization::with(contract.rig, "whatsapp").await;
    let operator = organization.operator.as_str();
    contract.expect(200, "", call("listConversations", operator, &[])).await;
    // Every kind of content, so that each shape is checked.
    for platform in ["whatsapp", "instagram", "facebook"] {
        let account = if platform == "whatsapp" { account.clone() } else { organization.connect(platform).await };
        let fixtures = crate::shared::fixtures(platform);
        join_all(fixtures.iter().map(|fixture| account.receive(fixture))).await;
    }
    let mut next = Some(String::new());
    let mut found = Vec::new();
    while let Some(cursor) = next {
        let mut page = call("listConversations", operator, &[("limit", "3")]);
        if !cursor.is_empty() {
            page = page.with("cursor", &cursor);
        }
        let answer = contract.expect(200, "", page).await;
        found.extend(answer["data"]["items"].as_array().unwrap().clone());
        next = answer["data"]["pagination"]["nextCursor"].as_str().map(str::to_owned);
    }
    assert!(found.len() > 3, "{found:#?}");
    for conversation in &found {
        let of = [("conversationId", text(&conversation["id"]))];
        contract.expect(200, "", call("getConversation", operator, &of)).await;
        contract.expect(200, "", call("listMessages", operator, &of).with("limit", "100")).await;
    }
    let filters = [
        ("channel", "social"),
        ("status", "open"),
        ("unread", "true"),
        ("unread", "false"),
        ("assignedTo", "me"),
        ("label", "x"),
        ("problem", "true"),
    ];
    for (name, value) in filters {
        contract.expect(200, "", call("listConversations", operator, &[(name, value)])).await;
    }
    for (name, value) in [
        ("channel", "telegram"),
        ("status", "gone"),
        ("unread", "maybe"),
        ("problem", "1"),
        ("limit", "0"),
        ("limit", "101"),
    ] {
        contract.expect(400, "INVALID_PARAMETER", call("listConversations", operator, &[(name, value)])).await;
    }
    contract.expect(400, "INVALID_CURSOR", call("listConversations", operator, &[("cursor", "x")])).await;

    let of = [("conversationId", text(&found[0]["id"]))];
    contract.expect(400, "INVALID_PARAMETER", call("listMessages", operator, &of).with("limit", "many")).await;
    contract.expect(400, "INVALID_CURSOR", call("listMessages", operator, &of).with("cursor", "x")).await;
    for body in [
        json!({ "status": "closed", "labels": ["returns"], "assignedTo": "me" }),
        json!({ "read": true }),
        json!({ "read": false }),
        json!({ "readUpTo": found[0]["lastMessage"]["id"], "assignedTo": null, "problem": null }),
    ] {
        contract.expect(200, "", call("updateConversation", operator, &of).body(body)).await;
    }
    let take = json!({ "assign": { "to": "me", "ifUnassigned": true }, "addLabels": ["vip"] });
    contract.expect(200, "", call("updateConversation", operator, &of).body(take)).await;
    let late = json!({ "assign": { "to": "bob", "ifUnassigned": true }, "removeLabels": ["vip"] });
    contract.expect(409, "ALREADY_ASSIGNED", call("updateConversation", operator, &of).body(late)).await;
    let unknown = "1767877200000-0123456789abcdef0123456789abcdef";
    for body in [json!({ "readUpTo": unknown }), json!({ "assumeDelivered": unknown })] {
        contract.expect(404, "MESSAGE_NOT_FOUND", call("updateConversation", operator, &of).body(body)).await;
    }
    for body in [json!({}), json!({ "status": "gone" }), json!({ "colour": "red" }), json!({ "labels": [""] })] {
        contract.expect(400, "INVALID_BODY", call("updateConversation", operator, &of).body(body)).await;
    }
    for unknown in ["0123456789abcdef0123456789abcdef", "not-an-id"] {
        let of = [("conversationId", unknown)];
        contract.expect(404, "CONVERSATION_NOT_FOUND", call("getConversation", operator, &of)).await;
        contract.expect(404, "CONVERSATION_NOT_FOUND", call("listMessages", operator, &of)).await;
        let change = call("updateConversation", operator, &of).body(json!({ "read": true }));
        contract.expect(404, "CONVERSATION_NOT_FOUND", change).await;
        let send = call("sendMessage", operator, &of).with("Idempotency-Key", "k").body(json!({ "text": "x" }));
        contract.expect(404, "CONVERSATION_NOT_FOUND", send).await;
    }
}

async fn sends(contract: &Contract<'_>) {
    let (organization, account) = Organization::with(contract.rig, "whatsapp").await;
    account.customer_writes("491713920012", "Hello").await;
    let conversation = organization.conversation().await;
    let send = |key: &str, body| {
        let of = [("conversationId", text(&conversation["id"]))];
        call("sendMessage", &organization.operator, &of).with("Idempotency-Key", key).body(body)
    };
    let reply = json!({ "text": "Hello!" });

    let taken = contract.expect(201, "", send("1", reply.clone())).await;
    contract.expect(201, "", send("1", reply.clone())).await;
    let again = |id: &Value| json!({ "text": "Hello!", "resendOf": id });
    contract.expect(409, "NOT_RESENDABLE", send("again", again(&taken["data"]["id"]))).await;
    contract.expect(201, "", send("note", json!({ "text": "Hm", "type": "internal_note" }))).await;
    contract.expect(409, "IDEMPOTENCY_KEY_REUSED", send("1", json!({ "text": "Bye!" }))).await;
    contract.expect(400, "INVALID_IDEMPOTENCY_KEY", send("no key", reply.clone())).await;
    contract.expect(400, "INVALID_BODY", send("2", json!({ "text": " " }))).await;
    contract.expect(400, "INVALID_BODY", send("2", json!({ "text": "x", "to": "somebody" }))).await;
    let nothing = json!({ "text": "x", "replyTo": "1767877200000-0123456789abcdef0123456789abcdef" });
    contract.expect(404, "MESSAGE_NOT_FOUND", send("3", nothing)).await;
    contract.expect(422, "TEXT_TOO_LONG", send("4", json!({ "text": "x".repeat(4097) }))).await;
    contract.fault(&account.id, "drop_after_accept", 1, "messages").await;
    let unknown = contract.expect(202, "", send("5", reply.clone())).await;
    contract.fault(&account.id, "reject:131026", 1, "messages").await;
    let failed = contract.expect(422, "PROVIDER_REJECTED", send("6", reply.clone())).await;
    let failed = &failed["error"]["details"]["messageId"];
    let of = [("conversationId", text(&conversation["id"]))];
    let assume =
        |id: &Value| call("updateConversation", &organization.operator, &of).body(json!({ "assumeDelivered": id }));
    contract.expect(200, "", call("listConversations", &organization.operator, &[("problem", "true")])).await;
    contract.expect(200, "", assume(&unknown["data"]["id"])).await;
    contract.expect(409, "CONFLICT", assume(failed)).await;
    contract.expect(201, "", send("6-again", again(failed))).await;
    contract.fault(&account.id, "server_error", 1, "messages").await;
    contract.expect(503, "PROVIDER_UNAVAILABLE", send("7", reply.clone())).await;
    let of = [("conversationId", text(&conversation["id"]))];
    contract.expect(200, "", call("listMessages", &organization.operator, &of)).await;
    contract.fault(&account.id, "unauthorized", 1, "messages").await;
    contract.expect(422, "PROVIDER_REJECTED", send("8", reply.clone())).await;
    contract.expect(409, "NOT_CONNECTED", send("9", reply.clone())).await;
    organization.connect("whatsapp").await;
    contract.expect(409, "ACCOUNT_REPLACED", send("9", reply.clone())).await;

    let (late, account) = Organization::with(contract.rig, "instagram").await;
    account.receive("text").await;
    let late_conversation = late.conversation().await;
    let of = [("conversationId", text(&late_conversation["id"]))];
    let too_late = call("sendMessage", &late.operator, &of).with("Idempotency-Key", "1").body(reply.clone());
    contract.expect(422, "WINDOW_CLOSED", too_late).await;
}

async fn recorded(contract: &Contract<'_>) {
    let organization = Organization::new(contract.rig).await;
    let service = organization.service.as_str();
    let record = |channel, body| call("recordMessage", service, &[("channel", channel)]).body(body);
    let body = json!({
        "customer": { "id": "visitor-1", "name": "Max" },
        "message": { "id": "1", "sender": "customer", "text": "When do you open?", "timestamp": "2026-11-23T09:40:00.000Z" },
    });

    let new = contract.expect(201, "", record("website", body.clone())).await;
    let known = contract.expect(200, "", record("website", body.clone())).await;
    assert_eq!(known["data"], new["data"]);
    let phone = json!({
        "customer": { "id": "+49 171", "phone": "49171" }, "message": { "id": "2", "sender": "ai" },
        "call": { "direction": "inbound", "durationSeconds": 184, "recordingUrl": "https://r.example.com/1", "transcript": "Hi" },
    });
    contract.expect(201, "", record("phone", phone)).await;
    contract.expect(400, "INVALID_PARAMETER", record("whatsapp", body.clone())).await;
    let mut unnamed = body.clone();
    unnamed["customer"]["id"] = json!("");
    contract.expect(400, "INVALID_BODY", record("website", unnamed)).await;
    let of = [("conversationId", text(&new["data"]["conversationId"]))];
    contract.expect(200, "", call("getConversation", &organization.operator, &of)).await;
    contract.expect(200, "", call("listMessages", &organization.operator, &of)).await;
    let send = call("sendMessage", &organization.operator, &of).with("Idempotency-Key", "1");
    contract.expect(422, "CHANNEL_NOT_SENDABLE", send.body(json!({ "text": "At nine" }))).await;
}

async fn quarantine(contract: &Contract<'_>) {
    let (organization, account) = Organization::with(contract.rig, "whatsapp").await;
    let admin = organization.admin.as_str();
    contract.expect(200, "", call("listQuarantine", admin, &[])).await;
    for _ in 0..2 {
        account.receive_body(format!("not JSON {}", unique())).await;
    }
    let page = contract.expect(200, "", call("listQuarantine", admin, &[("limit", "1")])).await;
    let next = text(&page["data"]["pagination"]["nextCursor"]);
    contract.expect(200, "", call("listQuarantine", admin, &[("cursor", next)])).await;
    contract.expect(400, "INVALID_CURSOR", call("listQuarantine", admin, &[("cursor", "x")])).await;
    contract.expect(400, "INVALID_PARAMETER", call("listQuarantine", admin, &[("limit", "0")])).await;

    let page = contract.expect(200, "", call("listAudit", admin, &[("limit", "1")])).await;
    assert_eq!(page["data"]["pagination"]["hasNext"], false, "connected, nothing else");
    contract.expect(400, "INVALID_CURSOR", call("listAudit", admin, &[("cursor", "x")])).await;
    contract.expect(400, "INVALID_PARAMETER", call("listAudit", admin, &[("limit", "0")])).await;
    let page = contract.expect(200, "", call("listQuarantine", admin, &[])).await;
    let id = text(&page["data"]["items"][0]["id"]);
    let replay = |id| call("replayQuarantine", admin, &[("quarantineId", id)]);
    contract.expect(200, "", replay(id)).await;
    for id in [NO_ENTRY, "not-an-id"] {
        contract.expect(404, "QUARANTINE_ENTRY_NOT_FOUND", replay(id)).await;
    }
}

async fn events(contract: &Contract<'_>) {
    let (organization, account) = Organization::with(contract.rig, "whatsapp").await;
    let operator = organization.operator.as_str();
    account.customer_writes("491713920012", "Hello").await;
    let list = |parameters: &[(&'static str, &str)]| call("listEvents", operator, parameters);
    let first = contract.expect(200, "", list(&[("wait", "10"), ("limit", "1")])).await;
    contract.expect(200, "", list(&[("after", text(&first["data"]["next"]))])).await;
    contract.expect(200, "", list(&[("after", "latest"), ("types", "message.received,note.added")])).await;
    contract.expect(400, "INVALID_PARAMETER", list(&[("wait", "21")])).await;
    contract.expect(410, "CURSOR_EXPIRED", list(&[("after", "999999999")])).await;
}

/// Items that nobody can have written: what the operations answer to a fault of our own.
async fn faults_of_ours(contract: &Contract<'_>) {
    let (organization, account) = Organization::with(contract.rig, "whatsapp").await;
    account.customer_writes("491713920012", "Hello").await;
    let visitor = json!({ "customer": { "id": "v" }, "message": { "id": "1", "sender": "customer", "text": "Hi" } });
    let record = call("recordMessage", &organization.admin, &[("channel", "website")]).body(visitor);
    contract.expect(201, "", record.clone()).await;
    let conversations = organization.conversations("").await;
    for conversation in &conversations {
        let pk = format!("ORG#{}#CONVERSATION#{}", organization.id, text(&conversation["id"]));
        let mut broken = item(contract.rig, &pk, "CONVERSATION").await;
        broken.as_object_mut().unwrap().remove("createdAt");
        put(contract.rig, &broken).await;
    }
    let mut broken = item(contract.rig, &format!("ORG#{}", organization.id), "INTEGRATION#whatsapp").await;
    broken.as_object_mut().unwrap().remove("credentials");
    put(contract.rig, &broken).await;

    let (_, hash) = NO_ENTRY.split_once('-').unwrap();
    let of_the_day = format!("ORG#{}#QUARANTINE#2026-11-23", organization.id);
    broken_journal(contract, &organization).await;
    let key = json!({ "pk": { "S": of_the_day }, "sk": { "S": format!("{hash}#000") }, "raw": { "B": "" } });
    put(contract.rig, &key).await;
    let of_the_trail = format!("ORG#{}#AUDIT", organization.id);
    put(contract.rig, &json!({ "pk": { "S": of_the_trail }, "sk": { "S": "1795427900310-x" } })).await;

    contract.expect(500, "INTERNAL", record).await;
    let whatsapp = conversations.iter().find(|conversation| conversation["channel"] == "whatsapp").unwrap();
    let connect = connect_body("whatsapp", &account.id);
    for operation in contract.operations.values() {
        if !operation.is_of_the_api || operation.id == "recordMessage" {
            continue;
        }
        let (mut parameters, mut body) = contract.usable(operation.id);
        for (_, value) in parameters.iter_mut().filter(|(name, _)| *name == "conversationId") {
            text(&whatsapp["id"]).clone_into(value);
        }
        if operation.id == "connectIntegration" {
            body = connect.clone();
        }
        let token = organization.admin.as_str();
        contract.expect(500, "INTERNAL", Call { operation: operation.id, parameters, token, body, raw: None }).await;
    }
}

/// The first event of an organization cannot be read any more.
async fn broken_journal(contract: &Contract<'_>, organization: &Organization<'_>) {
    let told = call("listEvents", &organization.operator, &[("wait", "10"), ("limit", "1")]);
    let first = contract.expect(200, "", told).await;
    let sequence = text(&first["data"]["items"][0]["sequence"]);
    let mut entry = item(contract.rig, &format!("ORG#{}#JOURNAL", organization.id), sequence).await;
    entry["events"]["S"] = json!("[");
    put(contract.rig, &entry).await;
}

async fn webhook(contract: &Contract<'_>) {
    let (_, account): (_, Account<'_>) = Organization::with(contract.rig, "whatsapp").await;
    let token = account.authorization.trim_start_matches("Bearer ");
    let deliver = |token, body: Vec<u8>| call("receiveWebhook", token, &[]).raw("application/json", body);
    contract.expect(200, "", deliver(token, account.fixture("text").into_bytes())).await;
    contract.expect(401, "", deliver("", account.fixture("text").into_bytes())).await;
    contract.expect(401, "", deliver("kw2.x.y.z", account.fixture("text").into_bytes())).await;
    contract.expect(413, "", deliver(token, vec![b' '; (4 << 20) + 1])).await;

    let shake = |token| {
        let parameters = [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "1158201444")];
        call("verifyWebhook", "", &parameters)
    };
    let keys = contract.rig.webhook_keys();
    let answer = contract.send(shake(keys.verify_token().expose_secret())).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "1158201444"));
    contract.expect(403, "", shake("wrong")).await;
}

/// The schema and every example of each request, response and parameter.
fn examples() -> Vec<(String, &'static Value, &'static Value)> {
    let mut found = Vec::new();
    let mut add = |place: &str, media: &'static Value| {
        for (name, example) in media["examples"].as_object().into_iter().flatten() {
            found.push((format!("{place}, {name}"), &media["schema"], &resolved(example)["value"]));
        }
        if let Some(example) = media.get("example") {
            found.push((place.to_owned(), &media["schema"], example));
        }
    };
    for operation in operations() {
        for content in operation.body.iter().filter_map(|body| body["content"].as_object()) {
            content.values().for_each(|media| add(operation.id, media));
        }
        for parameter in operation.parameters {
            add(&format!("{}, {}", operation.id, parameter["name"]), parameter);
        }
        for (status, response) in operation.responses {
            for media in response["content"].as_object().into_iter().flat_map(|content| content.values()) {
                add(&format!("{} {status}", operation.id), media);
            }
        }
    }
    found
}

#[test]
fn every_example_of_the_contract_fits_its_own_schema() {
    let examples = examples();
    assert!(examples.len() > 100, "{}", examples.len());
    for (place, schema, example) in examples {
        assert!(!example.is_null() || place.contains("none"), "{place} has no value");
        assert_eq!(problems(&validator(schema), example), "", "{place}: {example}");
    }
}

#[test]
fn every_answer_with_a_body_has_an_example() {
    for operation in operations() {
        for (status, response) in &operation.responses {
            for media in response["content"].as_object().into_iter().flat_map(|content| content.values()) {
                let examples = media["examples"].as_object();
                assert!(examples.is_some_and(|examples| !examples.is_empty()), "{} {status}", operation.id);
                let shown: BTreeSet<&str> = examples
                    .into_iter()
                    .flat_map(|examples| examples.values())
                    .filter_map(|example| resolved(example)["value"]["error"]["code"].as_str())
                    .collect();
                let named = codes(&media["schema"]);
                let missing: Vec<_> =
                    named.iter().filter(|code| *code != "gateway" && !shown.contains(code.as_str())).collect();
                assert!(missing.is_empty(), "{} {status}: no example of {missing:?}", operation.id);
            }
        }
    }
}
