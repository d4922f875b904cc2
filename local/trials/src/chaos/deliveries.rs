//! The provider's side: it cuts what it has to tell into deliveries, duplicates, reorders, delays, splits and merges them, and
//! repeats each until it is taken.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use fastrand::Rng;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::sleep;

use super::{
    history::{Attempt, Proof, Span, now_ms},
    protocol::{self, Accepted, Item},
    scene::Scene,
    world::{self, Kind, PLATFORMS, Platform, World},
};

/// The most events of one delivery.
const ITEMS_MAX: usize = 1000;
/// How long a seed's deliveries take to leave, per event.
const MS_PER_EVENT: u64 = 4;

/// Deliveries that wait for their time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Delivery>,
    under_way: usize,
}

#[derive(Debug, Clone)]
struct Delivery {
    /// Its number in the history.
    number: usize,
    platform: Platform,
    body: Bytes,
    /// The account, where it is about one alone: then it may carry that one's token.
    account: Option<usize>,
    due: Instant,
    attempts: u32,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    /// The bodies that wait, shortest first.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.waiting.iter().map(|delivery| String::from_utf8_lossy(&delivery.body).into_owned()).collect();
        left.sort_by_key(String::len);
        left
    }

    fn take_due(&mut self) -> Option<Delivery> {
        let now = Instant::now();
        let due = self.waiting.iter().enumerate().filter(|(_, delivery)| delivery.due <= now);
        let (index, _) = due.min_by_key(|(_, delivery)| delivery.due)?;
        self.under_way += 1;
        Some(self.waiting.swap_remove(index))
    }

    fn done(&mut self, again: Option<Delivery>) {
        self.under_way -= 1;
        self.waiting.extend(again);
    }
}

/// What is delivered together, and when, in milliseconds from the beginning.
#[derive(Debug, Clone)]
struct Planned {
    platform: Platform,
    items: Vec<Item>,
    due_ms: u64,
    /// It was told before; its times may be others.
    is_again: bool,
}

/// Puts all events of the seed into the queue.
pub(super) fn enqueue(scene: &Scene) {
    let random = &mut world::random(scene.world.seed, "deliveries");
    for planned in plan(&scene.world, random) {
        add(scene, planned.platform, planned.items, planned.is_again, Duration::from_millis(planned.due_ms));
    }
}

fn add(scene: &Scene, platform: Platform, items: Vec<Item>, is_again: bool, after: Duration) {
    let mut history = scene.history();
    let body = match (platform, items.as_slice()) {
        (Platform::Website, [Item::Event(event)]) => recorded(&scene.world, *event),
        _ => protocol::body(&scene.world, &history.accepted, platform, &items, is_again),
    };
    let mut accounts: Vec<Option<usize>> = items
        .iter()
        .map(|item| match item {
            Item::Event(event) => scene.world.events[*event].account,
            Item::Status(message, _) => Some(history.accepted[*message].account),
        })
        .collect();
    accounts.sort_unstable();
    accounts.dedup();
    let account = if let [only] = accounts.as_slice() { *only } else { None };
    let number = history.add_delivery(items);
    drop(history);
    let due = Instant::now() + after;
    scene.queue().waiting.push(Delivery { number, platform, body: body.into(), account, due, attempts: 0 });
}

/// The body of `record-message`.
fn recorded(world: &World, event: usize) -> String {
    let event = &world.events[event];
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.at) * 1_000_000).ok();
    let at = at.and_then(|at| at.format(&Rfc3339).ok());
    let customer = json!({ "id": event.shown.user, "name": world.customers[event.customer].name });
    let message = json!({ "id": event.id, "sender": "customer", "text": event.text, "timestamp": at });
    json!({ "customer": customer, "message": message }).to_string()
}

fn plan(world: &World, random: &mut Rng) -> Vec<Planned> {
    let span_ms = u64::try_from(world.events.len()).unwrap_or(0) * MS_PER_EVENT;
    let mut streams: BTreeMap<(Platform, Option<usize>), Vec<usize>> = BTreeMap::new();
    for (index, event) in world.events.iter().enumerate() {
        let platform = world.accounts[world.customers[event.customer].account].platform;
        streams.entry((platform, event.account)).or_default().push(index);
    }
    let mut planned = Vec::new();
    for ((platform, _), mut events) in streams {
        events.sort_by_key(|event| world.events[*event].at);
        disorder(&mut events, random);
        let count = u64::try_from(events.len()).unwrap_or(1);
        let mut at = 0;
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let size = if platform == Platform::Website { 1 } else { size(random).min(rest.len()) };
            // What is not JSON stands alone.
            let readable = rest.iter().take_while(|event| world.events[**event].kind != Kind::NotJson).count();
            let (chunk, others) = rest.split_at(size.min(readable).max(1));
            let delayed = if random.u8(0..20) == 0 { random.u64(..span_ms.max(1)) } else { random.u64(..200) };
            let items = chunk.iter().map(|event| Item::Event(*event)).collect();
            planned.push(Planned { platform, items, due_ms: at * span_ms / count + delayed, is_again: false });
            at += u64::try_from(chunk.len()).unwrap_or(0);
            rest = others;
        }
    }
    let original = planned.clone();
    let is_readable = |planned: &&Planned| !matches!(planned.items[..], [Item::Event(event)] if world.events[event].kind == Kind::NotJson);
    for one in &original {
        let later = one.due_ms + random.u64(..=span_ms / 2);
        match random.u8(0..24) {
            // The same again.
            0 => planned.push(Planned { due_ms: later, is_again: random.bool(), ..one.clone() }),
            // The same again, in two.
            1 if one.items.len() > 1 => {
                let (first, second) = one.items.split_at(random.usize(1..one.items.len()));
                for items in [second, first] {
                    planned.push(Planned {
                        items: items.to_vec(),
                        due_ms: later,
                        is_again: random.bool(),
                        ..one.clone()
                    });
                }
            }
            // The same again, together with something else of this platform.
            2 | 3 if one.platform != Platform::Website && is_readable(&one) => {
                let others = original.iter().filter(|other| other.platform == one.platform).filter(is_readable);
                let others: Vec<&Planned> = others.collect();
                let other = others[random.usize(..others.len())];
                let items: Vec<Item> = one.items.iter().chain(&other.items).copied().take(ITEMS_MAX).collect();
                planned.push(Planned { items, due_ms: later, is_again: random.bool(), ..one.clone() });
            }
            _ => {}
        }
    }
    // Now and then as much as fits into one delivery, with repetitions in itself.
    if world.seed.is_multiple_of(16) {
        let platform = PLATFORMS[random.usize(..3)];
        let items = original.iter().filter(|one| one.platform == platform).filter(is_readable);
        let items: Vec<Item> = items.flat_map(|one| one.items.iter().copied()).collect();
        if !items.is_empty() {
            let items = items.iter().copied().cycle().take(ITEMS_MAX).collect();
            planned.push(Planned { platform, items, due_ms: random.u64(..span_ms.max(1)), is_again: true });
        }
    }
    planned
}

/// Most deliveries are small; some are large.
fn size(random: &mut Rng) -> usize {
    match random.u8(0..40) {
        0..=21 => 1,
        22..=31 => random.usize(2..=10),
        32..=38 => random.usize(11..=60),
        _ => random.usize(61..=ITEMS_MAX),
    }
}

/// Some come earlier than what was before them.
fn disorder(events: &mut [usize], random: &mut Rng) {
    for index in 1..events.len() {
        if random.u8(0..5) == 0 {
            let other = index.saturating_sub(random.usize(1..8));
            events.swap(index, other);
        }
    }
}

/// Delivers what is due, until the seed is over.
pub(super) async fn deliver(scene: Arc<Scene>, number: usize) {
    let random = &mut world::random(scene.world.seed, &format!("deliverer {number}"));
    while !scene.is_over() {
        let due = scene.queue().take_due();
        let Some(delivery) = due else {
            sleep(Duration::from_millis(3)).await;
            continue;
        };
        let again = attempt(&scene, delivery, random).await;
        scene.queue().done(again);
    }
}

/// One attempt; what has to come again.
async fn attempt(scene: &Scene, mut delivery: Delivery, random: &mut Rng) -> Option<Delivery> {
    let (proof, authorization) = proof(scene, &delivery, random);
    let start = now_ms();
    let status = if delivery.platform == Platform::Website {
        let owner = scene.world.accounts[delivery.account?].owner;
        let body = serde_json::from_slice(&delivery.body).unwrap_or_default();
        scene.api(owner, "service", "POST", "channels/website/messages", None, &body).await.status
    } else {
        scene.driver.deliver(authorization.as_deref(), delivery.body.clone()).await
    };
    let attempt = Attempt { proof, span: Span { start, end: now_ms() }, status };
    let is_taken = attempt.is_taken();
    scene.history().deliveries[delivery.number].attempts.push(attempt);
    delivery.attempts += 1;
    if is_taken {
        // The provider did not notice, and delivers it again.
        if random.u8(0..40) > 0 || scene.is_calm() {
            return None;
        }
    } else if matches!(status, 400..=499) {
        scene.history().wrongs.push(format!("a delivery was refused with {status}: {:?}", delivery.body));
        return None;
    }
    let wait = u64::from(delivery.attempts.min(8)) * random.u64(20..80);
    delivery.due = Instant::now() + Duration::from_millis(wait);
    Some(delivery)
}

/// What a delivery authenticates with: mostly the token that was registered last, sometimes an older one, or the global one.
fn proof(scene: &Scene, delivery: &Delivery, random: &mut Rng) -> (Proof, Option<String>) {
    let is_of_nobody = delivery.account.is_none() && scene.history().deliveries[delivery.number].items.len() == 1;
    let tokens = match delivery.account {
        Some(account) => scene.registrations(account),
        None if is_of_nobody => scene.all_registrations(),
        None => Vec::new(),
    };
    let chosen = match random.u8(0..20) {
        0 | 1 => None,
        2 if !tokens.is_empty() => tokens.get(random.usize(..tokens.len())),
        _ => tokens.last(),
    };
    match chosen {
        Some((organization, token)) => (Proof::Organization(*organization), Some(token.clone())),
        None => (Proof::Global, None),
    }
}

/// Reports the statuses of what the provider accepted, each message's in a way of its own.
pub(super) async fn report_statuses(scene: Arc<Scene>, sent_before: usize) {
    let mut known = sent_before;
    while !scene.is_over() {
        for sent in scene.driver.sent(known).await {
            known += 1;
            let text = |name: &str| sent[name].as_str().unwrap_or_default().to_owned();
            let mut accounts = scene.world.accounts.iter();
            let named = |account: &world::Account| account.id == text("accountId");
            let Some(account) = accounts.position(named) else { continue };
            let mut message = Accepted {
                account,
                id: text("id"),
                to: text("to"),
                text: text("text"),
                callback_data: sent["callbackData"].as_str().map(str::to_owned),
                statuses: Vec::new(),
            };
            let random = &mut world::random(scene.world.seed, &message.text);
            let platform = scene.world.accounts[account].platform;
            message.statuses = statuses(platform, random).into_iter().map(|status| (status, now_ms() + 1)).collect();
            let count = message.statuses.len();
            let index = {
                let mut history = scene.history();
                history.accepted.push(message);
                history.accepted.len() - 1
            };
            let after = |random: &mut Rng| {
                // Some before the provider has answered the send.
                Duration::from_millis(if random.bool() { random.u64(..30) } else { random.u64(..700) })
            };
            let items: Vec<Item> = (0..count).map(|status| Item::Status(index, status)).collect();
            if random.u8(0..4) == 0 && count > 0 {
                add(&scene, platform, items, false, after(random));
            } else {
                for item in items {
                    add(&scene, platform, vec![item], false, after(random));
                }
            }
        }
        sleep(Duration::from_millis(15)).await;
    }
}

/// Which statuses a message gets, in the order in which they leave: never, some, all, doubled, backwards, failed.
fn statuses(platform: Platform, random: &mut Rng) -> Vec<&'static str> {
    let all: &[&str] = if platform == Platform::Instagram { &["sent", "read"] } else { &["sent", "delivered", "read"] };
    let some = all[..random.usize(1..=all.len())].to_vec();
    match random.u8(0..20) {
        0..=2 => Vec::new(),
        3..=5 => some.iter().flat_map(|status| [*status, *status]).collect(),
        6..=8 => some.into_iter().rev().collect(),
        9 | 10 if platform == Platform::Whatsapp => vec!["sent", "failed"],
        _ => some,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_delivered_some_several_times() {
        for seed in 0..20 {
            let world = World::new(seed, 300, 1_767_877_200_000);
            let planned = plan(&world, &mut world::random(seed, "deliveries"));

            let mut counts = vec![0; world.events.len()];
            for planned in &planned {
                assert!((1..=ITEMS_MAX).contains(&planned.items.len()));
                for item in &planned.items {
                    if let Item::Event(event) = item {
                        counts[*event] += 1;
                    }
                }
            }
            assert!(counts.iter().all(|count| *count > 0), "seed {seed}");
            assert!(counts.iter().any(|count| *count > 1), "seed {seed}");
        }
    }
}
