//! The figures in the functions' logs: their format, and that they say what happened. Those that alarms watch ring in `alarms`.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Rig, Setup, eventually};

use crate::shared::{Organization, now, own_rig};

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

#[tokio::test]
async fn a_delivery_is_one_line_of_a_few_hundred_bytes() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let delivery = account.text_delivery("wamid.1", "491713920012", now() - 2, "Hello");

    let stored = moved(&rig, "receive-webhook", "EventsStored", async || account.receive_body(delivery.clone()).await);
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

    let duplicates =
        moved(&rig, "receive-webhook", "EventsDuplicate", async || account.receive_body(delivery.clone()).await);
    assert_is(duplicates.await, 1.0);
}

#[tokio::test]
async fn what_did_not_go_well_is_counted_by_how_it_went() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Hello").await;
    let conversation = organization.conversation().await;
    let webhook = "receive-webhook";

    let quarantined =
        moved(&rig, webhook, "EventsQuarantined", async || account.receive_body("poison, no message").await).await;
    assert_is(quarantined, 1.0);
    assert_is(sum(&rig, webhook, "EventsUnroutable"), 0.0);
    let nobody = account.fixture("text").replace(&account.id, "999000999");
    assert_is(moved(&rig, webhook, "EventsUnroutable", async || account.receive_body(nobody).await).await, 1.0);
    let failed = moved(&rig, webhook, "EventsFailed", async || {
        rig.service_fault("table", "error", 1000).await;
        let answer = account.deliver(account.text_delivery("wamid.1", "491713920012", now(), "Hello")).await;
        assert_eq!(answer.status, 503);
        rig.service_fault("table", "error", 0).await;
    });
    assert_is(failed.await, 1.0);

    let fail = async |fault: &str| {
        rig.fault(fault, 1).await;
        organization.send(&conversation, json!({ "text": "Hello" })).await;
    };
    assert_is(moved(&rig, "send-message", "SendsFailed", async || fail("reject:131026").await).await, 1.0);
    assert_eq!(lines(&rig, "send-message").last().unwrap()["ProviderCode"], "131026");
    let unknown = moved(&rig, "send-message", "SendsUnknown", async || fail("drop_after_accept").await).await;
    assert_is(unknown, 1.0);

    let silent = Organization::with(&rig, "whatsapp").await.1;
    rig.simulate("fault", json!({ "fault": "server_error", "calls": 3, "accountId": silent.id })).await;
    let check = async || drop(rig.invoke("check-integrations", json!({})).await);
    assert_is(moved(&rig, "check-integrations", "ChecksUnanswered", check).await, 1.0);
    assert_is(sum(&rig, "check-integrations", "IntegrationsChecked"), 2.0);
}
