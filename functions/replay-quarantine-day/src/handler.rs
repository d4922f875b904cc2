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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{
        delivery::{ACCOUNT_OF_NOBODY, TOKEN_OF_ANOTHER},
        webhook_token::Proof,
    };
    use testbed::{
        engine::{Fault, Table},
        given::{Account, arrives, sealed, text_delivery, unknown_delivery},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/replay-quarantine-day.json");
    /// The day of the event, and the one after it.
    const DAY_MS: i64 = 1_795_428_000_000;
    const NEXT_DAY_MS: i64 = DAY_MS + 24 * 60 * 60 * 1000;
    /// When the function is ended: not before everything is done.
    const NEVER: u64 = u64::MAX;

    fn request(request: &Value) -> ReplayQuarantineDayRequest {
        serde_json::from_value(request.clone()).unwrap()
    }

    /// What a run with time enough answers to the request.
    async fn replay(table: &Table, asked: &Value) -> Value {
        let response = handle(&table.store(), &request(asked), NEVER).await.unwrap();
        serde_json::to_value(response).unwrap()
    }

    fn tally(replayed: usize, stay: usize, failed: usize) -> Value {
        json!({ "replayed": replayed, "stay": stay, "failed": failed, "next": null })
    }

    /// An account to which a message has come in vain on the day, and then been connected.
    async fn early(table: &Table, external_id: &str, now_ms: i64) -> Account {
        let (store, account) = (table.store(), Account::whatsapp());
        arrives(&store, &Proof::Global, &text_delivery(&account.id, external_id), now_ms).await;
        account.connected(&store, sealed("Y2lwaGVy"), 0).await;
        account
    }

    /// What has been received on the account.
    async fn received(table: &Table, account: &Account) -> Vec<String> {
        let (store, mut received) = (table.store(), Vec::new());
        for conversation in account.inbox(&store).await {
            received.extend(account.external_ids(&store, &conversation).await);
        }
        received
    }

    #[tokio::test]
    async fn the_events_day_is_replayed_for_the_events_reason() {
        let table = Table::apart().await;
        let account = early(&table, "wamid.early", DAY_MS).await;
        arrives(&table.store(), &account.proof(), &unknown_delivery(&account.id, "wamid.unknown"), DAY_MS).await;

        let event: Value = serde_json::from_str(EVENT).unwrap();
        assert_eq!(replay(&table, &event).await, tally(0, 1, 0));

        assert_eq!(received(&table, &account).await, [""; 0], "it is there for another reason");
        assert_eq!(account.quarantine(&table.store()).await.len(), 2);
    }

    #[tokio::test]
    async fn the_messages_of_a_day_come_to_the_organizations_that_own_the_accounts_now_and_only_once() {
        let table = Table::apart().await;
        let (one, other) = (early(&table, "wamid.one", DAY_MS).await, early(&table, "wamid.other", DAY_MS).await);
        let later = early(&table, "wamid.later", NEXT_DAY_MS).await;
        let nobodys = Account::whatsapp();
        arrives(&table.store(), &Proof::Global, &text_delivery(&nobodys.id, "wamid.nobodys"), DAY_MS).await;
        let asked = json!({ "day": "2026-11-23" });

        assert_eq!(replay(&table, &asked).await, tally(2, 1, 0));
        assert_eq!(replay(&table, &asked).await, tally(0, 1, 0));

        assert_eq!(received(&table, &one).await, ["wamid.one"]);
        assert_eq!(received(&table, &other).await, ["wamid.other"]);
        assert_eq!(received(&table, &later).await, [""; 0]);
        let reasons = async |account: &Account| {
            let waiting = account.quarantine(&table.store()).await;
            waiting.into_iter().map(|entry| entry.reason).collect::<Vec<_>>()
        };
        assert_eq!((reasons(&one).await, reasons(&other).await), (vec![], vec![]));
        assert_eq!(reasons(&later).await, [ACCOUNT_OF_NOBODY]);
        assert_eq!(reasons(&nobodys).await, [ACCOUNT_OF_NOBODY]);
        let told = one.audit(&table.store()).await;
        assert_eq!(told.len(), 1, "nobody of the organization did it: {told:?}");
    }

    #[tokio::test]
    async fn what_another_organizations_token_brought_is_taken_only_when_it_is_trusted() {
        let table = Table::apart().await;
        let (store, victim, other) = (table.store(), Account::whatsapp(), Account::whatsapp());
        for account in [&victim, &other] {
            account.connected(&store, sealed("Y2lwaGVy"), 0).await;
        }
        arrives(&store, &other.proof(), &text_delivery(&victim.id, "wamid.forged"), DAY_MS).await;
        let mut asked = json!({ "day": "2026-11-23", "reason": TOKEN_OF_ANOTHER });

        assert_eq!(replay(&table, &asked).await, tally(0, 1, 0));
        assert_eq!(received(&table, &victim).await, [""; 0]);
        asked["trustTokens"] = json!(true);
        assert_eq!(replay(&table, &asked).await, tally(1, 0, 0));

        assert_eq!(received(&table, &victim).await, ["wamid.forged"]);
        assert_eq!(received(&table, &other).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_run_whose_time_is_up_says_where_the_next_one_goes_on_and_none_is_left_out() {
        const COUNT: usize = BATCH + 20;
        let table = Table::apart().await;
        let (store, account) = (table.store(), Account::whatsapp());
        for number in 0..COUNT {
            let body = text_delivery(&account.id, &format!("wamid.{number}"));
            arrives(&store, &Proof::Global, &body, DAY_MS).await;
        }
        account.connected(&store, sealed("Y2lwaGVy"), 0).await;
        let soon = || u64::try_from(clock::now_ms()).unwrap() + 1000;

        let first = handle(&store, &request(&json!({ "day": "2026-11-23" })), soon()).await.unwrap();
        let rest = json!({ "day": "2026-11-23", "after": first.next.unwrap() });
        let rest = handle(&store, &request(&rest), soon()).await.unwrap();

        assert_eq!(first.tally, Tally { replayed: BATCH, stay: 0, failed: 0 });
        assert_eq!((rest.tally, rest.next), (Tally { replayed: COUNT - BATCH, stay: 0, failed: 0 }, None));
        assert_eq!(received(&table, &account).await.len(), COUNT);
    }

    #[tokio::test]
    async fn what_the_table_does_not_take_is_counted_and_the_next_run_replays_it_with_the_rest() {
        let stage = async || {
            let table = Table::apart().await;
            let accounts = [early(&table, "wamid.one", DAY_MS).await, early(&table, "wamid.two", DAY_MS).await];
            (table, accounts)
        };
        let asked = json!({ "day": "2026-11-23" });
        let (table, _) = stage().await;
        table.meter.start([]);
        assert_eq!(replay(&table, &asked).await, tally(2, 0, 0));
        let calls = table.meter.stop().calls;
        assert_eq!(calls[0], "Query", "the day");

        for call in 0..calls.len() {
            let (table, accounts) = stage().await;
            table.meter.start([(call, Fault::Before)]);
            let run = handle(&table.store(), &request(&asked), NEVER).await;
            table.meter.stop();
            match run {
                Ok(run) => assert_eq!(run.tally, Tally { replayed: 1, stay: 0, failed: 1 }, "{call}"),
                Err(error) => assert!(call == 0 && matches!(error, Error::Unavailable(_)), "{call}: {error}"),
            }

            let again = replay(&table, &asked).await;
            assert_eq!(again["failed"], 0, "{call}: {again}");
            for (account, external_id) in accounts.iter().zip(["wamid.one", "wamid.two"]) {
                assert_eq!(received(&table, account).await, [external_id], "{call}");
                assert_eq!(account.quarantine(&table.store()).await, [], "{call}");
            }
        }
    }

    #[tokio::test]
    async fn a_day_that_is_none_is_named_before_anything_is_read() {
        let table = Table::apart().await;

        table.meter.start([]);
        for day in ["", "yesterday", "2026-11-31", "23.11.2026", "2026-11-23T00:00:00Z", "2026-11-23 ", "1969-12-31"] {
            let refused = handle(&table.store(), &request(&json!({ "day": day })), NEVER).await.unwrap_err();
            assert_eq!(refused.status_and_code().1, "INVALID_BODY", "{day}");
            assert_eq!(refused.details(), json!({ "field": "day" }));
        }
        for misspelt in [json!({}), json!({ "day": "2026-11-23", "raeson": "x" }), json!({ "day": 20_261_123 })] {
            assert!(serde_json::from_value::<ReplayQuarantineDayRequest>(misspelt).is_err());
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }
}
