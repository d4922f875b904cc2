//! Asks the provider how an integration is, and records what it said.

use lambda_http::{Body, Request, Response, http::StatusCode};
use shared::{
    Error, Result, auth,
    check::Checker,
    clock,
    config::Claims,
    http,
    store::{AuditAction, AuditEntry, Store},
    view::IntegrationView,
};

/// What testing takes.
pub(crate) struct Testing {
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) checker: Checker,
}

pub(crate) async fn handle(testing: &Testing, request: Request) -> Result<Response<Body>> {
    let caller =
        auth::caller_or_told(&request, &testing.claims, auth::ADMINS, &testing.store, AuditAction::Tested).await?;
    let platform = http::platform(&request)?;
    let integration = testing.store.integration(&caller.organization, platform).await?;
    let integration = integration.ok_or(Error::IntegrationNotFound)?;

    let checked = testing.checker.check(&integration, None).await?;

    let integration = testing.store.record_check(&integration, checked.connection).await?;
    let tested = AuditEntry::new(AuditAction::Tested, Some(&caller.user), clock::now_ms())?;
    testing.store.audit(&caller.organization, &tested.about(platform, &integration.credentials.account)).await?;
    http::ok(StatusCode::OK, &IntegrationView::from(integration))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testbed::{
        call::{Answer, Call, claims},
        engine::Table,
        given::{Account, sealed},
        provider::MockProvider,
        vault::vault,
    };

    use shared::{
        check::OTHER_ACCOUNT,
        store::{ConnectionStatus, Integration, KEY_REFUSED, KEY_UNREADABLE, WEBHOOK_ELSEWHERE},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/test-integration.json");
    const WEBHOOK_URL: &str = "https://hooks.example.com/api/v1/webhooks/360dialog";
    const HEALTH: &str = "GET /health_status?fields=health_status,id,display_phone_number";
    const WEBHOOK: &str = "GET /v1/configs/webhook";

    /// A connected account, and everything that a test of it takes.
    struct Stage {
        table: Table,
        account: Account,
        before: Integration,
        provider: MockProvider,
        testing: Testing,
    }

    impl Stage {
        /// With a provider that gives these answers, where `account` stands for the account's id.
        async fn of(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            let (table, account, (vault, _)) = (Table::open().await, Account::whatsapp(), vault().await);
            let answers = answers.into_iter().map(|(status, body)| {
                let body = body.to_string().replace("\"account\"", &json!(account.id).to_string());
                (status, serde_json::from_str(&body).unwrap())
            });
            let provider = MockProvider::answering(answers).await;
            let key = vault.seal(&account.organization, account.platform, &"the-key".into()).await.unwrap();
            let before = account.connected(&table.store(), key, 0).await;
            let testing = Testing {
                claims: claims(),
                store: table.store(),
                checker: Checker {
                    vault,
                    provider: provider.client(),
                    webhook_url: WEBHOOK_URL.into(),
                    webhook_aliases: Vec::new(),
                },
            };
            Self { table, account, before, provider, testing }
        }

        async fn answer(&self, call: Call) -> Answer {
            Answer::to(handle(&self.testing, call.request()).await)
        }

        async fn test(&self) -> Answer {
            self.answer(Call::of(EVENT).from(&self.account.organization)).await
        }

        async fn stored(&self) -> Integration {
            let store = self.table.store();
            store.integration(&self.account.organization, self.account.platform).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn what_the_provider_says_is_recorded() {
        let health = json!({ "health_status": { "entities": [
            { "entity_type": "PHONE_NUMBER", "id": "account", "can_send_message": "LIMITED", "additional_info": ["Quality is low"] },
        ] } });
        let stage = Stage::of([(200, health), (200, json!({ "url": WEBHOOK_URL }))]).await;

        let answer = stage.test().await;

        assert_eq!(stage.provider.calls(), [HEALTH, WEBHOOK]);
        assert!(stage.provider.asked().iter().all(|asked| asked.key == "the-key"));
        assert_eq!((answer.status, &answer.body["data"]["health"]["status"]), (200, &json!("limited")));
        let after = stage.stored().await;
        assert_eq!(
            (after.status, after.webhook_verified, &after.error_message),
            (ConnectionStatus::Connected, true, &None)
        );
        assert_eq!(after.health.unwrap().reasons, ["Quality is low"]);
        assert_eq!((after.credentials, after.created_at), (stage.before.credentials, stage.before.created_at));
        assert!(after.last_synced_at > stage.before.last_synced_at);
    }

    #[tokio::test]
    async fn another_webhook_is_told() {
        let stage =
            Stage::of([(200, json!({ "id": "account" })), (200, json!({ "url": "https://elsewhere.example.com" }))])
                .await;

        let answer = stage.test().await;

        assert_eq!((answer.status, &answer.body["data"]["webhookVerified"]), (200, &json!(false)));
        let after = stage.stored().await;
        assert_eq!(
            (after.status, after.error_message.as_deref()),
            (ConnectionStatus::Connected, Some(WEBHOOK_ELSEWHERE))
        );
    }

    #[tokio::test]
    async fn a_key_that_is_no_longer_the_accounts_is_told_and_asked_for_nothing_more() {
        let refusals = [
            ((401, json!({ "meta": { "developer_message": "Invalid api_key" } })), KEY_REFUSED),
            ((200, json!({ "id": "another" })), OTHER_ACCOUNT),
        ];
        for (said, message) in refusals {
            let stage = Stage::of([said]).await;

            let answer = stage.test().await;

            assert_eq!(stage.provider.calls(), [HEALTH]);
            assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &json!("error")));
            let after = stage.stored().await;
            assert_eq!((after.status, after.error_message.as_deref()), (ConnectionStatus::Error, Some(message)));
        }
    }

    #[tokio::test]
    async fn a_provider_that_is_out_of_order_is_no_news_of_the_key() {
        let stage = Stage::of(vec![(503, json!({})); 3]).await;

        stage.table.meter.start([]);
        let answer = stage.test().await;

        assert_eq!(answer.refusal(), (503, "PROVIDER_UNAVAILABLE"));
        assert_eq!(stage.table.meter.stop().calls, ["GetItem"]);
        assert_eq!(stage.provider.calls(), [HEALTH; 3]);
        assert_eq!(stage.stored().await, stage.before);
    }

    #[tokio::test]
    async fn a_sealed_key_that_does_not_open_is_never_sent() {
        let stage = Stage::of([]).await;
        let moved =
            Integration { updated_at: stage.before.updated_at + 1, ..stage.account.integration(sealed("Y2lwaGVy"), 0) };
        stage.table.store().put_integration(&moved, Some(&stage.before), "ann").await.unwrap();

        let answer = stage.test().await;

        assert_eq!((answer.status, &answer.body["data"]["errorMessage"]), (200, &json!(KEY_UNREADABLE)));
        assert_eq!(stage.stored().await.status, ConnectionStatus::Error);
        assert_eq!(stage.provider.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn what_another_organization_has_connected_is_not_found_and_not_asked_about() {
        let (stage, other) = (Stage::of([]).await, Account::whatsapp());

        let answer = stage.answer(Call::of(EVENT).from(&other.organization)).await;

        assert_eq!(answer.refusal(), (404, "INTEGRATION_NOT_FOUND"));
        assert_eq!(stage.provider.calls(), [""; 0]);
        assert_eq!(stage.stored().await, stage.before);
    }

    #[tokio::test]
    async fn strangers_and_unknown_platforms_are_refused_before_anything_is_read_or_asked() {
        let stage = Stage::of([]).await;
        let mut calls: Vec<_> =
            Call::of(EVENT).by_strangers(&["admin"]).into_iter().map(|(call, code)| (call, (403, code))).collect();
        calls.push((Call::of(EVENT).path("platform", "telegram"), (400, "INVALID_PARAMETER")));

        stage.table.meter.start([]);
        for (call, refusal) in calls {
            assert_eq!(stage.answer(call).await.refusal(), refusal);
        }

        let calls = stage.table.meter.stop().calls;
        assert!(calls.iter().all(|call| call == "TransactWriteItems"), "told in the audit trail alone: {calls:?}");
        assert_eq!(stage.provider.calls(), [""; 0]);
    }
}
