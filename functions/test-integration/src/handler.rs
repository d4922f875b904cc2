//! Asks the provider how an integration is, and records what it said.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    dialog360::{Failure, Provider, speaks_for},
    http,
    store::{Connection, ConnectionStatus, Health, Integration, KEY_REFUSED, KEY_UNREADABLE, Store, WEBHOOK_ELSEWHERE},
    vault::{self, Vault},
    view::IntegrationView,
};

/// What an admin is told when the key has become another account's.
const OTHER_ACCOUNT: &str = "The API key speaks for another account now. Connect again with the key of this account.";

/// What testing takes.
pub(crate) struct Testing {
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) provider: Provider,
    pub(crate) webhook_url: String,
}

pub(crate) async fn handle(testing: &Testing, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, &testing.claims, auth::ADMINS)?;
    let platform = http::platform(&request)?;
    let integration = testing.store.integration(&caller.organization, platform).await?;
    let integration = integration.ok_or(Error::IntegrationNotFound)?;

    let connection = check(testing, &integration).await?;

    let integration = testing.store.record_check(&integration, connection).await?;
    http::ok(StatusCode::OK, &IntegrationView::from(integration))
}

/// What the provider says. Only an answer changes anything: one that cannot be reached is no news of the key.
async fn check(testing: &Testing, integration: &Integration) -> Result<Connection> {
    let platform = integration.platform;
    let checked_at = clock::now_ms();
    // What is disconnected stays so, whatever the provider says of its key: only connecting claims its deliveries again.
    let unless_disconnected = |status| match integration.status {
        ConnectionStatus::Disconnected => ConnectionStatus::Disconnected,
        ConnectionStatus::Connected | ConnectionStatus::Error => status,
    };
    let refused = |message: &str| Connection {
        status: unless_disconnected(ConnectionStatus::Error),
        health: None,
        webhook_verified: None,
        error_message: Some(message.to_owned()),
        checked_at,
    };
    let sealed = &integration.credentials.sealed_key;
    let api_key = match testing.vault.open(&integration.organization_id, platform, sealed).await {
        Ok(api_key) => api_key,
        Err(error) if vault::is_unreadable(&error) => return Ok(refused(KEY_UNREADABLE)),
        Err(error) => return Err(error),
    };
    let answer = match testing.provider.check_key(platform, &api_key).await {
        Ok(answer) => answer,
        Err(Failure::Unauthorized) => return Ok(refused(KEY_REFUSED)),
        Err(failure) => return Err(failure.into()),
    };
    if !speaks_for(&answer, &integration.credentials.account) {
        return Ok(refused(OTHER_ACCOUNT));
    }
    let mut error_message = None;
    let webhook_verified = if testing.provider.registers_webhooks(platform) {
        let registered = match testing.provider.registered_webhook(platform, &api_key).await {
            Err(Failure::Unauthorized) => return Ok(refused(KEY_REFUSED)),
            answer => answer?,
        };
        let is_ours = registered.as_ref() == Some(&testing.webhook_url);
        error_message = (!is_ours).then(|| WEBHOOK_ELSEWHERE.to_owned());
        // Where the provider names no account, ours is proven by the first delivery only.
        Some(is_ours && (answer.account.is_some() || integration.webhook_verified))
    } else {
        None
    };
    let status = unless_disconnected(ConnectionStatus::Connected);
    let health = Health { status: answer.status, reasons: answer.reasons, checked_at };
    Ok(Connection { status, health: Some(health), webhook_verified, error_message, checked_at })
}
