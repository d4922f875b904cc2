//! What the provider tells of an account itself stands on its integration.

use serde_json::{Value, json};
use shared::{
    clock,
    event::{Event, EventKind, ProviderError, StatusChange},
    message::Status,
    store::{HealthStatus, Integration, Store, Told, keys},
};

use crate::{
    engine::Table,
    given::{Account, arrives, at, event, sealed, status},
};

async fn connected(store: &Store) -> Account {
    let account = Account::whatsapp();
    account.connected(store, sealed("Y2lwaGVy"), 0).await;
    account
}

async fn integration(store: &Store, account: &Account) -> Integration {
    store.integration(&account.organization, account.platform).await.unwrap().unwrap()
}

/// News of the business account: which number it is told for is the token's word.
async fn tells(store: &Store, account: &Account, field: &str, value: &Value, second: i64) {
    let change = json!({ "field": field, "value": value });
    let entry = json!({ "id": "waba", "time": at(second) / 1000, "changes": [change] });
    let body = json!({ "object": "whatsapp_business_account", "entry": [entry] }).to_string();
    arrives(store, &account.proof(), &body, clock::now_ms()).await;
}

fn ban(state: &str) -> Value {
    json!({ "event": "DISABLED_UPDATE", "ban_info": { "waba_ban_state": state } })
}

#[tokio::test]
async fn a_ban_is_told_on_the_integration_once() {
    let table = Table::open().await;
    let store = &table.store();
    let account = connected(store).await;

    for _ in 0..2 {
        tells(store, &account, "account_update", &ban("DISABLE"), 10).await;
    }

    let after = integration(store, &account).await;
    assert_eq!(after.health.unwrap().status, HealthStatus::Blocked);
    let notices: Vec<_> = after.notices.iter().map(|notice| (notice.at, notice.kind.as_str())).collect();
    assert_eq!(notices, [(at(10), "account_update")]);
}

#[tokio::test]
async fn what_is_told_late_undoes_nothing() {
    let table = Table::open().await;
    let store = &table.store();
    let account = connected(store).await;

    tells(store, &account, "account_update", &ban("REINSTATE"), 20).await;
    tells(store, &account, "account_update", &ban("DISABLE"), 10).await;

    let after = integration(store, &account).await;
    assert_eq!(after.health.unwrap().status, HealthStatus::Available);
    assert_eq!(after.notices.iter().map(|notice| notice.at).collect::<Vec<_>>(), [at(20), at(10)], "newest first");
}

#[tokio::test]
async fn news_that_come_often_drive_out_no_ban() {
    let table = Table::open().await;
    let store = &table.store();
    let account = connected(store).await;
    tells(store, &account, "account_update", &ban("DISABLE"), 0).await;

    for second in 1..40 {
        let name = format!("template_{second}");
        let value = json!({ "event": "PAUSED", "message_template_name": name });
        tells(store, &account, "message_template_status_update", &value, second).await;
    }

    let notices = integration(store, &account).await.notices;
    assert_eq!((notices.len(), notices.last().unwrap().kind.as_str()), (6, "account_update"));
}

#[tokio::test]
async fn news_of_another_number_is_not_this_ones() {
    let table = Table::open().await;
    let store = &table.store();
    let account = Account::whatsapp();
    let mut numbered = account.integration(sealed("Y2lwaGVy"), 0);
    numbered.credentials.display_phone_number = Some("+1 555 010 0200".into());
    account.connected_as(store, numbered).await;

    for (phone, told) in [("15550100201", 0), ("15550100200", 1)] {
        let value = json!({ "event": "ACCOUNT_VIOLATION", "phone_number": phone });
        tells(store, &account, "account_update", &value, 1).await;
        assert_eq!(integration(store, &account).await.notices.len(), told);
    }
}

/// A message of ours failed with that code.
fn failed(number: usize, code: &str, second: i64) -> Event {
    let error = Some(ProviderError { code: code.into(), title: "No".into(), ..ProviderError::default() });
    let status = status(&format!("wamid.{code}.{number}"), Status::Failed, second);
    event(EventKind::Status(StatusChange { error, ..status }))
}

#[tokio::test]
async fn what_a_status_refused_is_asked_once_a_message_is_taken() {
    let table = Table::apart().await;
    let store = &table.store();
    let account = connected(store).await;
    store.postpone_check(&integration(store, &account).await, at(1000)).await.unwrap();
    let due = async || {
        let shard = keys::check_shard(&account.organization);
        store.integrations_due_of_all(shard, at(20), 10).await.unwrap().len()
    };

    store.took_message(&integration(store, &account).await, at(10)).await.unwrap();
    assert_eq!(due().await, 0, "nothing was known against it");
    account.receives(store, 2, vec![failed(0, "131042", 1)]).await;
    let blocked = integration(store, &account).await;
    store.took_message(&blocked, at(10)).await.unwrap();

    assert_eq!(integration(store, &account).await, blocked, "taken is not sent yet");
    assert_eq!(due().await, 1);
    store.disconnect(&account.organization, account.platform, "ann", at(11)).await.unwrap();
    store.took_message(&blocked, at(12)).await.unwrap();
    assert_eq!(due().await, 0, "what is disconnected is not checked");
}

#[tokio::test]
async fn refusal_of_a_taken_message_is_the_newer_word() {
    let table = Table::open().await;
    let store = &table.store();
    let account = connected(store).await;
    let error = ProviderError { code: "131042".into(), ..ProviderError::default() };
    let refused = Told::refused_send(&error, at(9)).unwrap();
    store.tell(&account.organization, account.platform, &account.id, &[refused]).await.unwrap();

    store.took_message(&integration(store, &account).await, at(10) + 900).await.unwrap();
    assert_eq!(integration(store, &account).await.health.unwrap().status, HealthStatus::Available);
    account.receives(store, 11, vec![failed(0, "131042", 10)]).await;

    assert_eq!(integration(store, &account).await.health.unwrap().status, HealthStatus::Blocked);
}

#[tokio::test]
async fn a_status_that_refuses_the_account_becomes_its_health() {
    let table = Table::open().await;
    let store = &table.store();
    let account = connected(store).await;

    account.receives(store, 2, vec![failed(0, "131026", 1)]).await;
    assert_eq!(integration(store, &account).await.health, None, "one customer's");
    account.receives(store, 2, vec![failed(0, "131064", 1)]).await;
    assert_eq!(integration(store, &account).await.health.unwrap().status, HealthStatus::Limited);
    account.receives(store, 3, (0..50).map(|number| failed(number, "131042", 2)).collect()).await;
    let health = integration(store, &account).await.health.unwrap();
    assert_eq!((health.status, health.checked_at), (HealthStatus::Blocked, at(2)));
}
