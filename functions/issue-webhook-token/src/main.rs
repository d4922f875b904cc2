//! Invoked by whoever runs the service.

mod handler;

use handler::Context;
use lambda_runtime::{LambdaEvent, service_fn};
use shared::{aws, config::Aws, http, secrets::WebhookSecret, store::Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::init_logging();
    let secrets = aws::secrets_manager(&Aws::from_env()?)?;
    let (store, webhook_secret) = tokio::try_join!(Store::from_env(), WebhookSecret::from_env(&secrets))?;
    let context = &Context { store, webhook_secret };
    let handle = |event: LambdaEvent<handler::IssueWebhookTokenRequest>| async move {
        http::invoked(handler::handle(context, event.payload).await)
    };
    lambda_runtime::run(service_fn(handle)).await
}
