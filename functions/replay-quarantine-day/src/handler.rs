//! Receives again what a day left in quarantine, of all organizations: after a new version understands more, or an account is connected.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use shared::{
    Error, Result, clock,
    id::{AccountId, OrganizationId},
    platform::Platform,
    replay::{self, By, Tally},
    store::{Chosen, QuarantineEntry, Store},
};
use tracing::info;

/// How many entries are read at once.
const BATCH: usize = 100;
/// No batch is begun when less is left.
const LAST_BATCH: Duration = Duration::from_secs(30);
/// No batch is begun when there are more lines to answer: Lambda takes six megabytes.
const WAITING_MAX: usize = 5000;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplayQuarantineDayRequest {
    /// The day that it came, UTC: `2026-11-23`.
    day: String,
    /// Only what is there for this reason.
    reason: Option<String>,
    /// Only what is about this account.
    account: Option<Account>,
    /// Goes on where an earlier run ended: its `next`.
    after: Option<String>,
    /// Counts what waits, and receives nothing.
    #[serde(default)]
    dry_run: bool,
    /// Takes what another organization's token brought for the account as the provider's own word. It may be forged: without
    /// `token_of` it is only counted.
    #[serde(default)]
    trust_tokens: bool,
    /// Confirms whose tokens are trusted: only what they brought is received.
    token_of: Option<OrganizationId>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Account {
    platform: Platform,
    account_id: AccountId,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayQuarantineDayResponse {
    #[serde(flatten)]
    tally: Tally,
    /// Of a dry run: what waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Vec<Waiting>>,
    /// The organization that has the account that was asked for: it would receive what is replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<OrganizationId>,
    /// Where to go on; null at the end.
    next: Option<String>,
}

/// So much waits alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    #[serde(flatten)]
    alike: Alike,
    count: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alike {
    reason: String,
    platform: Option<Platform>,
    account_id: Option<AccountId>,
    /// Who owned the account when it came.
    owner_id: Option<OrganizationId>,
    /// Whose token brought it; null: the provider's own word.
    token_of: Option<OrganizationId>,
}

impl Alike {
    fn of(entry: QuarantineEntry) -> Self {
        let token_of = entry.proof.organization().cloned();
        let QuarantineEntry { reason, platform, account_id, owner_id, .. } = entry;
        Self { reason, platform, account_id, owner_id, token_of }
    }
}

/// `deadline_ms` is when Lambda ends the function.
pub(crate) async fn handle(
    store: &Store,
    request: &ReplayQuarantineDayRequest,
    deadline_ms: u64,
) -> Result<ReplayQuarantineDayResponse> {
    let ReplayQuarantineDayRequest { day, reason, account, after, dry_run, trust_tokens, token_of } = request;
    if clock::parse_rfc3339(&format!("{day}T00:00:00Z")).is_none() {
        return Err(Error::invalid_body("`day` is a day such as 2026-11-23", "day"));
    }
    if *trust_tokens && account.is_none() {
        return Err(Error::invalid_body("`trustTokens` is for one account: name it in `account`", "account"));
    }
    if token_of.is_some() && !trust_tokens {
        return Err(Error::invalid_body("`tokenOf` confirms `trustTokens`", "tokenOf"));
    }
    let account = account.as_ref().map(|account| (account.platform, &account.account_id));
    let receiver = match account {
        Some((platform, account)) => {
            store.owner_of_account(platform, account).await?.map(|owner| owner.organization_id)
        }
        None => None,
    };
    let by = match (token_of, &receiver) {
        (None, _) => By::Service,
        (Some(_), Some(receiver)) => By::TrustedOperator(receiver),
        (Some(_), None) => return Err(Error::invalid_body("no organization has connected this account", "account")),
    };
    let dry_run = *dry_run || (*trust_tokens && token_of.is_none());
    let last_batch_ms =
        i64::try_from(deadline_ms).unwrap_or(i64::MAX) - i64::try_from(LAST_BATCH.as_millis()).unwrap_or(0);
    let chosen = Chosen { reason: reason.as_deref(), account };
    let mut tally = Tally::default();
    let mut waiting = BTreeMap::<Alike, usize>::new();
    let mut next = after.clone();
    loop {
        let mut page = store.quarantine_of_day(day, chosen, next.as_deref(), BATCH).await?;
        if token_of.is_some() {
            page.entries.retain(|entry| entry.proof.organization() == token_of.as_ref());
        }
        if dry_run {
            for entry in page.entries {
                *waiting.entry(Alike::of(entry)).or_default() += 1;
            }
        } else {
            tally += replay::replay_all(store, &page.entries, by, clock::now_us()).await;
        }
        next = page.next;
        if next.is_none() || clock::now_ms() >= last_batch_ms || waiting.len() >= WAITING_MAX {
            break;
        }
    }
    let Tally { replayed, stay, failed } = tally;
    info!(day, reason, dry_run, trust_tokens, replayed, stay, failed, "replayed what {day} left in quarantine");
    let waiting = waiting.into_iter().map(|(alike, count)| Waiting { alike, count });
    Ok(ReplayQuarantineDayResponse { tally, waiting: dry_run.then(|| waiting.collect()), receiver, next })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{
        delivery::{ACCOUNT_OF_NOBODY, TOKEN_OF_ANOTHER},
        store::AuditAction,
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

    /// A victim's account, and forgeries about it that two others' tokens brought on the day.
    async fn forgeries(table: &Table) -> [Account; 3] {
        let (store, accounts) = (table.store(), [Account::whatsapp(), Account::whatsapp(), Account::whatsapp()]);
        for account in &accounts {
            account.connected(&store, sealed("Y2lwaGVy"), 0).await;
        }
        let [victim, one, other] = &accounts;
        arrives(&store, &one.proof(), &text_delivery(&victim.id, "wamid.one"), DAY_MS).await;
        arrives(&store, &other.proof(), &text_delivery(&victim.id, "wamid.other"), DAY_MS).await;
        accounts
    }

    #[tokio::test]
    async fn trusted_tokens_need_an_account_and_their_owner() {
        let table = Table::apart().await;
        let [victim, one, other] = forgeries(&table).await;
        let mut asked = json!({ "day": "2026-11-23", "reason": TOKEN_OF_ANOTHER });

        assert_eq!(replay(&table, &asked).await, tally(0, 2, 0));
        asked["trustTokens"] = json!(true);
        let refused = handle(&table.store(), &request(&asked), NEVER).await.unwrap_err();
        assert_eq!(refused.details(), json!({ "field": "account" }));
        asked["account"] = json!({ "platform": "whatsapp", "accountId": victim.id });
        // First it is only told what there is, and whose tokens brought it.
        let told = replay(&table, &asked).await;
        assert_eq!(received(&table, &victim).await, [""; 0]);
        asked["tokenOf"] = json!(one.organization);
        let mut confirmed = tally(1, 0, 0);
        confirmed["receiver"] = json!(victim.organization);
        assert_eq!(replay(&table, &asked).await, confirmed);

        assert_eq!(told["receiver"], json!(victim.organization));
        let line = |by: &Account| {
            json!({
                "reason": TOKEN_OF_ANOTHER, "platform": "whatsapp", "accountId": victim.id,
                "ownerId": victim.organization, "tokenOf": by.organization, "count": 1,
            })
        };
        let waiting = told["waiting"].as_array().unwrap();
        assert!(waiting.len() == 2 && waiting.contains(&line(&one)) && waiting.contains(&line(&other)), "{told}");
        assert_eq!(received(&table, &victim).await, ["wamid.one"]);
        for account in [&one, &other] {
            assert_eq!(received(&table, account).await, [""; 0]);
        }
    }

    #[tokio::test]
    async fn trusted_replay_is_in_the_receivers_audit_trail() {
        let table = Table::apart().await;
        let [victim, one, _] = forgeries(&table).await;
        let asked = json!({
            "day": "2026-11-23", "trustTokens": true, "tokenOf": one.organization,
            "account": { "platform": "whatsapp", "accountId": victim.id },
        });

        for _ in 0..2 {
            replay(&table, &asked).await;
        }

        let told = victim.audit(&table.store()).await;
        let told: Vec<_> = told.iter().map(|entry| (entry.action, entry.by.as_deref())).collect();
        assert_eq!(told, [(AuditAction::ReplayedByService, None), (AuditAction::Connected, Some("ann"))]);
        assert_eq!(one.audit(&table.store()).await.len(), 1, "nothing of it");
    }

    #[tokio::test]
    async fn trusted_delivery_reaches_nobody_but_the_accounts_owner() {
        let table = Table::apart().await;
        let [victim, one, _] = forgeries(&table).await;
        // So many accounts that it is kept whole, as a delivery to the account of its token.
        let mut body: Value = serde_json::from_str(&text_delivery(&victim.id, "wamid.victim")).unwrap();
        let entry = body["entry"][0].clone();
        for number in 0..200 {
            let mut other = entry.clone();
            other["changes"][0]["value"]["metadata"]["phone_number_id"] = json!(format!("{number}"));
            body["entry"].as_array_mut().unwrap().push(other);
        }
        arrives(&table.store(), &one.proof(), &body.to_string(), DAY_MS).await;
        let asked = json!({
            "day": "2026-11-23", "trustTokens": true, "tokenOf": one.organization,
            "account": { "platform": "whatsapp", "accountId": one.id },
        });

        assert_eq!(replay(&table, &asked).await["stay"], 1);

        assert_eq!(received(&table, &victim).await, [""; 0]);
    }

    #[tokio::test]
    async fn dry_run_counts_what_waits_and_receives_nothing() {
        let table = Table::apart().await;
        let (one, other) = (early(&table, "wamid.one", DAY_MS).await, early(&table, "wamid.other", DAY_MS).await);
        arrives(&table.store(), &Proof::Global, "no JSON", DAY_MS).await;

        let told = replay(&table, &json!({ "day": "2026-11-23", "dryRun": true })).await;

        let waiting = told["waiting"].as_array().unwrap();
        let count =
            |account: Value| waiting.iter().find(|line| line["accountId"] == account).map(|line| &line["count"]);
        assert_eq!(waiting.len(), 3, "{told}");
        for account in [json!(one.id), json!(other.id), Value::Null] {
            assert_eq!(count(account), Some(&json!(1)), "{told}");
        }
        assert_eq!((received(&table, &one).await, received(&table, &other).await), (vec![], vec![]));
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

        let (mut asked, mut tally, mut runs) = (json!({ "day": "2026-11-23" }), Tally::default(), 0);
        loop {
            let run = handle(&store, &request(&asked), soon()).await.unwrap();
            assert!(run.tally.replayed <= BATCH, "{:?}", run.tally);
            tally += run.tally;
            runs += 1;
            let Some(next) = run.next else { break };
            asked["after"] = json!(next);
        }

        // What names no account is looked through first.
        assert_eq!((tally, runs), (Tally { replayed: COUNT, stay: 0, failed: 0 }, 3));
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

        for (call, asked_for) in calls.iter().enumerate() {
            let (table, accounts) = stage().await;
            table.meter.start([(call, Fault::Before)]);
            let run = handle(&table.store(), &request(&asked), NEVER).await;
            table.meter.stop();
            match run {
                Ok(run) => assert_eq!(run.tally, Tally { replayed: 1, stay: 0, failed: 1 }, "{call}"),
                Err(error) => {
                    assert!(asked_for == "Query" && matches!(error, Error::Unavailable(_)), "{call}: {error}");
                }
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
