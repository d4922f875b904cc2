//! The journal: what happened is told, in order, once, to nobody else; whatever happens to who writes it. Every event is what
//! `asyncapi.yaml` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
    time::Duration,
};

use jsonschema::Validator;
use serde_json::{Value, json};
use support::{Rig, Setup, eventually, workspace};

use crate::{
    openapi::{document, problems},
    shared::{Account, Organization, SOON, own_rig, run, text, unique},
};

const WRITER: &str = "write-journal";

/// `asyncapi.yaml`.
fn asyncapi() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let path = workspace().join("asyncapi.yaml");
        serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    });
    &DOCUMENT
}

/// The schema of each type of event.
fn validators() -> &'static BTreeMap<String, Validator> {
    static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
        let mut schemas = document()["components"]["schemas"].as_object().unwrap().clone();
        schemas.extend(asyncapi()["components"]["schemas"].as_object().unwrap().clone());
        let messages = asyncapi()["components"]["messages"].as_object().unwrap().values();
        let of = |message: &Value| {
            let mut schema = message["payload"].clone();
            schema["components"] = json!({ "schemas": schemas });
            // Both documents are one here.
            let schema = schema.to_string().replace("./openapi.yaml#", "#");
            let schema = serde_json::from_str(&schema).unwrap();
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            (text(&message["name"]).to_owned(), validator)
        };
        messages.map(of).collect()
    });
    &VALIDATORS
}

fn assert_described(event: &Value) {
    let kind = text(&event["type"]);
    let validator = validators().get(kind).unwrap_or_else(|| panic!("{kind} is not described"));
    assert_eq!(problems(validator, event), "", "{event:#}");
}

/// All events of an organization, which follow each other, and each of which is what the contract says.
async fn events(organization: &Organization<'_>) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let page = organization.get(&format!("/api/v1/events?limit=100{after}")).await;
        events.extend(page["items"].as_array().unwrap().clone());
        if page["hasMore"] == false {
            break;
        }
        after = format!("&after={}", text(&page["next"]));
    }
    let sequences: Vec<u64> = events.iter().map(|event| text(&event["sequence"]).parse().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole: {sequences:?}");
    let ids: BTreeSet<&str> = events.iter().map(|event| text(&event["id"])).collect();
    assert_eq!(ids.len(), events.len(), "an event is told twice: {events:#?}");
    events.iter().for_each(assert_described);
    events
}

/// The events, once these texts are told.
async fn told(organization: &Organization<'_>, texts: &[String]) -> Vec<Value> {
    let told = eventually("the messages are told", SOON, async || {
        let events = events(organization).await;
        let is_told = |words: &String| events.iter().any(|event| event["data"]["message"]["text"] == words.as_str());
        texts.iter().all(is_told).then_some(events)
    });
    told.await
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// Each of the texts is told as received, once.
fn assert_once(events: &[Value], texts: &[String]) {
    for words in texts {
        let received = of_type(events, "message.received");
        let count = received.iter().filter(|event| event["data"]["message"]["text"] == words.as_str()).count();
        assert_eq!(count, 1, "{words}");
    }
}

/// So many customers write once each; the texts.
async fn customers_write(account: &Account<'_>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let number = unique();
        let words = format!("question {number}");
        let from = format!("4916{number:08}");
        let at = crate::shared::now();
        account.receive_body(account.text_delivery(&format!("wamid.event{number}"), &from, at, &words)).await;
        texts.push(words);
    }
    texts
}

async fn order(rig: &Rig, fault: &str, batches: u64) {
    let url = format!("{}/local/stream?fault={fault}&batches={batches}", rig.api);
    assert_eq!(rig.request("POST", &url, &[], "").await.status, 204);
}

#[test]
fn what_customers_and_operators_do_is_told_in_order() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.customer_writes("491713920012", "Is the blue one in stock?").await;
        let conversation = organization.conversation().await;
        assert_eq!(organization.send(&conversation, json!({ "text": "Yes, it is." })).await.0, 201);
        let note = json!({ "text": "A regular", "type": "internal_note" });
        assert_eq!(organization.send(&conversation, note).await.0, 201);
        for change in [json!({ "read": true }), json!({ "labels": ["vip"] }), json!({ "assignedTo": "me" })] {
            organization.update(&conversation, change).await;
        }
        organization.update(&conversation, json!({ "status": "closed" })).await;

        let events = eventually("all of it is told", SOON, async || {
            let events = events(&organization).await;
            let read = of_type(&events, "message.status_changed");
            let is_read = read.iter().any(|event| event["data"]["message"]["status"] == "read");
            (is_read && !of_type(&events, "conversation.closed").is_empty()).then_some(events)
        })
        .await;

        for kind in [
            "integration.changed",
            "message.received",
            "conversation.opened",
            "message.sent",
            "note.added",
            "conversation.read",
            "conversation.labeled",
            "conversation.assigned",
            "conversation.closed",
        ] {
            assert_eq!(of_type(&events, kind).len(), 1, "{kind}: {events:#?}");
        }
        let received = of_type(&events, "message.received")[0];
        let shown = organization.messages(&conversation).await.remove(0);
        assert_eq!(received["data"]["message"], shown, "as the API shows it");
        assert_eq!(received["data"]["conversationId"], conversation["id"]);
        assert_eq!(received["source"], format!("/organizations/{}", organization.id));
        let statuses = of_type(&events, "message.status_changed");
        let statuses: Vec<_> = statuses.iter().map(|event| text(&event["data"]["message"]["status"])).collect();
        assert!(statuses.contains(&"accepted") && statuses.ends_with(&["read"]), "{statuses:?}");
        let place = |kind| events.iter().position(|event| event["type"] == kind).unwrap();
        assert!(place("message.received") < place("message.sent"));
        assert!(place("message.sent") < place("message.status_changed"));

        let other = Organization::new(rig).await;
        assert_eq!(self::events(&other).await, [Value::Null; 0]);
    });
}

#[test]
fn every_type_is_told_as_asyncapi_describes_it() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let described: BTreeSet<&str> = validators().keys().map(String::as_str).collect();
        for platform in ["whatsapp", "instagram", "facebook"] {
            let account = organization.connect(platform).await;
            for fixture in crate::shared::fixtures(platform) {
                account.receive(&fixture).await;
            }
            account.customer_writes("491713920012", "Hello").await;
        }
        let conversation = organization.conversations("channel=whatsapp").await.remove(0);
        let (status, answer) = organization.send(&conversation, json!({ "text": "Yes" })).await;
        assert_eq!(status, 201, "{answer}");
        let note = json!({ "text": "A regular", "type": "internal_note" });
        assert_eq!(organization.send(&conversation, note).await.0, 201);
        let changes = json!({ "read": true, "labels": ["vip"], "assignedTo": "me", "status": "closed" });
        organization.update(&conversation, changes).await;
        let path = "/api/v1/social-integrations/facebook";
        assert_eq!(rig.api("DELETE", path, &organization.admin, Value::Null).await.0, 200);

        let seen = async || {
            let events = events(&organization).await;
            let seen: BTreeSet<String> = events.iter().map(|event| text(&event["type"]).to_owned()).collect();
            let missing: Vec<_> = described.iter().filter(|kind| !seen.contains(**kind)).collect();
            let is_deleted =
                |event: &&Value| event["data"]["platform"] == "facebook" && event["data"]["integration"] == Value::Null;
            let last = of_type(&events, "integration.changed").pop().filter(is_deleted);
            (missing.is_empty() && last.is_some()).then_some(events)
        };
        let events = eventually("every type is told, and the deletion as the last change", SOON, seen).await;

        let whole = json!(events).to_string();
        assert!(!whole.contains("sim_") && !whole.contains("sealedKey"), "a key is told");
    });
}

#[test]
fn every_example_of_an_event_is_what_it_stands_for() {
    let messages = asyncapi()["components"]["messages"].as_object().unwrap();
    let told: BTreeSet<&str> = messages.values().map(|message| text(&message["name"])).collect();
    let listed = document()["components"]["schemas"]["Event"]["properties"]["type"]["enum"].as_array().unwrap();
    assert_eq!(told, listed.iter().map(text).collect());
    for message in messages.values() {
        let example = &message["examples"][0]["payload"];
        assert_eq!(example["type"], message["name"]);
        assert_described(example);
    }
}

#[test]
fn a_receiver_that_waits_hears_at_once() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        eventually("the connection is told", SOON, async || events(&organization).await.pop()).await;

        let waiting = organization.get("/api/v1/events?after=latest&types=message.received&wait=20");
        let (page, texts) = tokio::join!(waiting, async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            customers_write(&account, 1).await
        });

        assert_eq!(page["items"][0]["data"]["message"]["text"], texts[0].as_str(), "{page}");
        let after = format!("/api/v1/events?after={}", text(&page["next"]));
        let nothing = organization.get(&format!("{after}&types=message.edited")).await;
        assert_eq!(nothing["items"], json!([]));
    });
}

#[tokio::test]
async fn batches_that_come_again_or_in_halves_tell_once() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    order(&rig, "repeat", 20).await;
    order(&rig, "split", 20).await;

    let texts = customers_write(&account, 40).await;

    assert_once(&told(&organization, &texts).await, &texts);
    let drained = async || {
        let waiting = rig.request("GET", &format!("{}/local/stream", rig.api), &[], "").await.json();
        (waiting["waiting"] == 0).then_some(())
    };
    eventually("nothing is under way", SOON, drained).await;
    assert_once(&events(&organization).await, &texts);
}

#[tokio::test]
async fn a_writer_that_is_killed_leaves_no_hole() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    // After it took effect, too.
    for fault in ["broken_after", "error_after", "error"] {
        let order = format!("{}/local/fault?service=table&fault={fault}&calls=4&of=stream", rig.api);
        assert_eq!(rig.request("POST", &order, &[], "").await.status, 204);
    }

    let mut texts = Vec::new();
    for _ in 0..8 {
        texts.extend(customers_write(&account, 5).await);
        rig.kill(WRITER).await;
    }

    assert_once(&told(&organization, &texts).await, &texts);
}

#[tokio::test]
async fn what_was_just_written_waits_for_its_writer() {
    let rig = own_rig(Setup::default());
    let (_, account) = Organization::with(&rig, "whatsapp").await;
    rig.reserve(WRITER, 0).await;
    let url = format!("{}/local/stream", rig.api);
    let waiting = async || rig.request("GET", &url, &[], "").await.json()["waiting"].as_u64().unwrap();

    let mut before = waiting().await;
    for number in 0..5 {
        account.customer_writes(&format!("49171392001{number}"), "Hello").await;
        let now = waiting().await;
        assert!(now > before, "{now} after {before}");
        before = now;
    }
}

#[tokio::test]
async fn what_was_not_told_before_a_restart_is_told_after() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let before = customers_write(&account, 1).await;
    told(&organization, &before).await;
    rig.reserve(WRITER, 0).await;
    let after = customers_write(&account, 2).await;
    let id = organization.id.clone();

    let rig = rig.restart();

    let operator = rig.token(&id, "olga", "operator").await;
    let organization = Organization { rig: &rig, id, admin: operator.clone(), service: operator.clone(), operator };
    let texts = [before, after].concat();
    assert_once(&told(&organization, &texts).await, &texts);
}
