//! One message of an account has each of the provider's ids, whatever else is told of it.

use futures_util::future::join_all;
use shared::{
    event::Event,
    inbound::Counts,
    store::{Changes, ConversationStatus},
};

use crate::{
    engine::{Fault, Table},
    given::{Account, anna, at, delivery, echo, inbound, message, phone, text, user},
};

fn closed() -> Changes {
    Changes { status: Some(ConversationStatus::Closed), ..Changes::default() }
}

/// The same message, told with another time.
fn later(second: i64) -> Event {
    inbound(&anna(), "wamid.X", second)
}

async fn is_there_once(account: &Account, table: &Table, ids: &[&str]) {
    let store = table.store();
    let conversation = account.only(&store).await;
    assert_eq!(account.external_ids(&store, &conversation).await, ids);
    let thread = account.thread(&store, &conversation).await;
    assert_eq!(Some(&conversation.last_message_key), thread.iter().map(|message| &message.id).max());
    assert_eq!(Some(&conversation.last_message_text), thread.last().unwrap().text.as_ref());
    for (message, id) in thread.iter().zip(ids) {
        let found = store.message_by_external_id(&account.organization, &account.external_id(id)).await.unwrap();
        assert_eq!(found, Some((message.conversation_id.clone(), message.id.clone())));
    }
}

#[tokio::test]
async fn same_id_with_another_time_is_one_message() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![later(0)]).await;
    let before = account.only(&store).await;

    for (second, time) in [(2, 1), (3, -1), (4, 1)] {
        let counts = account.receives(&store, second, vec![later(time)]).await;
        assert_eq!(counts, Counts { duplicates: 1, ..Counts::default() });
    }

    is_there_once(&account, &table, &["wamid.X"]).await;
    let after = account.only(&store).await;
    assert_eq!(after.last_inbound_at, Some(at(0)), "the window is of the time that was told first");
    assert_eq!((after.last_received_at, &after.unread_from), (before.last_received_at, &before.unread_from));
}

#[tokio::test]
async fn known_message_reopens_nothing_under_another_time() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![later(0)]).await;
    let id = account.conversation_id(&anna());
    let read = Changes { read_up_to: Some(delivery(1)), ..closed() };
    let before = store.change_conversation(&account.organization, &id, &read, 0).await.unwrap();

    account.receives(&store, 2, vec![later(5)]).await;

    let after = account.only(&store).await;
    assert_eq!((after.status, after.unread_from), (ConversationStatus::Closed, None));
    assert_eq!(after.last_message_key, before.last_message_key);
}

#[tokio::test]
async fn new_message_beside_a_known_one_is_told() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![later(0)]).await;
    store.change_conversation(&account.organization, &account.conversation_id(&anna()), &closed(), 0).await.unwrap();

    let counts = account.receives(&store, 2, vec![later(9), inbound(&anna(), "wamid.Y", 3)]).await;

    assert_eq!((counts.stored, counts.duplicates), (1, 1));
    is_there_once(&account, &table, &["wamid.X", "wamid.Y"]).await;
    let conversation = account.only(&store).await;
    assert_eq!((conversation.status, conversation.last_inbound_at), (ConversationStatus::Open, Some(at(3))));
    assert_eq!(account.unread(&store, &conversation).await, 2);
}

#[tokio::test]
async fn message_told_twice_in_a_delivery_is_one() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let standby = || {
        let mut standby = text(&anna(), "wamid.X", 0);
        standby.timestamp = Some(at(0) + 7);
        message(standby)
    };

    let counts = account.receives(&store, 1, vec![later(0), standby(), echo(&anna(), "wamid.X", 0)]).await;
    let again = account.receives(&store, 2, vec![standby(), later(0)]).await;

    assert_eq!((counts.stored, counts.duplicates), (1, 2));
    assert_eq!((again.stored, again.duplicates), (0, 2));
    is_there_once(&account, &table, &["wamid.X"]).await;
}

#[tokio::test]
async fn same_id_of_another_customer_opens_no_conversation() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![later(0)]).await;

    for (second, customer) in [(2, user("DE.1")), (3, phone("4915100"))] {
        let counts = account.receives(&store, second, vec![inbound(&customer, "wamid.X", second)]).await;
        assert_eq!(counts, Counts { duplicates: 1, ..Counts::default() });
    }

    is_there_once(&account, &table, &["wamid.X"]).await;
    account.receives(&store, 4, vec![inbound(&user("DE.1"), "wamid.Y", 5)]).await;
    let other = account.conversation(&store, &user("DE.1")).await;
    assert_eq!(account.external_ids(&store, &other).await, ["wamid.Y"]);
    assert_eq!(account.inbox(&store).await.len(), 2);
}

#[tokio::test]
async fn other_accounts_have_their_own_message_of_an_id() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let other = Account { id: "another".parse().unwrap(), ..account.clone() };
    account.receives(&store, 1, vec![later(0)]).await;

    let counts = other.receives(&store, 2, vec![later(1)]).await;

    assert_eq!(counts.stored, 1);
    assert_eq!(account.inbox(&store).await.len(), 2);
}

#[tokio::test]
async fn one_id_with_many_times_at_once_is_one_message() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    for round in 0..5 {
        let account = Account { id: format!("account-{round}").parse().unwrap(), ..account.clone() };
        let stores: Vec<_> = (0..6).map(|_| table.store()).collect();
        let deliveries = (0..).zip(&stores).map(|(second, store)| account.receives(store, second, vec![later(second)]));

        let counts = join_all(deliveries).await;

        assert_eq!(counts.iter().map(|counts| counts.stored).sum::<usize>(), 1, "{counts:?}");
        let store = table.store();
        let conversation = account.conversation(&store, &anna()).await;
        let thread = account.thread(&store, &conversation).await;
        assert_eq!(thread.len(), 1);
        assert_eq!(conversation.last_message_key, thread[0].id);
        // Which of the times that were told at once opens the window is the provider's word either way.
        assert!(conversation.last_inbound_at >= Some(thread[0].id.epoch_ms()));
    }
}

#[tokio::test]
async fn one_id_stays_one_message_whatever_call_is_lost() {
    for fault in Fault::ALL {
        for lost in 0..8 {
            let (table, account) = (Table::without_retries().await, Account::whatsapp());
            let store = table.store();
            account.receives(&store, 1, vec![later(0)]).await;
            table.meter.start([(lost, fault)]);

            let mut second = 2;
            while account.deliver(&store, delivery(second), vec![later(4)]).await.failed > 0 {
                second += 1;
                assert!(second < 5, "one call was lost");
            }

            table.meter.stop();
            let conversation = account.only(&store).await;
            assert_eq!(account.external_ids(&store, &conversation).await, ["wamid.X"], "{fault:?} {lost}");
            assert_eq!(conversation.last_message_key.epoch_ms(), at(0), "{fault:?} {lost}");
        }
    }
}

#[tokio::test]
async fn late_write_of_a_second_message_does_not_bring_it_back() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![later(0)]).await;

    // The provider's repetition of what has gone meets its key.
    for second in 2..4 {
        account.receives(&store, second, vec![later(5)]).await;
    }

    is_there_once(&account, &table, &["wamid.X"]).await;
    let partition =
        shared::store::keys::conversation_partition(&account.organization, &account.conversation_id(&anna()));
    assert_eq!(table.partition(&partition).await.len(), 3, "conversation, message, and a key that is taken");
}
