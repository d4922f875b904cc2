//! The numbers that must hold exactly: what one event asks of the table and of KMS, however much is there already.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use support::{Rig, Setup};

use crate::shared::{Account, Organization, own_rig, unique};

/// What was asked while one delivery was answered.
#[derive(Debug, PartialEq)]
struct Cost {
    by_operation: Value,
    /// Index writes included.
    write_units: f64,
    read_units: f64,
    refused: u64,
    errors: u64,
    kms: Value,
}

/// A message and its conversation, side by side: the round trip of both is one.
fn of_a_message() -> Cost {
    let by_operation = json!({ "BatchExecuteStatement": 1, "UpdateItem": 1 });
    Cost { by_operation, write_units: 5.0, ..of_a_status() }
}

/// The message, what names it and its conversation are refused, and the name tells when it came first.
fn of_a_duplicate() -> Cost {
    let by_operation = json!({ "BatchExecuteStatement": 1, "UpdateItem": 2 });
    Cost { by_operation, write_units: 0.0, refused: 4, ..of_a_status() }
}

fn of_a_status() -> Cost {
    Cost {
        by_operation: json!({ "UpdateItem": 1 }),
        write_units: 1.0,
        read_units: 0.0,
        refused: 0,
        errors: 0,
        kms: json!({}),
    }
}

/// Messages of one delivery, each `(customer, text)`, newer than all before: a clock that is a little ahead of ours.
fn delivery(account: &Account<'_>, messages: &[(String, String)]) -> String {
    static BEGAN: LazyLock<u64> =
        LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600);
    let message = |(from, words): &(String, String)| {
        let number = unique();
        json!({
            "from": from, "id": format!("wamid.number{number}"), "timestamp": (*BEGAN + number).to_string(),
            "type": "text", "text": { "body": words },
        })
    };
    let value = json!({
        "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id },
        "contacts": [], "messages": messages.iter().map(message).collect::<Vec<_>>(),
    });
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }],
    })
    .to_string()
}

fn text_of(customer: &str) -> Vec<(String, String)> {
    vec![(customer.to_owned(), "Is the blue one in stock?".to_owned())]
}

/// Delivers, and tells what that cost.
async fn cost(account: &Account<'_>, body: &str) -> Cost {
    account.rig.reset_meter().await;
    account.receive_body(body).await;
    let meter = account.rig.meter().await;
    Cost {
        by_operation: meter["byOperation"].clone(),
        write_units: meter["writeUnits"].as_f64().unwrap(),
        read_units: meter["readUnits"].as_f64().unwrap(),
        refused: meter["failedConditions"].as_u64().unwrap(),
        errors: meter["errors"].as_u64().unwrap(),
        kms: meter["kms"].clone(),
    }
}

/// Replies, and gives the statuses that the provider would report of it, one delivery each.
async fn statuses(rig: &Rig, organization: &Organization<'_>, account: &Account<'_>, customer: &str) -> Vec<String> {
    let conversations = organization.conversations("").await;
    let conversation = conversations.iter().find(|conversation| conversation["customer"]["phone"] == customer).unwrap();
    let (status, answer) = organization.send(conversation, json!({ "text": "Yes" })).await;
    assert_eq!(status, 201, "{answer}");
    let sent = rig.sent().await;
    let sent = sent.last().unwrap();
    let of = |status: &str| {
        let status = json!({
            "id": sent["id"], "status": status, "timestamp": "1767877200", "recipient_id": customer,
            "biz_opaque_callback_data": sent["callbackData"],
        });
        let value = json!({
            "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id }, "statuses": [status],
        });
        json!({
            "object": "whatsapp_business_account",
            "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }],
        })
        .to_string()
    };
    ["sent", "delivered", "read"].map(of).to_vec()
}

/// Asserts the cost of everything that has an exact one, for one customer on one account.
async fn assert_costs(rig: &Rig, organization: &Organization<'_>, account: &Account<'_>, customer: &str, when: &str) {
    // Warm: the process knows the owner, the conversation is there.
    account.receive_body(delivery(account, &text_of(customer))).await;

    for _ in 0..3 {
        let message = delivery(account, &text_of(customer));
        assert_eq!(cost(account, &message).await, of_a_message(), "a message {when}");
        assert_eq!(cost(account, &message).await, of_a_duplicate(), "a duplicate {when}");
    }
    for status in statuses(rig, organization, account, customer).await {
        assert_eq!(cost(account, &status).await, of_a_status(), "a status {when}");
        let again = cost(account, &status).await;
        assert_eq!(again, Cost { write_units: 0.0, refused: 1, ..of_a_status() }, "a status again {when}");
    }
}

#[tokio::test]
async fn an_event_costs_the_same_however_much_is_there() {
    let rig = own_rig(Setup::default());
    rig.simulate("settings", json!({ "statuses": "manual" })).await;
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let customer = "491713920012";

    assert_costs(&rig, &organization, &account, customer, "in an empty table").await;

    for _ in 0..4 {
        let messages: Vec<_> = (0..250).flat_map(|_| text_of(customer)).collect();
        account.receive_body(delivery(&account, &messages)).await;
    }
    assert!(organization.thread().await.len() > 1000);
    assert_costs(&rig, &organization, &account, customer, "after 1,000 messages").await;

    let customers: Vec<_> = (0..50).flat_map(|number| text_of(&format!("49160{number:07}"))).collect();
    account.receive_body(delivery(&account, &customers)).await;
    assert!(organization.conversations("").await.len() > 50);
    assert_costs(&rig, &organization, &account, customer, "beside 50 conversations").await;
    assert_costs(&rig, &organization, &account, "491600000007", "in one of 50 conversations").await;

    for _ in 0..10 {
        let (_, other) = Organization::with(&rig, "whatsapp").await;
        other.receive_body(delivery(&other, &text_of(customer))).await;
    }
    assert_costs(&rig, &organization, &account, customer, "beside 10 organizations").await;
}

#[tokio::test]
async fn delivery_of_many_updates_costs_no_more_than_single_ones() {
    let rig = own_rig(Setup::default());
    let (_, account) = Organization::with(&rig, "whatsapp").await;
    let customers: Vec<String> = (0..20).map(|number| format!("49170{number:07}")).collect();
    let messages: Vec<_> = customers.iter().flat_map(|customer| text_of(customer)).collect();
    account.receive_body(delivery(&account, &messages)).await;

    let many = cost(&account, &delivery(&account, &messages)).await;

    let expected = Cost {
        by_operation: json!({ "BatchExecuteStatement": 20, "UpdateItem": 20 }),
        write_units: 100.0,
        ..of_a_message()
    };
    assert_eq!(many, expected);
}

#[tokio::test]
async fn a_warm_reply_asks_kms_nothing() {
    let rig = own_rig(Setup::default());
    rig.simulate("settings", json!({ "statuses": "manual" })).await;
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Hello").await;
    let conversation = organization.conversation().await;
    rig.reset_meter().await;

    assert_eq!(organization.send(&conversation, json!({ "text": "First" })).await.0, 201);
    assert_eq!(rig.meter().await["kms"], json!({ "Decrypt": 1 }));
    assert_eq!(organization.send(&conversation, json!({ "text": "Second" })).await.0, 201);
    assert_eq!(rig.meter().await["kms"], json!({ "Decrypt": 1 }), "the data key is remembered");

    // Writes of the second reply: key and message in one transaction, the conversation, the outcome.
    rig.reset_meter().await;
    assert_eq!(organization.send(&conversation, json!({ "text": "Third" })).await.0, 201);
    let asked = rig.meter().await;
    assert_eq!(asked["byOperation"]["TransactWriteItems"], 1, "{asked}");
    assert_eq!((&asked["failedConditions"], &asked["errors"]), (&json!(0), &json!(0)), "{asked}");
}
