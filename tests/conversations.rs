//! The inbox: lists and their filters, what operators change, and the channels whose messages are recorded.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::Rig;

use crate::shared::{Account, Organization, assert_includes, now, run, text, unique};

/// When the customers of these tests began to write, epoch seconds.
const BEGIN: u64 = 1_767_877_200;

fn id(conversation: &Value) -> String {
    text(&conversation["id"]).to_owned()
}

fn names(conversations: &[Value]) -> Vec<String> {
    conversations.iter().map(|conversation| text(&conversation["customer"]["id"]).to_owned()).collect()
}

/// Records a message of the platform's own chatbot or telephony.
async fn record(organization: &Organization<'_>, channel: &str, body: Value) -> (u16, Value) {
    let path = format!("/api/v1/channels/{channel}/messages");
    organization.rig.api("POST", &path, &organization.service, body).await
}

fn recorded(customer: &str, id: &str, sender: &str, text: &str) -> Value {
    json!({ "customer": { "id": customer }, "message": { "id": id, "sender": sender, "text": text } })
}

/// An organization with one conversation of each kind, `whatsapp` the oldest and `phone` the newest. The customers' ids are the
/// names of the kinds.
async fn one_of_each(rig: &Rig) -> Organization<'_> {
    let organization = Organization::new(rig).await;
    for (number, platform) in (0..).zip(["whatsapp", "instagram", "facebook"]) {
        let account = organization.connect(platform).await;
        account.receive_body(account.text_delivery("m1", platform, BEGIN + number, "Hello")).await;
    }
    for (number, channel) in (3..).zip(["website", "phone"]) {
        let mut body = recorded(channel, "m1", "customer", "Hello");
        body["message"]["timestamp"] = json!(format!("2026-01-08T13:00:0{number}Z"));
        assert_eq!(record(&organization, channel, body).await.0, 201);
    }
    organization
}

/// What a kind is called by [`one_of_each`]: a number is no id of a customer.
fn kind(conversation: &Value) -> &str {
    match (conversation["metadata"]["platform"].as_str(), &conversation["channel"]) {
        (Some(platform), _) => platform,
        (None, channel) => text(channel),
    }
}

fn kinds(conversations: &[Value]) -> Vec<&str> {
    conversations.iter().map(kind).collect()
}

#[test]
fn every_filter_finds_what_it_names_newest_first() {
    run(async |rig| {
        let organization = one_of_each(rig).await;
        let all = organization.conversations("").await;
        let find = |name: &str| all.iter().find(|conversation| kind(conversation) == name).unwrap();
        organization.update(find("instagram"), json!({ "status": "closed" })).await;
        organization.update(find("whatsapp"), json!({ "read": true, "labels": ["vip", "spring sale"] })).await;
        organization.update(find("facebook"), json!({ "assignedTo": "me" })).await;
        organization.update(find("phone"), json!({ "assignedTo": "ada", "labels": ["vip"] })).await;

        for (query, expected) in [
            ("", vec!["phone", "website", "facebook", "instagram", "whatsapp"]),
            ("channel=whatsapp", vec!["whatsapp"]),
            ("channel=instagram", vec!["instagram"]),
            ("channel=facebook", vec!["facebook"]),
            ("channel=social", vec!["facebook", "instagram"]),
            ("channel=website", vec!["website"]),
            ("channel=phone", vec!["phone"]),
            ("channel=", vec!["phone", "website", "facebook", "instagram", "whatsapp"]),
            ("status=open", vec!["phone", "website", "facebook", "whatsapp"]),
            ("status=closed", vec!["instagram"]),
            ("unread=true", vec!["phone", "website", "facebook", "instagram"]),
            ("unread=false", vec!["phone", "website", "facebook", "instagram", "whatsapp"]),
            ("assignedTo=me", vec!["facebook"]),
            ("assignedTo=olga", vec!["facebook"]),
            ("assignedTo=ada", vec!["phone"]),
            ("assignedTo=nobody", vec![]),
            ("label=vip", vec!["phone", "whatsapp"]),
            ("label=spring%20sale", vec!["whatsapp"]),
            ("label=spring", vec![]),
            ("label=VIP", vec![]),
            ("channel=social&status=open", vec!["facebook"]),
            ("label=vip&unread=true", vec!["phone"]),
            ("channel=whatsapp&label=vip&status=open&assignedTo=me", vec![]),
        ] {
            assert_eq!(kinds(&organization.conversations(query).await), expected, "{query}");
        }
        let (_, as_admin) =
            rig.api("GET", "/api/v1/conversations?assignedTo=me", &organization.admin, Value::Null).await;
        assert_eq!(kinds(as_admin["data"]["items"].as_array().unwrap()), ["phone"]);
    });
}

#[test]
fn an_organization_without_conversations_has_an_empty_page() {
    run(async |rig| {
        let organization = Organization::new(rig).await;

        let page = organization.get("/api/v1/conversations").await;

        let pagination = json!({ "limit": 20, "hasNext": false, "nextCursor": null });
        assert_eq!(page, json!({ "items": [], "pagination": pagination, "problemCount": 0 }));
    });
}

#[test]
fn a_conversation_alone_is_what_the_list_shows() {
    run(async |rig| {
        let organization = one_of_each(rig).await;

        for conversation in organization.conversations("").await {
            let alone = organization.get(&format!("/api/v1/conversations/{}", id(&conversation))).await;
            assert_eq!(alone, conversation);
            let pattern = |text: &str| text.len() == 32 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
            assert!(pattern(&id(&conversation)));
        }
        let path = format!("/api/v1/conversations/{}", "0".repeat(32));
        let (status, answer) = rig.api("GET", &path, &organization.operator, Value::Null).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("CONVERSATION_NOT_FOUND")));
    });
}

/// All pages of a list, with what was done between them.
async fn pages(organization: &Organization<'_>, path: &str, mut between: impl AsyncFnMut(usize)) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = organization.get(&format!("{path}{cursor}")).await;
        let (items, pagination) = (page["items"].as_array().unwrap(), &page["pagination"]);
        assert_eq!(pagination["hasNext"], !pagination["nextCursor"].is_null());
        pages.push(items.clone());
        let Some(next) = pagination["nextCursor"].as_str() else { return pages };
        cursor = format!("&cursor={next}");
        assert!(pages.len() < 100, "the pages do not end");
        between(pages.len()).await;
    }
}

/// Conversations of customers `1` to `count`, over all channels, each a second newer than the one before.
async fn many(rig: &Rig, count: u64) -> (Organization<'_>, Vec<Account<'_>>) {
    let organization = Organization::new(rig).await;
    let mut accounts = Vec::new();
    for platform in ["instagram", "facebook"] {
        accounts.push(organization.connect(platform).await);
    }
    for number in 1..=count {
        let account = &accounts[usize::try_from(number % 2).unwrap()];
        let id = format!("m1.{number}");
        account.receive_body(account.text_delivery(&id, &number.to_string(), BEGIN + number, "Hello")).await;
    }
    (organization, accounts)
}

#[test]
fn pages_hold_every_conversation_once_and_in_order() {
    run(async |rig| {
        let (organization, _) = many(rig, 9).await;
        let all = organization.conversations("").await;
        assert_eq!(names(&all), ["9", "8", "7", "6", "5", "4", "3", "2", "1"]);

        for limit in [1, 2, 3, 8, 9, 10, 100] {
            let pages = pages(&organization, &format!("/api/v1/conversations?limit={limit}"), async |_| {}).await;
            assert!(pages.iter().all(|page| page.len() <= limit));
            assert_eq!(pages.concat(), all, "limit {limit}");
        }
        for number in ["2", "5", "6"] {
            let conversation = all.iter().find(|conversation| conversation["customer"]["id"] == number).unwrap();
            organization.update(conversation, json!({ "labels": ["few"] })).await;
        }
        let pages = pages(&organization, "/api/v1/conversations?limit=2&label=few", async |_| {}).await;
        assert_eq!(names(&pages.concat()), ["6", "5", "2"]);
    });
}

#[test]
fn pages_stay_right_while_messages_arrive() {
    run(async |rig| {
        let (organization, accounts) = many(rig, 9).await;
        let write = async |number: u64, id: &str| {
            let account = &accounts[usize::try_from(number % 2).unwrap()];
            let id = format!("{id}.{number}");
            account.receive_body(account.text_delivery(&id, &number.to_string(), BEGIN + 1000, "News")).await;
        };

        let pages = pages(&organization, "/api/v1/conversations?limit=3", async |page| match page {
            // A new customer, one whose page was shown already, and one whose page is still to come.
            1 => {
                write(10, "m1").await;
                write(9, "m2").await;
                write(3, "m2").await;
            }
            _ => write(11, "m1").await,
        })
        .await;

        assert_eq!(
            names(&pages.concat()),
            ["9", "8", "7", "6", "5", "4", "2", "1"],
            "3 went up, and is on a new first page"
        );
        assert_eq!(names(&organization.conversations("").await).len(), 11);
    });
}

#[test]
fn message_pages_stay_right_while_messages_arrive() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "facebook").await;
        for number in 0..23 {
            let body =
                account.text_delivery(&format!("m{number}"), "7301", BEGIN + number, &format!("Number {number}"));
            account.receive_body(body).await;
        }
        let conversation = organization.conversation().await;
        let path = format!("/api/v1/conversations/{}/messages?limit=5", id(&conversation));

        let pages = pages(&organization, &path, async |page| {
            let (at, id) = (BEGIN + 1000 + page as u64, format!("new{page}"));
            account.receive_body(account.text_delivery(&id, "7301", at, "News")).await;
        })
        .await;

        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 3]);
        let texts: Vec<_> = pages.concat().iter().map(|message| text(&message["text"]).to_owned()).collect();
        assert_eq!(texts, (0..23).rev().map(|number| format!("Number {number}")).collect::<Vec<_>>());
        let default = organization.get(&format!("/api/v1/conversations/{}/messages", id(&conversation))).await;
        assert_eq!(default["items"].as_array().unwrap().len(), 20);
        assert_eq!(default["pagination"]["limit"], 20);
    });
}

#[test]
fn a_cursor_is_good_for_its_own_list_only() {
    run(async |rig| {
        let (organization, accounts) = many(rig, 4).await;
        let (other, _) = many(rig, 4).await;
        for number in 2..5 {
            let body = accounts[0].text_delivery(&format!("m{number}"), "2", BEGIN + 10 * number, "More");
            accounts[0].receive_body(body).await;
        }
        let all = organization.conversations("").await;
        let messages = |conversation: &Value| format!("/api/v1/conversations/{}/messages", id(conversation));
        let cursor = async |path: &str| {
            let page = organization.get(&format!("{path}{}limit=1", if path.contains('?') { '&' } else { '?' })).await;
            text(&page["pagination"]["nextCursor"]).to_owned()
        };
        let refused = async |organization: &Organization<'_>, path: &str, cursor: &str| {
            let path = format!("{path}{}cursor={cursor}", if path.contains('?') { '&' } else { '?' });
            let (status, answer) = rig.api("GET", &path, &organization.operator, Value::Null).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_CURSOR")), "{path}");
        };
        let inbox = cursor("/api/v1/conversations").await;
        let instagram = cursor("/api/v1/conversations?channel=instagram").await;
        let thread = cursor(&messages(&all[0])).await;

        refused(&other, "/api/v1/conversations", &inbox).await;
        refused(&organization, "/api/v1/conversations?channel=instagram", &inbox).await;
        refused(&organization, "/api/v1/conversations?status=open", &inbox).await;
        refused(&organization, "/api/v1/conversations?label=x", &inbox).await;
        refused(&organization, "/api/v1/conversations", &instagram).await;
        refused(&organization, "/api/v1/conversations", &thread).await;
        refused(&organization, &messages(&all[0]), &inbox).await;
        refused(&organization, &messages(&all[1]), &thread).await;
        refused(&organization, "/api/v1/conversations", &inbox[..inbox.len() - 2]).await;
        refused(&organization, "/api/v1/conversations", &format!("{inbox}AAAA")).await;
        refused(&organization, "/api/v1/conversations", &inbox.to_lowercase()).await;
        // Another limit is the same list.
        let page = organization.get(&format!("/api/v1/conversations?limit=100&cursor={inbox}")).await;
        assert_eq!(page["items"].as_array().unwrap()[..], all[1..]);
    });
}

#[test]
fn an_operator_changes_status_assignee_and_labels() {
    run(async |rig| {
        let organization = one_of_each(rig).await;
        let before = organization.conversations("channel=facebook").await.remove(0);
        let steps = [
            (json!({ "status": "closed" }), json!({ "status": "closed" })),
            (json!({ "status": "open" }), json!({ "status": "open" })),
            (json!({ "assignedTo": "me" }), json!({ "assignedTo": "olga", "status": "open" })),
            (json!({ "assignedTo": "ada" }), json!({ "assignedTo": "ada" })),
            (json!({ "labels": ["b", "a", "ü", "b"] }), json!({ "labels": ["a", "b", "ü"], "assignedTo": "ada" })),
            (json!({ "assignedTo": null }), json!({ "assignedTo": null, "labels": ["a", "b", "ü"] })),
            (json!({ "labels": [] }), json!({ "labels": [] })),
            (
                json!({ "status": "closed", "read": true, "assignedTo": "me", "labels": ["x".repeat(50)] }),
                json!({ "status": "closed", "unread": false, "assignedTo": "olga", "labels": ["x".repeat(50)] }),
            ),
        ];

        for (changes, expected) in steps {
            let answer = organization.update(&before, changes.clone()).await;
            assert_includes(&answer, &expected, &changes.to_string());
            assert!(text(&answer["updatedAt"]) >= text(&before["updatedAt"]));
            assert_eq!(organization.get(&format!("/api/v1/conversations/{}", id(&before))).await, answer);
        }
        let order = kinds(&organization.conversations("").await).join(" ");
        assert_eq!(order, "phone website facebook instagram whatsapp", "no change moves a conversation");
    });
}

#[test]
fn a_change_of_nothing_or_of_nonsense_is_refused() {
    run(async |rig| {
        let organization = one_of_each(rig).await;
        let before = organization.conversations("channel=facebook").await.remove(0);
        let path = format!("/api/v1/conversations/{}", id(&before));
        let labels: Vec<_> = (0..21).map(|number| number.to_string()).collect();

        for (changes, field) in [
            (json!({}), json!(null)),
            (json!({ "status": "archived" }), json!(null)),
            (json!({ "read": "yes" }), json!(null)),
            (json!({ "unknown": 1 }), json!(null)),
            (json!({ "status": "closed", "customer": { "name": "x" } }), json!(null)),
            (json!({ "read": true, "readUpTo": "2026-01-01T00:00:00Z" }), json!("readUpTo")),
            (json!({ "readUpTo": "2026-01-01T00:00:00Z" }), json!("readUpTo")),
            (json!({ "problem": false }), json!(null)),
            (json!({ "assignedTo": "" }), json!("assignedTo")),
            (json!({ "assignedTo": "x".repeat(129) }), json!("assignedTo")),
            (json!({ "assignedTo": 7 }), json!(null)),
            (json!({ "labels": labels }), json!("labels")),
            (json!({ "labels": [""] }), json!("labels")),
            (json!({ "labels": ["x".repeat(51)] }), json!("labels")),
            (json!({ "labels": "x" }), json!(null)),
            (json!([]), json!(null)),
            (json!("closed"), json!(null)),
        ] {
            let (status, answer) = rig.api("PATCH", &path, &organization.operator, changes.clone()).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_BODY")), "{changes}");
            assert_eq!(answer["error"]["details"].get("field").unwrap_or(&Value::Null), &field, "{changes}");
        }
        assert_eq!(organization.get(&path).await, before);
    });
}

#[test]
fn what_was_shown_is_read_and_what_came_after_is_not() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let write = async |number: u64| {
            let body = account.text_delivery(&format!("m{number}"), "491713920012", BEGIN + number, "Hello");
            account.receive_body(body).await;
        };
        for number in 0..3 {
            write(number).await;
        }
        let conversation = organization.conversation().await;
        let messages = organization.messages(&conversation).await;
        let unread = async |changes: Value| organization.update(&conversation, changes).await["unreadCount"].clone();

        assert_eq!(conversation["unreadCount"], 3);
        assert_eq!(unread(json!({ "readUpTo": messages[1]["id"] })).await, 1);
        assert_eq!(unread(json!({ "readUpTo": messages[0]["id"] })).await, 1, "what was read stays read");
        assert_eq!(unread(json!({ "readUpTo": messages[2]["id"] })).await, 0);
        write(3).await;
        assert_eq!(organization.conversation().await["unreadCount"], 1);
        assert_eq!(unread(json!({ "read": true })).await, 0);
        let again = organization.update(&conversation, json!({ "read": false })).await;
        assert_eq!((&again["unread"], &again["unreadCount"]), (&json!(true), &json!(1)));
        write(4).await;
        assert_eq!(organization.conversation().await["unreadCount"], 2);
        assert_eq!(unread(json!({ "readUpTo": messages[2]["id"] })).await, 2, "long before these came");
        assert_eq!(unread(json!({ "read": true })).await, 0);
        assert!(organization.conversations("unread=true").await.is_empty());
    });
}

#[test]
fn a_late_message_is_unread_although_newer_ones_were_read() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body(account.text_delivery("new", "491713920012", BEGIN + 60, "New")).await;
        let conversation = organization.conversation().await;
        organization.update(&conversation, json!({ "read": true, "status": "closed" })).await;

        account.receive_body(account.text_delivery("late", "491713920012", BEGIN, "Late")).await;

        let conversation = organization.conversation().await;
        assert_includes(
            &conversation,
            &json!({ "unreadCount": 1, "status": "open", "lastMessage": { "text": "New" } }),
            "conversation",
        );
    });
}

#[test]
fn unread_messages_are_counted_up_to_99() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let write = async |from: u64, to: u64| {
            let messages: Vec<_> = (from..to)
                .map(|number| {
                    let at = (BEGIN + number).to_string();
                    let id = format!("m{number}");
                    json!({ "from": "491713920012", "id": id, "timestamp": at, "type": "text", "text": { "body": "x" } })
                })
                .collect();
            let mut body: Value = serde_json::from_str(&account.text_delivery("", "", 0, "")).unwrap();
            body["entry"][0]["changes"][0]["value"]["messages"] = messages.into();
            account.receive_body(body.to_string()).await;
        };

        write(0, 98).await;
        assert_eq!(organization.conversation().await["unreadCount"], 98);
        write(98, 99).await;
        assert_eq!(organization.conversation().await["unreadCount"], 99);
        write(99, 120).await;
        assert_eq!(organization.conversation().await["unreadCount"], 99);
    });
}

#[test]
fn only_the_customer_opens_a_closed_conversation_again() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive("text").await;
        let conversation = organization.conversation().await;
        organization.update(&conversation, json!({ "status": "closed", "assignedTo": "me", "labels": ["vip"] })).await;

        account.receive("echo").await;
        account.receive_body(account.fixture("status_read").replace("wamid.OUT12", "wamid.E1")).await;
        assert_eq!(organization.conversation().await["status"], "closed");

        account.receive_body(account.text_delivery("again", "491713920012", now(), "One more thing")).await;
        assert_includes(
            &organization.conversation().await,
            &json!({
                "status": "open", "assignedTo": "olga", "labels": ["vip"], "unread": true,
                "lastMessage": { "text": "One more thing" },
            }),
            "conversation",
        );
    });
}

#[test]
fn the_window_follows_the_customers_last_message() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        for (platform, open, closed) in [
            ("whatsapp", json!(["text", "template"]), json!(["template"])),
            ("instagram", json!(["text"]), json!([])),
            ("facebook", json!(["text"]), json!([])),
        ] {
            let account = organization.connect(platform).await;
            let customer = format!("49171{:07}", unique());
            let window = async || organization.conversations(&format!("channel={platform}")).await[0]["window"].clone();

            account.receive_body(account.text_delivery("old", &customer, now() - 86_500, "Yesterday")).await;
            assert_includes(&window().await, &json!({ "open": false, "allowed": closed }), platform);
            account.receive_body(account.text_delivery("new", &customer, now() - 86_000, "Just before")).await;
            let shown = window().await;
            assert_includes(&shown, &json!({ "open": true, "allowed": open }), platform);
            // An older message that comes late changes nothing.
            account.receive_body(account.text_delivery("late", &customer, now() - 86_200, "Late")).await;
            assert_eq!(window().await, shown, "{platform}");
        }
    });
}

#[test]
fn the_chatbots_messages_become_a_conversation_of_the_website() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let customer = json!({ "id": "visitor-1", "name": "Lena Vogt", "phone": "+49 171 3920012" });
        let message = |id: &str, sender: &str, text: &str, at: &str| json!({ "customer": customer, "message": { "id": id, "sender": sender, "text": text, "timestamp": at } });

        let (status, first) =
            record(&organization, "website", message("w1", "customer", "Hello?", "2026-11-22T10:00:00Z")).await;
        assert_eq!(status, 201, "{first}");
        assert_includes(
            &first["data"],
            &json!({
                "direction": "inbound", "sender": "customer", "type": "message", "contentType": "text", "text": "Hello?",
                "content": {}, "status": null, "statusHistory": [], "timestamp": "2026-11-22T10:00:00.000Z", "replyTo": null,
            }),
            "message",
        );
        record(&organization, "website", message("w2", "ai", "How can I help?", "2026-11-22T11:00:02+01:00")).await;
        record(&organization, "website", message("w3", "operator", "I am taking over", "2026-11-22T10:00:05Z")).await;

        let conversation = organization.conversation().await;
        assert_includes(
            &conversation,
            &json!({
                "channel": "website", "metadata": { "platform": null }, "status": "open", "unreadCount": 1,
                "customer": { "id": "visitor-1", "name": "Lena Vogt", "phone": "+49 171 3920012", "username": null },
                "lastMessage": { "text": "I am taking over", "sender": "operator", "timestamp": "2026-11-22T10:00:05.000Z" },
                "window": { "open": false, "closesAt": null, "allowed": [] },
            }),
            "conversation",
        );
        let messages = organization.messages(&conversation).await;
        let seen: Vec<_> = messages
            .iter()
            .map(|message| [&message["sender"], &message["direction"], &message["text"]].map(text))
            .collect();
        assert_eq!(
            seen,
            [
                ["customer", "inbound", "Hello?"],
                ["ai", "outbound", "How can I help?"],
                ["operator", "outbound", "I am taking over"],
            ]
        );
        assert_eq!(messages[0], first["data"]);
    });
}

#[test]
fn long_calls_are_read_page_by_page() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let words = "word ".repeat(19_800);
        for number in 0..32 {
            let mut body = recorded("caller", &format!("c{number}"), "customer", &words);
            body["call"] = json!({ "direction": "inbound", "transcript": words });
            assert_eq!(record(&organization, "phone", body).await.0, 201);
        }
        let conversation = organization.conversation().await;
        let path = format!("/api/v1/conversations/{}/messages?limit=100", text(&conversation["id"]));

        let (status, first) = rig.api("GET", &path, &organization.operator, Value::Null).await;
        let pagination = &first["data"]["pagination"];
        let next = format!("{path}&cursor={}", text(&pagination["nextCursor"]));
        let (_, second) = rig.api("GET", &next, &organization.operator, Value::Null).await;

        assert_eq!((status, &pagination["hasNext"]), (200, &json!(true)));
        let items = [&first, &second].map(|page| page["data"]["items"].as_array().unwrap().len());
        assert_eq!(items.iter().sum::<usize>(), 32, "{items:?}");
        assert_eq!(second["data"]["pagination"]["hasNext"], json!(false));
    });
}

#[test]
fn a_call_is_recorded_with_its_recording_and_transcript() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let call = json!({
            "direction": "inbound", "durationSeconds": 94, "recordingUrl": "https://calls.example.com/1.mp3",
            "transcript": "Agent: Hello. Lena: Is the blue one in stock?",
        });
        let body = json!({
            "customer": { "id": "+491713920012", "phone": "+491713920012" },
            "message": { "id": "call-1", "sender": "customer", "text": "" }, "call": call,
        });

        let (status, answer) = record(&organization, "phone", body).await;

        assert_eq!(status, 201, "{answer}");
        assert_includes(&answer["data"], &json!({ "contentType": "call", "text": null, "content": call }), "message");
        let conversation = organization.conversation().await;
        assert_includes(
            &conversation,
            &json!({
                "channel": "phone", "lastMessage": { "text": "Call" },
                "customer": { "id": "+491713920012", "name": "+491713920012" },
            }),
            "conversation",
        );
        assert_eq!(organization.messages(&conversation).await, [answer["data"].clone()]);
    });
}

#[test]
fn a_message_recorded_again_is_the_first_one() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let body = recorded("visitor-1", "w1", "customer", "Hello?");
        let answers = join_all((0..12).map(|_| record(&organization, "website", body.clone()))).await;
        let (status, later) =
            record(&organization, "website", recorded("visitor-1", "w1", "ai", "Something else")).await;

        let mut statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 11, "{statuses:?}");
        assert_eq!((status, &later["data"]["text"]), (200, &json!("Hello?")));
        let ids: BTreeSet<_> = answers.iter().map(|(_, answer)| text(&answer["data"]["id"])).collect();
        assert_eq!(ids.len(), 1);
        let conversation = organization.conversation().await;
        assert_eq!(organization.messages(&conversation).await.len(), 1);
        assert_includes(
            &conversation,
            &json!({ "unreadCount": 1, "lastMessage": { "text": "Hello?", "sender": "customer" } }),
            "conversation",
        );
    });
}

#[test]
fn same_id_of_another_customer_is_another_message() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        for (channel, customer) in [("website", "visitor-1"), ("website", "visitor-2"), ("phone", "visitor-1")] {
            let body = recorded(customer, "w1", "customer", "Hello?");
            assert_eq!(record(&organization, channel, body).await.0, 201, "{channel} {customer}");
        }

        assert_eq!(organization.conversations("").await.len(), 3);
    });
}

#[test]
fn only_services_and_admins_record_and_services_do_nothing_else() {
    run(async |rig| {
        let organization = one_of_each(rig).await;
        let path = "/api/v1/channels/website/messages";
        let body = recorded("visitor-9", "w9", "customer", "Hello?");

        let (status, answer) = rig.api("POST", path, &organization.operator, body.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("FORBIDDEN")));
        assert_eq!(rig.api("POST", path, &organization.admin, body).await.0, 201);

        let conversation = organization.conversations("").await.remove(0);
        let one = format!("/api/v1/conversations/{}", id(&conversation));
        for (method, path, body) in [
            ("GET", "/api/v1/conversations", Value::Null),
            ("GET", &one, Value::Null),
            ("PATCH", &one, json!({ "status": "closed" })),
            ("GET", &format!("{one}/messages"), Value::Null),
            ("POST", &format!("{one}/messages"), json!({ "text": "x", "type": "internal_note" })),
            ("GET", "/api/v1/social-integrations", Value::Null),
            ("GET", "/api/v1/social-integrations/whatsapp", Value::Null),
            ("DELETE", "/api/v1/social-integrations/whatsapp", Value::Null),
        ] {
            let headers = [("idempotency-key", "k1")];
            let answer = rig.api_with(method, path, &organization.service, &headers, body).await;
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("FORBIDDEN")), "{method} {path}");
        }
        assert_eq!(organization.get(&one).await, conversation);
    });
}

#[test]
fn a_recording_that_makes_no_sense_is_refused_and_not_kept() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let with = |change: fn(&mut Value)| {
            let mut body = recorded("visitor-1", "w1", "customer", "Hello?");
            change(&mut body);
            body
        };
        let call = json!({ "direction": "inbound" });
        let with_call = |call: &Value| {
            let mut body = recorded("visitor-1", "w1", "customer", "");
            body["call"] = call.clone();
            body
        };

        for (channel, body, field) in [
            ("website", with(|body| body["message"]["text"] = json!("")), Some("message.text")),
            ("website", with(|body| body["message"]["text"] = json!(" \n")), Some("message.text")),
            ("website", with(|body| body["message"]["text"] = json!("x".repeat(100_001))), Some("message.text")),
            ("website", with(|body| body["message"]["text"] = json!("a\0b")), Some("message.text")),
            ("website", with(|body| body["message"]["id"] = json!("")), Some("message.id")),
            ("website", with(|body| body["message"]["id"] = json!("x".repeat(257))), Some("message.id")),
            ("website", with(|body| body["message"]["sender"] = json!("system")), None),
            ("website", with(|body| body["message"]["sender"] = json!(null)), None),
            ("website", with(|body| body["message"]["timestamp"] = json!("today")), Some("message.timestamp")),
            (
                "website",
                with(|body| body["message"]["timestamp"] = json!("2099-01-01T00:00:00Z")),
                Some("message.timestamp"),
            ),
            (
                "website",
                with(|body| body["message"]["timestamp"] = json!("1812-01-01T00:00:00Z")),
                Some("message.timestamp"),
            ),
            ("website", with(|body| body["customer"]["id"] = json!("")), Some("customer.id")),
            ("website", with(|body| body["customer"]["id"] = json!("\0")), Some("customer.id")),
            ("website", with(|body| body["customer"]["name"] = json!("x".repeat(201))), Some("customer.name")),
            ("website", with(|body| body["customer"] = json!(null)), None),
            ("website", with(|body| body["surprise"] = json!(1)), None),
            ("website", with_call(&call), Some("call")),
            ("phone", with_call(&json!({ "direction": "sideways" })), None),
            ("phone", with_call(&json!({ "direction": "inbound", "durationSeconds": -1 })), None),
            ("phone", with_call(&json!({})), None),
        ] {
            let (status, answer) = record(&organization, channel, body.clone()).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_BODY")), "{body:.200}");
            assert_eq!(answer["error"]["details"]["field"].as_str(), field, "{body:.200}");
        }
        for channel in ["whatsapp", "instagram", "facebook", "social", "telegram", "Website"] {
            let body = recorded("visitor-1", "w1", "customer", "Hello?");
            let (status, answer) = record(&organization, channel, body).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_PARAMETER")), "{channel}");
        }
        assert!(organization.conversations("").await.is_empty());
    });
}
