//! Asks the provider how an integration is, and records what it said.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Error, Result, auth, check::Checker, config::Claims, http, store::Store, view::IntegrationView};

/// What testing takes.
pub(crate) struct Testing {
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) checker: Checker,
}

pub(crate) async fn handle(testing: &Testing, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, &testing.claims, auth::ADMINS)?;
    let platform = http::platform(&request)?;
    let integration = testing.store.integration(&caller.organization, platform).await?;
    let integration = integration.ok_or(Error::IntegrationNotFound)?;

    let checked = testing.checker.check(&integration, None).await?;

    let integration = testing.store.record_check(&integration, checked.connection).await?;
    http::ok(StatusCode::OK, &IntegrationView::from(integration))
}
