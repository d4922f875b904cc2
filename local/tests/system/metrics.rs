//! What the alarms watch: each condition is provoked, and its metric is seen to move in the function's log.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    shared::{Account, Organization, api_key, now, own_rig},
    support::{Rig, Setup, eventually},
};

/// The lines of embedded metrics in a function's log.
pub fn lines(rig: &Rig, function: &str) -> Vec<Value> {
    let log = rig.log(function);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["_aws"].is_object()).collect()
}

/// What a line says of a metric, or the sum of its values.
pub fn value(line: &Value, name: &str) -> f64 {
    match &line[name] {
        Value::Array(values) => values.iter().filter_map(Value::as_f64).sum(),
        value => value.as_f64().unwrap_or(0.0),
    }
}

/// The sum of a metric since the start.
fn sum(rig: &Rig, function: &str, name: &str) -> f64 {
    lines(rig, function).iter().map(|line| value(line, name)).sum()
}

/// Does it, and says by how much the metric moved.
async fn moved(rig: &Rig, function: &str, name: &str, provoke: impl AsyncFnOnce()) -> f64 {
    let before = sum(rig, function, name);
    provoke().await;
    let changed = async || Some(sum(rig, function, name)).filter(|after| (after - before).abs() > f64::EPSILON);
    eventually(&format!("{name} moves"), Duration::from_secs(10), changed).await - before
}

fn assert_is(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < f64::EPSILON, "{actual} instead of {expected}");
}

async fn status(rig: &Rig, account: &Account<'_>, status: &str) {
    let error = json!([{ "code": 131_026, "title": "Message undeliverable" }]);
    let told = json!({ "id": "wamid.any", "status": status, "timestamp": now().to_string(), "recipient_id": "491", "errors": error });
    let value =
        json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id }, "statuses": [told] });
    let change = json!({ "field": "messages", "value": value });
    let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] });
    let authorization = [("authorization", account.authorization.as_str())];
    assert_eq!(rig.webhook(&authorization, body.to_string()).await.status, 200);
}

#[tokio::test]
async fn a_delivery_is_one_line_of_a_few_hundred_bytes() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;

    let stored = moved(&rig, "receive-webhook", "EventsStored", async || {
        account.receive_body(account.text_delivery("wamid.1", "491713920012", now() - 2, "Hello")).await;
    });
    assert_is(stored.await, 1.0);

    let log = rig.log("receive-webhook");
    let mine: Vec<_> = log.lines().collect();
    assert_eq!(mine.len(), 1, "{log}");
    assert!(mine[0].len() < 500, "{} bytes: {}", mine[0].len(), mine[0]);
    let line: Value = serde_json::from_str(mine[0]).unwrap();
    assert_eq!((&line["Platform"], &line["organizationId"]), (&json!("whatsapp"), &json!(organization.id)));
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!((&directive["Namespace"], &directive["Dimensions"]), (&json!("local"), &json!([["Platform"]])));
    assert!(directive["Metrics"].as_array().unwrap().contains(&json!({ "Name": "EventsStored", "Unit": "Count" })));
    assert!((2000.0..60_000.0).contains(&value(&line, "WebhookLag")), "{line}");

    let duplicates = moved(&rig, "receive-webhook", "EventsDuplicate", async || {
        account.receive_body(account.text_delivery("wamid.1", "491713920012", now() - 2, "Hello")).await;
    });
    assert_is(duplicates.await, 1.0);
}

#[tokio::test]
async fn each_condition_of_an_alarm_moves_the_metric_that_it_watches() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Hello").await;
    let conversation = organization.conversation().await;
    let webhook = "receive-webhook";

    // EventsQuarantined, EventsUnroutable
    let quarantined =
        moved(&rig, webhook, "EventsQuarantined", async || account.receive_body("poison, no message").await).await;
    assert_is(quarantined, 1.0);
    assert_is(sum(&rig, webhook, "EventsUnroutable"), 0.0);
    let nobody = account.fixture("text").replace(&account.id, "999000999");
    assert_is(moved(&rig, webhook, "EventsUnroutable", async || account.receive_body(nobody).await).await, 1.0);
    // WebhookLagging: what was delayed for an hour
    let late = account.text_delivery("wamid.late", "491713920012", now() - 3600, "Late");
    let lag = moved(&rig, webhook, "WebhookLag", async || account.receive_body(late).await).await;
    assert!((3_600_000.0..3_700_000.0).contains(&lag), "{lag}");
    // SendsFailing
    let fail = async |fault: &str| {
        let body = json!({ "fault": fault, "calls": 1, "accountId": account.id, "path": "messages" });
        rig.simulate("fault", body).await;
        organization.send(&conversation, json!({ "text": "Hello" })).await;
    };
    let failed = async |fault: &str| moved(&rig, "send-message", "SendsFailed", async || fail(fault).await).await;
    assert_is(failed("reject:131026").await, 1.0);
    assert_eq!(lines(&rig, "send-message").last().unwrap()["ProviderCode"], "131026");
    let unknown = moved(&rig, "send-message", "SendsUnknown", async || fail("drop_after_accept").await).await;
    assert_is(unknown, 1.0);
    assert_is(moved(&rig, webhook, "SendsUndelivered", async || status(&rig, &account, "failed").await).await, 1.0);
    // IntegrationsRefused, and what is checked besides
    let check = async || drop(rig.invoke("check-integrations", json!({})).await);
    let body = json!({ "fault": "unauthorized", "calls": 1, "accountId": account.id, "path": "health_status" });
    rig.simulate("fault", body).await;
    assert_is(moved(&rig, "check-integrations", "IntegrationsRefused", check).await, 1.0);
    assert_is(sum(&rig, "check-integrations", "IntegrationsChecked"), 1.0);
    let elsewhere = Organization::with(&rig, "whatsapp").await.1;
    let url = format!("{}/v1/configs/webhook", rig.provider);
    let key = api_key("whatsapp", &elsewhere.id);
    let answer = rig.request("POST", &url, &[("d360-api-key", &key)], r#"{"url":"https://else.example.com"}"#).await;
    assert_eq!(answer.status, 200);
    assert_is(moved(&rig, "check-integrations", "WebhooksElsewhere", check).await, 1.0);
    let silent = Organization::with(&rig, "whatsapp").await.1;
    rig.simulate("fault", json!({ "fault": "server_error", "calls": 3, "accountId": silent.id })).await;
    assert_is(moved(&rig, "check-integrations", "ChecksUnanswered", check).await, 1.0);
}

#[tokio::test]
async fn what_must_be_looked_at_is_a_line_of_level_error() {
    let rig = own_rig(Setup::default());
    let (_, account) = Organization::with(&rig, "whatsapp").await;
    let table = crate::shared::table(&rig).await;
    let delete = rig.dynamodb("DeleteTable", json!({ "TableName": table })).await;
    assert!(delete["TableDescription"].is_object(), "{delete}");

    let answer = account.deliver(account.text_delivery("wamid.1", "491713920012", now(), "Hello")).await;

    // The conditions of WebhookServerErrors, and of ErrorsLogged.
    assert_eq!(answer.status, 503);
    assert!(rig.log("receive-webhook").lines().any(|line| line.contains(r#""level":"ERROR""#)));
    assert_is(sum(&rig, "receive-webhook", "EventsFailed"), 1.0);
}
