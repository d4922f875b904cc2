//! `GET /api/v1/events`

mod handler;

use shared::{config::Claims, http, store::Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::init_logging();
    let claims = &Claims::from_env();
    let store = &Store::from_env().await?;
    http::serve(|request| handler::handle(claims, store, request)).await
}
