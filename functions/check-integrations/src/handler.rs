//! Checks the integrations of all organizations whose check is due, as many as the time allows: what is left stays due, and is the
//! first of the next run. Receives what came for them before they were connected, too.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use secrecy::SecretString;
use serde::Serialize;
use shared::{
    Result,
    check::Checker,
    clock,
    http::causes,
    metrics::{self, Checks},
    replay,
    store::{AuditAction, AuditEntry, ConnectionStatus, Integration, Store, WEBHOOK_ELSEWHERE, keys},
};
use tracing::{error, info, warn};

/// How many integrations are checked at once. Each check waits for the provider most of the time.
const CONCURRENCY: usize = 32;
/// How many of a shard are read at once.
const BATCH: usize = 200;
/// No check is begun when less is left: one takes up to three questions of the provider, and some writes.
const LAST_CHECK: Duration = Duration::from_secs(45);
/// When an integration whose check gave no answer is checked again.
const WITHOUT_ANSWER_MS: i64 = 60 * 60 * 1000;
/// How many entries of the quarantine are received for an integration in a run.
const REPLAYS: usize = 500;

/// What checking takes.
pub(crate) struct Checking {
    pub(crate) checker: Checker,
    pub(crate) webhook_secret: SecretString,
    pub(crate) store: Store,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct CheckIntegrationsResponse {
    #[serde(flatten)]
    checks: Checks,
    /// Entries of the quarantine that have found their place.
    replayed: usize,
    /// Whether the time was up before all that was due had been checked.
    more: bool,
}

/// `deadline_ms` is when Lambda ends the function.
pub(crate) async fn handle(checking: &Checking, deadline_ms: u64) -> Result<CheckIntegrationsResponse> {
    let last_check_ms =
        i64::try_from(deadline_ms).unwrap_or(i64::MAX) - i64::try_from(LAST_CHECK.as_millis()).unwrap_or(0);
    let began_ms = clock::now_ms();
    let mut total = CheckIntegrationsResponse::default();
    for shard in 0..keys::CHECK_SHARDS {
        loop {
            // What has been checked in this run is not due again, as of its beginning.
            let due = checking.store.integrations_due_of_all(shard, began_ms, BATCH).await?;
            let is_last = due.len() < BATCH;
            let mut checks = stream::iter(due)
                .take_while(|_| std::future::ready(clock::now_ms() < last_check_ms))
                .map(|integration| check(checking, integration))
                .buffer_unordered(CONCURRENCY);
            let mut progress = false;
            while let Some(checked) = checks.next().await {
                progress |= checked.rescheduled;
                total.checks += checked.checks;
                total.replayed += checked.replayed;
            }
            total.more |= clock::now_ms() >= last_check_ms;
            if is_last || total.more || !progress {
                break;
            }
        }
    }
    let CheckIntegrationsResponse { checks, replayed, more } = total;
    let Checks { checked, refused, elsewhere, repaired, unanswered } = checks;
    metrics::checked(&checks);
    info!(checked, refused, elsewhere, repaired, unanswered, replayed, more, "checked {checked} integrations");
    Ok(total)
}

/// What came of one check.
struct Outcome {
    checks: Checks,
    replayed: usize,
    /// It is not due any more.
    rescheduled: bool,
}

async fn check(checking: &Checking, integration: Integration) -> Outcome {
    let mut checks = Checks { checked: 1, ..Checks::default() };
    let (replayed, more) = replay_waiting(checking, &integration).await;
    let answer = checking.checker.check(&integration, Some(&checking.webhook_secret)).await;
    let recorded = match answer {
        Ok(mut checked) => {
            checks.refused = usize::from(checked.connection.status == ConnectionStatus::Error);
            checks.elsewhere = usize::from(checked.connection.error_message.as_deref() == Some(WEBHOOK_ELSEWHERE));
            checks.repaired = usize::from(checked.repaired);
            if more {
                checked.connection.next_check_at = checked.connection.checked_at + WITHOUT_ANSWER_MS;
            }
            if checked.repaired {
                tell_repair(checking, &integration).await;
            }
            checking.store.record_check(&integration, checked.connection).await.map(drop)
        }
        Err(error) => {
            checks.unanswered = 1;
            let platform = integration.platform;
            warn!(organization.id = %integration.organization_id, %platform, "a check got no answer: {}", causes(&error));
            checking.store.postpone_check(&integration, clock::now_ms() + WITHOUT_ANSWER_MS).await
        }
    };
    if let Err(error) = &recorded {
        // Deleted meanwhile; or the table did not answer, and it stays due.
        warn!("a check was not recorded: {}", causes(error));
    }
    Outcome { checks, replayed, rescheduled: recorded.is_ok() }
}

async fn tell_repair(checking: &Checking, integration: &Integration) {
    let told = async {
        let entry = AuditEntry::new(AuditAction::WebhookRepaired, None, clock::now_ms())?
            .about(integration.platform, &integration.credentials.account);
        checking.store.audit(&integration.organization_id, &entry).await
    };
    if let Err(error) = told.await {
        error!("a repaired webhook is not in the audit trail: {}", causes(&error));
    }
}

/// How many entries were received, and whether there may be more.
async fn replay_waiting(checking: &Checking, integration: &Integration) -> (usize, bool) {
    let Integration { organization_id, platform, credentials, .. } = integration;
    let (store, now_us) = (&checking.store, clock::now_us());
    let account = &credentials.account;
    match replay::replay_before_connecting(store, organization_id, *platform, account, REPLAYS, now_us).await {
        Ok((tally, more)) => (tally.replayed, more),
        Err(error) => {
            error!("what came before an account was connected waits: {}", causes(&error));
            (0, true)
        }
    }
}
