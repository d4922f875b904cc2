//! The only reader of the environment. Every variable is set by `template.yaml`; a missing or wrong one stops the
//! function at start with a sentence that names it.

use std::env;

use secrecy::SecretString;

use crate::platform::Platform;

/// A variable that is missing or cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}: {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: &'static str,
}

fn optional(name: &'static str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn required(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError { name, problem: "is not set" })
}

fn or(name: &'static str, default: &str) -> String {
    optional(name).unwrap_or_else(|| default.to_owned())
}

/// Where AWS is: region, credentials, and the endpoints where they are not the ordinary ones.
pub struct Aws {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`; Lambda sets it.
    pub session_token: Option<SecretString>,
    /// `AWS_ENDPOINT_URL_DYNAMODB`.
    pub dynamodb_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_KMS`.
    pub kms_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    pub secrets_manager_endpoint: Option<String>,
}

impl Aws {
    /// # Errors
    /// When region or credentials are not set.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            region: required("AWS_REGION")?,
            access_key_id: required("AWS_ACCESS_KEY_ID")?,
            secret_access_key: required("AWS_SECRET_ACCESS_KEY")?.into(),
            session_token: optional("AWS_SESSION_TOKEN").map(Into::into),
            dynamodb_endpoint: optional("AWS_ENDPOINT_URL_DYNAMODB"),
            kms_endpoint: optional("AWS_ENDPOINT_URL_KMS"),
            secrets_manager_endpoint: optional("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        })
    }
}

/// `TABLE_NAME`: the table.
///
/// # Errors
/// When it is not set.
pub fn table_name() -> Result<String, ConfigError> {
    required("TABLE_NAME")
}

/// `METRICS_NAMESPACE`: where CloudWatch keeps the figures; none are told without it.
#[must_use]
pub fn metrics_namespace() -> Option<String> {
    optional("METRICS_NAMESPACE")
}

/// `KMS_KEY_ID`: the key that wraps each integration's data key.
///
/// # Errors
/// When it is not set.
pub fn kms_key_id() -> Result<String, ConfigError> {
    required("KMS_KEY_ID")
}

/// `WEBHOOK_URL`: the address that the provider shall deliver to.
///
/// # Errors
/// When it is not set.
pub fn webhook_url() -> Result<String, ConfigError> {
    required("WEBHOOK_URL")
}

/// `WEBHOOK_ALIASES` and `DISTRIBUTION_WEBHOOK_URL`: other addresses at which deliveries arrive here
/// too: the Function URL, the distribution's own domain, and what was registered before.
#[must_use]
pub fn webhook_aliases() -> Vec<String> {
    let listed = optional("WEBHOOK_ALIASES").unwrap_or_default();
    let listed = listed.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned);
    listed.chain(optional("DISTRIBUTION_WEBHOOK_URL")).collect()
}

/// `WEBHOOK_SECRET_ARN`: the secret that the webhook's tokens are derived from.
///
/// # Errors
/// When it is not set.
pub fn webhook_secret_arn() -> Result<String, ConfigError> {
    required("WEBHOOK_SECRET_ARN")
}

/// `SIGNATURE_SECRET_ARN`: the secret that holds a 360dialog partner's platform secret.
#[must_use]
pub fn signature_secret_arn() -> Option<String> {
    optional("SIGNATURE_SECRET_ARN")
}

/// `META_APP_SECRET_ARN`: the secret that holds a Meta app's secret.
#[must_use]
pub fn meta_app_secret_arn() -> Option<String> {
    optional("META_APP_SECRET_ARN")
}

/// How a platform is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Through 360dialog.
    Dialog360,
    /// Meta's Graph API directly.
    Graph,
}

/// Where the provider is.
#[derive(Clone, Debug)]
pub struct Provider {
    /// `DIALOG360_BASE_URL`.
    pub dialog360_base_url: String,
    /// `GRAPH_BASE_URL`: for the tokens of pages.
    pub graph_base_url: String,
    /// `INSTAGRAM_GRAPH_BASE_URL`: for the tokens of Instagram logins.
    pub instagram_graph_base_url: String,
    /// `GRAPH_VERSION`.
    pub graph_version: String,
    /// `INSTAGRAM_PRESET`.
    pub instagram: Preset,
    /// `FACEBOOK_PRESET`.
    pub facebook: Preset,
    /// `TRUST_PARTNER_CHANNEL`: accounts that the provider names to nobody may be connected all the same.
    pub trust_partner_channel: bool,
}

impl Provider {
    /// # Errors
    /// When a preset is not known.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            dialog360_base_url: or("DIALOG360_BASE_URL", "https://waba-v2.360dialog.io"),
            graph_base_url: or("GRAPH_BASE_URL", "https://graph.facebook.com"),
            instagram_graph_base_url: or("INSTAGRAM_GRAPH_BASE_URL", "https://graph.instagram.com"),
            graph_version: or("GRAPH_VERSION", "v24.0"),
            instagram: preset("INSTAGRAM_PRESET")?,
            facebook: preset("FACEBOOK_PRESET")?,
            trust_partner_channel: flag("TRUST_PARTNER_CHANNEL")?,
        })
    }

    /// How that platform is spoken to; WhatsApp is always 360dialog.
    #[must_use]
    pub fn preset(&self, platform: Platform) -> Preset {
        match platform {
            Platform::Whatsapp => Preset::Dialog360,
            Platform::Instagram => self.instagram,
            Platform::Facebook => self.facebook,
        }
    }
}

fn flag(name: &'static str) -> Result<bool, ConfigError> {
    match optional(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ConfigError { name, problem: "is neither true nor false" }),
    }
}

fn preset(name: &'static str) -> Result<Preset, ConfigError> {
    match optional(name).as_deref() {
        None | Some("dialog360") => Ok(Preset::Dialog360),
        Some("graph") => Ok(Preset::Graph),
        Some(_) => Err(ConfigError { name, problem: "is neither dialog360 nor graph" }),
    }
}

/// The JWT claims that say who calls.
#[derive(Clone, Debug)]
pub struct Claims {
    /// `ORGANIZATION_CLAIM`.
    pub organization: String,
    /// `USER_CLAIM`.
    pub user: String,
    /// `ROLE_CLAIM`.
    pub role: String,
    /// `CLAIM_PREFIX`: what may stand before each of the names; set where the stack's own user pool issues the tokens.
    pub prefix: Option<String>,
}

impl Claims {
    /// Reads the names.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            organization: or("ORGANIZATION_CLAIM", "organizationId"),
            user: or("USER_CLAIM", "sub"),
            role: or("ROLE_CLAIM", "role"),
            prefix: optional("CLAIM_PREFIX"),
        }
    }
}
