//! The organization's integration on a platform; `null` where nothing is connected.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Result, auth, config::Claims, http, store::Store, view::IntegrationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let platform = http::platform(&request)?;
    let integration = store.integration(&caller.organization, platform).await?;
    http::ok(StatusCode::OK, &integration.map(IntegrationView::from))
}
