//! Organizations stay apart: every operation of the contract is called with every id of another organization.

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Answer, Rig, eventually};

use crate::{
    openapi::{Operation, operations, resolved},
    shared::{Account, Organization, SOON, api_key, run, table, text, unique},
};

const PLATFORMS: [&str; 3] = ["whatsapp", "instagram", "facebook"];

/// An organization with something of everything, and what must never be shown to another one.
struct Owner<'a> {
    organization: Organization<'a>,
    accounts: Vec<Account<'a>>,
    conversations: Vec<Value>,
    /// Of the conversation at the same place.
    message_ids: Vec<Value>,
    idempotency_key: String,
    visitor: Value,
    label: String,
    assignee: String,
    canaries: Vec<String>,
}

impl<'a> Owner<'a> {
    async fn new(rig: &'a Rig) -> Self {
        let id = format!("owner-{}-canary", unique());
        let (admin, operator, service) = tokio::join!(
            rig.token(&id, "ada", "admin"),
            rig.token(&id, "olga", "operator"),
            rig.token(&id, "chatbot", "service"),
        );
        let organization = Organization { rig, id: id.clone(), admin, operator, service };
        let canary = |what: &str| format!("canary-{what}-{}", unique());
        let (name, question, reply, note) = (canary("name"), canary("question"), canary("reply"), canary("note"));
        let (label, assignee, phone) = (canary("label"), canary("assignee"), format!("4915{:09}", unique()));
        let visitor = json!({
            "customer": { "id": "visitor-1", "name": canary("visitor") },
            "message": { "id": "chat-1", "sender": "customer", "text": canary("chat"), "timestamp": "2026-11-23T09:40:00.000Z" },
        });
        let mut accounts = Vec::new();
        for platform in PLATFORMS {
            let account = organization.connect(platform).await;
            for asked in [&question, "Hello?"] {
                let inbound = json!({
                    "platform": platform, "accountId": account.id, "from": phone, "name": name, "text": asked,
                });
                assert_eq!(rig.simulate("inbound", inbound).await["delivered"], true);
            }
            for _ in 0..2 {
                account.receive_body(format!("not JSON {}", unique())).await;
            }
            accounts.push(account);
        }
        let path = "/api/v1/channels/website/messages";
        assert_eq!(rig.api("POST", path, &organization.service, visitor.clone()).await.0, 201);
        let idempotency_key = format!("key-{}", unique());
        for conversation in organization.conversations("").await {
            let note = json!({ "text": note, "type": "internal_note" });
            assert_eq!(organization.send(&conversation, note).await.0, 201);
            if conversation["metadata"]["platform"].is_string() {
                let body = json!({ "text": reply });
                let sent = organization.send_with_key(&conversation, &idempotency_key, body).await;
                assert_eq!(sent.status, 201, "{}", sent.text());
            }
            organization.update(&conversation, json!({ "labels": [label], "assignedTo": assignee })).await;
        }
        eventually("the replies are read", SOON, async || {
            for conversation in organization.conversations("").await {
                let messages = organization.messages(&conversation).await;
                let unread =
                    messages.iter().any(|message| message["status"] != "read" && message["status"].is_string());
                if unread {
                    return None;
                }
            }
            Some(())
        })
        .await;
        let conversations = organization.conversations("").await;
        let mut message_ids = Vec::new();
        for conversation in &conversations {
            message_ids.push(organization.messages(conversation).await[0]["id"].clone());
        }
        let told = [text(&visitor["customer"]["name"]).to_owned(), text(&visitor["message"]["text"]).to_owned()];
        let canaries =
            [id, name, question, reply, note, label.clone(), assignee.clone(), phone].into_iter().chain(told).collect();
        Self { organization, accounts, conversations, message_ids, idempotency_key, visitor, label, assignee, canaries }
    }

    /// Everything that the owner has, here and at the provider.
    async fn snapshot(&self) -> Value {
        let organization = &self.organization;
        let mut threads = Vec::new();
        for conversation in organization.conversations("").await {
            threads.push(organization.messages(&conversation).await);
        }
        let mut provider = Vec::new();
        let sent = organization.rig.sent().await;
        for account in &self.accounts {
            let url = format!("{}/v1/configs/webhook", organization.rig.provider);
            let key = api_key(account.platform, &account.id);
            provider.push(organization.rig.request("GET", &url, &[("d360-api-key", &key)], "").await.json());
            provider.extend(sent.iter().filter(|sent| sent["accountId"] == account.id.as_str()).cloned());
        }
        json!({
            "integrations": organization.get("/api/v1/social-integrations").await,
            "conversations": organization.conversations("").await,
            "threads": threads,
            "quarantine": organization.quarantine().await,
            "audit": organization.audit().await,
            "provider": provider,
        })
    }

    /// The cursors that the owner's lists give.
    async fn cursors(&self, operation: &str) -> Vec<String> {
        let mut paths = vec!["/api/v1/conversations?limit=1".to_owned()];
        if operation == "listMessages" {
            let of =
                |conversation: &Value| format!("/api/v1/conversations/{}/messages?limit=1", text(&conversation["id"]));
            paths = self.conversations.iter().map(of).collect();
        }
        for (list, path) in [("listQuarantine", "quarantine"), ("listAudit", "audit")] {
            if operation == list {
                paths = vec![format!("/api/v1/{path}?limit=1")];
            }
        }
        let mut cursors = Vec::new();
        for path in paths {
            let (_, page) = self.organization.rig.api("GET", &path, &self.organization.admin, Value::Null).await;
            cursors.push(text(&page["data"]["pagination"]["nextCursor"]).to_owned());
        }
        cursors
    }

    /// The owner's values of a parameter; every parameter of the contract has some.
    async fn values(&self, operation: &str, parameter: &'static Value) -> Vec<String> {
        let schema = resolved(&parameter["schema"]);
        match text(&parameter["name"]) {
            "conversationId" => {
                self.conversations.iter().map(|conversation| text(&conversation["id"]).to_owned()).collect()
            }
            "quarantineId" => {
                let entries = self.organization.quarantine().await;
                assert!(!entries.is_empty());
                entries.iter().map(|entry| text(&entry["id"]).to_owned()).collect()
            }
            "cursor" => self.cursors(operation).await,
            "Idempotency-Key" => vec![self.idempotency_key.clone()],
            "label" => vec![self.label.clone()],
            "assignedTo" => vec![self.assignee.clone(), "me".to_owned()],
            "limit" => vec!["100".to_owned()],
            "after" => vec!["000000000001".to_owned(), "latest".to_owned()],
            "types" => vec!["message.received,message.sent,integration.changed".to_owned()],
            "wait" => vec!["1".to_owned()],
            "unread" | "problem" => vec!["true".to_owned()],
            _ => {
                let values = schema["enum"].as_array();
                let values = values.unwrap_or_else(|| panic!("{operation}: nothing is known of {parameter}"));
                values.iter().map(|value| text(value).to_owned()).collect()
            }
        }
    }

    /// The bodies that name something of the owner; every operation with a body has some.
    fn bodies(&self, operation: &Operation) -> Vec<Value> {
        if operation.body.is_none() {
            return vec![Value::Null];
        }
        match operation.id {
            "connectIntegration" => self
                .accounts
                .iter()
                .map(|account| {
                    json!({
                        "apiKey": api_key(account.platform, &account.id), "phoneNumberId": account.id,
                        "instagramAccountId": account.id, "facebookPageId": account.id,
                    })
                })
                .collect(),
            "updateConversation" => {
                let all = json!({ "status": "closed", "read": true, "assignedTo": "me", "labels": ["stolen"], "problem": null });
                let of_messages = self
                    .message_ids
                    .iter()
                    .flat_map(|id| [json!({ "readUpTo": id }), json!({ "assumeDelivered": id })]);
                std::iter::once(all).chain(of_messages).collect()
            }
            "sendMessage" => {
                let replies = self.message_ids.iter().flat_map(|id| {
                    [json!({ "text": "Stolen", "replyTo": id }), json!({ "text": "Stolen", "resendOf": id })]
                });
                let others = [json!({ "text": "Stolen" }), json!({ "text": "Stolen", "type": "internal_note" })];
                others.into_iter().chain(replies).collect()
            }
            "recordMessage" => {
                let mut body = self.visitor.clone();
                body["customer"]["name"] = json!("Stranger");
                body["message"]["text"] = json!("Stolen");
                vec![body]
            }
            other => panic!("nothing is known of the body of {other}"),
        }
    }

    fn assert_shows_nothing(&self, case: &str, answer: &Answer) {
        let whole = format!("{:?} {}", answer.headers, answer.text());
        for canary in &self.canaries {
            assert!(!whole.contains(canary.as_str()), "{case} shows {canary}: {whole}");
        }
    }
}

/// The requests that an operation takes, with the owner's ids in all of its places.
async fn requests(owner: &Owner<'_>, operation: &Operation) -> Vec<(String, Vec<(&'static str, String)>, Value)> {
    let mut paths = vec![(operation.path.to_owned(), Vec::new())];
    let mut queries = vec![String::new()];
    for parameter in &operation.parameters {
        let name = text(&parameter["name"]);
        let values = owner.values(operation.id, parameter).await;
        match text(&parameter["in"]) {
            "query" => queries.extend(values.iter().map(|value| format!("?{name}={value}"))),
            place => {
                paths = paths
                    .into_iter()
                    .flat_map(|(path, headers)| {
                        values.iter().map(move |value| {
                            let mut headers: Vec<(&'static str, String)> = headers.clone();
                            if place == "header" {
                                headers.push((name, value.clone()));
                            }
                            (path.replace(&format!("{{{name}}}"), value), headers)
                        })
                    })
                    .collect();
            }
        }
    }
    let mut requests = Vec::new();
    for (path, headers) in paths {
        for query in &queries {
            for body in owner.bodies(operation) {
                requests.push((format!("{path}{query}"), headers.clone(), body));
            }
        }
    }
    requests
}

/// Whether an answer tells a stranger nothing but that there is nothing of theirs.
fn is_nothing(operation: &Operation, owner: &Owner<'_>, answer: &Answer) -> bool {
    let body = answer.json();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    match (answer.status, operation.id) {
        (401 | 403 | 404, _) | (410, "listEvents") => true,
        (400, _) => code == "INVALID_CURSOR",
        (200, "listIntegrations" | "listConversations" | "listQuarantine" | "listAudit" | "listEvents") => {
            body["data"]["items"] == json!([])
        }
        (200, "getIntegration") => body["data"].is_null(),
        // The owner's key and account: proven, and still not for a second organization. On another platform they do not fit.
        (409, "connectIntegration") => code == "ACCOUNT_IN_USE",
        // The stranger's own visitor, who only has the same id. Recorded once; then it is known.
        (200 | 201, "recordMessage") => {
            let theirs = &body["data"]["conversationId"];
            body["data"]["text"] == "Stolen"
                && owner.conversations.iter().all(|conversation| conversation["id"] != *theirs)
        }
        _ => false,
    }
}

#[test]
fn no_operation_crosses_organizations() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        let before = owner.snapshot().await;
        let mut calls = 0;
        for operation in operations().iter().filter(|operation| operation.is_of_the_api) {
            let requests = requests(&owner, operation).await;
            // A key of the owner's account on another platform proves another claim: not this test's.
            let fits = |path: &str, body: &Value| {
                operation.id != "connectIntegration" || text(&body["apiKey"]).contains(platform_of(path))
            };
            let requests: Vec<_> = requests.into_iter().filter(|(path, _, body)| fits(path, body)).collect();
            let stranger = Organization::new(rig).await;
            for token in [&stranger.admin, &stranger.operator, &stranger.service] {
                let answers = requests.iter().map(async |(path, headers, body)| {
                    let headers: Vec<(&str, &str)> =
                        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    rig.api_with(&operation.method, path, token, &headers, body.clone()).await
                });
                for ((path, _, body), answer) in requests.iter().zip(join_all(answers).await) {
                    let case = format!("{} {path} {body}", operation.method);
                    assert!(is_nothing(operation, &owner, &answer), "{case}: {} {}", answer.status, answer.text());
                    owner.assert_shows_nothing(&case, &answer);
                    calls += 1;
                }
            }
            assert_eq!(owner.snapshot().await, before, "{} changed something", operation.id);
        }
        assert!(calls > 100, "{calls}");
    });
}

fn platform_of(path: &str) -> &str {
    PLATFORMS.into_iter().find(|platform| path.contains(platform)).unwrap()
}

/// A stranger with an account and a conversation of their own.
async fn busy_stranger<'a>(rig: &'a Rig, platform: &'static str) -> (Organization<'a>, Account<'a>, Value) {
    let (stranger, account) = Organization::with(rig, platform).await;
    account.customer_writes("491600000001", "Mine").await;
    let conversation = stranger.conversation().await;
    (stranger, account, conversation)
}

#[test]
fn foreign_ids_are_worthless_in_an_own_conversation() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        let before = owner.snapshot().await;
        let (stranger, account, conversation) = busy_stranger(rig, "whatsapp").await;
        let path = format!("/api/v1/conversations/{}/messages", text(&conversation["id"]));

        for id in &owner.message_ids {
            let (status, answer) = stranger.send(&conversation, json!({ "text": "x", "replyTo": id })).await;
            assert_eq!((status, &answer["error"]["code"]), (404, &json!("MESSAGE_NOT_FOUND")), "{answer}");
        }
        for operation in ["listMessages", "listConversations"] {
            for cursor in owner.cursors(operation).await {
                for list in [path.as_str(), "/api/v1/conversations"] {
                    let list = format!("{list}?limit=1&cursor={cursor}");
                    let (status, answer) = rig.api("GET", &list, &stranger.admin, Value::Null).await;
                    assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_CURSOR")), "{answer}");
                }
            }
        }
        // The owner's key is as good as any other: it is looked for in the stranger's conversation only.
        let answer = stranger.send_with_key(&conversation, &owner.idempotency_key, json!({ "text": "My own" })).await;
        assert_eq!((answer.status, &answer.json()["data"]["text"]), (201, &json!("My own")), "{}", answer.text());
        owner.assert_shows_nothing("the same key", &answer);

        assert_eq!(owner.snapshot().await, before);
        let sent = rig.sent().await;
        let mine: Vec<&Value> = sent.iter().filter(|sent| sent["accountId"] == account.id.as_str()).collect();
        assert_eq!(mine.len(), 1, "{mine:#?}");
    });
}

#[test]
fn a_webhook_token_delivers_for_its_own_account_only() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        let before = owner.snapshot().await;
        for (target, platform) in owner.accounts.iter().zip(PLATFORMS) {
            let (stranger, account, conversation) = busy_stranger(rig, platform).await;
            let forged = target.fixture("text");

            // The stranger's token, with a body about the owner's account.
            let authorization = [("authorization", account.authorization.as_str())];
            assert_eq!(rig.webhook(&authorization, forged.clone()).await.status, 200);
            let kept = target.quarantined().await;
            // Whose an account of the others is, nobody says.
            let proven = platform == "whatsapp";
            let reason = if proven { "token of another organization" } else { "account that nobody has proven to own" };
            assert!(kept.contains(&reason.to_owned()), "kept, with its reason: {kept:?}");
            // One body about both: each for itself.
            let mut both: Value = serde_json::from_str(&forged).unwrap();
            let mine: Value = serde_json::from_str(&account.fixture("text")).unwrap();
            both["entry"].as_array_mut().unwrap().push(mine["entry"][0].clone());
            account.receive_body(both.to_string()).await;
            // A token that is put together from both.
            let (theirs, own) = (&target.authorization, &account.authorization);
            let (named, tag) = (theirs.rsplit_once('.').unwrap().0, own.rsplit_once('.').unwrap().1);
            let pieced = format!("{named}.{tag}");
            assert_eq!(rig.webhook(&[("authorization", &pieced)], forged).await.status, 401);

            assert_eq!(owner.snapshot().await, before, "{platform}");
            let conversations = stranger.conversations("").await;
            let own = conversations.iter().filter(|found| found["metadata"]["platform"] == platform).count();
            assert!(own == conversations.len() && conversations.contains(&conversation), "{conversations:#?}");
            assert_eq!(conversations.len(), 2, "the part about the own account is received");
        }
    });
}

#[test]
fn ambiguous_delivery_is_quarantined_for_each_account() {
    run(async |rig| {
        let (_, first) = Organization::with(rig, "whatsapp").await;
        let (_, second) = Organization::with(rig, "whatsapp").await;
        for account in [&first, &second] {
            account.receive("status_of_the_future_unknown").await;
            account.receive("status_of_the_future_unknown").await;
        }

        assert_eq!(first.quarantined().await, ["unknown status"]);
        assert_eq!(second.quarantined().await, ["unknown status"]);
    });
}

#[test]
fn own_delivery_changes_no_foreign_message() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        let before = owner.snapshot().await;
        let sent = rig.sent().await;
        let target = sent.iter().find(|sent| sent["accountId"] == owner.accounts[0].id.as_str()).unwrap();
        let (stranger, account, _) = busy_stranger(rig, "whatsapp").await;

        // The owner's own words for its message: our callback data, and the provider's id.
        let status = json!({
            "id": target["id"], "status": "failed", "timestamp": "1900000000", "recipient_id": target["to"],
            "biz_opaque_callback_data": target["callbackData"], "errors": [{ "code": 1, "title": "Stolen" }],
        });
        let deleted = json!({
            "from": target["to"], "id": target["id"], "timestamp": "1900000000", "type": "reaction",
            "reaction": { "message_id": target["id"], "emoji": "👎" },
        });
        let reply = json!({
            "from": target["to"], "id": format!("wamid.reply{}", unique()), "timestamp": "1900000000", "type": "text",
            "text": { "body": "A reply" }, "context": { "id": target["id"] },
        });
        let value = json!({
            "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id },
            "statuses": [status], "messages": [deleted, reply],
        });
        let change = json!({ "field": "messages", "value": value });
        let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] });
        account.receive_body(body.to_string()).await;

        assert_eq!(owner.snapshot().await, before);
        // What the stranger sees of it: the same words, and no message of the owner behind them.
        for conversation in stranger.conversations("").await {
            let messages = stranger.messages(&conversation).await;
            let whole = json!([conversation, messages]).to_string();
            for canary in owner.canaries.iter().filter(|canary| *canary != text(&target["to"])) {
                assert!(!whole.contains(canary.as_str()), "{whole}");
            }
            for message in messages {
                assert_eq!(message["replyTo"]["id"], Value::Null, "{message}");
            }
        }
    });
}

/// An integration as it is in the table.
pub async fn integration_item(rig: &Rig, organization: &str, platform: &str) -> Value {
    let key = json!({ "pk": { "S": format!("ORG#{organization}") }, "sk": { "S": format!("INTEGRATION#{platform}") } });
    let answer = rig.dynamodb("GetItem", json!({ "TableName": table(rig).await, "Key": key })).await;
    assert!(answer["Item"]["credentials"]["M"]["sealedKey"].is_object(), "{answer}");
    answer["Item"].clone()
}

/// Puts an item into the table, past the functions.
pub async fn put(rig: &Rig, item: &Value) {
    let answer = rig.dynamodb("PutItem", json!({ "TableName": table(rig).await, "Item": item })).await;
    assert_eq!(answer, json!({}));
}

#[test]
fn a_sealed_key_that_is_moved_in_the_table_opens_nothing() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        for (platform, from) in [("whatsapp", "whatsapp"), ("instagram", "instagram"), ("facebook", "whatsapp")] {
            let (stranger, account, conversation) = busy_stranger(rig, platform).await;
            let stolen = integration_item(rig, &owner.organization.id, from).await;
            let mut item = integration_item(rig, &stranger.id, platform).await;
            item["credentials"]["M"]["sealedKey"] = stolen["credentials"]["M"]["sealedKey"].clone();
            put(rig, &item).await;
            let sent = rig.sent().await.len();

            let (status, answer) = stranger.send(&conversation, json!({ "text": "Stolen" })).await;

            assert_eq!((status, &answer["error"]["code"]), (409, &json!("NOT_CONNECTED")), "{answer}");
            assert!(!rig.sent().await[sent..].iter().any(|sent| sent["text"] == "Stolen"));
            assert_eq!(stranger.messages(&conversation).await.len(), 1, "nothing is stored");
            let path = format!("/api/v1/social-integrations/{platform}");
            let integration = stranger.get(&path).await;
            assert_eq!(integration["status"], "error", "{integration}");
            assert!(text(&integration["errorMessage"]).contains("Connect again"), "{integration}");
            let (status, tested) = rig.api("POST", &format!("{path}/test"), &stranger.admin, Value::Null).await;
            assert_eq!((status, &tested["data"]["status"]), (200, &json!("error")), "{tested}");

            stranger.connect_account(platform, &account.id).await;
            assert_eq!(stranger.send(&conversation, json!({ "text": "Mine again" })).await.0, 201);
        }
    });
}

#[test]
fn sealed_key_of_another_platform_opens_nothing() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        let whatsapp = integration_item(rig, &owner.organization.id, "whatsapp").await;
        let mut instagram = integration_item(rig, &owner.organization.id, "instagram").await;
        instagram["credentials"]["M"]["sealedKey"] = whatsapp["credentials"]["M"]["sealedKey"].clone();
        put(rig, &instagram).await;
        let of_instagram = |conversation: &&Value| conversation["metadata"]["platform"] == "instagram";
        let conversation = owner.conversations.iter().find(of_instagram).unwrap();

        let (status, answer) = owner.organization.send(conversation, json!({ "text": "Moved" })).await;

        assert_eq!((status, &answer["error"]["code"]), (409, &json!("NOT_CONNECTED")), "{answer}");
        assert!(!rig.sent().await.iter().any(|sent| sent["text"] == "Moved"));
        let integration = owner.organization.get("/api/v1/social-integrations/instagram").await;
        assert_eq!(integration["status"], "error", "{integration}");
        let untouched = owner.organization.get("/api/v1/social-integrations/whatsapp").await;
        assert_eq!(untouched["status"], "connected");
    });
}

#[test]
fn copied_integration_opens_nothing() {
    run(async |rig| {
        let owner = Owner::new(rig).await;
        for platform in PLATFORMS {
            let stranger = Organization::new(rig).await;
            let mut copied = integration_item(rig, &owner.organization.id, platform).await;
            copied["pk"]["S"] = json!(format!("ORG#{}", stranger.id));
            copied["organizationId"]["S"] = json!(stranger.id);
            put(rig, &copied).await;

            let path = format!("/api/v1/social-integrations/{platform}");
            let (status, tested) = rig.api("POST", &format!("{path}/test"), &stranger.admin, Value::Null).await;

            assert_eq!((status, &tested["data"]["status"]), (200, &json!("error")), "{tested}");
            let (status, _) = rig.api("DELETE", &path, &stranger.admin, Value::Null).await;
            assert_eq!(status, 409, "the owner's claim is not the stranger's to give back");
            let untouched = owner.organization.get(&path).await;
            assert_eq!(untouched["status"], "connected");
        }
    });
}
