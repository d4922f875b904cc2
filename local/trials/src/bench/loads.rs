//! The loads: what is sent, and how much of it.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use system::error::Result;

use super::{
    driver::{Call, Driver, Timing},
    failed,
    report::{Cost, CountedBack, Growth, Load},
};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Calls of each timed load.
    calls: usize,
    /// Starts of a process.
    starts: usize,
    /// Sizes that messages of a conversation, conversations and organizations grow to.
    messages: usize,
    conversations: usize,
    organizations: usize,
}

impl Scale {
    pub(super) const QUICK: Self =
        Self { calls: 400, starts: 10, messages: 5_000, conversations: 500, organizations: 50 };
    pub(super) const FULL: Self =
        Self { calls: 4_000, starts: 40, messages: 100_000, conversations: 10_000, organizations: 1_000 };
}

/// The most updates that the provider puts into one delivery.
const BATCH: usize = 1_000;
/// Customers that the everyday loads are spread over.
const CUSTOMERS: u64 = 50;
/// The number, and organization, of the everyday loads.
const EVERYDAY: &str = "7001";

const WEBHOOK: &str = "receive-webhook";

/// The loads of every day: inbound, statuses, duplicates, sends and reads.
pub(super) async fn everyday(driver: &Arc<Driver>, scale: Scale, say: &impl Fn(&str)) -> Result<Vec<Load>> {
    driver.connect(EVERYDAY).await?;
    let mut loads = Vec::new();
    warm_up(driver).await?;
    for concurrency in [1, 8, 32] {
        say(&format!("  inbound texts, {concurrency} at a time"));
        let calls = texts(driver, EVERYDAY, scale.calls);
        loads.push(timed(driver, "inbound text", WEBHOOK, concurrency, calls).await?);
    }
    say("  duplicates");
    let calls = texts(driver, EVERYDAY, scale.calls / 2);
    run(driver, calls.clone()).await?;
    loads.push(timed(driver, "duplicate", WEBHOOK, 8, calls).await?);
    say("  a delivery of 1,000 texts");
    let calls = (0..3).map(|_| batch(driver, EVERYDAY, BATCH, CUSTOMERS)).collect();
    loads.push(timed(driver, "1,000 texts in one delivery", WEBHOOK, 1, calls).await?);
    say("  replies and their statuses");
    let conversations = conversations(driver, EVERYDAY).await?;
    let calls = replies(driver, EVERYDAY, &conversations, scale.calls / 4);
    loads.push(timed(driver, "reply", "send-message", 8, calls).await?);
    let calls = statuses(driver).await?;
    loads.push(timed(driver, "status", WEBHOOK, 8, calls).await?);
    say("  reads");
    let list = driver.api(EVERYDAY, "conversations?limit=20");
    loads.push(timed(driver, "list conversations", "list-conversations", 4, vec![list; scale.calls / 4]).await?);
    let list = driver.api(EVERYDAY, &format!("conversations/{}/messages?limit=20", conversations[0]));
    loads.push(timed(driver, "list messages", "list-messages", 4, vec![list; scale.calls / 4]).await?);
    Ok(loads)
}

/// How the everyday delivery changes with what is there already.
pub(super) async fn growth(driver: &Arc<Driver>, scale: Scale, say: &impl Fn(&str)) -> Result<Vec<Growth>> {
    let mut grown = Vec::new();
    let probes = scale.calls / 4;

    driver.connect("7100").await?;
    for size in [10, scale.messages] {
        say(&format!("  {size} messages in a conversation"));
        fill(driver, "7100", size, 1).await?;
        let calls = (0..probes).map(|_| driver.delivery("7100", "messages", &[driver.text("7100", 0)])).collect();
        let load = timed(driver, "inbound text", WEBHOOK, 1, calls).await?;
        let conversation = conversations(driver, "7100").await?[0].clone();
        let list = driver.api("7100", &format!("conversations/{conversation}/messages?limit=20"));
        let read = timed(driver, "list messages", "list-messages", 1, vec![list; probes]).await?;
        grown.push(Growth { what: "messages in the conversation", size, inbound: load, read });
    }

    driver.connect("7200").await?;
    for size in [10, scale.conversations] {
        say(&format!("  {size} conversations"));
        fill(driver, "7200", size, size as u64).await?;
        let calls = spread(driver, "7200", probes, size as u64);
        let load = timed(driver, "inbound text", WEBHOOK, 1, calls).await?;
        let list = driver.api("7200", "conversations?limit=20");
        let read = timed(driver, "list conversations", "list-conversations", 1, vec![list; probes]).await?;
        grown.push(Growth { what: "conversations of the organization", size, inbound: load, read });
    }

    let mut organizations = Vec::new();
    for size in [1, scale.organizations] {
        say(&format!("  {size} organizations"));
        while organizations.len() < size {
            let name = (8_000_000 + organizations.len()).to_string();
            driver.connect(&name).await?;
            organizations.push(name);
        }
        // Each once before: who owns an account is looked up once a minute.
        let once = |name: &String| driver.delivery(name, "messages", &[driver.text(name, 0)]);
        run(driver, organizations.iter().map(once).collect()).await?;
        let calls = organizations.iter().cycle().take(probes).map(once).collect();
        let load = timed(driver, "inbound text", WEBHOOK, 1, calls).await?;
        let list = driver.api(&organizations[0], "conversations?limit=20");
        let read = timed(driver, "list conversations", "list-conversations", 1, vec![list; probes]).await?;
        grown.push(Growth { what: "organizations", size, inbound: load, read });
    }
    Ok(grown)
}

/// Table calls and units of each kind of event, counted by the meter.
pub(super) async fn costs(driver: &Arc<Driver>, scale: Scale, say: &impl Fn(&str)) -> Result<Vec<Cost>> {
    driver.connect(EVERYDAY).await?;
    warm_up(driver).await?;
    let count = scale.calls / 4;
    let mut costs = Vec::new();
    let mut counted = async |what: &'static str, calls: Vec<Call>| {
        say(&format!("  {what}"));
        driver.metered().await?;
        let events = calls.len();
        for call in &calls {
            driver.call(call).await?;
        }
        costs.push(Cost::new(what, events, &driver.metered().await?));
        Ok::<_, system::error::Error>(())
    };
    let calls = texts(driver, EVERYDAY, count);
    counted("inbound text", calls.clone()).await?;
    counted("duplicate", calls).await?;
    let half = texts(driver, EVERYDAY, count / 2);
    counted("inbound text, half of them twice", half.iter().flat_map(|call| [call.clone(), call.clone()]).collect())
        .await?;
    fill(driver, EVERYDAY, scale.messages, 1).await?;
    let calls = (0..count).map(|_| driver.delivery(EVERYDAY, "messages", &[driver.text(EVERYDAY, 0)])).collect();
    counted("inbound text, after the conversation has grown", calls).await?;
    fill(driver, EVERYDAY, scale.conversations, scale.conversations as u64).await?;
    let calls = spread(driver, EVERYDAY, count, scale.conversations as u64);
    counted("inbound text, after the inbox has grown", calls).await?;
    // Last: a reply of now is newer than the customers' messages, which are hours old here.
    let conversations = conversations(driver, EVERYDAY).await?;
    counted("reply", replies(driver, EVERYDAY, &conversations, count)).await?;
    counted("status", statuses(driver).await?).await?;
    counted("list conversations", vec![driver.api(EVERYDAY, "conversations?limit=20"); 20]).await?;
    let list = driver.api(EVERYDAY, &format!("conversations/{}/messages?limit=20", conversations[0]));
    counted("list messages", vec![list; 20]).await?;
    Ok(costs)
}

/// How long a process takes from its start until it asks for work, in milliseconds, ascending.
pub(super) async fn cold_starts(driver: &Driver, scale: Scale) -> Result<Vec<f64>> {
    let mut starts = Vec::new();
    for _ in 0..scale.starts {
        starts.push(driver.spawn().await?);
    }
    starts.sort_by(f64::total_cmp);
    Ok(starts)
}

/// Reads everything back through the API and compares it with what was delivered and sent.
pub(super) async fn count_back(driver: &Driver, say: &impl Fn(&str)) -> Result<CountedBack> {
    say("  counting everything back through the API");
    let mut total = CountedBack::default();
    for account in driver.account_names() {
        let (mut inbound, mut outbound) = (0, 0);
        let mut seen = BTreeSet::new();
        for conversation in conversations(driver, &account).await? {
            for message in pages(driver, &account, &format!("conversations/{conversation}/messages?limit=100")).await? {
                let id = message["id"].as_str().unwrap_or_default().to_owned();
                if !seen.insert(format!("{conversation}/{id}")) {
                    return Err(failed(format!("message {id} of account {account} is listed twice")));
                }
                let count = if message["direction"] == "inbound" { &mut inbound } else { &mut outbound };
                *count += 1;
            }
            total.conversations += 1;
        }
        let (delivered, sent) = driver.delivered(&account);
        if (inbound, outbound) != (delivered, sent) {
            return Err(failed(format!(
                "account {account}: {delivered} messages were delivered and {sent} sent, the API shows {inbound} and {outbound}"
            )));
        }
        total.inbound += inbound;
        total.outbound += outbound;
    }
    Ok(total)
}

async fn timed(
    driver: &Arc<Driver>,
    what: &'static str,
    function: &'static str,
    concurrency: usize,
    calls: Vec<Call>,
) -> Result<Load> {
    let Timing { seconds, latencies_ms, cpu_ms } = driver.time(function, concurrency, calls).await?;
    Ok(Load::new(what, concurrency, seconds, &latencies_ms, cpu_ms))
}

/// Processes are started, connections open and owners known.
async fn warm_up(driver: &Arc<Driver>) -> Result<()> {
    let calls =
        (0..CUSTOMERS).map(|customer| driver.delivery(EVERYDAY, "messages", &[driver.text(EVERYDAY, customer)]));
    run(driver, calls.collect()).await?;
    run(driver, texts(driver, EVERYDAY, 200)).await
}

async fn run(driver: &Arc<Driver>, calls: Vec<Call>) -> Result<()> {
    driver.time(WEBHOOK, 8, calls).await.map(drop)
}

fn texts(driver: &Driver, account: &str, count: usize) -> Vec<Call> {
    spread(driver, account, count, CUSTOMERS)
}

/// Deliveries of one text each, of that many customers in turn.
fn spread(driver: &Driver, account: &str, count: usize, customers: u64) -> Vec<Call> {
    let customers = (0..customers).cycle().take(count);
    customers.map(|customer| driver.delivery(account, "messages", &[driver.text(account, customer)])).collect()
}

fn batch(driver: &Driver, account: &str, count: usize, customers: u64) -> Call {
    let customers = (0..customers).cycle().take(count);
    let messages: Vec<Value> = customers.map(|customer| driver.text(account, customer)).collect();
    driver.delivery(account, "messages", &messages)
}

/// Delivers texts of that many customers in turn, the provider's largest delivery at a time.
async fn fill(driver: &Arc<Driver>, account: &str, count: usize, customers: u64) -> Result<()> {
    let numbers: Vec<u64> = (0..customers).cycle().take(count).collect();
    for part in numbers.chunks(BATCH) {
        let messages: Vec<Value> = part.iter().map(|customer| driver.text(account, *customer)).collect();
        driver.call(&driver.delivery(account, "messages", &messages)).await?;
    }
    Ok(())
}

/// Replies in that many conversations in turn.
pub(super) fn replies(driver: &Driver, account: &str, conversations: &[String], count: usize) -> Vec<Call> {
    conversations.iter().cycle().take(count).map(|conversation| driver.reply(account, conversation)).collect()
}

/// A `delivered` for everything that the simulator accepted.
async fn statuses(driver: &Driver) -> Result<Vec<Call>> {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let sent = driver.sent().await?;
    Ok(sent.iter().map(|sent| driver.delivery(EVERYDAY, "statuses", &[status(sent, "delivered", now)])).collect())
}

/// What the provider reports of something that it accepted, at a time in epoch seconds.
pub(super) fn status(sent: &Value, status: &str, at: i64) -> Value {
    json!({ "id": sent["id"], "status": status, "timestamp": at.to_string(),
        "recipient_id": sent["to"], "biz_opaque_callback_data": sent["callbackData"] })
}

pub(super) async fn conversations(driver: &Driver, account: &str) -> Result<Vec<String>> {
    let conversations = pages(driver, account, "conversations?limit=100").await?;
    Ok(conversations.iter().filter_map(|conversation| conversation["id"].as_str()).map(str::to_owned).collect())
}

/// All items of a list.
async fn pages(driver: &Driver, account: &str, path: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = driver.call(&driver.api(account, &format!("{path}{cursor}"))).await?;
        items.extend(page["data"]["items"].as_array().cloned().unwrap_or_default());
        match page["data"]["pagination"]["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}
