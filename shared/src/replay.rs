//! Replay: what waits in quarantine is received again, by the code that would receive it now.

use std::sync::OnceLock;

use futures_util::{StreamExt, stream};

use crate::{
    clock,
    delivery::{Delivery, OF_FORMER_OWNER, Owners},
    error::{Error, Result},
    id::{AccountId, OrganizationId, QuarantineId},
    inbound::{Counts, Misfits},
    metrics,
    platform::Platform,
    store::{
        Audience, AuditAction, Claim, Integration, OwnAccount, OwnerStatus, QuarantineEntry, QuarantineKind, Store,
        keys,
    },
    webhook_token::Proof,
};

/// What came of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It has found its place now.
    Now(Counts),
    /// It had found its place before: nothing was done.
    Before,
    /// It stays in quarantine, for this reason.
    Stays(&'static str),
}

/// The accounts of the organization, which it may see the quarantine of. Asked of the claims, not of what the integrations say.
///
/// # Errors
/// When the table does not answer.
pub async fn accounts(store: &Store, organization: &OrganizationId) -> Result<Vec<OwnAccount>> {
    let integrations = store.integrations(organization).await?;
    let owned = integrations.into_iter().map(|integration| async move {
        own_account(store, organization, integration.platform, &integration.credentials.account).await
    });
    Ok(futures_util::future::try_join_all(owned).await?.into_iter().flatten().collect())
}

/// The account, where it is the organization's.
async fn own_account(
    store: &Store,
    organization: &OrganizationId,
    platform: Platform,
    id: &AccountId,
) -> Result<Option<OwnAccount>> {
    let owner = store.owner_of_account(platform, id).await?;
    let owner = owner.filter(|owner| owner.organization_id == *organization && owner.status != OwnerStatus::Pending);
    Ok(owner.map(|owner| OwnAccount { platform, id: id.clone(), proven: owner.is_proven(platform) }))
}

/// An entry that the organization may see; another's is not there.
///
/// # Errors
/// When the table does not answer.
pub async fn entry_of(
    store: &Store,
    organization: &OrganizationId,
    id: &QuarantineId,
) -> Result<Option<QuarantineEntry>> {
    let day = clock::day(id.epoch_ms());
    let own = keys::quarantine_partition(&day, Some(organization), None);
    let mut found = store.any_quarantined(&own, id).await?;
    if found.is_none() {
        for OwnAccount { platform, id: account, .. } in accounts(store, organization).await? {
            let partition = keys::quarantine_partition(&day, None, Some((platform, &account)));
            found = found.or(store.any_quarantined(&partition, id).await?);
        }
    }
    let Some(entry) = found else { return Ok(None) };
    let (Some(platform), Some(account)) = (entry.platform, &entry.account_id) else { return Ok(None) };
    let own = async || own_account(store, organization, platform, account).await;
    let is_theirs = match entry.audience() {
        Audience::Organization(audience) if audience != organization => false,
        Audience::Operator => false,
        Audience::Organization(_) => own().await?.is_some(),
        Audience::Owner => own().await?.is_some_and(|account| account.proven),
    };
    Ok(is_theirs.then_some(entry))
}

/// Who has something replayed.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// A user of the organization that may see it.
    User(&'a OrganizationId, &'a str),
    /// The service itself, for whoever owns the account now.
    Service,
    /// Who runs the service, and takes it as the provider's own word, whatever it came with: for that organization alone, which
    /// owns the account.
    TrustedOperator(&'a OrganizationId),
}

/// Receives an entry again. Harmless to repeat: its events meet themselves, and it is marked when all have found their place.
///
/// # Errors
/// When the table does not answer; then it stays as it is.
pub async fn replay(store: &Store, entry: &QuarantineEntry, by: By<'_>, now_us: i64) -> Result<Replayed> {
    if entry.replayed_at.is_some() {
        return Ok(Replayed::Before);
    }
    let body = store.quarantined_delivery(entry).await?;
    let only_for = match (by, entry.audience()) {
        (By::TrustedOperator(organization), _) | (_, Audience::Organization(organization)) => Some(organization),
        (_, Audience::Owner | Audience::Operator) => None,
    };
    let misfits = Misfits::Stay(OnceLock::new());
    let proof = if matches!(by, By::TrustedOperator(_)) { &Proof::Global } else { &entry.proof };
    let owners = &Owners::default();
    let delivery = Delivery { store, owners, proof, now_us, misfits: &misfits, only_for };
    let counts = delivery.receive(&body, entry.received_at).await.counts;
    if counts.failed > 0 {
        return Err(Error::Unavailable("a replay was not stored whole".into()));
    }
    if let Misfits::Stay(reason) = &misfits
        && let Some(reason) = reason.get()
    {
        // A whole delivery may hold something else besides.
        let is_news = entry.reason != OF_FORMER_OWNER && entry.kind != QuarantineKind::Delivery;
        if is_news && *reason == OF_FORMER_OWNER {
            store.mark_of_former_owner(entry).await?;
        }
        return Ok(Replayed::Stays(reason));
    }
    let told = match by {
        By::User(organization, user) => Some((organization, AuditAction::Replayed, Some(user))),
        By::TrustedOperator(organization) => Some((organization, AuditAction::ReplayedByService, None)),
        By::Service => None,
    };
    store.mark_replayed(entry, told, now_us / 1000).await?;
    metrics::replayed();
    Ok(Replayed::Now(counts))
}

/// How many entries came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Have found their place.
    pub replayed: usize,
    /// Stay in quarantine.
    pub stay: usize,
    /// Could not be read or stored now.
    pub failed: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.replayed += other.replayed;
        self.stay += other.stay;
        self.failed += other.failed;
    }
}

/// How many entries are replayed at once.
const CONCURRENCY: usize = 16;

/// How old a message may be that is received when its account is connected, in milliseconds: seven days, as long as the provider
/// would have repeated it.
const BEFORE_CONNECTING_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Replays what came for an account before it was connected, up to `limit` entries, where it is proven to be the organization's. Those
/// that are left wait for the next time. Whether there may be some.
///
/// # Errors
/// When the table does not answer.
pub async fn replay_before_connecting(
    store: &Store,
    integration: &Integration,
    limit: usize,
    now_us: i64,
) -> Result<(Tally, bool)> {
    if integration.claim() != Claim::Proven {
        return Ok((Tally::default(), false));
    }
    let Integration { organization_id: organization, platform, credentials, .. } = integration;
    let (platform, account) = (*platform, &credentials.account);
    let since_ms = now_us / 1000 - BEFORE_CONNECTING_MS;
    let entries = store.quarantine_before_connecting(organization, platform, account, since_ms, limit).await?;
    let tally = replay_all(store, &entries, By::Service, now_us).await;
    Ok((tally, entries.len() >= limit))
}

/// Replays entries side by side.
pub async fn replay_all(store: &Store, entries: &[QuarantineEntry], by: By<'_>, now_us: i64) -> Tally {
    let outcomes: Vec<_> = entries.iter().map(|entry| replay(store, entry, by, now_us)).collect();
    let mut outcomes = stream::iter(outcomes).buffer_unordered(CONCURRENCY);
    let mut tally = Tally::default();
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(Replayed::Now(_)) => tally.replayed += 1,
            Ok(Replayed::Before) => {}
            Ok(Replayed::Stays(_)) => tally.stay += 1,
            Err(error) => {
                tracing::error!("a replay failed: {}", crate::http::causes(&error));
                tally.failed += 1;
            }
        }
    }
    tally
}
