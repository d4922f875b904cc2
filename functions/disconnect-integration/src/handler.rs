//! Stops receiving and sending on a platform; history and credentials stay.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Result, auth, clock, config::Claims, http, store::Store, view::IntegrationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let platform = http::platform(&request)?;
    let integration = store.disconnect(&caller.organization, platform, &caller.user, clock::now_ms()).await?;
    let message = format!("{} is disconnected. Its conversations stay.", platform.display_name());
    http::ok_with_message(StatusCode::OK, &IntegrationView::from(integration), &message)
}
