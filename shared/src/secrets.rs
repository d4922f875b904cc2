//! Secrets that stand in Secrets Manager. A function reads the current version when it starts; a process that lives on reads it again
//! after some minutes, together with the previous version, since what was issued with that stays good until the next rotation.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::Client;
use secrecy::SecretString;
use tokio::time::timeout;
use tracing::warn;

use crate::{aws, config, error::Cause, http::causes, webhook_token::WebhookKeys};

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
const NO_CURRENT: &str = "the secret has no current version";
/// A process reads a secret again after this.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// And not before this, whatever strangers send.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Nothing waits longer for a secret that was read before.
const READ_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// The keys of the webhook, of each version of its secret.
pub type WebhookSecret = RotatingSecret<WebhookKeys>;

/// The optional secrets that sign deliveries.
#[derive(Default)]
pub struct SignatureSecrets {
    /// A 360dialog partner's platform secret, for `x-360dialog-signature`.
    pub dialog360: Option<RotatingSecret<SecretString>>,
    /// A Meta app's secret, for `X-Hub-Signature-256` of accounts connected with Meta directly.
    pub meta: Option<RotatingSecret<SecretString>>,
}

impl WebhookSecret {
    /// The secret that the environment names.
    ///
    /// # Errors
    /// When the environment is incomplete, or the secret cannot be read.
    pub async fn from_env(client: &Client) -> Result<Self, Cause> {
        Self::open(client, config::webhook_secret_arn()?, |secret| Ok(WebhookKeys::derive(&secret)?)).await
    }
}

impl SignatureSecrets {
    /// Those that the environment names.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn from_env(client: &Client) -> Result<Self, Cause> {
        let open = async |arn: Option<String>| match arn {
            Some(arn) => RotatingSecret::open(client, arn, Ok).await.map(Some),
            None => Ok(None),
        };
        let (dialog360, meta) =
            tokio::try_join!(open(config::signature_secret_arn()), open(config::meta_app_secret_arn()))?;
        Ok(Self { dialog360, meta })
    }
}

/// What is made of a version of a secret.
type Parse<T> = fn(SecretString) -> Result<T, Cause>;

/// A secret as it was read last, parsed.
pub struct RotatingSecret<T> {
    client: Client,
    arn: String,
    parse: Parse<T>,
    held: Mutex<Held<T>>,
}

/// The versions of a secret that are good.
pub struct Versions<T> {
    /// What is issued is of this one.
    pub current: T,
    /// What was issued before the last rotation is of this one.
    pub previous: Option<T>,
}

impl<T> Versions<T> {
    fn find<R>(&self, look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find_map(look)
    }
}

struct Held<T> {
    versions: Arc<Versions<T>>,
    /// Whether the previous version was asked for, too.
    with_previous: bool,
    asked_at: Instant,
}

impl<T> RotatingSecret<T> {
    /// Reads the current version. The previous one is read when it is needed: a start must be quick.
    ///
    /// # Errors
    /// When it cannot be read, or not be parsed.
    pub async fn open(client: &Client, arn: String, parse: Parse<T>) -> Result<Self, Cause> {
        let current = parse(version(client, &arn, CURRENT).await?.ok_or(NO_CURRENT)?)?;
        let versions = Arc::new(Versions { current, previous: None });
        let held = Mutex::new(Held { versions, with_previous: false, asked_at: Instant::now() });
        Ok(Self { client: client.clone(), arn, parse, held })
    }

    /// The versions as they are now, give or take some minutes.
    pub async fn fresh(&self) -> Arc<Versions<T>> {
        self.read_again_if(|held| held.asked_at.elapsed() >= FRESH_FOR).await
    }

    /// What is found in one of the versions. Where it is in none that is known, the secret is read again: not each time, since
    /// strangers can send what is found in none.
    pub async fn find<R>(&self, look: impl Fn(&T) -> Option<R>) -> Option<R> {
        let known = Arc::clone(&self.held().versions);
        if let Some(found) = known.find(&look) {
            return Some(found);
        }
        let all = self.read_again_if(|held| !held.with_previous || held.asked_at.elapsed() >= READ_AGAIN_AFTER).await;
        if Arc::ptr_eq(&known, &all) { None } else { all.find(&look) }
    }

    /// What is known stays where the secret cannot be read now.
    async fn read_again_if(&self, is_due: impl FnOnce(&Held<T>) -> bool) -> Arc<Versions<T>> {
        {
            let mut held = self.held();
            if !is_due(&held) {
                return Arc::clone(&held.versions);
            }
            (held.with_previous, held.asked_at) = (true, Instant::now());
        }
        // Boxed: it is rarely done, and would make everything that waits for this large.
        match timeout(READ_AGAIN_WITHIN, Box::pin(self.read())).await {
            Ok(Ok(versions)) => self.held().versions = Arc::new(versions),
            Ok(Err(error)) => warn!("a secret stays as it was read before: {}", causes(&*error)),
            Err(_) => warn!("a secret stays as it was read before: there is no answer"),
        }
        Arc::clone(&self.held().versions)
    }

    async fn read(&self) -> Result<Versions<T>, Cause> {
        let (current, previous) =
            tokio::try_join!(version(&self.client, &self.arn, CURRENT), version(&self.client, &self.arn, PREVIOUS))?;
        let current = (self.parse)(current.ok_or(NO_CURRENT)?)?;
        Ok(Versions { current, previous: previous.map(self.parse).transpose()? })
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A version of a secret; `None` where no version has that label.
async fn version(client: &Client, arn: &str, stage: &str) -> Result<Option<SecretString>, Cause> {
    match client.get_secret_value().secret_id(arn).version_stage(stage).send().await {
        Ok(output) => {
            let text = output.secret_string.ok_or("the secret is no text")?;
            Ok(Some(text.into()))
        }
        Err(error) => match error.as_service_error() {
            Some(service) if service.is_resource_not_found_exception() => Ok(None),
            _ => Err(aws::Fault::new("GetSecretValue", &error).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use testbed::secrets::{NAME, Secrets, emulator};

    use super::*;

    async fn texts(secret: &RotatingSecret<String>) -> (String, Option<String>) {
        let versions = secret.read_again_if(|_| false).await;
        (versions.current.clone(), versions.previous.clone())
    }

    async fn first() -> (RotatingSecret<String>, Secrets) {
        let (client, emulator) = emulator("first").await;
        (RotatingSecret::open(&client, NAME.into(), text).await.unwrap(), emulator)
    }

    #[expect(clippy::needless_pass_by_value, reason = "what parses a secret owns it")]
    fn text(secret: SecretString) -> Result<String, Cause> {
        match secret.expose_secret() {
            "wrong" => Err("no secret".into()),
            text => Ok(text.to_owned()),
        }
    }

    /// Looks for a version of this text.
    fn is(wanted: &str) -> impl Fn(&String) -> Option<()> {
        move |text| (text == wanted).then_some(())
    }

    #[tokio::test]
    async fn rotation_is_noticed_when_it_is_needed() {
        let (secret, emulator) = first().await;
        emulator.put(NAME, "second").unwrap();

        assert_eq!(secret.find(is("first")).await, Some(()));
        assert_eq!(texts(&secret).await, ("first".into(), None), "what is known is enough");
        assert_eq!(secret.find(is("second")).await, Some(()));

        assert_eq!(texts(&secret).await, ("second".into(), Some("first".into())));
        assert_eq!(secret.find(is("first")).await, Some(()), "the previous version stays good");
    }

    #[tokio::test]
    async fn strangers_do_not_have_it_read_each_time() {
        let (secret, emulator) = first().await;
        assert_eq!(secret.find(is("a stranger's")).await, None);
        emulator.put(NAME, "second").unwrap();

        assert_eq!(secret.find(is("second")).await, None);

        secret.held().asked_at -= READ_AGAIN_AFTER;
        assert_eq!(secret.find(is("second")).await, Some(()));
    }

    #[tokio::test]
    async fn old_value_is_read_again() {
        let (secret, emulator) = first().await;
        emulator.put(NAME, "second").unwrap();

        assert_eq!(secret.fresh().await.current, "first");

        secret.held().asked_at -= FRESH_FOR;
        assert_eq!(secret.fresh().await.current, "second");
    }

    #[tokio::test]
    async fn unreadable_value_leaves_the_known_one() {
        let (secret, emulator) = first().await;
        emulator.put(NAME, "wrong").unwrap();

        assert_eq!(secret.find(is("second")).await, None);

        assert_eq!(texts(&secret).await, ("first".into(), None));
    }
}
