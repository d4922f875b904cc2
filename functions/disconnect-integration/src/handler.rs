//! Stops receiving and sending on a platform; history and credentials stay.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{
    Result, auth, clock,
    config::Claims,
    http,
    store::{AuditAction, Store},
    view::IntegrationView,
};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller_or_told(&request, claims, auth::ADMINS, store, AuditAction::Disconnected).await?;
    let platform = http::platform(&request)?;
    let integration = store.disconnect(&caller.organization, platform, &caller.user, clock::now_ms()).await?;
    let message = format!("{} is disconnected. Its conversations stay.", platform.display_name());
    http::ok_with_message(StatusCode::OK, &IntegrationView::from(integration), &message)
}

#[cfg(test)]
mod tests {
    use shared::store::{ConnectionStatus, Integration, OwnerStatus};
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, sealed},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/disconnect-integration.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    #[tokio::test]
    async fn the_integration_and_the_claim_are_disconnected_in_one_write_and_keep_the_key() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let before = account.connected(&store, sealed("Y2lwaGVy"), 0).await;

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(table.meter.stop().calls, ["GetItem", "TransactWriteItems"]);
        assert_eq!((answer.status, answer.body["data"]["status"].as_str()), (200, Some("disconnected")));
        assert_eq!(answer.body["message"], "WhatsApp is disconnected. Its conversations stay.");
        let after = store.integration(&account.organization, account.platform).await.unwrap().unwrap();
        let updated_at = after.updated_at;
        assert_eq!(after, Integration { status: ConnectionStatus::Disconnected, updated_at, ..before });
        let owner = store.owner_of_account(account.platform, &account.id).await.unwrap().unwrap();
        assert_eq!((owner.status, owner.organization_id), (OwnerStatus::Disconnected, account.organization));
    }

    #[tokio::test]
    async fn what_another_organization_has_connected_is_not_found_and_stays() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        let theirs = account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(&other.organization)).await;

        assert_eq!(answer.refusal(), (404, "INTEGRATION_NOT_FOUND"));
        assert_eq!(table.meter.stop().calls, ["GetItem"]);
        assert_eq!(table.store().integration(&account.organization, account.platform).await.unwrap(), Some(theirs));
    }

    #[tokio::test]
    async fn a_write_that_fails_changes_nothing_and_is_told() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());
        let before = account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;

        table.meter.start([(1, Fault::Before)]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
        assert_eq!(table.meter.stop().calls, ["GetItem", "TransactWriteItems"]);
        assert_eq!(table.store().integration(&account.organization, account.platform).await.unwrap(), Some(before));
    }

    #[tokio::test]
    async fn strangers_are_refused_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for (call, code) in Call::of(EVENT).by_strangers(&["admin"]) {
            assert_eq!(answer(&table, call).await.refusal(), (403, code));
        }

        let calls = table.meter.stop().calls;
        assert!(calls.iter().all(|call| call == "TransactWriteItems"), "told in the audit trail alone: {calls:?}");
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
