//! One conversation, with its messaging window.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Error, Result, auth, clock, config::Claims, http, store::Store, view::ConversationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let id = http::conversation_id(&request)?;
    let organization = &caller.organization;
    let conversation = store.conversation(organization, &id).await?.ok_or(Error::ConversationNotFound)?;
    let unsettled = store.unsettled(organization).await?;
    let view = ConversationView::load(store, organization, conversation, &unsettled, clock::now_ms()).await?;
    http::ok(StatusCode::OK, &view)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::store::Conversation;
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, anna},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/get-conversation.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    /// The call about a conversation, by somebody of the account's organization.
    fn about(account: &Account, conversation: &Conversation) -> Call {
        Call::of(EVENT).from(&account.organization).path("conversationId", conversation.id.as_str())
    }

    #[tokio::test]
    async fn the_conversation_is_shown_with_its_window_and_what_is_unread() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;

        table.meter.start([]);
        let answer = answer(&table, about(&account, &conversation)).await;

        assert_eq!(table.meter.stop().calls, ["GetItem", "Query", "Query"], "problems, and what is unread");
        assert_eq!(answer.status, 200);
        let data = &answer.body["data"];
        assert_eq!(data["id"], json!(conversation.id));
        assert_eq!((&data["unread"], &data["unreadCount"]), (&json!(true), &json!(1)));
        assert_eq!((&data["lastMessage"]["text"], &data["lastMessage"]["sender"]), (&json!("m1"), &json!("customer")));
        assert_eq!(data["window"]["open"], true);
        let customer = json!({ "id": conversation.id, "name": "Anna", "phone": "491713920012", "username": null });
        assert_eq!(data["customer"], customer);
    }

    #[tokio::test]
    async fn a_conversation_of_another_organization_is_not_found() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        let theirs = account.hears(&table.store(), &anna(), "m1").await;

        table.meter.start([]);
        let answer = answer(&table, about(&other, &theirs)).await;

        assert_eq!(answer.refusal(), (404, "CONVERSATION_NOT_FOUND"));
        assert_eq!(table.meter.stop().calls, ["GetItem"]);
    }

    #[tokio::test]
    async fn a_table_that_does_not_answer_is_not_reported_as_not_found() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());
        let conversation = account.hears(&table.store(), &anna(), "m1").await;

        for call in 0..3 {
            table.meter.start([(call, Fault::Before)]);
            assert_eq!(answer(&table, about(&account, &conversation)).await.refusal(), (503, "UNAVAILABLE"), "{call}");
        }
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
