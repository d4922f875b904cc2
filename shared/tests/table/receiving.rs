//! Messages arrive: once each, in their places, and the conversation tells of them what is true.

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::{
    content::{Content, ContentType},
    event::{Edit, EventKind, IncomingMessage, Party, Reaction, Unsend},
    inbound::Counts,
    message::{Direction, Sender, Status},
    platform::Platform,
    store::{Changes, Conversation, ConversationStatus, Store},
};

use crate::{
    engine::{Fault, Table},
    given::{Account, anna, at, delivery, echo, event, inbound, message, phone, system_line, text},
};

const STORED: Counts =
    Counts { stored: 1, duplicates: 0, quarantined: 0, unroutable: 0, ignored: 0, failed: 0, undelivered: 0 };
const DUPLICATE: Counts = Counts { duplicates: 1, stored: 0, ..STORED };

fn closed() -> Changes {
    Changes { status: Some(ConversationStatus::Closed), ..Changes::default() }
}

#[tokio::test]
async fn a_first_message_opens_a_conversation() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();

    let counts = account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;

    assert_eq!(counts, STORED);
    let conversation = account.only(&store).await;
    assert_eq!(conversation, account.conversation(&store, &anna()).await);
    assert_eq!(conversation.id, account.conversation_id(&anna()));
    assert_eq!(conversation.status, ConversationStatus::Open);
    assert_eq!(conversation.customer_name.as_deref(), Some("Anna"));
    assert_eq!(conversation.customer_phone, anna().phone);
    assert_eq!(conversation.last_message_text, "hello");
    assert_eq!(conversation.last_message_sender, Sender::Customer);
    assert_eq!(conversation.last_inbound_at, Some(at(0)));
    assert_eq!(conversation.last_received_at, Some(delivery(1)));
    assert_eq!(account.unread(&store, &conversation).await, 1);
    let thread = account.thread(&store, &conversation).await;
    assert_eq!(thread.len(), 1);
    assert_eq!((thread[0].direction, thread[0].sender), (Direction::Inbound, Sender::Customer));
    assert_eq!((thread[0].id.epoch_ms(), thread[0].received_at), (at(0), delivery(1)));
    assert_eq!(thread[0].id, conversation.last_message_key);
}

#[tokio::test]
async fn a_second_message_moves_the_conversation_up() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "one", 0)]).await;
    account.receives(&store, 2, vec![inbound(&phone("4915100"), "other", 1)]).await;

    account.receives(&store, 3, vec![inbound(&anna(), "two", 2)]).await;

    let inbox = account.inbox(&store).await;
    let previews: Vec<_> = inbox.iter().map(|conversation| conversation.last_message_text.as_str()).collect();
    assert_eq!(previews, ["two", "other"]);
    assert_eq!(account.external_ids(&store, &inbox[0]).await, ["one", "two"]);
    assert_eq!(account.unread(&store, &inbox[0]).await, 2);
    assert_eq!(inbox[0].created_at, delivery(1) / 1000);
}

#[tokio::test]
async fn a_delivery_that_comes_again_changes_nothing() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let events = vec![inbound(&anna(), "one", 0), inbound(&anna(), "two", 0), echo(&anna(), "three", 1)];
    account.receives(&store, 1, events.clone()).await;
    account.receives(&store, 2, vec![inbound(&anna(), "four", 5)]).await;
    let partition =
        shared::store::keys::conversation_partition(&account.organization, &account.conversation_id(&anna()));
    let before = table.partition(&partition).await;

    for second in 3..6 {
        let counts = account.receives(&store, second, events.clone()).await;
        assert_eq!(counts, Counts { duplicates: 3, ..Counts::default() });
        assert_eq!(account.receives(&table.store(), second, vec![inbound(&anna(), "four", 5)]).await, DUPLICATE);
    }

    assert_eq!(table.partition(&partition).await, before);
}

#[tokio::test]
async fn the_same_delivery_many_times_at_once_is_stored_once() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let stores: Vec<_> = (0..8).map(|_| table.store()).collect();
    let events = vec![inbound(&anna(), "one", 0), inbound(&anna(), "two", 1)];

    let deliveries = (0..).zip(&stores).map(|(second, store)| account.receives(store, second, events.clone()));
    let counts = join_all(deliveries).await;

    assert_eq!(counts.iter().map(|counts| counts.stored).sum::<usize>(), 2);
    let conversation = account.only(&stores[0]).await;
    let thread = account.thread(&stores[0], &conversation).await;
    assert_eq!(account.external_ids(&stores[0], &conversation).await, ["one", "two"]);
    assert_eq!(account.unread(&stores[0], &conversation).await, 2);
    // One that finds the messages there may have told of its own arrival before.
    let newest = thread.iter().map(|message| message.received_at).max();
    assert!(conversation.last_received_at >= newest);
    let reading = Changes { read_up_to: newest, ..Changes::default() };
    let read =
        stores[0].change_conversation(&account.organization, &conversation.id, &reading, at(100_000)).await.unwrap();
    assert_eq!(account.unread(&stores[0], &read).await, 0);
}

#[tokio::test]
async fn a_late_message_lands_in_its_place_and_leaves_the_preview() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "first", 0)]).await;
    account.receives(&store, 2, vec![inbound(&anna(), "newest", 20)]).await;
    let read = Changes { read_up_to: Some(delivery(2)), ..closed() };
    store.change_conversation(&account.organization, &account.conversation_id(&anna()), &read, 0).await.unwrap();

    account.receives(&store, 3, vec![inbound(&anna(), "late", 10)]).await;

    let conversation = account.only(&store).await;
    assert_eq!(account.external_ids(&store, &conversation).await, ["first", "late", "newest"]);
    assert_eq!(conversation.last_message_text, "newest");
    assert_eq!(conversation.last_message_key.epoch_ms(), at(20));
    assert_eq!(conversation.last_inbound_at, Some(at(20)));
    assert_eq!(conversation.last_received_at, Some(delivery(3)));
    assert_eq!(conversation.status, ConversationStatus::Open, "nobody has read it yet");
    assert_eq!(account.unread(&store, &conversation).await, 1);
}

#[tokio::test]
async fn a_late_message_raises_the_window_when_only_an_echo_is_newer() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "first", 0)]).await;
    account.receives(&store, 2, vec![echo(&anna(), "echo", 20)]).await;

    account.receives(&store, 3, vec![inbound(&anna(), "late", 10)]).await;

    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_message_text, "echo");
    assert_eq!(conversation.last_inbound_at, Some(at(10)));
    assert_eq!(account.unread(&store, &conversation).await, 2);
}

#[tokio::test]
async fn a_late_message_with_a_newer_echo_does_not_close_the_window_earlier() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "newest", 20)]).await;

    account.receives(&store, 2, vec![inbound(&anna(), "late", 10), echo(&anna(), "echo", 30)]).await;

    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_message_text, "echo");
    assert_eq!(conversation.last_inbound_at, Some(at(20)));
    assert_eq!(account.unread(&store, &conversation).await, 2);
}

#[tokio::test]
async fn messages_of_one_second_stand_in_the_order_of_their_arrival() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let customer = |attempt: i64| phone(&format!("49171{attempt:04}"));
    // Ids sort by a hash within a second: many attempts meet every order of it.
    for attempt in 0..12 {
        let customer = customer(attempt);
        let name = |place: u8| format!("{attempt}.{place}");
        account.receives(&store, 1, vec![inbound(&customer, &name(1), 0), inbound(&customer, &name(2), 0)]).await;
        account.receives(&store, 2, vec![inbound(&customer, &name(3), 0)]).await;
        account.receives(&store, 3, vec![echo(&customer, &name(4), 0)]).await;
        account.receives(&store, 4, vec![inbound(&customer, &name(5), 0), echo(&customer, &name(6), 0)]).await;

        let conversation = account.conversation(&store, &customer).await;
        let arrived: Vec<_> = (1..=6).map(name).collect();
        assert_eq!(account.external_ids(&store, &conversation).await, arrived);
        assert_eq!(conversation.last_message_text, name(6));
        assert_eq!(conversation.last_message_sender, Sender::Operator);
        assert_eq!(account.unread(&store, &conversation).await, 4);
        let read = Changes { read_up_to: Some(delivery(4)), ..Changes::default() };
        let read = store.change_conversation(&account.organization, &conversation.id, &read, 0).await.unwrap();
        assert_eq!(read.unread_from, None);
    }
    assert_eq!(account.inbox(&store).await.len(), 12);
}

#[tokio::test]
async fn a_closed_conversation_is_reopened_by_new_messages_only() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let (organization, id) = (&account.organization, account.conversation_id(&anna()));
    let events = vec![inbound(&anna(), "one", 0), inbound(&anna(), "two", 0)];
    account.receives(&store, 1, events.clone()).await;
    let close = async || store.change_conversation(organization, &id, &closed(), 0).await.unwrap();
    let status = async || account.conversation(&store, &anna()).await.status;

    for (what, unmoved) in [
        ("duplicates", events),
        ("an echo", vec![echo(&anna(), "echo", 5)]),
        ("a late echo", vec![echo(&anna(), "late echo", -5)]),
        ("a line of the platform", vec![system_line(&anna(), "system", 6)]),
    ] {
        close().await;
        account.receives(&store, 2, unmoved).await;
        assert_eq!(status().await, ConversationStatus::Closed, "after {what}");
    }
    for (second, moved) in [(3, inbound(&anna(), "new", 7)), (4, inbound(&anna(), "late", 3))] {
        close().await;
        account.receives(&store, second, vec![moved]).await;
        assert_eq!(status().await, ConversationStatus::Open);
    }
}

#[tokio::test]
async fn a_known_message_stays_read_when_it_comes_again_with_a_new_echo() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "known", 0)]).await;
    let read = Changes { read_up_to: Some(delivery(1)), ..closed() };
    store.change_conversation(&account.organization, &account.conversation_id(&anna()), &read, 0).await.unwrap();

    let counts = account.receives(&store, 2, vec![inbound(&anna(), "known", 0), echo(&anna(), "echo", 5)]).await;

    assert_eq!((counts.stored, counts.duplicates), (1, 1));
    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_message_text, "echo");
    assert_eq!((conversation.status, conversation.unread_from), (ConversationStatus::Closed, None));
    assert_eq!(conversation.last_received_at, Some(delivery(1)));
}

#[tokio::test]
async fn a_conversation_closed_unread_stays_closed_when_a_known_message_comes_again_with_a_new_echo() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "known", 0)]).await;
    let unread_from = account.only(&store).await.unread_from;
    let id = account.conversation_id(&anna());
    store.change_conversation(&account.organization, &id, &closed(), 0).await.unwrap();

    account.receives(&store, 2, vec![inbound(&anna(), "known", 0), echo(&anna(), "echo", 5)]).await;

    let conversation = account.only(&store).await;
    assert_eq!((conversation.status, &conversation.unread_from), (ConversationStatus::Closed, &unread_from));
    assert_eq!(conversation.last_received_at, Some(delivery(1)));

    account.receives(&store, 3, vec![inbound(&anna(), "known", 0), inbound(&anna(), "new", 6)]).await;
    assert_eq!(account.only(&store).await.status, ConversationStatus::Open);
}

#[tokio::test]
async fn echoes_and_lines_of_the_platform_neither_open_the_window_nor_count_as_unread() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();

    account.receives(&store, 1, vec![echo(&anna(), "echo", 0)]).await;
    let from_echo = account.only(&store).await;
    account.receives(&store, 2, vec![system_line(&anna(), "system", 1)]).await;
    let from_system = account.only(&store).await;

    assert_eq!((from_echo.last_inbound_at, from_echo.last_received_at, &from_echo.unread_from), (None, None, &None));
    assert_eq!(from_echo.status, ConversationStatus::Open);
    assert_eq!(from_echo.last_message_sender, Sender::Operator);
    assert_eq!((from_system.last_inbound_at, &from_system.unread_from), (None, &None));
    assert_eq!(from_system.last_message_sender, Sender::System);
    let thread = account.thread(&store, &from_system).await;
    assert_eq!((thread[0].direction, thread[0].status), (Direction::Outbound, Some(Status::Sent)));
    assert_eq!((thread[1].direction, thread[1].status), (Direction::Inbound, None));
}

#[tokio::test]
async fn a_message_that_does_not_open_the_window_counts_as_unread_all_the_same() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "opens", 0)]).await;

    let closed = IncomingMessage { opens_window: false, ..text(&anna(), "closed", 5) };
    account.receives(&store, 2, vec![message(closed)]).await;

    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_inbound_at, Some(at(0)));
    assert_eq!(account.unread(&store, &conversation).await, 2);
}

#[tokio::test]
async fn the_customers_last_message_becomes_unread_again_whenever_it_came() {
    let (table, account) = (Table::without_retries().await, Account::whatsapp());
    let store = table.store();
    let closed = message(IncomingMessage { opens_window: false, ..text(&anna(), "closed", 0) });
    table.meter.start([(1, Fault::Before)]);
    assert_eq!(account.deliver(&store, delivery(1), vec![closed.clone()]).await.failed, 1);
    account.receives(&store, 2, vec![closed, echo(&anna(), "echo", 3)]).await;
    let id = account.conversation_id(&anna());
    let change = async |changes| {
        store.change_conversation(&account.organization, &id, &changes, delivery(1000) / 1000).await.unwrap()
    };

    let read = change(Changes { read_up_to: Some(delivery(2)), ..Changes::default() }).await;
    let again = change(Changes { unread: true, ..Changes::default() }).await;

    assert_eq!(account.unread(&store, &read).await, 0);
    assert_eq!(account.unread(&store, &again).await, 1);
}

#[tokio::test]
async fn a_message_without_a_usable_time_keeps_the_place_of_its_first_arrival() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let timeless = message(IncomingMessage { timestamp: None, ..text(&anna(), "timeless", 0) });
    account.receives(&store, 1, vec![timeless.clone()]).await;

    let again = account.receives(&store, 9, vec![timeless]).await;

    assert_eq!(again, DUPLICATE);
    let conversation = account.only(&store).await;
    let thread = account.thread(&store, &conversation).await;
    assert_eq!(thread.len(), 1);
    assert_eq!(thread[0].id.epoch_ms(), delivery(1) / 1000);
}

#[tokio::test]
async fn read_is_what_came_until_then_whatever_its_time() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let change = async |changes: Changes| {
        store.change_conversation(&account.organization, &account.conversation_id(&anna()), &changes, 0).await.unwrap()
    };
    account.receives(&store, 1, vec![inbound(&anna(), "one", 10)]).await;
    account.receives(&store, 2, vec![inbound(&anna(), "two", 20)]).await;
    account.receives(&store, 3, vec![inbound(&anna(), "late", 5)]).await;

    let shown = change(Changes { read_up_to: Some(delivery(2)), ..Changes::default() }).await;
    assert_eq!(account.unread(&store, &shown).await, 1);
    let less = change(Changes { read_up_to: Some(delivery(1)), ..Changes::default() }).await;
    assert_eq!(account.unread(&store, &less).await, 1, "what was read stays read");
    let all = change(Changes { read_up_to: Some(delivery(3)), ..Changes::default() }).await;
    assert_eq!(all.unread_from, None);
    let again = change(Changes { unread: true, ..Changes::default() }).await;
    assert!(again.unread_from.is_some());
    change(Changes { read_up_to: Some(i64::MAX), ..Changes::default() }).await;
    account.receives(&store, 4, vec![inbound(&anna(), "next", 30)]).await;
    change(Changes { read_up_to: Some(i64::MAX), ..Changes::default() }).await;
    let newest = change(Changes { unread: true, ..Changes::default() }).await;
    assert_eq!(account.unread(&store, &newest).await, 1);
}

#[tokio::test]
async fn what_was_on_its_way_while_the_operator_read_is_unread() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "here", 10)]).await;
    let read = Changes { read_up_to: Some(delivery(3)), ..Changes::default() };
    store.change_conversation(&account.organization, &account.conversation_id(&anna()), &read, 0).await.unwrap();

    account.receives(&store, 2, vec![inbound(&anna(), "on its way", 20)]).await;

    assert_eq!(account.unread(&store, &account.only(&store).await).await, 1);
}

fn edit(target: &str, content: &str, second: i64) -> shared::event::Event {
    edit_to(target, Content::text(content), second)
}

fn edit_to(target: &str, content: Content, second: i64) -> shared::event::Event {
    event(EventKind::Edit(Edit {
        customer: anna(),
        by: Party::Customer,
        external_id: format!("{target} edited at {second}"),
        target: target.into(),
        content,
        timestamp: Some(at(second)),
    }))
}

fn content(content_type: ContentType, text: Option<&str>, parts: Value) -> Content {
    let Value::Object(parts) = parts else { panic!("{parts}") };
    Content { content_type, text: text.map(str::to_owned), parts }
}

fn unsend(target: &str, second: i64) -> shared::event::Event {
    event(EventKind::Unsend(Unsend {
        customer: anna(),
        by: Party::Customer,
        external_id: format!("{target} unsent"),
        target: target.into(),
        timestamp: Some(at(second)),
    }))
}

#[tokio::test]
async fn the_preview_follows_the_newest_edit_and_never_an_older_one() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let preview = async || account.only(&store).await.last_message_text;
    account.receives(&store, 1, vec![inbound(&anna(), "first", 0), inbound(&anna(), "text", 1)]).await;

    account.receives(&store, 2, vec![edit("text", "better", 2)]).await;
    assert_eq!(preview().await, "better");
    account.receives(&store, 3, vec![edit("text", "best", 3)]).await;
    account.receives(&store, 4, vec![edit("text", "better", 2)]).await;
    assert_eq!(preview().await, "best");
    account.receives(&store, 5, vec![edit("first", "old", 4)]).await;
    assert_eq!(preview().await, "best", "another message was edited");
}

#[tokio::test]
async fn an_edit_without_content_leaves_the_text() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "text", 0)]).await;
    let missing = content(ContentType::Text, None, json!({ "reason": "It was not delivered." }));

    account.receives(&store, 2, vec![edit_to("text", missing, 1)]).await;

    let conversation = account.only(&store).await;
    let [message] = &account.thread(&store, &conversation).await[..] else { panic!() };
    assert_eq!((message.text.as_deref(), message.edited_at), (Some("text"), Some(at(1))));
    assert_eq!(message.content.as_deref(), Some(r#"{"reason":"It was not delivered."}"#));
    assert_eq!(conversation.last_message_text, "text");

    account.receives(&store, 3, vec![edit("text", "better", 2)]).await;
    let [message] = &account.thread(&store, &conversation).await[..] else { panic!() };
    assert_eq!((message.text.as_deref(), &message.content), (Some("better"), &None));
}

#[tokio::test]
async fn an_edited_caption_leaves_the_media() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let media = json!({ "id": "1", "mimeType": "image/jpeg", "sha256": "b2xk" });
    let photo = IncomingMessage {
        content: content(ContentType::Image, Some("The label"), media.clone()),
        ..text(&anna(), "photo", 0)
    };
    account.receives(&store, 1, vec![message(photo)]).await;
    let thread = async || account.thread(&store, &account.only(&store).await).await.remove(0);

    let caption = content(ContentType::Image, Some("The other label"), json!({}));
    account.receives(&store, 2, vec![edit_to("photo", caption, 1)]).await;
    let edited = thread().await;
    assert_eq!((edited.content_type, edited.text.as_deref()), (ContentType::Image, Some("The other label")));
    assert_eq!(serde_json::from_str::<Value>(&edited.content.unwrap()).unwrap(), media);

    let other = content(ContentType::Image, None, json!({ "id": "2" }));
    account.receives(&store, 3, vec![edit_to("photo", other, 2)]).await;
    let edited = thread().await;
    assert_eq!(edited.text.as_deref(), Some("The other label"));
    let parts = json!({ "id": "2", "mimeType": "image/jpeg", "sha256": "b2xk" });
    assert_eq!(serde_json::from_str::<Value>(&edited.content.unwrap()).unwrap(), parts);
}

#[tokio::test]
async fn an_edit_that_can_be_shown_replaces_what_could_not() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let poll = content(ContentType::Unsupported, None, json!({ "type": "poll", "raw": {} }));
    let poll = IncomingMessage { content: poll, ..text(&anna(), "poll", 0) };
    account.receives(&store, 1, vec![message(poll)]).await;

    account.receives(&store, 2, vec![edit("poll", "In words", 1)]).await;

    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_message_text, "In words");
    let [message] = &account.thread(&store, &conversation).await[..] else { panic!() };
    assert_eq!((message.content_type, &message.content), (ContentType::Text, &None));
}

#[tokio::test]
async fn a_reaction_opens_the_window_where_the_platform_says_so() {
    const HOUR: i64 = 3600;
    for platform in Platform::ALL {
        let (table, account) = (Table::open().await, Account::new(platform));
        let store = table.store();
        let opened = async |by: Party, emoji: Option<&str>, second: i64| {
            let reaction = Reaction {
                customer: anna(),
                by,
                external_id: format!("reaction at {second}"),
                target: "hello".into(),
                emoji: emoji.map(str::to_owned),
                timestamp: Some(at(second)),
            };
            account.receives(&store, second, vec![event(EventKind::Reaction(reaction))]).await;
            account.only(&store).await.last_inbound_at
        };
        account.receives(&store, 1, vec![inbound(&anna(), "hello", 0)]).await;

        let since = Some(if platform == Platform::Whatsapp { at(0) } else { at(30 * HOUR) });
        assert_eq!(opened(Party::Customer, Some("👍"), 30 * HOUR).await, since, "{platform}");
        assert_eq!(opened(Party::Customer, Some("🎉"), HOUR).await, since, "{platform}: an older one");
        assert_eq!(opened(Party::Customer, None, 40 * HOUR).await, since, "{platform}: taken back");
        assert_eq!(opened(Party::Business, Some("👍"), 50 * HOUR).await, since, "{platform}: our own");

        account.receives(&store, 60 * HOUR, vec![inbound(&anna(), "late", 20 * HOUR)]).await;
        let late = Some(if platform == Platform::Whatsapp { at(20 * HOUR) } else { at(30 * HOUR) });
        assert_eq!(account.only(&store).await.last_inbound_at, late, "{platform}: a message from before");
    }
}

#[tokio::test]
async fn what_was_unsent_never_comes_back() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "secret", 0), edit("secret", "worse", 1)]).await;

    account.receives(&store, 2, vec![unsend("secret", 2)]).await;
    account.receives(&store, 3, vec![edit("secret", "worse", 1), inbound(&anna(), "secret", 0)]).await;
    account.receives(&store, 4, vec![unsend("secret", 2)]).await;

    let conversation = account.only(&store).await;
    assert_eq!(conversation.last_message_text, "Message unsent");
    let thread = account.thread(&store, &conversation).await;
    assert_eq!(thread.len(), 1);
    assert_eq!((thread[0].deleted_at, &thread[0].text), (Some(at(2)), &None));
}

#[tokio::test]
async fn of_one_second_the_message_that_is_shown_decides_the_preview() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    for attempt in 0..6 {
        let (hidden, shown) = (format!("hidden {attempt}"), format!("shown {attempt}"));
        account.receives(&store, 1 + attempt, vec![inbound(&anna(), &hidden, attempt)]).await;
        account.receives(&store, 2 + attempt, vec![inbound(&anna(), &shown, attempt)]).await;

        account.receives(&store, 3 + attempt, vec![edit(&hidden, "changed", 100)]).await;
        assert_eq!(account.only(&store).await.last_message_text, shown);
        account.receives(&store, 3 + attempt, vec![edit(&shown, "changed", 100)]).await;
        assert_eq!(account.only(&store).await.last_message_text, "changed");
    }
}

/// Reads up to the message that the provider calls so.
async fn read_through(account: &Account, store: &Store, external_id: &str, now_us: i64) -> Conversation {
    let conversation = account.only(store).await;
    let thread = account.thread(store, &conversation).await;
    let shown = thread.into_iter().find(|message| message.external_id.as_deref() == Some(external_id)).unwrap();
    let changes = Changes { read_through: Some(shown.id), ..Changes::default() };
    store.change_conversation(&account.organization, &conversation.id, &changes, now_us / 1000).await.unwrap()
}

#[tokio::test]
async fn texts_of_one_millisecond_are_read_one_by_one() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, (1..=10).map(|number| inbound(&anna(), &format!("m{number}"), 0)).collect()).await;

    for (read, unread) in [("m4", 6), ("m2", 6), ("m9", 1), ("m10", 0)] {
        let after = read_through(&account, &store, read, delivery(2)).await;
        assert_eq!(account.unread(&store, &after).await, unread, "{read}");
    }

    let read = account.only(&store).await;
    assert_eq!((read.unread_from, read.read_through), (None, None));
}

#[tokio::test]
async fn what_stands_above_is_read_whenever_it_came() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "one", 10), inbound(&anna(), "two", 20)]).await;
    account.receives(&store, 2, vec![inbound(&anna(), "late", 5)]).await;

    let shown = read_through(&account, &store, "one", delivery(3)).await;
    assert_eq!(account.unread(&store, &shown).await, 1, "late stands above it, two does not");
    account.receives(&store, 4, vec![inbound(&anna(), "later still", 4)]).await;
    assert_eq!(account.unread(&store, &account.only(&store).await).await, 2, "nobody was shown that");
    let above = read_through(&account, &store, "later still", delivery(5)).await;
    assert_eq!(account.unread(&store, &above).await, 1, "one stays read");
    let all = read_through(&account, &store, "two", delivery(6)).await;
    assert_eq!((account.unread(&store, &all).await, all.unread_from), (0, None));
    account.receives(&store, 7, vec![inbound(&anna(), "after", 1)]).await;
    assert_eq!(account.unread(&store, &account.only(&store).await).await, 1);
}

#[tokio::test]
async fn message_that_is_still_under_way_is_not_read() {
    let (table, account) = (Table::without_retries().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "one", 10)]).await;
    // The conversation is told, and the message itself is not stored yet.
    table.meter.start([(0, Fault::Before)]);
    assert_eq!(account.deliver(&store, delivery(2), vec![inbound(&anna(), "two", 20)]).await.failed, 1);
    table.meter.stop();

    let read = read_through(&account, &store, "one", delivery(2)).await;
    assert_eq!(account.unread(&store, &read).await, 0);
    account.receives(&store, 3, vec![inbound(&anna(), "two", 20)]).await;

    assert_eq!(account.unread(&store, &account.only(&store).await).await, 1);
}

#[tokio::test]
async fn unread_again_leaves_what_is_unread() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, (1..=5).map(|number| inbound(&anna(), &format!("m{number}"), number)).collect()).await;
    let id = account.only(&store).await.id;
    let unread = Changes { unread: true, ..Changes::default() };
    let again = async || {
        let after = store.change_conversation(&account.organization, &id, &unread, delivery(9) / 1000).await.unwrap();
        account.unread(&store, &after).await
    };

    assert_eq!(again().await, 5);
    read_through(&account, &store, "m2", delivery(9)).await;
    assert_eq!(again().await, 3);
    read_through(&account, &store, "m5", delivery(9)).await;
    assert_eq!(again().await, 1);
}
