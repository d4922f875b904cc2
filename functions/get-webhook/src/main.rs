//! `GET /api/v1/social-integrations/{platform}/webhook`

mod handler;

use handler::Context;
use shared::{
    aws,
    config::{self, Aws, Claims},
    http,
    secrets::WebhookSecret,
    store::Store,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let secrets = aws::secrets_manager(&Aws::from_env()?)?;
    let (store, webhook_secret) = tokio::try_join!(Store::from_env(), WebhookSecret::from_env(&secrets))?;
    let context = &Context { claims: Claims::from_env(), store, webhook_secret, webhook_url: config::webhook_url()? };
    http::serve(|request| handler::handle(context, request)).await
}
