//! Quarantine over HTTP: who sees what waits there, and what a replay does.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use support::{Rig, local, target_folder};
use time::OffsetDateTime;

use crate::shared::{Account, Organization, items, now, quarantined, run, table, text, unique};

/// A delivery of statuses that no version knows.
fn unknown_statuses(account: &Account<'_>, count: usize) -> String {
    let statuses: Vec<_> = (0..count)
        .map(|_| json!({ "id": format!("wamid.unknown{}", unique()), "status": "pondered", "recipient_id": "491" }))
        .collect();
    let value = json!({
        "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id }, "statuses": statuses,
    });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

async fn deliver_globally(rig: &Rig, body: &str) {
    let authorization = format!("Bearer {}", rig.webhook_token());
    assert_eq!(rig.webhook(&[("authorization", &authorization)], body.to_owned()).await.status, 200);
}

/// The items about an account, as they are in the table.
async fn kept(rig: &Rig, account: &str) -> Vec<Value> {
    quarantined(rig).await.into_iter().filter(|item| item["accountId"]["S"] == account).collect()
}

/// As if a new version understood what is kept: the bytes become those of something known.
pub async fn teach(rig: &Rig, account: &Account<'_>, body: &str) {
    put_with(rig, kept(rig, &account.id).await.remove(0), body).await;
}

async fn put_with(rig: &Rig, mut item: Value, body: &str) {
    item["raw"]["B"] = json!(STANDARD.encode(body));
    let answer = rig.dynamodb("PutItem", json!({ "TableName": table(rig).await, "Item": item })).await;
    assert_eq!(answer, json!({}));
}

#[test]
fn admin_pages_through_own_quarantine_newest_first() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let (other, _) = Organization::with(rig, "whatsapp").await;
        account.receive_body(unknown_statuses(&account, 5)).await;
        account.receive_body("poison, no message").await;

        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/quarantine?limit=2{cursor}");
            let (status, page) = rig.api("GET", &path, &organization.admin, Value::Null).await;
            assert_eq!(status, 200, "{page}");
            found.extend(page["data"]["items"].as_array().unwrap().clone());
            let Some(next) = page["data"]["pagination"]["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }

        assert_eq!(found.len(), 6, "{found:#?}");
        let ids: Vec<_> = found.iter().map(|entry| text(&entry["id"])).collect();
        assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {ids:?}");
        assert_eq!((&found[0]["kind"], &found[0]["reason"]), (&json!("delivery"), &json!("the body is not JSON")));
        assert_eq!((&found[1]["kind"], &found[1]["reason"]), (&json!("unknown"), &json!("unknown status")));
        for entry in &found {
            assert_eq!((&entry["platform"], &entry["accountId"]), (&json!("whatsapp"), &json!(account.id)));
            assert!(entry["sizeBytes"].as_u64().unwrap() > 0);
        }
        assert_eq!(other.quarantine().await, Vec::<Value>::new());
        let (status, answer) = other.replay(&found[0]["id"]).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("QUARANTINE_ENTRY_NOT_FOUND")));
    });
}

#[test]
fn what_is_not_understood_yet_stays_with_its_reason() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body(unknown_statuses(&account, 1)).await;
        let before = kept(rig, &account.id).await;
        let entry = organization.quarantine().await.remove(0);

        for _ in 0..2 {
            let (status, answer) = organization.replay(&entry["id"]).await;
            assert_eq!(status, 200, "{answer}");
            let expected = json!({ "id": entry["id"], "outcome": "stays", "reason": "unknown status" });
            assert_eq!(answer["data"], expected);
        }

        assert_eq!(organization.quarantine().await, [entry]);
        assert_eq!(kept(rig, &account.id).await, before);
    });
}

#[test]
fn replay_stores_once_what_is_understood_now() {
    run(async |rig| {
        for platform in ["whatsapp", "instagram", "facebook"] {
            let (organization, account) = Organization::with(rig, platform).await;
            account.receive_body(json!({ "object": format!("something-{}", unique()) }).to_string()).await;
            teach(rig, &account, &account.fixture("text")).await;
            let entry = organization.quarantine().await.remove(0);

            let (status, answer) = organization.replay(&entry["id"]).await;
            assert_eq!((status, &answer["data"]["outcome"]), (200, &json!("replayed")), "{answer}");

            let thread = organization.thread().await;
            assert_eq!(thread.len(), 1);
            assert_eq!(organization.conversation().await["unread"], true);
            assert_eq!(organization.quarantine().await, Vec::<Value>::new());
            let before = items(rig).await;
            let (status, answer) = organization.replay(&entry["id"]).await;
            assert_eq!((status, &answer["data"]["outcome"]), (200, &json!("replayed")), "{answer}");
            let of_this = |items: Vec<Value>| -> Vec<Value> {
                items.into_iter().filter(|item| item.to_string().contains(&organization.id)).collect()
            };
            assert_eq!(of_this(items(rig).await), of_this(before));
            // The provider's repetition meets it, too.
            account.receive("text").await;
            assert_eq!(organization.thread().await, thread);
        }
    });
}

#[test]
fn a_replay_of_a_disconnected_integration_loses_nothing() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body("something else").await;
        teach(rig, &account, &account.fixture("text")).await;
        let entry = organization.quarantine().await.remove(0);
        let path = "/api/v1/social-integrations/whatsapp/disconnect";
        assert_eq!(rig.api("POST", path, &organization.admin, Value::Null).await.0, 200);

        let (status, answer) = organization.replay(&entry["id"]).await;
        assert_eq!((status, &answer["data"]["reason"]), (200, &json!("the integration is disconnected")), "{answer}");

        organization.connect_account("whatsapp", &account.id).await;
        let (_, answer) = organization.replay(&entry["id"]).await;
        assert_eq!(answer["data"]["outcome"], "replayed", "{answer}");
        assert_eq!(organization.thread().await.len(), 1);
    });
}

#[test]
fn entry_brought_by_a_foreign_token_is_hidden() {
    run(async |rig| {
        let (victim, target) = Organization::with(rig, "whatsapp").await;
        let (attacker, account) = Organization::with(rig, "whatsapp").await;
        // A forged message of the victim's customer, and the same of an account of nobody.
        account.receive_body(target.fixture("text")).await;
        let nobody = format!("70099{:07}", unique());
        account.receive_body(target.fixture("text").replace(&target.id, &nobody)).await;

        assert_eq!(victim.quarantine().await, Vec::<Value>::new());
        assert_eq!(attacker.quarantine().await, Vec::<Value>::new());
        for item in kept(rig, &target.id).await.iter().chain(&kept(rig, &nobody).await) {
            for organization in [&victim, &attacker] {
                assert_eq!(organization.replay(&item["id"]["S"]).await.0, 404);
            }
        }
        // Whoever connects the account later gets nothing of it either.
        let later = Organization::new(rig).await;
        later.connect_account("whatsapp", &nobody).await;
        assert_eq!(later.quarantine().await, Vec::<Value>::new());
        assert!(later.conversations("").await.is_empty() && victim.conversations("").await.is_empty());
        assert_eq!(later.replay(&kept(rig, &nobody).await[0]["id"]["S"]).await.0, 404);
    });
}

#[test]
fn what_came_for_a_former_owner_is_not_the_next_ones() {
    run(async |rig| {
        let (former, account) = Organization::with(rig, "whatsapp").await;
        // By the provider's own word, and by the token: both while the former organization owned the account.
        deliver_globally(rig, &unknown_statuses(&account, 1)).await;
        account.receive_body(unknown_statuses(&account, 1)).await;
        let entries = former.quarantine().await;
        assert_eq!(entries.len(), 2);
        let path = "/api/v1/social-integrations/whatsapp";
        assert_eq!(rig.api("DELETE", path, &former.admin, Value::Null).await.0, 200);

        let next = Organization::new(rig).await;
        next.connect_account("whatsapp", &account.id).await;

        assert_eq!(next.quarantine().await, Vec::<Value>::new());
        for entry in &entries {
            assert_eq!(next.replay(&entry["id"]).await.0, 404);
            assert_eq!(former.replay(&entry["id"]).await.0, 404, "the account is another's now");
        }
        assert_eq!(former.quarantine().await, Vec::<Value>::new());
    });
}

#[test]
fn repetition_from_a_former_owners_time_stays_theirs() {
    run(async |rig| {
        let (former, account) = Organization::with(rig, "whatsapp").await;
        let written = now() - 60;
        account.receive_body(account.text_delivery("wamid.known", "491713920012", written, "Known")).await;
        let path = "/api/v1/social-integrations/whatsapp";
        assert_eq!(rig.api("DELETE", path, &former.admin, Value::Null).await.0, 200);
        let next = Organization::new(rig).await;
        let theirs = next.connect_account("whatsapp", &account.id).await;

        // The same once more, and one that the former owner never got: whatever they come with.
        for (id, said) in [("wamid.known", "Known"), ("wamid.late", "Late")] {
            let body = account.text_delivery(id, "491713920012", written, said);
            theirs.receive_body(body.clone()).await;
            deliver_globally(rig, &body).await;
        }
        assert!(next.conversations("").await.is_empty() && next.quarantine().await.is_empty());
        let kept = kept(rig, &account.id).await;
        assert_eq!(kept.len(), 4);
        for entry in &kept {
            assert_eq!(entry["reason"]["S"], "of the time of a former owner");
            assert_eq!(next.replay(&entry["id"]["S"]).await.0, 404);
            assert_eq!(former.replay(&entry["id"]["S"]).await.0, 404);
        }
        // What customers write from now on is the next one's; what was, is still there.
        theirs.customer_writes("491713920012", "New").await;
        assert_eq!(next.conversation().await["lastMessage"]["text"], "New");
        assert_eq!(next.thread().await.len(), 1);
        assert_eq!(former.conversation().await["lastMessage"]["text"], "Known");
    });
}

/// The day of an entry's id.
fn day(id: &str) -> String {
    let seconds = id.split('-').next().unwrap().parse::<i64>().unwrap() / 1000;
    OffsetDateTime::from_unix_timestamp(seconds).unwrap().date().to_string()
}

#[test]
fn whoever_runs_the_service_has_a_day_replayed_by_reason() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        for _ in 0..3 {
            account.receive_body(json!({ "object": unique().to_string() }).to_string()).await;
        }
        account.receive_body(unknown_statuses(&account, 1)).await;
        let day = day(text(&organization.quarantine().await[0]["id"]));
        for (number, item) in kept(rig, &account.id).await.into_iter().enumerate() {
            if item["kind"]["S"] == "delivery" {
                let body = account.text_delivery(&format!("wamid.day{number}"), "491713920012", 1_767_877_200, "Hello");
                put_with(rig, item, &body).await;
            }
        }

        let request = json!({ "day": day, "reason": "unknown status" });
        let answer = rig.invoke("replay-quarantine-day", request).await;
        assert!(answer["stay"].as_u64().unwrap() >= 1 && answer["next"].is_null(), "{answer}");
        assert!(organization.conversations("").await.is_empty(), "only what is there for the reason");
        // By the command, against the endpoint.
        let endpoints = rig.request("GET", &format!("{}/local/endpoints", rig.api), &[], "").await.json();
        let output = local()
            .arg("--data")
            .arg(rig.data().join("replay"))
            .arg("--binaries")
            .arg(target_folder())
            .args(["replay", "--day", &day, "--reason", "the body has no known shape", "--endpoint"])
            .args([text(&endpoints["dynamodb"]), "--table", text(&endpoints["table"])])
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(told["replayed"].as_u64().unwrap() >= 3, "{told}");
        assert_eq!(told["failed"], 0, "{told}");

        assert_eq!(organization.thread().await.len(), 3);
        let left = organization.quarantine().await;
        assert_eq!(left.len(), 1, "{left:#?}");
        assert_eq!(left[0]["reason"], "unknown status");
    });
}

#[test]
fn only_the_operator_may_trust_a_foreign_token() {
    run(async |rig| {
        let (victim, target) = Organization::with(rig, "whatsapp").await;
        let (attacker, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body(target.text_delivery("wamid.changed-hands", "491713920012", 1_767_877_200, "Hello")).await;
        let id = kept(rig, &target.id).await[0]["id"]["S"].clone();
        let request = json!({ "day": day(text(&id)), "reason": "token of another organization" });

        rig.invoke("replay-quarantine-day", request.clone()).await;
        assert!(victim.conversations("").await.is_empty());
        let mut trusting = request;
        trusting["trustTokens"] = json!(true);
        let url = format!("{}/local/invoke?function=replay-quarantine-day", rig.api);
        assert_eq!(rig.request("POST", &url, &[], trusting.to_string()).await.status, 502, "of all accounts");
        trusting["account"] = json!({ "platform": "whatsapp", "accountId": target.id });
        let told = rig.invoke("replay-quarantine-day", trusting.clone()).await;
        assert_eq!((&told["receiver"], &told["waiting"][0]["tokenOf"]), (&json!(victim.id), &json!(attacker.id)));
        assert!(victim.conversations("").await.is_empty());
        trusting["tokenOf"] = json!(attacker.id);
        rig.invoke("replay-quarantine-day", trusting).await;

        assert_eq!(victim.conversation().await["lastMessage"]["text"], "Hello");
        let trail = victim.audit().await;
        assert_eq!((&trail[0]["action"], &trail[0]["by"]), (&json!("replayed_by_service"), &Value::Null));
    });
}

#[test]
fn a_day_that_is_none_is_refused() {
    run(async |rig| {
        let url = format!("{}/local/invoke?function=replay-quarantine-day", rig.api);
        for event in [json!({ "day": "yesterday" }), json!({}), json!({ "day": "2026-11-23", "raeson": "x" })] {
            assert_eq!(rig.request("POST", &url, &[], event.to_string()).await.status, 502, "{event}");
        }
    });
}

#[test]
fn what_is_large_is_listed_by_its_first_part_and_replayed_whole() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "facebook").await;
        let long = "ä".repeat(400_000);
        account.receive_body(format!("{{\"object\": \"unknown\", \"text\": \"{long}\"}}")).await;

        let entries = organization.quarantine().await;
        assert_eq!(entries.len(), 1);
        assert!(entries[0]["sizeBytes"].as_u64().unwrap() > 800_000, "{entries:?}");
        let (status, answer) = organization.replay(&entries[0]["id"]).await;
        assert_eq!((status, &answer["data"]["reason"]), (200, &json!("the body has no known shape")), "{answer}");
    });
}
