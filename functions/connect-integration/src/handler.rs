//! Connects an account: verify with the provider, prove the account, claim it, seal the key, register the webhook. Whatever
//! fails leaves what worked before as it was.

use std::time::Duration;

use lambda_http::{Body, Request, Response, http::StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    dialog360::{KeyCheck, Provider, speaks_for},
    http,
    id::{AccountId, OrganizationId},
    platform::Platform,
    replay,
    store::{ConnectionStatus, Credentials, Health, Integration, Store, Stored, WEBHOOK_ELSEWHERE},
    vault::{SealedKey, Vault},
    view::IntegrationView,
    webhook_token,
};
use tracing::{error, info};

const API_KEY_MAX_BYTES: usize = 1024;
const WABA_ID_MAX_BYTES: usize = 128;
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
    pub(crate) webhook_secret: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectIntegrationRequest {
    api_key: String,
    phone_number_id: Option<String>,
    waba_id: Option<String>,
    instagram_account_id: Option<String>,
    facebook_page_id: Option<String>,
    #[serde(default)]
    repair_webhook: bool,
}

/// What the caller wants to connect.
struct Wanted {
    organization: OrganizationId,
    user: String,
    platform: Platform,
    account: AccountId,
    waba_id: Option<String>,
    api_key: SecretString,
    repair_webhook: bool,
}

pub(crate) async fn handle(connecting: &Connecting, request: Request) -> Result<Response<Body>> {
    let deadline = http::deadline(&request);
    let time_left = || deadline.saturating_sub(Duration::from_millis(clock::now_ms().unsigned_abs()));
    let caller = auth::caller(&request, &connecting.claims, auth::ADMINS)?;
    let platform = http::platform(&request)?;
    let body = http::body(&request, http::BODY_MAX_BYTES)?;
    let wanted = wanted(caller, platform, body)?;

    let check = connecting.provider.check_key(platform, &wanted.api_key).await?;
    if !speaks_for(&check, &wanted.account) {
        return Err(Error::AccountMismatch);
    }
    let store = &connecting.store;
    let previous = store.integration(&wanted.organization, platform).await?;
    let now_ms = clock::now_ms();
    let claim = store.claim_account(&wanted.organization, platform, &wanted.account, now_ms).await?;
    let connected = connect(connecting, &wanted, check, previous.as_ref(), now_ms).await;
    if connected.is_err() && claim == Stored::New {
        // Nobody else may stay locked out by an attempt that failed; a claim that cannot be given back now runs out.
        if let Err(error) = store.release_claim(&wanted.organization, platform, &wanted.account).await {
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
    let Integration { organization_id, platform, credentials, .. } = integration;
    let replayed = replay::replay_before_connecting(
        store,
        organization_id,
        *platform,
        &credentials.account,
        REPLAYS,
        clock::now_us(),
    );
    match tokio::time::timeout(time_left().saturating_sub(ANSWER_TIME).min(REPLAY_TIME), replayed).await {
        Ok(Ok((tally, _))) if tally == replay::Tally::default() => {}
        Ok(Ok((replay::Tally { replayed, stay, failed }, more))) => {
            info!(replayed, stay, failed, more, "received what came before the account was connected");
        }
        Ok(Err(error)) => error!("what came before the account was connected waits: {}", http::causes(&error)),
        Err(_) => info!("the rest of what came before the account was connected waits for the check"),
    }
}

fn wanted(caller: Caller, platform: Platform, body: ConnectIntegrationRequest) -> Result<Wanted> {
    let (field, account) = match platform {
        Platform::Whatsapp => ("phoneNumberId", body.phone_number_id),
        Platform::Instagram => ("instagramAccountId", body.instagram_account_id),
        Platform::Facebook => ("facebookPageId", body.facebook_page_id),
    };
    let account = account.ok_or_else(|| Error::invalid_body(format!("`{field}` is missing"), field))?;
    let account = account.trim().parse();
    let account = account.map_err(|error| Error::invalid_body(format!("`{field}` is no id: {error}"), field))?;
    let api_key = body.api_key.trim();
    if api_key.is_empty() || api_key.len() > API_KEY_MAX_BYTES || !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid_body("`apiKey` is no API key: copy it whole, without spaces", "apiKey"));
    }
    let waba_id = body.waba_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    if waba_id.as_ref().is_some_and(|id| id.len() > WABA_ID_MAX_BYTES) {
        return Err(Error::invalid_body("`wabaId` is no id", "wabaId"));
    }
    let (Caller { organization, user }, repair_webhook) = (caller, body.repair_webhook);
    Ok(Wanted { organization, user, platform, account, waba_id, api_key: api_key.into(), repair_webhook })
}

async fn connect(
    connecting: &Connecting,
    wanted: &Wanted,
    check: KeyCheck,
    previous: Option<&Integration>,
    now_ms: i64,
) -> Result<Integration> {
    let Wanted { organization, platform, account, api_key, .. } = wanted;
    let sealed_key = connecting.vault.seal(organization, *platform, api_key).await?;
    let same_account = previous.filter(|previous| previous.credentials.account == *account);
    let mut error_message = None;
    let webhook_verified = if connecting.provider.registers_webhooks(*platform) {
        // Proven by the provider's word, where that names the account; else by the first delivery.
        let is_ours = register_webhook(connecting, wanted).await?;
        error_message = (!is_ours).then(|| WEBHOOK_ELSEWHERE.to_owned());
        is_ours && (check.account.is_some() || same_account.is_some_and(|previous| previous.webhook_verified))
    } else {
        same_account.is_some_and(|previous| previous.webhook_verified)
    };
    let webhook_was_ours = webhook_verified || same_account.is_some_and(|previous| previous.webhook_was_ours);
    let integration = integration(wanted, sealed_key, check, previous, now_ms);
    let integration = Integration { webhook_verified, webhook_was_ours, error_message, ..integration };
    connecting.store.put_integration(&integration, previous, &wanted.user).await?;
    Ok(integration)
}

/// Registers our webhook and reads it back: whether it is ours then.
async fn register_webhook(connecting: &Connecting, wanted: &Wanted) -> Result<bool> {
    let Wanted { organization, platform, account, api_key, .. } = wanted;
    let token = webhook_token::issue(&connecting.webhook_secret, *platform, account, organization);
    let (provider, url) = (&connecting.provider, &connecting.webhook_url);
    provider.register_webhook(*platform, api_key, url, &token).await?;
    Ok(provider.registered_webhook(*platform, api_key).await?.as_ref() == Some(url))
}

fn integration(
    wanted: &Wanted,
    sealed_key: SealedKey,
    check: KeyCheck,
    previous: Option<&Integration>,
    now_ms: i64,
) -> Integration {
    Integration {
        organization_id: wanted.organization.clone(),
        platform: wanted.platform,
        status: ConnectionStatus::Connected,
        credentials: Credentials {
            account: wanted.account.clone(),
            waba_id: wanted.waba_id.clone().or(check.waba_id),
            display_phone_number: check.display_phone_number,
            sealed_key,
        },
        webhook_verified: false,
        webhook_was_ours: false,
        repair_webhook: wanted.repair_webhook,
        last_synced_at: Some(now_ms),
        error_message: None,
        health: Some(Health { status: check.status, reasons: check.reasons, checked_at: now_ms }),
        created_at: previous.map_or(now_ms, |previous| previous.created_at),
        updated_at: now_ms,
    }
}
