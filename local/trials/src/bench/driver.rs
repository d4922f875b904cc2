//! Sends requests at a given concurrency and takes the time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use client::{Addresses, Client};
use serde_json::{Value, json};
use system::{
    error::{Error, Result},
    start::Running,
};
use tokio::task::JoinSet;

use super::failed;

/// Longer than any answer takes, waiting for a free process included.
const TIME_LIMIT: Duration = Duration::from_mins(1);
/// The role that the bench plays.
const ROLE: &str = "admin";

/// Drives a running system.
pub(super) struct Driver {
    client: Client,
    at: Addresses,
    next_id: AtomicU64,
    /// Webhook tokens and delivered messages by account; organization and account have the same name.
    accounts: Mutex<BTreeMap<String, Account>>,
}

#[derive(Clone, Default)]
struct Account {
    webhook_token: String,
    token: String,
    delivered: u64,
    sent: u64,
    /// When the next message of each customer was written, epoch seconds: a second after the one before, since nobody writes
    /// two texts in one.
    clocks: BTreeMap<u64, i64>,
}

/// How long ago the first message of each customer was written: their messaging windows are still open.
const SINCE_SECS: i64 = 20 * 60 * 60;

/// A process of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) function: String,
    pub(super) pid: u64,
}

/// A request to be timed.
#[derive(Clone)]
pub(super) struct Call {
    call: client::Call,
    expected: &'static [u16],
}

/// How a number of calls went.
pub(super) struct Timing {
    pub(super) seconds: f64,
    /// Of each call, in milliseconds, ascending.
    pub(super) latencies_ms: Vec<f64>,
    /// Processor time of the function's processes.
    pub(super) cpu_ms: f64,
}

impl Driver {
    pub(super) async fn new(running: &Running) -> Result<Self> {
        let driver = Self {
            client: Client::default(),
            at: running.addresses(),
            next_id: AtomicU64::new(1),
            accounts: Mutex::default(),
        };
        // Statuses come when the bench sends them.
        let settings = json!({ "statuses": "manual" });
        driver.call(&driver.simulator("settings", &settings)).await?;
        Ok(driver)
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, account: &str) -> Account {
        self.accounts().get(account).cloned().unwrap_or_default()
    }

    pub(super) fn account_names(&self) -> Vec<String> {
        self.accounts().keys().cloned().collect()
    }

    pub(super) fn delivered(&self, account: &str) -> (u64, u64) {
        let account = self.account(account);
        (account.delivered, account.sent)
    }

    /// A number that was not used before.
    pub(super) fn fresh(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes an organization with a connected number, both of that name.
    pub(super) async fn connect(&self, name: &str) -> Result<()> {
        let token = self.at.token(&format!("organization={name}&user=bench&role={ROLE}"));
        let token = self.call(&answered_with_200(token)).await?;
        let token = token["token"].as_str().unwrap_or_default().to_owned();
        let key = format!("sim_whatsapp_{name}");
        let body = json!({ "apiKey": key, "phoneNumberId": name });
        let connect = self.at.operation("POST", "/api/v1/social-integrations/whatsapp/connect", &token, &body);
        self.call(&Call { call: connect, expected: &[200, 201] }).await?;
        let registered = self.call(&answered_with_200(self.at.registration(&key))).await?;
        let webhook_token = registered["headers"]["Authorization"].as_str().unwrap_or_default().to_owned();
        self.accounts().insert(name.to_owned(), Account { webhook_token, token, ..Account::default() });
        Ok(())
    }

    /// A control of the simulator.
    pub(super) fn simulator(&self, control: &str, body: &Value) -> Call {
        answered_with_200(self.at.simulate(control, body))
    }

    /// What the simulator accepted.
    pub(super) async fn sent(&self) -> Result<Vec<Value>> {
        let answer = self.call(&answered_with_200(self.at.sent(0))).await?;
        Ok(answer["sent"].as_array().cloned().unwrap_or_default())
    }

    /// A delivery with these values in `messages` or `statuses`.
    pub(super) fn delivery(&self, account: &str, key: &str, items: &[Value]) -> Call {
        let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "waba", "changes": [{ "field": "messages",
            "value": { "messaging_product": "whatsapp",
                "metadata": { "display_phone_number": account, "phone_number_id": account }, key: items } }] }] });
        answered_with_200(self.at.delivery(&self.account(account).webhook_token, body.to_string()))
    }

    /// A text of a customer that nobody has written before.
    pub(super) fn text(&self, account: &str, customer: u64) -> Value {
        let mut written = 0;
        if let Some(account) = self.accounts().get_mut(account) {
            let begin = time::OffsetDateTime::now_utc().unix_timestamp() - SINCE_SECS;
            let clock = account.clocks.entry(customer).or_insert(begin);
            *clock += 1;
            written = *clock;
        }
        self.text_at(account, customer, written)
    }

    /// The same, written at that time in epoch seconds.
    pub(super) fn text_at(&self, account: &str, customer: u64, written: i64) -> Value {
        let id = self.fresh();
        if let Some(account) = self.accounts().get_mut(account) {
            account.delivered += 1;
        }
        json!({ "from": format!("4917{customer:08}"), "id": format!("wamid.bench.{id}"), "timestamp": written.to_string(), "type": "text",
            "text": { "body": format!("Hello, is the blue one in stock? This is question number {id}.") } })
    }

    /// A call of the API on behalf of an account's organization.
    pub(super) fn api(&self, account: &str, path: &str) -> Call {
        let token = self.account(account).token;
        answered_with_200(self.at.operation("GET", &format!("/api/v1/{path}"), &token, &Value::Null))
    }

    /// A reply.
    pub(super) fn reply(&self, account: &str, conversation: &str) -> Call {
        let id = self.fresh();
        if let Some(account) = self.accounts().get_mut(account) {
            account.sent += 1;
        }
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let body = json!({ "text": format!("Yes, it is. This is answer number {id}.") });
        let call = self.at.operation("POST", &path, &self.account(account).token, &body);
        Call { call: call.header("idempotency-key", format!("bench-{id}")), expected: &[201] }
    }

    /// One call; its answer as JSON.
    pub(super) async fn call(&self, call: &Call) -> Result<Value> {
        let Call { call, expected } = call;
        let answer = self.client.call(call, TIME_LIMIT).await;
        let answer = answer.map_err(|error| failed(format!("{} {}: {error}", call.method, call.url)))?;
        let status = answer.status().as_u16();
        if !expected.contains(&status) {
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            return Err(failed(format!("{} {} was answered with {status}: {body}", call.method, call.url)));
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    /// All calls, `concurrency` at a time, each as soon as the one before it is answered.
    pub(super) async fn time(self: &Arc<Self>, function: &str, concurrency: usize, calls: Vec<Call>) -> Result<Timing> {
        let calls = Arc::new(calls);
        let next = Arc::new(AtomicUsize::new(0));
        let cpu_before = self.cpu_ms(function).await?;
        let began = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            let (driver, calls, next) = (Arc::clone(self), Arc::clone(&calls), Arc::clone(&next));
            workers.spawn(async move {
                let mut latencies = Vec::new();
                while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    driver.call(call).await?;
                    latencies.push(began.elapsed().as_secs_f64() * 1000.0);
                }
                Ok::<_, Error>(latencies)
            });
        }
        let mut latencies_ms = Vec::new();
        while let Some(worker) = workers.join_next().await {
            latencies_ms.extend(worker.map_err(|error| failed(error.to_string()))??);
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu_ms = self.cpu_ms(function).await? - cpu_before;
        latencies_ms.sort_by(f64::total_cmp);
        Ok(Timing { seconds, latencies_ms, cpu_ms })
    }

    async fn processes(&self) -> Result<Vec<Value>> {
        let answer = self.call(&answered_with_200(self.at.local("GET", "processes"))).await?;
        Ok(answer["processes"].as_array().cloned().unwrap_or_default())
    }

    async fn cpu_ms(&self, function: &str) -> Result<f64> {
        let processes = self.processes().await?;
        let own = processes.iter().filter(|process| process["function"] == function);
        Ok(own.filter_map(|process| process["cpuMs"].as_f64()).sum())
    }

    /// The most memory that one process of each function had, in megabytes.
    pub(super) async fn peak_memory_mb(&self) -> Result<BTreeMap<String, f64>> {
        let mut peaks = BTreeMap::new();
        for process in self.processes().await? {
            let function = process["function"].as_str().unwrap_or_default().to_owned();
            let megabytes = megabytes(&process["peakRssKb"]).unwrap_or_default();
            let peak = peaks.entry(function).or_insert(0.0_f64);
            *peak = peak.max(megabytes);
        }
        Ok(peaks)
    }

    /// The memory that each process has now, in megabytes.
    pub(super) async fn memory_mb(&self) -> Result<Vec<(Process, f64)>> {
        let processes = self.processes().await?;
        let reading = |process: &Value| {
            let function = process["function"].as_str()?.to_owned();
            Some((Process { function, pid: process["pid"].as_u64()? }, megabytes(&process["rssKb"])?))
        };
        Ok(processes.iter().filter_map(reading).collect())
    }

    /// Kills the webhook's processes and has a new one started; how long that took until it asked for work.
    pub(super) async fn spawn(&self) -> Result<f64> {
        const FUNCTION: &str = "receive-webhook";
        let kill = self.at.local("POST", &format!("kill?function={FUNCTION}"));
        self.call(&answered_with_200(kill)).await?;
        let refused = client::Call::new("GET", &self.at.webhook);
        self.call(&Call { call: refused, expected: &[403] }).await?;
        let processes = self.processes().await?;
        let own = processes.iter().filter(|process| process["function"] == FUNCTION);
        let spawned = own.filter_map(|process| process["spawnToFirstPollMs"].as_f64()).next_back();
        spawned.ok_or_else(|| failed("the webhook's process did not ask for work"))
    }

    /// Asks the processes of a function to end; they may still do something at their end.
    pub(super) async fn terminate(&self, function: &str) -> Result<()> {
        for process in self.processes().await?.iter().filter(|process| process["function"] == function) {
            let mut kill = tokio::process::Command::new("kill");
            let status = kill.args(["-TERM", &process["pid"].to_string()]).status().await;
            status.map_err(|source| Error::Program { program: "kill".to_owned(), source })?;
        }
        Ok(())
    }

    /// What was asked of the table since the last call of this.
    pub(super) async fn metered(&self) -> Result<Value> {
        let figures = self.call(&answered_with_200(self.at.local("GET", "meter"))).await?;
        self.call(&Call { call: self.at.local("DELETE", "meter"), expected: &[204] }).await?;
        Ok(figures)
    }
}

fn megabytes(kilobytes: &Value) -> Option<f64> {
    kilobytes.as_f64().map(|kilobytes| kilobytes / 1024.0)
}

fn answered_with_200(call: client::Call) -> Call {
    Call { call, expected: &[200] }
}
