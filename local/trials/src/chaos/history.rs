//! The true history of a seed: what was delivered and how it was answered, who owned each account when, what operators asked and
//! were told. From it follows what the system may show in the end, and what it must.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{
    protocol::{Accepted, Item},
    world::{Kind, Platform, World},
};

/// How long the webhook believes in an account's owner without asking again.
const OWNER_CACHE_MS: i64 = 60_000;
/// A process that was killed is gone after this.
const DYING_MS: i64 = 300;

/// Now, epoch milliseconds.
pub(super) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// From when to when something was asked and answered, epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// What a delivery authenticates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The token of the whole installation.
    Global,
    /// The token that was registered for an account of this organization.
    Organization(usize),
}

/// One attempt of a delivery.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) proof: Proof,
    pub(super) span: Span,
    /// 0 without an answer.
    pub(super) status: u16,
}

/// A delivery, and every attempt at it.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) items: Vec<Item>,
    pub(super) attempts: Vec<Attempt>,
}

/// Who owns an account: whose integration it is, and whether that is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Connected(usize),
    Disconnected(usize),
}

/// A time during which an account may have had an owner: from the request that made it possible to the answer that ended it.
#[derive(Debug, Clone, Copy)]
struct Reign {
    owner: Owner,
    from: i64,
    until: Option<i64>,
}

/// An organization gave an account away, at some moment of this time.
#[derive(Debug, Clone, Copy)]
struct Release {
    organization: usize,
    span: Span,
}

/// What may become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Stored(usize),
    Quarantined,
    Ignored,
}

/// One request of an operator for a message, and its answer.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) span: Span,
    pub(super) text: usize,
    pub(super) status: u16,
    pub(super) code: String,
    /// The message's status in the answer.
    pub(super) shown: String,
}

/// A message under one idempotency key, however often it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Send {
    pub(super) organization: usize,
    pub(super) conversation: String,
    pub(super) key: String,
    pub(super) is_note: bool,
    /// Several where operators raced with different texts under one key.
    pub(super) texts: Vec<String>,
    pub(super) told: Vec<Told>,
}

/// A change of a conversation by an operator.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    pub(super) organization: usize,
    pub(super) conversation: String,
    pub(super) body: Value,
    pub(super) span: Span,
    pub(super) status: u16,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) deliveries: Vec<Delivered>,
    /// The deliveries that hold an item, by index.
    holding: BTreeMap<Item, Vec<usize>>,
    reigns: BTreeMap<usize, Vec<Reign>>,
    releases: BTreeMap<usize, Vec<Release>>,
    /// When all processes of the webhook had been killed.
    webhook_kills: Vec<i64>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) sends: Vec<Send>,
    pub(super) patches: Vec<Patch>,
    /// Accounts whose key the provider refused at least once.
    pub(super) refused: BTreeSet<usize>,
    /// What was wrong at once.
    pub(super) wrongs: Vec<String>,
}

impl History {
    /// A request is about to make `owner` possible.
    pub(super) fn may_become(&mut self, account: usize, owner: Owner) {
        let reigns = self
            .reigns
            .entry(account)
            .or_insert_with(|| vec![Reign { owner: Owner::Nobody, from: i64::MIN, until: None }]);
        reigns.push(Reign { owner, from: now_ms(), until: None });
    }

    /// An answer says that `owner` is all that is possible from now on.
    pub(super) fn is_now(&mut self, account: usize, owner: Owner) {
        let now = now_ms();
        for reign in self.reigns.entry(account).or_default() {
            if reign.owner != owner && reign.until.is_none() {
                reign.until = Some(now);
            }
        }
    }

    /// An organization has given the account away, at some moment since `start`.
    pub(super) fn was_released(&mut self, account: usize, organization: usize, start: i64) {
        let span = Span { start, end: now_ms() };
        self.releases.entry(account).or_default().push(Release { organization, span });
    }

    /// Who may own the account now.
    pub(super) fn owners(&self, account: usize) -> Vec<Owner> {
        let Some(reigns) = self.reigns.get(&account) else { return vec![Owner::Nobody] };
        let mut owners: Vec<Owner> = Vec::new();
        for reign in reigns.iter().filter(|reign| reign.until.is_none()) {
            if !owners.contains(&reign.owner) {
                owners.push(reign.owner);
            }
        }
        owners
    }

    /// Whether what stands at the end of `text` begins a reply that Messenger or Instagram may have echoed to the organization: what an
    /// account wrote is told to whoever has the account by then, unless somebody else had it when it was written.
    pub(super) fn was_echoed_to(&self, world: &World, organization: usize, text: &str) -> bool {
        let Some(mark) = text.rfind('«').map(|at| text[at..].trim_end()) else { return false };
        self.accepted.iter().any(|message| {
            message.text.starts_with(mark)
                && matches!(world.accounts[message.account].platform, Platform::Instagram | Platform::Facebook)
                && message.statuses.iter().any(|(status, at)| {
                    let reigns = self.reigns.get(&message.account).into_iter().flatten();
                    let mut own = reigns.filter(|reign| reign.owner == Owner::Connected(organization));
                    *status == "sent" && own.any(|reign| self.may_be_of(message.account, reign, organization, *at))
                })
        })
    }

    /// Whether what happened then may be of an organization's reign: not where another gave the account away later.
    fn may_be_of(&self, account: usize, reign: &Reign, organization: usize, at: i64) -> bool {
        let earlier = self.releases_before(account, reign).filter(|release| release.organization != organization);
        earlier.map(|release| whole_second(release.span.start)).max().is_none_or(|start| at >= start)
    }

    /// Whether what happened then may be of a time before a reign. A failed attempt of another organization makes that of the former
    /// owner's own time.
    fn may_be_earlier(&self, account: usize, reign: &Reign, at: i64) -> bool {
        self.releases_before(account, reign).any(|release| at < whole_second(release.span.end))
    }

    fn releases_before(&self, account: usize, reign: &Reign) -> impl Iterator<Item = &Release> {
        let releases = self.releases.get(&account).into_iter().flatten();
        releases.filter(move |release| release.span.start <= reign.from)
    }

    pub(super) fn webhook_was_killed(&mut self) {
        self.webhook_kills.push(now_ms());
    }

    /// What may have become of an event about `account`, which happened at `at`, in an attempt: one answer where nobody changed
    /// anything at the time.
    fn outcomes(&self, world: &World, account: Option<usize>, at: i64, attempt: &Attempt) -> BTreeSet<Outcome> {
        let Some(account) = account else { return BTreeSet::from([Outcome::Quarantined]) };
        if world.accounts[account].platform == Platform::Website {
            return BTreeSet::from([Outcome::Stored(world.accounts[account].owner)]);
        }
        let Some(reigns) = self.reigns.get(&account) else { return BTreeSet::from([Outcome::Quarantined]) };
        let Attempt { proof, span, .. } = attempt;
        let covers = |organization| *proof == Proof::Global || *proof == Proof::Organization(organization);
        // What nobody owned waits for who connects the account next.
        let next = reigns.iter().filter(|reign| reign.until.is_none_or(|until| until >= span.start));
        let waits_for = next.filter_map(|reign| match reign.owner {
            Owner::Connected(owner) if covers(owner) && self.may_be_of(account, reign, owner, at) => {
                Some(Outcome::Stored(owner))
            }
            _ => None,
        });
        let mut outcomes = BTreeSet::new();
        for reign in reigns.iter().filter(|reign| reign.from <= span.end) {
            let in_force = reign.until.is_none_or(|until| until >= span.start);
            if reign.owner == Owner::Nobody && in_force {
                outcomes.extend(waits_for.clone());
            }
            if matches!(reign.owner, Owner::Connected(_)) && in_force && self.may_be_earlier(account, reign, at) {
                outcomes.insert(Outcome::Quarantined);
            }
            outcomes.extend(match reign.owner {
                Owner::Nobody if in_force => Some(Outcome::Quarantined),
                Owner::Connected(owner) | Owner::Disconnected(owner) if in_force && !covers(owner) => {
                    Some(Outcome::Quarantined)
                }
                Owner::Connected(owner) if !self.may_be_of(account, reign, owner, at) => None,
                Owner::Connected(owner) if in_force => Some(Outcome::Stored(owner)),
                Owner::Disconnected(_) if in_force => Some(Outcome::Ignored),
                // Only a token of that organization is believed without a look at the table.
                Owner::Connected(owner) if *proof == Proof::Organization(owner) => reign
                    .until
                    .filter(|until| self.may_be_remembered(*until, span.start))
                    .map(|_| Outcome::Stored(owner)),
                Owner::Nobody | Owner::Connected(_) | Owner::Disconnected(_) => None,
            });
        }
        outcomes
    }

    /// Whether some process may still believe at `at` what ended at `until`.
    fn may_be_remembered(&self, until: i64, at: i64) -> bool {
        let was_killed = self.webhook_kills.iter().any(|kill| *kill >= until && kill + DYING_MS < at);
        at - until < OWNER_CACHE_MS && !was_killed
    }

    /// A delivery that the provider will repeat until it is taken; its number.
    pub(super) fn add_delivery(&mut self, items: Vec<Item>) -> usize {
        let number = self.deliveries.len();
        for item in &items {
            let holding = self.holding.entry(*item).or_default();
            if holding.last() != Some(&number) {
                holding.push(number);
            }
        }
        self.deliveries.push(Delivered { items, attempts: Vec::new() });
        number
    }

    /// Every attempt at an item, with what may have become of it.
    pub(super) fn attempts_at(&self, world: &World, item: Item) -> Vec<(&Attempt, BTreeSet<Outcome>)> {
        let (account, kind, at) = match item {
            Item::Event(event) => {
                let event = &world.events[event];
                (event.account, Some(event.kind), event.at)
            }
            Item::Status(message, status) => {
                let message = &self.accepted[message];
                let at = message.statuses[status].1;
                let is_rounded = world.accounts[message.account].platform == Platform::Whatsapp;
                (Some(message.account), None, if is_rounded { whole_second(at) } else { at })
            }
        };
        let holding = self.holding.get(&item).into_iter().flatten();
        let attempts = holding.flat_map(|delivery| &self.deliveries[*delivery].attempts);
        let outcomes = |attempt| match kind {
            Some(Kind::NotJson) => BTreeSet::from([Outcome::Quarantined]),
            Some(kind) if kind.is_poison() => {
                let outcomes = self.outcomes(world, account, at, attempt).into_iter();
                outcomes
                    .map(|outcome| if outcome == Outcome::Ignored { outcome } else { Outcome::Quarantined })
                    .collect()
            }
            _ => self.outcomes(world, account, at, attempt),
        };
        attempts.map(|attempt| (attempt, outcomes(attempt))).collect()
    }

    /// When an event was first answered with 200 while the organization certainly had the account, and could be read from then on.
    /// What was acknowledged before that, while the account was disconnected, is not there.
    pub(super) fn settled_at(&self, world: &World, event: usize, organization: usize) -> Option<i64> {
        let stored = BTreeSet::from([Outcome::Stored(organization)]);
        let attempts = self.attempts_at(world, Item::Event(event)).into_iter();
        let taken = attempts.filter(|(attempt, outcomes)| attempt.is_taken() && *outcomes == stored);
        taken.map(|(attempt, _)| attempt.span.end).min()
    }
}

/// `WhatsApp` tells whole seconds, and so the time of an owner begins with one.
fn whole_second(at: i64) -> i64 {
    at.div_euclid(1000) * 1000
}

impl Attempt {
    /// The provider was told that all of it is stored.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.status, 200 | 201)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: i64 = -1_000_000;

    fn world() -> World {
        let mut world = World::new(1, 5, now_ms());
        world.events[0].account = Some(0);
        world.events[0].kind = Kind::Text;
        world.events[0].at = EARLIER;
        world.accounts[0].platform = Platform::Whatsapp;
        world
    }

    fn history() -> History {
        let mut history = History::default();
        history.add_delivery(vec![Item::Event(0)]);
        history.reigns.insert(
            0,
            vec![
                Reign { owner: Owner::Nobody, from: i64::MIN, until: Some(1_000) },
                Reign { owner: Owner::Connected(3), from: 900, until: Some(10_000) },
                Reign { owner: Owner::Disconnected(3), from: 9_900, until: None },
            ],
        );
        history
    }

    fn outcomes(history: &mut History, proof: Proof, start: i64) -> Vec<Outcome> {
        history.deliveries[0].attempts = vec![Attempt { proof, span: Span { start, end: start + 10 }, status: 200 }];
        history.attempts_at(&world(), Item::Event(0)).remove(0).1.into_iter().collect()
    }

    #[test]
    fn outcome_is_certain_where_nothing_changed() {
        let history = &mut history();

        assert_eq!(outcomes(history, Proof::Organization(4), 500), [Outcome::Quarantined]);
        assert_eq!(outcomes(history, Proof::Global, 5_000), [Outcome::Stored(3)]);
        assert_eq!(outcomes(history, Proof::Organization(4), 5_000), [Outcome::Quarantined]);
        assert_eq!(outcomes(history, Proof::Global, 20_000), [Outcome::Ignored]);
        assert_eq!(outcomes(history, Proof::Global, 9_950), [Outcome::Stored(3), Outcome::Ignored]);
    }

    #[test]
    fn what_was_ignored_is_not_settled() {
        let history = &mut history();
        let reigns = history.reigns.get_mut(&0).unwrap();
        reigns[2].until = Some(30_100);
        reigns.push(Reign { owner: Owner::Connected(3), from: 30_000, until: None });
        let attempt = |start| Attempt { proof: Proof::Global, span: Span { start, end: start + 10 }, status: 200 };

        history.deliveries[0].attempts = vec![attempt(20_000)];
        assert_eq!(history.settled_at(&world(), 0, 3), None);
        history.deliveries[0].attempts.push(attempt(40_000));
        assert_eq!(history.settled_at(&world(), 0, 3), Some(40_010));
        assert_eq!(history.settled_at(&world(), 0, 4), None);
    }

    #[test]
    fn what_nobody_owned_may_reach_the_next_owner() {
        let history = &mut history();

        assert_eq!(outcomes(history, Proof::Global, 500), [Outcome::Stored(3), Outcome::Quarantined]);
        assert_eq!(outcomes(history, Proof::Organization(3), 500), [Outcome::Stored(3), Outcome::Quarantined]);
    }

    #[test]
    fn events_before_a_handover_are_not_the_next_owners() {
        let history = &mut history();
        let reigns = history.reigns.get_mut(&0).unwrap();
        reigns.pop();
        reigns.push(Reign { owner: Owner::Nobody, from: 10_000, until: Some(12_000) });
        reigns.push(Reign { owner: Owner::Connected(4), from: 11_900, until: None });
        let span = Span { start: 9_900, end: 10_200 };
        history.releases.insert(0, vec![Release { organization: 3, span }]);
        let at = |at: i64, history: &mut History| {
            let mut world = world();
            world.events[0].at = at;
            let span = Span { start: 20_000, end: 20_010 };
            history.deliveries[0].attempts = vec![Attempt { proof: Proof::Global, span, status: 200 }];
            history.attempts_at(&world, Item::Event(0)).remove(0).1.into_iter().collect::<Vec<_>>()
        };

        assert_eq!(at(8_000, history), [Outcome::Quarantined]);
        assert_eq!(at(9_000, history), [Outcome::Stored(4), Outcome::Quarantined]);
        assert_eq!(at(10_000, history), [Outcome::Stored(4)]);
        // A failed attempt of the rival in between is possible.
        history.releases.get_mut(&0).unwrap()[0].organization = 4;
        assert_eq!(at(8_000, history), [Outcome::Stored(4), Outcome::Quarantined]);
    }

    #[test]
    fn an_owner_is_remembered_for_a_minute_unless_the_process_ends() {
        let history = &mut history();

        assert_eq!(outcomes(history, Proof::Organization(3), 20_000), [Outcome::Stored(3), Outcome::Ignored]);
        assert_eq!(outcomes(history, Proof::Organization(3), 70_001), [Outcome::Ignored]);
        history.webhook_kills.push(11_000);
        assert_eq!(outcomes(history, Proof::Organization(3), 20_000), [Outcome::Ignored]);
    }
}
