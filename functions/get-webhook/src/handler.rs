//! Where the provider has to deliver for an integration, and the token that each delivery has to bring: for a webhook that is set by
//! hand. It is the token of this one account, and the trail tells who was shown it.

use lambda_http::{Body, Request, Response, http::StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    http,
    secrets::WebhookSecret,
    store::{AuditAction, AuditEntry, Store},
};

/// What the function may touch.
pub(crate) struct Context {
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) webhook_secret: WebhookSecret,
    pub(crate) webhook_url: String,
}

#[derive(Serialize)]
struct GetWebhookResponse<'a> {
    url: &'a str,
    token: &'a str,
}

pub(crate) async fn handle(context: &Context, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, &context.claims, auth::ADMINS)?;
    let platform = http::platform(&request)?;
    let organization = &caller.organization;
    let integration = context.store.integration(organization, platform).await?.ok_or(Error::IntegrationNotFound)?;
    let account = &integration.credentials.account;
    let entry = AuditEntry::new(AuditAction::WebhookTokenShown, Some(&caller.user), clock::now_ms())?;
    context.store.audit(organization, &entry.about(platform, account)).await?;
    let token = context.webhook_secret.fresh().await.current.account_token(platform, account, organization);
    http::ok(StatusCode::OK, &GetWebhookResponse { url: &context.webhook_url, token: token.expose_secret() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::webhook_token::UnverifiedToken;
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, sealed},
        secrets::{webhook_keys, webhook_secret},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/get-webhook.json");
    const SECRET: &str = "a-webhook-secret-of-the-tests";
    const WEBHOOK_URL: &str = "https://hooks.example.com/api/v1/webhooks/360dialog";

    struct Stage {
        table: Table,
        account: Account,
        context: Context,
    }

    impl Stage {
        async fn of(table: Table) -> Self {
            let account = Account::whatsapp();
            account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
            let (webhook_secret, _) = webhook_secret(SECRET).await;
            let context =
                Context { claims: claims(), store: table.store(), webhook_secret, webhook_url: WEBHOOK_URL.into() };
            Self { table, account, context }
        }

        async fn answer(&self, call: Call) -> Answer {
            Answer::to(handle(&self.context, call.request()).await)
        }

        async fn shown(&self) -> Vec<AuditEntry> {
            let trail = self.account.audit(&self.table.store()).await;
            trail.into_iter().filter(|entry| entry.action == AuditAction::WebhookTokenShown).collect()
        }
    }

    #[tokio::test]
    async fn admin_is_shown_the_token_of_the_account() {
        let stage = Stage::of(Table::open().await).await;

        let answer = stage.answer(Call::of(EVENT).from(&stage.account.organization)).await;

        assert_eq!((answer.status, &answer.body["data"]["url"]), (200, &json!(WEBHOOK_URL)));
        let token = UnverifiedToken::parse(answer.body["data"]["token"].as_str().unwrap()).unwrap();
        assert_eq!(webhook_keys(SECRET).verify(&token), Some(true));
        assert_eq!(token.subject, stage.account.proof());
        assert!(!answer.body.to_string().contains(SECRET));
        let shown = stage.shown().await;
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].by.as_deref(), &shown[0].account_id), (Some("ann"), &Some(stage.account.id)));
    }

    #[tokio::test]
    async fn token_is_not_shown_where_that_is_not_recorded() {
        let stage = Stage::of(Table::without_retries().await).await;

        stage.table.meter.start([(1, Fault::Before)]);
        let answer = stage.answer(Call::of(EVENT).from(&stage.account.organization)).await;
        stage.table.meter.stop();

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
    }

    #[tokio::test]
    async fn other_organization_is_shown_nothing() {
        let stage = Stage::of(Table::open().await).await;

        let answer = stage.answer(Call::of(EVENT).from(&Account::whatsapp().organization)).await;

        assert_eq!(answer.refusal(), (404, "INTEGRATION_NOT_FOUND"));
        assert_eq!(stage.shown().await, []);
    }

    #[tokio::test]
    async fn strangers_are_refused_before_anything_is_read() {
        let stage = Stage::of(Table::open().await).await;

        stage.table.meter.start([]);
        for (call, code) in Call::of(EVENT).by_strangers(&["admin"]) {
            assert_eq!(stage.answer(call).await.refusal(), (403, code));
        }
        let unknown = stage.answer(Call::of(EVENT).path("platform", "telegram")).await;
        assert_eq!(unknown.refusal(), (400, "INVALID_PARAMETER"));

        assert_eq!(stage.table.meter.stop().calls, [""; 0]);
    }
}
