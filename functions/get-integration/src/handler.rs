//! The organization's integration on a platform; `null` where nothing is connected.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{Result, auth, config::Claims, http, store::Store, view::IntegrationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let platform = http::platform(&request)?;
    let integration = store.integration(&caller.organization, platform).await?;
    http::ok(StatusCode::OK, &integration.map(IntegrationView::from))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::clock::rfc3339;
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, at, sealed},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/get-integration.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    #[tokio::test]
    async fn the_integration_is_shown_without_its_key() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(table.meter.stop().calls, ["GetItem"]);
        let data = &answer.body["data"];
        assert_eq!((answer.status, &data["status"]), (200, &json!("connected")));
        assert_eq!(
            (&data["organizationId"], &data["createdAt"]),
            (&json!(account.organization), &json!(rfc3339(at(0))))
        );
        let credentials = json!({
            "apiKey": "***********", "phoneNumberId": account.id, "wabaId": "waba", "displayPhoneNumber": null,
        });
        assert_eq!(data["credentials"], credentials);
        assert!(!answer.body.to_string().contains("Y2lwaGVy"));
    }

    #[tokio::test]
    async fn what_another_organization_has_connected_is_nothing() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;

        let answer = answer(&table, Call::of(EVENT).from(&other.organization)).await;

        assert_eq!((answer.status, &answer.body["data"]), (200, &Value::Null));
    }

    #[tokio::test]
    async fn a_table_that_does_not_answer_is_not_reported_as_nothing() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());

        table.meter.start([(0, Fault::Before)]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

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
    async fn an_unknown_platform_is_refused_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for platform in ["", "telegram", "WhatsApp", "whatsapp#1"] {
            let answer = answer(&table, Call::of(EVENT).path("platform", platform)).await;
            assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"), "{platform}");
            assert_eq!(answer.body["error"]["details"]["parameter"], "platform");
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }
}
