//! Lists the messages of a conversation, newest first.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    cursor, http,
    id::{MessageId, OrganizationId},
    store::{Conversation, ExternalId, Message, Store},
    view::MessageView,
};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let organization = &caller.organization;
    let id = http::conversation_id(&request)?;
    let limit = http::page_limit(&request)?;
    let query = format!("messages {id}");
    let before = match http::query_parameter(&request, "cursor") {
        Some(text) => Some(cursor::decode(organization, &query, &text)?.parse().map_err(|_| Error::InvalidCursor)?),
        None => None,
    };
    let conversation = store.conversation(organization, &id).await?.ok_or(Error::ConversationNotFound)?;

    let (messages, next) = store.messages(organization, &conversation.partitions(), before.as_ref(), limit).await?;

    let quoted = quoted(store, organization, &conversation, &messages).await?;
    let now_ms = clock::now_ms();
    let mut views: Vec<_> =
        messages.into_iter().map(|message| MessageView::new(message, &conversation, now_ms)).collect();
    MessageView::resolve_quotes(&mut views, &quoted);
    let next = next.map(|position| cursor::encode(organization, &query, position.as_str()));
    http::ok_list(&views, limit, next.as_deref())
}

/// Our ids of the messages that these reply to, by the provider's: from the page itself, and looked up where it is older.
async fn quoted(
    store: &Store,
    organization: &OrganizationId,
    conversation: &Conversation,
    messages: &[Message],
) -> Result<HashMap<String, MessageId>> {
    let mut known: HashMap<String, MessageId> =
        messages.iter().filter_map(|message| Some((message.external_id.clone()?, message.id.clone()))).collect();
    let missing = messages.iter().filter(|message| message.reply_to.is_none());
    let missing =
        missing.filter_map(|message| message.reply_to_external.as_ref()).filter(|id| !known.contains_key(*id));
    let look_ups = missing.map(|external| async move {
        let (channel, account) = (conversation.channel, conversation.account_id.clone());
        let external_id = ExternalId { channel, account, id: external.clone() };
        let found = store.message_by_external_id(organization, &external_id).await?;
        Ok::<_, Error>(found.map(|(_, id)| (external.clone(), id)))
    });
    known.extend(try_join_all(look_ups.collect::<Vec<_>>()).await?.into_iter().flatten());
    Ok(known)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use shared::{
        content::{Content, ContentType},
        event::IncomingMessage,
        store::Conversation,
    };
    use testbed::{
        call::{Answer, Call, claims},
        engine::Table,
        given::{Account, anna, at, both, inbound, message, text, user},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/list-messages.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    /// The call about a conversation, by somebody of the account's organization.
    fn about(account: &Account, conversation: &Conversation) -> Call {
        Call::of(EVENT).from(&account.organization).path("conversationId", conversation.id.as_str())
    }

    fn texts(answer: &Answer) -> Vec<&str> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.body["data"]["items"].as_array().unwrap();
        items.iter().map(|item| item["text"].as_str().unwrap()).collect()
    }

    /// A conversation of three messages; the last one replies to the first.
    async fn thread(table: &Table, account: &Account) -> Conversation {
        let store = table.store();
        let reply = IncomingMessage { reply_to: Some("m1".into()), ..text(&anna(), "m3", 3) };
        let events = vec![inbound(&anna(), "m1", 1), inbound(&anna(), "m2", 2), message(reply)];
        account.receives(&store, 4, events).await;
        account.only(&store).await
    }

    #[tokio::test]
    async fn the_newest_come_first_and_a_quote_of_the_page_costs_nothing() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = thread(&table, &account).await;

        table.meter.start([]);
        let answer = answer(&table, about(&account, &conversation)).await;

        assert_eq!(table.meter.stop().calls, ["GetItem", "Query"]);
        assert_eq!(texts(&answer), ["m3", "m2", "m1"]);
        let items = &answer.body["data"]["items"];
        assert_eq!(items[0]["replyTo"], json!({ "id": items[2]["id"], "externalId": "m1" }));
        assert_eq!(answer.body["data"]["pagination"], json!({ "limit": 20, "hasNext": false, "nextCursor": null }));
    }

    #[tokio::test]
    async fn a_quote_of_an_older_page_is_looked_up() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = thread(&table, &account).await;
        let whole = answer(&table, about(&account, &conversation)).await;

        table.meter.start([]);
        let answer = answer(&table, about(&account, &conversation).query(&[("limit", "1")])).await;

        assert_eq!(table.meter.stop().calls, ["GetItem", "Query", "GetItem"]);
        assert_eq!(texts(&answer), ["m3"]);
        assert_eq!(answer.body["data"]["items"][0]["replyTo"]["id"], whole.body["data"]["items"][2]["id"]);
    }

    #[tokio::test]
    async fn a_cursor_leads_on_in_its_own_conversation_only() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        let conversation = thread(&table, &account).await;
        let call = about(&account, &conversation);
        let first = answer(&table, call.clone().query(&[("limit", "2")])).await;
        let cursor = first.body["data"]["pagination"]["nextCursor"].as_str().unwrap();

        let rest = answer(&table, call.clone().query(&[("cursor", cursor)])).await;
        table.meter.start([]);
        let elsewhere = [
            call.clone().path("conversationId", &"0".repeat(32)).query(&[("cursor", cursor)]),
            call.clone().from(&other.organization).query(&[("cursor", cursor)]),
            call.query(&[("cursor", "bm90IGEgY3Vyc29y")]),
        ];
        for call in elsewhere {
            assert_eq!(answer(&table, call).await.refusal(), (400, "INVALID_CURSOR"));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
        assert_eq!((texts(&first), texts(&rest)), (vec!["m3", "m2"], vec!["m1"]));
        assert_eq!(rest.body["data"]["pagination"]["nextCursor"], Value::Null);
    }

    /// A recorded call of that many messages on two of the customer's ids, a second apart, with texts of that character.
    async fn long_thread(table: &Table, account: &Account, count: i64, character: &str) -> Conversation {
        let store = table.store();
        for second in 0..count {
            let customer = if second % 3 == 0 { user("DE.1") } else { both("491713920012", "DE.1") };
            let words = character.repeat(99_000);
            let parts = Map::from_iter([("transcript".to_owned(), json!(words))]);
            let content = Content { text: Some(words), ..Content::new(ContentType::Call, parts) };
            let call = IncomingMessage { content, ..text(&customer, &format!("call {second}"), second) };
            account.receives(&store, second, vec![message(call)]).await;
        }
        account.only(&store).await
    }

    #[tokio::test]
    async fn a_page_ends_before_the_answer_is_too_large() {
        // Lambda's limit of an answer, in which the body is JSON within JSON.
        const ANSWER_MAX_BYTES: usize = 6 * 1024 * 1024;
        for (character, count) in [("x", 40), ("\"", 14), ("\u{1}", 10)] {
            let (table, account) = (Table::open().await, Account::whatsapp());
            let conversation = long_thread(&table, &account, count, character).await;
            let call = about(&account, &conversation).query(&[("limit", "100")]);

            let mut page = answer(&table, call.clone()).await;
            let mut seen = Vec::new();
            loop {
                assert_eq!(page.status, 200, "{character:?}");
                assert!(json!(page.body.to_string()).to_string().len() < ANSWER_MAX_BYTES, "{character:?}");
                let data = &page.body["data"];
                seen.extend(data["items"].as_array().unwrap().iter().map(|item| item["timestamp"].clone()));
                let cursor = data["pagination"]["nextCursor"].as_str();
                assert_eq!(data["pagination"]["hasNext"], json!(cursor.is_some()));
                let Some(cursor) = cursor else { break };
                page = answer(&table, call.clone().query(&[("limit", "100"), ("cursor", cursor)])).await;
            }

            let times: Vec<_> = (0..count).rev().map(|second| clock::rfc3339(at(second))).collect();
            assert_eq!(seen, times, "{character:?}");
        }
    }

    #[tokio::test]
    async fn messages_of_another_organization_are_not_looked_for() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        let theirs = thread(&table, &account).await;

        table.meter.start([]);
        let answer = answer(&table, about(&other, &theirs)).await;

        assert_eq!(answer.refusal(), (404, "CONVERSATION_NOT_FOUND"));
        assert_eq!(table.meter.stop().calls, ["GetItem"]);
    }

    #[tokio::test]
    async fn a_limit_that_cannot_be_taken_is_refused_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for limit in ["0", "101", "-1", "many"] {
            let answer = answer(&table, Call::of(EVENT).query(&[("limit", limit)])).await;
            assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"), "{limit}");
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
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
