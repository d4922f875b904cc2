//! Whichever ids the provider shows a customer under: seen together once, they are one conversation for ever.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use shared::{
    event::{Customer, Event, EventKind, IncomingMessage, UpTo, Watermark},
    inbound::Counts,
    message::Status,
    platform::Platform,
    store::{Assignee, Begun, Changes, Conversation, ConversationStatus, Reply, Store, Writing, keys},
};

use crate::{
    engine::Table,
    given::{Account, at, both, delivery, echo, event, inbound, message, phone, text, user},
};

const PHONE: &str = "491713920012";
const USER: &str = "DE.8172";

/// Every id leads to one conversation, which is all of the inbox and holds these messages, also for a new process.
async fn is_one(table: &Table, account: &Account, ids: &[Customer], messages: &[&str]) -> Conversation {
    let store = table.store();
    let only = account.only(&store).await;
    for id in ids {
        assert_eq!(account.conversation(&store, id).await, only, "{id:?}");
    }
    assert_eq!(account.external_ids(&store, &only).await, messages);
    only
}

#[tokio::test]
async fn newest_name_of_a_delivery_counts() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let called = |name: &str| Customer { name: Some(name.into()), ..phone(PHONE) };

    let events = vec![inbound(&called("Now"), "later", 2), inbound(&called("Before"), "earlier", 1)];
    account.receives(&store, 3, events).await;

    assert_eq!(account.only(&store).await.customer_name.as_deref(), Some("Now"));
}

/// Told in either order, a customer ends as whoever the later one says.
async fn ends_the_same(events: [Event; 2], second: i64) -> Conversation {
    let [earlier, later] = &events;
    let mut ends = Vec::new();
    for order in [[earlier, later], [later, earlier]] {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        for (number, event) in (second..).zip(order) {
            account.receives(&store, number, vec![event.clone()]).await;
        }
        // Repetitions, the older one last.
        account.receives(&store, second + 2, vec![later.clone()]).await;
        account.receives(&store, second + 3, vec![earlier.clone()]).await;
        ends.push(account.only(&store).await);
    }
    let known = |end: &Conversation| {
        let Conversation { customer_name, customer_phone, customer_user_id, customer_username, .. } = end.clone();
        (customer_name, customer_phone, customer_user_id, customer_username)
    };
    assert_eq!(known(&ends[0]), known(&ends[1]));
    ends.remove(1)
}

#[tokio::test]
async fn names_follow_the_time_of_their_message() {
    let called = |name: &str| {
        let username = Some(format!("@{name}"));
        Customer { name: Some(name.into()), username, ..phone(PHONE) }
    };

    let end = ends_the_same([inbound(&called("Before"), "m1", 20), inbound(&called("Now"), "m2", 40)], 60).await;

    assert_eq!((end.customer_name.as_deref(), end.customer_username.as_deref()), (Some("Now"), Some("@Now")));
}

#[tokio::test]
async fn late_message_tells_a_name_that_was_not_known() {
    let called = Customer { name: Some("Anna".into()), ..phone(PHONE) };

    let end = ends_the_same([inbound(&called, "m1", 20), inbound(&phone(PHONE), "m2", 40)], 60).await;

    assert_eq!(end.customer_name.as_deref(), Some("Anna"));
}

#[tokio::test]
async fn older_name_of_a_newer_delivery_overwrites_nothing() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let called = |name: &str| Customer { name: Some(name.into()), ..phone(PHONE) };
    account.receives(&store, 60, vec![inbound(&called("Now"), "m2", 40)]).await;

    // The newer of the two tells no name.
    let both = vec![inbound(&called("Before"), "m1", 20), inbound(&phone(PHONE), "m3", 50)];
    account.receives(&store, 61, both).await;

    assert_eq!(account.only(&store).await.customer_name.as_deref(), Some("Now"));
    assert_eq!(account.only(&store).await.last_message_text, "m3");
}

#[tokio::test]
async fn reply_goes_to_the_new_number_after_a_late_message() {
    let (old, new) = (phone(PHONE), phone("4915199"));

    let end = ends_the_same([inbound(&old, "late", 20), number_changed(&old, new.clone(), 40)], 100).await;

    assert_eq!(end.customer_phone, new.phone);
}

#[tokio::test]
async fn reply_goes_to_the_new_user_id_after_a_late_message() {
    let (old, new) = (user(USER), user("DE.9"));

    let end = ends_the_same([inbound(&old, "late", 20), number_changed(&old, new.clone(), 40)], 100).await;

    assert_eq!(end.customer_user_id, new.user_id);
}

#[tokio::test]
async fn merged_conversation_is_called_by_what_was_told_last() {
    let called = |name: &str, customer: Customer| Customer { name: Some(name.into()), ..customer };
    for (by_phone, by_user, name) in [(10, 20, "User"), (20, 10, "Phone")] {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        account.receives(&store, 30, vec![inbound(&called("Phone", phone(PHONE)), "p", by_phone)]).await;
        account.receives(&store, 31, vec![inbound(&called("User", user(USER)), "u", by_user)]).await;

        account.receives(&store, 32, vec![inbound(&both(PHONE, USER), "both", 25)]).await;

        assert_eq!(account.only(&store).await.customer_name.as_deref(), Some(name));
    }
}

#[tokio::test]
async fn name_of_before_times_were_kept_is_older_than_any() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let called = |name: &str| Customer { name: Some(name.into()), ..phone(PHONE) };
    account.receives(&store, 60, vec![inbound(&called("Stored"), "m2", 40)]).await;
    let key = keys::conversation(&account.organization, &account.conversation_id(&phone(PHONE)));
    let mut items = table.partition(&key.pk).await;
    items.retain_mut(|item| item.remove("customerNameAt").is_some());
    table.load(items.into_iter().map(|item| item.into_iter().collect())).await;

    account.receives(&store, 61, vec![inbound(&called("Told"), "m1", 20)]).await;

    assert_eq!(account.only(&store).await.customer_name.as_deref(), Some("Told"));
}

#[tokio::test]
async fn repeated_change_of_a_number_does_not_turn_back() {
    let numbers = [phone(PHONE), phone("4915199"), phone("4915188")];
    let [a, b, c] = &numbers;
    let to_c = vec![number_changed(a, b.clone(), 10), number_changed(b, c.clone(), 20)];
    let to_b =
        vec![number_changed(a, b.clone(), 10), number_changed(b, a.clone(), 20), number_changed(a, b.clone(), 30)];
    for (changes, last) in [(to_c, c), (to_b, b)] {
        for order in orders(changes.len()) {
            let (table, account) = (Table::open().await, Account::whatsapp());
            let store = table.store();
            account.receives(&store, 1, vec![inbound(a, "before", 1)]).await;
            for (number, index) in (40..).zip(order.iter().chain(&order)) {
                account.receives(&store, number, vec![changes[*index].clone()]).await;
            }
            assert_eq!(account.only(&store).await.customer_phone, last.phone, "in the order {order:?}");
        }
    }
}

/// What stands in the threads of all conversations, by the name that the customer tells.
async fn threads(account: &Account, store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut threads = BTreeMap::new();
    for conversation in account.inbox(store).await {
        let ids = account.external_ids(store, &conversation).await;
        let name = conversation.customer_name.unwrap_or_default();
        assert_eq!(threads.insert(name.clone(), ids), None, "two conversations of {name}");
    }
    threads
}

fn called(name: &str, customer: Customer) -> Customer {
    Customer { name: Some(name.into()), ..customer }
}

fn are(threads: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
    threads.iter().map(|(name, ids)| ((*name).to_owned(), owned(ids))).collect()
}

async fn by_name(account: &Account, store: &Store, name: &str) -> Conversation {
    let inbox = account.inbox(store).await;
    inbox.into_iter().find(|conversation| conversation.customer_name.as_deref() == Some(name)).unwrap()
}

#[tokio::test]
async fn next_owner_of_a_left_number_has_an_own_conversation() {
    for next in [both(PHONE, "DE.2"), phone(PHONE)] {
        for is_new_process in [false, true] {
            let (table, account) = (Table::open().await, Account::whatsapp());
            let mut store = table.store();
            let (first, moved) = (called("First", phone(PHONE)), called("First", phone("4915199")));
            account.receives(&store, 1, vec![inbound(&first, "before", 1)]).await;
            account.receives(&store, 11, vec![number_changed(&first, phone("4915199"), 10)]).await;
            if is_new_process {
                store = table.store();
            }

            account.receives(&store, 21, vec![inbound(&called("Next", next.clone()), "hello", 20)]).await;
            account.receives(&store, 31, vec![inbound(&moved, "after", 30)]).await;
            account.receives(&store, 41, vec![inbound(&called("Next", next.clone()), "again", 40)]).await;
            // Late, and told once more.
            account.receives(&store, 51, vec![inbound(&first, "late", 5)]).await;
            account.receives(&store, 52, vec![number_changed(&first, phone("4915199"), 10)]).await;

            let threads = threads(&account, &store).await;
            let of_first: &[&str] = &["before", "late", "changed at 10", "after"];
            assert_eq!(threads, are(&[("First", of_first), ("Next", &["hello", "again"])]), "{next:?}");
            let first = by_name(&account, &store, "First").await;
            assert_eq!((first.customer_phone.as_deref(), first.customer_user_id), (Some("4915199"), None));
            let next_owner = by_name(&account, &store, "Next").await;
            assert_eq!((&next_owner.customer_phone, &next_owner.customer_user_id), (&next.phone, &next.user_id));
            assert_eq!((next_owner.last_message_text.as_str(), next_owner.last_inbound_at), ("again", Some(at(40))));
            assert_eq!(account.unread(&store, &next_owner).await, 2);
            assert_eq!((first.last_message_text.as_str(), first.last_inbound_at), ("after", Some(at(30))));
        }
    }
}

#[tokio::test]
async fn another_user_id_under_a_known_number_is_another_person() {
    for is_new_process in [false, true] {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let mut store = table.store();
        let (first, next) = (called("First", both(PHONE, USER)), called("Next", both(PHONE, "DE.2")));
        account.receives(&store, 1, vec![inbound(&first, "f1", 1)]).await;
        if is_new_process {
            store = table.store();
        }

        account.receives(&store, 21, vec![inbound(&next, "n1", 20)]).await;
        account.receives(&store, 31, vec![inbound(&called("Next", phone(PHONE)), "n2", 30)]).await;
        account.receives(&store, 32, vec![inbound(&called("First", user(USER)), "f2", 31)]).await;
        account.receives(&store, 33, vec![inbound(&called("First", phone(PHONE)), "late", 5)]).await;
        account.receives(&store, 34, vec![inbound(&first, "f1", 1)]).await;

        let expected = are(&[("First", &["f1", "late", "f2"]), ("Next", &["n1", "n2"])]);
        assert_eq!(threads(&account, &store).await, expected);
        let first = by_name(&account, &store, "First").await;
        assert_eq!((first.customer_phone, first.customer_user_id.as_deref()), (None, Some(USER)), "by the id alone");
        assert_eq!(by_name(&account, &store, "Next").await.customer_phone.as_deref(), Some(PHONE));
    }
}

#[tokio::test]
async fn two_owners_of_a_number_in_one_delivery_are_two_people() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (first, next) = (called("First", both(PHONE, USER)), called("Next", both(PHONE, "DE.2")));

    let events = vec![inbound(&next, "n1", 20), inbound(&first, "f1", 1)];
    account.receives(&store, 30, events).await;

    assert_eq!(threads(&account, &store).await, are(&[("First", &["f1"]), ("Next", &["n1"])]));
}

#[tokio::test]
async fn what_the_next_owner_wrote_before_the_change_was_told_moves() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let first = called("First", phone(PHONE));
    account.receives(&store, 1, vec![inbound(&first, "f1", 1)]).await;
    account.receives(&store, 21, vec![inbound(&called("Next", phone(PHONE)), "n1", 20)]).await;

    account.receives(&store, 31, vec![number_changed(&called("First", phone(PHONE)), phone("4915199"), 10)]).await;
    account.receives(&store, 32, vec![inbound(&called("Next", phone(PHONE)), "n2", 30)]).await;

    let inbox = account.inbox(&store).await;
    let mut threads = Vec::new();
    for conversation in &inbox {
        threads.push((conversation.customer_phone.clone(), account.external_ids(&store, conversation).await));
    }
    let moved = (Some(PHONE.to_owned()), vec!["n1".to_owned(), "n2".to_owned()]);
    let stays = (Some("4915199".to_owned()), vec!["f1".to_owned(), "changed at 10".to_owned()]);
    assert_eq!(threads, [moved, stays]);
    assert_eq!(inbox[1].last_message_text, "changed at 10");
    assert_eq!((inbox[1].last_inbound_at, inbox[0].last_inbound_at), (Some(at(1)), Some(at(30))));
    assert_eq!(account.unread(&store, &inbox[0]).await, 2);
    assert_eq!(account.unread(&store, &inbox[1]).await, 1);
}

#[tokio::test]
async fn former_owner_of_the_new_number_is_somebody_else() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (old, new) = (phone(PHONE), phone("4915199"));
    account.receives(&store, 1, vec![inbound(&called("Former", new.clone()), "long ago", 1)]).await;
    account.receives(&store, 2, vec![inbound(&called("Mover", old.clone()), "before", 2)]).await;

    account.receives(&store, 11, vec![number_changed(&called("Mover", old.clone()), new.clone(), 10)]).await;
    account.receives(&store, 21, vec![inbound(&called("Mover", new.clone()), "after", 20)]).await;
    account.receives(&store, 22, vec![inbound(&called("Former", new), "late", 5)]).await;

    let expected = are(&[("Former", &["long ago", "late"]), ("Mover", &["before", "changed at 10", "after"])]);
    assert_eq!(threads(&account, &store).await, expected);
}

#[tokio::test]
async fn customer_who_returns_to_a_number_keeps_the_conversation() {
    let changes = |a: &Customer, b: &Customer| {
        vec![number_changed(a, b.clone(), 10), number_changed(b, a.clone(), 20), number_changed(a, b.clone(), 30)]
    };
    let (a, b) = (phone(PHONE), phone("4915199"));
    for order in orders(3) {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let changes = changes(&a, &b);
        account.receives(&store, 1, vec![inbound(&a, "m5", 5)]).await;
        for (number, index) in (40..).zip(order.iter().chain(&order)) {
            account.receives(&store, number, vec![changes[*index].clone()]).await;
        }
        for (number, customer) in (50..).zip([&b, &a, &b]) {
            let second = (number - 48) * 10 - 5;
            account.receives(&store, number, vec![inbound(customer, &format!("m{second}"), second)]).await;
        }

        let only = account.only(&store).await;
        let expected = ["m5", "changed at 10", "m15", "changed at 20", "m25", "changed at 30", "m35"];
        assert_eq!(account.external_ids(&store, &only).await, expected, "{order:?}");
        assert_eq!(only.customer_phone, b.phone, "{order:?}");
    }
}

#[tokio::test]
async fn changed_user_ids_in_any_order_are_one_customer() {
    let changes = [number_changed(&user("DE.1"), user("DE.2"), 10), number_changed(&user("DE.2"), user("DE.3"), 20)];
    for order in [[0, 1, 0], [1, 0, 1]] {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        account.receives(&store, 1, vec![inbound(&user("DE.1"), "m1", 1)]).await;
        for (number, index) in (40..).zip(order) {
            account.receives(&store, number, vec![changes[index].clone()]).await;
        }
        account.receives(&store, 50, vec![inbound(&user("DE.3"), "m30", 30)]).await;

        let only = account.only(&store).await;
        assert_eq!(account.external_ids(&store, &only).await, ["m1", "changed at 10", "changed at 20", "m30"]);
        assert_eq!(only.customer_user_id.as_deref(), Some("DE.3"));
    }
}

#[tokio::test]
async fn changed_number_with_a_new_user_id_stays_one_customer() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (old, new) = (both(PHONE, USER), both("4915199", "DE.9"));
    account.receives(&store, 1, vec![inbound(&old, "before", 1)]).await;

    account.receives(&store, 11, vec![number_changed(&old, new.clone(), 10)]).await;
    for (second, customer) in [(20, &new), (21, &user("DE.9")), (22, &phone("4915199"))] {
        account.receives(&store, second, vec![inbound(customer, &format!("m{second}"), second)]).await;
    }

    let only = account.only(&store).await;
    assert_eq!(account.external_ids(&store, &only).await, ["before", "changed at 10", "m20", "m21", "m22"]);
    assert_eq!((only.customer_phone, only.customer_user_id), (new.phone, new.user_id));
}

#[tokio::test]
async fn message_of_a_number_is_its_holders_at_that_time() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let first = called("First", phone(PHONE));
    account.receives(&store, 1, vec![inbound(&first, "before", 1)]).await;
    account.receives(&store, 11, vec![number_changed(&first, phone("4915199"), 10)]).await;
    account.receives(&store, 21, vec![inbound(&called("Next", phone(PHONE)), "hello", 20)]).await;
    let number = account.conversation_id(&phone(PHONE));

    for (name, second) in [("First", 1), ("First", 10), ("Next", 20), ("Next", 30)] {
        let (part, conversation) = store.conversation_at(&account.organization, &number, at(second)).await.unwrap();
        assert_eq!(conversation.unwrap(), by_name(&account, &store, name).await, "{second}");
        assert!(part.id == number && part.contains(at(second)));
    }
}

#[tokio::test]
async fn reply_to_whoever_had_a_number_first_stays_in_their_thread() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let first = called("First", phone(PHONE));
    account.receives(&store, 1, vec![inbound(&first, "before", 1)]).await;
    account.receives(&store, 11, vec![number_changed(&first, phone("4915199"), 10)]).await;
    account.receives(&store, 21, vec![inbound(&called("Next", phone(PHONE)), "hello", 20)]).await;
    let conversation = by_name(&account, &store, "First").await;

    let id = account.conversation_id(&phone(PHONE));
    let writing = Writing { conversation: &id, operator: "olga", key: "key" };
    let reply = Reply { text: "Hello, First".into(), ..Reply::default() };
    let begin =
        async || store.begin_reply(&account.organization, &conversation, writing, &reply, delivery(30)).await.unwrap();
    let (Begun::New(sent), Begun::Before(again)) = (begin().await, begin().await) else { panic!("sent twice") };

    assert_eq!(sent.id, again.id);
    let texts = async |name| {
        let conversation = by_name(&account, &store, name).await;
        let thread = account.thread(&store, &conversation).await;
        (thread.into_iter().filter_map(|message| message.text).collect::<Vec<_>>(), conversation.last_message_text)
    };
    assert_eq!(texts("Next").await, (vec!["hello".to_owned()], "hello".to_owned()));
    let of_first = ["before", "changed at 10", "Hello, First"].map(str::to_owned).to_vec();
    assert_eq!(texts("First").await, (of_first, "Hello, First".to_owned()));
}

/// Every order of so many.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let with_last = |order: Vec<usize>| {
        (0..count).map(move |place| {
            let mut order = order.clone();
            order.insert(place, count - 1);
            order
        })
    };
    orders(count - 1).into_iter().flat_map(with_last).collect()
}

#[tokio::test]
async fn a_customer_known_by_phone_is_the_same_with_a_user_id() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let ids = [phone(PHONE), user(USER), both(PHONE, USER)];

    account.receives(&store, 1, vec![inbound(&phone(PHONE), "by phone", 1)]).await;
    account.receives(&store, 2, vec![inbound(&both(PHONE, USER), "by both", 2)]).await;
    is_one(&table, &account, &ids, &["by phone", "by both"]).await;
    account.receives(&store, 3, vec![inbound(&user(USER), "by user id", 3)]).await;
    account.receives(&table.store(), 4, vec![inbound(&user(USER), "by user id, elsewhere", 4)]).await;

    let messages = ["by phone", "by both", "by user id", "by user id, elsewhere"];
    let conversation = is_one(&table, &account, &ids, &messages).await;
    assert_eq!(conversation.id, account.conversation_id(&phone(PHONE)));
    assert_eq!(conversation.customer_user_id.as_deref(), Some(USER));
    assert_eq!(conversation.customer_phone.as_deref(), Some(PHONE));
    assert_eq!(account.unread(&store, &conversation).await, 4);
}

#[tokio::test]
async fn a_customer_known_by_user_id_is_the_same_with_a_phone_number() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let ids = [phone(PHONE), user(USER), both(PHONE, USER)];

    account.receives(&store, 1, vec![inbound(&user(USER), "by user id", 1)]).await;
    account.receives(&store, 2, vec![inbound(&both(PHONE, USER), "by both", 2)]).await;
    account.receives(&store, 3, vec![inbound(&phone(PHONE), "by phone", 3)]).await;
    account.receives(&table.store(), 4, vec![inbound(&phone(PHONE), "by phone, elsewhere", 4)]).await;

    let messages = ["by user id", "by both", "by phone", "by phone, elsewhere"];
    let conversation = is_one(&table, &account, &ids, &messages).await;
    assert_eq!(conversation.id, account.conversation_id(&user(USER)), "the one that was there first stays");
    assert_eq!(conversation.customer_phone.as_deref(), Some(PHONE));
}

#[tokio::test]
async fn a_first_contact_with_both_ids_is_found_by_each() {
    let (table, account) = (Table::open().await, Account::whatsapp());

    account.receives(&table.store(), 1, vec![inbound(&both(PHONE, USER), "by both", 1)]).await;
    account.receives(&table.store(), 2, vec![inbound(&user(USER), "by user id", 2)]).await;

    is_one(&table, &account, &[phone(PHONE), user(USER)], &["by both", "by user id"]).await;
}

/// Two conversations of one customer, who has not been recognized yet: the older by phone, the younger by user id.
async fn two_conversations(account: &Account, store: &Store) {
    account.receives(store, 1, vec![inbound(&phone(PHONE), "p1", 1), inbound(&phone(PHONE), "p2", 5)]).await;
    account.receives(store, 2, vec![inbound(&user(USER), "u1", 2), inbound(&user(USER), "u2", 9)]).await;
    assert_eq!(account.inbox(store).await.len(), 2);
}

async fn change(account: &Account, store: &Store, customer: &Customer, changes: Changes) -> Conversation {
    store.change_conversation(&account.organization, &account.conversation_id(customer), &changes, 0).await.unwrap()
}

#[tokio::test]
async fn two_conversations_of_one_customer_become_one() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    two_conversations(&account, &store).await;
    let labels = |labels: &[&str]| Some(labels.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
    let closed = Changes {
        status: Some(ConversationStatus::Closed),
        labels: labels(&["vip", "old"]),
        read_up_to: Some(delivery(1)),
        ..Changes::default()
    };
    change(&account, &store, &phone(PHONE), closed).await;
    let assigned = Changes {
        assigned_to: Some(Assignee::User("olga".into())),
        labels: labels(&["vip", "new"]),
        ..Changes::default()
    };
    change(&account, &store, &user(USER), assigned).await;

    account.receives(&store, 3, vec![inbound(&both(PHONE, USER), "late", 7)]).await;

    let ids = [phone(PHONE), user(USER)];
    let one = is_one(&table, &account, &ids, &["p1", "u1", "p2", "late", "u2"]).await;
    assert_eq!(one.id, account.conversation_id(&phone(PHONE)), "the older one stays");
    assert_eq!(one.status, ConversationStatus::Open);
    assert_eq!(one.last_message_text, "u2");
    assert_eq!(one.last_inbound_at, Some(at(9)));
    assert_eq!(one.last_received_at, Some(delivery(3)));
    assert_eq!(one.assigned_to.as_deref(), Some("olga"));
    assert_eq!(Some(one.labels.clone()), labels(&["new", "old", "vip"]));
    assert!(account.unread(&store, &one).await >= 3, "u1, u2 and the late one");

    let read = Changes { read_up_to: Some(delivery(3)), ..Changes::default() };
    let read = change(&account, &store, &user(USER), read).await;
    assert_eq!((read.id, read.unread_from), (one.id, None), "changed by the id that has become an alias");
}

#[tokio::test]
async fn what_was_unread_in_either_conversation_is_unread_in_both_together() {
    // How far each was read: 0 nothing, 1 the first message, 2 everything.
    for (by_phone, by_user) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)] {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();
        let deliveries = [(1, phone(PHONE), "p1", 1), (2, user(USER), "u1", 2), (3, phone(PHONE), "p2", 3)];
        for (second, customer, name, sent) in deliveries.into_iter().chain([(4, user(USER), "u2", 4)]) {
            account.receives(&store, second, vec![inbound(&customer, name, sent)]).await;
        }
        for (customer, first, read) in [(phone(PHONE), 1, by_phone), (user(USER), 2, by_user)] {
            let up_to = [None, Some(delivery(first)), Some(delivery(first + 2))][read];
            change(&account, &store, &customer, Changes { read_up_to: up_to, ..Changes::default() }).await;
        }

        account.receives(&store, 5, vec![echo(&both(PHONE, USER), "echo", 5)]).await;

        let one = is_one(&table, &account, &[phone(PHONE), user(USER)], &["p1", "u1", "p2", "u2", "echo"]).await;
        let unread = (2 - by_phone) + (2 - by_user);
        assert_eq!(one.unread_from.is_some(), unread > 0, "{by_phone} {by_user}");
        assert!(account.unread(&store, &one).await >= unread, "{by_phone} {by_user}");
    }
}

#[tokio::test]
async fn duplicates_after_a_merge_change_nothing() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    two_conversations(&account, &store).await;
    let last = vec![inbound(&both(PHONE, USER), "b1", 10)];
    account.receives(&store, 3, last.clone()).await;
    let before = is_one(&table, &account, &[user(USER)], &["p1", "u1", "p2", "u2", "b1"]).await;

    for store in [&store, &table.store()] {
        let by_phone = account.receives(store, 4, vec![inbound(&phone(PHONE), "p1", 1)]).await;
        let by_user = account.receives(store, 5, vec![inbound(&user(USER), "u2", 9)]).await;
        let by_both = account.receives(store, 6, last.clone()).await;
        assert_eq!([by_phone, by_user, by_both], [Counts { duplicates: 1, ..Counts::default() }; 3]);
    }

    let after = is_one(&table, &account, &[phone(PHONE)], &["p1", "u1", "p2", "u2", "b1"]).await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn customers_that_were_merged_before_are_merged_again() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let phones = ["491711", "491712", "491713", "491714"].map(phone);
    let users = ["DE.1", "DE.2", "DE.3", "DE.4"].map(user);
    for (number, customer) in (1..).zip(phones.iter().chain(&users)) {
        account.receives(&store, number, vec![inbound(customer, &format!("m{number}"), number)]).await;
    }
    let together =
        |phone: usize, user: usize| Customer { user_id: users[user].user_id.clone(), ..phones[phone].clone() };

    // Pairs first, the younger ones before the older; then pairs of pairs, so that aliases lead to aliases.
    for (number, pair) in (9..).zip([3, 2, 1, 0]) {
        let event = inbound(&together(pair, pair), &format!("m{number}"), number);
        account.receives(&table.store(), number, vec![event]).await;
    }
    for (number, (one, other)) in (13..).zip([(2, 3), (0, 1), (1, 2)]) {
        let event = number_changed(&users[one], users[other].clone(), number);
        account.receives(&table.store(), number, vec![event]).await;
    }

    let messages = (1..=12).map(|number| format!("m{number}"));
    let names: Vec<String> = messages.chain((13..=15).map(|number| format!("changed at {number}"))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ids: Vec<_> = phones.iter().chain(&users).cloned().collect();
    let one = is_one(&table, &account, &ids, &names).await;
    assert_eq!(one.id, account.conversation_id(&phones[0]));
    for (number, customer) in (20..).zip(&ids) {
        account.receives(&store, number, vec![inbound(customer, &format!("m{number}"), number)]).await;
        assert_eq!(account.only(&store).await.last_message_text, format!("m{number}"));
    }
}

#[tokio::test]
async fn first_contacts_at_the_same_moment_end_as_one_conversation() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let stores: Vec<_> = (0..9).map(|_| table.store()).collect();
    for round in 0..5 {
        let (number, id) = (format!("4917100{round}"), format!("DE.{round}"));
        let customers = [phone(&number), user(&id), both(&number, &id)];
        let mut told: Vec<(i64, Event)> = (0..9)
            .map(|place| {
                (place, inbound(&customers[usize::try_from(place).unwrap() % 3], &format!("{round}.{place}"), place))
            })
            .collect();
        // As the provider does: what was not stored comes again.
        while !told.is_empty() {
            let deliveries = told
                .iter()
                .zip(&stores)
                .map(|((place, event), store)| account.deliver(store, delivery(place + 1), vec![event.clone()]));
            let counts = join_all(deliveries.collect::<Vec<_>>()).await;
            told = told.into_iter().zip(counts).filter(|(_, counts)| counts.failed > 0).map(|(told, _)| told).collect();
        }

        let store = table.store();
        let one = account.conversation(&store, &customers[2]).await;
        assert_eq!(account.conversation(&store, &customers[0]).await, one);
        assert_eq!(account.conversation(&store, &customers[1]).await, one);
        let names: Vec<_> = (0..9).map(|place| format!("{round}.{place}")).collect();
        assert_eq!(account.external_ids(&store, &one).await, names);
        assert_eq!(account.unread(&store, &one).await, 9);
        assert_eq!(account.inbox(&store).await.len(), round + 1);
    }
}

fn number_changed(from: &Customer, to: Customer, second: i64) -> Event {
    message(IncomingMessage {
        from_customer: false,
        opens_window: false,
        also_known_as: Some(to),
        ..text(from, &format!("changed at {second}"), second)
    })
}

#[tokio::test]
async fn a_customer_who_changes_the_number_stays_the_same() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (old, new) = (phone(PHONE), phone("4915199"));
    account.receives(&store, 1, vec![inbound(&old, "before", 1)]).await;

    for second in [2, 3] {
        account.receives(&store, second, vec![number_changed(&old, new.clone(), 2)]).await;
    }

    let ids = [old.clone(), new.clone()];
    let one = is_one(&table, &account, &ids, &["before", "changed at 2"]).await;
    assert_eq!(one.customer_phone, new.phone, "replies go to the new number");
    account.receives(&table.store(), 4, vec![inbound(&new, "after", 4)]).await;
    let one = is_one(&table, &account, &ids, &["before", "changed at 2", "after"]).await;
    assert_eq!(one.id, account.conversation_id(&old));
    assert_eq!(account.unread(&store, &one).await, 2);
}

#[tokio::test]
async fn a_new_number_that_wrote_before_it_was_known_to_be_one_is_merged() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (old, new) = (phone(PHONE), phone("4915199"));
    account.receives(&store, 1, vec![inbound(&old, "before", 1)]).await;
    account.receives(&store, 2, vec![inbound(&new, "after", 3)]).await;

    account.receives(&store, 3, vec![number_changed(&old, new.clone(), 2)]).await;

    let one = is_one(&table, &account, &[old, new.clone()], &["before", "changed at 2", "after"]).await;
    assert_eq!(one.customer_phone, new.phone);
    assert_eq!(one.last_message_text, "after");
}

#[tokio::test]
async fn every_spelling_of_a_number_is_the_same_customer() {
    for spellings in
        [["5511987654321", "551187654321"], ["5215512345678", "525512345678"], ["5491123456789", "541123456789"]]
    {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let store = table.store();

        account.receives(&store, 1, vec![inbound(&phone(spellings[0]), "one", 1)]).await;
        account.receives(&store, 2, vec![inbound(&phone(spellings[1]), "two", 2)]).await;

        let one = is_one(&table, &account, &spellings.map(phone), &["one", "two"]).await;
        assert_eq!(one.customer_phone.as_deref(), Some(spellings[1]), "the provider's spelling is kept for sending");
    }
}

#[tokio::test]
async fn the_same_id_is_another_customer_on_another_account_or_platform() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let other_account = Account { id: "700100200300403".parse().unwrap(), ..account.clone() };
    let facebook = Account { platform: Platform::Facebook, ..account.clone() };

    for (number, account) in (1..).zip([&account, &other_account, &facebook]) {
        account.receives(&store, number, vec![inbound(&user(USER), &format!("m{number}"), number)]).await;
    }

    assert_eq!(account.inbox(&store).await.len(), 2);
    assert_eq!(facebook.only(&store).await.last_message_text, "m3");
}

#[tokio::test]
async fn a_watermark_by_an_alias_raises_its_conversation() {
    let (table, account) = (Table::open().await, Account::new(Platform::Facebook));
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&both(PHONE, USER), "b1", 1)]).await;
    let read = Watermark { customer: user(USER), status: Status::Read, up_to: UpTo::Time(at(5)) };

    account.receives(&table.store(), 2, vec![event(EventKind::Watermark(read))]).await;

    assert_eq!(account.only(&store).await.read_up_to, Some(at(5)));
}
