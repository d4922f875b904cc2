//! Checks the integrations of all organizations whose check is due, as many as the time allows: what is left stays due, and is the
//! first of the next run. Receives what came for them before they were connected, too.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use shared::{
    Error, Result,
    check::Checker,
    clock, comparison,
    http::causes,
    metrics::{self, Checks},
    quiet::{LOOKED_AT, quiet_since},
    replay,
    secrets::WebhookSecret,
    store::{
        AuditAction, AuditEntry, Claim, ConnectionStatus, HealthStatus, Integration, Store, WEBHOOK_ELSEWHERE, keys,
    },
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
    pub(crate) webhook_secret: WebhookSecret,
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

/// `deadline_ms` is when Lambda ends the function. A shard that cannot be read holds up no other; the run has failed then.
pub(crate) async fn handle(checking: &Checking, deadline_ms: u64) -> Result<CheckIntegrationsResponse> {
    let last_check_ms =
        i64::try_from(deadline_ms).unwrap_or(i64::MAX) - i64::try_from(LAST_CHECK.as_millis()).unwrap_or(0);
    let mut total = CheckIntegrationsResponse::default();
    let mut failed = None;
    for shard in 0..keys::CHECK_SHARDS {
        if let Err(error) = check_shard(checking, shard, last_check_ms, &mut total).await {
            // The error itself is logged where the invocation fails.
            warn!(shard, "what is due in a shard is not known now: {}", causes(&error));
            failed = Some(error);
        }
    }
    let CheckIntegrationsResponse { checks, replayed, more } = total;
    let Checks { checked, refused, elsewhere, repaired, renewed, quiet, unanswered, missing } = checks;
    metrics::checked(&checks);
    info!(
        checked,
        refused,
        elsewhere,
        repaired,
        renewed,
        quiet,
        unanswered,
        missing,
        replayed,
        more,
        "checked {checked} integrations"
    );
    failed.map_or(Ok(total), Err)
}

async fn check_shard(
    checking: &Checking,
    shard: u8,
    last_check_ms: i64,
    total: &mut CheckIntegrationsResponse,
) -> Result<()> {
    let began_ms = clock::now_ms();
    loop {
        // What has been checked since it began is not due again, as of then.
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
            return Ok(());
        }
    }
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
    checks.missing = missing(checking, &integration).await;
    let secret = checking.webhook_secret.fresh().await;
    let answer = checking.checker.check(&integration, Some(&secret.current)).await;
    let recorded = match answer {
        Ok(mut checked) => {
            let health = checked.connection.health.as_ref();
            let is_blocked = health.is_some_and(|health| health.status == HealthStatus::Blocked);
            checks.refused = usize::from(is_blocked || checked.connection.status == ConnectionStatus::Error);
            checks.elsewhere = usize::from(checked.connection.error_message.as_deref() == Some(WEBHOOK_ELSEWHERE));
            checks.repaired = usize::from(checked.repaired);
            let newly_proven = checked.connection.proven && integration.claim() != Claim::Proven;
            if more || newly_proven {
                checked.connection.next_check_at = checked.connection.checked_at + WITHOUT_ANSWER_MS;
            }
            checks.renewed = usize::from(checked.renewed);
            if checked.repaired {
                audit(checking, &integration, AuditAction::WebhookRepaired).await;
            }
            if checked.renewed {
                audit(checking, &integration, AuditAction::WebhookTokenRenewed).await;
            }
            match checking.store.record_check(&integration, checked.connection).await {
                Ok(now) => {
                    checks.quiet = usize::from(listen(checking, &now).await);
                    Ok(())
                }
                Err(error) => Err(error),
            }
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

/// Notes since when nothing has come, where that is unusual; whether it is. Whoever cannot receive has been told why already.
async fn listen(checking: &Checking, integration: &Integration) -> bool {
    let Integration { organization_id: organization, platform, credentials, .. } = integration;
    let listened = async {
        let quiet_since = if integration.status == ConnectionStatus::Connected {
            let heard = checking.store.last_heard(organization, *platform, &credentials.account, LOOKED_AT).await?;
            quiet_since(&heard, integration.connected_at(), clock::now_ms())
        } else {
            None
        };
        checking.store.mark_quiet(integration, quiet_since).await?;
        Ok::<_, Error>(quiet_since)
    };
    match listened.await {
        Ok(quiet_since) => {
            if quiet_since.is_some() {
                info!(organization.id = %organization, %platform, "nothing has come for unusually long");
            }
            quiet_since.is_some()
        }
        Err(error) => {
            warn!("whether something has come is not known now: {}", causes(&error));
            false
        }
    }
}

async fn audit(checking: &Checking, integration: &Integration, action: AuditAction) {
    let told = async {
        let entry = AuditEntry::new(action, None, clock::now_ms())?
            .about(integration.platform, &integration.credentials.account);
        checking.store.audit(&integration.organization_id, &entry).await
    };
    if let Err(error) = told.await {
        error!("a changed webhook is not in the audit trail: {}", causes(&error));
    }
}

/// How many of its newest messages the journal does not tell of, though it should by now.
async fn missing(checking: &Checking, integration: &Integration) -> usize {
    let Integration { organization_id, platform, .. } = integration;
    match comparison::missing(&checking.store, organization_id, (*platform).into(), clock::now_ms()).await {
        Ok(missing) => {
            for id in &missing {
                error!(organization.id = %organization_id, message.id = %id, "the journal does not tell of message {id}");
            }
            missing.len()
        }
        Err(error) => {
            warn!(organization.id = %organization_id, "a journal was not compared: {}", causes(&error));
            0
        }
    }
}

/// How many entries were received, and whether there may be more.
async fn replay_waiting(checking: &Checking, integration: &Integration) -> (usize, bool) {
    match replay::replay_before_connecting(&checking.store, integration, REPLAYS, clock::now_us()).await {
        Ok((tally, more)) => (tally.replayed, more),
        Err(error) => {
            error!("what came before an account was connected waits: {}", causes(&error));
            (0, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, iter, time::Instant};

    use secrecy::ExposeSecret;
    use serde_json::{Value, json};
    use shared::{
        check::OTHER_ACCOUNT,
        store::{HealthStatus, KEY_REFUSED, KEY_UNREADABLE},
        webhook_token::{Proof, UnverifiedToken, WebhookKeys},
    };
    use testbed::{
        engine::{Fault, Table},
        given::{Account, arrives, at, inbound, phone, sealed, text_delivery},
        provider::{Asked, MockProvider},
        secrets::{webhook_keys, webhook_secret},
        vault::vault,
    };

    use super::*;

    const WEBHOOK_URL: &str = "https://hooks.example.com/api/v1/webhooks/360dialog";
    const ALIAS: &str = "https://alias.example.com/api/v1/webhooks/360dialog";
    const ELSEWHERE: &str = "https://elsewhere.example.com/hook";
    const SECRET: &str = "a-webhook-secret-for-tests";
    const HEALTH: &str = "GET /health_status?fields=health_status,id,display_phone_number";
    const WEBHOOK: &str = "GET /v1/configs/webhook";
    const REGISTER: &str = "POST /v1/configs/webhook";
    const HOUR_MS: i64 = 60 * 60 * 1000;
    /// When the function is ended: not before everything is done.
    const NEVER: u64 = u64::MAX;

    /// A table of its own, so that a run finds what the test has connected and nothing else.
    struct Stage {
        table: Table,
        provider: MockProvider,
        checking: Checking,
    }

    impl Stage {
        async fn of(provider: MockProvider) -> Self {
            let (table, (vault, _)) = (Table::apart().await, vault().await);
            let webhook_aliases = vec![ALIAS.to_owned()];
            let checker =
                Checker { vault, provider: provider.client(), webhook_url: WEBHOOK_URL.into(), webhook_aliases };
            let checking = Checking { checker, webhook_secret: webhook_secret(SECRET).await.0, store: table.store() };
            Self { table, provider, checking }
        }

        async fn where_all_is_well() -> Self {
            Self::of(MockProvider::saying(|asked| Some(well(asked))).await).await
        }

        /// Connects an account with the key `key-<its id>`; its check is due.
        async fn connect(&self, account: &Account) -> Integration {
            let key = format!("key-{}", account.id).into();
            let key = self.checking.checker.vault.seal(&account.organization, account.platform, &key).await.unwrap();
            account.connected(&self.table.store(), key, 0).await
        }

        /// Connects an account whose webhook may be repaired, or not; it was ours once, or not.
        async fn connect_repairing(&self, account: &Account, repair_webhook: bool, webhook_was_ours: bool) {
            let before = self.connect(account).await;
            let connected = Integration { repair_webhook, webhook_was_ours, updated_at: at(1), ..before.clone() };
            self.table.store().put_integration(&connected, Some(&before), "ann").await.unwrap();
        }

        /// Connects it once more, now.
        async fn connect_again(&self, account: &Account) {
            let before = self.stored(account).await;
            let now_ms = clock::now_ms();
            let again = Integration { updated_at: now_ms, noted_connected_at: Some(now_ms), ..before.clone() };
            self.table.store().put_integration(&again, Some(&before), "ann").await.unwrap();
        }

        /// What a run with time enough answers.
        async fn run(&self) -> Value {
            serde_json::to_value(handle(&self.checking, NEVER).await.unwrap()).unwrap()
        }

        async fn stored(&self, account: &Account) -> Integration {
            self.table.store().integration(&account.organization, account.platform).await.unwrap().unwrap()
        }

        /// How many integrations will be due after so long.
        async fn due_in(&self, wait_ms: i64) -> usize {
            let (store, mut due) = (self.table.store(), 0);
            for shard in 0..keys::CHECK_SHARDS {
                due += store.integrations_due_of_all(shard, clock::now_ms() + wait_ms, 1000).await.unwrap().len();
            }
            due
        }

        /// What the audit trail tells of repaired webhooks.
        async fn repairs(&self, account: &Account) -> Vec<AuditEntry> {
            let trail = account.audit(&self.table.store()).await;
            trail.into_iter().filter(|entry| entry.action == AuditAction::WebhookRepaired).collect()
        }

        /// How often the audit trail tells of renewed tokens.
        async fn renewals(&self, account: &Account) -> usize {
            let trail = account.audit(&self.table.store()).await;
            trail.into_iter().filter(|entry| entry.action == AuditAction::WebhookTokenRenewed).count()
        }
    }

    /// What a run answers that did this and nothing else.
    fn did(what: &Value) -> Value {
        let mut all = json!({
            "checked": 0, "refused": 0, "elsewhere": 0, "repaired": 0, "renewed": 0, "quiet": 0, "unanswered": 0, "missing": 0,
            "replayed": 0, "more": false,
        });
        all.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        all
    }

    /// The provider's answer where everything is well.
    fn well(asked: &Asked) -> (u16, Value) {
        match asked.call.as_str() {
            HEALTH => (200, json!({ "id": asked.key.strip_prefix("key-") })),
            WEBHOOK => (200, json!({ "url": WEBHOOK_URL })),
            _ => (400, json!({ "error": "nothing is to be changed" })),
        }
    }

    /// What the token of a registration claims, and whether it is one of our secret.
    fn token_of(registered: &Value) -> (Proof, Option<bool>) {
        let token = registered["headers"]["Authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
        let token = UnverifiedToken::parse(token).unwrap();
        let is_proven = webhook_keys(SECRET).verify(&token);
        (token.subject, is_proven)
    }

    fn of_shard(shard: u8) -> Account {
        let mut accounts = iter::repeat_with(Account::whatsapp);
        accounts.find(|account| keys::check_shard(&account.organization) == shard).unwrap()
    }

    /// An account that is looked through together with all others that this gives.
    fn of_one_shard() -> Account {
        of_shard(0)
    }

    #[tokio::test]
    async fn what_is_due_is_checked_and_due_again_a_day_later() {
        let (stage, account) = (Stage::where_all_is_well().await, Account::whatsapp());
        let before = stage.connect(&account).await;

        assert_eq!(stage.run().await, did(&json!({ "checked": 1 })));
        assert_eq!(stage.run().await, did(&json!({})), "it is not due any more");

        assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK]);
        let after = stage.stored(&account).await;
        assert_eq!(
            (after.status, after.webhook_verified, &after.error_message),
            (ConnectionStatus::Connected, true, &None)
        );
        assert_eq!(after.health.unwrap().status, HealthStatus::Available);
        assert_eq!((after.credentials, after.created_at), (before.credentials, before.created_at));
        assert!(after.last_synced_at > before.last_synced_at);
        assert_eq!((stage.due_in(23 * HOUR_MS).await, stage.due_in(24 * HOUR_MS).await), (0, 1));
    }

    #[tokio::test]
    async fn unusual_silence_is_told_until_something_comes() {
        const DAY_SECS: i64 = 24 * 60 * 60;
        let (stage, account) = (Stage::where_all_is_well().await, Account::whatsapp());
        let store = stage.table.store();
        stage.connect(&account).await;
        let now = (clock::now_ms() - at(0)) / 1000;
        for number in 0..30 {
            let customer = phone(&format!("4917139200{number:02}"));
            let second = now - 2 * DAY_SECS - number * 60;
            let events = vec![inbound(&customer, &format!("m{number}"), second)];
            assert_eq!(Box::pin(account.deliver(&store, clock::now_us(), events)).await.failed, 0);
        }

        stage.table.meter.start([]);
        assert_eq!(stage.run().await, did(&json!({ "checked": 1, "quiet": 1 })));
        let asked = stage.table.meter.stop().calls.len();
        let quiet = stage.stored(&account).await;
        arrives(&store, &account.proof(), &text_delivery(&account.id, "news"), clock::now_ms()).await;
        let heard = stage.stored(&account).await;
        // What came tells an old time: the next check finds the same silence.
        stage.connect_again(&account).await;

        assert_eq!((quiet.quiet_since, heard.quiet_since), (Some(at(now - 2 * DAY_SECS)), None));
        assert_eq!(stage.run().await, did(&json!({ "checked": 1 })), "it could not come before it was connected");
        assert_eq!(asked, usize::from(keys::CHECK_SHARDS) + 6, "one query more, and one write where it is news");
    }

    #[tokio::test]
    async fn each_is_judged_by_what_its_own_key_is_told_and_those_that_fail_stop_and_delay_no_other() {
        let [fine, limited, refused, moved, unreadable, out_of_order, silent, as_silent, left] =
            std::array::from_fn(|_| of_one_shard());
        let key = |account: &Account| format!("key-{}", account.id);
        let number = json!({
            "entity_type": "PHONE_NUMBER", "id": limited.id, "can_send_message": "LIMITED",
            "additional_info": ["Quality is low"],
        });
        let said = BTreeMap::from([
            (key(&limited), Some((200, json!({ "health_status": { "entities": [number] } })))),
            (key(&refused), Some((401, json!({ "meta": { "developer_message": "Invalid api_key" } })))),
            (key(&moved), Some((200, json!({ "id": "another" })))),
            (key(&out_of_order), Some((503, json!({})))),
            (key(&silent), None),
            (key(&as_silent), None),
        ]);
        let says = move |asked: &Asked| match said.get(&asked.key) {
            Some(said) if asked.call == HEALTH => said.clone(),
            _ => Some(well(asked)),
        };
        let stage = Stage::of(MockProvider::saying(says).await).await;
        for account in [&silent, &as_silent, &fine, &limited, &refused, &moved, &out_of_order, &left] {
            stage.connect(account).await;
        }
        unreadable.connected(&stage.table.store(), sealed("Y2lwaGVy"), 0).await;
        stage.table.store().disconnect(&left.organization, left.platform, "ann", at(1)).await.unwrap();
        let mut untouched = Vec::new();
        for account in [&out_of_order, &silent, &as_silent, &left] {
            untouched.push((account, stage.stored(account).await));
        }

        let began = Instant::now();
        let answer = stage.run().await;

        assert!(began.elapsed() < Duration::from_secs(10), "the silent ones were waited for one after the other");
        assert_eq!(answer, did(&json!({ "checked": 8, "refused": 3, "unanswered": 3 })));
        for (account, message) in [(&refused, KEY_REFUSED), (&moved, OTHER_ACCOUNT), (&unreadable, KEY_UNREADABLE)] {
            let after = stage.stored(account).await;
            assert_eq!((after.status, after.error_message.as_deref()), (ConnectionStatus::Error, Some(message)));
        }
        for (account, status) in [(&fine, HealthStatus::Available), (&limited, HealthStatus::Limited)] {
            let after = stage.stored(account).await;
            assert_eq!((after.status, after.error_message), (ConnectionStatus::Connected, None));
            assert_eq!(after.health.unwrap().status, status);
        }
        for (account, before) in untouched {
            assert_eq!(stage.stored(account).await, before, "no answer is no news");
        }
        assert!(stage.provider.asked().iter().all(|asked| asked.key != key(&left)), "it is disconnected");
        assert_eq!((stage.due_in(0).await, stage.due_in(HOUR_MS).await), (0, 3), "those without an answer");
        assert_eq!(stage.due_in(24 * HOUR_MS).await, 8);
    }

    #[tokio::test]
    async fn a_webhook_elsewhere_is_repaired_where_that_is_allowed_and_it_was_ours_and_the_trail_tells_it() {
        let account = Account::whatsapp();
        let answers = [
            (200, json!({ "id": account.id })),
            (200, json!({ "url": ELSEWHERE })),
            (200, json!({})),
            (200, json!({ "url": WEBHOOK_URL })),
        ];
        let stage = Stage::of(MockProvider::answering(answers).await).await;
        stage.connect_repairing(&account, true, true).await;

        assert_eq!(stage.run().await, did(&json!({ "checked": 1, "repaired": 1 })));

        assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK, REGISTER, WEBHOOK]);
        let registered = &stage.provider.asked()[2].body;
        assert_eq!(registered["url"], WEBHOOK_URL);
        assert_eq!(token_of(registered), (account.proof(), Some(true)));
        let after = stage.stored(&account).await;
        assert_eq!((after.webhook_verified, after.error_message), (true, None));
        let repairs = stage.repairs(&account).await;
        assert_eq!(repairs.len(), 1);
        assert_eq!((&repairs[0].by, &repairs[0].account_id), (&None, &Some(account.id)));
    }

    fn bearer(keys: &WebhookKeys, account: &Account) -> Value {
        let token = keys.account_token(account.platform, &account.id, &account.organization);
        json!({ "Authorization": format!("Bearer {}", token.expose_secret()) })
    }

    /// A run with an account whose webhook is ours and has these headers.
    async fn run_with(account: &Account, headers: &Value) -> (Stage, Value) {
        let ours = || (200, json!({ "url": WEBHOOK_URL, "headers": headers }));
        let answers = [(200, json!({ "id": account.id })), ours(), (200, json!({})), ours()];
        let stage = Stage::of(MockProvider::answering(answers).await).await;
        stage.connect(account).await;
        let ran = stage.run().await;
        (stage, ran)
    }

    #[tokio::test]
    async fn webhook_without_a_current_token_gets_one() {
        let account = Account::whatsapp();
        let service = webhook_keys(SECRET).service_token();
        let mut forged = bearer(&webhook_keys(SECRET), &account).to_string();
        forged.replace_range(forged.len() - 5..forged.len() - 2, "AAA");
        for headers in [
            json!({}),
            json!({ "Authorization": "Bearer set-by-hand" }),
            json!({ "authorization": format!("bearer {}", service.expose_secret()) }),
            bearer(&webhook_keys("the secret before the rotation"), &account),
            serde_json::from_str(&forged).unwrap(),
        ] {
            let (stage, ran) = run_with(&account, &headers).await;

            assert_eq!(ran, did(&json!({ "checked": 1, "renewed": 1 })), "{headers}");
            assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK, REGISTER, WEBHOOK], "{headers}");
            assert_eq!(token_of(&stage.provider.asked()[2].body), (account.proof(), Some(true)));
            assert_eq!(stage.renewals(&account).await, 1);
        }
    }

    #[tokio::test]
    async fn webhook_that_brings_a_current_token_stays() {
        let account = Account::whatsapp();
        let sibling = Account { organization: account.organization.clone(), ..Account::whatsapp() };
        let others = bearer(&webhook_keys("the secret before the rotation"), &Account::whatsapp());
        for headers in [
            bearer(&webhook_keys(SECRET), &account),
            bearer(&webhook_keys(SECRET), &sibling),
            // Of another organization with the same key: the two would take turns.
            others,
            Value::Null,
        ] {
            let (stage, ran) = run_with(&account, &headers).await;

            assert_eq!(ran, did(&json!({ "checked": 1 })), "{headers}");
            assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK], "{headers}");
        }
    }

    #[tokio::test]
    async fn renewal_that_fails_leaves_the_webhook_verified() {
        let account = Account::whatsapp();
        let ours = (200, json!({ "url": WEBHOOK_URL, "headers": {} }));
        let answers = [(200, json!({ "id": account.id })), ours, (400, json!({ "error": "no" }))];
        let stage = Stage::of(MockProvider::answering(answers).await).await;
        stage.connect(&account).await;

        assert_eq!(stage.run().await, did(&json!({ "checked": 1 })));

        assert!(stage.stored(&account).await.webhook_verified);
        assert_eq!(stage.renewals(&account).await, 0);
    }

    #[tokio::test]
    async fn webhook_at_another_address_of_ours_is_ours() {
        for (case, allowed, calls) in [("stays", false, 2), ("moved", true, 4)] {
            let account = Account::whatsapp();
            let answers = [
                (200, json!({ "id": account.id })),
                (200, json!({ "url": ALIAS })),
                (200, json!({})),
                (200, json!({ "url": WEBHOOK_URL })),
            ];
            let stage = Stage::of(MockProvider::answering(answers.into_iter().take(calls)).await).await;
            stage.connect_repairing(&account, allowed, true).await;

            assert_eq!(stage.run().await, did(&json!({ "checked": 1 })), "{case}");

            assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK, REGISTER, WEBHOOK][..calls], "{case}");
            let after = stage.stored(&account).await;
            assert_eq!((after.webhook_verified, after.error_message), (true, None), "{case}");
            assert_eq!(stage.repairs(&account).await, [], "{case}: nothing was out of order");
        }
    }

    #[tokio::test]
    async fn alias_that_cannot_be_moved_stays_ours() {
        let account = Account::whatsapp();
        let answers =
            [(200, json!({ "id": account.id })), (200, json!({ "url": ALIAS })), (400, json!({ "error": "no" }))];
        let stage = Stage::of(MockProvider::answering(answers).await).await;
        stage.connect_repairing(&account, true, true).await;

        assert_eq!(stage.run().await, did(&json!({ "checked": 1 })));

        let after = stage.stored(&account).await;
        assert_eq!((after.webhook_verified, after.error_message), (true, None));
    }

    #[tokio::test]
    async fn a_webhook_elsewhere_is_only_told_where_it_may_not_be_repaired_or_cannot() {
        let elsewhere = || (200, json!({ "url": ELSEWHERE }));
        let cases = [
            ("not allowed", false, true, vec![], 2),
            ("never ours", true, false, vec![], 2),
            ("refused", true, true, vec![(400, json!({ "error": "no" }))], 3),
            ("taken and forgotten", true, true, vec![(200, json!({})), elsewhere()], 4),
        ];
        for (case, allowed, was_ours, repair, calls) in cases {
            let account = Account::whatsapp();
            let answers = [(200, json!({ "id": account.id })), elsewhere()].into_iter().chain(repair);
            let stage = Stage::of(MockProvider::answering(answers).await).await;
            stage.connect_repairing(&account, allowed, was_ours).await;

            assert_eq!(stage.run().await, did(&json!({ "checked": 1, "elsewhere": 1 })), "{case}");

            assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK, REGISTER, WEBHOOK][..calls], "{case}");
            let after = stage.stored(&account).await;
            assert_eq!(after.status, ConnectionStatus::Connected, "{case}: it can send");
            assert_eq!(
                (after.webhook_verified, after.error_message.as_deref()),
                (false, Some(WEBHOOK_ELSEWHERE)),
                "{case}"
            );
            assert_eq!(stage.repairs(&account).await, [], "{case}");
        }
    }

    #[tokio::test]
    async fn what_came_before_connecting_is_received_whatever_the_provider_says_of_the_key() {
        let account = Account::whatsapp();
        let stage = Stage::of(MockProvider::answering([(401, json!({}))]).await).await;
        let store = &stage.table.store();
        arrives(store, &Proof::Global, &text_delivery(&account.id, "wamid.early"), clock::now_ms()).await;
        stage.connect(&account).await;

        assert_eq!(stage.run().await, did(&json!({ "checked": 1, "refused": 1, "replayed": 1 })));

        let conversation = account.only(store).await;
        assert_eq!(account.external_ids(store, &conversation).await, ["wamid.early"]);
        assert_eq!(account.quarantine(store).await, []);
    }

    #[tokio::test]
    async fn a_quarantine_that_cannot_be_read_now_delays_no_check_and_is_looked_through_within_the_hour() {
        let (stage, account) = (Stage::where_all_is_well().await, Account::whatsapp());
        stage.connect(&account).await;
        let due_is_asked = usize::from(keys::check_shard(&account.organization));

        stage.table.meter.start([(due_is_asked + 1, Fault::Before)]);
        let answer = stage.run().await;
        stage.table.meter.stop();

        assert_eq!(answer, did(&json!({ "checked": 1 })));
        assert_eq!((stage.due_in(0).await, stage.due_in(HOUR_MS).await), (0, 1));
    }

    #[tokio::test]
    async fn when_the_time_is_up_nothing_is_begun_and_the_next_run_does_it() {
        let (stage, account) = (Stage::where_all_is_well().await, Account::whatsapp());
        let before = stage.connect(&account).await;

        let soon = u64::try_from(clock::now_ms() + 10_000).unwrap();
        let late = serde_json::to_value(handle(&stage.checking, soon).await.unwrap()).unwrap();

        assert_eq!(late, did(&json!({ "more": true })));
        assert_eq!(stage.provider.calls(), [""; 0]);
        assert_eq!((stage.stored(&account).await, stage.due_in(0).await), (before, 1));
        assert_eq!(stage.run().await, did(&json!({ "checked": 1 })));
    }

    #[tokio::test]
    async fn a_shard_that_cannot_be_read_holds_up_no_other_and_the_run_fails() {
        let (stage, [first, last]) = (Stage::where_all_is_well().await, [0, keys::CHECK_SHARDS - 1].map(of_shard));
        stage.connect(&first).await;
        stage.connect(&last).await;

        stage.table.meter.start([(0, Fault::Before)]);
        let run = handle(&stage.checking, NEVER).await;
        stage.table.meter.stop();

        assert!(run.is_err());
        assert!(stage.stored(&first).await.health.is_none() && stage.stored(&last).await.health.is_some());
        assert_eq!(stage.run().await, did(&json!({ "checked": 1 })));
    }

    #[tokio::test]
    async fn wherever_the_table_fails_a_later_run_completes_it() {
        let counted = Stage::where_all_is_well().await;
        counted.connect(&Account::whatsapp()).await;
        counted.table.meter.start([]);
        counted.run().await;
        let calls = counted.table.meter.stop().calls.len();
        // What waits in quarantine, whether there is a journal, what came of the check, and when customers last wrote.
        assert_eq!(calls, usize::from(keys::CHECK_SHARDS) + 5);

        for call in 0..calls {
            for fault in Fault::ALL {
                let (stage, account) = (Stage::where_all_is_well().await, Account::whatsapp());
                stage.connect(&account).await;
                stage.table.meter.start([(call, fault)]);
                let run = handle(&stage.checking, NEVER).await;
                let asked = stage.table.meter.stop().calls;
                assert!(run.is_ok() || asked[call] == "Query", "{call} {fault:?}: only what is due has to be known");

                stage.run().await;

                let after = stage.stored(&account).await;
                assert!(after.health.is_some() && after.status == ConnectionStatus::Connected, "{call} {fault:?}");
                assert_eq!(stage.due_in(0).await, 0, "{call} {fault:?}");
            }
        }
    }

    #[tokio::test]
    async fn of_however_many_are_due_all_are_checked_once_also_where_the_table_takes_nothing_first() {
        const COUNT: usize = BATCH + 5;
        let stage = Stage::of(MockProvider::answering([]).await).await;
        let store = stage.table.store();
        for account in iter::repeat_with(of_one_shard).take(COUNT) {
            account.connected(&store, sealed("Y2lwaGVy"), 0).await;
        }

        stage.table.meter.start_failing("UpdateItem");
        let deadline =
            u64::try_from(clock::now_ms()).unwrap() + u64::try_from(LAST_CHECK.as_millis()).unwrap() + 60_000;
        let in_vain = serde_json::to_value(handle(&stage.checking, deadline).await.unwrap()).unwrap();
        stage.table.meter.stop();

        assert_eq!(in_vain, did(&json!({ "checked": BATCH, "refused": BATCH })), "not over and over");
        assert_eq!(stage.due_in(0).await, COUNT);
        assert_eq!(stage.run().await, did(&json!({ "checked": COUNT, "refused": COUNT })));
        assert_eq!(stage.due_in(0).await, 0);
    }
}
