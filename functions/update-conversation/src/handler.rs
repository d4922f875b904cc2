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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::store::Conversation;
    use testbed::{
        call::{Answer, Call, claims},
        engine::Table,
        given::{Account, anna},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/update-conversation.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    /// The call about a conversation, by somebody of the account's organization.
    fn about(account: &Account, conversation: &Conversation) -> Call {
        Call::of(EVENT).from(&account.organization).path("conversationId", conversation.id.as_str())
    }

    #[tokio::test]
    async fn the_event_assigns_the_caller_and_labels_and_leaves_the_rest() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let before = account.hears(&store, &anna(), "m1").await;

        table.meter.start([]);
        let answer = answer(&table, about(&account, &before)).await;

        assert_eq!(table.meter.stop().calls, ["GetItem", "UpdateItem", "Query"], "and what is still unread");
        assert_eq!((answer.status, &answer.body["data"]["unreadCount"]), (200, &json!(1)));
        let after = account.only(&store).await;
        let expected = Conversation {
            assigned_to: Some("ann".into()),
            labels: BTreeSet::from(["returns".into()]),
            updated_at: after.updated_at,
            ..before
        };
        assert_eq!(after, expected);
    }

    #[tokio::test]
    async fn nobody_is_assigned_by_null_alone() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let conversation = account.hears(&store, &anna(), "m1").await;
        let call = about(&account, &conversation);
        answer(&table, call.clone()).await;

        let closed = answer(&table, call.clone().body(&json!({ "status": "closed" }))).await;
        let left = answer(&table, call.body(&json!({ "assignedTo": null, "labels": [], "read": true }))).await;

        assert_eq!(
            (&closed.body["data"]["status"], &closed.body["data"]["assignedTo"]),
            (&json!("closed"), &json!("ann"))
        );
        let data = &left.body["data"];
        assert_eq!((&data["assignedTo"], &data["labels"], &data["unread"]), (&Value::Null, &json!([]), &json!(false)));
        assert_eq!(account.only(&store).await.unread_from, None);
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_taken_is_refused_before_anything_is_read() {
        let table = Table::open().await;
        let refused = [
            (json!({}), Value::Null),
            (json!({ "labels": null }), Value::Null),
            (json!({ "unknown": true }), Value::Null),
            (json!({ "status": "archived" }), Value::Null),
            (json!({ "read": true, "readUpTo": "2026-11-23T10:00:00Z" }), json!("readUpTo")),
            (json!({ "readUpTo": "yesterday" }), json!("readUpTo")),
            (json!({ "assignedTo": " " }), json!("assignedTo")),
            (json!({ "assignedTo": "x".repeat(129) }), json!("assignedTo")),
            (json!({ "labels": [" "] }), json!("labels")),
            (json!({ "labels": ["ä".repeat(51)] }), json!("labels")),
            (json!({ "labels": (0..21).map(|number| number.to_string()).collect::<Vec<_>>() }), json!("labels")),
        ];

        table.meter.start([]);
        for (body, field) in refused {
            let answer = answer(&table, Call::of(EVENT).body(&body)).await;
            assert_eq!(answer.refusal(), (400, "INVALID_BODY"), "{body}");
            assert_eq!(answer.body["error"]["details"]["field"], field, "{body}");
        }
        let whole = [
            (Call::of(EVENT).text("{"), (400, "INVALID_BODY")),
            (Call::of(EVENT).header("content-type", "text/plain"), (415, "UNSUPPORTED_MEDIA_TYPE")),
            (Call::of(EVENT).text(&" ".repeat(http::BODY_MAX_BYTES + 1)), (413, "BODY_TOO_LARGE")),
        ];
        for (call, refusal) in whole {
            assert_eq!(answer(&table, call).await.refusal(), refusal);
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn a_conversation_of_another_organization_is_not_found_and_stays() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        let theirs = account.hears(&table.store(), &anna(), "m1").await;

        table.meter.start([]);
        let answer = answer(&table, about(&other, &theirs)).await;

        assert_eq!(answer.refusal(), (404, "CONVERSATION_NOT_FOUND"));
        assert_eq!(table.meter.stop().calls, ["GetItem"]);
        assert_eq!(account.only(&table.store()).await, theirs);
    }

    #[tokio::test]
    async fn what_cannot_be_an_id_is_not_found_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for id in ["", "1", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcde#"] {
            let answer = answer(&table, Call::of(EVENT).path("conversationId", id)).await;
            assert_eq!(answer.refusal(), (404, "CONVERSATION_NOT_FOUND"), "{id}");
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn strangers_are_refused_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for (call, code) in Call::of(EVENT).by_strangers(&["admin", "operator"]) {
            assert_eq!(answer(&table, call).await.refusal(), (403, code));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }
}
