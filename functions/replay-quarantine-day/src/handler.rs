//! Receives again what a day left in quarantine, of all organizations: after a new version understands more, or an account is connected.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::{
    Error, Result, clock,
    replay::{self, By, Tally},
    store::Store,
};
use tracing::info;

/// How many entries are read at once.
const BATCH: usize = 100;
/// No batch is begun when less is left.
const LAST_BATCH: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplayQuarantineDayRequest {
    /// The day that it came, UTC: `2026-11-23`.
    day: String,
    /// Only what is there for this reason.
    reason: Option<String>,
    /// Goes on where an earlier run ended: its `next`.
    after: Option<String>,
    /// Takes what came with another organization's token as the provider's own word. Look at it first: it may be forged.
    #[serde(default)]
    trust_tokens: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayQuarantineDayResponse {
    #[serde(flatten)]
    tally: Tally,
    /// Where to go on; null at the end.
    next: Option<String>,
}

/// `deadline_ms` is when Lambda ends the function.
pub(crate) async fn handle(
    store: &Store,
    request: &ReplayQuarantineDayRequest,
    deadline_ms: u64,
) -> Result<ReplayQuarantineDayResponse> {
    let ReplayQuarantineDayRequest { day, reason, after, trust_tokens } = request;
    if clock::parse_rfc3339(&format!("{day}T00:00:00Z")).is_none() {
        return Err(Error::invalid_body("`day` is a day such as 2026-11-23", "day"));
    }
    let by = if *trust_tokens { By::TrustingOperator } else { By::Service };
    let last_batch_ms =
        i64::try_from(deadline_ms).unwrap_or(i64::MAX) - i64::try_from(LAST_BATCH.as_millis()).unwrap_or(0);
    let mut tally = Tally::default();
    let mut next = after.clone();
    loop {
        let page = store.quarantine_of_day(day, reason.as_deref(), next.as_deref(), BATCH).await?;
        tally += replay::replay_all(store, &page.entries, by, clock::now_us()).await;
        next = page.next;
        if next.is_none() || clock::now_ms() >= last_batch_ms {
            break;
        }
    }
    let Tally { replayed, stay, failed } = tally;
    info!(day, reason, trust_tokens, replayed, stay, failed, "replayed what {day} left in quarantine");
    Ok(ReplayQuarantineDayResponse { tally, next })
}
