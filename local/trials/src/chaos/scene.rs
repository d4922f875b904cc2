//! One seed from its beginning to its end: everybody acts at once while things go wrong, then the dust settles.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use emulator::faults::Faults;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{
    agents,
    check::{self, Finding},
    deliveries::{self, Queue},
    driver::{Answer, Driver},
    history::{History, now_ms},
    trouble,
    world::{Platform, World},
};

/// Longer than anything that is repeated takes once nothing goes wrong any more.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// How many deliveries are under way at once.
const DELIVERERS: usize = 6;
const OPERATORS: usize = 3;

/// Everything that the people and things of a seed share.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) driver: Arc<Driver>,
    history: Mutex<History>,
    queue: Mutex<Queue>,
    /// The key of each account that the provider takes.
    keys: Mutex<Vec<String>>,
    /// Who has registered a webhook for an account, one after the other, and the token that its deliveries carry.
    registrations: Mutex<BTreeMap<usize, Vec<(usize, String)>>>,
    /// What went wrong on purpose, by the driver's own hand.
    injected: Mutex<BTreeMap<String, u64>>,
    /// Nothing goes wrong any more.
    calm: AtomicBool,
    /// Nobody acts any more.
    over: AtomicBool,
}

/// What came of a seed.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) findings: Vec<Finding>,
    pub(super) injected: BTreeMap<String, u64>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        locked(&self.history)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(super) fn key(&self, account: usize) -> String {
        locked(&self.keys)[account].clone()
    }

    pub(super) fn set_key(&self, account: usize, key: String) {
        locked(&self.keys)[account] = key;
    }

    /// Who has registered a webhook for the account, the last one last.
    pub(super) fn registrations(&self, account: usize) -> Vec<(usize, String)> {
        locked(&self.registrations).get(&account).cloned().unwrap_or_default()
    }

    /// The last registrations of all accounts.
    pub(super) fn all_registrations(&self) -> Vec<(usize, String)> {
        locked(&self.registrations).values().flatten().cloned().collect()
    }

    pub(super) fn registered(&self, account: usize, organization: usize, authorization: String) {
        locked(&self.registrations).entry(account).or_default().push((organization, authorization));
    }

    pub(super) fn inject(&self, what: &str) {
        *locked(&self.injected).entry(what.to_owned()).or_default() += 1;
    }

    /// A call of the API on behalf of an organization. Whatever the answer is, nothing of another organization may be in it.
    pub(super) async fn api(
        &self,
        organization: usize,
        role: &'static str,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Answer {
        let name = &self.world.organizations[organization];
        let answer = self.driver.api((name, role), method, path, key, body).await;
        for Foreign { who, before } in foreign(&answer.text, name) {
            if !self.history().was_echoed_to(&self.world, organization, before) {
                let wrong = format!("{name} was shown what {who} wrote: {method} {path}: {}", answer.text);
                self.history().wrongs.push(wrong);
            }
        }
        answer
    }
}

/// Words of another organization.
#[derive(Debug, PartialEq)]
struct Foreign<'a> {
    who: &'a str,
    /// What stands before its canary in the answer: the end of it tells which message that is.
    before: &'a str,
}

/// Words of other organizations in an answer to `own`.
fn foreign<'a>(text: &'a str, own: &str) -> Vec<Foreign<'a>> {
    const BEGIN: &str = "canary.";
    let found = text.match_indices(BEGIN).map(|(at, _)| {
        let rest = &text[at + BEGIN.len()..];
        let end = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '-').unwrap_or(rest.len());
        Foreign { who: &rest[..end], before: &text[..at] }
    });
    found.filter(|foreign| foreign.who != own).collect()
}

/// Plays a seed and compares what the system says with what happened.
pub(super) async fn play(driver: &Arc<Driver>, faults: &Faults, seed: u64, events: usize) -> Outcome {
    let world = World::new(seed, events, now_ms());
    let keys = world.accounts.iter().map(|account| format!("sim_{}_{}", account.platform, account.id)).collect();
    let began = now_ms();
    let scene = Arc::new(Scene {
        driver: Arc::clone(driver),
        history: Mutex::default(),
        queue: Mutex::default(),
        keys: Mutex::new(keys),
        registrations: Mutex::default(),
        injected: Mutex::default(),
        calm: AtomicBool::new(false),
        over: AtomicBool::new(false),
        world,
    });
    let sent_before = driver.sent(0).await.len();
    // Every claim is proven: what comes with the global token is its account's, too.
    driver.simulate("settings", &json!({ "statuses": "manual", "namesAccounts": true })).await;

    faults.set(trouble::rate(seed), seed);
    let mut connecting = JoinSet::new();
    for account in provider_accounts(&scene) {
        connecting.spawn(agents::connect(Arc::clone(&scene), account, scene.world.accounts[account].owner));
    }
    connecting.join_all().await;

    deliveries::enqueue(&scene);
    let mut background = JoinSet::new();
    for number in 0..DELIVERERS {
        background.spawn(deliveries::deliver(Arc::clone(&scene), number));
    }
    background.spawn(deliveries::report_statuses(Arc::clone(&scene), sent_before));
    let mut troublemaker = JoinSet::new();
    troublemaker.spawn(trouble::inject_faults(Arc::clone(&scene)));
    let mut acting = JoinSet::new();
    for number in 0..OPERATORS {
        acting.spawn(agents::operate(Arc::clone(&scene), number));
    }
    for account in provider_accounts(&scene) {
        acting.spawn(agents::administrate(Arc::clone(&scene), account));
    }
    let acted = Instant::now();
    while !(acting.is_empty() && scene.queue().is_empty()) && acted.elapsed() < SETTLES_WITHIN {
        if acting.try_join_next().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    scene.calm.store(true, Ordering::SeqCst);
    faults.off();
    troublemaker.join_all().await;
    driver.simulate("fault", &json!({ "fault": "none" })).await;
    acting.join_all().await;
    while faults.under_way() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    drain(&scene).await;
    agents::settle(&scene).await;
    drain(&scene).await;
    agents::still_works(&scene).await;
    drain(&scene).await;
    scene.over.store(true, Ordering::SeqCst);
    background.join_all().await;

    let report = check::run(&scene, began).await;
    let history = scene.history();
    let counts = BTreeMap::from([
        ("events", u64_of(scene.world.events.len())),
        ("deliveries", u64_of(history.deliveries.len())),
        ("attempts", u64_of(history.deliveries.iter().map(|delivery| delivery.attempts.len()).sum())),
        ("sends", u64_of(history.sends.len())),
        ("accepted by the provider", u64_of(history.accepted.len())),
        ("changes by operators", u64_of(history.patches.len())),
        ("conversations", report.conversations),
        ("conversations in doubt", report.in_doubt),
    ]);
    Outcome { findings: report.findings, injected: locked(&scene.injected).clone(), counts }
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn provider_accounts(scene: &Scene) -> Vec<usize> {
    let accounts = scene.world.accounts.iter().enumerate();
    accounts.filter(|(_, account)| account.platform != Platform::Website).map(|(index, _)| index).collect()
}

/// Waits until everything is delivered, and the statuses of everything that was sent meanwhile, too.
async fn drain(scene: &Scene) {
    // The statuses of what was sent a moment ago are noticed a moment later.
    const QUIET: Duration = Duration::from_millis(150);
    let began = Instant::now();
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET {
        if !scene.queue().is_empty() {
            quiet_since = Instant::now();
        }
        if began.elapsed() > SETTLES_WITHIN {
            let mut left = scene.queue().left();
            left.truncate(5);
            scene
                .history()
                .wrongs
                .push(format!("never answered with 200 although nothing goes wrong any more: {left:?}"));
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_another_organization_are_found() {
        assert_eq!(foreign(r#"{"text":"«1.2» canary.o1-0 yes"}"#, "o1-0"), []);
        let found = foreign(r#""canary.o1-0 «1.s2» canary.o1-1""#, "o1-0");
        assert_eq!(found, [Foreign { who: "o1-1", before: r#""canary.o1-0 «1.s2» "# }]);
    }
}
