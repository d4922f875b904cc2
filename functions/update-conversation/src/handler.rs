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
    id::MessageId,
    store::{Assignee, Changes, Conversation, ConversationStatus, LABELS_MAX, Message, Store},
    view::ConversationView,
};

const LABEL_MAX_CHARACTERS: usize = 50;
const USER_MAX_BYTES: usize = 128;

/// At least one of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateConversationRequest {
    status: Option<ConversationStatus>,
    /// `null`: what failed or may not have arrived has been seen.
    #[serde(default, deserialize_with = "null")]
    problem: bool,
    /// A message of which nobody knows it arrived.
    assume_delivered: Option<String>,
    read: Option<bool>,
    /// The id of the last message that was shown.
    read_up_to: Option<String>,
    #[serde(default, deserialize_with = "assignee")]
    assigned_to: Option<Assignee>,
    assign: Option<Assignment>,
    labels: Option<BTreeSet<String>>,
    #[serde(default)]
    add_labels: BTreeSet<String>,
    #[serde(default)]
    remove_labels: BTreeSet<String>,
}

/// Assigns where the conversation still belongs to whom the operator saw there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Assignment {
    #[serde(deserialize_with = "assignee")]
    to: Option<Assignee>,
    #[serde(default, deserialize_with = "assignee")]
    if_assigned_to: Option<Assignee>,
    if_unassigned: Option<bool>,
}

fn null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    <()>::deserialize(deserializer).map(|()| true)
}

/// `null` is nobody; absent, the default, is no change.
fn assignee<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Assignee>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.map_or(Assignee::Nobody, Assignee::User)))
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let id = http::conversation_id(&request)?;
    let body: UpdateConversationRequest = http::body(&request, http::BODY_MAX_BYTES)?;
    let assumed: Option<MessageId> =
        body.assume_delivered.as_ref().map(|id| id.parse().map_err(|_| Error::MessageNotFound)).transpose()?;
    let dismissed = body.problem;
    let changes = changes(body, &caller, clock::now_us())?;

    let organization = &caller.organization;
    let now_ms = clock::now_ms();
    let outcome = store.change_conversation(organization, &id, &changes, now_ms).await;
    if let Err(Error::AlreadyAssigned { .. }) = outcome {
        // Who was too late sees what they would overwrite.
        let present = store.conversation(organization, &id).await?.ok_or(Error::ConversationNotFound)?;
        let assigned_to = present.assigned_to.clone();
        let unsettled = store.unsettled(organization).await?;
        let view = ConversationView::load(store, organization, present, &unsettled, now_ms).await?;
        let conversation = Some(serde_json::to_value(&view).map_err(Error::internal)?);
        return Err(Error::AlreadyAssigned { assigned_to, conversation });
    }
    let conversation = outcome?;
    if let Some(message) = &assumed {
        store.assume_delivered(organization, &conversation.partitions(), message, &caller.user, now_ms).await?;
    }
    let mut unsettled = store.unsettled(organization).await?;
    // The index follows later.
    unsettled.retain(|message| Some(&message.id) != assumed.as_ref());
    if dismissed {
        unsettled = dismiss(store, &caller, &conversation, unsettled, now_ms).await?;
    }
    let view = ConversationView::load(store, organization, conversation, &unsettled, now_ms).await?;
    http::ok(StatusCode::OK, &view)
}

/// Takes a conversation's messages out of the problems; what is left.
async fn dismiss(
    store: &Store,
    caller: &Caller,
    conversation: &Conversation,
    unsettled: Vec<Message>,
    now_ms: i64,
) -> Result<Vec<Message>> {
    let partitions = conversation.partitions();
    let mut left = Vec::new();
    for message in unsettled {
        let is_seen = partitions.iter().any(|part| part.holds(&message)) && message.is_problem(now_ms);
        if !is_seen || !store.dismiss(&caller.organization, &message, &caller.user, now_ms).await? {
            left.push(message);
        }
    }
    Ok(left)
}

/// Nobody, or a user by id; `me` is the caller.
fn assigned(assignee: Assignee, caller: &Caller, field: &'static str) -> Result<Assignee> {
    match assignee {
        Assignee::User(user) if user == "me" => Ok(Assignee::User(caller.user.clone())),
        Assignee::User(user) if user.trim().is_empty() || user.len() > USER_MAX_BYTES => {
            Err(Error::invalid_body(format!("`{field}` is a user id, \"me\" or null"), field))
        }
        other => Ok(other),
    }
}

/// Who is assigned, and on the condition of who was.
fn assignment(
    assigned_to: Option<Assignee>,
    assign: Option<Assignment>,
    caller: &Caller,
) -> Result<(Option<Assignee>, Option<Assignee>)> {
    let Some(Assignment { to, if_assigned_to, if_unassigned }) = assign else {
        return Ok((assigned_to.map(|assignee| assigned(assignee, caller, "assignedTo")).transpose()?, None));
    };
    let expected = match (assigned_to, if_assigned_to, if_unassigned) {
        (None, Some(expected), None) => assigned(expected, caller, "assign.ifAssignedTo")?,
        (None, None, Some(true)) => Assignee::Nobody,
        _ => {
            let message = "`assign` takes `to` and either `ifAssignedTo` or `ifUnassigned: true`, without `assignedTo`";
            return Err(Error::invalid_body(message, "assign"));
        }
    };
    let to = to.map(|assignee| assigned(assignee, caller, "assign.to")).transpose()?;
    Ok((to, Some(expected)))
}

/// Labels that a conversation may have, named once.
fn check_labels(labels: Option<&BTreeSet<String>>, add: &BTreeSet<String>, remove: &BTreeSet<String>) -> Result<()> {
    if labels.is_some() && !(add.is_empty() && remove.is_empty()) {
        let message = "send either `labels`, or `addLabels` and `removeLabels`";
        return Err(Error::invalid_body(message, "labels"));
    }
    if !add.is_disjoint(remove) {
        return Err(Error::invalid_body("a label is either added or removed", "removeLabels"));
    }
    let fits = |label: &String| !label.trim().is_empty() && label.chars().count() <= LABEL_MAX_CHARACTERS;
    for (field, named) in [("labels", labels), ("addLabels", Some(add)), ("removeLabels", Some(remove))] {
        if named.is_some_and(|labels| labels.len() > LABELS_MAX || !labels.iter().all(fits)) {
            let message = format!("at most {LABELS_MAX} labels of 1 to {LABEL_MAX_CHARACTERS} characters");
            return Err(Error::invalid_body(message, field));
        }
    }
    Ok(())
}

fn changes(request: UpdateConversationRequest, caller: &Caller, now_us: i64) -> Result<Changes> {
    let UpdateConversationRequest {
        status,
        read,
        read_up_to,
        assigned_to,
        assign,
        labels,
        add_labels,
        remove_labels,
        problem,
        assume_delivered,
    } = request;
    let names_labels = labels.is_some() || !add_labels.is_empty() || !remove_labels.is_empty();
    let names_assignee = assigned_to.is_some() || assign.is_some();
    let is_read = read.is_some() || read_up_to.is_some();
    let names_messages = problem || assume_delivered.is_some();
    if !(names_messages || status.is_some() || is_read || names_assignee || names_labels) {
        return Err(Error::InvalidBody {
            message:
                "name something to change: status, read, readUpTo, assign, assignedTo, addLabels, removeLabels, labels, problem, assumeDelivered"
                    .into(),
            field: None,
        });
    }
    let (read_up_to, read_through) = match (read, read_up_to) {
        (Some(_), Some(_)) => return Err(Error::invalid_body("send either `read` or `readUpTo`", "readUpTo")),
        (Some(true), None) => (Some(now_us), None),
        (Some(false) | None, None) => (None, None),
        (None, Some(id)) => {
            let id = id.parse().map_err(|_| Error::invalid_body("`readUpTo` is a message's id", "readUpTo"))?;
            (None, Some(id))
        }
    };
    let (assigned_to, if_assigned_to) = assignment(assigned_to, assign, caller)?;
    check_labels(labels.as_ref(), &add_labels, &remove_labels)?;
    Ok(Changes {
        by: Some(caller.user.clone()),
        status,
        read_up_to,
        read_through,
        unread: read == Some(false),
        assigned_to,
        if_assigned_to,
        labels,
        add_labels,
        remove_labels,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::store::{Begun, Reply, Writing};
    use testbed::{
        call::{Answer, Call, claims},
        engine::Table,
        given::{Account, anna, delivery, inbound},
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

        let calls = table.meter.stop().calls;
        // With its entries of the audit trail; what it is then, the problems, and what is still unread.
        assert_eq!(calls, ["GetItem", "TransactWriteItems", "GetItem", "Query", "Query"]);
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
    async fn of_eight_who_take_it_one_gets_it() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;
        let take = json!({ "assign": { "to": "me", "ifUnassigned": true } });
        let take = |user: String| about(&account, &conversation).user(&user).body(&take);

        let answers =
            futures_util::future::join_all((0..8).map(|number| answer(&table, take(format!("user{number}"))))).await;

        let taken: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(taken.len(), 1, "{answers:?}");
        let winner = &taken[0].body["data"]["assignedTo"];
        for late in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(late.refusal(), (409, "ALREADY_ASSIGNED"));
            let details = &late.body["error"]["details"];
            assert_eq!((&details["assignedTo"], &details["conversation"]["assignedTo"]), (winner, winner));
        }
        let again = answer(&table, take(winner.as_str().unwrap().to_owned())).await;
        assert_eq!(again.status, 200, "who has it may ask again");
    }

    #[tokio::test]
    async fn takeover_needs_the_present_assignee() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;
        let assign = async |assign: Value| {
            answer(&table, about(&account, &conversation).body(&json!({ "assign": assign, "status": "closed" }))).await
        };

        let first = assign(json!({ "to": "bob", "ifUnassigned": true })).await;
        let late = assign(json!({ "to": "me", "ifAssignedTo": "carol" })).await;
        let kept = account.only(&table.store()).await;
        let over = assign(json!({ "to": "me", "ifAssignedTo": "bob" })).await;
        let back = assign(json!({ "to": null, "ifAssignedTo": "me" })).await;

        assert_eq!((first.status, over.status, back.status), (200, 200, 200));
        assert_eq!(late.refusal(), (409, "ALREADY_ASSIGNED"));
        assert_eq!(kept.assigned_to.as_deref(), Some("bob"));
        assert_eq!(account.only(&table.store()).await.assigned_to, None);
    }

    #[tokio::test]
    async fn labels_of_two_operators_at_once_are_all_kept() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;
        let label = async |changes: Value| answer(&table, about(&account, &conversation).body(&changes)).await;

        let added = (0..16).map(|number| label(json!({ "addLabels": [format!("l{number}")] })));
        futures_util::future::join_all(added).await;
        let removed = (0..14).map(|number| label(json!({ "removeLabels": [format!("l{number}")] })));
        futures_util::future::join_all(removed).await;
        let both = label(json!({ "addLabels": ["new"], "removeLabels": ["l14", "absent"] })).await;
        let rest = label(json!({ "removeLabels": ["l15", "new"] })).await;

        assert_eq!(both.body["data"]["labels"], json!(["l15", "new"]));
        assert_eq!(rest.body["data"]["labels"], json!([]));
    }

    #[tokio::test]
    async fn more_labels_than_fit_are_refused() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;
        let label = async |changes: Value| answer(&table, about(&account, &conversation).body(&changes)).await;
        let names: Vec<_> = (0..18).map(|number| format!("l{number:02}")).collect();
        label(json!({ "labels": names })).await;

        let added = (18..24).map(|number| label(json!({ "addLabels": [format!("l{number}")] })));
        let added = futures_util::future::join_all(added).await;
        let known = label(json!({ "addLabels": ["l00"] })).await;

        assert_eq!(added.iter().filter(|answer| answer.status == 200).count(), 2);
        for late in added.iter().filter(|answer| answer.status != 200) {
            assert_eq!(late.refusal(), (400, "INVALID_BODY"));
        }
        assert_eq!(known.body["data"]["labels"].as_array().unwrap().len(), LABELS_MAX);
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_taken_is_refused_before_anything_is_read() {
        let table = Table::open().await;
        let refused = [
            (json!({}), Value::Null),
            (json!({ "labels": null }), Value::Null),
            (json!({ "problem": false }), Value::Null),
            (json!({ "problem": {} }), Value::Null),
            (json!({ "unknown": true }), Value::Null),
            (json!({ "status": "archived" }), Value::Null),
            (json!({ "read": true, "readUpTo": "2026-11-23T10:00:00Z" }), json!("readUpTo")),
            (json!({ "readUpTo": "2026-11-23T10:00:00Z" }), json!("readUpTo")),
            (json!({ "readUpTo": "yesterday" }), json!("readUpTo")),
            (json!({ "assignedTo": " " }), json!("assignedTo")),
            (json!({ "assignedTo": "x".repeat(129) }), json!("assignedTo")),
            (json!({ "assign": { "to": "me" } }), json!("assign")),
            (json!({ "assign": { "to": "me", "ifUnassigned": false } }), json!("assign")),
            (json!({ "assign": { "to": "me", "ifUnassigned": true, "ifAssignedTo": null } }), json!("assign")),
            (json!({ "assign": { "to": "me", "ifUnassigned": true }, "assignedTo": "me" }), json!("assign")),
            (json!({ "assign": { "to": " ", "ifUnassigned": true } }), json!("assign.to")),
            (json!({ "assign": { "to": null, "ifAssignedTo": "" } }), json!("assign.ifAssignedTo")),
            (json!({ "assign": { "ifUnassigned": true } }), Value::Null),
            (json!({ "addLabels": [], "removeLabels": [] }), Value::Null),
            (json!({ "addLabels": ["a"], "labels": ["b"] }), json!("labels")),
            (json!({ "addLabels": ["a"], "removeLabels": ["a"] }), json!("removeLabels")),
            (json!({ "addLabels": [""] }), json!("addLabels")),
            (json!({ "removeLabels": ["ä".repeat(51)] }), json!("removeLabels")),
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

    #[tokio::test]
    async fn problem_is_shown_until_it_is_dismissed() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        account.receives(&store, 1, vec![inbound(&anna(), "m1", 0)]).await;
        let conversation = account.only(&store).await;
        let writing = Writing { conversation: &conversation.id, operator: "olga", key: "key" };
        let reply = Reply { text: "Hi".into(), ..Reply::default() };
        let begun = store.begin_reply(&account.organization, &conversation, writing, &reply, delivery(10)).await;
        let Begun::New(message) = begun.unwrap() else { panic!("the key is new") };
        let change = async |body: Value| answer(&table, about(&account, &conversation).body(&body)).await;

        let shown = change(json!({ "read": true })).await;
        let dismissed = change(json!({ "problem": null })).await;
        let assumed = change(json!({ "assumeDelivered": message.id })).await;

        let problem = &shown.body["data"]["problem"];
        assert_eq!((&problem["kind"], &problem["messageId"]), (&json!("unconfirmed"), &json!(message.id)));
        assert_eq!(shown.body["data"]["lastMessage"]["status"], "unconfirmed");
        assert_eq!((dismissed.status, &dismissed.body["data"]["problem"]), (200, &Value::Null));
        assert_eq!(assumed.status, 200);
        let stored = store.message(&account.organization, &conversation.id, &message.id).await.unwrap().unwrap();
        assert_eq!(stored.assumed.map(|assumed| assumed.by).as_deref(), Some("ann"));
        let elsewhere = change(json!({ "readUpTo": MessageId::of(0, "elsewhere") })).await;
        assert_eq!(elsewhere.refusal(), (404, "MESSAGE_NOT_FOUND"));
    }
}
