//! Every single call of a delivery fails once, before or after it took effect: repeated, the delivery ends in the same state.

use shared::{
    event::{Customer, Event, IncomingMessage},
    message::Status,
    store::{Changes, ConversationStatus, Store},
};

use crate::{
    engine::{Fault, Table},
    given::{Account, at, both, delivery, echo, event, inbound, message, phone, status, system_line, text, user},
};

const PHONE: &str = "491713920012";
const USER: &str = "DE.8172";
const OTHER_PHONE: &str = "491719999999";

/// What was there, and what a delivery adds.
struct Scene {
    name: &'static str,
    before: Vec<Vec<Event>>,
    read_up_to: Option<i64>,
    delivery: Vec<Event>,
}

fn scenes() -> Vec<Scene> {
    let scene = |name, before, delivery| Scene { name, before, read_up_to: None, delivery };
    let by_phone = |name: &str, second| inbound(&phone(PHONE), name, second);
    let by_user = |name: &str, second| inbound(&user(USER), name, second);
    let by_both = |name: &str, second| inbound(&both(PHONE, USER), name, second);
    let read = status("e1", Status::Read, 8);
    vec![
        scene("a first contact", vec![], vec![by_phone("m1", 1)]),
        scene("a first contact with both ids", vec![], vec![by_both("m1", 1)]),
        scene("a first contact with each id", vec![], vec![by_phone("m1", 1), by_user("m2", 2), by_both("m3", 3)]),
        scene("a second id", vec![vec![by_phone("m1", 1)]], vec![by_both("m2", 2)]),
        scene("a late message", vec![vec![by_phone("m1", 9)]], vec![by_phone("m2", 2)]),
        Scene {
            read_up_to: Some(1),
            ..scene("a late message after reading", vec![vec![by_phone("m1", 9)]], vec![by_phone("m2", 2)])
        },
        scene("the same second", vec![vec![by_phone("m1", 1)]], vec![by_phone("m2", 1)]),
        scene(
            "the same second and the next",
            vec![vec![by_phone("m1", 1)]],
            vec![by_phone("m2", 1), by_phone("m3", 2)],
        ),
        scene(
            "late, known and new",
            vec![vec![by_phone("m1", 5), by_phone("m2", 6)]],
            vec![by_phone("m1", 5), by_phone("m3", 2), by_phone("m4", 8), echo(&phone(PHONE), "e1", 9)],
        ),
        scene("a merge", vec![vec![by_phone("m1", 1)], vec![by_user("m2", 2)]], vec![by_both("m3", 3)]),
        scene(
            "a merge of merged ones",
            vec![
                vec![by_both("m1", 1)],
                vec![inbound(&phone(OTHER_PHONE), "m2", 2)],
                vec![inbound(&both(OTHER_PHONE, "DE.2"), "m3", 3)],
            ],
            vec![inbound(&both(OTHER_PHONE, USER), "m4", 4)],
        ),
        scene(
            "a changed number",
            vec![vec![by_phone("m1", 1)], vec![inbound(&phone(OTHER_PHONE), "m2", 2)]],
            vec![message(IncomingMessage {
                from_customer: false,
                opens_window: false,
                also_known_as: Some(phone(OTHER_PHONE)),
                ..text(&phone(PHONE), "changed", 3)
            })],
        ),
        scene(
            "an echo whose status waits",
            vec![vec![by_phone("m1", 1), event(shared::event::EventKind::Status(read))]],
            vec![echo(&phone(PHONE), "e1", 5)],
        ),
        scene("a line of the platform", vec![vec![by_phone("m1", 1)]], vec![system_line(&phone(PHONE), "s1", 2)]),
    ]
}

/// What anybody can see in the end, without what differs from one organization to the next.
#[derive(Debug, PartialEq)]
struct Seen {
    conversations: Vec<SeenConversation>,
    /// Where each id leads, in the inbox.
    leads_to: Vec<Option<usize>>,
}

#[derive(Debug, PartialEq)]
struct SeenConversation {
    messages: Vec<(Option<String>, Option<Status>)>,
    customer: Customer,
    status: ConversationStatus,
    last: (String, i64),
    last_inbound_at: Option<i64>,
    unread: usize,
    is_unread: bool,
    unread_after_reading: usize,
}

async fn seen(account: &Account, store: &Store) -> Seen {
    let inbox = account.inbox(store).await;
    let mut conversations = Vec::new();
    let mut leads_to = Vec::new();
    for customer in [phone(PHONE), user(USER), phone(OTHER_PHONE), user("DE.2")] {
        let found = store.conversation(&account.organization, &account.conversation_id(&customer)).await.unwrap();
        leads_to.push(found.and_then(|found| inbox.iter().position(|conversation| *conversation == found)));
    }
    for conversation in inbox {
        let thread = account.thread(store, &conversation).await;
        let unread = account.unread(store, &conversation).await;
        let shown = thread.iter().map(|message| message.received_at).max();
        let read = Changes { read_up_to: shown, ..Changes::default() };
        let after = store.change_conversation(&account.organization, &conversation.id, &read, delivery(0) / 1000).await;
        conversations.push(SeenConversation {
            messages: thread.into_iter().map(|message| (message.external_id, message.status)).collect(),
            status: conversation.status,
            last: (conversation.last_message_text, conversation.last_message_key.epoch_ms()),
            last_inbound_at: conversation.last_inbound_at,
            unread,
            is_unread: conversation.unread_from.is_some(),
            unread_after_reading: account.unread(store, &after.unwrap()).await,
            customer: Customer {
                phone: conversation.customer_phone,
                user_id: conversation.customer_user_id,
                name: conversation.customer_name,
                username: conversation.customer_username,
            },
        });
    }
    Seen { conversations, leads_to }
}

async fn given(scene: &Scene, table: &Table) -> Account {
    let (account, store) = (Account::whatsapp(), table.store());
    for (second, events) in (1..).zip(&scene.before) {
        account.receives(&store, second, events.clone()).await;
    }
    if let Some(second) = scene.read_up_to {
        let read = Changes {
            read_up_to: Some(delivery(second)),
            status: Some(ConversationStatus::Closed),
            ..Changes::default()
        };
        let id = account.only(&store).await.id;
        store.change_conversation(&account.organization, &id, &read, at(0)).await.unwrap();
    }
    account
}

#[tokio::test]
async fn a_call_that_fails_once_leaves_no_trace() {
    let table = Table::without_retries().await;
    for scene in scenes() {
        let account = given(&scene, &table).await;
        table.meter.start([]);
        account.receives(&table.store(), 20, scene.delivery.clone()).await;
        let calls = table.meter.stop().calls;
        let expected = seen(&account, &table.store()).await;
        assert!(
            expected.conversations.iter().all(|conversation| conversation.unread_after_reading == 0),
            "{}",
            scene.name
        );

        for call in 0..calls.len() {
            for (fault, is_same_process) in Fault::ALL.into_iter().zip([call % 2 == 0, call % 2 == 1]) {
                let account = given(&scene, &table).await;
                let store = table.store();
                table.meter.start([(call, fault)]);
                let counts = account.deliver(&store, delivery(20), scene.delivery.clone()).await;
                let failed = table.meter.stop().calls;
                let what = format!("{}: {} of {failed:?} fails {fault:?}", scene.name, failed[call]);
                assert!(counts.failed > 0, "{what}, and nobody noticed: {counts:?}");
                // The process that failed, or a new one.
                let store = if is_same_process { store } else { table.store() };
                account.receives(&store, 21, scene.delivery.clone()).await;

                assert_eq!(seen(&account, &table.store()).await, expected, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_on_the_way_is_no_failure() {
    let table = Table::open().await;
    for scene in scenes() {
        let account = given(&scene, &table).await;
        table.meter.start([]);
        account.receives(&table.store(), 20, scene.delivery.clone()).await;
        let calls = table.meter.stop().calls.len();
        let expected = seen(&account, &table.store()).await;

        // The client repeats the call, which has taken effect already.
        for call in 0..calls {
            let account = given(&scene, &table).await;
            table.meter.start([(call, Fault::After)]);
            let counts = account.deliver(&table.store(), delivery(20), scene.delivery.clone()).await;
            table.meter.stop();
            if counts.failed > 0 {
                account.receives(&table.store(), 21, scene.delivery.clone()).await;
            }

            assert_eq!(seen(&account, &table.store()).await, expected, "{}: call {call}", scene.name);
        }
    }
}
