//! `POST /api/v1/social-integrations/{platform}/test`

mod handler;

use handler::Testing;
use shared::{check::Checker, config, config::Claims, dialog360::Provider, http, store::Store, vault::Vault};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let testing = &Testing {
        claims: Claims::from_env(),
        checker: Checker {
            vault: Vault::from_env()?,
            provider: Provider::from_env()?,
            webhook_url: config::webhook_url()?,
            webhook_aliases: config::webhook_aliases(),
        },
        store: Store::from_env().await?,
    };
    http::serve(|request| handler::handle(testing, request)).await
}
