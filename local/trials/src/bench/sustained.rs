//! `local bench --sustained`: many minutes of everything at once, in which one tenant sends a thousand times as much as each of the others.
//!
//! The loop is open: arrivals come at times that were fixed before, whether earlier ones are answered or not, and a latency counts from the
//! time at which the arrival was due. So waiting counts, for a free process as for a driver that comes too late.
//!
//! Many quiet tenants do what tenants do (texts, statuses, replies, reads), first alone and then the same once more beside a noisy one. To
//! that one, its customers send a thousand times as many texts as a quiet one has events of all kinds, one to a delivery. For a tenth of
//! the run before, everybody sends and nothing is timed, so that every process has seen everything.

mod memory;
mod processor;
mod report;
mod schedule;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use system::error::Result;
use time::OffsetDateTime;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::sleep_until};

use super::{
    Bench, Rig,
    driver::{Call, Driver},
    failed, loads,
};
use memory::Memory;
use processor::Processor;
pub use report::Report;
use schedule::{Arrival, Kind, NOISY_TENANT, Timeline};

/// Customers of a quiet tenant.
const QUIET_CUSTOMERS: u64 = 5;
/// Customers of the noisy one: so many that hardly any writes twice in a second.
const NOISY_CUSTOMERS: u64 = 500;
/// What the provider reports of one reply, one after the other.
const STATUSES: [&str; 3] = ["sent", "delivered", "read"];
/// Texts of a delivery, and replies at once, before the run.
const PREPARED_TEXTS: usize = 100;
const PREPARED_REPLIES: usize = 4;
/// How often memory and cores are read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// For how long.
    pub length: Duration,
    /// Events a second, of all tenants together.
    pub rate: f64,
    /// Of the times and kinds of all arrivals.
    pub seed: u64,
}

/// Measures; `say` is told what is being done.
///
/// # Errors
/// When the system does not start, an answer is not what it should be, or a message was lost or doubled.
pub async fn run(bench: &Bench, load: &Load, say: impl Fn(&str)) -> Result<Report> {
    let rig = Rig::start(bench, false, &say).await?;
    let report = measure(&rig.driver, load, &say).await;
    rig.stop().await;
    report
}

async fn measure(driver: &Arc<Driver>, load: &Load, say: &impl Fn(&str)) -> Result<Report> {
    let timeline = Timeline::of(load.length);
    let arrivals = schedule::schedule(timeline, load.rate, load.seed);
    say("Connecting the tenants; every customer writes once…");
    let tenants = prepare(driver, &arrivals).await?;
    let plan = plan(driver, &arrivals, &tenants);
    let began = Instant::now();
    let (samples, readings) = tokio::try_join!(send(driver, plan, began), watch(driver, timeline, began, say))?;
    let counted_back = loads::count_back(driver, say).await?;
    Ok(Report::new(load, timeline, &samples, &readings, counted_back))
}

/// One tenant, connected.
struct Tenant {
    name: String,
    conversations: Vec<String>,
    /// Replies that the provider has accepted.
    sent: Vec<Value>,
}

/// An arrival and what is sent then.
struct Planned {
    arrival: Arrival,
    call: Call,
}

/// How one call went.
#[derive(Debug, Clone, Copy)]
struct Sample {
    arrival: Arrival,
    /// From the time at which it was due.
    latency: Duration,
}

/// What was read during the run.
#[derive(Debug, Default)]
struct Readings {
    memory: Memory,
    processor: Processor,
}

fn name(tenant: usize) -> String {
    (9_100 + tenant).to_string()
}

/// The first message of a customer costs more than any other, and a status needs something that was sent: both before the run.
async fn prepare(driver: &Arc<Driver>, arrivals: &[Arrival]) -> Result<Vec<Tenant>> {
    let mut tenants = Vec::new();
    let mut replies = Vec::new();
    for tenant in 0..=NOISY_TENANT {
        let name = name(tenant);
        driver.connect(&name).await?;
        let customers = if tenant == NOISY_TENANT { NOISY_CUSTOMERS } else { QUIET_CUSTOMERS };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let texts: Vec<_> = (0..customers).map(|customer| driver.text_at(&name, customer, now)).collect();
        for texts in texts.chunks(PREPARED_TEXTS) {
            driver.call(&driver.delivery(&name, "messages", texts)).await?;
        }
        let conversations = loads::conversations(driver, &name).await?;
        let is_status = |arrival: &&Arrival| arrival.tenant == tenant && arrival.kind == Kind::Status;
        let count = arrivals.iter().filter(is_status).count().div_ceil(STATUSES.len());
        replies.extend(loads::replies(driver, &name, &conversations, count));
        tenants.push(Tenant { name, conversations, sent: Vec::new() });
    }
    driver.time("send-message", PREPARED_REPLIES, replies).await?;
    let sent = driver.sent().await?;
    for tenant in &mut tenants {
        tenant.sent = sent.iter().filter(|sent| sent["accountId"] == *tenant.name).cloned().collect();
    }
    Ok(tenants)
}

/// The call of every arrival, ready to be sent: what takes its time is done before.
fn plan(driver: &Driver, arrivals: &[Arrival], tenants: &[Tenant]) -> Vec<Planned> {
    let begin = OffsetDateTime::now_utc();
    let mut turns = BTreeMap::new();
    let plan = arrivals.iter().map(|arrival| {
        let turn = turns.entry((arrival.tenant, arrival.kind)).or_insert(0);
        let call = call(driver, &tenants[arrival.tenant], arrival.kind, *turn, begin + arrival.at);
        *turn += 1;
        Planned { arrival: *arrival, call }
    });
    plan.collect()
}

/// What a tenant does of that kind, for the time numbered `turn`: customers and conversations take turns.
fn call(driver: &Driver, tenant: &Tenant, kind: Kind, turn: usize, now: OffsetDateTime) -> Call {
    let Tenant { name, conversations, sent } = tenant;
    let now = now.unix_timestamp();
    let conversation = &conversations[turn % conversations.len()];
    match kind {
        Kind::Text => {
            let customer = turn % conversations.len();
            driver.delivery(name, "messages", &[driver.text_at(name, customer as u64, now)])
        }
        Kind::Status => {
            let status = loads::status(&sent[turn / STATUSES.len()], STATUSES[turn % STATUSES.len()], now);
            driver.delivery(name, "statuses", &[status])
        }
        Kind::Reply => driver.reply(name, conversation),
        Kind::Conversations => driver.api(name, "conversations?limit=20"),
        Kind::Messages => driver.api(name, &format!("conversations/{conversation}/messages?limit=20")),
    }
}

/// Sends each call when it is due, and takes the time until it is answered.
async fn send(driver: &Arc<Driver>, plan: Vec<Planned>, began: Instant) -> Result<Vec<Sample>> {
    let (done, mut samples) = mpsc::unbounded_channel();
    let (driver, runtime) = (Arc::clone(driver), Handle::current());
    // A thread of its own: the runtime's timer is exact to a millisecond, which is much of a latency here.
    let clock = spawn_blocking(move || {
        for Planned { arrival, call } in plan {
            thread::sleep((began + arrival.at).saturating_duration_since(Instant::now()));
            if done.is_closed() {
                return;
            }
            let (driver, done) = (Arc::clone(&driver), done.clone());
            runtime.spawn(async move {
                let answer = driver.call(&call).await;
                let sample = answer.map(|_| Sample { arrival, latency: began.elapsed().saturating_sub(arrival.at) });
                // After the first failure nobody listens any more.
                drop(done.send(sample));
            });
        }
    });
    let mut all = Vec::new();
    while let Some(sample) = samples.recv().await {
        all.push(
            sample.map_err(|error| failed(format!("{error} (a machine that cannot keep up needs a lower --rate)")))?,
        );
    }
    clock.await.map_err(|error| failed(error.to_string()))?;
    Ok(all)
}

/// Reads the memory of every process, and how busy the cores are, until the end of the run.
async fn watch(driver: &Driver, timeline: Timeline, began: Instant, say: &impl Fn(&str)) -> Result<Readings> {
    let mut readings = Readings::default();
    let mut phase = None;
    let mut due = Duration::ZERO;
    while due <= timeline.end() {
        sleep_until((began + due).into()).await;
        readings.memory.record(due, driver.memory_mb().await?);
        readings.processor.record(due);
        let now = timeline.at(due);
        if phase.replace(now) != Some(now) {
            say(&format!("  {}", now.name()));
        }
        due += READ_EVERY;
    }
    Ok(readings)
}
