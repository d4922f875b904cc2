//! Lists the organization's integrations, keys masked.

use lambda_http::{Body, Request, Response};
use shared::{Result, auth, config::Claims, http, platform::Platform, store::Store, view::IntegrationView};

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let integrations = store.integrations(&caller.organization).await?;
    let integrations: Vec<_> = integrations.into_iter().map(IntegrationView::from).collect();
    // At most one per platform: always one page.
    http::ok_list(&integrations, Platform::ALL.len(), None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, sealed},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/list-integrations.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    #[tokio::test]
    async fn all_are_listed_by_platform_without_their_keys() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        for platform in [Platform::Facebook, Platform::Whatsapp, Platform::Instagram] {
            let account = Account { organization: account.organization.clone(), ..Account::new(platform) };
            account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
        }

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(table.meter.stop().calls, ["Query"]);
        assert_eq!(answer.status, 200);
        let platforms = ["whatsapp", "instagram", "facebook"];
        for (place, platform) in platforms.into_iter().enumerate() {
            let item = &answer.body["data"]["items"][place];
            assert_eq!((&item["platform"], &item["credentials"]["apiKey"]), (&json!(platform), &json!("***********")));
        }
        assert_eq!(answer.body["data"]["pagination"], json!({ "limit": 3, "hasNext": false, "nextCursor": null }));
        assert!(!answer.body.to_string().contains("Y2lwaGVy"));
    }

    #[tokio::test]
    async fn what_another_organization_has_connected_is_not_listed() {
        let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
        account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;

        let answer = answer(&table, Call::of(EVENT).from(&other.organization)).await;

        assert_eq!((answer.status, &answer.body["data"]["items"]), (200, &json!([])));
    }

    #[tokio::test]
    async fn a_table_that_does_not_answer_is_not_reported_as_an_empty_list() {
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
}
