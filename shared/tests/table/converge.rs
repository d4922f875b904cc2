//! Whatever order, grouping, repetition, company and misfortune messages arrive in: the table ends as a simple model says.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use proptest::{
    collection::vec,
    prelude::*,
    sample::subsequence,
    test_runner::{Config, TestRunner},
};
use shared::{
    event::{Customer, Event, IncomingMessage},
    message::{Direction, Sender},
    store::{Changes, ConversationStatus, Message, Store},
};

use crate::{
    engine::{Fault, Table},
    given::{Account, at, delivery, echo, message, system_line, text},
};

/// Runs a property: few cases by default, since each writes to the table; `PROPTEST_CASES` says otherwise.
pub fn check<S: Strategy>(few: u32, strategy: &S, case: &impl AsyncFn(&Table, S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(Table::without_retries());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(few), failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let told = TestRunner::new(config).run(strategy, |value| {
        runtime.block_on(case(&table, value));
        Ok(())
    });
    if let Err(error) = told {
        panic!("{error}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Inbound,
    OutsideWindow,
    Echo,
    System,
}

/// A message that the provider has.
#[derive(Clone, Debug)]
struct Told {
    kind: Kind,
    phone: Option<u8>,
    user: Option<u8>,
    second: i64,
}

/// Some messages together, at one of two processes.
#[derive(Clone, Debug)]
struct Delivery {
    messages: Vec<usize>,
    process: usize,
}

#[derive(Clone, Debug)]
struct Story {
    messages: Vec<Told>,
    /// What is delivered at once, one after the other.
    rounds: Vec<Vec<Delivery>>,
    faults: Vec<(usize, Fault)>,
}

impl Story {
    /// Nothing fails: then the conversation knows also the arrivals exactly.
    fn is_smooth(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Told {
    fn customer(&self) -> Customer {
        let phone = self.phone.map(|phone| format!("4917100{phone}"));
        let user_id = self.user.map(|user| format!("DE.{user}"));
        Customer { phone, user_id, ..Customer::default() }
    }

    fn event(&self, name: &str) -> Event {
        let customer = self.customer();
        match self.kind {
            Kind::Inbound => message(text(&customer, name, self.second)),
            Kind::OutsideWindow => {
                message(IncomingMessage { opens_window: false, ..text(&customer, name, self.second) })
            }
            Kind::Echo => echo(&customer, name, self.second),
            Kind::System => system_line(&customer, name, self.second),
        }
    }

    fn is_from_customer(&self) -> bool {
        matches!(self.kind, Kind::Inbound | Kind::OutsideWindow)
    }
}

fn told(customers: u8, is_linked: bool) -> impl Strategy<Value = Told> {
    let kind = prop_oneof![
        5 => Just(Kind::Inbound), 1 => Just(Kind::OutsideWindow), 2 => Just(Kind::Echo), 1 => Just(Kind::System)
    ];
    let ids = (0..customers, 0..3u8).prop_map(move |(one, shown)| match (is_linked, shown) {
        (false, _) | (true, 0) => (Some(one), None),
        (true, 1) => (None, Some(one)),
        (true, _) => (Some(one), Some(one)),
    });
    (kind, ids, 0..4i64).prop_map(|(kind, (phone, user), second)| Told { kind, phone, user, second })
}

fn delivery_of(messages: usize) -> impl Strategy<Value = Delivery> {
    let some = subsequence((0..messages).collect::<Vec<_>>(), 1..=messages.min(4)).prop_shuffle();
    (some, 0..2usize).prop_map(|(messages, process)| Delivery { messages, process })
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    vec((0..120usize, prop_oneof![Just(Fault::Before), Just(Fault::After)]), 0..12)
}

fn story(customers: u8, is_linked: bool) -> impl Strategy<Value = Story> {
    vec(told(customers, is_linked), 1..10).prop_flat_map(|messages| {
        let rounds = vec(vec(delivery_of(messages.len()), 1..4), 1..6);
        let faults = prop_oneof![Just(Vec::new()), faults()];
        (Just(messages), rounds, faults).prop_map(|(messages, rounds, faults)| Story { messages, rounds, faults })
    })
}

/// The story being told to two processes.
struct Telling<'a> {
    account: &'a Account,
    stores: [Store; 2],
    messages: &'a [Told],
    names: Vec<String>,
    second: i64,
}

impl<'a> Telling<'a> {
    fn new(table: &Table, account: &'a Account, messages: &'a [Told]) -> Self {
        let names = (0..messages.len()).map(|index| format!("message {index}")).collect();
        Self { account, stores: [table.store(), table.store()], messages, names, second: 0 }
    }

    /// All at once; the ones that were not stored completely.
    async fn tell(&mut self, round: Vec<Delivery>) -> Vec<Delivery> {
        let deliveries = round.iter().map(|told| {
            self.second += 1;
            let events = told.messages.iter().map(|index| self.messages[*index].event(&self.names[*index])).collect();
            self.account.deliver(&self.stores[told.process], delivery(self.second), events)
        });
        let counts = join_all(deliveries.collect::<Vec<_>>()).await;
        let failed = counts.into_iter().map(|counts| counts.failed > 0);
        round.into_iter().zip(failed).filter(|(_, failed)| *failed).map(|(told, _)| told).collect()
    }

    /// As the provider does: what was not stored comes again, until it is.
    async fn tell_until_stored(&mut self, mut round: Vec<Delivery>) {
        const ATTEMPTS: usize = 40;
        for _ in 0..ATTEMPTS {
            round = self.tell(round).await;
            if round.is_empty() {
                return;
            }
        }
        panic!("never stored: {round:?}");
    }
}

/// The ids that a customer is known by.
type Ids = BTreeSet<(&'static str, u8)>;

/// Ids that were seen together once are one customer: its messages, by index.
fn customers(messages: &[Told]) -> Vec<(Ids, Vec<usize>)> {
    let mut customers: Vec<(Ids, Vec<usize>)> = Vec::new();
    for (index, told) in messages.iter().enumerate() {
        let ids = told.phone.map(|phone| ("phone", phone)).into_iter().chain(told.user.map(|user| ("user", user)));
        let mut united = (ids.collect::<Ids>(), vec![index]);
        let (same, others) = customers.into_iter().partition(|(ids, _)| !ids.is_disjoint(&united.0));
        customers = others;
        for (ids, indexes) in same {
            united.0.extend(ids);
            united.1.extend(indexes);
        }
        customers.push(united);
    }
    customers
}

async fn told_story(table: &Table, story: Story) {
    let account = Account::whatsapp();
    let mut telling = Telling::new(table, &account, &story.messages);
    table.meter.start(story.faults.iter().copied());
    let mut unstored = Vec::new();
    for round in &story.rounds {
        unstored.extend(telling.tell(round.clone()).await);
    }
    let delivered: BTreeSet<usize> =
        story.rounds.iter().flatten().flat_map(|delivery| delivery.messages.iter().copied()).collect();
    let missing: Vec<_> = (0..story.messages.len()).filter(|index| !delivered.contains(index)).collect();
    for index in missing {
        unstored.push(Delivery { messages: vec![index], process: index % 2 });
    }
    telling.tell_until_stored(unstored).await;
    table.meter.stop();

    ends_as_the_model_says(table, &account, &story, &telling).await;
}

async fn ends_as_the_model_says(table: &Table, account: &Account, script: &Story, told: &Telling<'_>) {
    let store = &table.store();
    let inbox = account.inbox(store).await;
    let customers = customers(&script.messages);
    assert_eq!(inbox.len(), customers.len(), "conversations: {inbox:#?}");
    let positions: Vec<_> = inbox.iter().map(|conversation| conversation.last_message_key.epoch_ms()).collect();
    assert!(positions.is_sorted_by(|a, b| a >= b), "{positions:?}");
    let by_name: BTreeMap<&str, &Told> = told.names.iter().map(String::as_str).zip(&script.messages).collect();
    for (_, indexes) in customers {
        let some_message = &script.messages[indexes[0]];
        let conversation = account.conversation(store, &some_message.customer()).await;
        assert!(inbox.contains(&conversation), "{conversation:#?} is not what the inbox shows");
        for index in &indexes {
            let same = account.conversation(store, &script.messages[*index].customer()).await;
            assert_eq!(same.id, conversation.id);
        }

        let thread = account.thread(store, &conversation).await;
        let order: Vec<_> = thread.iter().map(|message| (message.id.epoch_ms(), message.received_at)).collect();
        assert!(order.is_sorted(), "{order:?}");
        let mut names: Vec<_> = thread.iter().filter_map(|message| message.external_id.as_deref()).collect();
        let mut expected: Vec<_> = indexes.iter().map(|index| told.names[*index].as_str()).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);

        let from_customer = |message: &&Message| by_name[message.external_id.as_deref().unwrap()].is_from_customer();
        let unread: Vec<_> = thread.iter().filter(from_customer).collect();
        for message in &thread {
            let is_from_customer = message.direction == Direction::Inbound && message.sender == Sender::Customer;
            assert_eq!(is_from_customer, from_customer(&message));
        }
        let newest = thread.last().unwrap();
        let of_the_newest_time = thread.iter().filter(|message| message.id.epoch_ms() == newest.id.epoch_ms());
        let mut shown = of_the_newest_time.filter(|message| {
            (message.text.as_ref(), message.sender)
                == (Some(&conversation.last_message_text), conversation.last_message_sender)
        });
        assert!(shown.next().is_some(), "the preview");
        assert_eq!(Some(&conversation.last_message_key), thread.iter().map(|message| &message.id).max());
        let opening = indexes.iter().filter(|index| script.messages[**index].kind == Kind::Inbound);
        let opened_at = opening.map(|index| at(script.messages[*index].second)).max();
        assert_eq!(conversation.last_inbound_at, opened_at, "the window");
        let last_received_at = unread.iter().map(|message| message.received_at).max();
        assert!(conversation.last_received_at >= last_received_at, "the arrival");
        if script.is_smooth() {
            assert_eq!(Some(&conversation.last_message_text), newest.text.as_ref(), "the preview");
        }
        assert_eq!(conversation.unread_from.is_some(), !unread.is_empty());
        assert_eq!(account.unread(store, &conversation).await, unread.len(), "unread");
    }
}

#[test]
fn customers_with_several_ids_end_as_the_model_says() {
    check(30, &story(3, true), &told_story);
}

#[test]
fn customers_with_one_id_end_as_the_model_says() {
    check(30, &story(2, false), &told_story);
}

/// A customer moves from one number to the next and on, and somebody else gets the first: told in that order, some of it again.
async fn told_changes(table: &Table, order: Vec<usize>) {
    let numbers =
        ["491711", "491712", "491713"].map(|number| Customer { phone: Some(number.into()), ..Customer::default() });
    let [first, second, third] = &numbers;
    let changed = |from: &Customer, to: &Customer, name: &str, at: i64| {
        let line = IncomingMessage { from_customer: false, opens_window: false, ..text(from, name, at) };
        message(IncomingMessage { also_known_as: Some(to.clone()), ..line })
    };
    let events = [
        message(text(first, "m5", 5)),
        changed(first, second, "changed at 10", 10),
        message(text(second, "m15", 15)),
        changed(second, third, "changed at 20", 20),
        message(text(third, "m25", 25)),
        message(text(first, "n30", 30)),
        message(text(first, "n40", 40)),
    ];
    let account = Account::whatsapp();
    let stores = [table.store(), table.store()];
    for (number, index) in (60..).zip(&order) {
        account.receives(&stores[index % 2], number, vec![events[*index].clone()]).await;
    }

    let store = table.store();
    let mut conversations = Vec::new();
    for conversation in account.inbox(&store).await {
        let thread = account.external_ids(&store, &conversation).await;
        let unread = account.unread(&store, &conversation).await;
        conversations.push((conversation.customer_phone, conversation.last_message_text, unread, thread));
    }
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let next = (first.phone.clone(), "n40".to_owned(), 2, owned(&["n30", "n40"]));
    let moved = owned(&["m5", "changed at 10", "m15", "changed at 20", "m25"]);
    assert_eq!(conversations, [next, (third.phone.clone(), "m25".to_owned(), 3, moved)], "{order:?}");
}

#[test]
fn changed_numbers_end_the_same_in_any_order() {
    let order = Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle();
    let again = vec(0..7_usize, 0..4);
    let told = (order, again).prop_map(|(order, again)| [order, again].concat());
    check(30, &told, &told_changes);
}

/// What happens to a conversation, one after the other.
#[derive(Clone, Debug)]
enum Step {
    Deliver(Delivery),
    /// The operator read what was shown: the newest arrivals but so many.
    Read(usize),
    ReadAll,
    Close,
}

fn steps() -> impl Strategy<Value = (Vec<Told>, Vec<Step>, Vec<(usize, Fault)>)> {
    vec(told(1, false), 1..10).prop_flat_map(|messages| {
        let step = prop_oneof![
            4 => delivery_of(messages.len()).prop_map(Step::Deliver),
            1 => (0..3usize).prop_map(Step::Read),
            1 => Just(Step::ReadAll),
            1 => Just(Step::Close),
        ];
        (Just(messages), vec(step, 1..12), prop_oneof![Just(Vec::new()), faults()])
    })
}

async fn told_steps(table: &Table, (messages, steps, faults): (Vec<Told>, Vec<Step>, Vec<(usize, Fault)>)) {
    let account = Account::whatsapp();
    let mut telling = Telling::new(table, &account, &messages);
    let operator = Table::open().await.store();
    let id = account.conversation_id(&messages[0].customer());
    let is_smooth = faults.is_empty();
    let (mut read_at, mut is_closed, mut unstored) = (0, false, Vec::new());
    table.meter.start(faults);
    for step in steps {
        let conversation = operator.conversation(&account.organization, &id).await.unwrap();
        let thread = match &conversation {
            Some(conversation) => account.thread(&operator, conversation).await,
            None => Vec::new(),
        };
        let mut arrivals: Vec<_> = thread.iter().map(|message| message.received_at).collect();
        arrivals.sort_unstable();
        let changes = match step {
            Step::Deliver(told) => {
                let known: BTreeSet<_> = thread.iter().filter_map(|message| message.external_id.as_ref()).collect();
                let is_new =
                    |index: &usize| messages[*index].is_from_customer() && !known.contains(&telling.names[*index]);
                is_closed &= !told.messages.iter().any(is_new);
                unstored.extend(telling.tell(vec![told]).await);
                continue;
            }
            Step::Read(but) => Changes { read_up_to: arrivals.iter().rev().nth(but).copied(), ..Changes::default() },
            Step::ReadAll => Changes { read_up_to: Some(delivery(telling.second) + 500_000), ..Changes::default() },
            Step::Close => Changes { status: Some(ConversationStatus::Closed), ..Changes::default() },
        };
        if let Some(conversation) = conversation {
            // Nobody can read what the conversation was not told of yet.
            let read_up_to = changes.read_up_to.min(conversation.last_received_at);
            read_at = read_at.max(read_up_to.unwrap_or(0));
            is_closed |= changes.status.is_some();
            let now_ms = delivery(telling.second + 1000) / 1000;
            operator.change_conversation(&account.organization, &id, &changes, now_ms).await.unwrap();
        }
    }
    telling.tell_until_stored(unstored).await;
    table.meter.stop();

    let Some(conversation) = operator.conversation(&account.organization, &id).await.unwrap() else { return };
    let thread = account.thread(&operator, &conversation).await;
    let inbound = thread.iter().filter(|message| message.sender == Sender::Customer);
    let unread = inbound.filter(|message| message.received_at > read_at).count();
    assert_eq!(account.unread(&operator, &conversation).await, unread, "unread in {conversation:#?}");
    assert!(unread == 0 || conversation.unread_from.is_some(), "{conversation:#?}");
    if is_smooth {
        let inbound = thread.iter().filter(|message| message.sender == Sender::Customer);
        let last_received_at = inbound.map(|message| message.received_at).max();
        assert_eq!(conversation.last_received_at, last_received_at, "{conversation:#?}");
        assert_eq!(conversation.unread_from.is_some(), unread > 0, "{conversation:#?}");
        assert_eq!(conversation.status == ConversationStatus::Closed, is_closed, "{conversation:#?}");
    }
}

#[test]
fn what_operators_read_and_close_stays_so_until_something_new_comes() {
    check(30, &steps(), &told_steps);
}
