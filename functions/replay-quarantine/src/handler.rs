//! Receives again what waits in quarantine on one of the organization's own accounts.

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Serialize;
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    http,
    id::QuarantineId,
    replay::{self, By, Replayed},
    store::Store,
};

#[derive(Serialize)]
struct ReplayQuarantineResponse {
    id: QuarantineId,
    outcome: &'static str,
    reason: Option<&'static str>,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let id = http::quarantine_id(&request)?;
    let organization = &caller.organization;
    let entry = replay::entry_of(store, organization, &id).await?.ok_or(Error::QuarantineEntryNotFound)?;

    let replayed = replay::replay(store, &entry, By::User(organization, &caller.user), clock::now_us()).await?;

    let (outcome, reason, message) = match replayed {
        Replayed::Now(_) | Replayed::Before => ("replayed", None, "It has found its place.".to_owned()),
        Replayed::Stays(reason) => ("stays", Some(reason), format!("It stays in quarantine: {reason}.")),
    };
    http::ok_with_message(StatusCode::OK, &ReplayQuarantineResponse { id, outcome, reason }, &message)
}
