//! `POST /api/v1/conversations/{conversationId}/messages`

mod handler;

use handler::Sending;
use shared::{config::Claims, dialog360::Provider, http, store::Store, vault::Vault};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let sending = &Sending {
        claims: Claims::from_env(),
        vault: Vault::from_env()?,
        provider: Provider::from_env()?,
        store: Store::from_env().await?,
    };
    http::serve(|request| handler::handle(sending, request)).await
}
