//! Lists what waits in quarantine on the organization's own accounts, newest first.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Result, auth, clock,
    config::Claims,
    cursor, http,
    id::{AccountId, QuarantineId},
    platform::Platform,
    replay,
    store::{QuarantineEntry, QuarantineKind, Store},
};

/// A part of the query that cursors are bound to.
const QUERY: &str = "quarantine";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QuarantineEntryView {
    id: QuarantineId,
    platform: Option<Platform>,
    account_id: Option<AccountId>,
    kind: QuarantineKind,
    reason: String,
    received_at: String,
    size_bytes: usize,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let after = http::query_parameter(&request, "cursor");
    let after = after.map(|after| cursor::decode(organization, QUERY, &after)).transpose()?;

    let accounts = replay::accounts(store, organization).await?;
    let page = store.quarantine_of_accounts(organization, &accounts, after.as_deref(), limit).await?;

    let entries: Vec<_> = page.entries.into_iter().map(QuarantineEntryView::from).collect();
    let next = page.next.map(|next| cursor::encode(organization, QUERY, &next));
    http::ok_list(&entries, limit, next.as_deref())
}

impl From<QuarantineEntry> for QuarantineEntryView {
    fn from(entry: QuarantineEntry) -> Self {
        Self {
            id: entry.id,
            platform: entry.platform,
            account_id: entry.account_id,
            kind: entry.kind,
            reason: entry.reason,
            received_at: clock::rfc3339(entry.received_at),
            size_bytes: entry.size_bytes,
        }
    }
}
