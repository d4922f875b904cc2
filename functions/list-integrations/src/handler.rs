//! Lists the organization's integrations, keys masked.

use lambda_http::{Body, Request, Response};
use shared::{Result, auth, config::Claims, http, platform::Platform, store::Store, view::IntegrationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let integrations = store.integrations(&caller.organization).await?;
    let integrations: Vec<_> = integrations.into_iter().map(IntegrationView::from).collect();
    // At most one per platform: always one page.
    http::ok_list(&integrations, Platform::ALL.len(), None)
}
