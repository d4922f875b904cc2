//! Gives the token of one account, for its webhook; that of the whole service, for whoever delivers for all accounts; or what Meta's
//! handshake asks for. None of them tells the secret that they are derived from.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use shared::{
    Error, Result, clock,
    id::AccountId,
    platform::Platform,
    secrets::WebhookSecret,
    store::{AuditAction, AuditEntry, Store},
};

/// What the function may touch.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) webhook_secret: WebhookSecret,
}

/// What the token is for.
#[derive(Debug, Deserialize)]
#[serde(tag = "for", rename_all = "lowercase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum IssueWebhookTokenRequest {
    /// One account, of the organization that has connected it.
    Account { platform: Platform, account_id: AccountId },
    /// All accounts.
    Service,
    /// Meta's handshake: its verify token.
    Handshake,
}

/// The token.
#[derive(Debug, Serialize)]
pub(crate) struct IssueWebhookTokenResponse {
    token: String,
}

pub(crate) async fn handle(context: &Context, request: IssueWebhookTokenRequest) -> Result<IssueWebhookTokenResponse> {
    let secret = context.webhook_secret.fresh().await;
    let token = match request {
        IssueWebhookTokenRequest::Account { platform, account_id } => {
            let owner = context.store.owner_of_account(platform, &account_id).await?;
            let organization = owner.ok_or(Error::IntegrationNotFound)?.organization_id;
            let entry = AuditEntry::new(AuditAction::WebhookTokenShown, None, clock::now_ms())?;
            context.store.audit(&organization, &entry.about(platform, &account_id)).await?;
            secret.current.account_token(platform, &account_id, &organization)
        }
        IssueWebhookTokenRequest::Service => secret.current.service_token(),
        IssueWebhookTokenRequest::Handshake => secret.current.verify_token().clone(),
    };
    Ok(IssueWebhookTokenResponse { token: token.expose_secret().to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::webhook_token::{Proof, UnverifiedToken};
    use testbed::{
        engine::Table,
        given::{Account, sealed},
        secrets::{webhook_keys, webhook_secret},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/issue-webhook-token.json");
    const SECRET: &str = "a-webhook-secret-of-the-tests";

    async fn context() -> (Table, Context) {
        let (table, (webhook_secret, _)) = (Table::open().await, webhook_secret(SECRET).await);
        let store = table.store();
        (table, Context { store, webhook_secret })
    }

    async fn issue(context: &Context, request: &Value) -> Result<String> {
        let request = serde_json::from_value(request.clone()).unwrap();
        handle(context, request).await.map(|answer| answer.token)
    }

    fn subject(token: &str) -> Proof {
        let token = UnverifiedToken::parse(token).unwrap();
        assert_eq!(webhook_keys(SECRET).verify(&token), Some(true));
        token.subject
    }

    #[tokio::test]
    async fn account_gets_the_token_of_its_owner() {
        let ((table, context), account) = (context().await, Account::whatsapp());
        account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
        let request = json!({ "for": "account", "platform": account.platform, "accountId": account.id });

        let token = issue(&context, &request).await.unwrap();

        assert_eq!(subject(&token), account.proof());
        let trail = account.audit(&table.store()).await;
        let shown: Vec<_> = trail.iter().filter(|entry| entry.action == AuditAction::WebhookTokenShown).collect();
        assert_eq!(shown.len(), 1);
        assert_eq!((&shown[0].by, &shown[0].account_id), (&None, &Some(account.id)));
    }

    #[tokio::test]
    async fn account_of_nobody_gets_no_token() {
        let request = json!({ "for": "account", "platform": "whatsapp", "accountId": Account::whatsapp().id });

        assert!(matches!(issue(&context().await.1, &request).await, Err(Error::IntegrationNotFound)));
    }

    #[tokio::test]
    async fn service_and_handshake_have_tokens_of_their_own() {
        let (_, context) = context().await;

        let service = issue(&context, &serde_json::from_str(EVENT).unwrap()).await.unwrap();
        let handshake = issue(&context, &json!({ "for": "handshake" })).await.unwrap();

        assert_eq!(subject(&service), Proof::Global);
        assert_eq!(handshake, webhook_keys(SECRET).verify_token().expose_secret());
        assert!(UnverifiedToken::parse(&handshake).is_none());
    }
}
