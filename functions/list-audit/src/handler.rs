//! Lists who did what in the organization, newest first.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    cursor, http,
    id::{AccountId, AuditId, ConversationId, MessageId, QuarantineId},
    platform::Platform,
    store::{AuditAction, AuditEntry, Store},
};

/// A part of the query that cursors are bound to.
const QUERY: &str = "audit";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditEntryView {
    id: AuditId,
    timestamp: String,
    action: AuditAction,
    by: Option<String>,
    platform: Option<Platform>,
    account_id: Option<AccountId>,
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    quarantine_id: Option<QuarantineId>,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let before = match http::query_parameter(&request, "cursor") {
        Some(text) => Some(cursor::decode(organization, QUERY, &text)?.parse().map_err(|_| Error::InvalidCursor)?),
        None => None,
    };

    let (entries, next) = store.audit_trail(organization, before.as_ref(), limit).await?;

    let entries: Vec<_> = entries.into_iter().map(AuditEntryView::from).collect();
    let next = next.map(|next| cursor::encode(organization, QUERY, next.as_str()));
    http::ok_list(&entries, limit, next.as_deref())
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            timestamp: clock::rfc3339(entry.id.epoch_ms()),
            id: entry.id,
            action: entry.action,
            by: entry.by,
            platform: entry.platform,
            account_id: entry.account_id,
            conversation_id: entry.conversation_id,
            message_id: entry.message_id,
            quarantine_id: entry.quarantine_id,
        }
    }
}
