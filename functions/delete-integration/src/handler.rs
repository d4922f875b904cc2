//! Forgets the credentials and frees the account; conversations stay.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Result, auth, clock, config::Claims, http, store::Store};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let platform = http::platform(&request)?;
    store.delete_integration(&caller.organization, platform, &caller.user, clock::now_ms()).await?;
    let message = format!("{} is removed. Its conversations stay.", platform.display_name());
    http::ok_with_message(StatusCode::OK, &(), &message)
}
