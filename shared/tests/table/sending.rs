//! Replies: one per idempotency key, whatever is repeated, meets or gets lost; and what came of them is never lowered.

use futures_util::future::join_all;
use shared::{
    Error,
    message::{Sender, Status},
    store::{Answer, Begun, Note, Outcome, Store, Update, Writing},
};

use crate::{
    engine::{Fault, Table},
    given::{Account, DELAY_SECS, anna, at, delivery, inbound},
    statuses::{accepted, begun, reply},
};

const DAY_SECS: i64 = 24 * 60 * 60;

async fn begin(account: &Account, store: &Store, key: &str, text: &str, second: i64) -> Result<Begun, Error> {
    let id = account.conversation_id(&anna());
    let addressed = account.addressed(&Table::open().await.store(), &id).await;
    let writing = Writing { conversation: &id, operator: "olga", key };
    store.begin_reply(&account.organization, &addressed, writing, &reply(text), delivery(second)).await
}

#[tokio::test]
async fn a_key_is_used_once() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();

    let Begun::New(first) = begin(&account, &store, "key", "Hi", 0).await.unwrap() else { panic!() };
    let Begun::Before(again) = begin(&account, &store, "key", "Hi", 5).await.unwrap() else { panic!() };
    let other = begin(&account, &store, "key", "Ho", 6).await;
    let note = Note { text: "Hi".into() };
    let id = account.conversation_id(&anna());
    let writing = Writing { conversation: &id, operator: "olga", key: "key" };
    let addressed = account.addressed(&store, &id).await;
    let as_note = store.begin_note(&account.organization, &addressed, writing, &note, delivery(7)).await;
    let Begun::New(next) = begin(&account, &store, "another", "Hi", 8).await.unwrap() else { panic!() };

    assert_eq!(
        (first.status, first.sender, first.operator_id.as_deref()),
        (Some(Status::Sending), Sender::Operator, Some("olga"))
    );
    assert_eq!(again, first);
    assert!(matches!(other, Err(Error::IdempotencyKeyReused)), "{other:?}");
    assert!(matches!(as_note, Err(Error::IdempotencyKeyReused)), "{as_note:?}");
    assert_ne!(next.id, first.id);
    let used = store.used_reply(&account.organization, &id, "key", &reply("Hi"), delivery(9) / 1000).await.unwrap();
    assert_eq!(used, Some(first));
    let free = store.used_reply(&account.organization, &id, "free", &reply("Hi"), delivery(9) / 1000).await.unwrap();
    assert_eq!(free, None);
}

#[tokio::test]
async fn twenty_requests_with_one_key_at_once_send_one_message() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let stores: Vec<_> = (0..20).map(|_| table.store()).collect();

    let begun = join_all(stores.iter().map(|store| begin(&account, store, "key", "Hi", 0))).await;

    let (mut new, mut ids) = (0, Vec::new());
    for begun in begun {
        match begun.unwrap() {
            Begun::New(message) => {
                new += 1;
                ids.push(message.id);
            }
            Begun::Before(message) => ids.push(message.id),
        }
    }
    ids.dedup();
    assert_eq!((new, ids.len()), (1, 1));
}

#[tokio::test]
async fn a_key_is_free_again_after_a_day() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    begin(&account, &store, "key", "Hi", 0).await.unwrap();

    let within = begin(&account, &store, "key", "Hi", DAY_SECS).await.unwrap();
    let after = begin(&account, &store, "key", "Something else", DAY_SECS + 1).await.unwrap();

    assert!(matches!(within, Begun::Before(_)), "{within:?}");
    assert!(matches!(after, Begun::New(_)), "{after:?}");
}

#[tokio::test]
async fn a_note_is_kept_and_never_sent() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (id, note) = (account.conversation_id(&anna()), Note { text: "Call back".into() });
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;

    let writing = Writing { conversation: &id, operator: "olga", key: "key" };
    let only = account.only(&store).await;
    let begin = async || store.begin_note(&account.organization, &only, writing, &note, delivery(2)).await.unwrap();
    let Begun::New(kept) = begin().await else { panic!() };
    let Begun::Before(again) = begin().await else { panic!() };

    assert_eq!(again, kept);
    assert_eq!((kept.status, kept.external_id.as_deref(), kept.answer), (None, None, Some(Answer::Accepted)));
    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_message_text, "hello", "no note in the inbox");
    assert_eq!(account.thread(&store, &conversation).await.last(), Some(&kept));
}

#[tokio::test]
async fn the_caller_whose_answer_was_lost_is_the_one_who_sends() {
    let cases = [(Table::without_retries().await, Fault::ALL.to_vec()), (Table::open().await, vec![Fault::After])];
    for (table, faults) in cases {
        for fault in faults {
            let (account, store) = (Account::whatsapp(), table.store());

            table.meter.start([(0, fault)]);
            let begun = begin(&account, &store, "key", "Hi", 0).await.unwrap();
            let calls = table.meter.stop().calls;

            assert!(matches!(begun, Begun::New(_)), "{fault:?}: {begun:?}");
            assert!(calls.len() > 1, "{calls:?}");
            let again = begin(&account, &store, "key", "Hi", 0).await.unwrap();
            assert!(matches!(again, Begun::Before(_)), "{fault:?}: {again:?}");
        }
    }
}

#[tokio::test]
async fn no_fault_of_the_table_lets_a_key_send_twice() {
    let table = Table::without_retries().await;
    for first in 0..4 {
        for second in first + 1..5 {
            for (one, other) in
                [(Fault::Before, Fault::After), (Fault::After, Fault::Before), (Fault::After, Fault::After)]
            {
                let (account, store) = (Account::whatsapp(), table.store());
                table.meter.start([(first, one), (second, other)]);

                let mut new = 0;
                for _ in 0..4 {
                    new += usize::from(matches!(begin(&account, &store, "key", "Hi", 0).await, Ok(Begun::New(_))));
                }

                table.meter.stop();
                assert!(new <= 1, "{first} {one:?}, {second} {other:?}");
                assert!(matches!(begin(&account, &store, "key", "Hi", 0).await, Ok(Begun::Before(_) | Begun::New(_))));
            }
        }
    }
}

#[tokio::test]
async fn what_came_of_a_send_never_lowers_a_status_that_came_before() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    for before in [Status::Sent, Status::Delivered, Status::Read, Status::Failed] {
        let message = begun(&account, &store, &account.conversation_id(&anna()), 10).await;
        let update = Update { status: before, at: at(1), external_id: None, error: None };
        store.raise_status(&account.organization, &message.conversation_id, &message.id, &update).await.unwrap();

        let external_id = format!("wamid.{}", before.as_str());
        let finished = store
            .finish_reply(&account.organization, &message, &accepted(&account, &external_id), at(2))
            .await
            .unwrap();

        assert_eq!(finished.status, Some(before));
        assert_eq!(finished.answer, Some(Answer::Accepted));
        assert_eq!(finished.external_id.as_deref(), Some(external_id.as_str()));
        let found =
            store.message_by_external_id(&account.organization, &account.external_id(&external_id)).await.unwrap();
        assert_eq!(found, Some((message.conversation_id, message.id)));
    }
}

#[tokio::test]
async fn what_came_of_a_send_is_stored() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let error = shared::event::ProviderError {
        code: "131047".into(),
        title: "Re-engagement".into(),
        ..shared::event::ProviderError::default()
    };
    let rejected =
        Outcome { answer: Answer::Rejected, status: Status::Failed, external_id: None, error: Some(error.clone()) };
    let unknown = Outcome { answer: Answer::Unknown, status: Status::Unknown, external_id: None, error: None };

    for outcome in [accepted(&account, "wamid.1"), rejected, unknown] {
        let message = begun(&account, &store, &account.conversation_id(&anna()), 10).await;
        for _ in 0..2 {
            let finished = store.finish_reply(&account.organization, &message, &outcome, at(20)).await.unwrap();
            assert_eq!((finished.status, finished.answer), (Some(outcome.status), Some(outcome.answer)));
            let external_id = outcome.external_id.as_ref().map(|external_id| &external_id.id);
            assert_eq!((finished.external_id.as_ref(), &finished.error), (external_id, &outcome.error));
            assert_eq!(finished.status_history.unwrap()[outcome.status.as_str()], at(20));
        }
    }
}

#[tokio::test]
async fn a_reply_moves_the_conversation_up_and_opens_nothing() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
    let before = account.only(&store).await;

    let Begun::New(message) = begin(&account, &store, "key", "Hi", 10).await.unwrap() else { panic!() };
    let after = account.only(&store).await;
    let Begun::Before(_) = begin(&account, &store, "key", "Hi", 11).await.unwrap() else { panic!() };

    assert_eq!((after.last_message_text.as_str(), after.last_message_sender), ("Hi", Sender::Operator));
    assert_eq!(after.last_message_key, message.id);
    assert_eq!((after.last_inbound_at, after.last_received_at), (before.last_inbound_at, before.last_received_at));
    assert_eq!((&after.unread_from, &after.customer_phone), (&before.unread_from, &before.customer_phone));
    assert_eq!(account.only(&store).await, after);
}

#[tokio::test]
async fn a_reply_is_in_the_inbox_wherever_the_function_ends() {
    let table = Table::without_retries().await;
    let story = async |faults: Vec<(usize, Fault)>| {
        let (account, store) = (Account::whatsapp(), table.store());
        account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
        table.meter.start(faults);
        drop(begin(&account, &store, "key", "Hi", 10).await);
        let calls = table.meter.stop().calls.len();
        let conversation = account.only(&store).await;
        let thread = account.thread(&store, &conversation).await;
        (calls, conversation.last_message_text, thread.last().unwrap().text.clone())
    };
    let (calls, ..) = story(vec![]).await;

    // From each call on, nothing reaches the table any more: nobody is there to repeat it.
    for first in 0..calls {
        for fault in Fault::ALL {
            let faults = (first..20).map(|call| (call, if call == first { fault } else { Fault::Before })).collect();
            let (_, shown, newest) = story(faults).await;
            assert_eq!(Some(shown), newest, "call {first} fails {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_reply_that_is_older_than_the_customers_message_leaves_the_inbox_as_it_is() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 20 + DELAY_SECS)]).await;
    let before = account.only(&store).await;

    let begun = begin(&account, &store, "key", "Hi", 10).await.unwrap();

    assert!(matches!(begun, Begun::New(_)), "{begun:?}");
    assert_eq!(account.only(&store).await, before);
    assert_eq!(account.thread(&store, &before).await.len(), 2);
}
