//! Checks an integration at the provider: its key, its health, and whether the webhook is still ours. For an admin who asks now, and
//! for all of them, daily.

use secrecy::SecretString;
use tracing::warn;

use crate::{
    clock,
    dialog360::{Failure, Provider},
    error::Result,
    store::{
        ACCOUNT_LOST, Claim, Connection, ConnectionStatus, Health, Integration, KEY_REFUSED, KEY_UNREADABLE,
        WEBHOOK_ELSEWHERE,
    },
    vault::{self, Vault},
    webhook_token,
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

/// Where the provider delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registered {
    /// To the address that we register.
    Current,
    /// To another address of ours.
    Alias,
    /// To somebody else, or nowhere.
    Elsewhere,
}

/// What a check found out, and did.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How the connection is now.
    pub connection: Connection,
    /// The webhook pointed elsewhere, and was set to ours again.
    pub repaired: bool,
}

impl Checker {
    /// What the provider says. Only an answer changes anything: one that cannot be reached is no news of the key. With the secret of
    /// webhook tokens, a webhook that points elsewhere is set to ours again, where the admin allowed it and it was ours before.
    ///
    /// # Errors
    /// When the provider or KMS do not answer.
    pub async fn check(&self, integration: &Integration, repair_with: Option<&SecretString>) -> Result<Checked> {
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
        let (mut error_message, mut repaired) = (None, false);
        let webhook_verified = if self.provider.registers_webhooks(platform) {
            let registered = match self.registered(integration, &api_key).await {
                Err(Failure::Unauthorized) => return Ok(refused(KEY_REFUSED)),
                answer => answer?,
            };
            let mut is_ours = registered != Registered::Elsewhere;
            let may_repair = integration.repair_webhook && integration.webhook_was_ours;
            if let (true, Some(secret)) = (may_repair && registered != Registered::Current, repair_with) {
                let is_current = self.repair(integration, &api_key, secret).await;
                // Moved from one of our addresses to another, it was never out of order.
                repaired = is_current && !is_ours;
                is_ours |= is_current;
            }
            error_message = (!is_ours).then(|| WEBHOOK_ELSEWHERE.to_owned());
            // Where the provider names no account, ours is proven by the first delivery only.
            Some(is_ours && (speaks_for.is_some() || integration.webhook_verified))
        } else {
            None
        };
        let status = unless_disconnected(ConnectionStatus::Connected);
        let health = Some(Health { status: answer.status, reasons: answer.reasons, checked_at });
        let proven = speaks_for.is_some();
        let connection =
            Connection { status, proven, health, webhook_verified, error_message, checked_at, next_check_at };
        Ok(Checked { connection, repaired })
    }

    async fn registered(&self, integration: &Integration, api_key: &SecretString) -> Result<Registered, Failure> {
        let registered = self.provider.registered_webhook(integration.platform, api_key).await?;
        Ok(match registered {
            Some(url) if url == self.webhook_url => Registered::Current,
            Some(url) if self.webhook_aliases.contains(&url) => Registered::Alias,
            _ => Registered::Elsewhere,
        })
    }

    /// Registers our webhook, and whether it is ours then. A failure is no news of the key: the admin is told that it is elsewhere.
    async fn repair(&self, integration: &Integration, api_key: &SecretString, secret: &SecretString) -> bool {
        let (platform, account) = (integration.platform, &integration.credentials.account);
        let token = webhook_token::issue(secret, platform, account, &integration.organization_id);
        let registered = async {
            self.provider.register_webhook(platform, api_key, &self.webhook_url, &token).await?;
            Ok::<_, Failure>(self.registered(integration, api_key).await? == Registered::Current)
        };
        registered.await.unwrap_or_else(|failure| {
            warn!(%platform, "a webhook that points elsewhere was not repaired: {failure}");
            false
        })
    }
}
