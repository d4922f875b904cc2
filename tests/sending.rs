//! Replies: what reaches the provider, what the operator is told, and that nothing is ever sent twice.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Answer, Rig, Setup, eventually};

use crate::shared::{Account, Organization, SOON, own_rig, run, text, unique};

const PLATFORMS: [&str; 3] = ["whatsapp", "instagram", "facebook"];
const CUSTOMER: &str = "491713920012";

/// An organization whose customer has just written on the platform.
async fn asked<'a>(rig: &'a Rig, platform: &'static str) -> (Organization<'a>, Account<'a>, Value) {
    let (organization, account) = Organization::with(rig, platform).await;
    account.customer_writes(CUSTOMER, "Is the blue one in stock?").await;
    let conversation = organization.conversation().await;
    (organization, account, conversation)
}

fn new_key() -> String {
    format!("sending-{}", unique())
}

/// What the provider accepted from an account.
async fn sent(account: &Account<'_>) -> Vec<Value> {
    let all = account.rig.sent().await;
    all.into_iter().filter(|sent| sent["accountId"] == account.id.as_str()).collect()
}

async fn fault(account: &Account<'_>, fault: &str, calls: u64) {
    let body = json!({ "fault": fault, "calls": calls, "accountId": account.id, "path": "messages" });
    account.rig.simulate("fault", body).await;
}

async fn message(organization: &Organization<'_>, conversation: &Value, id: &Value) -> Value {
    let messages = organization.messages(conversation).await;
    messages.iter().find(|message| message["id"] == *id).unwrap_or_else(|| panic!("no {id}: {messages:#?}")).clone()
}

/// Waits until a message has a status.
async fn until(organization: &Organization<'_>, conversation: &Value, id: &Value, status: &str) -> Value {
    eventually(status, SOON, async || {
        let found = message(organization, conversation, id).await;
        (found["status"] == status).then_some(found)
    })
    .await
}

fn history(message: &Value) -> Vec<&str> {
    message["statusHistory"].as_array().unwrap().iter().map(|entry| text(&entry["status"])).collect()
}

/// Status and error code.
fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn epoch_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn a_reply_reaches_the_customer_once_and_rises_to_read() {
    run(async |rig| {
        let all = PLATFORMS.map(async |platform| {
            let (organization, account, conversation) = asked(rig, platform).await;
            let words = "Yes, in M & L 👍🏽\n\"today\"";

            let (status, answer) = organization.send(&conversation, json!({ "text": words })).await;

            assert_eq!(status, 201, "{answer}");
            let reply = &answer["data"];
            assert_eq!((&reply["direction"], &reply["sender"]), (&json!("outbound"), &json!("operator")));
            assert_eq!((&reply["operatorId"], &reply["type"]), (&json!("olga"), &json!("message")));
            assert_eq!((&reply["text"], &reply["conversationId"]), (&json!(words), &conversation["id"]));
            assert_eq!(reply["error"], Value::Null);
            let sent = sent(&account).await;
            assert_eq!(sent.len(), 1, "{sent:#?}");
            assert_eq!((&sent[0]["to"], &sent[0]["text"]), (&json!(CUSTOMER), &json!(words)));
            let callback_data = format!("{}.{}", text(&conversation["id"]), text(&reply["id"]));
            assert_eq!(sent[0]["callbackData"], callback_data.as_str());

            let read = until(&organization, &conversation, &reply["id"], "read").await;
            // Instagram tells no delivery.
            let expected: &[&str] = match platform {
                "instagram" => &["sending", "accepted", "sent", "read"],
                _ => &["sending", "accepted", "sent", "delivered", "read"],
            };
            assert_eq!(history(&read), expected, "{read}");
            let conversation = organization.conversation().await;
            assert_eq!(
                (&conversation["lastMessage"]["text"], &conversation["lastMessage"]["sender"]),
                (&reply["text"], &json!("operator"))
            );
            assert_eq!(organization.thread().await.len(), 2, "the echo is no message of its own");
        });
        join_all(all).await;
    });
}

#[test]
fn a_reply_to_a_message_quotes_it_at_the_provider() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;
            let asked = rig.simulate_inbound(platform, &account.id, CUSTOMER, "The blue one?").await;
            account.customer_writes(CUSTOMER, "Or the red one?").await;
            let conversation = organization.conversation().await;
            let question = organization.thread().await.remove(0);
            assert_eq!(question["text"], "The blue one?");

            let body = json!({ "text": "That one, yes.", "replyTo": question["id"] });
            let (status, answer) = organization.send(&conversation, body).await;

            assert_eq!(status, 201, "{answer}");
            assert_eq!(answer["data"]["replyTo"], json!({ "id": question["id"], "externalId": asked["id"] }));
            let sent = sent(&account).await;
            let quoted = match platform {
                "whatsapp" => &sent[0]["body"]["context"]["message_id"],
                _ => &sent[0]["body"]["reply_to"]["mid"],
            };
            assert_eq!(*quoted, asked["id"], "{sent:#?}");
        }
    });
}

#[test]
fn only_a_message_of_the_conversation_can_be_replied_to() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        account.customer_writes("491713920099", "Another customer").await;
        let others = organization.conversations("").await;
        let other = others.iter().find(|other| other["id"] != conversation["id"]).unwrap();
        let of_other = organization.messages(other).await.remove(0);

        let unknown = json!("1767877200000-0123456789abcdef0123456789abcdef");
        for reply_to in [of_other["id"].clone(), unknown, json!("nonsense"), json!("1#2"), json!("")] {
            let body = json!({ "text": "Yes", "replyTo": reply_to });
            let (status, answer) = organization.send(&conversation, body).await;
            assert_eq!((status, &answer["error"]["code"]), (404, &json!("MESSAGE_NOT_FOUND")), "{reply_to}: {answer}");
        }
        assert_eq!(sent(&account).await, Vec::<Value>::new());
        assert_eq!(organization.messages(&conversation).await.len(), 1);
    });
}

#[test]
fn an_internal_note_never_reaches_the_provider() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account, conversation) = asked(rig, platform).await;

            let body = json!({ "text": "Asked the warehouse.", "type": "internal_note" });
            let (status, answer) = organization.send(&conversation, body).await;

            assert_eq!(status, 201, "{answer}");
            let note = &answer["data"];
            assert_eq!((&note["type"], &note["status"]), (&json!("internal_note"), &Value::Null));
            assert_eq!((&note["operatorId"], &note["statusHistory"]), (&json!("olga"), &json!([])));
            assert_eq!(organization.thread().await.last().unwrap(), note);
            assert_eq!(sent(&account).await, Vec::<Value>::new());
            assert_eq!(organization.conversation().await["lastMessage"], conversation["lastMessage"]);
        }
    });
}

#[tokio::test]
async fn statuses_that_come_in_any_order_or_twice_end_at_read() {
    let rig = own_rig(Setup::default());
    for statuses in ["reversed", "doubled"] {
        rig.simulate("settings", json!({ "statuses": statuses, "delayMs": 60 })).await;
        let all = PLATFORMS.map(async |platform| {
            let (organization, account, conversation) = asked(&rig, platform).await;
            let (status, answer) = organization.send(&conversation, json!({ "text": "Yes" })).await;
            assert_eq!(status, 201, "{answer}");
            let id = &answer["data"]["id"];

            until(&organization, &conversation, id, "read").await;
            eventually("everything is delivered", SOON, async || {
                let undelivered = rig.undelivered().await;
                undelivered.iter().all(|delivery| delivery["account"]["id"] != account.id.as_str()).then_some(())
            })
            .await;

            let settled = message(&organization, &conversation, id).await;
            assert_eq!(settled["status"], "read", "{statuses} {settled}");
            let times: Vec<&str> = history(&settled);
            assert_eq!(times.iter().collect::<BTreeSet<_>>().len(), times.len(), "{settled}");
            assert_eq!(organization.thread().await.len(), 2);
        });
        join_all(all).await;
    }
}

#[tokio::test]
async fn failed_message_says_why_and_delivered_stays_delivered() {
    let rig = own_rig(Setup::default());
    rig.simulate("settings", json!({ "statuses": "manual" })).await;
    let (organization, account, conversation) = asked(&rig, "whatsapp").await;
    let (_, failing) = organization.send(&conversation, json!({ "text": "To nobody" })).await;
    let (_, delivered) = organization.send(&conversation, json!({ "text": "To somebody" })).await;
    let sent = sent(&account).await;
    let report = async |sent: &Value, status: &str| {
        let body = json!({ "accountId": account.id, "id": sent["id"], "status": status });
        assert_eq!(rig.simulate("status", body).await["delivered"], true);
    };

    report(&sent[0], "sent").await;
    report(&sent[0], "failed").await;
    report(&sent[1], "delivered").await;
    report(&sent[1], "failed").await;

    let failed = message(&organization, &conversation, &failing["data"]["id"]).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["error"]["code"], "131026");
    assert_eq!(failed["error"]["title"], "Message undeliverable");
    assert_eq!(history(&failed), ["sending", "accepted", "sent", "failed"]);
    let delivered = message(&organization, &conversation, &delivered["data"]["id"]).await;
    assert_eq!((&delivered["status"], &delivered["error"]), (&json!("delivered"), &Value::Null));
    assert!(!history(&delivered).contains(&"failed"), "{delivered}");
}

/// Fault, how often, answer, code, the provider's code, the message's status.
type Case = (&'static str, u64, u16, &'static str, &'static str);
const REFUSALS: [Case; 7] = [
    ("unauthorized", 1, 422, "PROVIDER_REJECTED", "401"),
    ("rate_limit", 3, 503, "PROVIDER_UNAVAILABLE", "429"),
    ("rate_limit_400", 3, 503, "PROVIDER_UNAVAILABLE", "429"),
    ("server_error", 1, 503, "PROVIDER_UNAVAILABLE", "UNAVAILABLE"),
    ("reject:131026", 1, 422, "PROVIDER_REJECTED", "131026"),
    ("reject:131047", 1, 422, "PROVIDER_REJECTED", "131047"),
    ("reject:100", 1, 422, "PROVIDER_REJECTED", "100"),
];

#[test]
fn refused_message_is_failed_also_when_repeated() {
    run(async |rig| {
        let cases = PLATFORMS.into_iter().flat_map(|platform| REFUSALS.map(|case| (platform, case)));
        let cases = cases.map(async |(platform, (name, calls, status, code, provider_code))| {
            let (organization, account, conversation) = asked(rig, platform).await;
            fault(&account, name, calls).await;
            let (key, body) = (new_key(), json!({ "text": "Yes" }));

            let answer = organization.send_with_key(&conversation, &key, body.clone()).await;

            let case = format!("{platform} {name}: {}", answer.text());
            assert_eq!(refusal(&answer), (status, code.to_owned()), "{case}");
            let details = answer.json()["error"]["details"].clone();
            assert_eq!(details["code"], provider_code, "{case}");
            assert!(!text(&details["title"]).is_empty(), "{case}");
            let failed = message(&organization, &conversation, &details["messageId"]).await;
            assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &details["code"]), "{case}");

            let again = organization.send_with_key(&conversation, &key, body).await;
            assert_eq!(again.status, answer.status, "{case}");
            assert_eq!(again.json()["error"], answer.json()["error"], "{case}");
            assert_eq!(sent(&account).await, Vec::<Value>::new(), "{case}");
            assert_eq!(organization.thread().await.len(), 2, "{case}");

            let integration = organization.get(&format!("/api/v1/social-integrations/{platform}")).await;
            let (expected, next) = if name == "unauthorized" { ("error", 409) } else { ("connected", 201) };
            assert_eq!(integration["status"], expected, "{case}");
            assert_eq!(integration["errorMessage"].is_string(), name == "unauthorized", "{case}");
            assert_eq!(organization.send(&conversation, json!({ "text": "Now?" })).await.0, next, "{case}");
        });
        join_all(cases).await;
    });
}

#[test]
fn a_rate_limit_that_passes_is_bridged_without_sending_twice() {
    run(async |rig| {
        for (platform, name) in
            [("whatsapp", "rate_limit"), ("instagram", "rate_limit_400"), ("facebook", "rate_limit")]
        {
            let (organization, account, conversation) = asked(rig, platform).await;
            fault(&account, name, 1).await;

            let (status, answer) = organization.send(&conversation, json!({ "text": "Yes" })).await;

            assert_eq!(status, 201, "{platform}: {answer}");
            assert_eq!(sent(&account).await.len(), 1, "{platform}");
        }
    });
}

#[test]
fn lost_answer_is_unknown_until_a_status_and_not_resent() {
    run(async |rig| {
        let all = PLATFORMS.map(async |platform| {
            let (organization, account, conversation) = asked(rig, platform).await;
            fault(&account, "drop_after_accept", 1).await;
            let (key, body) = (new_key(), json!({ "text": "Yes" }));

            let answer = organization.send_with_key(&conversation, &key, body.clone()).await;

            assert_eq!(answer.status, 202, "{platform}: {}", answer.text());
            let id = &answer.json()["data"]["id"];
            let again = organization.send_with_key(&conversation, &key, body).await;
            assert_eq!((again.status, &again.json()["data"]["id"]), (202, id), "{platform}");
            let read = until(&organization, &conversation, id, "read").await;
            assert_eq!(read["error"], Value::Null);
            assert!(history(&read).contains(&"unknown"), "{read}");
            assert_eq!(sent(&account).await.len(), 1, "{platform}");
            assert_eq!(organization.thread().await.len(), 2, "{platform}");
        });
        join_all(all).await;
    });
}

#[test]
fn a_provider_that_does_not_answer_leaves_the_message_unknown() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        fault(&account, "timeout", 1).await;
        let (key, body) = (new_key(), json!({ "text": "Yes" }));

        let answer = organization.send_with_key(&conversation, &key, body.clone()).await;

        assert_eq!((answer.status, &answer.json()["data"]["status"]), (202, &json!("unknown")), "{}", answer.text());
        let again = organization.send_with_key(&conversation, &key, body).await;
        assert_eq!((again.status, &again.json()["data"]), (202, &answer.json()["data"]));
        assert_eq!(sent(&account).await, Vec::<Value>::new());
    });
}

#[tokio::test]
async fn a_send_whose_process_dies_is_not_sent_again_by_a_repetition() {
    let rig = own_rig(Setup::default());
    let (organization, account, conversation) = asked(&rig, "whatsapp").await;
    fault(&account, "timeout", 1).await;
    let (key, body) = (new_key(), json!({ "text": "Yes" }));

    let (killed, ()) = tokio::join!(organization.send_with_key(&conversation, &key, body.clone()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.kill("send-message").await;
    });

    assert_eq!(killed.status, 500);
    let again = organization.send_with_key(&conversation, &key, body).await;
    assert_eq!(again.status, 202, "{}", again.text());
    assert_eq!(organization.thread().await.len(), 2);
    assert_eq!(sent(&account).await, Vec::<Value>::new());
}

#[test]
fn outside_the_window_nothing_but_notes_can_be_written() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account) = Organization::with(rig, platform).await;
            let yesterday = epoch_ms() - 25 * 60 * 60 * 1000;
            let inbound = json!({
                "platform": platform, "accountId": account.id, "from": CUSTOMER, "text": "Hello", "timestamp": yesterday,
            });
            rig.simulate("inbound", inbound).await;
            let conversation = organization.conversation().await;
            let allowed = if platform == "whatsapp" { json!(["template"]) } else { json!([]) };
            assert_eq!(
                (&conversation["window"]["open"], &conversation["window"]["allowed"]),
                (&json!(false), &allowed)
            );

            let (status, answer) = organization.send(&conversation, json!({ "text": "Sorry, we are late" })).await;

            assert_eq!((status, &answer["error"]["code"]), (422, &json!("WINDOW_CLOSED")), "{answer}");
            let details = &answer["error"]["details"];
            assert_eq!((&details["allowed"], &details["closedAt"]), (&allowed, &conversation["window"]["closesAt"]));
            assert_eq!(sent(&account).await, Vec::<Value>::new());
            assert_eq!(organization.thread().await.len(), 1, "nothing is stored");
            let note = json!({ "text": "Too late", "type": "internal_note" });
            assert_eq!(organization.send(&conversation, note).await.0, 201);

            account.customer_writes(CUSTOMER, "Hello?").await;
            assert_eq!(organization.send(&conversation, json!({ "text": "Hello!" })).await.0, 201);
        }
    });
}

#[test]
fn a_text_is_as_long_as_the_platform_takes_and_no_longer() {
    run(async |rig| {
        let limits = [
            ("whatsapp", "ä", 4096, 4096, "characters"),
            ("facebook", "ä", 2000, 2000, "characters"),
            ("instagram", "ä", 500, 1000, "bytes"),
        ];
        for (platform, letter, most, limit, unit) in limits {
            let (organization, account, conversation) = asked(rig, platform).await;

            let (status, answer) = organization.send(&conversation, json!({ "text": letter.repeat(most) })).await;
            assert_eq!(status, 201, "{platform} {answer}");
            let (status, answer) = organization.send(&conversation, json!({ "text": letter.repeat(most + 1) })).await;

            assert_eq!((status, &answer["error"]["code"]), (422, &json!("TEXT_TOO_LONG")), "{platform} {answer}");
            assert_eq!(answer["error"]["details"], json!({ "limit": limit, "unit": unit }));
            assert_eq!(sent(&account).await.len(), 1);
            assert_eq!(organization.thread().await.len(), 2);
        }
    });
}

#[test]
fn a_text_that_is_empty_or_missing_is_refused() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        for message_type in ["message", "internal_note"] {
            for words in ["", " ", "\n\t "] {
                let body = json!({ "text": words, "type": message_type });
                let (status, answer) = organization.send(&conversation, body).await;
                assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_BODY")), "{answer}");
                assert_eq!(answer["error"]["details"], json!({ "field": "text" }));
            }
        }
        for body in
            [json!({}), json!({ "text": null }), json!({ "text": 5 }), json!({ "text": "x", "type": "template" })]
        {
            let (status, answer) = organization.send(&conversation, body).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_BODY")), "{answer}");
        }
        assert_eq!(sent(&account).await, Vec::<Value>::new());
        assert_eq!(organization.thread().await.len(), 1);
    });
}

#[test]
fn nobody_replies_on_the_website_or_the_phone_here() {
    run(async |rig| {
        for channel in ["website", "phone"] {
            let organization = Organization::new(rig).await;
            let recorded = json!({
                "customer": { "id": "visitor-1", "phone": CUSTOMER },
                "message": { "id": "1", "sender": "customer", "text": "When do you open?" },
            });
            let path = format!("/api/v1/channels/{channel}/messages");
            assert_eq!(rig.api("POST", &path, &organization.service, recorded).await.0, 201);
            let conversation = organization.conversation().await;

            let (status, answer) = organization.send(&conversation, json!({ "text": "At nine" })).await;

            assert_eq!((status, &answer["error"]["code"]), (422, &json!("CHANNEL_NOT_SENDABLE")), "{answer}");
            let note = json!({ "text": "Told them", "type": "internal_note" });
            assert_eq!(organization.send(&conversation, note).await.0, 201);
            assert_eq!(organization.thread().await.len(), 2);
        }
    });
}

#[test]
fn a_repeated_request_sends_once_and_gets_the_first_answer() {
    run(async |rig| {
        for platform in PLATFORMS {
            let (organization, account, conversation) = asked(rig, platform).await;
            let (key, body) = (new_key(), json!({ "text": "Yes" }));
            let first = organization.send_with_key(&conversation, &key, body.clone()).await;
            assert_eq!(first.status, 201, "{}", first.text());

            for _ in 0..3 {
                let again = organization.send_with_key(&conversation, &key, body.clone()).await;
                assert_eq!(again.status, 201, "{}", again.text());
                assert_eq!(again.json()["data"]["id"], first.json()["data"]["id"]);
            }

            assert_eq!(sent(&account).await.len(), 1);
            assert_eq!(organization.thread().await.len(), 2);
        }
    });
}

#[test]
fn ten_equal_requests_at_once_send_once() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        let (key, body) = (new_key(), json!({ "text": "Yes" }));

        let answers = join_all((0..10).map(|_| organization.send_with_key(&conversation, &key, body.clone()))).await;

        let ids: BTreeSet<String> = answers.iter().map(|answer| answer.json()["data"]["id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        // Those that met the first one on its way learn that its outcome is not known yet.
        let statuses: BTreeSet<u16> = answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.contains(&201) && statuses.is_subset(&BTreeSet::from([201, 202])), "{statuses:?}");
        assert_eq!(organization.send_with_key(&conversation, &key, body).await.status, 201);
        assert_eq!(sent(&account).await.len(), 1);
        assert_eq!(organization.thread().await.len(), 2);
    });
}

#[test]
fn a_note_is_written_once_as_well() {
    run(async |rig| {
        let (organization, _, conversation) = asked(rig, "whatsapp").await;
        let (key, note) = (new_key(), json!({ "text": "Called them", "type": "internal_note" }));

        let answers = join_all((0..10).map(|_| organization.send_with_key(&conversation, &key, note.clone()))).await;

        let texts: BTreeSet<String> = answers.iter().map(|answer| answer.json()["data"].to_string()).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(answers.iter().all(|answer| answer.status == 201));
        assert_eq!(organization.thread().await.len(), 2);
    });
}

#[test]
fn a_key_that_comes_with_another_body_is_refused() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        let question = organization.thread().await.remove(0);
        let key = new_key();
        let first = organization.send_with_key(&conversation, &key, json!({ "text": "Yes" })).await;
        assert_eq!(first.status, 201);

        for body in [
            json!({ "text": "No" }),
            json!({ "text": "Yes ", }),
            json!({ "text": "Yes", "type": "internal_note" }),
            json!({ "text": "Yes", "replyTo": question["id"] }),
        ] {
            let answer = organization.send_with_key(&conversation, &key, body.clone()).await;
            assert_eq!(refusal(&answer), (409, "IDEMPOTENCY_KEY_REUSED".to_owned()), "{body}");
        }

        assert_eq!(sent(&account).await.len(), 1);
        assert_eq!(organization.thread().await.len(), 2);
    });
}

#[test]
fn a_key_counts_within_its_conversation() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        account.customer_writes("491713920099", "Me too").await;
        let others = organization.conversations("").await;
        let other = others.iter().find(|other| other["id"] != conversation["id"]).unwrap();
        let (key, body) = (new_key(), json!({ "text": "Yes" }));

        let first = organization.send_with_key(&conversation, &key, body.clone()).await;
        let second = organization.send_with_key(other, &key, body).await;

        assert_eq!((first.status, second.status), (201, 201), "{}", second.text());
        assert_ne!(first.json()["data"]["id"], second.json()["data"]["id"]);
        let to: Vec<Value> = sent(&account).await.iter().map(|sent| sent["to"].clone()).collect();
        assert_eq!(to, [CUSTOMER, "491713920099"]);
    });
}

#[test]
fn under_an_unusable_key_nothing_is_sent() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        let body = json!({ "text": "Yes" });
        let long = "k".repeat(65);

        for key in ["", " ", "a key", "a\tkey", &long] {
            let answer = organization.send_with_key(&conversation, key, body.clone()).await;
            assert_eq!(refusal(&answer), (400, "INVALID_IDEMPOTENCY_KEY".to_owned()), "{key:?}");
        }

        assert_eq!(sent(&account).await, Vec::<Value>::new());
        let longest = "!~".repeat(32);
        assert_eq!(organization.send_with_key(&conversation, &longest, body).await.status, 201);
    });
}

#[test]
fn without_a_key_a_repetition_is_a_new_message() {
    run(async |rig| {
        let (organization, account, conversation) = asked(rig, "whatsapp").await;
        let path = format!("/api/v1/conversations/{}/messages", text(&conversation["id"]));

        for _ in 0..2 {
            let answer = rig.api_with("POST", &path, &organization.operator, &[], json!({ "text": "Yes" })).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
        }

        assert_eq!(sent(&account).await.len(), 2);
    });
}

#[test]
fn an_answer_goes_to_the_customer_as_the_platform_names_them() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let inbound = json!({
            "platform": "whatsapp", "accountId": account.id, "userId": "DE.81720034455667788990", "name": "Lena", "text": "Hi",
        });
        rig.simulate("inbound", inbound).await;
        let conversation = organization.conversation().await;

        let (status, answer) = organization.send(&conversation, json!({ "text": "Hi!" })).await;

        assert_eq!(status, 201, "{answer}");
        let sent = sent(&account).await;
        assert_eq!(sent[0]["body"]["recipient"], "DE.81720034455667788990");
        assert_eq!(sent[0]["body"].get("to"), None);
    });
}
