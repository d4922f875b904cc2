//! What the functions log: enough to know what happened, and nothing that belongs to somebody.

use std::fs;

use serde_json::{Value, json};

use crate::{
    shared::{Organization, SOON, api_key, own_rig, text},
    support::{Rig, Setup, eventually},
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

async fn traffic(rig: &Rig, organization: &Organization<'_>) -> Vec<String> {
    let mut secrets = Vec::new();
    for platform in ["whatsapp", "instagram", "facebook"] {
        let account = organization.connect(platform).await;
        secrets.push(account.authorization.trim_start_matches("Bearer ").to_owned());
        secrets.push(api_key(platform, &account.id));
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
    secrets
}

#[tokio::test]
async fn no_function_logs_a_key_a_token_a_text_a_name_or_a_number() {
    let rig = own_rig(Setup::default());
    let organization = Organization::new(&rig).await;
    let mut canaries = traffic(&rig, &organization).await;
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

    canaries.extend([PHONE, NAME, WORDS, REPLY, BAD_KEY, IDEMPOTENCY_KEY, "canary"].map(str::to_owned));
    canaries.extend([&organization.admin, &organization.operator, &organization.service].map(Clone::clone));
    // The signature alone would be enough to forge nothing, and is nobody's business either.
    canaries.push(organization.admin.rsplit('.').next().unwrap().to_owned());
    canaries.push(rig.webhook_token());
    canaries.push(fs::read_to_string(rig.data().join("encryption-key")).unwrap());
    // People of the fixtures.
    canaries.extend(["Lena Vogt", "lenavogt", "491713920012", "Hello, is the blue one in stock?"].map(str::to_owned));
    let logs = logs(&rig);
    for (file, log) in &logs {
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{file} has a line that is no JSON: {line}");
            for canary in &canaries {
                assert!(!line.contains(canary.as_str()), "{file} tells {canary}: {line}");
            }
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
}
