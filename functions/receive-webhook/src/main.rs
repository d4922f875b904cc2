//! `GET` and `POST /api/v1/webhooks/360dialog`, behind a Function URL.

mod handler;

use handler::Webhook;
use shared::{config, config::SignatureSecrets, http, store::Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let webhook = &Webhook::new(config::webhook_token()?, SignatureSecrets::from_env(), Store::from_env().await?);
    http::serve(|request| async move { Ok(handler::handle(webhook, request).await) }).await
}
