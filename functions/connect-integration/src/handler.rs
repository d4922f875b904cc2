//! Connects an account: verify with the provider, prove the account, claim it, seal the key, register the webhook. Whatever
//! fails leaves what worked before as it was.

use std::time::Duration;

use lambda_http::{Body, Request, Response, http::StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    dialog360::{KeyCheck, Provider},
    http,
    id::{AccountId, OrganizationId},
    platform::Platform,
    replay,
    secrets::WebhookSecret,
    store::{
        AuditAction, Claim, ConnectionStatus, Credentials, Health, Integration, KEY_UNREADABLE, Store, Stored,
        WEBHOOK_ELSEWHERE,
    },
    vault::{self, SealedKey, Vault},
    view::IntegrationView,
};
use tracing::{error, info};

const API_KEY_MAX_BYTES: usize = 1024;
const WABA_ID_MAX_BYTES: usize = 128;
const OTHER_WABA: &str = "`wabaId` is not the business account of this number: leave it out, the provider tells it";
const NO_STORED_KEY: &str = "`apiKey` is missing: only the account that is connected already has one stored";
/// How many entries of the quarantine are received before the answer.
const REPLAYS: usize = 100;
/// How long the answer waits for them.
const REPLAY_TIME: Duration = Duration::from_secs(5);
/// What the answer itself needs.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What connecting takes.
pub(crate) struct Connecting {
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) provider: Provider,
    pub(crate) webhook_url: String,
    pub(crate) webhook_secret: WebhookSecret,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectIntegrationRequest {
    /// None: the one that is stored.
    api_key: Option<SecretString>,
    phone_number_id: Option<String>,
    waba_id: Option<String>,
    instagram_account_id: Option<String>,
    facebook_page_id: Option<String>,
    repair_webhook: Option<bool>,
}

/// What the caller wants to connect.
struct Wanted {
    organization: OrganizationId,
    user: String,
    platform: Platform,
    account: AccountId,
    waba_id: Option<String>,
    repair_webhook: Option<bool>,
}

pub(crate) async fn handle(connecting: &Connecting, request: Request) -> Result<Response<Body>> {
    let deadline = http::deadline(&request);
    let time_left = || deadline.saturating_sub(Duration::from_millis(clock::now_ms().unsigned_abs()));
    let caller =
        auth::caller_or_told(&request, &connecting.claims, auth::ADMINS, &connecting.store, AuditAction::Connected)
            .await?;
    let platform = http::platform(&request)?;
    let body = http::body(&request, http::BODY_MAX_BYTES)?;
    let (mut wanted, api_key) = wanted(caller, platform, body)?;

    let store = &connecting.store;
    let mut previous = None;
    let api_key = if let Some(api_key) = api_key {
        api_key
    } else {
        previous = store.integration(&wanted.organization, platform).await?;
        let same_account = previous.as_ref().filter(|previous| previous.credentials.account == wanted.account);
        // Whoever brings nothing new changes nothing about the account either.
        wanted.waba_id = wanted.waba_id.or_else(|| same_account.and_then(|same| same.credentials.waba_id.clone()));
        stored_key(&connecting.vault, same_account).await?
    };
    let check = connecting.provider.check_key(platform, &api_key).await?;
    // Before any look at who has it: whoever proves nothing learns nothing.
    let claim = match check.speaks_for(&wanted.account) {
        Some(true) => Claim::Proven,
        Some(false) => return Err(Error::AccountMismatch),
        None if connecting.provider.is_trusted(platform) => Claim::Unproven,
        None => return Err(Error::AccountNotProven),
    };
    if let (Some(named), Some(told)) = (&check.waba_id, &wanted.waba_id)
        && named != told
    {
        return Err(Error::invalid_body(OTHER_WABA, "wabaId"));
    }
    if previous.is_none() {
        previous = store.integration(&wanted.organization, platform).await?;
    }
    let now_ms = clock::now_ms();
    let claimed = store.claim_account(&wanted.organization, platform, &wanted.account, claim, now_ms).await?;
    let connected = connect(connecting, &wanted, &api_key, claim, check, previous.as_ref(), now_ms).await;
    if connected.is_err() && claimed == Stored::New {
        // Nobody else may stay locked out by an attempt that failed; a claim that cannot be given back now runs out.
        if let Err(error) = store.release_claim(&wanted.organization, platform, &wanted.account, now_ms).await {
            error!("a claim was not released: {}", http::causes(&error));
        }
    }
    let connected = connected?;
    replay_waiting(store, &connected, time_left).await;
    let message = format!("{} is connected.", platform.display_name());
    let status = if previous.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    http::ok_with_message(status, &IntegrationView::from(connected), &message)
}

/// Receives what came for the account before it was connected, as far as the answer can wait for it: the scheduled check, which is
/// due at once, receives the rest. Nothing that goes wrong here makes the connection fail.
async fn replay_waiting(store: &Store, integration: &Integration, time_left: impl Fn() -> Duration) {
    let replayed = replay::replay_before_connecting(store, integration, REPLAYS, clock::now_us());
    match tokio::time::timeout(time_left().saturating_sub(ANSWER_TIME).min(REPLAY_TIME), replayed).await {
        Ok(Ok((tally, _))) if tally == replay::Tally::default() => {}
        Ok(Ok((replay::Tally { replayed, stay, failed }, more))) => {
            info!(replayed, stay, failed, more, "received what came before the account was connected");
        }
        Ok(Err(error)) => error!("what came before the account was connected waits: {}", http::causes(&error)),
        Err(_) => info!("the rest of what came before the account was connected waits for the check"),
    }
}

/// What is to be connected, and the key of the request, where it brings one.
fn wanted(
    caller: Caller,
    platform: Platform,
    body: ConnectIntegrationRequest,
) -> Result<(Wanted, Option<SecretString>)> {
    let (field, account) = match platform {
        Platform::Whatsapp => ("phoneNumberId", body.phone_number_id),
        Platform::Instagram => ("instagramAccountId", body.instagram_account_id),
        Platform::Facebook => ("facebookPageId", body.facebook_page_id),
    };
    let account = account.ok_or_else(|| Error::invalid_body(format!("`{field}` is missing"), field))?;
    let account = account.trim().parse();
    let account = account.map_err(|error| Error::invalid_body(format!("`{field}` is no id: {error}"), field))?;
    let api_key = body.api_key.map(|api_key| api_key.expose_secret().trim().to_owned());
    let is_key =
        |key: &String| (1..=API_KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if !api_key.as_ref().is_none_or(is_key) {
        return Err(Error::invalid_body("`apiKey` is no API key: copy it whole, without spaces", "apiKey"));
    }
    // No other platform has one.
    let waba_id = body.waba_id.filter(|_| platform == Platform::Whatsapp);
    let waba_id = waba_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    if waba_id.as_ref().is_some_and(|id| id.len() > WABA_ID_MAX_BYTES) {
        return Err(Error::invalid_body("`wabaId` is no id", "wabaId"));
    }
    let (Caller { organization, user }, repair_webhook) = (caller, body.repair_webhook);
    let wanted = Wanted { organization, user, platform, account, waba_id, repair_webhook };
    Ok((wanted, api_key.map(SecretString::from)))
}

/// The key that is stored of the account: for whoever connects it again.
async fn stored_key(vault: &Vault, integration: Option<&Integration>) -> Result<SecretString> {
    let Some(Integration { organization_id, platform, credentials, .. }) = integration else {
        return Err(Error::invalid_body(NO_STORED_KEY, "apiKey"));
    };
    match vault.open(organization_id, *platform, &credentials.sealed_key).await {
        Err(error) if vault::is_unreadable(&error) => Err(Error::invalid_body(KEY_UNREADABLE, "apiKey")),
        opened => opened,
    }
}

async fn connect(
    connecting: &Connecting,
    wanted: &Wanted,
    api_key: &SecretString,
    claim: Claim,
    check: KeyCheck,
    previous: Option<&Integration>,
    now_ms: i64,
) -> Result<Integration> {
    let Wanted { organization, platform, account, .. } = wanted;
    let same_account = previous.filter(|previous| previous.credentials.account == *account);
    let sealed_key = match known_key(connecting, api_key, same_account).await? {
        Some(sealed_key) => sealed_key,
        None => connecting.vault.seal(organization, *platform, api_key).await?,
    };
    let mut error_message = None;
    let webhook_verified = if connecting.provider.registers_webhooks(*platform) {
        // Proven by the provider's word, where that names the account; else by the first delivery.
        let is_ours = register_webhook(connecting, wanted, api_key).await?;
        error_message = (!is_ours).then(|| WEBHOOK_ELSEWHERE.to_owned());
        is_ours && (claim == Claim::Proven || same_account.is_some_and(|previous| previous.webhook_verified))
    } else {
        same_account.is_some_and(|previous| previous.webhook_verified)
    };
    let webhook_was_ours = webhook_verified || same_account.is_some_and(|previous| previous.webhook_was_ours);
    // Whoever only brings a new key changes nothing about that.
    let permission = wanted.repair_webhook.or_else(|| same_account.map(|previous| previous.repair_webhook));
    let repair_webhook = permission.unwrap_or_default();
    let integration = integration(wanted, sealed_key, check, previous, now_ms);
    let noted_claim = Some(claim);
    let integration =
        Integration { noted_claim, webhook_verified, webhook_was_ours, repair_webhook, error_message, ..integration };
    connecting.store.put_integration(&integration, previous, &wanted.user).await?;
    Ok(integration)
}

/// The sealed key of what is connected, where it is this one: whoever connects again with it has not replaced it.
async fn known_key(
    connecting: &Connecting,
    api_key: &SecretString,
    previous: Option<&Integration>,
) -> Result<Option<SealedKey>> {
    let Some(Integration { organization_id, platform, credentials, .. }) = previous else { return Ok(None) };
    match connecting.vault.open(organization_id, *platform, &credentials.sealed_key).await {
        Ok(known) if known.expose_secret() == api_key.expose_secret() => Ok(Some(credentials.sealed_key.clone())),
        Ok(_) => Ok(None),
        Err(error) if vault::is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Registers our webhook and reads it back: whether it is ours then.
async fn register_webhook(connecting: &Connecting, wanted: &Wanted, api_key: &SecretString) -> Result<bool> {
    let Wanted { organization, platform, account, .. } = wanted;
    let token = connecting.webhook_secret.fresh().await.current.account_token(*platform, account, organization);
    let (provider, url) = (&connecting.provider, &connecting.webhook_url);
    provider.register_webhook(*platform, api_key, url, &token).await?;
    Ok(provider.registered_webhook(*platform, api_key).await?.is_some_and(|webhook| webhook.url == *url))
}

fn integration(
    wanted: &Wanted,
    sealed_key: SealedKey,
    check: KeyCheck,
    previous: Option<&Integration>,
    now_ms: i64,
) -> Integration {
    let same_account = previous.filter(|previous| previous.credentials.account == wanted.account);
    Integration {
        organization_id: wanted.organization.clone(),
        platform: wanted.platform,
        status: ConnectionStatus::Connected,
        noted_claim: None,
        credentials: Credentials {
            account: wanted.account.clone(),
            waba_id: check.waba_id.or_else(|| wanted.waba_id.clone()),
            display_phone_number: check.display_phone_number,
            sealed_key,
            is_page_token: check.is_of_page && wanted.platform == Platform::Instagram,
        },
        webhook_verified: false,
        webhook_was_ours: false,
        repair_webhook: false,
        last_synced_at: Some(now_ms),
        error_message: None,
        health: Some(Health {
            status: check.status,
            reasons: check.reasons,
            checked_at: now_ms,
            refused_a_send: false,
        }),
        notices: same_account.map(|same| same.notices.clone()).unwrap_or_default(),
        quiet_since: None,
        noted_connected_at: Some(now_ms),
        created_at: previous.map_or(now_ms, |previous| previous.created_at),
        updated_at: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{
        config::{self, Preset},
        store::{AuditAction, OwnerStatus},
        webhook_token::{Proof, UnverifiedToken},
    };
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, sealed},
        provider::{Asked, MockProvider},
        secrets::{webhook_keys, webhook_secret},
        vault::{Kms, vault},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/connect-integration.json");
    /// The key in the event.
    const KEY: &str = "sim_whatsapp_700100200300402";
    const WEBHOOK_URL: &str = "https://hooks.example.com/api/v1/webhooks/360dialog";
    const HEALTH: &str = "GET /health_status?fields=health_status,id,display_phone_number";
    const REGISTER: &str = "POST /v1/configs/webhook";
    const READ_BACK: &str = "GET /v1/configs/webhook";

    const SECRET: &str = "a-webhook-secret-of-the-tests";

    /// What the provider says of a key of the account.
    fn speaks_for(account: &Account) -> (u16, Value) {
        (200, json!({ "id": account.id, "display_phone_number": "+49 171 3920012" }))
    }

    fn registered(url: &str) -> (u16, Value) {
        (200, json!({ "url": url }))
    }

    struct Stage {
        table: Table,
        provider: MockProvider,
        kms: Kms,
        connecting: Connecting,
    }

    impl Stage {
        /// With a provider that gives these answers.
        async fn of(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            Self::at(Table::open().await, answers).await
        }

        async fn at(table: Table, answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            let (vault, kms) = vault().await;
            let provider = MockProvider::answering(answers).await;
            let connecting = Connecting {
                claims: claims(),
                store: table.store(),
                vault,
                provider: provider.client(),
                webhook_url: WEBHOOK_URL.into(),
                webhook_secret: webhook_secret(SECRET).await.0,
            };
            Self { table, provider, kms, connecting }
        }

        async fn answer(&self, call: Call) -> Answer {
            Answer::to(handle(&self.connecting, call.request()).await)
        }

        /// The event, with the id of that account.
        async fn connect(&self, account: &Account) -> Answer {
            let body = json!({ "apiKey": KEY, "phoneNumberId": account.id });
            self.answer(Call::of(EVENT).from(&account.organization).body(&body)).await
        }

        async fn stored(&self, account: &Account) -> Option<Integration> {
            self.table.store().integration(&account.organization, account.platform).await.unwrap()
        }

        /// Who the account belongs to, and what becomes of its deliveries.
        async fn owner(&self, account: &Account) -> Option<(OrganizationId, OwnerStatus)> {
            let owner = self.table.store().owner_of_account(account.platform, &account.id).await.unwrap()?;
            Some((owner.organization_id, owner.status))
        }
    }

    #[tokio::test]
    async fn the_key_is_verified_then_sealed_and_the_webhook_is_registered_with_a_token_of_its_own() {
        let account = Account::whatsapp();
        let stage = Stage::of([speaks_for(&account), registered(WEBHOOK_URL), registered(WEBHOOK_URL)]).await;

        let answer = stage.connect(&account).await;

        let asked = stage.provider.asked();
        assert_eq!(stage.provider.calls(), [HEALTH, REGISTER, READ_BACK]);
        assert!(asked.iter().all(|Asked { key, .. }| key == KEY));
        assert_eq!(asked[1].body["url"], WEBHOOK_URL);
        let token = asked[1].body["headers"]["Authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
        let Account { organization, platform, id } = account.clone();
        let proof = Proof::Account { platform, account: id, organization };
        let token = UnverifiedToken::parse(token).unwrap();
        assert_eq!(webhook_keys(SECRET).verify(&token), Some(true));
        assert_eq!(token.subject, proof);

        assert_eq!((answer.status, &answer.body["data"]["webhookVerified"]), (201, &json!(true)));
        assert!(!answer.body.to_string().contains(KEY));
        let stored = stage.stored(&account).await.unwrap();
        let opened =
            stage.connecting.vault.open(&account.organization, account.platform, &stored.credentials.sealed_key);
        assert_eq!(opened.await.unwrap().expose_secret(), KEY);
        assert!(!format!("{:?}", stage.table.partition(&format!("ORG#{}", account.organization)).await).contains(KEY));
        assert_eq!(stage.owner(&account).await, Some((account.organization, OwnerStatus::Connected)));
    }

    #[tokio::test]
    async fn a_key_that_is_not_the_accounts_changes_nothing() {
        let account = Account::whatsapp();
        let refusals = [
            ((401, json!({ "meta": { "developer_message": "Invalid api_key" } })), "INVALID_CREDENTIALS"),
            (speaks_for(&Account::whatsapp()), "ACCOUNT_MISMATCH"),
        ];
        for (said, code) in refusals {
            let stage = Stage::of([said]).await;

            stage.table.meter.start([]);
            let answer = stage.connect(&account).await;

            assert_eq!(answer.refusal(), (400, code));
            assert_eq!((stage.table.meter.stop().calls, stage.kms.calls().len()), (vec![], 0));
            assert_eq!(stage.provider.calls(), [HEALTH]);
        }
    }

    #[tokio::test]
    async fn an_account_of_another_organization_stays_theirs_and_its_webhook_too() {
        let theirs = Account::whatsapp();
        let ours = Account { organization: Account::whatsapp().organization, ..theirs.clone() };
        let stage = Stage::of([speaks_for(&theirs)]).await;
        let before = theirs.connected(&stage.table.store(), sealed("Y2lwaGVy"), 0).await;

        let answer = stage.connect(&ours).await;

        assert_eq!(answer.refusal(), (409, "ACCOUNT_IN_USE"));
        assert_eq!(stage.provider.calls(), [HEALTH]);
        assert_eq!((stage.stored(&ours).await, stage.stored(&theirs).await), (None, Some(before)));
        assert_eq!(stage.owner(&ours).await, Some((theirs.organization, OwnerStatus::Connected)));
    }

    /// A page, and what connects it with the event's key.
    fn page() -> (Account, Call) {
        let account = Account::new(Platform::Facebook);
        let body = json!({ "apiKey": KEY, "facebookPageId": account.id });
        let call = Call::of(EVENT).path("platform", "facebook").from(&account.organization).body(&body);
        (account, call)
    }

    #[tokio::test]
    async fn an_account_that_nobody_names_is_not_proven() {
        // What 360dialog says of any key: nothing about pages.
        let says = (200, json!({ "id": "700100200300402", "health_status": { "entities": [] } }));
        for is_connected in [false, true] {
            let ((page, call), stage) = (page(), Stage::of([says.clone()]).await);
            if is_connected {
                let theirs = Account { id: page.id.clone(), ..Account::new(Platform::Facebook) };
                theirs.connected(&stage.table.store(), sealed("Y2lwaGVy"), 0).await;
            }

            stage.table.meter.start([]);
            let answer = stage.answer(call).await;

            assert_eq!(answer.refusal(), (400, "ACCOUNT_NOT_PROVEN"), "{is_connected}: it tells nothing of others");
            assert_eq!(
                (stage.table.meter.stop().calls, stage.provider.calls()),
                (vec![], vec!["GET /health_status".into()])
            );
        }
    }

    #[tokio::test]
    async fn a_trusted_channel_lets_an_unproven_claim_through() {
        let (page, call) = page();
        let says = (200, json!({ "health_status": { "entities": [] } }));
        let mut stage = Stage::of([says, registered(WEBHOOK_URL), registered(WEBHOOK_URL)]).await;
        let settings = stage.provider.settings();
        stage.connecting.provider = Provider::new(config::Provider { trust_partner_channel: true, ..settings });

        let answer = stage.answer(call).await;

        assert_eq!((answer.status, &answer.body["data"]["claim"]), (201, &json!("unproven")), "{answer:?}");
        let owner = stage.table.store().owner_of_account(page.platform, &page.id).await.unwrap().unwrap();
        assert!(!owner.is_proven(page.platform));
    }

    #[tokio::test]
    async fn meta_names_what_webhooks_carry() {
        let no_token = json!({ "error": { "code": 190, "message": "Invalid OAuth access token" } });
        let login = "GET /graph.instagram.com/v24.0/me?fields=user_id,username";
        let linked = "GET /v24.0/me?fields=id,name,instagram_business_account";
        let of_page = json!({ "id": "1", "instagram_business_account": { "id": "ID" } });
        let cases = [
            (Platform::Instagram, vec![json!({ "id": "9", "user_id": "ID" })], vec![login], false),
            (Platform::Instagram, vec![json!({ "data": [{ "user_id": "ID" }] })], vec![login], false),
            (Platform::Instagram, vec![no_token, of_page], vec![login, linked], true),
            (Platform::Facebook, vec![json!({ "id": "ID" })], vec!["GET /v24.0/me?fields=id,name"], false),
        ];
        for (platform, says, asked, by_page) in cases {
            let account = Account::new(platform);
            let says = says.into_iter().map(|body| {
                let body = body.to_string().replace("\"ID\"", &json!(account.id).to_string());
                let status = if body.contains("error") { 401 } else { 200 };
                (status, serde_json::from_str(&body).unwrap())
            });
            let mut stage = Stage::of(says).await;
            let (instagram, facebook) = (Preset::Graph, Preset::Graph);
            let settings = config::Provider { instagram, facebook, ..stage.provider.settings() };
            stage.connecting.provider = Provider::new(settings);
            let body = json!({ "apiKey": KEY, "facebookPageId": account.id, "instagramAccountId": account.id });
            let call = Call::of(EVENT).path("platform", platform.as_str()).from(&account.organization).body(&body);

            let answer = stage.answer(call).await;

            assert_eq!((answer.status, &answer.body["data"]["claim"]), (201, &json!("proven")), "{answer:?}");
            assert_eq!(stage.provider.calls(), asked);
            assert_eq!(stage.stored(&account).await.unwrap().credentials.is_page_token, by_page);
        }
    }

    #[tokio::test]
    async fn a_business_account_that_contradicts_is_refused() {
        let account = Account::whatsapp();
        let health =
            json!({ "id": account.id, "health_status": { "entities": [{ "entity_type": "WABA", "id": "9001" }] } });
        let stage = Stage::of([(200, health)]).await;

        let body = json!({ "apiKey": KEY, "phoneNumberId": account.id, "wabaId": "9002" });
        let answer = stage.answer(Call::of(EVENT).from(&account.organization).body(&body)).await;

        assert_eq!(answer.refusal(), (400, "INVALID_BODY"));
        assert_eq!(answer.body["error"]["details"]["field"], "wabaId");
        assert_eq!(stage.owner(&account).await, None);
    }

    #[tokio::test]
    async fn the_same_key_again_is_no_rotation() {
        let account = Account::whatsapp();
        let answers = [speaks_for(&account), registered(WEBHOOK_URL), registered(WEBHOOK_URL)];
        let stage = Stage::of(std::iter::repeat_n(answers, 3).flatten()).await;
        let connect = async |key: &str| {
            let body = json!({ "apiKey": key, "phoneNumberId": account.id });
            let answer = stage.answer(Call::of(EVENT).from(&account.organization).body(&body)).await;
            assert!(answer.status < 300, "{answer:?}");
            account.audit(&stage.table.store()).await[0].action
        };

        assert_eq!(connect(KEY).await, AuditAction::Connected);
        assert_eq!(connect(KEY).await, AuditAction::Reconnected);
        assert_eq!(connect("another-key").await, AuditAction::KeyRotated);
    }

    /// What connects the account with the key that is stored.
    fn without_key(account: &Account) -> Call {
        Call::of(EVENT).from(&account.organization).body(&json!({ "phoneNumberId": account.id }))
    }

    #[tokio::test]
    async fn the_stored_key_connects_its_account_again() {
        let account = Account::whatsapp();
        let stage = Stage::of([speaks_for(&account), registered(WEBHOOK_URL), registered(WEBHOOK_URL)]).await;
        let store = stage.table.store();
        let key =
            stage.connecting.vault.seal(&account.organization, account.platform, &"the-key".into()).await.unwrap();
        let before = account.connected(&store, key, 0).await;
        let waba_id = Some("9001".to_owned());
        let known = Credentials { waba_id: waba_id.clone(), ..before.credentials.clone() };
        let disconnected = Integration { status: ConnectionStatus::Disconnected, credentials: known, ..before.clone() };
        store.put_integration(&disconnected, Some(&before), "ann").await.unwrap();

        let answer = stage.answer(without_key(&account)).await;

        assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &json!("connected")), "{answer:?}");
        assert_eq!(stage.provider.calls(), [HEALTH, REGISTER, READ_BACK]);
        assert!(stage.provider.asked().iter().all(|Asked { key, .. }| key == "the-key"));
        let stored = stage.stored(&account).await.unwrap().credentials;
        assert_eq!((&stored.sealed_key, stored.waba_id), (&before.credentials.sealed_key, waba_id));
        assert_eq!(account.audit(&store).await[0].action, AuditAction::Reconnected);
    }

    #[tokio::test]
    async fn a_stored_key_connects_no_other_account() {
        let account = Account::whatsapp();
        let stage = Stage::of([]).await;
        let key =
            stage.connecting.vault.seal(&account.organization, account.platform, &"the-key".into()).await.unwrap();
        let before = account.connected(&stage.table.store(), key, 0).await;
        let second = Account { organization: account.organization.clone(), ..Account::whatsapp() };
        let stranger = Account { organization: Account::whatsapp().organization, ..account.clone() };

        for other in [second, stranger] {
            let answer = stage.answer(without_key(&other)).await;

            assert_eq!(answer.refusal(), (400, "INVALID_BODY"));
            assert_eq!(answer.body["error"]["details"]["field"], "apiKey");
        }
        assert_eq!((stage.provider.calls(), stage.kms.calls().len()), (vec![], 1), "the sealing alone");
        assert_eq!(stage.stored(&account).await, Some(before));
    }

    #[tokio::test]
    async fn a_stored_key_that_does_not_open_is_asked_for() {
        let account = Account::whatsapp();
        let stage = Stage::of([]).await;
        let before = account.connected(&stage.table.store(), sealed("Y2lwaGVy"), 0).await;

        let answer = stage.answer(without_key(&account)).await;

        assert_eq!(answer.refusal(), (400, "INVALID_BODY"));
        assert_eq!(answer.body["error"]["details"]["field"], "apiKey");
        assert_eq!((stage.provider.calls(), stage.stored(&account).await), (vec![], Some(before)));
    }

    #[tokio::test]
    async fn an_attempt_that_fails_gives_the_account_back() {
        let account = Account::whatsapp();
        let stage = Stage::of([speaks_for(&account), (400, json!({ "error": "not now" }))]).await;

        let answer = stage.connect(&account).await;

        assert_eq!(answer.refusal(), (422, "PROVIDER_REJECTED"));
        assert_eq!((stage.stored(&account).await, stage.owner(&account).await), (None, None));
    }

    #[tokio::test]
    async fn an_attempt_that_fails_leaves_what_was_connected() {
        let account = Account::whatsapp();
        let stage = Stage::of([speaks_for(&account), (400, json!({ "error": "not now" }))]).await;
        let before = account.connected(&stage.table.store(), sealed("Y2lwaGVy"), 0).await;

        let answer = stage.connect(&account).await;

        assert_eq!(answer.refusal(), (422, "PROVIDER_REJECTED"));
        assert_eq!(stage.stored(&account).await, Some(before));
        assert_eq!(stage.owner(&account).await, Some((account.organization, OwnerStatus::Connected)));
    }

    #[tokio::test]
    async fn a_new_key_leaves_the_permission_to_repair_the_webhook_as_it_was() {
        let account = Account::whatsapp();
        let answers = [speaks_for(&account), registered(WEBHOOK_URL), registered(WEBHOOK_URL)];
        let stage = Stage::of(std::iter::repeat_n(answers, 4).flatten()).await;

        for (wanted, expected) in
            [(Value::Null, false), (json!(true), true), (Value::Null, true), (json!(false), false)]
        {
            let body = json!({ "apiKey": KEY, "phoneNumberId": account.id, "repairWebhook": wanted });
            let answer = stage.answer(Call::of(EVENT).from(&account.organization).body(&body)).await;
            assert_eq!(answer.body["data"]["repairWebhook"], expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn the_permission_to_repair_the_webhook_is_of_one_account() {
        let account = Account::whatsapp();
        let other = Account { organization: account.organization.clone(), ..Account::whatsapp() };
        let answers =
            [&account, &other].map(|account| [speaks_for(account), registered(WEBHOOK_URL), registered(WEBHOOK_URL)]);
        let stage = Stage::of(answers.into_iter().flatten()).await;
        let body = json!({ "apiKey": KEY, "phoneNumberId": account.id, "repairWebhook": true });
        let allowed = stage.answer(Call::of(EVENT).from(&account.organization).body(&body)).await;

        let answer = stage.connect(&other).await;

        assert_eq!(allowed.body["data"]["repairWebhook"], true, "{allowed:?}");
        assert_eq!(answer.body["data"]["repairWebhook"], false, "{answer:?}");
    }

    #[tokio::test]
    async fn a_webhook_that_is_not_ours_afterwards_is_told() {
        let account = Account::whatsapp();
        let elsewhere = registered("https://elsewhere.example.com");
        let stage = Stage::of([speaks_for(&account), registered(WEBHOOK_URL), elsewhere]).await;

        let answer = stage.connect(&account).await;

        assert_eq!((answer.status, &answer.body["data"]["webhookVerified"]), (201, &json!(false)));
        assert_eq!(answer.body["data"]["errorMessage"], WEBHOOK_ELSEWHERE);
    }

    #[tokio::test]
    async fn a_claim_that_fails_tells_the_provider_nothing() {
        let account = Account::whatsapp();
        let stage = Stage::at(Table::without_retries().await, [speaks_for(&account)]).await;

        stage.table.meter.start([(1, Fault::Before)]);
        let answer = stage.connect(&account).await;

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
        assert_eq!(stage.table.meter.stop().calls, ["GetItem", "PutItem"]);
        assert_eq!(stage.provider.calls(), [HEALTH]);
    }

    #[tokio::test]
    async fn what_cannot_be_taken_is_refused_before_anything_is_read_or_asked() {
        let stage = Stage::of([]).await;
        let event = || Call::of(EVENT);
        let with = |name: &str, value: Value| {
            let mut body = json!({ "apiKey": KEY, "phoneNumberId": "700100200300402" });
            body[name] = value;
            event().body(&body)
        };
        let mut refused: Vec<_> =
            event().by_strangers(&["admin"]).into_iter().map(|(call, code)| (call, (403, code))).collect();
        refused.extend([
            (event().path("platform", "telegram"), (400, "INVALID_PARAMETER")),
            (with("apiKey", json!(" ")), (400, "INVALID_BODY")),
            (with("apiKey", json!("two words")), (400, "INVALID_BODY")),
            (with("apiKey", json!("x".repeat(API_KEY_MAX_BYTES + 1))), (400, "INVALID_BODY")),
            (with("phoneNumberId", json!(null)), (400, "INVALID_BODY")),
            (with("phoneNumberId", json!("7001#1")), (400, "INVALID_BODY")),
            (with("wabaId", json!("x".repeat(WABA_ID_MAX_BYTES + 1))), (400, "INVALID_BODY")),
            // WhatsApp's id is none of an Instagram account.
            (event().path("platform", "instagram"), (400, "INVALID_BODY")),
        ]);

        stage.table.meter.start([]);
        for (call, refusal) in refused {
            assert_eq!(stage.answer(call).await.refusal(), refusal);
        }

        let calls = stage.table.meter.stop().calls;
        assert!(calls.iter().all(|call| call == "TransactWriteItems"), "told in the audit trail alone: {calls:?}");
        assert_eq!((stage.provider.calls(), stage.kms.calls().len()), (vec![], 0));
    }
}
