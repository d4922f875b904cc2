//! Invoked every hour by a schedule.

mod handler;

use handler::Checking;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use shared::{
    aws,
    check::Checker,
    config::{self, Aws},
    dialog360::Provider,
    http,
    secrets::WebhookSecret,
    store::Store,
    vault::Vault,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::init_logging();
    let secrets = aws::secrets_manager(&Aws::from_env()?)?;
    let (store, webhook_secret) = tokio::try_join!(Store::from_env(), WebhookSecret::from_env(&secrets))?;
    let checking = &Checking {
        checker: Checker {
            vault: Vault::from_env()?,
            provider: Provider::from_env()?,
            webhook_url: config::webhook_url()?,
            webhook_aliases: config::webhook_aliases(),
        },
        webhook_secret,
        store,
    };
    let handle = |event: LambdaEvent<Value>| async move {
        http::invoked(handler::handle(checking, event.context.deadline).await)
    };
    lambda_runtime::run(service_fn(handle)).await
}
