//! What a delivery of the provider does: parsed, each event routed to the organization that owns its account, and stored. The
//! same for what the webhook receives and for what is replayed from quarantine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tracing::{error, info, warn};

use crate::{
    dialog360::webhook::parse,
    error::Result,
    event::{Event, EventKind, News},
    http::causes,
    id::{AccountId, OrganizationId},
    inbound::{Counts, Inbound, Misfit, Misfits},
    platform::Platform,
    store::{Owner, OwnerStatus, Store},
    webhook_token::Proof,
};

/// How many accounts of one delivery are worked on at once.
const ACCOUNTS: usize = 8;
/// The most accounts that are looked up for one delivery: as many as the provider has updates in one.
const ACCOUNTS_MAX: usize = 1000;
/// The same for a delivery with the token of an account: it comes for one API key.
const ACCOUNTS_OF_TOKEN_MAX: usize = 100;
/// How many events are put into quarantine at once.
const PUTS: usize = 32;
/// How long an account's owner is believed without being asked for again.
const OWNER_FOR: Duration = Duration::from_mins(1);
/// How many owners are remembered.
const OWNERS_MAX: usize = 10_000;

/// Why an event has no place, where that may change: somebody connects the account.
pub const ACCOUNT_OF_NOBODY: &str = "account of no organization";
/// Why an event has no place, where that may change: the account's owner has not proven to be that, and the event did not come with a
/// token of its own.
pub const ACCOUNT_NOT_PROVEN: &str = "account that nobody has proven to own";
/// Why an event has no place: its token is of an organization that does not own the account.
pub const TOKEN_OF_ANOTHER: &str = "token of another organization";
/// Why an event has no place: it happened before its account's owner had the account, and another organization did.
pub const OF_FORMER_OWNER: &str = "of the time of a former owner";
const TOO_MANY_ACCOUNTS: &str = "the delivery names too many accounts";
const NO_ACCOUNT: &str = "no account named";
const OTHER_OWNER: &str = "account of another organization now";
const DISCONNECTED: &str = "the integration is disconnected";

/// The owners of accounts that a process has seen.
#[derive(Debug, Default)]
pub struct Owners(Mutex<HashMap<(Platform, AccountId), (Owner, Instant)>>);

/// A delivery that has been authenticated.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The table.
    pub store: &'a Store,
    /// Who owns which account, as far as it is known.
    pub owners: &'a Owners,
    /// What the delivery proves.
    pub proof: &'a Proof,
    /// When it came, epoch microseconds.
    pub now_us: i64,
    /// What becomes of what has no place.
    pub misfits: &'a Misfits<'a>,
    /// A replay is for this organization alone, where it is for one.
    pub only_for: Option<&'a OrganizationId>,
}

/// What a delivery came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many events came to what.
    pub counts: Counts,
    /// The platform of its events, where there are some.
    pub platform: Option<Platform>,
    /// Whose events they are, where they are all of one organization.
    pub organization: Option<OrganizationId>,
    /// When the oldest of what it tells happened, epoch milliseconds.
    pub oldest_ms: Option<i64>,
}

impl Delivery<'_> {
    /// Stores everything in the body. `told_ms` is when the provider told it, epoch milliseconds.
    pub async fn receive(&self, body: &[u8], told_ms: i64) -> Received {
        let events = match parse(body, told_ms) {
            Ok(events) => events,
            Err(not_understood) => {
                let kept = self.misfits.keep_whole(self.store, not_understood.reason(), body, self.now_ms()).await;
                return Received { counts: or_failed(kept), ..Received::default() };
            }
        };
        let platform = events.first().map(|event| event.platform);
        let oldest_ms = events.iter().filter_map(|event| event.kind.happened_ms()).min();
        let mut counts = Counts::default();
        let mut by_account: BTreeMap<(Platform, AccountId), Vec<Event>> = BTreeMap::new();
        let mut homeless = Vec::new();
        for event in events {
            match (self.account_of(&event), &event.kind) {
                (Some(account), _) => by_account.entry((event.platform, account)).or_default().push(event),
                // News of a whole business account names no number: nothing for a conversation.
                (None, EventKind::Notice { what } | EventKind::News(News { what, .. })) => {
                    info!(what, "noticed {what}");
                    counts.ignored += 1;
                }
                (None, EventKind::Unknown { reason }) => homeless.push((*reason, event)),
                (None, _) => homeless.push((NO_ACCOUNT, event)),
            }
        }
        if by_account.len() > self.accounts_max() {
            let kept = self.misfits.keep_whole(self.store, TOO_MANY_ACCOUNTS, body, self.now_ms()).await;
            return Received { counts: or_failed(kept), platform, ..Received::default() };
        }
        let mut accounts = stream::iter(by_account)
            .map(|((platform, account), events)| self.receive_of_account(platform, account, events))
            .buffer_unordered(ACCOUNTS);
        let mut organizations = BTreeSet::new();
        while let Some((outcome, organization)) = accounts.next().await {
            counts += outcome;
            organizations.insert(organization);
        }
        counts += self.keep(None, None, homeless).await;
        let rest = self.misfits.keep_rest(self.store, body, self.now_ms()).await;
        counts += or_failed(rest);
        let organization = organizations.pop_first().flatten().filter(|_| organizations.is_empty());
        Received { counts, platform, organization, oldest_ms }
    }

    fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    fn is_replay(&self) -> bool {
        matches!(self.misfits, Misfits::Stay(_))
    }

    fn accounts_max(&self) -> usize {
        match self.proof {
            Proof::Account { .. } if !self.is_replay() => ACCOUNTS_OF_TOKEN_MAX,
            _ => ACCOUNTS_MAX,
        }
    }

    /// The account that an event is about: its own word, or the token's where an old flat body names none.
    fn account_of(&self, event: &Event) -> Option<AccountId> {
        match (&event.account, self.proof) {
            (Some(account), _) => Some(account.clone()),
            (None, Proof::Account { platform, account, .. }) if *platform == event.platform => Some(account.clone()),
            (None, _) => None,
        }
    }

    /// What the events of an account came to, and whose they are.
    async fn receive_of_account(
        &self,
        platform: Platform,
        account: AccountId,
        events: Vec<Event>,
    ) -> (Counts, Option<OrganizationId>) {
        let account = &account;
        let owner = match self.owner(platform, account).await {
            Ok(owner) => owner,
            Err(error) => {
                error!("the owner of an account is not known now: {}", causes(&error));
                return (Counts { failed: events.len(), ..Counts::default() }, None);
            }
        };
        let is_covered = owner.as_ref().is_some_and(|owner| covers(self.proof, owner, platform));
        // It is nobody's as far as anybody knows: whoever proves to own the account receives it then.
        let not_proven = owner.as_ref().is_some_and(|owner| !is_covered && !owner.is_proven(platform));
        let organization = owner.as_ref().filter(|_| !not_proven).map(|owner| &owner.organization_id);
        let refused = match &owner {
            None => Some(ACCOUNT_OF_NOBODY),
            Some(_) if not_proven => Some(ACCOUNT_NOT_PROVEN),
            Some(_) if !is_covered => Some(TOKEN_OF_ANOTHER),
            Some(owner) if self.only_for.is_some_and(|only| *only != owner.organization_id) => Some(OTHER_OWNER),
            // What waits is not lost for being asked for too early.
            Some(owner) if self.is_replay() && owner.status == OwnerStatus::Disconnected => Some(DISCONNECTED),
            Some(_) => None,
        };
        if let Some(reason) = refused {
            let events: Vec<_> = events.into_iter().map(|event| (reason, event)).collect();
            return (self.keep(Some(account), organization, events).await, None);
        }
        let Some(owner) = &owner else { return (Counts::default(), None) };
        if owner.status == OwnerStatus::Disconnected {
            warn!(count = events.len(), %platform, "a disconnected integration still receives");
            return (Counts { ignored: events.len(), ..Counts::default() }, organization.cloned());
        }
        // What the provider repeats, or tells late, may be of the time of a former owner.
        let (foreign, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| is_before(owner, event));
        let foreign = foreign.into_iter().map(|event| (OF_FORMER_OWNER, event)).collect();
        let mut counts = self.keep(Some(account), organization, foreign).await;
        let inbound = Inbound {
            store: self.store,
            organization: &owner.organization_id,
            platform,
            account,
            now_us: self.now_us,
            misfits: self.misfits,
        };
        counts += inbound.apply(events).await;
        let is_news = !owner.webhook_verified || owner.is_quiet;
        if !self.is_replay() && is_news && owner.status == OwnerStatus::Connected {
            self.verified(owner, platform, account).await;
        }
        (counts, organization.cloned())
    }

    /// The first authentic delivery, and the first after a long silence, prove that the webhook works. Only a hint for the admin: a
    /// failure costs nothing else.
    async fn verified(&self, owner: &Owner, platform: Platform, account: &AccountId) {
        match self.store.mark_webhook_verified(&owner.organization_id, platform, account).await {
            Ok(()) => {
                let owner = Owner { webhook_verified: true, is_quiet: false, ..owner.clone() };
                self.owners.remember(platform, account, owner);
            }
            Err(error) => warn!("a webhook was not marked as verified: {}", causes(&error)),
        }
    }

    /// Who owns an account. Remembered for a minute, but only where the token names the same organization: an account that has just
    /// changed hands must not deliver to its former owner. A disconnected one is not remembered: it would lose what comes right after
    /// it was connected again.
    async fn owner(&self, platform: Platform, account: &AccountId) -> Result<Option<Owner>> {
        if let (Some(owner), Proof::Account { .. }) = (self.owners.remembered(platform, account), self.proof)
            && covers(self.proof, &owner, platform)
        {
            return Ok(Some(owner));
        }
        let owner = self.store.owner_of_account(platform, account).await?;
        if let Some(owner) = owner.clone().filter(|owner| owner.status == OwnerStatus::Connected) {
            self.owners.remember(platform, account, owner);
        }
        Ok(owner)
    }

    /// Keeps events that have no place, each with its reason.
    async fn keep(
        &self,
        account: Option<&AccountId>,
        owner: Option<&OrganizationId>,
        events: Vec<(&'static str, Event)>,
    ) -> Counts {
        let kept: Vec<_> = events
            .into_iter()
            .map(|(reason, event)| async move {
                let misfit = Misfit { reason, event: &event, account, owner };
                self.misfits.keep(self.store, misfit, self.now_ms()).await
            })
            .collect();
        let mut kept = stream::iter(kept).buffer_unordered(PUTS);
        let mut counts = Counts::default();
        while let Some(outcome) = kept.next().await {
            counts += or_failed(outcome);
        }
        counts.unroutable = counts.quarantined;
        counts
    }
}

/// Whether what the delivery proves covers the owner's account: a token those of its organization, proven or not, what stands for the
/// whole service those that are proven. One API key may serve several platforms and has one webhook: the token that was registered last
/// comes with all of them.
fn covers(proof: &Proof, owner: &Owner, platform: Platform) -> bool {
    match proof.organization() {
        Some(organization) => *organization == owner.organization_id,
        None => owner.is_proven(platform),
    }
}

/// Whether it happened before the owner had the account, when another organization did.
fn is_before(owner: &Owner, event: &Event) -> bool {
    owner.not_before.is_some_and(|start| event.kind.happened_ms().is_some_and(|happened| happened < start))
}

impl Owners {
    fn remembered(&self, platform: Platform, account: &AccountId) -> Option<Owner> {
        let owners = self.0.lock().ok()?;
        let (owner, since) = owners.get(&(platform, account.clone()))?;
        (since.elapsed() < OWNER_FOR).then(|| owner.clone())
    }

    fn remember(&self, platform: Platform, account: &AccountId, owner: Owner) {
        if let Ok(mut owners) = self.0.lock() {
            if owners.len() >= OWNERS_MAX {
                owners.clear();
            }
            owners.insert((platform, account.clone()), (owner, Instant::now()));
        }
    }
}

fn or_failed(outcome: Result<Counts>) -> Counts {
    outcome.unwrap_or_else(|error| {
        error!("quarantine did not take it: {}", causes(&error));
        Counts { failed: 1, ..Counts::default() }
    })
}
