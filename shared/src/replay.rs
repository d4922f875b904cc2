//! Replay: what waits in quarantine is received again, by the code that would receive it now.

use std::sync::OnceLock;

use futures_util::{StreamExt, stream};

use crate::{
    delivery::{Delivery, Owners},
    error::{Error, Result},
    id::{AccountId, OrganizationId, QuarantineId},
    inbound::{Counts, Misfits},
    platform::Platform,
    store::{Audience, OwnerStatus, QuarantineEntry, Store},
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
pub async fn accounts(store: &Store, organization: &OrganizationId) -> Result<Vec<(Platform, AccountId)>> {
    let integrations = store.integrations(organization).await?;
    let owned = integrations.into_iter().map(|integration| async move {
        let (platform, account) = (integration.platform, integration.credentials.account);
        Ok::<_, Error>(owns(store, organization, platform, &account).await?.then_some((platform, account)))
    });
    Ok(futures_util::future::try_join_all(owned).await?.into_iter().flatten().collect())
}

async fn owns(store: &Store, organization: &OrganizationId, platform: Platform, account: &AccountId) -> Result<bool> {
    let owner = store.owner_of_account(platform, account).await?;
    Ok(owner.is_some_and(|owner| owner.organization_id == *organization && owner.status != OwnerStatus::Pending))
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
    let Some(entry) = store.any_quarantined(id).await? else { return Ok(None) };
    let (Some(platform), Some(account)) = (entry.platform, &entry.account_id) else { return Ok(None) };
    let is_theirs = match entry.audience() {
        Audience::Organization(audience) if audience != organization => false,
        Audience::Operator => false,
        Audience::Organization(_) | Audience::Owner => owns(store, organization, platform, account).await?,
    };
    Ok(is_theirs.then_some(entry))
}

/// Receives an entry again. Harmless to repeat: its events meet themselves, and it is marked when all have found their place.
/// `trusted` takes it as the provider's own word, whatever it came with: only for who runs the service.
///
/// # Errors
/// When the table does not answer; then it stays as it is.
pub async fn replay(store: &Store, entry: &QuarantineEntry, trusted: bool, now_us: i64) -> Result<Replayed> {
    if entry.replayed_at.is_some() {
        return Ok(Replayed::Before);
    }
    let body = store.quarantined_delivery(entry).await?;
    let only_for = match entry.audience() {
        Audience::Organization(organization) => Some(organization),
        Audience::Owner | Audience::Operator => None,
    };
    let misfits = Misfits::Stay(OnceLock::new());
    let proof = if trusted { &Proof::Global } else { &entry.proof };
    let owners = &Owners::default();
    let delivery = Delivery { store, owners, proof, now_us, misfits: &misfits, only_for };
    let counts = delivery.receive(&body, entry.received_at).await;
    if counts.failed > 0 {
        return Err(Error::Unavailable("a replay was not stored whole".into()));
    }
    if let Misfits::Stay(reason) = &misfits
        && let Some(reason) = reason.get()
    {
        return Ok(Replayed::Stays(reason));
    }
    store.mark_replayed(entry, now_us / 1000).await?;
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

/// How many entries are replayed at once.
const CONCURRENCY: usize = 16;

/// Replays entries side by side.
pub async fn replay_all(store: &Store, entries: &[QuarantineEntry], trusted: bool, now_us: i64) -> Tally {
    let outcomes = stream::iter(entries).map(|entry| replay(store, entry, trusted, now_us));
    let mut outcomes = outcomes.buffer_unordered(CONCURRENCY);
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
