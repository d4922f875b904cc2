//! One rig for most tests, and the organizations that live in it.
//!
//! A rig takes a while to start, so tests share one; each makes an organization and accounts of its own, so that they do not meet.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use support::{Answer, Rig, Setup, build_functions, eventually, workspace};
use tokio::runtime::Runtime;

/// Longer than anything that happens by itself takes.
pub const SOON: Duration = Duration::from_secs(15);

/// The shared rig, with the process that stops it.
struct Shared {
    rig: Rig,
    _watchdog: Child,
}

/// Runs a test on the shared rig. All of them run on one runtime: its connections outlive a single test.
pub fn run(test: impl AsyncFnOnce(&'static Rig)) {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    static SHARED: LazyLock<Shared> = LazyLock::new(|| {
        let rig = own_rig(Setup::default());
        let watchdog = watch(&rig);
        Shared { rig, _watchdog: watchdog }
    });
    let rig = &SHARED.rig;
    RUNTIME.block_on(test(rig));
    rig.assert_untold();
}

/// A rig for one test alone: for restarts, kills, meters and other parameters.
pub fn own_rig(setup: Setup) -> Rig {
    build_functions();
    Rig::start_with(setup)
}

/// Nothing is dropped when a test process ends, however it ends: but its end of the pipe is closed then, and the watchdog stops the rig.
fn watch(rig: &Rig) -> Child {
    let script = r#"
        cat > /dev/null
        kill -TERM "$0" 2> /dev/null
        for _ in $(seq 100); do kill -0 "$0" 2> /dev/null || break; sleep 0.1; done
        rm -rf -- "$1"
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", script, &rig.pid().to_string()]).arg(rig.data());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A number that no other test has.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An organization with a token for each role; nothing is connected yet.
#[derive(Debug, Clone)]
pub struct Organization<'a> {
    /// Where it lives.
    pub rig: &'a Rig,
    /// Its id.
    pub id: String,
    /// The token of user `ada`.
    pub admin: String,
    /// The token of user `olga`.
    pub operator: String,
    /// The token of the platform's own services.
    pub service: String,
}

/// An account that an organization has connected.
#[derive(Debug, Clone)]
pub struct Account<'a> {
    /// Where it lives.
    pub rig: &'a Rig,
    /// `whatsapp`, `instagram` or `facebook`.
    pub platform: &'static str,
    /// Phone number id, Instagram account id or page id.
    pub id: String,
    /// What `connect-integration` registered: the `Authorization` header of deliveries, `Bearer …`.
    pub authorization: String,
}

impl<'a> Organization<'a> {
    /// A new one.
    pub async fn new(rig: &'a Rig) -> Self {
        let id = format!("org-{}", unique());
        let (admin, operator, service) = tokio::join!(
            rig.token(&id, "ada", "admin"),
            rig.token(&id, "olga", "operator"),
            rig.token(&id, "chatbot", "service"),
        );
        Self { rig, id, admin, operator, service }
    }

    /// A new one, with an account on one platform.
    pub async fn with(rig: &'a Rig, platform: &'static str) -> (Self, Account<'a>) {
        let organization = Self::new(rig).await;
        let account = organization.connect(platform).await;
        (organization, account)
    }

    /// Connects a new account.
    pub async fn connect(&self, platform: &'static str) -> Account<'a> {
        self.connect_account(platform, &format!("70010020{:07}", unique())).await
    }

    /// Connects this account.
    pub async fn connect_account(&self, platform: &'static str, id: &str) -> Account<'a> {
        let (status, answer) = self.try_connect(platform, id).await;
        assert!(status == 200 || status == 201, "{status} {answer}");
        let key = api_key(platform, id);
        let url = format!("{}/v1/configs/webhook", self.rig.provider);
        let registered = self.rig.request("GET", &url, &[("d360-api-key", &key)], "").await.json();
        let headers = registered["headers"].as_object().unwrap();
        let authorization = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization")).unwrap().1;
        let authorization = authorization.as_str().unwrap().to_owned();
        Account { rig: self.rig, platform, id: id.to_owned(), authorization }
    }

    /// What `connect-integration` answers.
    pub async fn try_connect(&self, platform: &str, id: &str) -> (u16, Value) {
        let field = match platform {
            "whatsapp" => "phoneNumberId",
            "instagram" => "instagramAccountId",
            _ => "facebookPageId",
        };
        let body = json!({ "apiKey": api_key(platform, id), field: id });
        self.rig.api("POST", &format!("/api/v1/social-integrations/{platform}/connect"), &self.admin, body).await
    }

    /// `GET` as the operator; it must succeed. Gives the `data`.
    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.rig.api("GET", path, &self.operator, Value::Null).await;
        assert_eq!(status, 200, "GET {path}: {answer}");
        answer["data"].clone()
    }

    /// The conversations that a query such as `channel=whatsapp` finds, newest first; at most one page of 100.
    pub async fn conversations(&self, query: &str) -> Vec<Value> {
        let data = self.get(&format!("/api/v1/conversations?limit=100&{query}")).await;
        data["items"].as_array().unwrap().clone()
    }

    /// The only conversation of the organization.
    pub async fn conversation(&self) -> Value {
        let mut conversations = self.conversations("").await;
        assert_eq!(conversations.len(), 1, "{conversations:#?}");
        conversations.remove(0)
    }

    /// All messages of a conversation, oldest first, over as many pages as it takes.
    pub async fn messages(&self, conversation: &Value) -> Vec<Value> {
        let path = format!("/api/v1/conversations/{}/messages?limit=100", text(&conversation["id"]));
        let mut messages = Vec::new();
        let mut page = self.get(&path).await;
        loop {
            messages.extend(page["items"].as_array().unwrap().clone());
            let Some(cursor) = page["pagination"]["nextCursor"].as_str() else { break };
            page = self.get(&format!("{path}&cursor={cursor}")).await;
        }
        messages.reverse();
        messages
    }

    /// All messages of the only conversation, oldest first.
    pub async fn thread(&self) -> Vec<Value> {
        self.messages(&self.conversation().await).await
    }

    /// `PATCH` of a conversation as the operator; it must succeed. Gives the conversation.
    pub async fn update(&self, conversation: &Value, changes: Value) -> Value {
        let path = format!("/api/v1/conversations/{}", text(&conversation["id"]));
        let (status, answer) = self.rig.api("PATCH", &path, &self.operator, changes).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    }

    /// What waits in quarantine on the organization's accounts, newest first; at most one page of 100.
    pub async fn quarantine(&self) -> Vec<Value> {
        let (status, answer) = self.rig.api("GET", "/api/v1/quarantine?limit=100", &self.admin, Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"]["items"].as_array().unwrap().clone()
    }

    /// Has an entry of the quarantine received again.
    pub async fn replay(&self, id: &Value) -> (u16, Value) {
        let path = format!("/api/v1/quarantine/{}/replay", text(id));
        self.rig.api("POST", &path, &self.admin, Value::Null).await
    }

    /// The audit trail, newest first, over as many pages as it takes.
    pub async fn audit(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/audit?limit=4{cursor}");
            let (status, answer) = self.rig.api("GET", &path, &self.admin, Value::Null).await;
            assert_eq!(status, 200, "{answer}");
            entries.extend(answer["data"]["items"].as_array().unwrap().clone());
            let Some(next) = answer["data"]["pagination"]["nextCursor"].as_str() else { return entries };
            cursor = format!("&cursor={next}");
        }
    }

    /// Sends a reply, with a new idempotency key.
    pub async fn send(&self, conversation: &Value, body: Value) -> (u16, Value) {
        let key = format!("key-{}", unique());
        let answer = self.send_with_key(conversation, &key, body).await;
        (answer.status, answer.json())
    }

    /// Sends a reply.
    pub async fn send_with_key(&self, conversation: &Value, key: &str, body: Value) -> Answer {
        let path = format!("/api/v1/conversations/{}/messages", text(&conversation["id"]));
        self.rig.api_with("POST", &path, &self.operator, &[("idempotency-key", key)], body).await
    }
}

impl Account<'_> {
    /// Delivers a body with the header that was registered.
    pub async fn deliver(&self, body: impl Into<Vec<u8>>) -> Answer {
        let headers = [("authorization", self.authorization.as_str())];
        self.rig.webhook(&headers, body.into()).await
    }

    /// Delivers a fixture, addressed to this account; it must be answered with 200 and no body.
    pub async fn receive(&self, fixture: &str) {
        self.receive_body(self.fixture(fixture)).await;
    }

    /// Delivers a body that must be answered with 200 and no body.
    pub async fn receive_body(&self, body: impl Into<Vec<u8>>) {
        let body = body.into();
        let mut answer = self.deliver(body.clone()).await;
        // A machine that is too busy to store in time says so, and the provider delivers again.
        if answer.status == 503 {
            answer = self.deliver(body).await;
        }
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    }

    /// A fixture of the account's platform, addressed to this account.
    pub fn fixture(&self, name: &str) -> String {
        let body = fixture(self.platform, name);
        FIXTURE_ACCOUNTS.iter().fold(body, |body, account| body.replace(account, &self.id))
    }

    /// What is in quarantine about this account: for each, why.
    pub async fn quarantined(&self) -> Vec<String> {
        let of_this = json!({ "S": self.id });
        let all = quarantined(self.rig).await.into_iter().filter(|item| item["accountId"] == of_this);
        let mut reasons: Vec<_> = all.map(|item| text(&item["reason"]["S"]).to_owned()).collect();
        reasons.sort();
        reasons
    }

    /// A delivery of one text of a customer, written at that time (epoch seconds).
    pub fn text_delivery(&self, id: &str, from: &str, at: u64, text: &str) -> String {
        if self.platform == "whatsapp" {
            let message = json!({ "from": from, "id": id, "timestamp": at.to_string(), "type": "text", "text": { "body": text } });
            let metadata = json!({ "phone_number_id": self.id });
            let value = json!({ "messaging_product": "whatsapp", "metadata": metadata, "messages": [message] });
            let change = json!({ "field": "messages", "value": value });
            return json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] })
                .to_string();
        }
        let object = if self.platform == "instagram" { "instagram" } else { "page" };
        let item = json!({
            "sender": { "id": from }, "recipient": { "id": self.id }, "timestamp": at * 1000,
            "message": { "mid": id, "text": text },
        });
        json!({ "object": object, "entry": [{ "id": self.id, "time": at, "messaging": [item] }] }).to_string()
    }

    /// A customer writes now, through the simulator; waits until it is stored.
    pub async fn customer_writes(&self, from: &str, text: &str) {
        self.rig.simulate_inbound(self.platform, &self.id, from, text).await;
        eventually("the message is delivered", SOON, async || {
            let undelivered = self.rig.undelivered().await;
            undelivered.iter().all(|delivery| delivery["account"]["id"] != self.id.as_str()).then_some(())
        })
        .await;
    }
}

/// The account ids in the fixtures.
const FIXTURE_ACCOUNTS: [&str; 3] = ["700100200300402", "17841400001112223", "110220330440550"];

/// The key that the simulator takes for this account.
pub fn api_key(platform: &str, account: &str) -> String {
    format!("sim_{platform}_{account}")
}

/// A provider's delivery, as it is in the fixtures.
pub fn fixture(platform: &str, name: &str) -> String {
    let folder = workspace().join("shared/tests/fixtures");
    let path = folder.join(platform).join(format!("{name}.json"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of a platform's fixtures.
pub fn fixtures(platform: &str) -> Vec<String> {
    let folder = workspace().join("shared/tests/fixtures").join(platform);
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The name of the table.
pub async fn table(rig: &Rig) -> String {
    let endpoints = rig.request("GET", &format!("{}/local/endpoints", rig.api), &[], "").await.json();
    text(&endpoints["table"]).to_owned()
}

/// Everything in the table but the journals, which are written a moment later.
pub async fn items(rig: &Rig) -> Vec<Value> {
    let is_of_a_journal = |item: &Value| text(&item["pk"]["S"]).ends_with("#JOURNAL");
    everything(rig).await.into_iter().filter(|item| !is_of_a_journal(item)).collect()
}

/// Everything in the table, in `DynamoDB`'s own JSON.
pub async fn everything(rig: &Rig) -> Vec<Value> {
    let table = table(rig).await;
    let mut items = Vec::new();
    let mut request = json!({ "TableName": table });
    loop {
        let page = rig.dynamodb("Scan", request.clone()).await;
        items.extend(page["Items"].as_array().unwrap().clone());
        if page["LastEvaluatedKey"].is_null() {
            return items;
        }
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
    }
}

/// What is in quarantine.
pub async fn quarantined(rig: &Rig) -> Vec<Value> {
    let is_quarantined = |item: &Value| {
        item["pk"]["S"].as_str().is_some_and(|pk| pk.contains("QUARANTINE#") && !pk.ends_with("#PARTITIONS"))
    };
    items(rig).await.into_iter().filter(is_quarantined).collect()
}

/// Fails unless `actual` has everything that `expected` has; objects may have more.
pub fn assert_includes(actual: &Value, expected: &Value, what: &str) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (name, value) in expected {
                let of_actual = actual.get(name).unwrap_or(&Value::Null);
                assert_includes(of_actual, value, &format!("{what}.{name}"));
            }
        }
        _ => assert_eq!(actual, expected, "{what}"),
    }
}

/// Now, epoch seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// JSON that must be text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}
