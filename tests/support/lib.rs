//! Drives a running system over HTTP, for the end-to-end tests.

#![expect(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    reason = "only tests use it, and what is not as expected fails them"
)]

pub mod canaries;

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    mem,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Once, OnceLock},
    thread,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, Request},
};
use canaries::Canaries;
use client::Client;
use emulator::{arn::secret_arn, authorizer::SigningKey};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shared::webhook_token::WebhookKeys;
use tempfile::TempDir;

/// Longer than any answer of a healthy system takes.
const TIME_LIMIT: Duration = Duration::from_secs(40);

/// What to start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The template; `None` for the project's own.
    pub template: Option<PathBuf>,
    /// Where the functions' binaries are.
    pub binaries: PathBuf,
    /// Further arguments, such as `["--parameter", "InstagramPreset=graph"]`.
    pub arguments: Vec<String>,
    /// Variables, such as `ENCRYPTION_KEY`.
    pub variables: Vec<(String, String)>,
    /// Whether the console is served, and built before; most tests do without.
    pub console: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { template: None, binaries: target_folder(), arguments: Vec::new(), variables: Vec::new(), console: false }
    }
}

/// The folder that cargo puts binaries into: above that of the tests, of which this is one.
pub fn target_folder() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// The folder of the project.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The command `local`, run in the project's folder.
pub fn local() -> Command {
    let mut command = Command::new(target_folder().join("local"));
    command.current_dir(workspace());
    command
}

/// `cargo test` builds the binaries of this package only. Naming a test makes cargo choose the same features of all dependencies as
/// `cargo test --workspace` does: without, it would build them a second time.
pub fn build_functions() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace());
        // What the outer cargo says of this package would look like a change to build scripts.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                cargo.env_remove(&name);
            }
        }
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--test", "rig"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the functions do not compile");
    });
}

/// A running system with a data folder of its own; it is stopped when dropped, and its logs are searched for what was sent to it.
#[derive(Debug)]
pub struct Rig {
    /// `http://127.0.0.1:3000`
    pub api: String,
    /// The webhook's URL.
    pub webhook: String,
    /// The provider simulator.
    pub provider: String,
    setup: Setup,
    data: Option<TempDir>,
    process: Child,
    client: Client,
    canaries: Canaries,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The command that starts a system in `data`, for tests that expect it to fail.
pub fn command(setup: &Setup, data: &Path, port: u16) -> Command {
    let mut command = local();
    command
        .env_remove("ENCRYPTION_KEY")
        .env_remove("DIALOG360_WEBHOOK_TOKEN")
        .envs(setup.variables.clone())
        .args(["--json", "--port", &port.to_string(), "--data"])
        .arg(data)
        .arg("--binaries")
        .arg(&setup.binaries)
        .args(&setup.arguments);
    if !setup.console {
        command.arg("--no-console");
    }
    if let Some(template) = &setup.template {
        command.arg("--template").arg(template);
    }
    command
}

impl Rig {
    /// Starts the project's own template.
    pub fn start() -> Self {
        Self::start_with(Setup::default())
    }

    /// Starts what the setup says.
    pub fn start_with(setup: Setup) -> Self {
        let data = tempfile::tempdir().unwrap();
        share_signing_key(data.path());
        Self::run(setup, data, 0, Canaries::default())
    }

    fn run(setup: Setup, data: TempDir, port: u16, canaries: Canaries) -> Self {
        let log = File::create(data.path().join("rig.log")).unwrap();
        let mut process = command(&setup, data.path(), port).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("the system did not start:\n{}", fs::read_to_string(data.path().join("rig.log")).unwrap())
        });
        assert_eq!(ready["event"], "ready");
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        for (_, secret) in &setup.variables {
            canaries.plant_text(secret);
        }
        canaries.plant_text(&fs::read_to_string(data.path().join("encryption-key")).unwrap_or_default());
        let rig = Self {
            api: address("api"),
            webhook: address("webhook"),
            provider: address("provider"),
            setup,
            data: Some(data),
            process,
            client: Client::default(),
            canaries,
        };
        rig.canaries.plant_text(&rig.webhook_secret());
        rig
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.data.as_ref().unwrap().path()
    }

    /// The process of the rig itself.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Stops the system as Ctrl-C does, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "the system does not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the rig itself, as a crash would.
    pub fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts again on the same ports and data folder; stops first where it runs.
    pub fn restart(mut self) -> Self {
        if self.process.try_wait().unwrap().is_none() {
            self.stop();
        }
        let port = self.api.rsplit(':').next().unwrap().parse().unwrap();
        let data = self.data.take().unwrap();
        Self::run(self.setup.clone(), data, port, mem::take(&mut self.canaries))
    }

    /// Starts again with further arguments, which later starts keep.
    pub fn restart_with<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.setup.arguments.extend(arguments.into_iter().map(str::to_owned));
        self.restart()
    }

    /// Any request.
    pub async fn request(&self, method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.into();
        let private = self.canaries.plant(headers, &body);
        let answer = self.client.send(request.body(body).unwrap(), TIME_LIMIT).await;
        let (parts, body) = answer.unwrap_or_else(|error| panic!("{method} {url}: {error}")).into_parts();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        if url.starts_with(&self.provider) || url.contains("/local/token") {
            // The tokens that it was given.
            self.canaries.plant(&[], &answer.body);
        } else if answer.status >= 400 {
            let text = answer.text();
            let repeated = private.iter().find(|private| text.contains(private.as_str()));
            assert_eq!(repeated, None, "{method} {url}: a refusal repeats what was sent: {text}");
        }
        answer
    }

    /// Searches the logs for what was sent so far.
    ///
    /// # Panics
    /// When one tells it.
    pub fn assert_untold(&self) {
        self.canaries.assert_untold(self.data());
    }

    /// A token of the local authorizer.
    pub async fn token(&self, organization: &str, user: &str, role: &str) -> String {
        self.token_with(&format!("organization={organization}&user={user}&role={role}")).await
    }

    /// A token with any claims: `organization`, `user`, `role`, `expiresIn`, and others by their own names.
    pub async fn token_with(&self, query: &str) -> String {
        let answer = self.request("GET", &format!("{}/local/token?{query}", self.api), &[], "").await;
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// A call of the HTTP API; a null body is none, an empty token is none.
    pub async fn api(&self, method: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
        let answer = self.api_with(method, path, token, &[], body).await;
        (answer.status, answer.json())
    }

    /// The same with headers, such as `Idempotency-Key`.
    pub async fn api_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let authorization = format!("Bearer {token}");
        let mut headers = headers.to_vec();
        if !token.is_empty() {
            headers.push(("authorization", &authorization));
        }
        let body = match body {
            Value::Null => Bytes::new(),
            body => {
                headers.push(("content-type", "application/json"));
                Bytes::from(body.to_string())
            }
        };
        self.request(method, &format!("{}{path}", self.api), &headers, body).await
    }

    /// A raw delivery to the webhook.
    pub async fn webhook(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.request("POST", &self.webhook, &all, body).await
    }

    /// The secret that the webhook's tokens are derived from.
    pub fn webhook_secret(&self) -> String {
        let kept: Value = serde_json::from_slice(&fs::read(self.data().join("secrets.json")).unwrap()).unwrap();
        kept[secret_arn("WebhookSecret")]["current"].as_str().unwrap().to_owned()
    }

    /// What is derived from it.
    pub fn webhook_keys(&self) -> WebhookKeys {
        WebhookKeys::derive(&self.webhook_secret().into()).unwrap()
    }

    /// The global token of the webhook.
    pub fn webhook_token(&self) -> String {
        self.webhook_keys().service_token().expose_secret().to_owned()
    }

    /// A text becomes the current version of a secret.
    pub async fn put_secret(&self, name: &str, text: &str) {
        let url = format!("{}/local/secret?name={name}", self.api);
        assert_eq!(self.request("POST", &url, &[], text.to_owned()).await.status, 204);
    }

    /// A control of the simulator, such as `settings` or `status`; it must succeed.
    pub async fn simulate(&self, control: &str, body: Value) -> Value {
        let url = format!("{}/simulate/{control}", self.provider);
        let answer = self.request("POST", &url, &[], body.to_string()).await;
        assert_eq!(answer.status, 200, "{control}: {}", answer.text());
        answer.json()
    }

    /// A customer writes; the answer says whether the first attempt was delivered.
    pub async fn simulate_inbound(&self, platform: &str, account: &str, from: &str, text: &str) -> Value {
        let body =
            json!({ "platform": platform, "accountId": account, "from": from, "name": "Lena Vogt", "text": text });
        self.simulate("inbound", body).await
    }

    /// The next calls of the provider's API go wrong.
    pub async fn fault(&self, fault: &str, calls: u64) {
        self.simulate("fault", json!({ "fault": fault, "calls": calls })).await;
    }

    /// What the provider accepted.
    pub async fn sent(&self) -> Vec<Value> {
        let answer = self.request("GET", &format!("{}/simulate/sent", self.provider), &[], "").await;
        answer.json()["sent"].as_array().unwrap().clone()
    }

    /// Updates that the provider could not deliver yet.
    pub async fn undelivered(&self) -> Vec<Value> {
        let answer = self.request("GET", &format!("{}/simulate/undelivered", self.provider), &[], "").await;
        answer.json()["undelivered"].as_array().unwrap().clone()
    }

    /// What the functions asked of the table and of KMS since the last [`Rig::reset_meter`].
    pub async fn meter(&self) -> Value {
        self.request("GET", &format!("{}/local/meter", self.api), &[], "").await.json()
    }

    /// Counts from zero again.
    pub async fn reset_meter(&self) {
        let answer = self.request("DELETE", &format!("{}/local/meter", self.api), &[], "").await;
        assert_eq!(answer.status, 204);
    }

    /// A change of the rig itself, such as `fault?service=table&fault=error&calls=1`; it must succeed.
    async fn local(&self, method: &str, path: &str) -> Value {
        let answer = self.request(method, &format!("{}/local/{path}", self.api), &[], "").await;
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", answer.text());
        answer.json()
    }

    /// The next calls of `table` or `kms` go wrong; 0 takes it back.
    pub async fn service_fault(&self, service: &str, fault: &str, calls: u64) {
        self.local("POST", &format!("fault?service={service}&fault={fault}&calls={calls}")).await;
    }

    /// Reserves concurrency for a function.
    pub async fn reserve(&self, function: &str, concurrency: u64) {
        self.local("POST", &format!("concurrency?function={function}&reserved={concurrency}")).await;
    }

    /// Takes the reservation back.
    pub async fn unreserve(&self, function: &str) {
        self.local("DELETE", &format!("concurrency?function={function}")).await;
    }

    /// The alarms of the template, as they stand.
    pub async fn alarms(&self) -> Vec<Value> {
        self.local("GET", "alarms").await["alarms"].as_array().unwrap().clone()
    }

    /// For metrics and alarms, time passes.
    pub async fn advance(&self, secs: u64) {
        self.local("POST", &format!("alarms?advance={secs}")).await;
    }

    /// Every metric that has moved.
    pub async fn metrics(&self) -> Vec<Value> {
        self.local("GET", "metrics").await["metrics"].as_array().unwrap().clone()
    }

    /// Kills the processes of a function; says how many there were.
    pub async fn kill(&self, function: &str) -> u64 {
        let answer = self.request("POST", &format!("{}/local/kill?function={function}", self.api), &[], "").await;
        answer.json()["killed"].as_u64().unwrap()
    }

    /// Invokes a function with an event, as `aws lambda invoke` does; it must succeed.
    pub async fn invoke(&self, function: &str, event: Value) -> Value {
        let url = format!("{}/local/invoke?function={function}", self.api);
        let answer = self.request("POST", &url, &[], event.to_string()).await;
        assert_eq!(answer.status, 200, "{function}: {}", answer.text());
        answer.json()
    }

    /// The processes of functions.
    pub async fn processes(&self) -> Vec<Value> {
        let answer = self.request("GET", &format!("{}/local/processes", self.api), &[], "").await;
        answer.json()["processes"].as_array().unwrap().clone()
    }

    /// A call of `DynamoDB` itself, past the meter: `dynamodb("Query", json!({…}))`.
    pub async fn dynamodb(&self, operation: &str, body: Value) -> Value {
        let endpoints = self.request("GET", &format!("{}/local/endpoints", self.api), &[], "").await.json();
        let url = format!("{}/", endpoints["dynamodb"].as_str().unwrap());
        self.aws("local", &url, &format!("DynamoDB_20120810.{operation}"), body).await.json()
    }

    /// A call of an emulated AWS service by this function, or by whoever else has that access key.
    pub async fn aws(&self, caller: &str, url: &str, target: &str, body: Value) -> Answer {
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential={caller}/20261123/eu-central-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=00"
        );
        let headers = [
            ("x-amz-target", target),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-date", "20261123T100000Z"),
            ("authorization", &signature),
        ];
        self.request("POST", url, &headers, body.to_string()).await
    }

    /// What a function logged.
    pub fn log(&self, function: &str) -> String {
        fs::read_to_string(self.data().join(format!("logs/{function}.log"))).unwrap_or_default()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It goes on as another.
        let Some(data) = &self.data else { return };
        let data = data.path().to_owned();
        let runs = matches!(self.process.try_wait(), Ok(None));
        if thread::panicking() {
            if runs {
                eprintln!("the rig said:\n{}", fs::read_to_string(data.join("rig.log")).unwrap_or_default());
            }
            // The test has failed already: be quick.
            drop(self.process.kill());
            drop(self.process.wait());
        } else {
            if runs {
                self.stop();
            }
            self.canaries.assert_untold(&data);
        }
    }
}

/// Waits until `check` has something to return.
///
/// # Panics
/// When it has nothing within `limit`.
pub async fn eventually<T>(what: &str, limit: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Making an RSA key takes a while, so the rigs of one test process share one.
fn share_signing_key(data: &Path) {
    static KEY: OnceLock<String> = OnceLock::new();
    let pem = KEY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signing-key.pem");
        SigningKey::open(&file).unwrap();
        fs::read_to_string(file).unwrap()
    });
    fs::write(data.join("signing-key.pem"), pem).unwrap();
}
