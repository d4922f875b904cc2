//! What the functions may do by the template's policies is what they do. Locally as on AWS, a call that is not allowed is refused,
//! in every test; here everything that a function can come to do is done, and whatever is allowed beyond that is spare.

use serde_json::{Value, json};
use support::{Rig, Setup, eventually};

use crate::{
    isolation::{integration_item, put},
    quarantine::teach,
    shared::{Account, Organization, SOON, fixtures, own_rig, text, unique},
};

/// The provider's ids of what two fixtures tell.
const TEXT_MID: &str = "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlE";
const ECHO_MID: &str = "aWOUT1";
const UNSENT_MID: &str = "aW1";

async fn permissions(rig: &Rig) -> Value {
    rig.request("GET", &format!("{}/local/permissions", rig.api), &[], "").await.json()
}

/// Fails with the functions and permissions that are `what`, unless there are none.
fn assert_none(permissions: &Value, what: &str) {
    let mut found = Vec::new();
    for (function, permissions) in permissions.as_object().unwrap() {
        for one in permissions[what].as_array().unwrap() {
            found.push(format!("{function}: {} on {}", text(&one["action"]), text(&one["resource"])));
        }
    }
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Everything that customers and operators do on one platform.
async fn talk(organization: &Organization<'_>, account: &Account<'_>) {
    let rig = organization.rig;
    let platform = account.platform;
    account.customer_writes("491713920012", "Hello?").await;
    let conversations = organization.conversations(&format!("channel={platform}")).await;
    let conversation = &conversations[0];
    let asked = organization.messages(conversation).await.remove(0);
    for body in [
        json!({ "text": "Yes" }),
        json!({ "text": "This one", "replyTo": asked["id"] }),
        json!({ "text": "Regular", "type": "internal_note" }),
    ] {
        let key = format!("key-{}", unique());
        for _ in 0..2 {
            let answer = organization.send_with_key(conversation, &key, body.clone()).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }
    if platform == "instagram" {
        // It is read before the provider has answered what it calls it.
        rig.simulate("settings", json!({ "statuses": "manual" })).await;
        let fault = json!({ "fault": "slow_answer", "calls": 1, "accountId": account.id, "path": "messages" });
        rig.simulate("fault", fault).await;
        let before = rig.sent().await.len();
        let ((status, answer), ()) =
            tokio::join!(organization.send(conversation, json!({ "text": "At once" })), async {
                let sent = eventually("it has left", SOON, async || rig.sent().await.get(before).cloned()).await;
                let read = account.fixture("read").replace("aWOUT1", text(&sent["id"]));
                account.receive_body(read.replace("1029384756102938", "491713920012")).await;
            });
        assert_eq!(status, 201, "{answer}");
        rig.simulate("settings", json!({ "statuses": "automatic" })).await;
    }
    for fault in ["reject:131026", "drop_after_accept", "unauthorized"] {
        let body = json!({ "fault": fault, "calls": 1, "accountId": account.id, "path": "messages" });
        rig.simulate("fault", body).await;
        organization.send(conversation, json!({ "text": "Once more" })).await;
    }
    for fixture in fixtures(platform).into_iter().chain(fixtures(platform)) {
        account.receive(&fixture).await;
    }
    account.receive_body(format!("no JSON {}", unique())).await;
    // Unread, its messages are counted.
    organization.update(conversation, json!({ "status": "closed", "labels": ["vip"], "assignedTo": "me" })).await;
    for conversation in organization.conversations(&format!("channel={platform}")).await {
        organization.get(&format!("/api/v1/conversations/{}", text(&conversation["id"]))).await;
        organization.messages(&conversation).await;
        organization.update(&conversation, json!({ "read": true })).await;
    }
}

/// What came before an account was connected, and what was not understood, finds its place in each of the ways that there are.
async fn operate(rig: &Rig) {
    // Only what is proven receives what came before.
    rig.simulate("settings", json!({ "namesAccounts": true })).await;
    let organization = Organization::new(rig).await;
    let authorization = format!("Bearer {}", rig.webhook_token());
    let early = Account { rig, platform: "instagram", id: unique().to_string(), authorization };
    let receive = async |fixture: &str, mid: &str| {
        early.receive_body(early.fixture(fixture).replace(mid, &format!("mid.{}", unique()))).await;
    };
    // More than connecting receives at once, and of each kind at both ends: the check receives the rest.
    for _ in 0..55 {
        receive("text", TEXT_MID).await;
        receive("echo", ECHO_MID).await;
        receive("unsend", UNSENT_MID).await;
    }
    organization.connect_account("instagram", &early.id).await;
    rig.invoke("check-integrations", json!({})).await;

    // An echo, a message, a status of one that is known by the provider's id alone, and the end of one that is not known.
    let understood = |account: &Account| {
        let [mut delivery, message, status, unsent] = ["echo", "story_reply", "read", "unsend"]
            .map(|name| serde_json::from_str::<Value>(&account.fixture(name)).unwrap());
        let entries = [message, status, unsent].map(|delivery| delivery["entry"][0].clone());
        delivery["entry"].as_array_mut().unwrap().extend(entries);
        delivery.to_string()
    };
    let (first, account) = Organization::with(rig, "instagram").await;
    account.receive("text").await;
    account.receive_body(format!("no JSON {}", unique())).await;
    teach(rig, &account, &understood(&account)).await;
    let entry = first.quarantine().await.remove(0);
    let (status, answer) = first.replay(&entry["id"]).await;
    assert_eq!((status, &answer["data"]["outcome"]), (200, &json!("replayed")), "{answer}");
    first.audit().await;

    let (_, account) = Organization::with(rig, "instagram").await;
    account.receive("text").await;
    account.receive_body(format!("no JSON {}", unique())).await;
    teach(rig, &account, &understood(&account)).await;
    let day = text(&entry["receivedAt"]).get(..10).unwrap();
    let tally = rig.invoke("replay-quarantine-day", json!({ "day": day })).await;
    assert_ne!(tally["replayed"], 0, "{tally}");
}

#[tokio::test]
async fn no_function_may_do_more_than_it_does() {
    let rig = own_rig(Setup::default());
    let (organization, other) = (Organization::new(&rig).await, Organization::new(&rig).await);
    for platform in ["whatsapp", "instagram", "facebook"] {
        let path = format!("/api/v1/social-integrations/{platform}");
        let account = organization.connect(platform).await;
        talk(&organization, &account).await;
        assert_eq!(other.try_connect(platform, &account.id).await.0, 409, "the account is taken");
        // Connected again, with its key, and with one that does not open any more.
        organization.connect_account(platform, &account.id).await;
        let mut altered = integration_item(&rig, &organization.id, platform).await;
        altered["credentials"]["M"]["sealedKey"]["M"]["tag"]["S"] = json!("AAAA");
        put(&rig, &altered).await;
        let conversation = organization.conversations(&format!("channel={platform}")).await.remove(0);
        organization.send(&conversation, json!({ "text": "Nothing" })).await;
        let fault = json!({ "fault": "reject:131026", "calls": 1, "accountId": account.id, "path": "messages" });
        rig.simulate("fault", fault).await;
        organization.send(&conversation, json!({ "text": "Lost" })).await;
        organization.update(&conversation, json!({ "problem": null })).await;
        assert_eq!(rig.api("POST", &format!("{path}/test"), &organization.admin, Value::Null).await.0, 200);
        let shown = rig.api("GET", &format!("{path}/webhook"), &organization.admin, Value::Null).await;
        assert_eq!(shown.0, 200, "{}", shown.1);
        let webhook = json!({ "for": "account", "platform": platform, "accountId": account.id });
        rig.invoke("issue-webhook-token", webhook).await;
        // Another account takes its place, and one that the provider fails to register gives its claim back.
        let account = organization.connect(platform).await;
        let fault = json!({ "fault": "server_error", "calls": 9, "path": "webhook" });
        rig.simulate("fault", fault).await;
        other.try_connect(platform, &unique().to_string()).await;
        rig.simulate("fault", json!({ "fault": "none" })).await;
        for (method, action) in [("POST", "/test"), ("POST", "/disconnect"), ("DELETE", "")] {
            let (status, answer) = rig.api(method, &format!("{path}{action}"), &organization.admin, Value::Null).await;
            assert_eq!(status, 200, "{answer}");
        }
        account.receive("text").await;
    }
    operate(&rig).await;
    organization.get("/api/v1/events").await;
    organization.get("/api/v1/social-integrations").await;
    organization.get("/api/v1/social-integrations/whatsapp").await;
    for channel in ["website", "phone"] {
        for text in ["Hello", "Hello", "Something else"] {
            let body = json!({
                "customer": { "id": "visitor-1", "phone": "+491713920012" },
                "message": { "id": format!("{channel}-1"), "sender": "customer", "text": text },
            });
            rig.api("POST", &format!("/api/v1/channels/{channel}/messages"), &organization.service, body).await;
        }
    }
    eventually("the statuses are delivered", SOON, async || rig.undelivered().await.is_empty().then_some(())).await;

    let permissions = permissions(&rig).await;

    assert_none(&permissions, "denied");
    assert_none(&permissions, "unused");
    assert!(
        permissions.as_object().unwrap().values().all(|of| !of["used"].as_array().unwrap().is_empty()),
        "{permissions}"
    );
}
