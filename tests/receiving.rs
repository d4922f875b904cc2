//! What a provider delivers, and what an operator then sees of it.

use std::{collections::BTreeSet, fs, num::NonZero, thread::available_parallelism, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Rig, eventually};

use crate::shared::{
    Account, Organization, SOON, assert_includes, fixture, fixtures, items, now, quarantined, run, text, unique,
};

/// The customer of the fixtures, by platform.
const CUSTOMERS: [(&str, &str); 3] =
    [("whatsapp", "491713920012"), ("facebook", "7301122334455667"), ("instagram", "1029384756102938")];
/// The same WhatsApp customer, by business-scoped user id.
const USER_ID: &str = "DE.81720034455667788990";

/// Deliveries of one message: the fixture, what is shown of the message, and the preview.
fn messages(platform: &str) -> Vec<(&'static str, Value, &'static str)> {
    match platform {
        "whatsapp" => whatsapp_messages(),
        "facebook" => facebook_messages(),
        _ => instagram_messages(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better in tables")]
fn shown(content_type: &str, text: Option<&str>, content: Value) -> Value {
    json!({ "contentType": content_type, "text": text, "content": content })
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn whatsapp_messages() -> Vec<(&'static str, Value, &'static str)> {
    let plain = |text| shown("text", Some(text), json!({}));
    let unsupported = |kind| shown("unsupported", None, json!({ "type": kind }));
    let with = |mut message: Value, name: &str, value: Value| {
        message[name] = value;
        message
    };
    vec![
        ("text", plain("Hello, is the blue one in stock?"), "Hello, is the blue one in stock?"),
        ("text_escaped", plain("äöå 😀 a/b"), "äöå 😀 a/b"),
        ("text_of_many_contacts", plain("Second of two"), "Second of two"),
        ("text_with_lone_surrogate", plain("Cut \u{FFFD}"), "Cut \u{FFFD}"),
        ("text_with_nul", plain("ab"), "ab"),
        ("text_without_contacts", plain("Nobody introduced me"), "Nobody introduced me"),
        ("text_without_phone", plain("Hello from a username"), "Hello from a username"),
        ("flat_messages", plain("Hello from the old interface"), "Hello from the old interface"),
        ("forwarded", shown("text", Some("FYI"), json!({ "forwarded": true })), "FYI"),
        ("forwarded_frequently", shown("text", Some("FYI all"), json!({ "frequentlyForwarded": true })), "FYI all"),
        ("reply", with(plain("This one"), "replyTo", json!({ "id": null, "externalId": "wamid.OUT12" })), "This one"),
        (
            "referral",
            shown("text", Some("Hi, I saw your ad"), json!({ "referral": { "headline": "Spring sale" } })),
            "Hi, I saw your ad",
        ),
        (
            "referred_product",
            shown("text", Some("Is this available?"), json!({ "referredProduct": { "productRetailerId": "SKU-1" } })),
            "Is this available?",
        ),
        (
            "image",
            shown(
                "image",
                Some("The label"),
                json!({ "id": "1101200300400500", "mimeType": "image/jpeg", "sha256": "b2xkIGZyaWVuZHM=" }),
            ),
            "The label",
        ),
        (
            "image_too_large",
            shown(
                "unsupported",
                None,
                json!({ "type": "image", "reason": "Failed to download the media from the sender. Reason: media file is over 100 MB" }),
            ),
            "Unsupported message",
        ),
        ("video", shown("video", Some("Noise"), json!({ "id": "1101200300400501" })), "Noise"),
        ("audio", shown("audio", None, json!({ "voice": true, "id": "1101200300400502" })), "Voice message"),
        ("voice", shown("audio", None, json!({ "voice": true })), "Voice message"),
        (
            "document",
            shown(
                "document",
                Some("Invoice"),
                json!({ "fileName": "Rechnung März.pdf", "mimeType": "application/pdf" }),
            ),
            "Invoice",
        ),
        ("sticker", shown("sticker", None, json!({ "animated": false })), "Sticker"),
        (
            "location",
            shown(
                "location",
                None,
                json!({ "latitude": 52.520_008, "longitude": 13.404_954, "address": "Alex 1, Berlin" }),
            ),
            "Shop",
        ),
        ("contacts", shown("contacts", Some("Max Beispiel"), json!({})), "Max Beispiel"),
        (
            "button_reply",
            with(
                shown("interactive", Some("Yes, please"), json!({ "kind": "button_reply", "id": "confirm:42" })),
                "replyTo",
                json!({ "id": null, "externalId": "wamid.OUT9" }),
            ),
            "Yes, please",
        ),
        ("list_reply", shown("interactive", Some("09:30"), json!({ "description": "Dr. Kim" })), "09:30"),
        (
            "flow_reply",
            shown("interactive", None, json!({ "response": { "flow_token": "f-77", "size": "M" } })),
            "size: M",
        ),
        (
            "call_permission_reply",
            shown("interactive", Some("Call permission: accept"), json!({ "response": "accept" })),
            "Call permission: accept",
        ),
        (
            "interactive_without_content",
            shown(
                "unsupported",
                None,
                json!({ "type": "interactive", "reason": "Message content could not be read." }),
            ),
            "Unsupported message",
        ),
        ("button", shown("button", Some("Stop promotions"), json!({ "payload": "STOP-PROMO" })), "Stop promotions"),
        (
            "order",
            shown(
                "order",
                Some("Gift wrap please"),
                json!({ "catalogId": "600700800900", "items": [
                    { "productRetailerId": "SKU-1", "quantity": 2, "itemPrice": 19.9, "currency": "EUR" },
                    { "productRetailerId": "SKU-2", "quantity": 1, "itemPrice": 5, "currency": "EUR" },
                ] }),
            ),
            "Gift wrap please",
        ),
        ("unsupported", unsupported("poll"), "Unsupported message"),
        ("unsupported_old", unsupported("unknown"), "Unsupported message"),
        ("ephemeral", unsupported("ephemeral"), "Unsupported message"),
        ("type_of_the_future", unsupported("hologram"), "Unsupported message"),
        ("call_connect", shown("call", None, json!({ "direction": "inbound" })), "Call"),
        (
            "call_terminate",
            with(
                shown(
                    "call",
                    Some("The call ended after 1 min 30 s"),
                    json!({ "durationSeconds": 90, "status": "completed" }),
                ),
                "sender",
                json!("system"),
            ),
            "The call ended after 1 min 30 s",
        ),
        (
            "request_welcome",
            with(shown("system", Some("Opened the chat"), json!({})), "sender", json!("system")),
            "Opened the chat",
        ),
        (
            "system_identity_changed",
            with(
                shown("system", Some("Changed the security code"), json!({ "kind": "customer_identity_changed" })),
                "sender",
                json!("system"),
            ),
            "Changed the security code",
        ),
    ]
}

fn facebook_messages() -> Vec<(&'static str, Value, &'static str)> {
    let plain = |text, content| shown("text", Some(text), content);
    let url = "https://scontent.xx.fbcdn.net/v/1.jpg?oe=66F";
    let system =
        |text, content| json!({ "contentType": "system", "sender": "system", "text": text, "content": content });
    vec![
        ("text", plain("Hi, are you open today?", json!({})), "Hi, are you open today?"),
        ("numeric_ids", plain("Ids are numbers here", json!({})), "Ids are numbers here"),
        ("quick_reply", plain("Red", json!({ "quickReplyPayload": "COLOR_RED" })), "Red"),
        ("message_referral", plain("From the ad", json!({ "referral": { "adId": "120200300400" } })), "From the ad"),
        (
            "reply",
            json!({ "text": "Yes, that one", "replyTo": { "id": null, "externalId": "m_OUT1" } }),
            "Yes, that one",
        ),
        ("image", shown("image", None, json!({ "url": url })), "Photo and 1 more"),
        ("audio", shown("audio", None, json!({ "url": "https://cdn.fbsbx.com/v/1.mp4?oe=66F" })), "Audio"),
        ("video", shown("video", None, json!({})), "Video"),
        ("file", shown("document", None, json!({ "url": "https://cdn.fbsbx.com/v/offer.pdf?oe=66F" })), "Document"),
        ("like", shown("sticker", None, json!({})), "Sticker"),
        ("sticker", shown("sticker", None, json!({})), "Sticker"),
        ("location", shown("location", None, json!({ "latitude": 52.520_008 })), "Pinned Location"),
        (
            "fallback",
            shown("share", Some("https://example.com/p/1"), json!({ "title": "Product 1" })),
            "https://example.com/p/1",
        ),
        ("post", shown("share", None, json!({ "title": "Our spring" })), "Our spring"),
        ("product", shown("share", None, json!({ "title": "Blue one" })), "Blue one"),
        (
            "attachment_of_the_future",
            shown("unsupported", None, json!({ "type": "appointment_booking" })),
            "Unsupported message",
        ),
        ("postback", shown("postback", Some("Get started"), json!({ "payload": "GET_STARTED" })), "Get started"),
        ("postback_without_mid", shown("postback", Some("Get started"), json!({})), "Get started"),
        ("referral", system("Came from a link: flyer", json!({ "ref": "flyer" })), "Came from a link: flyer"),
        (
            "optin",
            system("Opted in: news", json!({ "kind": "optin", "notificationMessagesToken": null })),
            "Opted in: news",
        ),
        (
            "optin_stopped",
            system("Stopped notifications: news", json!({ "kind": "optout" })),
            "Stopped notifications: news",
        ),
        (
            "order",
            shown(
                "order",
                Some("Gift wrap please"),
                json!({ "items": [
                    { "productRetailerId": "SKU-1", "name": "Shirt", "quantity": 1, "itemPrice": 19.9, "currency": "EUR" },
                    { "productRetailerId": "SKU-2", "name": "Cap", "quantity": 2, "itemPrice": 5, "currency": "EUR" },
                ] }),
            ),
            "Gift wrap please",
        ),
        (
            "customer_information",
            shown("interactive", None, json!({ "response": { "name": "Lena Vogt", "zipcode": "10178" } })),
            "name: Lena Vogt, zipcode: 10178",
        ),
        (
            "feedback",
            shown("interactive", None, json!({ "kind": "feedback", "response": { "csat": "4" } })),
            "csat: 4, csat comment: Very kind",
        ),
        (
            "response_feedback",
            system("Rated a message: Bad response", json!({ "feedback": "Bad response" })),
            "Rated a message: Bad response",
        ),
    ]
}

fn instagram_messages() -> Vec<(&'static str, Value, &'static str)> {
    let url = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=18000000000000001&signature=AbC";
    vec![
        ("text", shown("text", Some("Love it! Price?"), json!({})), "Love it! Price?"),
        ("quick_reply", shown("text", Some("Size M"), json!({ "quickReplyPayload": "SIZE_M" })), "Size M"),
        ("message_referral", shown("text", Some("Hi"), json!({ "referral": { "ref": "spring" } })), "Hi"),
        (
            "product",
            shown("text", Some("This?"), json!({ "referral": { "product": { "id": "4455667788" } } })),
            "This?",
        ),
        (
            "reply",
            json!({ "text": "Is this vegan?", "replyTo": { "id": null, "externalId": "aWOUT1" } }),
            "Is this vegan?",
        ),
        ("image", shown("image", None, json!({ "url": url })), "Photo"),
        ("like_heart", shown("sticker", None, json!({})), "Sticker"),
        (
            "story_reply",
            shown("story_reply", Some("Wow"), json!({ "story": { "id": "17900000000000001", "url": url } })),
            "Wow",
        ),
        ("story_mention", shown("story_mention", None, json!({ "url": url })), "Mentioned you in a story"),
        ("share", shown("share", None, json!({ "url": url })), "Shared post"),
        ("post", shown("share", None, json!({ "title": "Spring" })), "Spring"),
        ("story", shown("share", None, json!({})), "Shared story"),
        (
            "reel",
            shown("share", None, json!({ "title": "How to", "url": "https://www.instagram.com/reel/1" })),
            "How to",
        ),
        ("unsupported", shown("unsupported", None, json!({})), "Unsupported message"),
        ("view_once", shown("unsupported", None, json!({ "type": "ephemeral" })), "Unsupported message"),
        ("postback", shown("postback", Some("Opening hours"), json!({ "payload": "HOURS" })), "Opening hours"),
        (
            "referral",
            json!({ "contentType": "system", "sender": "system", "text": "Came from a link: bio-link" }),
            "Came from a link: bio-link",
        ),
    ]
}

/// Deliveries that tell of nothing for a conversation.
fn notices(platform: &str) -> &'static [&'static str] {
    match platform {
        "whatsapp" => &[
            "account_alerts",
            "account_update",
            "business_capability_update",
            "call_status",
            "history",
            "message_template_quality_update",
            "message_template_status_update",
            "phone_number_name_update",
            "phone_number_quality_update",
            "smb_app_state_sync",
            "status_deleted",
            "template_category_update",
            "user_preferences",
            "value_errors",
        ],
        "facebook" => &[
            "feed",
            "game_play",
            "optin_without_sender",
            "pass_thread_control",
            "policy_enforcement",
            "request_thread_control",
            "take_thread_control",
        ],
        _ => &["comments", "mentions"],
    }
}

/// Deliveries that tests of their own deliver.
fn others(platform: &str) -> &'static [&'static str] {
    match platform {
        "whatsapp" => &[
            "batch",
            "echo",
            "echo_edit",
            "echo_revoke",
            "edit",
            "flat_statuses",
            "reaction",
            "reaction_removed",
            "revoke",
            "status_delivered",
            "status_failed",
            "status_of_a_group",
            "status_played",
            "status_read",
            "status_sent",
            "system_changed_number",
            "system_changed_number_old",
            "system_changed_user_id",
            "system_previous_user_id",
        ],
        "facebook" => {
            &["delivery", "echo", "echo_template", "message_edit", "reaction", "reaction_removed", "read", "standby"]
        }
        _ => &["dashboard_test", "echo", "message_edit", "reaction", "reaction_removed", "read", "unsend"],
    }
}

#[test]
fn these_tests_know_every_fixture() {
    for (platform, _) in CUSTOMERS {
        let mut known: Vec<_> = messages(platform).into_iter().map(|(fixture, _, _)| fixture.to_owned()).collect();
        known.extend(notices(platform).iter().chain(others(platform)).map(|fixture| (*fixture).to_owned()));
        known.extend(fixtures(platform).into_iter().filter(|fixture| fixture.ends_with("unknown")));
        known.sort();
        assert_eq!(known, fixtures(platform), "{platform}");
    }
}

/// A fixture with a customer of its own, and that customer's id.
fn of_a_new_customer(account: &Account<'_>, name: &str) -> (String, String) {
    let (_, customer) = CUSTOMERS.into_iter().find(|(platform, _)| *platform == account.platform).unwrap();
    let new = format!("4917139{:07}", unique());
    let body = account.fixture(name).replace(customer, &new).replace(USER_ID, &format!("DE.{new}"));
    // Several say the same in other spellings, under one id.
    let body = body.replace("wamid.C1", &format!("wamid.C1{new}"));
    (body.replace("18446744073709551615", &new), new)
}

async fn every_kind_of_message_is_shown(rig: &Rig, platform: &'static str) {
    let (organization, account) = Organization::with(rig, platform).await;
    let mut expected = Vec::new();
    for (name, message, preview) in messages(platform) {
        let (body, customer) = of_a_new_customer(&account, name);
        account.receive_body(body).await;
        expected.push((name, message, preview, customer));
    }

    let conversations = organization.conversations("").await;

    assert_eq!(conversations.len(), expected.len());
    for (name, message, preview, customer) in expected {
        let is_theirs = |conversation: &&Value| {
            let ids = [&conversation["customer"]["phone"], &conversation["customer"]["id"]];
            ids.iter().any(|id| id.as_str().is_some_and(|id| id.trim_start_matches("DE.") == customer))
        };
        let conversation = conversations.iter().find(is_theirs).unwrap_or_else(|| panic!("no conversation: {name}"));
        let is_of_the_system = message["sender"] == "system";
        let sender = if is_of_the_system { "system" } else { "customer" };
        assert_includes(
            conversation,
            &json!({
                "channel": if platform == "whatsapp" { "whatsapp" } else { "social" },
                "metadata": { "platform": platform },
                "lastMessage": { "text": preview, "sender": sender },
                "unreadCount": usize::from(!is_of_the_system),
            }),
            name,
        );
        let messages = organization.messages(conversation).await;
        assert_eq!(messages.len(), 1, "{name}");
        assert_includes(
            &messages[0],
            &json!({ "direction": "inbound", "sender": sender, "type": "message", "status": null, "editedAt": null }),
            name,
        );
        assert_includes(&messages[0], &message, name);
    }
    assert!(account.quarantined().await.is_empty());
}

#[test]
fn every_kind_of_whatsapp_message_is_shown_for_what_it_is() {
    run(async |rig| every_kind_of_message_is_shown(rig, "whatsapp").await);
}

#[test]
fn every_kind_of_messenger_message_is_shown_for_what_it_is() {
    run(async |rig| every_kind_of_message_is_shown(rig, "facebook").await);
}

#[test]
fn every_kind_of_instagram_message_is_shown_for_what_it_is() {
    run(async |rig| every_kind_of_message_is_shown(rig, "instagram").await);
}

#[test]
fn delivery_without_message_makes_no_conversation() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        for (platform, _) in CUSTOMERS {
            let account = organization.connect(platform).await;
            for notice in notices(platform) {
                account.receive(notice).await;
            }
            assert!(account.quarantined().await.is_empty(), "{platform}");
        }
        assert!(organization.conversations("").await.is_empty());
    });
}

#[test]
fn what_is_not_understood_is_kept_in_quarantine_with_the_reason() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let whatsapp = organization.connect("whatsapp").await;
        let facebook = organization.connect("facebook").await;
        for (platform, account) in [("whatsapp", &whatsapp), ("facebook", &facebook)] {
            for name in fixtures(platform).iter().filter(|name| name.ends_with("unknown")) {
                account.receive(name).await;
                account.receive(name).await;
            }
        }

        assert_eq!(whatsapp.quarantined().await, ["group message", "invalid account id", "unknown status"]);
        assert_eq!(facebook.quarantined().await, ["unknown messaging item"]);
        let raw = quarantined(rig).await.into_iter().find(|item| item["accountId"]["S"] == facebook.id.as_str());
        let raw = STANDARD.decode(text(&raw.unwrap()["raw"]["B"])).unwrap();
        let raw: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!(raw["entry"][0]["messaging"][0]["hologram"], json!({ "id": "1" }));
        assert!(organization.conversations("").await.is_empty());
    });
}

#[test]
fn an_account_id_that_forges_a_key_ends_in_quarantine() {
    run(async |rig| {
        let marker = format!("wamid.{}", unique());
        let body = fixture("whatsapp", "account_unknown").replace("wamid.B9", &marker);

        let answer = deliver_globally(rig, body).await;

        assert_eq!(answer, 200);
        assert_eq!(quarantined_with(rig, &marker).await, ["invalid account id"]);
    });
}

#[test]
fn dashboards_test_delivery_ends_in_quarantine() {
    run(async |rig| {
        let marker = format!("mid-{}", unique());
        let body = fixture("instagram", "dashboard_test").replace("random_mid", &marker);

        assert_eq!(deliver_globally(rig, body).await, 200);

        assert_eq!(quarantined_with(rig, &marker).await, ["account of no organization"]);
    });
}

/// Delivers with the token of all accounts.
async fn deliver_globally(rig: &Rig, body: impl Into<Vec<u8>>) -> u16 {
    let authorization = format!("Bearer {}", rig.webhook_token());
    rig.webhook(&[("authorization", &authorization)], body.into()).await.status
}

/// Why something with this text in it is in quarantine.
async fn quarantined_with(rig: &Rig, marker: &str) -> Vec<String> {
    let has_marker = |item: &Value| {
        let raw = STANDARD.decode(text(&item["raw"]["B"])).unwrap();
        String::from_utf8_lossy(&raw).contains(marker)
    };
    let all = quarantined(rig).await.into_iter().filter(has_marker);
    all.map(|item| text(&item["reason"]["S"]).to_owned()).collect()
}

/// A WhatsApp delivery of these messages, without contacts.
fn whatsapp_messages_of(account: &Account<'_>, messages: &[Value]) -> String {
    whatsapp_change(account, &json!({ "messages": messages }))
}

/// A WhatsApp delivery of one change.
fn whatsapp_change(account: &Account<'_>, parts: &Value) -> String {
    let mut value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id } });
    for (name, part) in parts.as_object().unwrap() {
        value[name] = part.clone();
    }
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

fn whatsapp_text(id: &str, from: &str, at: u64, text: &str) -> Value {
    json!({ "from": from, "id": id, "timestamp": at.to_string(), "type": "text", "text": { "body": text } })
}

fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["text"].as_str().unwrap_or("-")).collect()
}

#[test]
fn a_customer_is_shown_with_name_number_and_username() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive("text").await;

        let conversation = organization.conversation().await;

        let customer = json!({ "name": "Lena Vogt", "phone": "491713920012", "username": "lenavogt", "id": USER_ID });
        assert_eq!(conversation["customer"], customer);
        assert_includes(
            &conversation,
            &json!({
                "status": "open", "unread": true, "unreadCount": 1, "assignedTo": null, "labels": [],
                "lastMessage": {
                    "text": "Hello, is the blue one in stock?", "sender": "customer", "timestamp": "2026-01-08T13:00:00.000Z",
                },
                "window": { "open": false, "closesAt": "2026-01-09T13:00:00.000Z", "allowed": ["template"] },
            }),
            "conversation",
        );
    });
}

#[test]
fn a_reply_names_the_message_that_it_answers() {
    for (platform, replied_to, target) in
        [("whatsapp", "echo", "wamid.E1"), ("facebook", "echo", "m_OUT2"), ("instagram", "echo", "aWOUT1")]
    {
        run(async |rig| {
            let (organization, account) = Organization::with(rig, platform).await;
            let reply = account.fixture("reply").replace("wamid.OUT12", target).replace("m_OUT1", target);

            account.receive(replied_to).await;
            account.receive_body(reply).await;

            let messages = organization.thread().await;
            let echo = messages.iter().find(|message| message["direction"] == "outbound").unwrap();
            let reply = messages.iter().find(|message| message["direction"] == "inbound").unwrap();
            assert_eq!(reply["replyTo"], json!({ "id": echo["id"], "externalId": target }), "{platform}");
        });
    }
}

#[test]
fn a_reply_to_a_message_of_an_earlier_page_is_resolved_too() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let messages: Vec<_> = (0..30)
            .map(|number| {
                whatsapp_text(&format!("wamid.{number}"), "491713920012", 1_767_877_200 + number, "One of many")
            })
            .collect();
        account.receive_body(whatsapp_messages_of(&account, &messages)).await;
        account
            .receive_body(
                account.fixture("reply").replace("wamid.OUT12", "wamid.0").replace("1767877219", "1767878000"),
            )
            .await;

        let conversation = organization.conversation().await;
        let page =
            organization.get(&format!("/api/v1/conversations/{}/messages?limit=5", text(&conversation["id"]))).await;

        let all = organization.messages(&conversation).await;
        assert_eq!(page["items"][0]["replyTo"], json!({ "id": all[0]["id"], "externalId": "wamid.0" }));
    });
}

#[test]
fn a_reaction_shows_on_its_message_until_it_is_taken_back() {
    for (platform, target, fixture_target, emoji) in [
        ("whatsapp", "wamid.E1", "wamid.OUT12", "👍🏽"),
        ("facebook", "m_OUT2", "m_OUT2", "❤️"),
        ("instagram", "aWOUT1", "aWOUT1", "❤"),
    ] {
        run(async |rig| {
            let (organization, account) = Organization::with(rig, platform).await;
            let fixture = |name| account.fixture(name).replace(fixture_target, target);
            account.receive("text").await;
            account.receive("echo").await;
            let preview = organization.conversation().await["lastMessage"].clone();

            for _ in 0..2 {
                account.receive_body(fixture("reaction")).await;
                let messages = organization.thread().await;
                assert_eq!(messages.len(), 2, "{platform}");
                let reactions = messages[1]["reactions"].as_array().unwrap();
                assert_eq!(reactions.len(), 1, "{platform}");
                assert_includes(&reactions[0], &json!({ "by": "customer", "emoji": emoji }), platform);
            }

            account.receive_body(fixture("reaction_removed")).await;
            // A late repetition does not bring it back.
            account.receive_body(fixture("reaction")).await;

            let messages = organization.thread().await;
            assert_eq!((messages.len(), &messages[1]["reactions"]), (2, &json!([])), "{platform}");
            assert_eq!(organization.conversation().await["lastMessage"], preview, "{platform}");
        });
    }
}

#[test]
fn change_of_an_unknown_message_opens_no_conversation() {
    run(async |rig| {
        for (platform, happened) in [
            ("whatsapp", "reaction"),
            ("whatsapp", "reaction_removed"),
            ("whatsapp", "edit"),
            ("whatsapp", "revoke"),
            ("whatsapp", "echo_edit"),
            ("whatsapp", "echo_revoke"),
            ("facebook", "reaction"),
            ("facebook", "message_edit"),
            ("instagram", "message_edit"),
            ("instagram", "unsend"),
        ] {
            let (organization, account) = Organization::with(rig, platform).await;
            account.receive(happened).await;
            account.receive(happened).await;

            assert_eq!(organization.conversations("").await.len(), 0, "{platform} {happened}");
        }
    });
}

#[test]
fn an_edit_changes_the_text_and_the_preview() {
    for (platform, original, edit, after) in [
        ("whatsapp", "image", "edit", "…and the red one?"),
        ("whatsapp", "echo", "echo_edit", "Sent from my phone"),
        ("facebook", "text", "message_edit", "Hi, are you open tomorrow?"),
        ("instagram", "reply", "message_edit", "Is this vegan and organic?"),
    ] {
        run(async |rig| {
            let (organization, account) = Organization::with(rig, platform).await;
            account.receive(original).await;
            let before = organization.thread().await.remove(0);
            account.receive(edit).await;
            account.receive(edit).await;

            let conversation = organization.conversation().await;
            let messages = organization.messages(&conversation).await;

            assert_eq!(messages.len(), 1, "{platform} {edit}");
            assert_eq!(messages[0]["text"], after, "{platform}");
            assert!(text(&messages[0]["editedAt"]) > text(&before["timestamp"]), "{platform}");
            assert_eq!(messages[0]["id"], before["id"], "{platform}");
            assert_eq!(conversation["lastMessage"]["text"], after, "{platform}");
        });
    }
}

#[test]
fn an_unsent_message_loses_its_text_and_its_preview() {
    for (platform, original, unsend) in
        [("whatsapp", "image", "revoke"), ("whatsapp", "echo", "echo_revoke"), ("instagram", "image", "unsend")]
    {
        run(async |rig| {
            let (organization, account) = Organization::with(rig, platform).await;
            account.receive(original).await;
            let before = organization.thread().await.remove(0);

            account.receive(unsend).await;
            account.receive(unsend).await;
            // Nor does a repetition of the message bring it back.
            account.receive(original).await;

            let conversation = organization.conversation().await;
            let messages = organization.messages(&conversation).await;
            assert_eq!(messages.len(), 1, "{platform} {unsend}");
            assert_includes(&messages[0], &json!({ "id": before["id"], "text": null }), unsend);
            assert_eq!(messages[0]["content"], json!({}), "{platform} {unsend}");
            assert!(messages[0]["deletedAt"].is_string(), "{platform} {unsend}");
            assert_eq!(conversation["lastMessage"]["text"], "Message unsent", "{platform} {unsend}");
            let stored = items(rig).await;
            let stored = stored.iter().filter(|item| item["pk"]["S"].as_str().unwrap().contains(&organization.id));
            assert!(stored.into_iter().all(|item| !item.to_string().contains("The label")), "{platform} {unsend}");
        });
    }
}

#[test]
fn an_edit_after_an_unsend_changes_nothing() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        for name in ["image", "revoke", "edit"] {
            account.receive(name).await;
        }

        let conversation = organization.conversation().await;

        let messages = organization.messages(&conversation).await;
        assert_eq!((messages.len(), &messages[0]["text"]), (1, &json!(null)));
        assert_eq!(conversation["lastMessage"]["text"], "Message unsent");
    });
}

#[test]
fn neither_an_older_edit_nor_the_message_itself_undoes_an_edit() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "facebook").await;
        let older =
            account.fixture("message_edit").replace("tomorrow", "on Sunday").replace("1767877214123", "1767877213000");
        account.receive("text").await;
        account.receive("message_edit").await;
        account.receive_body(older.replace("\"num_edit\": 1", "\"num_edit\": 0")).await;
        account.receive("text").await;

        let conversation = organization.conversation().await;

        assert_eq!(conversation["lastMessage"]["text"], "Hi, are you open tomorrow?");
        assert_eq!(texts(&organization.messages(&conversation).await), ["Hi, are you open tomorrow?"]);
    });
}

#[test]
fn an_edit_of_an_older_message_leaves_the_newer_preview_alone() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        for name in ["image", "video", "edit"] {
            account.receive(name).await;
        }

        let conversation = organization.conversation().await;

        assert_eq!(conversation["lastMessage"]["text"], "Noise");
        assert_eq!(texts(&organization.messages(&conversation).await), ["…and the red one?", "Noise"]);
    });
}

#[test]
fn answer_from_the_phone_leaves_unread_and_window_alone() {
    for (platform, answer) in
        [("whatsapp", "Sent from the phone app"), ("facebook", "We are open until 6 pm"), ("instagram", "Yes, 100 %")]
    {
        run(async |rig| {
            let (organization, account) = Organization::with(rig, platform).await;
            let (_, customer) = CUSTOMERS.into_iter().find(|(name, _)| *name == platform).unwrap();
            account.customer_writes(customer, "Anybody there?").await;
            let before = organization.conversation().await;
            let later = now() + 60;
            let echo = account.fixture("echo");
            let echo = echo.replace("1767878200", &later.to_string());
            let echo =
                echo.replace("1767877207123", &format!("{later}000")).replace("1767877309123", &format!("{later}000"));

            account.receive_body(echo.clone()).await;
            account.receive_body(echo).await;

            let conversation = organization.conversation().await;
            let messages = organization.messages(&conversation).await;
            assert_eq!(messages.len(), 2, "{platform}");
            assert_includes(
                &messages[1],
                &json!({
                    "direction": "outbound", "sender": "operator", "operatorId": null, "type": "message", "text": answer,
                    "status": "sent", "error": null,
                }),
                platform,
            );
            assert_includes(
                &conversation,
                &json!({
                    "unreadCount": 1, "window": before["window"], "lastMessage": { "text": answer, "sender": "operator" },
                }),
                platform,
            );
            assert_eq!(before["window"]["open"], true, "{platform}");
        });
    }
}

#[test]
fn an_answer_from_the_phone_may_begin_a_conversation() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        organization.connect("whatsapp").await.receive("echo").await;
        organization.connect("facebook").await.receive("echo_template").await;

        let mut conversations = organization.conversations("").await;

        conversations.sort_by_key(|conversation| conversation["channel"].to_string());
        for (conversation, preview) in conversations.iter().zip(["Shall we confirm?", "Sent from the phone app"]) {
            assert_includes(
                conversation,
                &json!({
                    "unread": false, "unreadCount": 0, "window": { "open": false, "closesAt": null },
                    "lastMessage": { "text": preview, "sender": "operator" },
                }),
                preview,
            );
        }
        assert_eq!(conversations.len(), 2);
        assert_eq!(conversations[1]["customer"]["name"], "Lena Vogt");
    });
}

#[test]
fn statuses_only_rise_whatever_order_they_come_in() {
    run(async |rig| {
        for order in [
            ["status_sent", "status_delivered", "status_read"],
            ["status_read", "status_delivered", "status_sent"],
            ["status_delivered", "status_played", "status_delivered"],
        ] {
            let (organization, account) = Organization::with(rig, "whatsapp").await;
            account.receive("echo").await;
            for name in order {
                let body = account.fixture(name).replace("wamid.OUT12", "wamid.E1").replace("wamid.OUT14", "wamid.E1");
                account.receive_body(body).await;
            }

            let message = organization.thread().await.remove(0);

            assert_eq!(message["status"], "read", "{order:?}");
            let history = message["statusHistory"].as_array().unwrap();
            assert_eq!(history.last().unwrap()["status"], "read", "{order:?}");
        }
    });
}

#[test]
fn a_failure_says_why_and_does_not_undo_a_delivery() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive("echo").await;
        let failed = account.fixture("status_failed").replace("wamid.OUT15", "wamid.E1");
        account.receive_body(failed.clone()).await;

        let message = organization.thread().await.remove(0);

        assert_eq!(message["status"], "failed");
        assert_includes(&message["error"], &json!({ "code": "131047", "title": "Re-engagement message" }), "error");
        assert!(text(&message["error"]["details"]).contains("24 hours"));

        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive("echo").await;
        account.receive_body(account.fixture("status_delivered").replace("wamid.OUT12", "wamid.E1")).await;
        account.receive_body(failed).await;
        account.receive_body(account.fixture("status_failed").replace("wamid.OUT15", "wamid.E1")).await;
        let message = organization.thread().await.remove(0);
        assert_eq!((&message["status"], &message["error"]), (&json!("delivered"), &json!(null)));
    });
}

#[test]
fn a_status_that_comes_before_its_message_is_not_lost() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body(account.fixture("status_read").replace("wamid.OUT12", "wamid.E1")).await;
        account.receive_body(account.fixture("status_delivered").replace("wamid.OUT12", "wamid.E1")).await;

        account.receive("echo").await;

        assert_eq!(organization.thread().await[0]["status"], "read");
    });
}

#[test]
fn status_of_a_group_participant_changes_no_conversation() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;

        account.receive("status_of_a_group").await;

        assert!(organization.conversations("").await.is_empty());
        assert!(account.quarantined().await.is_empty());
    });
}

#[test]
fn several_statuses_of_one_delivery_are_all_applied() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let echo = |number: u64| {
            account
                .fixture("echo")
                .replace("wamid.E1", &format!("wamid.E1{number}"))
                .replace("1767878200", &(1_767_878_200 + number).to_string())
        };
        for number in 0..3 {
            account.receive_body(echo(number)).await;
        }
        let status = |number: u64, status: &str| json!({ "id": format!("wamid.E1{number}"), "status": status, "timestamp": "1767878300", "recipient_id": "491713920012" });
        let statuses = json!([
            status(0, "delivered"),
            status(0, "read"),
            status(1, "delivered"),
            status(2, "failed"),
            status(2, "sent")
        ]);

        account.receive_body(whatsapp_change(&account, &json!({ "statuses": statuses }))).await;

        let messages = organization.thread().await;
        let statuses: Vec<_> = messages.iter().map(|message| text(&message["status"])).collect();
        assert_eq!(statuses, ["read", "delivered", "failed"]);
    });
}

#[test]
fn a_watermark_raises_everything_up_to_it() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "facebook").await;
        account.receive("echo").await;
        let later = account.fixture("echo").replace("m_OUT2", "m_OUT9").replace("1767877207123", "1767877299000");
        account.receive_body(later).await;
        let statuses = async || -> Vec<Value> {
            organization.thread().await.into_iter().map(|message| message["status"].clone()).collect()
        };

        account.receive("delivery").await;
        assert_eq!(statuses().await, ["delivered", "sent"]);
        account.receive("read").await;
        assert_eq!(statuses().await, ["read", "sent"]);
        account.receive("delivery").await;
        assert_eq!(statuses().await, ["read", "sent"]);

        let (organization, account) = Organization::with(rig, "instagram").await;
        account.receive("echo").await;
        account.receive("read").await;
        assert_eq!(organization.thread().await[0]["status"], "read");
    });
}

#[test]
fn one_delivery_carries_several_organizations() {
    run(async |rig| {
        let (ours, our_account) = Organization::with(rig, "whatsapp").await;
        let (theirs, their_account) = Organization::with(rig, "whatsapp").await;
        let body = our_account.fixture("batch").replace("700100200300403", &their_account.id);

        assert_eq!(deliver_globally(rig, body.clone()).await, 200);
        assert_eq!(deliver_globally(rig, body).await, 200);

        let mut seen: Vec<_> = ours
            .conversations("")
            .await
            .iter()
            .map(|conversation| {
                (
                    text(&conversation["customer"]["name"]).to_owned(),
                    text(&conversation["lastMessage"]["text"]).to_owned(),
                )
            })
            .collect();
        seen.sort();
        assert_eq!(seen, [("Lena Vogt".into(), "One".into()), ("Max Beispiel".into(), "Two".into())]);
        assert_eq!(texts(&theirs.thread().await), ["Three"]);
        // The statuses of the batch wait for their message.
        our_account.receive_body(our_account.fixture("echo").replace("wamid.E1", "wamid.OUT20")).await;
        let lena = ours.conversations("").await.remove(0);
        assert_eq!(ours.messages(&lena).await.last().unwrap()["status"], "delivered");
        assert!(our_account.quarantined().await.is_empty());
        assert!(their_account.quarantined().await.is_empty());
    });
}

#[test]
fn one_accounts_token_delivers_nothing_to_another_account() {
    run(async |rig| {
        let (ours, our_account) = Organization::with(rig, "whatsapp").await;
        let (theirs, their_account) = Organization::with(rig, "whatsapp").await;
        let body = our_account.fixture("batch").replace("700100200300403", &their_account.id);

        our_account.receive_body(body).await;

        assert_eq!(ours.conversations("").await.len(), 2);
        assert!(theirs.conversations("").await.is_empty());
        assert_eq!(their_account.quarantined().await, ["token of another organization"]);
    });
}

#[test]
fn standby_items_are_part_of_the_thread() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "facebook").await;

        account.receive("standby").await;

        assert_eq!(texts(&organization.thread().await), ["Another app answers", "Opening hours"]);
    });
}

#[test]
fn a_customer_stays_one_whichever_ids_the_provider_shows() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let by_user_id = |id: &str, at: &str| {
            account.fixture("text_without_phone").replace("wamid.B1", id).replace("1767877200", at)
        };
        let by_phone = |id: &str, at: &str| {
            account.fixture("text_without_contacts").replace("wamid.B2", id).replace("1767877200", at)
        };
        account.receive_body(by_user_id("wamid.1", "1767877201")).await;
        account.receive_body(by_phone("wamid.2", "1767877202")).await;
        assert_eq!(organization.conversations("").await.len(), 2, "nothing says yet that they are one");

        // Here they come together.
        account.receive_body(account.fixture("text").replace("1767877200", "1767877203")).await;
        account.receive_body(by_user_id("wamid.4", "1767877204")).await;
        account.receive_body(by_phone("wamid.5", "1767877205")).await;
        account.receive_body(by_user_id("wamid.1", "1767877201")).await;

        let conversation = organization.conversation().await;
        assert_eq!(organization.messages(&conversation).await.len(), 5);
        assert_eq!(conversation["unreadCount"], 5);
        assert_includes(
            &conversation["customer"],
            &json!({ "phone": "491713920012", "id": USER_ID, "username": "lenavogt" }),
            "customer",
        );
    });
}

#[test]
fn a_customer_with_a_new_number_or_user_id_stays_the_same() {
    run(async |rig| {
        for changed in ["system_changed_number", "system_changed_number_old"] {
            let (organization, account) = Organization::with(rig, "whatsapp").await;
            account.receive("text").await;
            account.receive(changed).await;
            let text_of_new_number = whatsapp_text("wamid.N", "491713920099", 1_767_877_300, "It is still me");
            account.receive_body(whatsapp_messages_of(&account, &[text_of_new_number])).await;

            let messages = organization.thread().await;

            assert_eq!(messages.len(), 3, "{changed}");
            assert_includes(&messages[1], &json!({ "contentType": "system", "sender": "system" }), changed);
            assert!(text(&messages[1]["text"]).contains("491713920099"), "{changed}");
            assert_eq!(messages[2]["text"], "It is still me", "{changed}");
        }

        // The second as Meta tells it since August 2026: no sender, and the user id of before.
        for changed in ["system_changed_user_id", "system_previous_user_id"] {
            let (organization, account) = Organization::with(rig, "whatsapp").await;
            account.receive("text").await;
            account.receive(changed).await;
            let new_id = account.fixture("text_without_phone").replace(USER_ID, "DE.99988877766655544433");
            account.receive_body(new_id.replace("1767877200", "1767877300")).await;
            assert_eq!(organization.thread().await.len(), 3, "{changed}");
        }
    });
}

#[test]
fn two_spellings_of_a_number_are_one_customer() {
    run(async |rig| {
        for (one, other) in
            [("5511987654321", "551187654321"), ("5215512345678", "525512345678"), ("5491123456789", "541123456789")]
        {
            let (organization, account) = Organization::with(rig, "whatsapp").await;
            for (id, from) in [("wamid.1", one), ("wamid.2", other)] {
                account
                    .receive_body(whatsapp_messages_of(&account, &[whatsapp_text(id, from, 1_767_877_200, "Oi")]))
                    .await;
            }

            assert_eq!(organization.thread().await.len(), 2, "{one}");
            assert_eq!(
                organization.conversation().await["customer"]["phone"],
                other,
                "the provider's newest spelling is kept"
            );
        }
    });
}

#[test]
fn a_flat_body_belongs_to_the_account_of_its_token() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let echo = account.fixture("echo").replace("wamid.E1", "gBEGkYiEB1VXAglK1ZEqA1YKPrU");
        account.receive_body(echo).await;

        account.receive("flat_statuses").await;

        assert_eq!(organization.thread().await[0]["status"], "delivered");

        // The token of all accounts names none.
        let marker = format!("wamid.{}", unique());
        let body = fixture("whatsapp", "flat_messages").replace("wamid.F1", &marker);
        assert_eq!(deliver_globally(rig, body).await, 200);
        assert_eq!(quarantined_with(rig, &marker).await, ["no account named"]);
    });
}

#[test]
fn a_duplicate_is_never_shown_twice() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        for _ in 0..3 {
            account.receive("text").await;
        }
        let (phone, text_body) = ("491713920077", "Only once, please");
        let at = now();
        let body = whatsapp_messages_of(&account, &[whatsapp_text("wamid.once", phone, at, text_body)]);

        join_all((0..24).map(|_| account.receive_body(body.clone()))).await;

        let conversations = organization.conversations("").await;
        assert_eq!(conversations.len(), 2);
        for conversation in &conversations {
            assert_eq!(conversation["unreadCount"], 1);
            assert_eq!(organization.messages(conversation).await.len(), 1);
        }
    });
}

#[test]
fn a_duplicate_within_one_delivery_is_never_shown_twice() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let message = whatsapp_text("wamid.twice", "491713920012", 1_767_877_200, "Twice");

        account.receive_body(whatsapp_messages_of(&account, &[message.clone(), message.clone(), message])).await;

        let conversation = organization.conversation().await;
        assert_eq!(organization.messages(&conversation).await.len(), 1);
        assert_eq!(conversation["unreadCount"], 1);
    });
}

#[test]
fn duplicate_leaves_a_conversation_read_or_closed() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive("text").await;
        let conversation = organization.conversation().await;
        organization.update(&conversation, json!({ "read": true, "status": "closed" })).await;

        account.receive("text").await;

        let conversation = organization.conversation().await;
        assert_includes(
            &conversation,
            &json!({ "unread": false, "unreadCount": 0, "status": "closed" }),
            "conversation",
        );
    });
}

#[test]
fn messages_out_of_order_are_shown_in_order() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        for number in [4, 1, 3, 0, 2] {
            let message = whatsapp_text(
                &format!("wamid.{number}"),
                "491713920012",
                1_767_877_200 + number,
                &format!("Number {number}"),
            );
            account.receive_body(whatsapp_messages_of(&account, &[message])).await;
        }

        let conversation = organization.conversation().await;

        assert_eq!(conversation["lastMessage"]["text"], "Number 4");
        assert_eq!(conversation["unreadCount"], 5);
        let messages = organization.messages(&conversation).await;
        assert_eq!(texts(&messages), ["Number 0", "Number 1", "Number 2", "Number 3", "Number 4"]);
    });
}

#[test]
fn messages_of_one_second_are_shown_as_they_arrived() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let expected: Vec<_> = (0..12).map(|number| format!("Line {number}")).collect();
        let messages: Vec<_> = expected
            .iter()
            .map(|line| whatsapp_text(&format!("wamid.{line}"), "491713920012", 1_767_877_200, line))
            .collect();
        let (first, second) = messages.split_at(6);
        account.receive_body(whatsapp_messages_of(&account, first)).await;
        account.receive_body(whatsapp_messages_of(&account, second)).await;

        let conversation = organization.conversation().await;

        assert_eq!(conversation["lastMessage"]["text"], "Line 11");
        assert_eq!(texts(&organization.messages(&conversation).await), expected);
        // Nor is one lost or repeated where a second is longer than a page.
        let paged = paged(&organization, &conversation, 5).await;
        assert_eq!(paged.len(), expected.len());
        assert_eq!(paged.into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect());
    });
}

#[test]
fn a_page_does_not_tear_the_messages_of_one_second_apart() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let expected: Vec<_> = (0..12).map(|number| format!("Line {number}")).collect();
        let messages: Vec<_> = (0..)
            .zip(&expected)
            .map(|(number, line)| {
                whatsapp_text(&format!("wamid.{line}"), "491713920012", 1_767_877_200 + number / 4, line)
            })
            .collect();
        account.receive_body(whatsapp_messages_of(&account, &messages)).await;

        let paged = paged(&organization, &organization.conversation().await, 5).await;

        assert_eq!(paged, expected);
    });
}

/// The texts of a conversation, oldest first, read in pages of that size.
async fn paged(organization: &Organization<'_>, conversation: &Value, limit: usize) -> Vec<String> {
    let path = format!("/api/v1/conversations/{}/messages?limit={limit}", text(&conversation["id"]));
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = organization.get(&format!("{path}{cursor}")).await;
        paged.extend(texts(page["items"].as_array().unwrap()).into_iter().map(str::to_owned));
        let Some(next) = page["pagination"]["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    paged.reverse();
    paged
}

#[test]
fn poison_within_a_delivery_does_not_block_the_rest() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let good =
            |number: u64| whatsapp_text(&format!("wamid.{number}"), "491713920012", 1_767_877_200 + number, "Good");
        let poison = [
            json!({}),
            json!(17),
            json!(null),
            json!([[]]),
            json!({ "id": "wamid.nobody", "type": "text", "text": { "body": "From nobody" } }),
            json!({ "from": "1", "id": "x".repeat(2000), "type": "text" }),
            json!({ "from": "1", "id": "wamid.group", "group_id": "G", "type": "text" }),
        ];
        let mut messages = vec![good(0)];
        for (number, poison) in (1..).zip(poison) {
            messages.extend([poison, good(number)]);
        }

        account.receive_body(whatsapp_messages_of(&account, &messages)).await;

        assert_eq!(organization.thread().await.len(), 8);
        let reasons = [
            "group message",
            "id too long",
            "message without id",
            "message without sender",
            "not an object",
            "not an object",
            "not an object",
        ];
        assert_eq!(account.quarantined().await, reasons);
    });
}

#[test]
fn absurd_times_and_types_do_not_lose_a_message() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let times = [
            json!(null),
            json!("yesterday"),
            json!(-5),
            json!(0),
            json!("99999999999999999999"),
            json!(i64::MAX),
            json!(1.5e300),
            json!(1_767_877_200),
            json!("1767877200"),
            json!({ "t": 1 }),
        ];
        let messages: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(number, time)| {
                json!({
                    "from": 491_713_920_012_u64, "id": format!("wamid.{number}"), "timestamp": time, "type": "text",
                    "text": { "body": format!("Number {number}") },
                })
            })
            .collect();
        let body = whatsapp_messages_of(&account, &messages);
        account.receive_body(body.clone()).await;
        let before = organization.thread().await;
        account.receive_body(body).await;

        let messages = organization.thread().await;

        assert_eq!(messages.len(), times.len());
        assert_eq!(messages, before, "a repetition is the same, also without a usable time");
    });
}

#[test]
fn too_long_text_is_shortened_and_quarantined_whole() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let long = "ä".repeat(700_000);
        let message = whatsapp_text("wamid.long", "491713920012", 1_767_877_200, &long);
        let body = whatsapp_messages_of(&account, &[message]);
        account.receive_body(body.clone()).await;
        account.receive_body(body).await;

        let conversation = organization.conversation().await;

        assert!(text(&conversation["lastMessage"]["text"]).ends_with('…'));
        let messages = organization.messages(&conversation).await;
        assert_eq!(messages.len(), 1);
        let shown = text(&messages[0]["text"]);
        assert!(shown.len() > 4096 && shown.starts_with("ää"), "{} bytes", shown.len());
        assert_eq!(account.quarantined().await, ["too large for a message"]);
        let items = quarantined(rig).await;
        let first = items.iter().find(|item| item["accountId"]["S"] == account.id.as_str()).unwrap();
        let hash = text(&first["sk"]["S"]).split('#').next().unwrap();
        let of_this = items.iter().filter(|item| text(&item["sk"]["S"]).starts_with(hash));
        let bytes: usize = of_this.map(|item| STANDARD.decode(text(&item["raw"]["B"])).unwrap().len()).sum();
        assert!(bytes > long.len());
    });
}

#[test]
fn thousand_updates_are_stored_within_five_seconds() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let mut took = Vec::new();
        for round in 0..3 {
            let messages: Vec<_> = (0..1000)
                .map(|number| {
                    let (id, from) = (format!("{round}-{number}"), format!("49171{round}{:06}", number % 30));
                    whatsapp_text(&format!("wamid.{id}"), &from, 1_767_877_200 + number, &format!("Number {id}"))
                })
                .collect();
            let body = whatsapp_messages_of(&account, &messages);
            let started = Instant::now();
            // The provider repeats what is not taken.
            while account.deliver(body.clone()).await.status != 200 {
                assert!(started.elapsed().as_secs() < 120, "not taken");
            }
            took.push(started.elapsed());
            if took[round].as_secs() < 5 {
                break;
            }
        }

        // The other tests want their part of the processors too.
        let fastest = took.iter().min().unwrap().as_secs_f64();
        assert!(fastest < 5.0 * contention(), "{took:?}, {} times the usual load", contention());
        let conversations = organization.conversations("").await;
        assert_eq!(conversations.len(), 30 * took.len());
        let mut seen = BTreeSet::new();
        for conversation in &conversations {
            let messages = organization.messages(conversation).await;
            assert_eq!(conversation["lastMessage"]["text"], messages.last().unwrap()["text"]);
            assert_eq!(conversation["unreadCount"], messages.len());
            seen.extend(messages.iter().map(|message| text(&message["text"]).to_owned()));
        }
        assert_eq!(seen.len(), 1000 * took.len());
    });
}

/// How many processes wait for each processor, at least one.
fn contention() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    let processors = available_parallelism().map_or(1, NonZero::get);
    (load / f64::from(u32::try_from(processors).unwrap())).max(1.0)
}

#[test]
fn the_simulator_delivers_with_the_registered_header() {
    run(async |rig| {
        for (platform, from) in CUSTOMERS {
            let (organization, account) = Organization::with(rig, platform).await;

            let answer = rig.simulate_inbound(platform, &account.id, from, "Hello").await;

            assert_includes(&answer, &json!({ "delivered": true, "status": 200 }), platform);
            let conversation =
                eventually("the conversation", SOON, async || organization.conversations("").await.pop()).await;
            assert_includes(
                &conversation,
                &json!({ "window": { "open": true }, "lastMessage": { "text": "Hello" }, "unreadCount": 1 }),
                platform,
            );
        }
    });
}

#[test]
fn every_type_that_a_simulated_customer_writes_is_understood() {
    run(async |rig| {
        for (platform, customer) in CUSTOMERS {
            let (organization, account) = Organization::with(rig, platform).await;
            let accounts = rig.request("GET", &format!("{}/simulate/accounts", rig.provider), &[], "").await.json();
            let accounts = accounts["accounts"].as_array().unwrap();
            let ours = accounts.iter().find(|listed| listed["id"] == account.id && listed["platform"] == platform);
            let types = ours.unwrap()["types"].as_array().unwrap();
            let act = async |kind: &Value, more: Value| {
                let mut body = json!({ "platform": platform, "accountId": account.id, "from": customer, "type": kind });
                body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let answer = rig.simulate("inbound", body).await;
                assert_eq!(answer["delivered"], true, "{platform} {kind}: {answer}");
                answer["id"].clone()
            };

            let first = act(&json!("text"), json!({ "text": "The first words" })).await;
            for kind in
                types.iter().filter(|kind| !["text", "reaction", "edit", "unsend"].map(Value::from).contains(kind))
            {
                let before = organization.thread().await.len();
                act(kind, json!({})).await;
                let thread = organization.thread().await;
                assert_eq!(thread.len(), before + 1, "{platform} {kind}");
                let is_unsupported = thread.iter().any(|message| message["contentType"] == "unsupported");
                assert!(!is_unsupported || kind == "unsupported", "{platform} {kind}");
            }
            let shown = async |words: &str| {
                let thread = organization.thread().await;
                thread.into_iter().find(|message| message["text"] == words).unwrap()
            };
            act(&json!("reaction"), json!({ "target": first, "emoji": "🎉" })).await;
            assert_eq!(shown("The first words").await["reactions"][0]["emoji"], "🎉", "{platform}");
            // WhatsApp's times are in seconds, and of two edits of one second nobody knows which is the later.
            for (at, words) in [(now(), "Other words"), (now() + 1, "Better words")] {
                act(&json!("edit"), json!({ "target": first, "text": words, "timestamp": at })).await;
            }
            act(&json!("reaction"), json!({ "target": first })).await;
            assert_eq!(shown("Better words").await["reactions"], json!([]), "{platform}");
            if types.contains(&json!("unsend")) {
                act(&json!("unsend"), json!({ "target": first })).await;
                assert!(
                    organization.thread().await.iter().any(|message| message["deletedAt"].is_string()),
                    "{platform}"
                );
            }
            assert_eq!(account.quarantined().await, [] as [&str; 0], "{platform}");
        }
    });
}
