//! Changes status, read state, assignee or labels of a conversation.

use std::collections::BTreeSet;

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::{Deserialize, Deserializer};
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    http,
    store::{Assignee, Changes, ConversationStatus, Store},
    view::ConversationView,
};

const LABELS_MAX: usize = 20;
const LABEL_MAX_CHARACTERS: usize = 50;
const USER_MAX_BYTES: usize = 128;

/// At least one of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateConversationRequest {
    status: Option<ConversationStatus>,
    read: Option<bool>,
    /// RFC 3339: the `receivedAt` of the newest message that was shown.
    read_up_to: Option<String>,
    #[serde(default, deserialize_with = "assignee")]
    assigned_to: Option<Assignee>,
    labels: Option<BTreeSet<String>>,
}

/// `null` is nobody; absent, the default, is no change.
fn assignee<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Assignee>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.map_or(Assignee::Nobody, Assignee::User)))
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let id = http::conversation_id(&request)?;
    let changes = changes(http::body(&request, http::BODY_MAX_BYTES)?, &caller, clock::now_us())?;

    let now_ms = clock::now_ms();
    let conversation = store.change_conversation(&caller.organization, &id, &changes, now_ms).await?;

    let view = ConversationView::load(store, &caller.organization, conversation, now_ms).await?;
    http::ok(StatusCode::OK, &view)
}

fn changes(request: UpdateConversationRequest, caller: &Caller, now_us: i64) -> Result<Changes> {
    let UpdateConversationRequest { status, read, read_up_to, assigned_to, labels } = request;
    if status.is_none() && read.is_none() && read_up_to.is_none() && assigned_to.is_none() && labels.is_none() {
        return Err(Error::InvalidBody {
            message: "name at least one of status, read, readUpTo, assignedTo and labels".into(),
            field: None,
        });
    }
    let read_up_to = match (read, read_up_to) {
        (Some(_), Some(_)) => return Err(Error::invalid_body("send either `read` or `readUpTo`", "readUpTo")),
        (Some(true), None) => Some(now_us),
        (Some(false) | None, None) => None,
        (None, Some(text)) => {
            let epoch_ms = clock::parse_rfc3339(&text)
                .ok_or_else(|| Error::invalid_body("`readUpTo` is an RFC 3339 time", "readUpTo"))?;
            // Times are shown in milliseconds and kept in microseconds: the whole millisecond was seen.
            Some(epoch_ms * 1000 + 999)
        }
    };
    let assigned_to = match assigned_to {
        Some(Assignee::User(user)) if user == "me" => Some(Assignee::User(caller.user.clone())),
        Some(Assignee::User(user)) if user.trim().is_empty() || user.len() > USER_MAX_BYTES => {
            return Err(Error::invalid_body("`assignedTo` is a user id, \"me\" or null", "assignedTo"));
        }
        other => other,
    };
    let fits = |label: &String| !label.trim().is_empty() && label.chars().count() <= LABEL_MAX_CHARACTERS;
    if labels.as_ref().is_some_and(|labels| labels.len() > LABELS_MAX || !labels.iter().all(fits)) {
        let message = format!("at most {LABELS_MAX} labels of 1 to {LABEL_MAX_CHARACTERS} characters");
        return Err(Error::invalid_body(message, "labels"));
    }
    Ok(Changes { status, read_up_to, unread: read == Some(false), assigned_to, labels })
}
