//! The audit trail: who did what, and nothing that must not be in it.

use serde_json::{Value, json};

use crate::shared::{Organization, items, run, text, unique};

#[test]
fn the_trail_tells_who_did_what_newest_first_page_by_page() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.customer_writes("491713920012", "Is the blue one in stock?").await;
        let conversation = organization.conversation().await;
        let key = format!("key-{}", unique());
        for _ in 0..2 {
            let sent = organization.send_with_key(&conversation, &key, json!({ "text": "Yes, it is" })).await;
            assert_eq!(sent.status, 201);
        }
        organization.send(&conversation, json!({ "text": "A note", "type": "internal_note" })).await;
        organization.update(&conversation, json!({ "status": "closed", "read": true })).await;
        let test = "/api/v1/social-integrations/whatsapp/test";
        assert_eq!(rig.api("POST", test, &organization.admin, Value::Null).await.0, 200);
        let recorded = json!({
            "customer": { "id": "visitor" }, "message": { "id": "m1", "sender": "customer", "text": "Is anybody there?" },
        });
        for status in [201, 200] {
            let path = "/api/v1/channels/website/messages";
            assert_eq!(rig.api("POST", path, &organization.service, recorded.clone()).await.0, status);
        }
        // However often it is tried.
        for _ in 0..3 {
            assert_eq!(rig.api("POST", test, &organization.operator, Value::Null).await.0, 403);
        }
        // The same key again replaces nothing.
        organization.connect_account("whatsapp", &account.id).await;
        account.receive_body(format!("poison, no message {}", unique())).await;
        let entry = organization.quarantine().await.remove(0);
        organization.replay(&entry["id"]).await;
        let path = "/api/v1/social-integrations/whatsapp";
        assert_eq!(rig.api("POST", &format!("{path}/disconnect"), &organization.admin, Value::Null).await.0, 200);
        organization.connect_account("whatsapp", &account.id).await;
        assert_eq!(rig.api("DELETE", path, &organization.admin, Value::Null).await.0, 200);

        let trail = organization.audit().await;

        let told: Vec<_> = trail.iter().map(|entry| (text(&entry["action"]), text(&entry["by"]))).collect();
        // A repeated request does nothing, and what stays in quarantine was not replayed.
        let expected = [
            ("deleted", "ada"),
            ("reconnected", "ada"),
            ("disconnected", "ada"),
            ("reconnected", "ada"),
            ("refused", "olga"),
            ("recorded", "chatbot"),
            ("tested", "ada"),
            ("status_changed", "olga"),
            ("note_added", "olga"),
            ("sent", "olga"),
            ("connected", "ada"),
        ];
        assert_eq!(told, expected);
        assert_eq!((&trail[4]["attempted"], &trail[0]["attempted"]), (&json!("tested"), &Value::Null));
        let sent = &trail[9];
        assert_eq!(sent["conversationId"], conversation["id"]);
        let messages = rig
            .api(
                "GET",
                &format!("/api/v1/conversations/{}/messages", text(&conversation["id"])),
                &organization.admin,
                Value::Null,
            )
            .await
            .1;
        let reply = messages["data"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|message| message["text"] == "Yes, it is")
            .unwrap()
            .clone();
        assert_eq!(sent["messageId"], reply["id"]);
        assert_eq!((&trail[0]["platform"], &trail[0]["accountId"]), (&json!("whatsapp"), &json!(account.id)));

        let of_this = format!("ORG#{}#AUDIT", organization.id);
        for item in items(rig).await.iter().filter(|item| item["pk"]["S"] == of_this) {
            let whole = item.to_string();
            for secret in
                ["Yes, it is", "A note", "anybody", "visitor", "blue one", "491713920012", "sim_whatsapp", key.as_str()]
            {
                assert!(!whole.contains(secret), "{whole}");
            }
            assert!(item["expiresAt"]["N"].is_string(), "{whole}");
        }
    });
}

#[test]
fn a_replay_that_found_a_place_is_told_once() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body("something that will be understood").await;
        crate::quarantine::teach(rig, &account, &account.fixture("text")).await;
        let entry = organization.quarantine().await.remove(0);
        for _ in 0..3 {
            assert_eq!(organization.replay(&entry["id"]).await.0, 200);
        }

        let trail = organization.audit().await;
        let replays: Vec<_> = trail.iter().filter(|told| told["action"] == "replayed").collect();
        assert_eq!(replays.len(), 1, "{trail:#?}");
        assert_eq!((&replays[0]["by"], &replays[0]["quarantineId"]), (&json!("ada"), &entry["id"]));
    });
}
