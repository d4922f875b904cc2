//! Lists the organization's conversations, newest first.

use std::collections::BTreeSet;

use futures_util::future::{try_join, try_join_all};
use lambda_http::{Body, Request, Response, http::StatusCode};
use serde_json::json;
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    cursor, http,
    platform::Channel,
    store::{ConversationStatus, InboxFilter, Store},
    view::ConversationView,
};

/// The filter that stands for Instagram and Facebook.
const SOCIAL: &str = "social";
/// Conversations with a problem are counted up to here.
const PROBLEMS_MAX: usize = 99;

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let filter = filter(&request, &caller)?;
    let problems_only = flag(&request, "problem")?;
    let query = format!("conversations {filter:?}{}", if problems_only { " problem" } else { "" });
    let after = match http::query_parameter(&request, "cursor") {
        Some(text) => Some(cursor::decode(organization, &query, &text)?),
        None => None,
    };

    let now_ms = clock::now_ms();
    let (unsettled, page) = if problems_only {
        let unsettled = store.unsettled(organization).await?;
        let problems: Vec<_> = unsettled.iter().filter(|message| message.is_problem(now_ms)).collect();
        let page = store.with_problems(organization, &problems, &filter, after.as_deref(), limit).await?;
        (unsettled, page)
    } else {
        let page = store.inbox(organization, &filter, after.as_deref(), limit);
        try_join(store.unsettled(organization), page).await?
    };

    let problems = unsettled.iter().filter(|message| message.is_problem(now_ms));
    let troubled: BTreeSet<_> = problems.map(|message| &message.conversation_id).collect();
    let views = page.conversations.into_iter();
    let views = views.map(|conversation| ConversationView::load(store, organization, conversation, &unsettled, now_ms));
    let mut views = try_join_all(views).await?;
    // The filter finds what may be unread; only the count tells.
    views.retain(|view| view.unread || !filter.unread);
    let next = page.next.map(|position| cursor::encode(organization, &query, &position));
    let mut list = http::list(&views, limit, next.as_deref())?;
    list["problemCount"] = json!(troubled.len().min(PROBLEMS_MAX));
    http::ok(StatusCode::OK, &list)
}

fn flag(request: &Request, name: &'static str) -> Result<bool> {
    match http::query_parameter(request, name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::invalid_parameter(format!("`{name}` is true or false"), name)),
    }
}

fn filter(request: &Request, caller: &Caller) -> Result<InboxFilter> {
    let parameter = |name| http::query_parameter(request, name);
    let channels = match parameter("channel").as_deref() {
        None => Channel::ALL.to_vec(),
        Some(SOCIAL) => Channel::ALL.into_iter().filter(|channel| channel.public_name() == SOCIAL).collect(),
        Some(channel) => {
            let unknown =
                |error: shared::platform::UnknownChannel| Error::invalid_parameter(error.to_string(), "channel");
            vec![channel.parse().map_err(unknown)?]
        }
    };
    let status = match parameter("status").as_deref() {
        None => None,
        Some("open") => Some(ConversationStatus::Open),
        Some("closed") => Some(ConversationStatus::Closed),
        Some(_) => return Err(Error::invalid_parameter("`status` is open or closed", "status")),
    };
    let unread = flag(request, "unread")?;
    let assigned_to = parameter("assignedTo").map(|user| if user == "me" { caller.user.clone() } else { user });
    Ok(InboxFilter { channels, status, unread, assigned_to, label: parameter("label") })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::store::{Assignee, Changes, Reply, Writing};
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, anna, delivery, inbound, phone},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/list-conversations.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    fn ids(answer: &Answer) -> Vec<&str> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.body["data"]["items"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn the_events_filter_finds_the_open_conversation() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(table.meter.stop().calls, ["Query", "Query", "Query"], "problems, the inbox, and what is unread");
        assert_eq!(ids(&answer), [conversation.id.as_str()]);
        assert_eq!(answer.body["data"]["pagination"], json!({ "limit": 20, "hasNext": false, "nextCursor": null }));
    }

    #[tokio::test]
    async fn a_parameter_that_cannot_be_taken_is_named_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        let refused = [
            ("channel", "telegram"),
            ("channel", "WhatsApp"),
            ("status", "archived"),
            ("unread", "yes"),
            ("problem", "1"),
            ("limit", "0"),
            ("limit", "101"),
            ("limit", "many"),
        ];
        for (name, value) in refused {
            let answer = answer(&table, Call::of(EVENT).query(&[(name, value)])).await;
            assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"), "{name}={value}");
            assert_eq!(answer.body["error"]["details"]["parameter"], name);
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn a_cursor_leads_on_in_its_own_list_only() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        for number in ["491713920012", "491713920013"] {
            account.hears(&table.store(), &phone(number), number).await;
        }
        let call = Call::of(EVENT).from(&account.organization);
        let first = answer(&table, call.clone().query(&[("limit", "1")])).await;
        let cursor = first.body["data"]["pagination"]["nextCursor"].as_str().unwrap();

        let second = answer(&table, call.clone().query(&[("limit", "1"), ("cursor", cursor)])).await;
        table.meter.start([]);
        let elsewhere = [
            call.clone().query(&[("cursor", cursor), ("channel", "whatsapp")]),
            call.clone().query(&[("cursor", "bm90IGEgY3Vyc29y")]),
            call.from(&other.organization).query(&[("cursor", cursor)]),
        ];
        for call in elsewhere {
            assert_eq!(answer(&table, call).await.refusal(), (400, "INVALID_CURSOR"));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
        assert_ne!(ids(&first), ids(&second));
        assert_eq!(second.body["data"]["pagination"]["nextCursor"], Value::Null);
    }

    #[tokio::test]
    async fn me_is_the_caller() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let mine = account.hears(&store, &anna(), "m1").await;
        account.hears(&store, &phone("491713920013"), "m2").await;
        let changes = Changes { assigned_to: Some(Assignee::User("ann".into())), ..Changes::default() };
        store.change_conversation(&account.organization, &mine.id, &changes, clock::now_ms()).await.unwrap();

        let call = Call::of(EVENT).from(&account.organization);
        let by_me = answer(&table, call.clone().query(&[("assignedTo", "me")])).await;
        let by_name = answer(&table, call.clone().query(&[("assignedTo", "ann")])).await;
        let by_another = answer(&table, call.query(&[("assignedTo", "bob")])).await;

        assert_eq!((ids(&by_me), ids(&by_name)), (vec![mine.id.as_str()], vec![mine.id.as_str()]));
        assert_eq!(ids(&by_another), [""; 0]);
    }

    #[tokio::test]
    async fn what_was_read_is_not_unread_although_it_came_twice() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());
        let store = table.store();
        let arrival = clock::now_us();
        let events = vec![inbound(&anna(), "m1", 0)];
        table.meter.start([(1, Fault::Before)]);
        assert_eq!(account.deliver(&store, arrival, events.clone()).await.failed, 1, "stored, and not in the inbox");
        account.deliver(&store, arrival + 1_000_000, events).await;
        let unread = Call::of(EVENT).from(&account.organization).query(&[("unread", "true")]);
        let before = answer(&table, unread.clone()).await;

        let id = account.conversation_id(&anna());
        let changes = Changes { read_up_to: Some(arrival), ..Changes::default() };
        store.change_conversation(&account.organization, &id, &changes, clock::now_ms()).await.unwrap();
        let all = answer(&table, Call::of(EVENT).from(&account.organization).query(&[])).await;

        assert_eq!(ids(&before), [id.as_str()]);
        assert_eq!(ids(&answer(&table, unread).await), [""; 0]);
        assert_eq!(all.body["data"]["items"][0]["unread"], false);
    }

    #[tokio::test]
    async fn another_organization_sees_none_of_it_and_only_its_channels_are_asked() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        account.hears(&table.store(), &anna(), "m1").await;
        let call = Call::of(EVENT).from(&other.organization);

        for (channel, queries) in [("whatsapp", 1), ("social", 2), ("", Channel::ALL.len())] {
            table.meter.start([]);
            assert_eq!(ids(&answer(&table, call.clone().query(&[("channel", channel)])).await), [""; 0]);
            assert_eq!(table.meter.stop().calls, vec!["Query"; queries + 1], "{channel}, and the problems");
        }
    }

    #[tokio::test]
    async fn a_channel_that_does_not_answer_is_not_left_out() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());
        account.hears(&table.store(), &anna(), "m1").await;

        table.meter.start([(1, Fault::Before)]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization).query(&[])).await;

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
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
    async fn problems_are_found_counted_and_paged() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let mut troubled = Vec::new();
        for (number, second) in [("4917111", 10), ("4917122", 20), ("4917133", 30)] {
            let conversation = account.hears(&store, &phone(number), number).await;
            if second > 10 {
                let writing = Writing { conversation: &conversation.id, operator: "olga", key: "key" };
                let reply = Reply { text: "Hi".into(), ..Reply::default() };
                store
                    .begin_reply(&account.organization, &conversation, writing, &reply, delivery(second))
                    .await
                    .unwrap();
                troubled.push(conversation.id.to_string());
            }
        }
        let call = |parameters: &[(&str, &str)]| Call::of(EVENT).from(&account.organization).query(parameters);

        let first = answer(&table, call(&[("problem", "true"), ("limit", "1")])).await;
        let next = first.body["data"]["pagination"]["nextCursor"].as_str().unwrap();
        let second = answer(&table, call(&[("problem", "true"), ("limit", "1"), ("cursor", next)])).await;
        let closed = answer(&table, call(&[("problem", "true"), ("status", "closed")])).await;

        assert_eq!((ids(&first), ids(&second)), (vec![&*troubled[1]], vec![&*troubled[0]]));
        assert_eq!(second.body["data"]["pagination"]["hasNext"], false);
        assert_eq!(ids(&closed), [""; 0]);
        assert_eq!(closed.body["data"]["problemCount"], 2, "of all, whatever the filter");
    }
}
