//! The AWS clients, built without `aws-config`: credentials and endpoints come from the environment that Lambda sets,
//! TLS is rustls with ring, and only Amazon's own roots are trusted, so that a start decodes five certificates and not
//! the system's bundle.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::{
    config::{
        BehaviorVersion, Region, SharedHttpClient,
        http::HttpResponse,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction, RetryConfig},
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use secrecy::ExposeSecret;

use crate::{config::Aws, error::Cause};

/// Amazon Root CA 1 to 4 and Starfield Services G2, from <https://www.amazontrust.com/repository/>.
const ROOTS: &str = include_str!("aws/roots.pem");

/// One attempt at a service; the next attempt finds a working host.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// All attempts together: a webhook has to be answered within five seconds.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// Why a service did not do what was asked, in words that hold nothing of the request or of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub struct Fault {
    operation: &'static str,
    code: String,
    message: String,
}

impl Fault {
    /// What an error of the SDK says: its own text says too little, and its debug text has the whole answer.
    #[must_use]
    pub fn new<E: ProvideErrorMetadata>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self {
        let message = match error {
            SdkError::TimeoutError(_) => "timed out".to_owned(),
            SdkError::DispatchFailure(failure) => format!("no connection: {failure:?}"),
            SdkError::ResponseError(_) => "the answer cannot be read".to_owned(),
            _ => error.message().unwrap_or("no message").to_owned(),
        };
        Self { operation, code: error.code().unwrap_or("none").to_owned(), message }
    }
}

fn http_client() -> Result<SharedHttpClient, Cause> {
    let tls = TlsContext::builder().with_trust_store(TrustStore::empty().with_pem_certificate(ROOTS)).build()?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

fn credentials(aws: &Aws) -> Credentials {
    Credentials::new(
        &aws.access_key_id,
        aws.secret_access_key.expose_secret(),
        aws.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    )
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACKOFF)
}

/// Repeats what met a transaction on the same item: it is over a moment later. The SDK by itself gives up at once.
#[derive(Debug)]
struct Conflicts;

impl ClassifyRetry for Conflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        let is_conflict = error.is_some_and(|error| {
            let write = |code: Option<&str>| code == Some("TransactionConflictException");
            error.downcast_ref::<UpdateItemError>().is_some_and(|error| write(error.code()))
                || error.downcast_ref::<PutItemError>().is_some_and(|error| write(error.code()))
                || error.downcast_ref::<DeleteItemError>().is_some_and(|error| write(error.code()))
                || error.downcast_ref::<TransactWriteItemsError>().is_some_and(is_conflict)
        });
        if is_conflict { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}

/// Whether a transaction was canceled by another one alone: a condition that does not hold will not hold later either.
fn is_conflict(error: &TransactWriteItemsError) -> bool {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else { return false };
    let mut codes = canceled.cancellation_reasons().iter().filter_map(|reason| reason.code());
    let passes = |code: &str| matches!(code, "None" | "TransactionConflict");
    codes.clone().all(passes) && codes.any(|code| code == "TransactionConflict")
}

/// A client of DynamoDB.
///
/// # Errors
/// When TLS cannot be set up.
pub fn dynamodb(aws: &Aws) -> Result<aws_sdk_dynamodb::Client, Cause> {
    let mut config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(aws.region.clone()))
        .credentials_provider(credentials(aws))
        .http_client(http_client()?)
        .timeout_config(timeouts())
        .retry_config(retries())
        .retry_classifier(Conflicts);
    config.set_endpoint_url(aws.dynamodb_endpoint.clone());
    Ok(aws_sdk_dynamodb::Client::from_conf(config.build()))
}

/// A client of KMS.
///
/// # Errors
/// When TLS cannot be set up.
pub fn kms(aws: &Aws) -> Result<aws_sdk_kms::Client, Cause> {
    let mut config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(aws.region.clone()))
        .credentials_provider(credentials(aws))
        .http_client(http_client()?)
        .timeout_config(timeouts())
        .retry_config(retries());
    config.set_endpoint_url(aws.kms_endpoint.clone());
    Ok(aws_sdk_kms::Client::from_conf(config.build()))
}

/// A client of Secrets Manager.
///
/// # Errors
/// When TLS cannot be set up.
pub fn secrets_manager(aws: &Aws) -> Result<aws_sdk_secretsmanager::Client, Cause> {
    let mut config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(aws.region.clone()))
        .credentials_provider(credentials(aws))
        .http_client(http_client()?)
        .timeout_config(timeouts())
        .retry_config(retries());
    config.set_endpoint_url(aws.secrets_manager_endpoint.clone());
    Ok(aws_sdk_secretsmanager::Client::from_conf(config.build()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{CancellationReason, error::TransactionCanceledException};

    use super::*;

    #[test]
    fn a_transaction_is_repeated_where_it_met_another_one_only() {
        let canceled = |codes: &[&str]| {
            let reasons = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
            let canceled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
            TransactWriteItemsError::TransactionCanceledException(canceled)
        };

        assert!(is_conflict(&canceled(&["None", "TransactionConflict"])));
        assert!(!is_conflict(&canceled(&["None", "ConditionalCheckFailed"])));
        assert!(!is_conflict(&canceled(&["TransactionConflict", "ConditionalCheckFailed"])));
        assert!(!is_conflict(&canceled(&[])));
    }
}
