//! What things cost: exact round trips and write units, however much there is already.

use shared::{
    content::Content,
    event::EventKind,
    id::MessageId,
    inbound::callback_data,
    message::{Direction, Sender, Status},
    platform::Channel,
    store::{InboxFilter, Item, Message, Store, keys},
};

use crate::{
    engine::{self, Figures, Table},
    given::{Account, DELAY_SECS, anna, at, both, echo, event, inbound, phone, status, user},
    statuses::begun,
};

/// How many messages the long conversation has; `MESSAGES` says otherwise.
const MANY_MESSAGES: i64 = 10_000;
const MANY_CONVERSATIONS: usize = 1_000;
const MANY_ORGANIZATIONS: usize = 100;

/// Two calls side by side: one round trip.
fn is_one_round_trip(figures: &Figures) {
    assert_eq!(figures.calls, ["BatchExecuteStatement", "UpdateItem"]);
    assert_eq!(figures.side_by_side, 2);
}

/// What it is known as is looked at after what a new one takes.
fn is_a_duplicate(figures: &Figures) {
    assert_eq!(figures.calls, ["BatchExecuteStatement", "UpdateItem", "UpdateItem"]);
    assert_eq!(figures.side_by_side, 2);
}

#[track_caller]
fn cost(figures: &Figures, write_units: f64) {
    assert!((figures.write_units - write_units).abs() < 0.01, "{} write units, not {write_units}", figures.write_units);
}

async fn measured<T>(table: &Table, what: impl Future<Output = T>) -> (T, Figures) {
    table.meter.start([]);
    let result = what.await;
    (result, table.meter.stop())
}

/// An inbound text, its duplicate and a status of a reply cost what they always cost.
async fn costs_what_it_always_costs(table: &Table, account: &Account, store: &Store, second: i64) {
    let name = format!("warm {second}");
    let warm = vec![inbound(&anna(), &name, second)];
    let (counts, figures) = measured(table, account.receives(store, second, warm.clone())).await;
    assert_eq!(counts.stored, 1);
    is_one_round_trip(&figures);
    cost(&figures, 5.0);

    let (counts, figures) = measured(table, account.receives(store, second + 1, warm)).await;
    assert_eq!(counts.duplicates, 1);
    is_a_duplicate(&figures);
    cost(&figures, 0.0);

    // At the time of the customer's message, before the next one.
    let message = begun(account, store, &account.conversation_id(&anna()), second - DELAY_SECS).await;
    let external_id = format!("wamid.{second}");
    let told = |told: Status| {
        let mut change = status(&external_id, told, second);
        change.callback_data = Some(callback_data(&message.conversation_id, &message.id));
        vec![event(EventKind::Status(change))]
    };
    account.receives(store, second + 3, told(Status::Sent)).await;
    for (reported, write_units) in [(Status::Delivered, 1.0), (Status::Delivered, 0.0), (Status::Sent, 0.0)] {
        let (_, figures) = measured(table, account.receives(store, second + 4, told(reported))).await;
        assert_eq!(figures.calls, ["UpdateItem"]);
        cost(&figures, write_units);
    }
}

#[tokio::test]
async fn a_first_contact_takes_one_round_trip() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();

    let (_, figures) = measured(&table, account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)])).await;

    is_one_round_trip(&figures);
    cost(&figures, 4.0);
}

#[tokio::test]
async fn a_customer_with_both_ids_takes_one_round_trip_once_known() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (number, id) = ("491713920012", "DE.8172");
    account.receives(&store, 1, vec![inbound(&both(number, id), "first", 0)]).await;
    account.receives(&store, 2, vec![inbound(&user(id), "second", 1)]).await;

    for (second, customer) in (3..).zip([both(number, id), user(id), phone(number)]) {
        let warm = vec![inbound(&customer, &format!("warm {second}"), second)];
        let (_, figures) = measured(&table, account.receives(&store, second, warm.clone())).await;
        is_one_round_trip(&figures);
        cost(&figures, 5.0);
        let (_, figures) = measured(&table, account.receives(&store, second, warm)).await;
        is_a_duplicate(&figures);
    }
}

#[tokio::test]
async fn a_burst_within_a_second_takes_at_most_two_round_trips_each() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    for second in 1..20 {
        let burst = vec![inbound(&anna(), &format!("photo {second}"), 0)];
        let (_, figures) = measured(&table, account.receives(&store, second, burst)).await;
        assert!(figures.calls.len() <= 3, "{:?}", figures.calls);
    }
}

#[tokio::test]
async fn a_late_message_takes_two_round_trips() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "newest", 10)]).await;

    let (_, figures) = measured(&table, account.receives(&store, 2, vec![inbound(&anna(), "late", 5)])).await;

    assert_eq!(figures.calls, ["BatchExecuteStatement", "UpdateItem", "UpdateItem"]);
}

#[tokio::test]
async fn many_messages_of_one_delivery_are_told_to_their_conversation_at_once() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;

    let events = (1..=10).map(|second| inbound(&anna(), &format!("m{second}"), second)).collect();
    let (_, figures) = measured(&table, account.receives(&store, 2, events)).await;

    assert_eq!(figures.calls, ["BatchExecuteStatement", "UpdateItem"]);
    cost(&figures, 23.0);
}

fn loaded(account: &Account, message: &Message) -> Item {
    let mut item: Item = serde_dynamo::to_item(message).unwrap();
    let key = keys::message(&account.organization, &message.conversation_id, &message.id);
    item.insert(keys::PK.into(), engine::text(&key.pk));
    item.insert(keys::SK.into(), engine::text(&key.sk));
    item
}

#[tokio::test]
async fn a_long_conversation_costs_no_more_than_a_short_one() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
    costs_what_it_always_costs(&table, &account, &store, 10).await;

    let many = std::env::var("MESSAGES").ok().and_then(|many| many.parse().ok()).unwrap_or(MANY_MESSAGES);
    let message = |number: i64| {
        let external_id = format!("loaded {number}");
        let id = MessageId::of(at(-number), &external_id);
        let (conversation, content) = (account.conversation_id(&anna()), Content::text(&external_id));
        let message = Message::new(id, conversation, Direction::Inbound, Sender::Customer, &content, 0);
        loaded(&account, &Message { external_id: Some(external_id), ..message })
    };
    table.load((1..=many).map(message)).await;

    costs_what_it_always_costs(&table, &account, &store, 20).await;
    let partitions = account.only(&store).await.partitions();
    let page = store.messages(&account.organization, &partitions, None, 20);
    let ((messages, _), figures) = measured(&table, async { page.await.unwrap() }).await;
    assert_eq!((messages.len(), figures.calls.as_slice()), (20, &["Query".to_owned()][..]));
}

#[tokio::test]
async fn many_conversations_cost_no_more_than_few() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
    costs_what_it_always_costs(&table, &account, &store, 10).await;

    let conversation = keys::conversation(&account.organization, &account.conversation_id(&anna()));
    let items = table.partition(&conversation.pk).await;
    let like: Item =
        items.into_iter().find(|item| item[keys::SK] == engine::text(&conversation.sk)).unwrap().into_iter().collect();
    table
        .load((0..MANY_CONVERSATIONS).map(|number| {
            let id = account.conversation_id(&phone(&format!("4917{number:06}")));
            let mut item = like.clone();
            item.insert(keys::PK.into(), engine::text(&keys::conversation_partition(&account.organization, &id)));
            item.insert("id".into(), engine::text(id.as_str()));
            item.insert(keys::INBOX_SORT.into(), engine::text(&keys::inbox_sort(at(0), &id)));
            item
        }))
        .await;

    costs_what_it_always_costs(&table, &account, &store, 20).await;
    let filter = InboxFilter { channels: vec![Channel::Whatsapp], ..InboxFilter::default() };
    let page = store.inbox(&account.organization, &filter, None, 20);
    let (page, figures) = measured(&table, async { page.await.unwrap() }).await;
    assert_eq!((page.conversations.len(), figures.calls.as_slice()), (20, &["Query".to_owned()][..]));
}

#[tokio::test]
async fn many_organizations_cost_no_more_than_one() {
    let table = Table::open().await;
    let store = table.store();
    for number in 0..MANY_ORGANIZATIONS {
        let account = Account::whatsapp();
        account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
        if number == 0 || number + 1 == MANY_ORGANIZATIONS {
            costs_what_it_always_costs(&table, &account, &store, 10).await;
        }
    }
}

#[tokio::test]
async fn duplicates_among_a_delivery_cost_nothing_more() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let known: Vec<_> = (0..10).map(|second| inbound(&anna(), &format!("m{second}"), second)).collect();
    account.receives(&store, 1, known.clone()).await;

    let mixed =
        known[5..].iter().cloned().chain((10..15).map(|second| inbound(&anna(), &format!("m{second}"), second)));
    let (counts, figures) = measured(&table, account.receives(&store, 2, mixed.collect())).await;

    assert_eq!((counts.stored, counts.duplicates), (5, 5));
    assert_eq!(figures.calls.len(), 2 + 5, "{:?}", figures.calls);
    cost(&figures, 23.0);
}

#[tokio::test]
async fn echo_costs_what_it_stores() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;

    let (_, figures) = measured(&table, account.receives(&store, 2, vec![echo(&anna(), "echo", 5)])).await;

    assert_eq!(figures.calls, ["BatchExecuteStatement", "UpdateItem"]);
    cost(&figures, 5.0);
}

#[tokio::test]
async fn the_largest_conversation_costs_an_inbound_text_a_unit_more_at_most() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let mut customer = both("4917139200123", &format!("DE.{}", "8".repeat(40)));
    customer.name = Some("N".repeat(120));
    customer.username = Some("u".repeat(30));
    let long = |second: i64| inbound(&customer, &format!("{second} {}", "x".repeat(150)), second);
    account.receives(&store, 1, vec![long(0)]).await;

    let (_, figures) = measured(&table, account.receives(&store, 2, vec![long(1)])).await;

    is_one_round_trip(&figures);
    assert!(figures.write_units <= 8.0, "{}", figures.write_units);
}
