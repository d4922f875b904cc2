//! The audit trail: what operators and services do, and what was refused.

use shared::{
    clock,
    store::{Assignee, AuditAction, Changes, ConversationStatus, Note, Writing},
};

use crate::{
    engine::{Fault, Table},
    given::{Account, anna, at, inbound},
};

/// What the trail of an account's organization tells, newest first: actions and users.
async fn told(table: &Table, account: &Account) -> Vec<(AuditAction, Option<String>)> {
    account.audit(&table.store()).await.into_iter().map(|entry| (entry.action, entry.by)).collect()
}

#[tokio::test]
async fn changes_that_others_see_are_in_the_trail() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 0, vec![inbound(&anna(), "wamid.a", 0)]).await;
    let id = account.conversation_id(&anna());
    let changes = [
        Changes { status: Some(ConversationStatus::Closed), ..Changes::default() },
        Changes { assigned_to: Some(Assignee::User("olga".into())), ..Changes::default() },
        Changes { labels: Some(["+49 171 3920012".into()].into()), ..Changes::default() },
        Changes { read_up_to: Some(i64::MAX), ..Changes::default() },
    ];

    for (second, changes) in (1..).zip(changes) {
        for _ in 0..2 {
            let changes = Changes { by: Some("olga".to_owned()), ..changes.clone() };
            store.change_conversation(&account.organization, &id, &changes, at(second)).await.unwrap();
        }
    }

    let expected = [AuditAction::LabelsChanged, AuditAction::Assigned, AuditAction::StatusChanged];
    assert_eq!(
        told(&table, &account).await,
        expected.map(|action| (action, Some("olga".to_owned()))),
        "what changed, and once"
    );
    let trail = account.audit(&store).await;
    assert!(trail.iter().all(|entry| entry.conversation_id.as_ref() == Some(&id)), "{trail:?}");
    let kept = table.partition(&format!("ORG#{}#AUDIT", account.organization)).await;
    assert!(!format!("{kept:?}").contains("171"), "{kept:?}");
}

/// Whichever call fails, before or after it took effect, and however often the caller repeats: the trail tells what was done.
#[tokio::test]
async fn no_change_is_without_its_entry_and_none_twice() {
    let table = Table::without_retries().await;
    let changes = Changes {
        by: Some("olga".to_owned()),
        status: Some(ConversationStatus::Closed),
        add_labels: ["vip".to_owned()].into(),
        ..Changes::default()
    };
    for (call, fault) in (0..3).flat_map(|call| Fault::ALL.map(|fault| (call, fault))) {
        let (account, store) = (Account::whatsapp(), table.store());
        account.receives(&store, 0, vec![inbound(&anna(), "wamid.a", 0)]).await;
        let id = account.conversation_id(&anna());
        let change = async || store.change_conversation(&account.organization, &id, &changes, at(1)).await;

        table.meter.start([(call, fault)]);
        let failed = change().await;
        table.meter.stop();
        let is_done = store.conversation(&account.organization, &id).await.unwrap().unwrap().labels.len();
        assert_eq!(account.audit(&store).await.len(), 2 * is_done, "{call} {fault:?}");
        for _ in 0..2 {
            change().await.unwrap();
        }

        assert!(failed.is_err(), "{call} {fault:?}");
        let expected = [AuditAction::LabelsChanged, AuditAction::StatusChanged];
        let mut told: Vec<_> = told(&table, &account).await.into_iter().map(|(action, _)| action).collect();
        told.sort_by_key(|action| *action != AuditAction::LabelsChanged);
        assert_eq!(told, expected, "{call} {fault:?}");
    }
}

#[tokio::test]
async fn of_two_who_do_the_same_the_trail_tells_one() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 0, vec![inbound(&anna(), "wamid.a", 0)]).await;
    let id = account.conversation_id(&anna());
    let vip = || ["vip".to_owned()].into();
    let add = Changes { add_labels: vip(), status: Some(ConversationStatus::Closed), ..Changes::default() };
    let remove =
        Changes { remove_labels: vip(), assigned_to: Some(Assignee::User("olga".into())), ..Changes::default() };

    for changes in [add, remove] {
        let of = |by: &str| Changes { by: Some(by.to_owned()), ..changes.clone() };
        let (olga, otto) = (of("olga"), of("otto"));
        let change = |changes| store.change_conversation(&account.organization, &id, changes, at(1));
        let (one, other) = tokio::join!(change(&olga), change(&otto));
        one.and(other).unwrap();
    }

    let mut told: Vec<_> = told(&table, &account).await.into_iter().map(|(action, _)| format!("{action:?}")).collect();
    told.sort_unstable();
    assert_eq!(told, ["Assigned", "LabelsChanged", "LabelsChanged", "StatusChanged"]);
}

#[tokio::test]
async fn note_is_in_the_trail_once() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 0, vec![inbound(&anna(), "wamid.a", 0)]).await;
    let conversation = account.conversation_id(&anna());
    let writing = Writing { conversation: &conversation, operator: "olga", key: "k" };
    let only = account.only(&store).await;

    for _ in 0..2 {
        let note = Note { text: "Regular customer".into() };
        store.begin_note(&account.organization, &only, writing, &note, clock::now_us()).await.unwrap();
    }

    assert_eq!(told(&table, &account).await, [(AuditAction::NoteAdded, Some("olga".to_owned()))]);
    let kept = table.partition(&format!("ORG#{}#AUDIT", account.organization)).await;
    assert!(!format!("{kept:?}").contains("Regular"), "{kept:?}");
}

#[tokio::test]
async fn flood_of_refusals_is_told_once_an_hour() {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    let (table, account) = (Table::open().await, Account::whatsapp());
    let organization = &account.organization;
    let (one, other) = (table.store(), table.store());
    let refused = async |store: &shared::store::Store, user, attempted, now_ms| {
        store.audit_refusal(organization, user, attempted, now_ms).await.unwrap();
    };

    table.meter.start([]);
    for _ in 0..50 {
        refused(&one, "olga", AuditAction::Deleted, at(0)).await;
    }
    assert_eq!(table.meter.stop().calls.len(), 1, "a process tells it once");
    refused(&other, "olga", AuditAction::Deleted, at(1)).await;
    refused(&one, "otto", AuditAction::Deleted, at(2)).await;
    refused(&one, "olga", AuditAction::Connected, at(3)).await;
    refused(&one, "olga", AuditAction::Deleted, at(4) + HOUR_MS).await;

    let trail = account.audit(&one).await;
    assert!(trail.iter().all(|entry| entry.action == AuditAction::Refused), "{trail:?}");
    let told: Vec<_> = trail.iter().map(|entry| (entry.by.as_deref().unwrap(), entry.attempted.unwrap())).collect();
    let expected = [
        ("olga", AuditAction::Deleted),
        ("olga", AuditAction::Connected),
        ("otto", AuditAction::Deleted),
        ("olga", AuditAction::Deleted),
    ];
    assert_eq!(told, expected);
}
