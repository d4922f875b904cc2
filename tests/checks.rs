//! The daily check: what it finds out about each integration, and what it repairs.

use serde_json::{Value, json};
use support::{Rig, Setup};

use crate::shared::{Account, Organization, api_key, own_rig, table, text};

const OTHER_URL: &str = "https://somebody-else.example.com/hook";

async fn check(rig: &Rig) -> Value {
    rig.invoke("check-integrations", json!({})).await
}

async fn integration(organization: &Organization<'_>, platform: &str) -> Value {
    organization.get(&format!("/api/v1/social-integrations/{platform}")).await
}

/// As if a day had passed.
async fn a_day_later(rig: &Rig, organization: &Organization<'_>, platform: &str) {
    let key =
        json!({ "pk": { "S": format!("ORG#{}", organization.id) }, "sk": { "S": format!("INTEGRATION#{platform}") } });
    let update = json!({
        "TableName": table(rig).await, "Key": key, "ConditionExpression": "attribute_exists(inboxKey)",
        "UpdateExpression": "SET inboxSort = :due", "ExpressionAttributeValues": { ":due": { "S": "0000000000000#x" } },
    });
    assert_eq!(rig.dynamodb("UpdateItem", update).await, json!({}));
}

async fn point_elsewhere(rig: &Rig, account: &Account<'_>) {
    let url = format!("{}/v1/configs/webhook", rig.provider);
    let key = api_key(account.platform, &account.id);
    let body = json!({ "url": OTHER_URL }).to_string();
    assert_eq!(rig.request("POST", &url, &[("d360-api-key", &key)], body).await.status, 200);
}

async fn registered(rig: &Rig, account: &Account<'_>) -> Value {
    let url = format!("{}/v1/configs/webhook", rig.provider);
    let key = api_key(account.platform, &account.id);
    rig.request("GET", &url, &[("d360-api-key", &key)], "").await.json()
}

async fn connect_repairing(organization: &Organization<'_>, account: &Account<'_>) {
    let body = json!({
        "apiKey": api_key(account.platform, &account.id), "phoneNumberId": account.id, "repairWebhook": true,
    });
    let path = format!("/api/v1/social-integrations/{}/connect", account.platform);
    let (status, answer) = organization.rig.api("POST", &path, &organization.admin, body).await;
    assert_eq!((status, &answer["data"]["repairWebhook"]), (200, &json!(true)), "{answer}");
}

#[tokio::test]
async fn each_integration_is_checked_once_a_day() {
    let rig = own_rig(Setup::default());
    let mut organizations = Vec::new();
    for platform in ["whatsapp", "instagram", "facebook", "whatsapp", "instagram"] {
        organizations.push((Organization::with(&rig, platform).await.0, platform));
    }

    let first = check(&rig).await;
    assert_eq!((&first["checked"], &first["more"]), (&json!(5), &json!(false)), "{first}");
    assert_eq!(first["unanswered"], 0, "{first}");
    assert_eq!(check(&rig).await["checked"], 0, "none is due again");

    let (organization, platform) = &organizations[3];
    let before = integration(organization, platform).await;
    assert_eq!((&before["status"], &before["repairWebhook"]), (&json!("connected"), &json!(false)));
    a_day_later(&rig, organization, platform).await;
    assert_eq!(check(&rig).await["checked"], 1);
    let after = integration(organization, platform).await;
    assert!(text(&after["health"]["checkedAt"]) > text(&before["health"]["checkedAt"]), "{before} {after}");

    // A disconnected one is left alone.
    let path = format!("/api/v1/social-integrations/{platform}/disconnect");
    a_day_later(&rig, organization, platform).await;
    assert_eq!(rig.api("POST", &path, &organization.admin, Value::Null).await.0, 200);
    assert_eq!(check(&rig).await["checked"], 0);
    assert_eq!(integration(organization, platform).await["status"], "disconnected");
}

#[tokio::test]
async fn refused_key_sets_error_and_a_good_one_clears_it() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    check(&rig).await;
    let fault = async |fault: &str, calls: u64| {
        let body = json!({ "fault": fault, "calls": calls, "accountId": account.id, "path": "health_status" });
        rig.simulate("fault", body).await;
        a_day_later(&rig, &organization, "whatsapp").await;
        check(&rig).await
    };

    let found = fault("unauthorized", 1).await;
    assert_eq!((&found["checked"], &found["refused"]), (&json!(1), &json!(1)), "{found}");
    let refused = integration(&organization, "whatsapp").await;
    assert_eq!(refused["status"], "error");
    assert!(text(&refused["errorMessage"]).contains("Generate a new key"), "{refused}");

    // Whoever cannot be reached is no news, and is asked again.
    let found = fault("server_error", 3).await;
    assert_eq!((&found["unanswered"], &found["refused"]), (&json!(1), &json!(0)), "{found}");
    assert_eq!(integration(&organization, "whatsapp").await, refused);

    a_day_later(&rig, &organization, "whatsapp").await;
    check(&rig).await;
    let recovered = integration(&organization, "whatsapp").await;
    assert_eq!((&recovered["status"], &recovered["errorMessage"]), (&json!("connected"), &Value::Null));
}

#[tokio::test]
async fn misdirected_webhook_is_repaired_only_where_allowed() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    point_elsewhere(&rig, &account).await;

    let found = check(&rig).await;
    assert_eq!((&found["elsewhere"], &found["repaired"]), (&json!(1), &json!(0)), "{found}");
    let told = integration(&organization, "whatsapp").await;
    assert_eq!((&told["status"], &told["webhookVerified"]), (&json!("connected"), &json!(false)));
    assert!(text(&told["errorMessage"]).contains("another webhook"), "{told}");
    assert_eq!(registered(&rig, &account).await["url"], OTHER_URL);

    connect_repairing(&organization, &account).await;
    point_elsewhere(&rig, &account).await;
    // The provider does not take it the first time: it was ours once, so it is tried again.
    let body = json!({ "fault": "server_error", "calls": 4, "accountId": account.id, "path": "webhook" });
    rig.simulate("fault", body).await;
    check(&rig).await;
    for _ in 0..2 {
        a_day_later(&rig, &organization, "whatsapp").await;
        check(&rig).await;
    }
    assert_eq!(registered(&rig, &account).await["url"], rig.webhook);
    let repaired = integration(&organization, "whatsapp").await;
    assert_eq!((&repaired["webhookVerified"], &repaired["errorMessage"]), (&json!(true), &Value::Null));
    let trail = organization.audit().await;
    let entry = trail.iter().find(|entry| entry["action"] == "webhook_repaired").unwrap();
    assert_eq!((&entry["by"], &entry["accountId"]), (&Value::Null, &json!(account.id)));

    // The token that was registered is good.
    let account = organization.rig.simulate_inbound("whatsapp", &account.id, "491713920012", "Hello").await;
    assert_eq!(account["delivered"], true);
    assert_eq!(organization.conversation().await["lastMessage"]["text"], "Hello");
}

#[tokio::test]
async fn unusual_silence_is_told_until_a_message_comes() {
    const DAY_SECS: u64 = 24 * 60 * 60;
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let last = crate::shared::now() - 2 * DAY_SECS;
    for number in 0..5 {
        let customer = format!("49171392001{number}");
        let id = format!("wamid.{}", crate::shared::unique());
        account.receive_body(account.text_delivery(&id, &customer, last - number * 60, "Hello")).await;
    }
    // It has been connected for long.
    let key = json!({ "pk": { "S": format!("ORG#{}", organization.id) }, "sk": { "S": "INTEGRATION#whatsapp" } });
    let update = json!({
        "TableName": table(&rig).await, "Key": key, "UpdateExpression": "SET notedConnectedAt = :long",
        "ExpressionAttributeValues": { ":long": { "N": "0" } },
    });
    assert_eq!(rig.dynamodb("UpdateItem", update).await, json!({}));

    let found = check(&rig).await;

    assert_eq!((&found["checked"], &found["quiet"]), (&json!(1), &json!(1)), "{found}");
    let conversations = organization.conversations("").await;
    let quiet = integration(&organization, "whatsapp").await;
    assert_eq!(quiet["quietSince"], conversations[0]["lastMessage"]["timestamp"], "{quiet}");
    assert_eq!((&quiet["status"], &quiet["errorMessage"]), (&json!("connected"), &Value::Null), "it is no error");
    // Who owns an account is believed for a minute; after a day of silence nobody believes anything.
    rig.kill("receive-webhook").await;
    account.customer_writes("491713920019", "Is anybody there?").await;
    assert_eq!(integration(&organization, "whatsapp").await["quietSince"], Value::Null);
    a_day_later(&rig, &organization, "whatsapp").await;
    assert_eq!(check(&rig).await["quiet"], 0);
}

#[tokio::test]
async fn what_connecting_left_in_quarantine_the_check_receives() {
    let rig = own_rig(Setup::default());
    let organization = Organization::new(&rig).await;
    let number = "70050060700";
    let authorization = format!("Bearer {}", rig.webhook_token());
    let deliver = async |count: usize| {
        let account =
            Account { rig: &rig, platform: "whatsapp", id: number.to_owned(), authorization: authorization.clone() };
        let first = crate::shared::unique();
        for message in 0..count {
            let body = account.text_delivery(
                &format!("wamid.{first}.{message}"),
                "491713920012",
                crate::shared::now(),
                "Early",
            );
            account.receive_body(body).await;
        }
    };
    deliver(130).await;

    organization.connect_account("whatsapp", number).await;
    let at_once = organization.thread().await.len();
    assert!((1..130).contains(&at_once), "some at once, the rest later: {at_once}");
    check(&rig).await;

    assert_eq!(organization.thread().await.len(), 130);
    assert_eq!(organization.quarantine().await, Vec::<Value>::new());
}
