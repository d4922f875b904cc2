//! What the functions log: enough to know what happened, and nothing that belongs to somebody. Every rig searches its logs for
//! what was sent to it (`support::canaries`); here is what makes them say the most.

use std::fs;

use serde_json::{Value, json};
use support::{Rig, Setup, eventually};

use crate::{
    isolation::put,
    shared::{Organization, SOON, items, own_rig, run, text},
};

const PHONE: &str = "4915799988877";
const NAME: &str = "Canaria Nameson";
const WORDS: &str = "canary words of a customer";
const REPLY: &str = "canary words of an operator";
const BAD_KEY: &str = "canary-of-a-refused-key";
const IDEMPOTENCY_KEY: &str = "canary-of-an-idempotency-key";

/// Everything that the functions have logged.
fn logs(rig: &Rig) -> Vec<(String, String)> {
    let files = fs::read_dir(rig.data().join("logs")).unwrap();
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

async fn traffic(rig: &Rig, organization: &Organization<'_>) {
    for platform in ["whatsapp", "instagram", "facebook"] {
        let account = organization.connect(platform).await;
        let fault = async |fault: &str, calls: u64, path: &str| {
            let body = json!({ "fault": fault, "calls": calls, "accountId": account.id, "path": path });
            rig.simulate("fault", body).await;
        };
        let inbound =
            json!({ "platform": platform, "accountId": account.id, "from": PHONE, "name": NAME, "text": WORDS });
        rig.simulate("inbound", inbound).await;
        // What cannot be understood, what nobody owns, and what is not authentic.
        account.receive_body(format!("not JSON: {WORDS} {PHONE}")).await;
        account.receive_body(json!({ "object": WORDS, "from": PHONE }).to_string()).await;
        let strange = account.fixture("text").replace(&account.id, "999000999000");
        account.receive_body(strange).await;
        rig.webhook(&[("authorization", "Bearer canary-of-a-wrong-token")], account.fixture("text")).await;
        for fixture in crate::shared::fixtures(platform) {
            account.receive(&fixture).await;
        }

        let conversations = organization.conversations(&format!("channel={platform}")).await;
        let conversation = conversations.iter().find(|found| found["lastMessage"]["text"] == WORDS).unwrap();
        let reply = json!({ "text": REPLY });
        for (name, calls) in [
            ("rate_limit_400", 3),
            ("server_error", 1),
            ("reject:131026", 1),
            ("drop_after_accept", 1),
            ("unauthorized", 1),
        ] {
            organization.send_with_key(conversation, &format!("{IDEMPOTENCY_KEY}-{platform}"), reply.clone()).await;
            fault(name, calls, "messages").await;
            organization.send(conversation, reply.clone()).await;
        }
        organization.update(conversation, json!({ "labels": [WORDS], "assignedTo": NAME })).await;
        let path = format!("/api/v1/social-integrations/{platform}");
        fault("server_error", 3, "webhook").await;
        rig.api("POST", &format!("{path}/test"), &organization.admin, Value::Null).await;
        let field = if platform == "whatsapp" { "phoneNumberId" } else { "instagramAccountId" };
        let body = json!({ "apiKey": BAD_KEY, field: "1", "facebookPageId": "1" });
        rig.api("POST", &format!("{path}/connect"), &organization.admin, body).await;
    }
}

#[tokio::test]
async fn log_says_what_happened_and_nothing_private() {
    let rig = own_rig(Setup::default());
    let organization = Organization::new(&rig).await;
    traffic(&rig, &organization).await;
    let recorded = json!({
        "customer": { "id": PHONE, "name": NAME, "phone": PHONE },
        "message": { "id": "canary-of-a-message-id", "sender": "customer", "text": WORDS },
    });
    for (path, body) in [
        ("/api/v1/channels/phone/messages", recorded),
        ("/api/v1/channels/phone/messages", json!({ "customer": WORDS, PHONE: NAME })),
        ("/api/v1/conversations/none/messages", json!({ "text": REPLY })),
    ] {
        rig.api("POST", path, &organization.admin, body).await;
    }
    let broken = format!("{{\"text\": \"{WORDS}\", {PHONE}");
    let headers =
        [("authorization", format!("Bearer {}", organization.admin)), ("content-type", "application/json".into())];
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
    rig.request("POST", &format!("{}/api/v1/channels/phone/messages", rig.api), &headers, broken).await;
    rig.request(
        "GET",
        &format!("{}?hub.mode=subscribe&hub.verify_token=canary-of-a-wrong-token&hub.challenge=1", rig.webhook),
        &[],
        "",
    )
    .await;
    eventually("the statuses are delivered", SOON, async || rig.undelivered().await.is_empty().then_some(())).await;

    for (file, log) in logs(&rig) {
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{file} has a line that is no JSON: {line}");
            assert!(!line.contains("canary"), "{file} tells what it should not: {line}");
        }
    }
    // It was looked for where something is.
    for function in ["receive-webhook", "send-message", "connect-integration", "test-integration"] {
        let log = rig.log(function);
        assert!(log.lines().count() > 2, "{function} says nothing:\n{log}");
    }
    let received = rig.log("receive-webhook");
    let kept = received.lines().find(|line| line.contains("kept in quarantine")).unwrap();
    let line: Value = serde_json::from_str(kept).unwrap();
    assert!(!text(&line["level"]).is_empty() && !text(&line["fields"]["message"]).is_empty(), "{line}");
    // Without it Lambda would take every line for INFO.
    assert!(::shared::clock::parse_rfc3339(text(&line["timestamp"])).is_some(), "{line}");
}

#[tokio::test]
async fn provider_hiccup_is_a_warning_and_rings_no_alarm() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes(PHONE, WORDS).await;
    let conversation = organization.conversation().await;
    for fault in ["server_error", "rate_limit", "rate_limit_400", "drop_after_accept"] {
        rig.simulate("fault", json!({ "fault": fault, "calls": 5, "accountId": account.id })).await;
        let test = "/api/v1/social-integrations/whatsapp/test";
        let (status, answer) = rig.api("POST", test, &organization.admin, Value::Null).await;
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("PROVIDER_UNAVAILABLE")), "{fault}: {answer}");
        organization.send(&conversation, json!({ "text": REPLY })).await;
        rig.simulate("fault", json!({ "fault": "none" })).await;
    }
    rig.simulate("fault", json!({ "fault": "server_error", "calls": 5, "accountId": account.id })).await;
    rig.invoke("check-integrations", json!({})).await;

    let level = |line: &str| serde_json::from_str::<Value>(line).unwrap()["level"].as_str().map(str::to_owned);
    for function in ["test-integration", "send-message", "check-integrations"] {
        let log = rig.log(function);
        assert!(log.lines().all(|line| level(line).as_deref() != Some("ERROR")), "{log}");
    }
    let tested = rig.log("test-integration");
    let told = tested.lines().find(|line| line.contains("PROVIDER_UNAVAILABLE")).unwrap();
    assert_eq!(level(told).as_deref(), Some("WARN"));
    let alarms = rig.alarms().await;
    assert_eq!(alarms.iter().find(|alarm| alarm["name"] == "ErrorsLogged").unwrap()["state"], "OK");
}

#[test]
fn an_item_that_does_not_fit_is_logged_without_what_it_holds() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.customer_writes(PHONE, WORDS).await;
        let conversation = organization.conversation().await;
        let pk = format!("ORG#{}#CONVERSATION#{}", organization.id, text(&conversation["id"]));
        let of_it = |item: &Value| item["pk"]["S"] == pk && item["sk"]["S"] == "CONVERSATION";
        let mut item = items(rig).await.into_iter().find(of_it).unwrap();
        item["status"] = json!({ "S": WORDS });
        put(rig, &item).await;

        let path = format!("/api/v1/conversations/{}", text(&conversation["id"]));
        let (status, answer) = rig.api("GET", &path, &organization.operator, Value::Null).await;

        assert_eq!((status, &answer["error"]["code"]), (500, &json!("INTERNAL")), "{answer}");
        let log = rig.log("get-conversation");
        assert!(log.contains("does not fit"), "{log}");
        assert!(!log.contains(WORDS), "{log}");
    });
}
