//! `POST /api/v1/social-integrations/{platform}/connect`

mod handler;

use handler::Connecting;
use shared::{config, config::Claims, dialog360::Provider, http, store::Store, vault::Vault};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let connecting = &Connecting {
        claims: Claims::from_env(),
        vault: Vault::from_env()?,
        provider: Provider::from_env()?,
        webhook_url: config::webhook_url()?,
        webhook_secret: config::webhook_token()?,
        store: Store::from_env().await?,
    };
    http::serve(|request| handler::handle(connecting, request)).await
}
