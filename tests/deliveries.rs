//! Arbitrary and damaged deliveries through the real webhook: each is answered with 200, and everything in it is accounted for.

use std::time::Duration;

use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};
use support::{Rig, Setup, eventually};
use tokio::runtime::Runtime;

use crate::{
    metrics,
    shared::{Account, Organization, fixture, fixtures, items, own_rig, quarantined, text},
};

const PLATFORMS: [&str; 3] = ["whatsapp", "facebook", "instagram"];
/// As many as take some ten seconds; `shared` has a test with many more that does without the system around.
const CASES: u32 = 150;

/// The provider's words, so that what is made of them gets past the first doors.
const WORDS: [&str; 48] = [
    "object",
    "entry",
    "changes",
    "field",
    "value",
    "messaging",
    "standby",
    "messages",
    "statuses",
    "errors",
    "calls",
    "message_echoes",
    "contacts",
    "metadata",
    "phone_number_id",
    "id",
    "from",
    "to",
    "from_user_id",
    "wa_id",
    "user_id",
    "profile",
    "name",
    "timestamp",
    "type",
    "text",
    "body",
    "image",
    "interactive",
    "system",
    "reaction",
    "message_id",
    "emoji",
    "edit",
    "revoke",
    "original_message_id",
    "message",
    "context",
    "sender",
    "recipient",
    "mid",
    "attachments",
    "payload",
    "postback",
    "watermark",
    "read",
    "is_echo",
    "is_deleted",
];

/// A delivery, and who says that they deliver it.
#[derive(Debug, Clone)]
struct Case {
    body: Vec<u8>,
    /// One of [`PLATFORMS`]: the account whose token comes with it. Beyond: the token of all accounts.
    sender: usize,
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(&WORDS[..]).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("a#b\u{0}")),
        Just(json!("x".repeat(2000))),
        Just(json!(1_767_877_200)),
    ];
    leaf.prop_recursive(8, 48, 5, |inner| {
        let key = prop_oneof![8 => select(&WORDS[..]).prop_map(str::to_owned), 1 => "\\PC{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                places(field, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

/// Puts `other` in some place of a value, or doubles what stands there.
fn mutate(body: &mut Value, place: Index, other: Option<Value>) {
    let mut all = Vec::new();
    places(body, "", &mut all);
    let target = body.pointer_mut(&all[place.index(all.len())]).unwrap();
    *target = match other {
        Some(other) => other,
        None => json!([target.clone(), target.clone()]),
    };
}

/// Fixtures that are JSON in which the account can be named.
fn originals() -> Vec<Value> {
    let of = |platform: &'static str| {
        let bodies = fixtures(platform).into_iter().map(move |name| fixture(platform, &name));
        bodies.filter_map(|body| serde_json::from_str(&body).ok())
    };
    PLATFORMS.into_iter().flat_map(of).collect()
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let original = || select(originals());
    let mutation = (any::<Index>(), prop::option::weighted(0.8, any_json()));
    let mutated = (original(), prop::collection::vec(mutation, 1..5)).prop_map(|(mut body, mutations)| {
        for (place, other) in mutations {
            mutate(&mut body, place, other);
        }
        body.to_string().into_bytes()
    });
    let damage = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    let damaged = (original(), damage, any::<Index>(), any::<bool>()).prop_map(|(body, damage, length, is_cut)| {
        let mut body = body.to_string().into_bytes();
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if is_cut {
            body.truncate(length.index(body.len()));
        }
        body
    });
    let value = (select(vec!["messages", "statuses", "message_echoes"]), prop::collection::vec(any_json(), 0..4));
    let item = |(key, items): (&str, Vec<Value>)| {
        let value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "700100200300402" }, key: items });
        let change = json!({ "field": "messages", "value": value });
        json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
    };
    prop_oneof![
        5 => mutated,
        2 => damaged,
        2 => value.prop_map(move |value| item(value).into_bytes()),
        2 => any_json().prop_map(|body| body.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn any_case() -> impl Strategy<Value = Case> {
    (any_body(), 0..=PLATFORMS.len()).prop_map(|(body, sender)| Case { body, sender })
}

/// How many events there are at least in a delivery.
fn events_in(body: &[u8]) -> u64 {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return 1 };
    let length = |value: &Value| value.as_array().map_or(0, |items| items.len() as u64);
    let entries = body["entry"].as_array().map_or(&[][..], Vec::as_slice).iter();
    match body["object"].as_str() {
        Some("whatsapp_business_account") => entries
            .flat_map(|entry| entry["changes"].as_array().map_or(&[][..], Vec::as_slice))
            .filter(|change| change["field"] == "messages" && change["value"].is_object())
            .map(|change| length(&change["value"]["messages"]) + length(&change["value"]["statuses"]))
            .sum(),
        Some("page" | "instagram") => {
            entries.map(|entry| length(&entry["messaging"]) + length(&entry["standby"])).sum()
        }
        _ => 0,
    }
}

/// What the function counted, by delivery.
fn counted(rig: &Rig) -> Vec<Value> {
    metrics::lines(rig, "receive-webhook")
}

fn count(counts: &Value, name: &str) -> u64 {
    counts[name].as_u64().unwrap_or(0)
}

struct Targets<'a> {
    rig: &'a Rig,
    organization: Organization<'a>,
    accounts: Vec<Account<'a>>,
    global: String,
}

impl<'a> Targets<'a> {
    async fn new(rig: &'a Rig) -> Self {
        let organization = Organization::new(rig).await;
        let mut accounts = Vec::new();
        // The accounts of the fixtures.
        for (platform, id) in PLATFORMS.into_iter().zip(["700100200300402", "110220330440550", "17841400001112223"]) {
            accounts.push(organization.connect_account(platform, id).await);
        }
        Self { rig, organization, accounts, global: format!("Bearer {}", rig.webhook_token()) }
    }

    /// Delivers, and says what the function counted.
    async fn deliver(&self, case: &Case) -> Result<Value, TestCaseError> {
        let before = counted(self.rig).len();
        let authorization = self.accounts.get(case.sender).map_or(&self.global, |account| &account.authorization);
        let answer = self.rig.webhook(&[("authorization", authorization)], case.body.clone()).await;
        prop_assert_eq!((answer.status, answer.text()), (200, String::new()));
        let logged = async || counted(self.rig).into_iter().nth(before);
        Ok(eventually("the counts are logged", Duration::from_secs(10), logged).await)
    }

    async fn check(&self, case: &Case) -> Result<(), TestCaseError> {
        let counts = self.deliver(case).await?;
        let all: u64 = ["EventsStored", "EventsDuplicate", "EventsQuarantined", "EventsIgnored"]
            .iter()
            .map(|name| count(&counts, name))
            .sum();
        prop_assert!(all >= events_in(&case.body), "{}", counts);
        // Whatever it was: a repetition adds nothing.
        let stored = items(self.rig).await.len();
        let again = self.deliver(case).await?;
        prop_assert_eq!(count(&again, "EventsQuarantined"), 0);
        prop_assert_eq!(items(self.rig).await.len(), stored);
        Ok(())
    }
}

#[test]
fn every_delivery_is_stored_quarantined_or_counted() {
    let runtime = Runtime::new().unwrap();
    let rig = own_rig(Setup::default());
    let targets = runtime.block_on(Targets::new(&rig));
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };

    let outcome = TestRunner::new(config).run(&any_case(), |case| runtime.block_on(targets.check(&case)));

    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    runtime.block_on(async {
        let quarantined_counts: u64 = counted(&rig).iter().map(|counts| count(counts, "EventsQuarantined")).sum();
        // What found no room is one entry, whatever its number.
        let is_whole = |item: &Value| text(&item["reason"]["S"]).starts_with("too much");
        let (whole, alone): (Vec<_>, Vec<_>) = quarantined(&rig).await.into_iter().partition(is_whole);
        let kept_together = quarantined_counts - alone.len() as u64;
        assert!(
            kept_together >= whole.len() as u64 && (kept_together == 0) == whole.is_empty(),
            "{kept_together} in {whole:?}"
        );
        let conversations = targets.organization.conversations("").await;
        assert!(!conversations.is_empty());
        for conversation in conversations {
            assert!(!text(&conversation["lastMessage"]["text"]).trim().is_empty(), "{conversation}");
            assert!(!targets.organization.messages(&conversation).await.is_empty(), "{conversation}");
        }
        assert!(!rig.log("receive-webhook").contains("panicked"));
        let processes = rig.processes().await;
        let webhooks: Vec<_> = processes.iter().filter(|process| process["function"] == "receive-webhook").collect();
        assert_eq!(webhooks.len(), 1, "one process took them all: {webhooks:?}");
        assert!(webhooks[0]["invocations"].as_u64().unwrap() >= u64::from(2 * CASES), "{webhooks:?}");
    });
}
