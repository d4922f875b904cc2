//! The journal: real images become events, and events get their places: dense, in order, and once, however many write and whatever
//! fails.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use shared::{
    changes::{self, Change, Kind, Record},
    comparison,
    content::Content,
    event::IncomingMessage,
    id::OrganizationId,
    store::{Assignee, Changes, ConversationStatus, ENTRY_EVENTS_MAX, Store},
};

use crate::{
    converge::check,
    engine::{Fault, Table},
    given::{Account, anna, at, echo, inbound, message, sealed, text, unique},
};

/// An item in `DynamoDB`'s own JSON.
type Image = Value;

/// Tells what an account's items were and are, as the stream does.
struct Watch<'a> {
    table: &'a Table,
    partitions: Vec<String>,
    images: BTreeMap<(String, String), Image>,
    records: usize,
}

fn record(number: usize, old: Option<&Image>, new: Option<&Image>) -> Record {
    let keys = new.or(old).unwrap();
    let mut images = json!({
        "Keys": { "pk": keys["pk"], "sk": keys["sk"] }, "SequenceNumber": number.to_string(),
        "ApproximateCreationDateTime": at(0) / 1000,
    });
    for (name, image) in [("OldImage", old), ("NewImage", new)] {
        if let Some(image) = image {
            images[name] = image.clone();
        }
    }
    Record::read(&json!({ "eventID": format!("record-{number}"), "dynamodb": images })).unwrap()
}

impl<'a> Watch<'a> {
    fn new(table: &'a Table, account: &Account) -> Self {
        let of_account = format!("ORG#{}", account.organization);
        let of_customer = format!("{of_account}#CONVERSATION#{}", account.conversation_id(&anna()));
        Self { table, partitions: vec![of_account, of_customer], images: BTreeMap::new(), records: 0 }
    }

    /// What has changed since the last time.
    async fn records(&mut self) -> Vec<Record> {
        let mut now = BTreeMap::new();
        for partition in &self.partitions {
            for item in self.table.partition(partition).await {
                let item: std::collections::HashMap<_, _> = item.into_iter().collect();
                let image = serde_json::to_value(serde_dynamo::Item::from(item)).unwrap();
                let key = |name: &str| image[name]["S"].as_str().unwrap().to_owned();
                now.insert((key("pk"), key("sk")), image);
            }
        }
        let before = std::mem::replace(&mut self.images, now);
        let keys: BTreeSet<_> = before.keys().chain(self.images.keys()).collect();
        let mut records = Vec::new();
        for key in keys {
            let (old, new) = (before.get(key), self.images.get(key));
            if old != new {
                self.records += 1;
                records.push(record(self.records, old, new));
            }
        }
        records
    }

    async fn changes(&mut self) -> Vec<Change> {
        self.records().await.iter().flat_map(|record| changes::of(record, None).unwrap()).collect()
    }
}

fn kinds(changes: &[Change]) -> BTreeSet<Kind> {
    assert!(changes.iter().all(|change| change.id.len() == 36), "{changes:?}");
    changes.iter().map(|change| change.kind).collect()
}

#[tokio::test]
async fn a_first_message_is_received_and_opens_its_conversation() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let mut watch = Watch::new(&table, &account);

    account.receives(&table.store(), 0, vec![inbound(&anna(), "wamid.1", 0)]).await;
    let told = watch.changes().await;
    account.receives(&table.store(), 1, vec![inbound(&anna(), "wamid.2", 1)]).await;
    let again = watch.changes().await;

    assert_eq!(kinds(&told), BTreeSet::from([Kind::MessageReceived, Kind::ConversationOpened]));
    let opened = told.iter().find(|change| change.kind == Kind::ConversationOpened).unwrap();
    assert_eq!(opened.data["conversation"]["customer"]["phone"], "491713920012");
    assert_eq!(kinds(&again), BTreeSet::from([Kind::MessageReceived]));
    assert_eq!(again[0].data["message"]["text"], "wamid.2");
    let id = account.conversation_id(&anna());
    assert_eq!(
        again[0].subject,
        format!("conversations/{id}/messages/{}", again[0].data["message"]["id"].as_str().unwrap())
    );
}

#[tokio::test]
async fn a_record_that_comes_again_makes_the_same_changes() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    account.receives(&table.store(), 0, vec![echo(&anna(), "wamid.1", 0)]).await;

    let records = Watch::new(&table, &account).records().await;

    let make = || records.iter().flat_map(|record| changes::of(record, None).unwrap()).collect::<Vec<_>>();
    assert_eq!(make(), make());
    assert_eq!(kinds(&make()), BTreeSet::from([Kind::MessageSent, Kind::ConversationOpened]));
    let conversation = account.conversation(&table.store(), &anna()).await;
    let with = records.iter().flat_map(|record| changes::of(record, Some(&conversation)).unwrap());
    let sent = with.into_iter().find(|change| change.kind == Kind::MessageSent).unwrap();
    assert_eq!(sent.data["conversation"]["channel"], "whatsapp");
}

#[tokio::test]
async fn each_change_of_a_conversation_is_told_as_its_own() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let (store, mut watch) = (table.store(), Watch::new(&table, &account));
    let conversation = account.hears(&store, &anna(), "wamid.1").await;
    watch.changes().await;

    let all = Changes::default();
    for (changes, kind) in [
        (Changes { read_up_to: conversation.last_received_at, ..all.clone() }, Kind::ConversationRead),
        (Changes { labels: Some(BTreeSet::from(["vip".into()])), ..all.clone() }, Kind::ConversationLabeled),
        (Changes { assigned_to: Some(Assignee::User("olga".into())), ..all.clone() }, Kind::ConversationAssigned),
        (Changes { status: Some(ConversationStatus::Closed), ..all.clone() }, Kind::ConversationClosed),
        (Changes { status: Some(ConversationStatus::Open), ..all.clone() }, Kind::ConversationOpened),
    ] {
        store.change_conversation(&account.organization, &conversation.id, &changes, at(9)).await.unwrap();
        assert_eq!(kinds(&watch.changes().await), BTreeSet::from([kind]), "{changes:?}");
    }
    store.change_conversation(&account.organization, &conversation.id, &all, at(10)).await.unwrap();
    assert_eq!(watch.changes().await, [], "only when it was changed");
}

#[tokio::test]
async fn an_integration_is_told_without_its_key() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let (store, mut watch) = (table.store(), Watch::new(&table, &account));

    account.connected(&store, sealed("Y2lwaGVy"), 0).await;
    let connected = watch.changes().await;
    account.connected(&store, sealed("Y2lwaGVy"), 1).await;
    let again = watch.changes().await;
    store.disconnect(&account.organization, account.platform, "ann", at(2)).await.unwrap();
    let disconnected = watch.changes().await;
    store.delete_integration(&account.organization, account.platform, "ann", at(3)).await.unwrap();
    let deleted = watch.changes().await;

    for (changes, status) in [(&connected, "connected"), (&disconnected, "disconnected")] {
        assert_eq!(kinds(changes), BTreeSet::from([Kind::IntegrationChanged]));
        assert_eq!(changes[0].data["integration"]["status"], status);
    }
    assert_eq!(deleted[0].data["integration"], Value::Null);
    assert!(
        again
            .iter()
            .all(|change| change.data["integration"]["createdAt"] != connected[0].data["integration"]["createdAt"])
    );
    assert!(!format!("{connected:?}{disconnected:?}").contains("Y2lwaGVy"));
}

#[tokio::test]
async fn what_is_too_long_for_an_event_is_cut() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let long = IncomingMessage { content: Content::text("ä".repeat(30_000)), ..text(&anna(), "wamid.1", 0) };
    account.receives(&table.store(), 0, vec![message(long)]).await;

    let told = Watch::new(&table, &account).changes().await;

    let received = told.iter().find(|change| change.kind == Kind::MessageReceived).unwrap();
    assert_eq!(received.data["truncated"], true);
    assert!(received.data.to_string().len() < 20_000);
}

#[tokio::test]
async fn a_message_that_has_gone_is_told_as_removed() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    account.receives(&table.store(), 0, vec![inbound(&anna(), "wamid.1", 0)]).await;
    let mut watch = Watch::new(&table, &account);
    watch.records().await;
    let stood = watch.images.values().find(|image| image["externalId"]["S"] == "wamid.1").unwrap();
    let gone = json!({ "pk": stood["pk"], "sk": stood["sk"], "expiresAt": { "N": "1" } });

    for new in [Some(&gone), None] {
        let told = changes::of(&record(1, Some(stood), new), None).unwrap();
        assert_eq!(kinds(&told), BTreeSet::from([Kind::MessageUnsent]));
        assert_eq!((&told[0].data["removed"], &told[0].data["message"]["text"]), (&json!(true), &Value::Null));
    }
    assert_eq!(changes::of(&record(2, Some(&gone), None), None).unwrap(), []);
}

fn change(id: &str) -> Change {
    let (kind, subject) = (Kind::MessageReceived, format!("conversations/c/messages/{id}"));
    Change { id: id.into(), kind, subject, at: at(0), data: json!({ "text": "x" }) }
}

fn organization() -> OrganizationId {
    format!("org-{}", unique()).parse().unwrap()
}

/// The ids of the whole journal, whose places follow each other.
async fn journal(store: &Store, organization: &OrganizationId, now_ms: i64) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = store.journal(organization, after, 7, now_ms).await.unwrap().unwrap();
        if let (Some(first), Some(after)) = (page.events.first(), after) {
            assert_eq!(first.sequence, after + 1);
        }
        assert!(page.events.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1), "{page:?}");
        ids.extend(page.events.into_iter().map(|event| event.change.id));
        if !page.more {
            return ids;
        }
        after = Some(page.last);
    }
}

#[tokio::test]
async fn what_is_appended_again_stands_there_once() {
    let (table, organization) = (Table::open().await, organization());
    let store = table.store();
    let append = async |ids: &[&str]| {
        let changes: Vec<_> = ids.iter().map(|id| change(id)).collect();
        store.append_to_journal(&organization, &changes, at(0), at(1)).await.unwrap()
    };

    assert_eq!(append(&["a", "b", "c"]).await, 3);
    assert_eq!(append(&["x"]).await, 1);
    assert_eq!(append(&["a", "b", "c"]).await, 0, "the whole batch");
    assert_eq!(append(&["b", "c", "d"]).await, 1, "a part of it, and more");
    assert_eq!(append(&["e", "e"]).await, 1, "twice in one");

    assert_eq!(journal(&store, &organization, at(1)).await, ["a", "b", "c", "x", "d", "e"]);
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_done_once() {
    let table = Table::without_retries().await;
    let batch: Vec<_> = (0..5).map(|number| change(&format!("e{number}"))).collect();
    for call in 0..4 {
        for fault in Fault::ALL {
            let (organization, store) = (organization(), table.store());
            table.meter.start([(call, fault)]);
            let first = store.append_to_journal(&organization, &batch, at(0), at(1)).await;
            table.meter.stop();

            store.append_to_journal(&organization, &batch, at(0), at(1)).await.unwrap();

            assert_eq!(journal(&store, &organization, at(1)).await.len(), 5, "{call} {fault:?} {first:?}");
        }
    }
}

#[tokio::test]
async fn many_changes_become_entries_of_a_hundred() {
    let (table, organization) = (Table::open().await, organization());
    let store = table.store();
    let batch: Vec<_> = (0..2 * ENTRY_EVENTS_MAX + 50).map(|number| change(&format!("e{number}"))).collect();

    table.meter.start([]);
    store.append_to_journal(&organization, &batch, at(0), at(1)).await.unwrap();
    let calls = table.meter.stop().calls;

    assert_eq!(calls, ["Query", "GetItem", "PutItem", "PutItem", "PutItem", "PutItem"]);
    assert_eq!(journal(&store, &organization, at(1)).await.len(), batch.len());
    for after in [0, 1, 99, 100, 101, 249, 250] {
        let page = store.journal(&organization, Some(after), 10, at(1)).await.unwrap().unwrap();
        assert_eq!(page.events.first().map(|event| event.sequence), Some(after + 1).filter(|next| *next <= 250));
    }
    for after in [251, 1000] {
        assert_eq!(store.journal(&organization, Some(after), 10, at(1)).await.unwrap(), None, "{after}");
    }
}

#[tokio::test]
async fn an_event_alone_costs_few_units() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    account.receives(&store, 0, vec![inbound(&anna(), "wamid.1", 0)]).await;
    let conversation = account.conversation(&store, &anna()).await;
    let mut watch = Watch::new(&table, &account);
    let records = watch.records().await;
    let told = records.iter().flat_map(|record| changes::of(record, Some(&conversation)).unwrap());
    let received: Vec<_> = told.filter(|change| change.kind == Kind::MessageReceived).collect();
    store.append_to_journal(&account.organization, &[change("first")], at(0), at(1)).await.unwrap();

    table.meter.start([]);
    store.append_to_journal(&account.organization, &received, at(2), at(3)).await.unwrap();
    let figures = table.meter.stop();

    assert_eq!(figures.calls, ["Query", "PutItem"]);
    assert!(figures.write_units <= 2.0, "{}", figures.write_units);
}

#[tokio::test]
async fn an_expired_journal_begins_again_above_itself() {
    const DAY: i64 = 24 * 60 * 60;
    let (table, organization) = (Table::open().await, organization());
    let store = table.store();
    for id in ["a", "b"] {
        store.append_to_journal(&organization, &[change(id)], at(0), at(0)).await.unwrap();
    }
    let kept = store.journal(&organization, Some(0), 10, at(29 * DAY)).await.unwrap().unwrap();
    assert_eq!(kept.events.len(), 2);

    let later = at(31 * DAY);
    assert_eq!(store.journal_end(&organization, later).await.unwrap(), 0);
    assert_eq!(store.journal(&organization, Some(1), 10, later).await.unwrap(), None);
    let (first, second) = (table.store(), table.store());
    let (c, d) = ([change("c")], [change("d")]);
    let both = futures_util::future::join(
        first.append_to_journal(&organization, &c, later, later),
        second.append_to_journal(&organization, &d, later, later),
    );
    let both = Box::pin(both).await;

    assert_eq!((both.0.unwrap(), both.1.unwrap()), (1, 1));
    let page = store.journal(&organization, None, 10, later).await.unwrap().unwrap();
    let places: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
    assert!(places[0] > 2 && places == [places[0], places[0] + 1], "{places:?}");
    assert_eq!(
        store.journal(&organization, Some(2), 10, later).await.unwrap(),
        None,
        "a receiver of before hears of it"
    );
}

#[tokio::test]
async fn a_journal_that_lacks_a_message_is_found_out() {
    const HOUR: i64 = 60 * 60;
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let began = crate::given::delivery(0) / 1000;
    store.append_to_journal(&account.organization, &[change("first")], began, began - 600_000).await.unwrap();
    account.receives(&store, 0, vec![inbound(&anna(), "wamid.1", 0), inbound(&anna(), "wamid.2", 1)]).await;
    let told = Watch::new(&table, &account).changes().await;
    let of_one = |change: &Change| change.data["message"]["text"] == "wamid.1";
    let told: Vec<_> = told.into_iter().filter(of_one).collect();
    store.append_to_journal(&account.organization, &told, began, began).await.unwrap();

    let channel = account.platform.into();
    let missing = comparison::missing(&store, &account.organization, channel, began + HOUR * 1000).await.unwrap();
    let too_early = comparison::missing(&store, &account.organization, channel, began + 1000).await.unwrap();

    let thread = account.thread(&store, &account.conversation(&store, &anna()).await).await;
    assert_eq!(missing, [thread[1].id.clone()]);
    assert_eq!(too_early, []);
}

#[tokio::test]
async fn what_was_stored_before_a_journal_began_is_not_missing() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    account.receives(&table.store(), 0, vec![inbound(&anna(), "wamid.1", 0)]).await;

    let now_ms = crate::given::delivery(0) / 1000 + 3_600_000;
    let missing = comparison::missing(&table.store(), &account.organization, account.platform.into(), now_ms).await;

    assert_eq!(missing.unwrap(), []);
}

/// Batches of several writers, each with the numbers of its events; some come twice.
fn writers() -> impl Strategy<Value = Vec<Vec<(u8, bool)>>> {
    vec(vec((1..6_u8, any::<bool>()), 1..6), 2..5)
}

async fn races(table: &Table, writers: Vec<Vec<(u8, bool)>>) {
    let organization = organization();
    let write = writers.iter().enumerate().map(|(writer, batches)| {
        let (store, organization) = (table.store(), &organization);
        async move {
            for (number, (count, comes_again)) in batches.iter().enumerate() {
                let ids = (0..*count).map(|event| change(&format!("{writer}-{number}-{event}")));
                let ids: Vec<_> = ids.collect();
                for _ in 0..=u8::from(*comes_again) {
                    store.append_to_journal(organization, &ids, at(0), at(1)).await.unwrap();
                }
            }
        }
    });
    join_all(write).await;

    let ids = journal(&table.store(), &organization, at(1)).await;
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    let expected: usize = writers.iter().flatten().map(|(count, _)| usize::from(*count)).sum();
    assert_eq!(ids.len(), expected);
    for writer in 0..writers.len() {
        let own: Vec<&String> = ids.iter().filter(|id| id.starts_with(&format!("{writer}-"))).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[test]
fn writers_that_race_leave_no_hole_and_double_nothing() {
    check(20, &writers(), &async |table: &Table, writers| races(table, writers).await);
}
