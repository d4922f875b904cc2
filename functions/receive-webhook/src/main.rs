//! `GET` and `POST /api/v1/webhooks/360dialog`, behind a Function URL.

mod handler;

use handler::Webhook;
use shared::{
    aws,
    config::Aws,
    http,
    secrets::{SignatureSecrets, WebhookSecret},
    store::Store,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let secrets = aws::secrets_manager(&Aws::from_env()?)?;
    let (secret, signatures, store) =
        tokio::try_join!(WebhookSecret::from_env(&secrets), SignatureSecrets::from_env(&secrets), Store::from_env())?;
    let webhook = &Webhook::new(secret, signatures, store);
    http::serve(|request| async move { Ok(handler::handle(webhook, request).await) }).await
}
