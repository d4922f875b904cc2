//! `POST /api/v1/social-integrations/{platform}/connect`

mod handler;

use handler::Connecting;
use shared::{
    aws, config,
    config::{Aws, Claims},
    dialog360::Provider,
    http,
    secrets::WebhookSecret,
    store::Store,
    vault::Vault,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let secrets = aws::secrets_manager(&Aws::from_env()?)?;
    let (store, webhook_secret) = tokio::try_join!(Store::from_env(), WebhookSecret::from_env(&secrets))?;
    let connecting = &Connecting {
        claims: Claims::from_env(),
        vault: Vault::from_env()?,
        provider: Provider::from_env()?,
        webhook_url: config::webhook_url()?,
        webhook_secret,
        store,
    };
    http::serve(|request| handler::handle(connecting, request)).await
}
