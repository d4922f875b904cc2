//! Statuses only rise, in whatever order they come, and none is lost when it comes before its message.

use proptest::{collection::vec, prelude::*, sample::select};
use shared::{
    event::{Echo, EventKind, IncomingMessage, ProviderError, StatusChange, UpTo, Watermark},
    id::ConversationId,
    inbound::{Counts, callback_data},
    message::Status,
    platform::Platform,
    store::{Answer, Begun, Change, Message, Outcome, Reply, Store, Update, Writing, keys},
};

use crate::{
    converge::check,
    engine::Table,
    given::{Account, DELAY_SECS, anna, at, delivery, echo, event, inbound, phone, status, text, unique, user},
};

const REPORTED: [Status; 4] = [Status::Sent, Status::Delivered, Status::Read, Status::Failed];

pub fn reply(text: &str) -> Reply {
    Reply { text: text.into(), ..Reply::default() }
}

pub fn accepted(account: &Account, external_id: &str) -> Outcome {
    let external_id = Some(account.external_id(external_id));
    Outcome { answer: Answer::Accepted, status: Status::Accepted, external_id, error: None }
}

/// A reply that is on its way to the provider.
pub async fn begun(account: &Account, store: &Store, conversation: &ConversationId, second: i64) -> Message {
    let (key, now_us) = (unique(), delivery(second));
    let addressed = account.addressed(store, conversation).await;
    let writing = Writing { conversation, operator: "olga", key: &key };
    let begun = store.begin_reply(&account.organization, &addressed, writing, &reply("Hi"), now_us).await;
    let Begun::New(message) = begun.unwrap() else { panic!("the key is new") };
    message
}

/// A reply that the provider has taken.
async fn sent(account: &Account, store: &Store, external_id: &str) -> Message {
    let message = begun(account, store, &account.conversation_id(&anna()), 10).await;
    store
        .finish_reply(&account.organization, &message, &accepted(account, external_id), delivery(11) / 1000)
        .await
        .unwrap()
}

async fn stored(account: &Account, store: &Store, message: &Message) -> Message {
    store.message(&account.organization, &message.conversation_id, &message.id).await.unwrap().unwrap()
}

fn by_callback(change: StatusChange, message: &Message) -> StatusChange {
    StatusChange { callback_data: Some(callback_data(&message.conversation_id, &message.id)), ..change }
}

async fn told(account: &Account, store: &Store, changes: impl IntoIterator<Item = StatusChange>) -> Counts {
    let events = changes.into_iter().map(|change| event(EventKind::Status(change))).collect();
    account.receives(store, 20, events).await
}

#[test]
fn statuses_in_any_order_end_at_the_highest() {
    let status_and_way = (select(REPORTED.to_vec()), any::<bool>());
    let deliveries = vec(vec(status_and_way, 1..4), 1..5);
    check(40, &deliveries, &async |table, deliveries| {
        let (account, store) = (Account::whatsapp(), table.store());
        let message = sent(&account, &store, "wamid.1").await;
        for statuses in &deliveries {
            let changes = (1..).zip(statuses).map(|(second, (reported, is_named))| {
                let change = status("wamid.1", *reported, second);
                if *is_named { by_callback(change, &message) } else { change }
            });
            told(&account, &store, changes).await;
        }

        let message = stored(&account, &store, &message).await;
        let highest = deliveries.iter().flatten().map(|(status, _)| *status).max();
        assert_eq!(message.status, highest);
        assert_eq!(message.status_rank, highest.map(Status::rank));
        let history = message.status_history.unwrap();
        assert!(history.contains_key(highest.unwrap().as_str()) && history.contains_key("accepted"), "{history:?}");
    });
}

#[tokio::test]
async fn each_status_is_stored_once_with_its_time() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let message = sent(&account, &store, "wamid.1").await;

    for (second, reported) in [(1, Status::Sent), (2, Status::Delivered), (3, Status::Read)] {
        let change = by_callback(status("wamid.1", reported, second), &message);
        assert_eq!(told(&account, &store, [change.clone()]).await, Counts { stored: 1, ..Counts::default() });
        assert_eq!(told(&account, &store, [change]).await, Counts { duplicates: 1, ..Counts::default() });
    }

    let history = stored(&account, &store, &message).await.status_history.unwrap();
    let expected = [("sent", at(1)), ("delivered", at(2)), ("read", at(3))];
    assert_eq!(expected.map(|(name, _)| history[name]), expected.map(|(_, at)| at));
}

#[tokio::test]
async fn a_failure_tells_why_until_the_message_arrives_after_all() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let message = sent(&account, &store, "wamid.1").await;
    let error = ProviderError { code: "131026".into(), title: "Undeliverable".into(), ..ProviderError::default() };
    let failed = StatusChange { error: Some(error.clone()), ..status("wamid.1", Status::Failed, 1) };

    told(&account, &store, [failed.clone()]).await;
    let after_failed = stored(&account, &store, &message).await;
    told(&account, &store, [status("wamid.1", Status::Sent, 2)]).await;
    let after_sent = stored(&account, &store, &message).await;
    told(&account, &store, [status("wamid.1", Status::Delivered, 3)]).await;
    told(&account, &store, [failed]).await;
    let after_delivered = stored(&account, &store, &message).await;

    assert_eq!((after_failed.status, after_failed.error.as_ref()), (Some(Status::Failed), Some(&error)));
    assert_eq!(after_sent, after_failed);
    assert_eq!((after_delivered.status, after_delivered.error), (Some(Status::Delivered), None));
}

#[tokio::test]
async fn a_status_by_callback_data_tells_the_external_id_that_the_send_could_not() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let message = begun(&account, &store, &account.conversation_id(&anna()), 10).await;

    told(&account, &store, [by_callback(status("wamid.9", Status::Sent, 11), &message)]).await;
    told(&account, &store, [status("wamid.9", Status::Read, 12)]).await;

    let message = stored(&account, &store, &message).await;
    assert_eq!((message.external_id.as_deref(), message.status), (Some("wamid.9"), Some(Status::Read)));
}

#[tokio::test]
async fn statuses_that_come_before_their_message_wait_for_it() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let early = [Status::Delivered, Status::Sent, Status::Read].map(|reported| status("wamid.echo", reported, 5));
    for change in early.iter().chain(&early) {
        assert_eq!(told(&account, &store, [change.clone()]).await, Counts { stored: 1, ..Counts::default() });
    }
    assert!(account.inbox(&store).await.is_empty());

    account.receives(&store, 21, vec![echo(&anna(), "wamid.echo", 0)]).await;

    let conversation = account.only(&store).await;
    let thread = account.thread(&store, &conversation).await;
    assert_eq!(thread[0].status, Some(Status::Read));
    assert_eq!(thread[0].status_history.as_ref().unwrap().len(), 3);
}

#[tokio::test]
async fn repeated_status_without_a_time_waits_once() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let timeless = || StatusChange { timestamp: None, ..status("m", Status::Failed, 0) };
    for second in 1..4 {
        account.receives(&store, second, vec![event(EventKind::Status(timeless()))]).await;
    }
    let partition = keys::external(&account.organization, &account.external_id("m")).pk;
    assert_eq!(table.partition(&partition).await.len(), 2, "what waits, and that something does");

    account.receives(&store, 4, vec![inbound(&anna(), "hello", 0), echo(&anna(), "m", 4)]).await;

    let conversation = account.only(&store).await;
    let thread = account.thread(&store, &conversation).await;
    let ours = thread.iter().find(|message| message.external_id.as_deref() == Some("m")).unwrap();
    assert_eq!(ours.status, Some(Status::Failed));
    assert_eq!(ours.status_history.as_ref().unwrap()["failed"], delivery(3) / 1000, "when it was told");
}

#[tokio::test]
async fn a_failure_that_waited_tells_why() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let error = ProviderError {
        code: "131049".into(),
        title: "Not delivered".into(),
        details: Some("Policy".into()),
        ..ProviderError::default()
    };
    told(&account, &store, [StatusChange { error: Some(error.clone()), ..status("wamid.echo", Status::Failed, 5) }])
        .await;

    account.receives(&store, 21, vec![echo(&anna(), "wamid.echo", 0)]).await;

    let thread = account.thread(&store, &account.only(&store).await).await;
    assert_eq!((thread[0].status, thread[0].error.as_ref()), (Some(Status::Failed), Some(&error)));
}

#[tokio::test]
async fn a_status_never_changes_a_message_of_the_customer() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 1, vec![inbound(&anna(), "wamid.in", 0)]).await;
    let before = account.thread(&store, &account.only(&store).await).await;

    let named = by_callback(status("wamid.x", Status::Read, 1), &before[0]);
    let counts = told(&account, &store, [status("wamid.in", Status::Read, 1), named]).await;

    assert_eq!(counts, Counts { duplicates: 2, ..Counts::default() });
    assert_eq!(account.thread(&store, &account.only(&store).await).await, before);
}

#[tokio::test]
async fn callback_data_of_another_organization_changes_nothing_there() {
    let (table, account, other) = (Table::open().await, Account::whatsapp(), Account::whatsapp());
    let store = table.store();
    let message = sent(&account, &store, "wamid.1").await;

    let named = by_callback(status("wamid.1", Status::Read, 1), &message);
    told(&other, &store, [named.clone()]).await;
    let echoed = IncomingMessage { from_customer: false, opens_window: false, ..text(&anna(), "wamid.1", 1) };
    let echoed = Echo { message: echoed, callback_data: named.callback_data };
    other.receives(&store, 2, vec![event(EventKind::Echo(echoed))]).await;

    assert_eq!(stored(&account, &store, &message).await, message);
    let waiting = table.partition(&keys::external(&account.organization, &account.external_id("wamid.1")).pk).await;
    assert_eq!(waiting.len(), 1, "what names the message, and no status");
}

#[tokio::test]
async fn watermarks_only_rise() {
    let (table, account) = (Table::open().await, Account::new(Platform::Facebook));
    let store = table.store();
    let customer = user("2911");
    let watermark = async |status, up_to| {
        let watermark = Watermark { customer: customer.clone(), status, up_to };
        account.receives(&store, 30, vec![event(EventKind::Watermark(watermark))]).await;
        let conversation = account.only(&store).await;
        (conversation.delivered_up_to, conversation.read_up_to)
    };
    account.receives(&store, 1, vec![inbound(&customer, "m.in", 0), echo(&customer, "m.echo", 7)]).await;

    assert_eq!(watermark(Status::Delivered, UpTo::Time(at(5))).await, (Some(at(5)), None));
    assert_eq!(watermark(Status::Delivered, UpTo::Time(at(3))).await, (Some(at(5)), None));
    assert_eq!(watermark(Status::Read, UpTo::Time(at(4))).await, (Some(at(5)), Some(at(4))));
    assert_eq!(watermark(Status::Read, UpTo::Message("m.echo".into())).await, (Some(at(5)), Some(at(7))));
    assert_eq!(watermark(Status::Read, UpTo::Time(at(6))).await, (Some(at(5)), Some(at(7))));
}

#[tokio::test]
async fn a_watermark_of_a_stranger_makes_no_conversation() {
    let (table, account) = (Table::open().await, Account::new(Platform::Facebook));
    let store = table.store();
    let watermark = Watermark { customer: user("2911"), status: Status::Read, up_to: UpTo::Time(at(5)) };

    account.receives(&store, 1, vec![event(EventKind::Watermark(watermark))]).await;

    assert!(account.inbox(&store).await.is_empty());
    assert_eq!(store.conversation(&account.organization, &account.conversation_id(&user("2911"))).await.unwrap(), None);
}

#[tokio::test]
async fn an_echo_of_a_reply_is_the_reply() {
    let (table, account) = (Table::open().await, Account::new(Platform::Facebook));
    let store = table.store();
    let customer = user("2911");
    account.receives(&store, 1, vec![inbound(&customer, "m.in", 0)]).await;
    let id = account.conversation_id(&customer);
    let outbound = |external_id: &str, body: &str, callback_data| {
        let message = IncomingMessage {
            from_customer: false,
            opens_window: false,
            content: shared::content::Content::text(body),
            ..text(&customer, external_id, 12)
        };
        event(EventKind::Echo(Echo { message, callback_data }))
    };

    let named = begun(&account, &store, &id, 10).await;
    let data = callback_data(&id, &named.id);
    account.receives(&store, 2, vec![outbound("m.named", "Hi", Some(data))]).await;
    let waiting = begun(&account, &store, &id, 20).await;
    account.receives(&store, 3, vec![outbound("m.waiting", "Hi", None)]).await;
    for second in [4, 5] {
        account
            .receives(&store, second, vec![outbound("m.named", "Hi", None), outbound("m.waiting", "Hi", None)])
            .await;
        account.receives(&store, second, vec![outbound("m.elsewhere", "Hello", None)]).await;
    }

    let thread = account.thread(&store, &account.only(&store).await).await;
    assert_eq!(thread.len(), 4, "the customer's, two replies, and the one from elsewhere");
    for (message, external_id) in [(&named, "m.named"), (&waiting, "m.waiting")] {
        let message = stored(&account, &store, message).await;
        assert_eq!((message.external_id.as_deref(), message.status), (Some(external_id), Some(Status::Sent)));
    }
}

#[tokio::test]
async fn an_echo_is_the_reply_however_much_was_written_since() {
    let (table, account) = (Table::open().await, Account::new(Platform::Instagram));
    let store = table.store();
    let customer = user("2911");
    account.receives(&store, 1, vec![inbound(&customer, "m.in", 0)]).await;
    let id = account.conversation_id(&customer);
    let known = begun(&account, &store, &id, 10).await;
    store
        .finish_reply(&account.organization, &known, &accepted(&account, "m.known"), delivery(11) / 1000)
        .await
        .unwrap();
    let waiting = begun(&account, &store, &id, 12).await;
    let since = (1..50).map(|second| inbound(&customer, &format!("m.{second}"), 20 + DELAY_SECS + second));
    account.receives(&store, 2, since.collect()).await;

    let echo = |external_id: &str, second| {
        let content = shared::content::Content::text("Hi");
        let said = text(&customer, external_id, second + DELAY_SECS);
        let message = IncomingMessage { from_customer: false, opens_window: false, content, ..said };
        event(EventKind::Echo(Echo { message, callback_data: None }))
    };
    account.receives(&store, 3, vec![echo("m.waiting", 12), echo("m.known", 10)]).await;
    account.receives(&store, 4, vec![echo("m.known", 10), echo("m.waiting", 12)]).await;

    let thread = account.thread(&store, &account.only(&store).await).await;
    assert_eq!(thread.len(), 52, "the customer's and two replies");
    for (message, external_id) in [(&known, "m.known"), (&waiting, "m.waiting")] {
        let message = stored(&account, &store, message).await;
        assert_eq!((message.external_id.as_deref(), message.status), (Some(external_id), Some(Status::Sent)));
    }
}

#[tokio::test]
async fn a_status_of_an_unknown_message_by_callback_data_waits_by_its_external_id() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let nobody = account.conversation_id(&phone("1"));
    let update =
        Update { status: Status::Sent, at: at(1), external_id: Some(account.external_id("wamid.7")), error: None };
    let message = sent(&account, &store, "wamid.1").await;

    let raised = store.raise_status(&account.organization, &nobody, &message.id, &update).await.unwrap();
    let change =
        StatusChange { callback_data: Some(callback_data(&nobody, &message.id)), ..status("wamid.7", Status::Sent, 1) };
    told(&account, &store, [change]).await;

    assert_eq!(raised, Change::NoMessage);
    assert_eq!(table.partition(&keys::conversation_partition(&account.organization, &nobody)).await, []);
    let waiting = table.partition(&keys::external(&account.organization, &account.external_id("wamid.7")).pk).await;
    assert_eq!(waiting.len(), 2, "the status, and the mark that something waits");
}
