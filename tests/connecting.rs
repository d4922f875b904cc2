//! Connecting accounts: verify, claim, seal, register. Whatever fails leaves what worked before as it was.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Rig, Setup, eventually};

use crate::shared::{Account, Organization, SOON, api_key, own_rig, run, table, text, unique};

const PLATFORMS: [&str; 3] = ["whatsapp", "instagram", "facebook"];
/// As often as the service asks the provider before it gives up.
const EVERY_ATTEMPT: u64 = 3;

fn account_field(platform: &str) -> &'static str {
    match platform {
        "whatsapp" => "phoneNumberId",
        "instagram" => "instagramAccountId",
        _ => "facebookPageId",
    }
}

/// Whether 360dialog names the account of a key: then it is proven, and so is its webhook before the first delivery.
fn is_named(platform: &str) -> bool {
    platform == "whatsapp"
}

fn new_account() -> String {
    format!("70020030{:07}", unique())
}

fn path(platform: &str, action: &str) -> String {
    format!("/api/v1/social-integrations/{platform}{action}")
}

/// A call about an integration, as the admin.
async fn call(organization: &Organization<'_>, method: &str, platform: &str, action: &str) -> (u16, Value) {
    organization.rig.api(method, &path(platform, action), &organization.admin, Value::Null).await
}

/// A call about an integration that must succeed; gives the `data`.
async fn done(organization: &Organization<'_>, method: &str, platform: &str, action: &str) -> Value {
    let (status, answer) = call(organization, method, platform, action).await;
    assert_eq!(status, 200, "{method} {platform}{action}: {answer}");
    answer["data"].clone()
}

async fn integration(organization: &Organization<'_>, platform: &str) -> Value {
    organization.get(&path(platform, "")).await
}

async fn connect_with(organization: &Organization<'_>, platform: &str, account: &str, key: &str) -> (u16, Value) {
    let body = json!({ "apiKey": key, account_field(platform): account });
    organization.rig.api("POST", &path(platform, "/connect"), &organization.admin, body).await
}

/// What the provider has registered for an account.
async fn registered(rig: &Rig, platform: &str, account: &str) -> Value {
    let key = api_key(platform, account);
    let url = format!("{}/v1/configs/webhook", rig.provider);
    rig.request("GET", &url, &[("d360-api-key", &key)], "").await.json()
}

/// Points the account's webhook elsewhere, as somebody could in the provider's console.
async fn register_elsewhere(rig: &Rig, platform: &str, account: &str) {
    let key = api_key(platform, account);
    let url = format!("{}/v1/configs/webhook", rig.provider);
    let body = json!({ "url": "https://elsewhere.example.com/hook", "headers": {} }).to_string();
    assert_eq!(rig.request("POST", &url, &[("d360-api-key", &key)], body).await.status, 200);
}

async fn fault(rig: &Rig, account: &str, fault: &str, calls: u64, endpoint: &str) {
    let body = json!({ "fault": fault, "calls": calls, "accountId": account, "path": endpoint });
    rig.simulate("fault", body).await;
}

/// A customer can write and be answered.
async fn assert_works(organization: &Organization<'_>, account: &Account<'_>) {
    let customer = format!("4917{:09}", unique());
    account.customer_writes(&customer, "Are you there?").await;
    let conversations = organization.conversations(&format!("channel={}", account.platform)).await;
    let conversation = conversations.iter().find(|conversation| {
        conversation["customer"]["phone"] == customer.as_str() || conversation["customer"]["id"] == customer.as_str()
    });
    let conversation = conversation.unwrap_or_else(|| panic!("not received: {conversations:#?}"));
    let (status, answer) = organization.send(conversation, json!({ "text": "Yes, we are." })).await;
    assert_eq!(status, 201, "{answer}");
}

/// Nobody holds the account: another organization can connect it, and it works there.
async fn assert_claimable(rig: &Rig, platform: &'static str, account: &str) {
    let other = Organization::new(rig).await;
    let account = other.connect_account(platform, account).await;
    assert_works(&other, &account).await;
}

#[test]
fn each_platform_connects_with_masked_key_and_own_token() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let mut tokens = BTreeSet::new();
        for platform in PLATFORMS {
            let account = new_account();

            let (status, answer) = organization.try_connect(platform, &account).await;

            assert_eq!(status, 201, "{answer}");
            assert!(!answer.to_string().contains("sim_"), "the key is shown: {answer}");
            let data = &answer["data"];
            assert_eq!(data["organizationId"], organization.id.as_str());
            assert_eq!((&data["platform"], &data["status"]), (&json!(platform), &json!("connected")));
            assert_eq!(data["credentials"]["apiKey"], "***********");
            assert_eq!(data["credentials"][account_field(platform)], account.as_str());
            if platform == "whatsapp" {
                assert_eq!(data["credentials"]["wabaId"], format!("waba_{account}"));
                assert!(text(&data["credentials"]["displayPhoneNumber"]).starts_with("+1555"), "{data}");
            }
            let verified = json!(is_named(platform));
            assert_eq!((&data["webhookVerified"], &data["errorMessage"]), (&verified, &Value::Null));
            assert_eq!(data["claim"], if is_named(platform) { "proven" } else { "unproven" });
            assert_eq!(data["health"]["status"], "available");
            assert_eq!(integration(&organization, platform).await, *data);

            let registered = registered(rig, platform, &account).await;
            assert_eq!(registered["url"], rig.webhook.as_str());
            let authorization = text(&registered["headers"]["Authorization"]);
            assert!(authorization.starts_with("Bearer kw2."), "{authorization}");
            assert!(!authorization.contains(&rig.webhook_secret()));
            tokens.insert(authorization.to_owned());
        }
        assert_eq!(tokens.len(), PLATFORMS.len());

        let list = organization.get("/api/v1/social-integrations").await;
        let listed: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|integration| text(&integration["platform"])).collect();
        assert_eq!(listed, PLATFORMS);
        assert!(!list.to_string().contains("sim_"), "the key is shown: {list}");
        assert_eq!(list["pagination"], json!({ "limit": 3, "hasNext": false, "nextCursor": null }));
    });
}

#[test]
fn what_was_connected_receives_and_replies() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;

            assert_works(&organization, &account).await;
        }
    });
}

#[test]
fn limited_account_connects_and_says_why_it_cannot_send() {
    run(async |_| {
        let rig = own_rig(Setup::default());
        for (health, status) in [("LIMITED", "limited"), ("BLOCKED", "blocked")] {
            rig.simulate("settings", json!({ "health": health })).await;
            let organization = Organization::new(&rig).await;

            let (_, answer) = organization.try_connect("whatsapp", &new_account()).await;

            let data = &answer["data"];
            assert_eq!((&data["status"], &data["health"]["status"]), (&json!("connected"), &json!(status)), "{answer}");
            assert!(!text(&data["health"]["reasons"][0]).is_empty(), "{answer}");
        }
    });
}

#[test]
fn a_key_that_the_provider_does_not_know_connects_nothing() {
    run(async |rig| {
        for platform in PLATFORMS {
            let organization = Organization::new(rig).await;
            let account = new_account();

            let (status, answer) = connect_with(&organization, platform, &account, "not-a-key").await;

            assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_CREDENTIALS")), "{answer}");
            assert!(!answer.to_string().contains("not-a-key"), "{answer}");
            assert_eq!(integration(&organization, platform).await, Value::Null);
            assert_claimable(rig, platform, &account).await;
        }
    });
}

#[test]
fn a_key_of_another_account_connects_nothing() {
    run(async |_| {
        let rig = &own_rig(Setup::default());
        rig.simulate("settings", json!({ "namesAccounts": true })).await;
        for platform in PLATFORMS {
            let organization = Organization::new(rig).await;
            let (mine, others) = (new_account(), new_account());

            let (status, answer) = connect_with(&organization, platform, &others, &api_key(platform, &mine)).await;

            assert_eq!((status, &answer["error"]["code"]), (400, &json!("ACCOUNT_MISMATCH")), "{answer}");
            assert_eq!(integration(&organization, platform).await, Value::Null);
            assert_eq!(registered(rig, platform, &mine).await["url"], "", "a webhook was registered");
            assert_claimable(rig, platform, &others).await;
        }
    });
}

#[test]
fn account_of_another_organization_stays_theirs() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (owner, account) = Organization::with(rig, platform).await;
            let before = (integration(&owner, platform).await, registered(rig, platform, &account.id).await);
            let other = Organization::new(rig).await;

            let (status, answer) = other.try_connect(platform, &account.id).await;

            assert_eq!((status, &answer["error"]["code"]), (409, &json!("ACCOUNT_IN_USE")), "{answer}");
            assert!(!answer.to_string().contains(&owner.id), "{answer}");
            assert_eq!(integration(&other, platform).await, Value::Null);
            let after = (integration(&owner, platform).await, registered(rig, platform, &account.id).await);
            assert_eq!(after, before);
            assert_works(&owner, &account).await;
        }
    });
}

#[test]
fn racing_organizations_get_an_account_once() {
    run(async |rig| {
        for _ in 0..3 {
            let account = new_account();
            let (a, b) = (Organization::new(rig).await, Organization::new(rig).await);

            let (first, second) =
                tokio::join!(a.try_connect("whatsapp", &account), b.try_connect("whatsapp", &account));

            let mut statuses = [first.0, second.0];
            statuses.sort_unstable();
            assert_eq!(statuses, [201, 409], "{first:?} {second:?}");
            let (winner, loser) = if first.0 == 201 { (a, b) } else { (b, a) };
            assert_eq!(integration(&loser, "whatsapp").await, Value::Null);
            // Connecting again tells the token that is registered now.
            let account = winner.connect_account("whatsapp", &account).await;
            assert_works(&winner, &account).await;
        }
    });
}

/// A fault of the provider's call, how often, and what connecting answers then.
type Fault = (&'static str, u64, u16, &'static str);
const FAULTS: [Fault; 5] = [
    ("unauthorized", 1, 400, "INVALID_CREDENTIALS"),
    ("rate_limit", EVERY_ATTEMPT, 503, "PROVIDER_UNAVAILABLE"),
    ("rate_limit_400", EVERY_ATTEMPT, 503, "PROVIDER_UNAVAILABLE"),
    ("server_error", EVERY_ATTEMPT, 503, "PROVIDER_UNAVAILABLE"),
    ("drop_after_accept", EVERY_ATTEMPT, 503, "PROVIDER_UNAVAILABLE"),
];

/// Each fault at each of the provider's calls; on the other platforms, whose calls are the same, one.
fn faults() -> Vec<(&'static str, &'static str, Fault)> {
    let everywhere = ["health_status", "webhook"].into_iter();
    let whatsapp = everywhere.clone().flat_map(|call| FAULTS.map(|fault| ("whatsapp", call, fault)));
    let others = everywhere.flat_map(|call| ["instagram", "facebook"].map(|platform| (platform, call, FAULTS[3])));
    whatsapp.chain(others).collect()
}

#[test]
fn failed_first_connection_leaves_the_account_free() {
    run(async |rig| {
        let attempts = faults().into_iter().map(async |(platform, call, (name, calls, status, code))| {
            let organization = Organization::new(rig).await;
            let account = new_account();
            fault(rig, &account, name, calls, call).await;

            let (answered, answer) = organization.try_connect(platform, &account).await;

            let case = format!("{platform} {call} {name}: {answer}");
            assert_eq!((answered, &answer["error"]["code"]), (status, &json!(code)), "{case}");
            assert_eq!(integration(&organization, platform).await, Value::Null, "{case}");
            assert_claimable(rig, platform, &account).await;
        });
        join_all(attempts).await;
    });
}

#[test]
fn working_integration_survives_failed_reconnection() {
    run(async |rig| {
        let attempts = faults().into_iter().map(async |(platform, call, (name, calls, status, code))| {
            let (organization, account) = Organization::with(rig, platform).await;
            let before = integration(&organization, platform).await;
            // The same account, then another one.
            for wanted in [account.id.clone(), new_account()] {
                fault(rig, &wanted, name, calls, call).await;

                let (answered, answer) = organization.try_connect(platform, &wanted).await;

                let case = format!("{platform} {call} {name}: {answer}");
                assert_eq!((answered, &answer["error"]["code"]), (status, &json!(code)), "{case}");
                assert_eq!(integration(&organization, platform).await, before, "{case}");
                if wanted != account.id {
                    assert_claimable(rig, platform, &wanted).await;
                }
            }
            assert_works(&organization, &account).await;
        });
        join_all(attempts).await;
    });
}

#[test]
fn silent_provider_ends_the_attempt_and_frees_the_account() {
    run(async |rig| {
        let attempts = ["health_status", "webhook"].map(async |call| {
            let organization = Organization::new(rig).await;
            let account = new_account();
            fault(rig, &account, "timeout", EVERY_ATTEMPT, call).await;

            let (status, answer) = organization.try_connect("whatsapp", &account).await;

            assert_eq!((status, &answer["error"]["code"]), (503, &json!("PROVIDER_UNAVAILABLE")), "{call}: {answer}");
            assert_eq!(integration(&organization, "whatsapp").await, Value::Null);
            account
        });
        for account in join_all(attempts).await {
            let other = Organization::new(rig).await;
            // Timeouts that are left over hit the health check of this one: only the claim matters.
            let (status, answer) = other.try_connect("whatsapp", &account).await;
            assert_ne!(status, 409, "{answer}");
        }
    });
}

#[test]
fn one_failure_of_the_provider_is_bridged() {
    run(async |rig| {
        let attempts = ["rate_limit", "server_error", "drop_after_accept"].map(async |name| {
            let organization = Organization::new(rig).await;
            let account = new_account();
            fault(rig, &account, name, 1, "health_status").await;
            fault(rig, &account, name, 1, "webhook").await;

            let account = organization.connect_account("whatsapp", &account).await;

            assert_works(&organization, &account).await;
        });
        join_all(attempts).await;
    });
}

#[test]
fn a_test_records_what_the_provider_says() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;
            let before = integration(&organization, platform).await;

            let tested = done(&organization, "POST", platform, "/test").await;
            let verified = json!(is_named(platform));
            assert_eq!((&tested["status"], &tested["webhookVerified"]), (&json!("connected"), &verified));
            assert!(text(&tested["lastSyncedAt"]) > text(&before["lastSyncedAt"]));
            assert!(text(&tested["health"]["checkedAt"]) > text(&before["health"]["checkedAt"]));
            assert_eq!(integration(&organization, platform).await, tested);

            for endpoint in ["health_status", "webhook"] {
                fault(rig, &account.id, "unauthorized", 1, endpoint).await;
                let refused = done(&organization, "POST", platform, "/test").await;
                assert_eq!(refused["status"], "error", "{endpoint}");
                assert!(text(&refused["errorMessage"]).contains("API key"), "{refused}");
                assert_eq!(refused["health"], tested["health"], "what was known stays");
                assert_eq!(integration(&organization, platform).await, refused);
            }

            let tested = done(&organization, "POST", platform, "/test").await;
            assert_eq!((&tested["status"], &tested["errorMessage"]), (&json!("connected"), &Value::Null));
            assert_works(&organization, &account).await;
        }
    });
}

#[test]
fn what_is_disconnected_stays_so_whatever_a_test_finds() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        done(&organization, "POST", "whatsapp", "/disconnect").await;

        fault(rig, &account.id, "unauthorized", 1, "health_status").await;
        let refused = done(&organization, "POST", "whatsapp", "/test").await;
        let accepted = done(&organization, "POST", "whatsapp", "/test").await;

        assert_eq!(refused["status"], "disconnected");
        assert!(refused["errorMessage"].is_string());
        assert_eq!(accepted["status"], "disconnected");
        assert!(accepted["errorMessage"].is_null());
    });
}

#[test]
fn a_test_that_cannot_reach_the_provider_changes_nothing() {
    run(async |rig| {
        let tests = ["health_status", "webhook"].into_iter().flat_map(|call| {
            ["rate_limit", "rate_limit_400", "server_error", "drop_after_accept"].map(|name| (call, name))
        });
        let tests = tests.map(async |(call_name, name)| {
            let (organization, account) = Organization::with(rig, "whatsapp").await;
            let before = integration(&organization, "whatsapp").await;
            fault(rig, &account.id, name, EVERY_ATTEMPT, call_name).await;

            let (status, answer) = call(&organization, "POST", "whatsapp", "/test").await;

            let case = format!("{call_name} {name}: {answer}");
            assert_eq!((status, &answer["error"]["code"]), (503, &json!("PROVIDER_UNAVAILABLE")), "{case}");
            assert_eq!(integration(&organization, "whatsapp").await, before, "{case}");
        });
        join_all(tests).await;
    });
}

#[test]
fn misdirected_webhook_is_reported_and_reconnecting_fixes_it() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        register_elsewhere(rig, "whatsapp", &account.id).await;

        let tested = done(&organization, "POST", "whatsapp", "/test").await;

        assert_eq!((&tested["status"], &tested["webhookVerified"]), (&json!("connected"), &json!(false)));
        assert!(text(&tested["errorMessage"]).contains("webhook"), "{tested}");
        let account = organization.connect_account("whatsapp", &account.id).await;
        let connected = integration(&organization, "whatsapp").await;
        assert_eq!((&connected["webhookVerified"], &connected["errorMessage"]), (&json!(true), &Value::Null));
        assert_works(&organization, &account).await;
    });
}

#[test]
fn key_refused_while_sending_is_reported_until_reconnected() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "facebook").await;
        account.customer_writes("7301122334455667", "Hello").await;
        fault(rig, &account.id, "unauthorized", 1, "messages").await;
        let conversation = organization.conversation().await;
        organization.send(&conversation, json!({ "text": "Hello!" })).await;

        let refused = integration(&organization, "facebook").await;

        assert_eq!(refused["status"], "error");
        assert!(text(&refused["errorMessage"]).contains("connect again"), "{refused}");
        // It still receives.
        account.customer_writes("7301122334455667", "Anybody?").await;
        assert_eq!(organization.thread().await.last().unwrap()["text"], "Anybody?");
        let account = organization.connect_account("facebook", &account.id).await;
        assert_eq!(integration(&organization, "facebook").await["status"], "connected");
        assert_works(&organization, &account).await;
    });
}

#[test]
fn disconnected_keeps_history_and_account_and_does_nothing() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;
            account.customer_writes("491713920012", "Before").await;
            let conversation = organization.conversation().await;

            let disconnected = done(&organization, "POST", platform, "/disconnect").await;

            assert_eq!(disconnected["status"], "disconnected");
            assert_eq!(integration(&organization, platform).await, disconnected);
            let (status, answer) = organization.send(&conversation, json!({ "text": "Hello?" })).await;
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("NOT_CONNECTED")), "{answer}");
            if is_named(platform) {
                // The global token is believed without anything remembered.
                let global = format!("Bearer {}", rig.webhook_token());
                let delivered = rig.webhook(&[("authorization", &global)], account.fixture("text")).await;
                assert_eq!(delivered.status, 200);
            }
            assert_eq!(organization.conversation().await, conversation);
            assert_eq!(account.quarantined().await, Vec::<Value>::new());
            let other = Organization::new(rig).await;
            assert_eq!(other.try_connect(platform, &account.id).await.0, 409, "the claim stays");
            // A test says what the provider says, and connects nothing.
            assert_eq!(done(&organization, "POST", platform, "/test").await["status"], "disconnected");

            let account = organization.connect_account(platform, &account.id).await;
            let connected = integration(&organization, platform).await;
            assert_eq!(connected["status"], "connected");
            assert_eq!(connected["createdAt"], disconnected["createdAt"]);
            assert_works(&organization, &account).await;
        }
    });
}

/// Asks to connect with the key that is stored.
async fn connect_again(organization: &Organization<'_>, platform: &str, account: &str) -> (u16, Value) {
    let body = json!({ account_field(platform): account });
    organization.rig.api("POST", &path(platform, "/connect"), &organization.admin, body).await
}

#[test]
fn what_is_disconnected_connects_again_with_its_stored_key() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;
            done(&organization, "POST", platform, "/disconnect").await;
            let other = Organization::new(rig).await;
            assert_eq!(connect_again(&other, platform, &account.id).await.0, 400, "no key of another organization");
            assert_eq!(connect_again(&organization, platform, &new_account()).await.0, 400, "nor of another account");

            let (status, answer) = connect_again(&organization, platform, &account.id).await;

            assert_eq!((status, &answer["data"]["status"]), (200, &json!("connected")), "{answer}");
            assert_eq!(organization.audit().await[0]["action"], "reconnected");
            assert_works(&organization, &account).await;
        }
    });
}

#[test]
fn moved_webhook_is_registered_again_with_the_stored_key() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let ours = registered(rig, "whatsapp", &account.id).await;
        register_elsewhere(rig, "whatsapp", &account.id).await;
        assert_eq!(done(&organization, "POST", "whatsapp", "/test").await["webhookElsewhere"], true);

        let (status, answer) = connect_again(&organization, "whatsapp", &account.id).await;

        assert_eq!((status, &answer["data"]["webhookElsewhere"]), (200, &json!(false)), "{answer}");
        assert_eq!(registered(rig, "whatsapp", &account.id).await, ours);
        assert_works(&organization, &account).await;
    });
}

/// The webhook remembers owners for a minute: that may cost nobody a message.
#[tokio::test]
async fn a_message_that_comes_right_after_connecting_again_is_kept() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Before").await;
    done(&organization, "POST", "whatsapp", "/disconnect").await;
    // As after a minute: nobody remembers that it was connected.
    rig.kill("receive-webhook").await;
    account.customer_writes("491713920012", "Meanwhile").await;

    let account = organization.connect_account("whatsapp", &account.id).await;
    account.customer_writes("491713920012", "After").await;

    let thread = organization.thread().await;
    let texts: Vec<&str> = thread.iter().map(|message| text(&message["text"])).collect();
    assert_eq!(texts, ["Before", "After"]);
}

#[test]
fn a_new_key_is_sealed_anew_and_the_same_stays_as_it_is() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "instagram").await;
        let sealed = async || {
            let key =
                json!({ "pk": { "S": format!("ORG#{}", organization.id) }, "sk": { "S": "INTEGRATION#instagram" } });
            let item = rig.dynamodb("GetItem", json!({ "TableName": table(rig).await, "Key": key })).await;
            item["Item"]["credentials"]["M"]["sealedKey"]["M"].clone()
        };
        let before = sealed().await;
        assert!(before.is_object() && !before.to_string().contains("sim_"), "{before}");

        let (status, _) = organization.try_connect("instagram", &account.id).await;

        assert_eq!((status, sealed().await), (200, before.clone()));
        assert_eq!(organization.audit().await[0]["action"], "reconnected", "nothing was rotated");

        let generated = rig.simulate("key", json!({ "platform": "instagram", "id": account.id })).await;
        let (status, _) = connect_with(&organization, "instagram", &account.id, text(&generated["apiKey"])).await;

        assert_eq!(status, 200);
        assert_eq!(organization.audit().await[0]["action"], "key_rotated");
        let after = sealed().await;
        for part in ["wrappedKey", "iv", "ciphertext", "tag"] {
            assert_ne!(after[part], before[part], "{part}");
        }
        assert_works(&organization, &account).await;
    });
}

#[test]
fn other_account_replaces_the_first_which_becomes_free() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, first) = Organization::with(rig, platform).await;
            first.customer_writes("491713920012", "To the first").await;
            let conversation = organization.conversation().await;

            let (status, answer) = organization.try_connect(platform, &new_account()).await;

            assert_eq!(status, 200, "{answer}");
            assert_ne!(answer["data"]["credentials"][account_field(platform)], first.id.as_str());
            let list = organization.get("/api/v1/social-integrations").await;
            assert_eq!(list["items"].as_array().unwrap().len(), 1);
            // A reply would come from another account than the one that the customer wrote to.
            let (status, answer) = organization.send(&conversation, json!({ "text": "Hello" })).await;
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("ACCOUNT_REPLACED")), "{answer}");
            let second =
                text(&integration(&organization, platform).await["credentials"][account_field(platform)]).to_owned();
            let second = organization.connect_account(platform, &second).await;
            assert_works(&organization, &second).await;
            assert_claimable(rig, platform, &first.id).await;
        }
    });
}

#[test]
fn what_is_deleted_is_forgotten_but_for_its_conversations() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;
            account.customer_writes("491713920012", "Keep me").await;
            let conversation = organization.conversation().await;
            let thread = organization.thread().await;

            let (status, answer) = call(&organization, "DELETE", platform, "").await;

            assert_eq!((status, &answer["data"]), (200, &Value::Null), "{answer}");
            assert!(!text(&answer["message"]).is_empty());
            assert_eq!(integration(&organization, platform).await, Value::Null);
            assert_eq!(organization.conversation().await, conversation);
            assert_eq!(organization.thread().await, thread);
            let (status, answer) = organization.send(&conversation, json!({ "text": "Hello" })).await;
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("NOT_CONNECTED")), "{answer}");

            // The account is another organization's now, and the token that was registered before opens nothing there.
            let other = Organization::new(rig).await;
            let theirs = other.connect_account(platform, &account.id).await;
            assert_ne!(theirs.authorization, account.authorization);
            account.receive("text").await;
            assert_eq!(other.conversations("").await, Vec::<Value>::new());
            assert_works(&other, &theirs).await;
        }
    });
}

#[test]
fn unconnected_platform_cannot_be_tested_or_deleted() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        assert_eq!(organization.get("/api/v1/social-integrations").await["items"], json!([]));
        for platform in PLATFORMS {
            assert_eq!(integration(&organization, platform).await, Value::Null);
            for (method, action) in [("POST", "/test"), ("POST", "/disconnect"), ("DELETE", "")] {
                let (status, answer) = call(&organization, method, platform, action).await;
                assert_eq!((status, &answer["error"]["code"]), (404, &json!("INTEGRATION_NOT_FOUND")), "{answer}");
            }
        }
    });
}

#[test]
fn only_an_admin_changes_integrations() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let before = integration(&organization, "whatsapp").await;
        let body = json!({ "apiKey": api_key("whatsapp", &account.id), "phoneNumberId": account.id });
        for token in [&organization.operator, &organization.service] {
            for (method, action) in [("POST", "/connect"), ("POST", "/test"), ("POST", "/disconnect"), ("DELETE", "")] {
                let (status, answer) = rig.api(method, &path("whatsapp", action), token, body.clone()).await;
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (403, &json!("FORBIDDEN")),
                    "{method} {action}: {answer}"
                );
            }
        }
        for of_people in ["/api/v1/social-integrations".to_owned(), path("whatsapp", "")] {
            assert_eq!(rig.api("GET", &of_people, &organization.service, Value::Null).await.0, 403);
        }
        assert_eq!(integration(&organization, "whatsapp").await, before);
    });
}

#[test]
fn racing_attempts_end_in_one_working_integration() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let account = new_account();

        let attempts = join_all((0..4).map(|_| organization.try_connect("whatsapp", &account))).await;

        assert!(attempts.iter().any(|(status, _)| *status < 300), "{attempts:?}");
        for (status, answer) in &attempts {
            let is_conflict = *status == 409 && answer["error"]["code"] == "CONFLICT";
            assert!(*status < 300 || is_conflict, "{status} {answer}");
        }
        let connected = eventually("it is connected", SOON, async || {
            let found = integration(&organization, "whatsapp").await;
            (found["status"] == "connected").then_some(found)
        })
        .await;
        assert_eq!(connected["credentials"]["phoneNumberId"], account.as_str());
        let authorization = text(&registered(rig, "whatsapp", &account).await["headers"]["Authorization"]).to_owned();
        assert_works(&organization, &Account { rig, platform: "whatsapp", id: account, authorization }).await;
    });
}
