//! Checks an integration at the provider: its key, its health, and whether the webhook is still ours. For an admin who asks now, and
//! for all of them, daily.

use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use crate::{
    clock,
    dialog360::{Failure, Provider, RegisteredWebhook},
    error::Result,
    id::OrganizationId,
    store::{
        ACCOUNT_LOST, Claim, Connection, ConnectionStatus, Health, Integration, KEY_REFUSED, KEY_UNREADABLE,
        WEBHOOK_ELSEWHERE,
    },
    vault::{self, Vault},
    webhook_token::{self, Proof, UnverifiedToken, WebhookKeys},
};

/// What an admin is told when the key has become another account's.
pub const OTHER_ACCOUNT: &str =
    "The API key speaks for another account now. Connect again with the key of this account.";
/// How long after a check the next one is due.
const CHECK_AGAIN_MS: i64 = 24 * 60 * 60 * 1000;

/// What checking takes.
pub struct Checker {
    /// Opens the keys.
    pub vault: Vault,
    /// Is asked.
    pub provider: Provider,
    /// Our webhook, as it is registered.
    pub webhook_url: String,
    /// Other addresses at which deliveries arrive here too.
    pub webhook_aliases: Vec<String>,
}

/// What a check found out, and did.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How the connection is now.
    pub connection: Connection,
    /// The webhook pointed elsewhere, and was set to ours again.
    pub repaired: bool,
    /// The webhook was ours and brought no token of the current secret, and does now.
    pub renewed: bool,
}

impl Checker {
    /// What the provider says. Only an answer changes anything: one that cannot be reached is no news of the key. With the keys of
    /// webhook tokens, a webhook that points elsewhere is set to ours again, where the admin allowed it and it was ours before; one
    /// that is ours gets a token of these keys, where it has another.
    ///
    /// # Errors
    /// When the provider or KMS do not answer.
    pub async fn check(&self, integration: &Integration, repair_with: Option<&WebhookKeys>) -> Result<Checked> {
        let platform = integration.platform;
        let checked_at = clock::now_ms();
        let next_check_at = checked_at + CHECK_AGAIN_MS;
        // What is disconnected stays so, whatever the provider says of its key: only connecting claims its deliveries again.
        let unless_disconnected = |status| match integration.status {
            ConnectionStatus::Disconnected => ConnectionStatus::Disconnected,
            ConnectionStatus::Connected | ConnectionStatus::Error => status,
        };
        let refused = |message: &str| Checked {
            connection: Connection {
                status: unless_disconnected(ConnectionStatus::Error),
                proven: false,
                health: None,
                webhook_verified: None,
                error_message: Some(message.to_owned()),
                checked_at,
                next_check_at,
            },
            repaired: false,
            renewed: false,
        };
        // Whatever the key is good for: nothing is delivered here.
        if integration.claim() == Claim::Lost {
            return Ok(refused(ACCOUNT_LOST));
        }
        let sealed = &integration.credentials.sealed_key;
        let api_key = match self.vault.open(&integration.organization_id, platform, sealed).await {
            Ok(api_key) => api_key,
            Err(error) if vault::is_unreadable(&error) => return Ok(refused(KEY_UNREADABLE)),
            Err(error) => return Err(error),
        };
        let answer = match self.provider.check_key(platform, &api_key).await {
            Ok(answer) => answer,
            Err(Failure::Unauthorized) => return Ok(refused(KEY_REFUSED)),
            Err(failure) => return Err(failure.into()),
        };
        let speaks_for = answer.speaks_for(&integration.credentials.account);
        if speaks_for == Some(false) {
            return Ok(refused(OTHER_ACCOUNT));
        }
        let (mut error_message, mut repaired, mut renewed) = (None, false, false);
        let webhook_verified = if self.provider.registers_webhooks(platform) {
            let registered = match self.provider.registered_webhook(platform, &api_key).await {
                Err(Failure::Unauthorized) => return Ok(refused(KEY_REFUSED)),
                answer => answer?,
            };
            let ours = registered.filter(|webhook| self.is_ours(&webhook.url));
            let mut is_ours = ours.is_some();
            let may_repair = integration.repair_webhook && integration.webhook_was_ours;
            if let Some(keys) = repair_with {
                let is_current = ours.as_ref().is_some_and(|webhook| webhook.url == self.webhook_url);
                let needs_token =
                    ours.as_ref().is_some_and(|webhook| needs_token(webhook, &integration.organization_id, keys));
                if needs_token || (may_repair && !is_current) {
                    let url = ours.filter(|_| !may_repair).map_or_else(|| self.webhook_url.clone(), |ours| ours.url);
                    let done = self.register(integration, &api_key, &url, keys).await;
                    // Moved from one of our addresses to another, it was never out of order.
                    repaired = done && !is_ours;
                    renewed = done && needs_token;
                    is_ours |= done;
                }
            }
            error_message = (!is_ours).then(|| WEBHOOK_ELSEWHERE.to_owned());
            // Where the provider names no account, ours is proven by the first delivery only.
            Some(is_ours && (speaks_for.is_some() || integration.webhook_verified))
        } else {
            None
        };
        let status = unless_disconnected(ConnectionStatus::Connected);
        let health = Some(Health { status: answer.status, reasons: answer.reasons, checked_at, refused_a_send: false });
        let proven = speaks_for.is_some();
        let connection =
            Connection { status, proven, health, webhook_verified, error_message, checked_at, next_check_at };
        Ok(Checked { connection, repaired, renewed })
    }

    fn is_ours(&self, url: &String) -> bool {
        *url == self.webhook_url || self.webhook_aliases.contains(url)
    }

    /// Registers a webhook of ours, and whether it is registered then. A failure is no news of the key: what was registered stays.
    async fn register(&self, integration: &Integration, api_key: &SecretString, url: &str, keys: &WebhookKeys) -> bool {
        let (platform, account) = (integration.platform, &integration.credentials.account);
        let token = keys.account_token(platform, account, &integration.organization_id);
        let registered = async {
            self.provider.register_webhook(platform, api_key, url, &token).await?;
            self.provider.registered_webhook(platform, api_key).await
        };
        match registered.await {
            Ok(registered) => registered.is_some_and(|webhook| webhook.url == url),
            Err(failure) => {
                warn!(%platform, "a webhook was not registered again: {failure}");
                false
            }
        }
    }
}

/// Whether a webhook of ours lacks a token of these keys, as far as the provider tells. One key may serve several accounts, whose
/// webhook is the same: a token of any of them will do. That of another organization stays, or the two would take turns.
fn needs_token(webhook: &RegisteredWebhook, organization: &OrganizationId, keys: &WebhookKeys) -> bool {
    let Some(authorization) = &webhook.authorization else { return false };
    let token = webhook_token::bearer(authorization.expose_secret()).and_then(UnverifiedToken::parse);
    match &token {
        None | Some(UnverifiedToken { subject: Proof::Global, .. }) => true,
        Some(token) => token.subject.organization() == Some(organization) && keys.verify(token) != Some(true),
    }
}
