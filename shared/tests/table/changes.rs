//! What happens to messages by their external ids: only whoever may, and whenever it comes.

use proptest::{collection::vec, prelude::*};
use shared::{
    content::Content,
    event::{Customer, Edit, Event, EventKind, Party, ProviderError, Reaction, StatusChange, Unsend, UpTo, Watermark},
    inbound::Counts,
    message::Status,
    platform::Platform,
    store::{Message, Store},
    view::MessageView,
};

use crate::{
    converge::check,
    engine::{Fault, Table},
    given::{Account, anna, at, both, delivery, echo, event, inbound, phone, status, user},
    statuses::{accepted, begun},
};

const IGNORED: Counts =
    Counts { ignored: 1, stored: 0, duplicates: 0, quarantined: 0, unroutable: 0, failed: 0, undelivered: 0 };

fn edit(customer: &Customer, by: Party, target: &str, second: i64) -> Event {
    event(EventKind::Edit(Edit {
        customer: customer.clone(),
        by,
        external_id: format!("{target} edited at {second}"),
        target: target.into(),
        content: Content::text(format!("edited at {second}")),
        timestamp: Some(at(second)),
    }))
}

fn unsend(customer: &Customer, by: Party, target: &str, second: i64) -> Event {
    event(EventKind::Unsend(Unsend {
        customer: customer.clone(),
        by,
        external_id: format!("{target} unsent"),
        target: target.into(),
        timestamp: Some(at(second)),
    }))
}

fn react(customer: &Customer, by: Party, target: &str, emoji: &str, second: i64) -> Event {
    event(EventKind::Reaction(Reaction {
        customer: customer.clone(),
        by,
        external_id: format!("{target} {} at {second}", &emoji[..emoji.len().min(10)]),
        target: target.into(),
        emoji: (!emoji.is_empty()).then(|| emoji.into()),
        timestamp: Some(at(second)),
    }))
}

fn read_up_to(up_to: UpTo) -> Event {
    event(EventKind::Watermark(Watermark { customer: anna(), status: Status::Read, up_to }))
}

async fn thread(account: &Account, store: &Store) -> Vec<Message> {
    account.thread(store, &account.conversation(store, &anna()).await).await
}

/// What an operator is shown of the only message.
async fn shown(account: &Account, store: &Store) -> serde_json::Value {
    let conversation = account.only(store).await;
    let [message] = &account.thread(store, &conversation).await[..] else { panic!() };
    serde_json::to_value(MessageView::new(message.clone(), &conversation, at(1000))).unwrap()
}

#[tokio::test]
async fn only_its_author_changes_a_message() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let bob = phone("4915100");
    account.receives(&store, 1, vec![inbound(&anna(), "hers", 0), echo(&anna(), "ours", 1)]).await;
    account.receives(&store, 2, vec![inbound(&bob, "his", 2)]).await;
    let before = thread(&account, &store).await;

    for change in [
        edit(&anna(), Party::Customer, "ours", 5),
        unsend(&anna(), Party::Customer, "ours", 5),
        edit(&anna(), Party::Business, "hers", 5),
        unsend(&anna(), Party::Business, "hers", 5),
        edit(&bob, Party::Customer, "hers", 5),
        unsend(&bob, Party::Customer, "hers", 5),
        edit(&bob, Party::Business, "ours", 5),
        react(&bob, Party::Customer, "hers", "👍", 5),
        react(&bob, Party::Business, "ours", "👍", 5),
        event(EventKind::Watermark(Watermark {
            customer: bob.clone(),
            status: Status::Read,
            up_to: UpTo::Message("ours".into()),
        })),
    ] {
        assert_eq!(account.receives(&store, 3, vec![change.clone()]).await, IGNORED, "{change:?}");
    }

    assert_eq!(thread(&account, &store).await, before);
    let conversation = account.conversation(&store, &anna()).await;
    assert_eq!((conversation.last_message_text.as_str(), conversation.read_up_to), ("ours", None));
}

#[tokio::test]
async fn customer_with_two_ids_changes_messages_of_both() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let id = user("DE.8172");
    account.receives(&store, 1, vec![inbound(&id, "by id", 0)]).await;
    account.receives(&store, 2, vec![inbound(&anna(), "by number", 1)]).await;
    account.receives(&store, 3, vec![inbound(&both("491713920012", "DE.8172"), "by both", 2)]).await;

    let changes = vec![edit(&id, Party::Customer, "by number", 5), edit(&anna(), Party::Customer, "by id", 6)];
    assert_eq!(account.receives(&table.store(), 4, changes).await.stored, 2);

    let texts: Vec<_> = thread(&account, &store).await.into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, ["edited at 6", "edited at 5", "by both"]);
}

/// All orders of the events.
fn orders(events: &[Event]) -> Vec<Vec<Event>> {
    if events.len() < 2 {
        return vec![events.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..events.len() {
        let mut rest = events.to_vec();
        let event = rest.remove(first);
        for order in orders(&rest) {
            all.push([vec![event.clone()], order].concat());
        }
    }
    all
}

#[tokio::test]
async fn changes_apply_in_whatever_order_they_come() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    for (by, first) in [(Party::Customer, inbound(&anna(), "m", 0)), (Party::Business, echo(&anna(), "m", 0))] {
        let events = [
            first,
            edit(&anna(), by, "m", 1),
            edit(&anna(), by, "m", 2),
            react(&anna(), Party::Customer, "m", "👍", 3),
            react(&anna(), Party::Customer, "m", "🎉", 4),
        ];
        for (number, order) in orders(&events).into_iter().enumerate().step_by(7) {
            let account = Account { id: format!("{by:?}-{number}").parse().unwrap(), ..account.clone() };
            let store = table.store();
            for (second, event) in (1..).zip(&order) {
                account.receives(&store, second, vec![event.clone()]).await;
            }
            account.receives(&store, 9, order.clone()).await;

            let conversation = account.conversation(&store, &anna()).await;
            let [message] = &account.thread(&store, &conversation).await[..] else { panic!("{order:?}") };
            assert_eq!((message.text.as_deref(), message.edited_at), (Some("edited at 2"), Some(at(2))), "{order:?}");
            assert_eq!(message.reactions["customer"].emoji.as_deref(), Some("🎉"), "{order:?}");
            assert_eq!(conversation.last_message_text, "edited at 2", "{order:?}");
        }
    }
}

#[tokio::test]
async fn text_taken_back_never_shows() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let events =
        [inbound(&anna(), "m", 0), edit(&anna(), Party::Customer, "m", 1), unsend(&anna(), Party::Customer, "m", 2)];
    for (number, order) in orders(&events).into_iter().enumerate() {
        let account = Account { id: format!("account-{number}").parse().unwrap(), ..account.clone() };
        for (second, event) in (1..).zip(order.iter().chain(&order)) {
            account.receives(&store, second, vec![event.clone()]).await;
        }

        let conversation = account.conversation(&store, &anna()).await;
        let [message] = &account.thread(&store, &conversation).await[..] else { panic!("{order:?}") };
        assert_eq!((message.text.as_deref(), message.deleted_at), (None, Some(at(2))), "{order:?}");
        assert_eq!(conversation.last_message_text, "Message unsent", "{order:?}");
    }
}

#[tokio::test]
async fn changes_that_wait_survive_whatever_call_is_lost() {
    for fault in Fault::ALL {
        for lost in 0..12 {
            let (table, account) = (Table::without_retries().await, Account::whatsapp());
            let store = table.store();
            let events = [unsend(&anna(), Party::Customer, "m", 2), inbound(&anna(), "m", 0)];
            table.meter.start([(lost, fault)]);
            for event in &events {
                let mut second = 1;
                while account.deliver(&store, delivery(second), vec![event.clone()]).await.failed > 0 {
                    second += 1;
                    assert!(second < 4, "one call was lost");
                }
            }
            table.meter.stop();

            let conversation = account.only(&store).await;
            let [message] = &account.thread(&store, &conversation).await[..] else { panic!() };
            assert_eq!((message.text.as_deref(), message.deleted_at), (None, Some(at(2))), "{fault:?} {lost}");
            assert_eq!(conversation.last_message_text, "Message unsent", "{fault:?} {lost}");
        }
    }
}

#[tokio::test]
async fn foreign_change_that_waited_is_dropped() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let bob = phone("4915100");
    let foreign = vec![
        edit(&bob, Party::Customer, "m", 1),
        unsend(&anna(), Party::Business, "m", 1),
        react(&bob, Party::Customer, "m", "👎", 1),
    ];
    account.receives(&store, 1, foreign).await;

    account.receives(&store, 2, vec![inbound(&anna(), "m", 0)]).await;

    let [message] = &thread(&account, &store).await[..] else { panic!() };
    assert_eq!((message.text.as_deref(), message.deleted_at), (Some("m"), None));
    assert!(message.reactions.is_empty());
    assert_eq!(account.inbox(&store).await.len(), 1, "a change opens no conversation");
}

#[tokio::test]
async fn reaction_before_the_answer_to_a_reply_is_applied() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
    let reply = begun(&account, &store, &account.conversation_id(&anna()), 2).await;
    account.receives(&store, 3, vec![react(&anna(), Party::Customer, "wamid.R", "👍", 5)]).await;

    store.finish_reply(&account.organization, &reply, &accepted(&account, "wamid.R"), at(6)).await.unwrap();

    let message = store.message(&account.organization, &reply.conversation_id, &reply.id).await.unwrap().unwrap();
    assert_eq!(message.reactions["customer"].emoji.as_deref(), Some("👍"));
}

#[tokio::test]
async fn read_receipt_before_its_echo_is_not_lost() {
    let table = Table::open().await;
    for up_to in [UpTo::Time(at(5)), UpTo::Message("m".into())] {
        let account = Account::new(Platform::Facebook);
        let store = table.store();
        account.receives(&store, 1, vec![read_up_to(up_to.clone())]).await;
        assert_eq!(account.inbox(&store).await, [], "a receipt opens no conversation");

        account.receives(&store, 2, vec![echo(&anna(), "m", 5)]).await;

        assert_eq!(shown(&account, &store).await["status"], "read", "{up_to:?}");
    }
}

#[tokio::test]
async fn message_for_which_nothing_waits_pays_nothing() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;
    table.meter.start([]);

    account.receives(&store, 2, vec![echo(&anna(), "m", 5)]).await;

    assert_eq!(table.meter.stop().calls, ["BatchExecuteStatement", "UpdateItem"]);
}

#[tokio::test]
async fn what_is_too_large_is_cut_and_kept_aside() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let large = "x".repeat(500_000);
    let mut failed = status("echo", Status::Failed, 5);
    failed.error = Some(ProviderError {
        code: "1".into(),
        title: large.clone(),
        details: Some(large.clone()),
        ..ProviderError::default()
    });
    let failed = |id: &str| event(EventKind::Status(StatusChange { external_id: id.into(), ..failed.clone() }));
    let controls = Event {
        kind: EventKind::Edit(Edit {
            customer: Customer { name: Some(large.clone()), username: Some(large.clone()), ..anna() },
            by: Party::Customer,
            external_id: "e".into(),
            target: "later".into(),
            content: Content::text("\u{1}".repeat(500_000)),
            timestamp: Some(at(3)),
        }),
        ..edit(&anna(), Party::Customer, "later", 3)
    };
    let named = Customer { name: Some(large.clone()), username: Some(large.clone()), ..anna() };
    let reaction = |target: &str| react(&anna(), Party::Customer, target, &large, 5);
    account.receives(&store, 1, vec![reaction("later"), failed("echo"), controls]).await;

    account
        .receives(&store, 2, vec![inbound(&named, "later", 0), inbound(&anna(), "m", 1), echo(&anna(), "echo", 2)])
        .await;
    account.receives(&store, 3, vec![reaction("m"), failed("echo")]).await;

    for message in thread(&account, &store).await {
        if let Some(reaction) = message.reactions.get("customer") {
            assert!(reaction.emoji.as_ref().unwrap().len() <= 100);
        }
        assert!(message.text.unwrap().len() <= 150_000);
    }
    assert!(!account.quarantine(&store).await.is_empty(), "as they came");
}

#[tokio::test]
async fn thousand_reactions_to_a_message_are_one_write() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "m", 0)]).await;
    let many: Vec<_> =
        (0..1000).map(|number| react(&anna(), Party::Customer, "m", &format!("e{number}"), number / 500)).collect();
    table.meter.start([]);

    let counts = account.receives(&store, 2, many.clone()).await;

    assert_eq!(counts.stored, 1000);
    assert_eq!(table.meter.stop().calls, ["GetItem", "GetItem", "UpdateItem"]);
    let newest = async || thread(&account, &store).await.remove(0).reactions["customer"].emoji.clone();
    assert_eq!(newest().await.as_deref(), Some("e999"));
    assert_eq!(account.receives(&store, 3, many[990..].to_vec()).await.duplicates, 10);
    assert_eq!(newest().await.as_deref(), Some("e999"));
}

/// What is told of one message, and by whom.
#[derive(Clone, Debug)]
enum Told {
    /// The message, with a time that may not be the same each time.
    Message(i64),
    Edit(bool, i64),
    Unsend(bool),
    Reaction(bool, i64),
}

impl Told {
    fn event(&self) -> Event {
        let anybody = |is_theirs: bool| if is_theirs { anna() } else { phone("4915100") };
        match *self {
            Self::Message(second) => inbound(&anna(), "m", second),
            Self::Edit(is_theirs, second) => edit(&anybody(is_theirs), Party::Customer, "m", second),
            Self::Unsend(is_theirs) => unsend(&anybody(is_theirs), Party::Customer, "m", 50),
            Self::Reaction(is_theirs, second) => {
                react(&anybody(is_theirs), Party::Customer, "m", &format!("r{second}"), second)
            }
        }
    }
}

fn story() -> impl Strategy<Value = (Vec<Vec<Told>>, Vec<(usize, Fault)>)> {
    let told = prop_oneof![
        3 => (0..3i64).prop_map(Told::Message),
        3 => (any::<bool>(), 10..14i64).prop_map(|(theirs, second)| Told::Edit(theirs, second)),
        1 => any::<bool>().prop_map(Told::Unsend),
        2 => (any::<bool>(), 20..24i64).prop_map(|(theirs, second)| Told::Reaction(theirs, second)),
    ];
    let fault = (0..80usize, prop_oneof![Just(Fault::Before), Just(Fault::After)]);
    (vec(vec(told, 1..4), 1..7), vec(fault, 0..8))
}

async fn ends_as_told(table: &Table, (deliveries, faults): (Vec<Vec<Told>>, Vec<(usize, Fault)>)) {
    let account = Account::whatsapp();
    let stores = [table.store(), table.store()];
    let mut all = deliveries.concat();
    all.push(Told::Message(1));
    table.meter.start(faults);
    let mut second = 0;
    for (number, events) in deliveries.iter().chain([&vec![Told::Message(1)]]).enumerate() {
        let events: Vec<_> = events.iter().map(Told::event).collect();
        let store = &stores[number % 2];
        loop {
            second += 1;
            if account.deliver(store, delivery(second), events.clone()).await.failed == 0 {
                break;
            }
            assert!(second < 100, "never stored");
        }
    }
    table.meter.stop();

    let conversation = account.only(&stores[0]).await;
    let [message] = &account.thread(&stores[0], &conversation).await[..] else { panic!("{all:?}") };
    let is_unsent = all.iter().any(|told| matches!(told, Told::Unsend(true)));
    let edits = all.iter().filter_map(|told| if let Told::Edit(true, second) = told { Some(*second) } else { None });
    let reactions =
        all.iter().filter_map(|told| if let Told::Reaction(true, second) = told { Some(*second) } else { None });
    let text = edits.max().map_or("m".to_owned(), |second| format!("edited at {second}"));
    assert_eq!(message.text, (!is_unsent).then_some(text), "{all:?}");
    let reaction = message.reactions.get("customer").and_then(|reaction| reaction.emoji.clone());
    assert_eq!(reaction, reactions.max().map(|second| format!("r{second}")), "{all:?}");
    assert_eq!(conversation.last_message_key, message.id, "{all:?}");
    assert_eq!(conversation.last_message_text, message.preview(), "{all:?}");
}

/// The conversation is told of a later arrival than the message has.
#[tokio::test]
async fn edit_reaches_the_preview_after_two_lost_calls() {
    let table = Table::without_retries().await;
    ends_as_told(&table, (vec![vec![Told::Edit(true, 10)]], vec![(4, Fault::Before), (8, Fault::Before)])).await;
}

#[test]
fn any_story_of_one_message_ends_as_told() {
    check(30, &story(), &ends_as_told);
}
