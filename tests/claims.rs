//! Who may claim which account: what the provider says of a key counts, and nothing else.

use serde_json::{Value, json};
use support::{Rig, Setup};

use crate::shared::{Organization, api_key, own_rig, unique};

fn rig_with(parameters: &[&str]) -> Rig {
    let arguments = parameters.iter().flat_map(|parameter| ["--parameter".to_owned(), (*parameter).to_owned()]);
    own_rig(Setup { arguments: arguments.collect(), ..Setup::default() })
}

/// What connecting an account with that key answers.
async fn connect(
    organization: &Organization<'_>,
    platform: &str,
    field: &str,
    account: &str,
    key: &str,
) -> (u16, Value) {
    let path = format!("/api/v1/social-integrations/{platform}/connect");
    organization.rig.api("POST", &path, &organization.admin, json!({ "apiKey": key, field: account })).await
}

#[tokio::test]
async fn a_strangers_account_cannot_be_claimed_with_any_key() {
    let rig = rig_with(&["TrustPartnerChannel=false"]);
    let stranger = Organization::new(&rig).await;
    for (platform, field) in [("instagram", "instagramAccountId"), ("facebook", "facebookPageId")] {
        let account = format!("178414{}", unique());
        for key in [api_key("whatsapp", "1001"), api_key(platform, "1002"), api_key(platform, &account)] {
            let (status, answer) = connect(&stranger, platform, field, &account, &key).await;

            assert_eq!((status, &answer["error"]["code"]), (400, &json!("ACCOUNT_NOT_PROVEN")), "{answer}");
        }
    }
    assert_eq!(stranger.get("/api/v1/social-integrations").await["items"], json!([]));
}

#[tokio::test]
async fn an_owner_who_proves_it_takes_an_account_from_a_stranger() {
    let rig = own_rig(Setup::default());
    let (stranger, held) = Organization::with(&rig, "instagram").await;
    assert_eq!(stranger.get("/api/v1/social-integrations/instagram").await["claim"], "unproven");
    held.customer_writes("1029384756102938", "To the stranger's own webhook").await;

    // What comes with a proof of the whole service waits for who proves to own the account.
    let authorization = format!("Bearer {}", rig.webhook_token());
    let services = crate::shared::Account { authorization, ..held.clone() };
    services.receive("story_reply").await;
    assert_eq!(stranger.conversations("").await.len(), 1);
    assert_eq!(stranger.quarantine().await, Vec::<Value>::new(), "nor is it the stranger's to see");

    rig.simulate("settings", json!({ "namesAccounts": true })).await;
    let owner = Organization::new(&rig).await;
    let account = owner.connect_account("instagram", &held.id).await;

    let lost = stranger.get("/api/v1/social-integrations/instagram").await;
    assert_eq!((&lost["status"], &lost["claim"]), (&json!("error"), &json!("lost")), "{lost}");
    assert!(lost["errorMessage"].is_string() && !lost.to_string().contains(&owner.id), "{lost}");
    assert_eq!(owner.conversations("").await.len(), 1, "what waited");
    account.customer_writes("1029384756102939", "To the owner").await;
    held.receive("text").await;
    assert_eq!((owner.conversations("").await.len(), stranger.conversations("").await.len()), (2, 1));

    // It is rid of with everything else.
    let path = "/api/v1/social-integrations/instagram";
    let (status, answer) = rig.api("DELETE", path, &stranger.admin, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    account.customer_writes("1029384756102937", "Still to the owner").await;
    assert_eq!(owner.conversations("").await.len(), 3);
}

#[tokio::test]
async fn metas_tokens_connect_the_accounts_that_webhooks_name() {
    let rig = rig_with(&["TrustPartnerChannel=false", "InstagramPreset=graph", "FacebookPreset=graph"]);
    let account = "17841400001112223";
    let cases = [
        ("instagram", "instagramAccountId", "instagram"),
        ("instagram", "instagramAccountId", "facebook"),
        ("facebook", "facebookPageId", "facebook"),
    ];
    for (platform, field, token) in cases {
        let organization = Organization::new(&rig).await;

        let (status, answer) = connect(&organization, platform, field, account, &api_key(token, account)).await;
        assert_eq!((status, &answer["data"]["claim"]), (201, &json!("proven")), "{platform} {token}: {answer}");

        let (status, answer) = connect(&organization, platform, field, "1784140000", &api_key(token, account)).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("ACCOUNT_MISMATCH")), "{answer}");

        let path = format!("/api/v1/social-integrations/{platform}");
        let (status, answer) = rig.api("POST", &format!("{path}/test"), &organization.admin, Value::Null).await;
        assert_eq!((status, &answer["data"]["status"]), (200, &json!("connected")), "{answer}");
        assert_eq!(rig.api("DELETE", &path, &organization.admin, Value::Null).await.0, 200);
    }
}
