//! Each alarm of the template: its condition is provoked, it rings, and it stops when time passes without the condition.

use std::collections::BTreeSet;

use ::shared::webhook_token::WebhookKeys;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use support::{Rig, Setup, eventually};

use crate::isolation::put;
use crate::shared::{self, Account, Organization, SOON, api_key, now, own_rig, text};

/// What each test provokes: together, every alarm.
const OF_FAILURES: [&str; 4] = ["WebhookServerErrors", "ErrorsLogged", "WebhookCrashes", "ApiServerErrors"];
const OF_LOAD: [&str; 3] = ["WebhookSlow", "WebhookThrottled", "TableThrottled"];
const OF_EVENTS: [&str; 6] = [
    "DeliveriesRefused",
    "EventsQuarantined",
    "EventsUnroutable",
    "WebhookLagging",
    "SendsFailing",
    "SendsUndelivered",
];
const OF_THE_JOURNAL: [&str; 2] = ["JournalBehind", "JournalIncomplete"];
const OF_CHECKS: [&str; 3] = ["IntegrationsRefused", "WebhooksElsewhere", "ChecksFailing"];

/// Longer than any alarm looks back.
const LONG_SECS: u64 = 3 * 3600;
/// Every call of the table, however often it is repeated.
const EVERY_CALL: u64 = 10_000;
const WEBHOOK: &str = "receive-webhook";
const JOURNAL: &str = "write-journal";

#[tokio::test]
async fn an_alarm_rings_when_something_fails() {
    ring_and_stop(&OF_FAILURES).await;
}

#[tokio::test]
async fn an_alarm_rings_when_there_is_too_much_to_do() {
    ring_and_stop(&OF_LOAD).await;
}

#[tokio::test]
async fn an_alarm_rings_by_what_deliveries_and_replies_come_to() {
    ring_and_stop(&OF_EVENTS).await;
}

#[tokio::test]
async fn an_alarm_rings_by_what_the_check_finds() {
    ring_and_stop(&OF_CHECKS).await;
}

#[tokio::test]
async fn an_alarm_rings_when_the_journal_is_late_or_lacks_something() {
    ring_and_stop(&OF_THE_JOURNAL).await;
}

#[test]
fn every_alarm_of_the_template_is_provoked() {
    shared::run(async |rig| {
        let provoked = [&OF_FAILURES[..], &OF_LOAD, &OF_EVENTS, &OF_CHECKS, &OF_THE_JOURNAL].concat();
        let alarms = rig.alarms().await;

        let names: BTreeSet<_> = alarms.iter().map(|alarm| text(&alarm["name"])).collect();
        assert_eq!(names, BTreeSet::from_iter(provoked));
        let says_what_to_do = |alarm: &Value| text(&alarm["description"]).len() > 100;
        assert!(alarms.iter().all(says_what_to_do), "{alarms:#?}");
    });
}

async fn ring_and_stop(names: &[&str]) {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    for name in names {
        let alarm = async || rig.alarms().await.into_iter().find(|alarm| alarm["name"] == *name).unwrap();
        assert_eq!(alarm().await["state"], "OK", "{name}");

        provoke(name, &organization, &account).await;
        // What a function writes is read a moment later.
        let rings = async || Some(alarm().await).filter(|alarm| alarm["state"] == "ALARM");
        eventually(&format!("{name} rings"), SOON, rings).await;

        rig.advance(LONG_SECS).await;
        assert_eq!(alarm().await["state"], "OK", "{name}");
    }
}

async fn provoke(alarm: &str, organization: &Organization<'_>, account: &Account<'_>) {
    let rig = organization.rig;
    match alarm {
        "WebhookServerErrors" | "ErrorsLogged" => {
            rig.service_fault("table", "error", EVERY_CALL).await;
            assert_eq!(account.deliver(message(account, now())).await.status, 503);
            rig.service_fault("table", "error", 0).await;
        }
        "WebhookCrashes" => {
            rig.service_fault("table", "timeout", 2).await;
            let before = given(rig).await;
            let (answer, killed) = tokio::join!(account.deliver(message(account, now())), async {
                eventually("the webhook works", SOON, async || (given(rig).await > before).then_some(())).await;
                rig.kill(WEBHOOK).await
            });
            assert_eq!(killed, 1);
            assert_eq!(answer.status, 502);
            rig.service_fault("table", "timeout", 0).await;
        }
        "ApiServerErrors" => {
            rig.service_fault("table", "error", EVERY_CALL).await;
            for _ in 0..5 {
                let (status, _) = rig.api("GET", "/api/v1/conversations", &organization.operator, Value::Null).await;
                assert_eq!(status, 503);
            }
            rig.service_fault("table", "error", 0).await;
        }
        "DeliveriesRefused" => {
            for authorization in refused_tokens(account) {
                let headers = [("authorization", authorization.as_str())];
                assert_eq!(rig.webhook(&headers, message(account, now())).await.status, 401);
            }
        }
        "WebhookSlow" => {
            in_each_period(rig, 3, 300, async || {
                rig.service_fault("table", "timeout", 1).await;
                account.receive_body(message(account, now())).await;
            })
            .await;
        }
        "WebhookThrottled" => throttled_deliveries_come_again(organization, account).await,
        "TableThrottled" => {
            in_each_period(rig, 3, 60, async || {
                rig.service_fault("table", "throttled", 2).await;
                account.receive_body(message(account, now())).await;
            })
            .await;
        }
        "EventsQuarantined" => account.receive_body("poison, no message").await,
        "EventsUnroutable" => {
            let nobody = Account { id: "999000999".to_owned(), ..account.clone() };
            for _ in 0..20 {
                nobody.receive_body(message(&nobody, now())).await;
            }
        }
        "WebhookLagging" => {
            in_each_period(rig, 3, 300, async || account.receive_body(message(account, now() - 3600)).await).await;
        }
        "SendsFailing" => {
            account.customer_writes("491713920012", "Hello").await;
            let conversation = organization.conversation().await;
            rig.fault("reject:131026", 5).await;
            for _ in 0..5 {
                assert_eq!(organization.send(&conversation, json!({ "text": "Hello" })).await.0, 422);
            }
        }
        "SendsUndelivered" => account.receive_body(undelivered(account, 20)).await,
        "IntegrationsRefused" => {
            connect(rig, 5).await;
            rig.simulate("fault", json!({ "fault": "unauthorized", "calls": 5, "path": "health_status" })).await;
            assert_eq!(check(rig).await, 200);
        }
        "WebhooksElsewhere" => {
            for account in connect(rig, 5).await {
                let url = format!("{}/v1/configs/webhook", rig.provider);
                let key = api_key("whatsapp", &account.id);
                let elsewhere = r#"{"url":"https://else.example.com"}"#;
                let answer = rig.request("POST", &url, &[("d360-api-key", &key)], elsewhere).await;
                assert_eq!(answer.status, 200);
            }
            assert_eq!(check(rig).await, 200);
        }
        "ChecksFailing" => {
            rig.service_fault("table", "error", EVERY_CALL).await;
            in_each_period(rig, 2, 3600, async || assert_eq!(check(rig).await, 502)).await;
            rig.service_fault("table", "error", 0).await;
        }
        "JournalBehind" => journal_behind(rig, account).await,
        "JournalIncomplete" => journal_incomplete(rig).await,
        unknown => panic!("nothing provokes {unknown}"),
    }
}

/// The stream waits for its function.
async fn journal_behind(rig: &Rig, account: &Account<'_>) {
    rig.reserve(JOURNAL, 0).await;
    account.receive_body(message(account, now())).await;
    tried_to_tell(rig).await;
    rig.advance(61).await;
    in_each_period(rig, 3, 60, async || tried_to_tell(rig).await).await;
    rig.unreserve(JOURNAL).await;
    all_is_told(rig).await;
}

/// A message is not told, long after it came by what the table says.
async fn journal_incomplete(rig: &Rig) {
    let (organization, account) = Organization::with(rig, "whatsapp").await;
    all_is_told(rig).await;
    rig.reserve(JOURNAL, 0).await;
    account.receive_body(message(&account, now())).await;
    let began = json!(((now() - 3600) * 1000).to_string());
    let arrived = json!(((now() - 1200) * 1_000_000).to_string());
    let of_this = |item: &Value| text(&item["pk"]["S"]).starts_with(&format!("ORG#{}#", organization.id));
    for mut item in shared::everything(rig).await.into_iter().filter(of_this) {
        match text(&item["sk"]["S"]) {
            "START" => item["beganAt"]["N"] = began.clone(),
            sk if sk.starts_with("MESSAGE#") => item["receivedAt"]["N"] = arrived.clone(),
            _ => continue,
        }
        put(rig, &item).await;
    }
    assert_eq!(check(rig).await, 200);
    rig.unreserve(JOURNAL).await;
    all_is_told(rig).await;
}

/// Waits until the stream's batch has been given to its function once more.
async fn tried_to_tell(rig: &Rig) {
    let throttled = async || {
        let metrics = rig.metrics().await;
        let is_it = |metric: &&Value| metric["name"] == "Throttles" && metric["dimensions"]["FunctionName"] == JOURNAL;
        metrics.iter().find(is_it).and_then(|metric| metric["count"].as_u64()).unwrap_or(0)
    };
    let before = throttled().await;
    eventually("it is tried again", SOON, async || (throttled().await > before).then_some(())).await;
}

/// Waits until the journal has everything.
async fn all_is_told(rig: &Rig) {
    let url = format!("{}/local/stream", rig.api);
    let is_told = async || (rig.request("GET", &url, &[], "").await.json()["waiting"] == 0).then_some(());
    eventually("all is told", SOON, is_told).await;
}

/// Does it once in each of the last periods.
async fn in_each_period(rig: &Rig, periods: usize, secs: u64, act: impl AsyncFn()) {
    for period in 0..periods {
        if period > 0 {
            rig.advance(secs).await;
        }
        act().await;
    }
}

/// A delivery of a new message, written at that time.
fn message(account: &Account<'_>, at: u64) -> String {
    account.text_delivery(&format!("wamid.{}", shared::unique()), "491713920012", at, "Hello")
}

/// Authorizations of our form that prove nothing: of another secret, and damaged.
fn refused_tokens(account: &Account<'_>) -> [String; 3] {
    let other = WebhookKeys::derive(&"the secret of another stack".into()).unwrap().service_token();
    let other = format!("Bearer {}", other.expose_secret());
    let damaged = format!("{}AAAA", &account.authorization[..account.authorization.len() - 4]);
    [other.clone(), damaged, other]
}

/// How many requests the webhook has been given.
async fn given(rig: &Rig) -> u64 {
    let processes = rig.processes().await.into_iter().filter(|process| process["function"] == WEBHOOK);
    processes.map(|process| process["invocations"].as_u64().unwrap()).sum()
}

/// While no concurrency is left for the webhook nothing is stored, and once there is some everything is, once.
async fn throttled_deliveries_come_again(organization: &Organization<'_>, account: &Account<'_>) {
    let rig = organization.rig;
    let before = organization.conversations("").await.len();
    rig.reserve(WEBHOOK, 0).await;
    for customer in ["491713920001", "491713920002", "491713920003"] {
        let told = rig.simulate_inbound("whatsapp", &account.id, customer, "Hello").await;
        assert_eq!((&told["delivered"], &told["status"]), (&json!(false), &json!(429)));
    }
    assert_eq!(organization.conversations("").await.len(), before);
    assert_eq!(rig.undelivered().await.len(), 3);

    rig.unreserve(WEBHOOK).await;
    eventually("they come again", SOON, async || rig.undelivered().await.is_empty().then_some(())).await;

    let conversations = organization.conversations("").await;
    assert_eq!(conversations.len(), before + 3);
    for conversation in &conversations[..3] {
        assert_eq!(organization.messages(conversation).await.len(), 1);
    }
}

/// The word that so many replies could not be delivered.
fn undelivered(account: &Account<'_>, count: usize) -> String {
    let statuses: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "id": format!("wamid.reply.{number}"), "status": "failed", "timestamp": now().to_string(), "recipient_id": "491",
                "errors": [{ "code": 131_026, "title": "Message undeliverable" }],
            })
        })
        .collect();
    let value =
        json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id }, "statuses": statuses });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

/// So many new organizations, each with an account.
async fn connect(rig: &Rig, count: usize) -> Vec<Account<'_>> {
    let mut accounts = Vec::new();
    for _ in 0..count {
        accounts.push(Organization::with(rig, "whatsapp").await.1);
    }
    accounts
}

/// Runs the check; gives the status.
async fn check(rig: &Rig) -> u16 {
    rig.request("POST", &format!("{}/local/invoke?function=check-integrations", rig.api), &[], "{}").await.status
}
