//! Problems: what failed or may not have arrived is found until somebody or something settles it.

use futures_util::future::join_all;
use shared::{
    Error,
    event::{EventKind, ProviderError},
    message::{Standing, Status},
    store::{Answer, AuditAction, Begun, Message, Outcome, Partition, Reply, Store, Writing},
};

use crate::{
    engine::Table,
    given::{Account, anna, at, delivery, event, status, unique},
    statuses::{accepted, begun},
};

/// Seconds after a reply at which somebody looks.
const LATER: i64 = 600;

fn unknown() -> Outcome {
    Outcome { answer: Answer::Unknown, status: Status::Unknown, external_id: None, error: None }
}

async fn sent(account: &Account, store: &Store, outcome: &Outcome) -> Message {
    let message = begun(account, store, &account.conversation_id(&anna()), 10).await;
    store.finish_reply(&account.organization, &message, outcome, delivery(11) / 1000).await.unwrap()
}

async fn told(account: &Account, store: &Store, told: Status) {
    let error = ProviderError { code: "131026".into(), title: "Undeliverable".into(), ..ProviderError::default() };
    let mut change = status("wamid.1", told, 20);
    change.error = (told == Status::Failed).then_some(error);
    account.receives(store, 20, vec![event(EventKind::Status(change))]).await;
}

/// Where the messages stand that are problems, so many seconds after the replies of these tests.
async fn problems(account: &Account, store: &Store, seconds: i64) -> Vec<Standing> {
    let now_ms = delivery(10 + seconds) / 1000;
    let unsettled = store.unsettled(&account.organization).await.unwrap();
    let problems = unsettled.iter().filter(|message| message.is_problem(now_ms));
    problems.map(|message| message.standing(now_ms).unwrap()).collect()
}

#[tokio::test]
async fn failure_is_a_problem_until_it_arrives_after_all() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    sent(&account, &store, &accepted(&account, "wamid.1")).await;
    assert!(store.unsettled(&account.organization).await.unwrap().is_empty(), "it left");

    table.meter.start([]);
    told(&account, &store, Status::Failed).await;
    let figures = table.meter.stop();
    let failed = problems(&account, &store, LATER).await;
    told(&account, &store, Status::Failed).await;
    told(&account, &store, Status::Delivered).await;

    assert_eq!(figures.calls, ["GetItem", "UpdateItem"], "the message by the provider's id, and its status");
    assert_eq!(failed, [Standing::Told(Status::Failed)]);
    assert_eq!(problems(&account, &store, LATER).await, []);
}

#[tokio::test]
async fn failure_told_before_the_answer_is_a_problem() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    told(&account, &store, Status::Failed).await;

    sent(&account, &store, &accepted(&account, "wamid.1")).await;

    assert_eq!(problems(&account, &store, LATER).await, [Standing::Told(Status::Failed)]);
}

#[tokio::test]
async fn reply_whose_function_ended_becomes_unconfirmed() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    begun(&account, &store, &account.conversation_id(&anna()), 10).await;

    assert_eq!(problems(&account, &store, 20).await, []);
    assert_eq!(problems(&account, &store, 40).await, [Standing::Told(Status::Unknown)]);
    assert_eq!(problems(&account, &store, 130).await, [Standing::Unconfirmed]);
}

#[tokio::test]
async fn assumed_message_is_no_problem_until_told_otherwise() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let message = sent(&account, &store, &unknown()).await;
    let partitions = [Partition::whole(message.conversation_id.clone())];
    let assume = async |by: &str| {
        store.assume_delivered(&account.organization, &partitions, &message.id, by, delivery(300) / 1000).await
    };
    let unconfirmed = problems(&account, &store, LATER).await;

    assume("ann").await.unwrap();
    assume("bob").await.unwrap();

    let organization = &account.organization;
    let stored = store.message(organization, &message.conversation_id, &message.id).await.unwrap().unwrap();
    assert_eq!(unconfirmed, [Standing::Unconfirmed]);
    assert_eq!(stored.standing(delivery(LATER) / 1000), Some(Standing::Assumed));
    assert_eq!(stored.assumed.map(|assumed| assumed.by).as_deref(), Some("ann"));
    assert_eq!(problems(&account, &store, LATER).await, []);
    let assumed = account.audit(&store).await.into_iter().filter(|entry| entry.action == AuditAction::DeliveryAssumed);
    assert_eq!(assumed.map(|entry| entry.by).collect::<Vec<_>>(), [Some("ann".into())]);

    store.finish_reply(organization, &message, &accepted(&account, "wamid.1"), delivery(400) / 1000).await.unwrap();
    told(&account, &store, Status::Failed).await;
    assert_eq!(problems(&account, &store, LATER).await, [Standing::Told(Status::Failed)]);
    assert!(matches!(assume("ann").await, Err(Error::Conflict)), "it is known that it did not");
}

#[tokio::test]
async fn of_two_who_send_it_again_one_does() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let first = sent(&account, &store, &unknown()).await;
    let id = account.conversation_id(&anna());
    let conversation = account.addressed(&store, &id).await;
    let reply = Reply { text: "Hi".into(), resend_of: Some(Box::new(first.clone())), ..Reply::default() };
    let resend = async |key: &str| {
        let writing = Writing { conversation: &id, operator: "olga", key };
        store.begin_reply(&account.organization, &conversation, writing, &reply, delivery(300)).await
    };
    let keys: Vec<_> = (0..4).map(|_| unique()).collect();

    let begun = join_all(keys.iter().map(|key| resend(key))).await;

    let won = begun.iter().position(|begun| matches!(begun, Ok(Begun::New(_)))).unwrap();
    let late = begun.iter().filter(|begun| matches!(begun, Err(Error::NotResendable { .. }))).count();
    assert_eq!(late, 3, "{begun:?}");
    let again = resend(&keys[won]).await.unwrap();
    let (Begun::Before(again), Ok(Begun::New(new))) = (again, &begun[won]) else { panic!("the same key") };
    assert_eq!((&again.id, again.resend_of.as_ref()), (&new.id, Some(&first.id)));
    let stored = store.message(&account.organization, &id, &first.id).await.unwrap().unwrap();
    assert_eq!(stored.resent_as, Some(new.id.clone()));
    // What was sent again is the problem now, and not what it stands for, also where that is told to have failed.
    store
        .finish_reply(&account.organization, &first, &accepted(&account, "wamid.1"), delivery(301) / 1000)
        .await
        .unwrap();
    told(&account, &store, Status::Failed).await;
    let unsettled = store.unsettled(&account.organization).await.unwrap();
    assert_eq!(unsettled.into_iter().map(|message| message.id).collect::<Vec<_>>(), std::slice::from_ref(&new.id));
    store.finish_reply(&account.organization, new, &accepted(&account, "wamid.2"), delivery(302) / 1000).await.unwrap();
    assert!(store.unsettled(&account.organization).await.unwrap().is_empty());
}

#[tokio::test]
async fn late_status_forbids_sending_again() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let first = sent(&account, &store, &unknown()).await;
    store.finish_reply(&account.organization, &first, &accepted(&account, "wamid.1"), at(0)).await.unwrap();
    let id = account.conversation_id(&anna());
    let reply = Reply { text: "Hi".into(), resend_of: Some(Box::new(first)), ..Reply::default() };
    let writing = Writing { conversation: &id, operator: "olga", key: "key" };
    let conversation = account.addressed(&store, &id).await;

    let begun = store.begin_reply(&account.organization, &conversation, writing, &reply, delivery(300)).await;

    assert!(matches!(begun, Err(Error::NotResendable { .. })), "{begun:?}");
}

#[tokio::test]
async fn dismissed_problem_comes_back_only_with_news() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let message = sent(&account, &store, &unknown()).await;
    let dismiss = async |message: &Message| {
        store.dismiss(&account.organization, message, "ann", delivery(300) / 1000).await.unwrap()
    };

    assert!(dismiss(&message).await);
    assert!(!dismiss(&message).await, "once");
    assert_eq!(problems(&account, &store, LATER).await, []);
    store
        .finish_reply(&account.organization, &message, &accepted(&account, "wamid.1"), delivery(301) / 1000)
        .await
        .unwrap();
    told(&account, &store, Status::Failed).await;
    assert!(!dismiss(&message).await, "what has changed since was not seen");
    assert_eq!(problems(&account, &store, LATER).await, [Standing::Told(Status::Failed)]);
}

#[tokio::test]
async fn problems_of_another_organization_are_not_seen() {
    let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
    let store = table.store();
    sent(&account, &store, &unknown()).await;

    assert!(store.unsettled(&other.organization).await.unwrap().is_empty());
    assert_eq!(store.unsettled(&account.organization).await.unwrap().len(), 1);
}
