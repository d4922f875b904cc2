//! Nothing that one organization names reaches another's data.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use shared::{
    Error,
    content::Content,
    event::{Customer, Edit, EventKind, MessageChange, Party, Profile, Reaction, Unsend, UpTo, Watermark},
    id::ConversationId,
    inbound::callback_data,
    message::Status,
    platform::Channel,
    store::{Arrival, Begun, Changes, InboxFilter, Message, ReadMark, Settled, Store, Thread, Update, Writing, keys},
};

use crate::{
    engine::Table,
    given::{Account, anna, at, both, delivery, echo, event, inbound, status, user},
    statuses::{accepted, reply},
};

/// The organization that everybody is after.
struct Victim {
    account: Account,
    conversation: ConversationId,
    sent: Message,
}

const KEY: &str = "its-key";

async fn victim(store: &Store) -> Victim {
    let account = Account::whatsapp();
    let organization = &account.organization;
    account.receives(store, 1, vec![inbound(&anna(), "wamid.in", 0), inbound(&anna(), "wamid.second", 5)]).await;
    account.receives(store, 2, vec![inbound(&both("491713920012", "DE.8172"), "wamid.both", 6)]).await;
    let parked = status("wamid.parked", Status::Read, 7);
    account.receives(store, 3, vec![event(EventKind::Status(parked))]).await;
    let conversation = account.conversation_id(&anna());
    let addressed = account.addressed(store, &conversation).await;
    let writing = Writing { conversation: &conversation, operator: "olga", key: KEY };
    let begun = store.begin_reply(organization, &addressed, writing, &reply("Hi"), delivery(4)).await.unwrap();
    let Begun::New(sent) = begun else { panic!() };
    let sent = store.finish_reply(organization, &sent, &accepted(&account, "wamid.out"), at(5)).await.unwrap();
    Victim { account, conversation, sent }
}

impl Victim {
    /// Everything that is stored of it.
    async fn everything(&self, table: &Table) -> Vec<Vec<BTreeMap<String, AttributeValue>>> {
        let organization = &self.account.organization;
        let by_user = self.account.conversation_id(&user("DE.8172"));
        let external = |id: &str| keys::external(organization, &self.account.external_id(id)).pk;
        let mut everything = Vec::new();
        for partition in [
            keys::organization(organization),
            keys::conversation_partition(organization, &self.conversation),
            keys::conversation_partition(organization, &by_user),
            external("wamid.parked"),
            external("wamid.out"),
            external("wamid.in"),
        ] {
            everything.push(table.partition(&partition).await);
        }
        assert!(everything[1].len() >= 5 && everything[2].len() >= 2 && !everything[3].is_empty());
        everything
    }
}

#[tokio::test]
async fn another_organization_reads_nothing() {
    let table = Table::open().await;
    let store = table.store();
    let victim = victim(&store).await;
    let other = Account::whatsapp().organization;
    let (conversation, sent) = (&victim.conversation, &victim.sent);
    let partitions = victim.account.only(&store).await.partitions();
    let filter = InboxFilter { channels: Channel::ALL.to_vec(), ..InboxFilter::default() };
    let cursor = store.inbox(&victim.account.organization, &filter, None, 1).await.unwrap();
    assert_eq!(cursor.conversations.len(), 1);

    assert_eq!(store.conversation(&other, conversation).await.unwrap(), None);
    assert_eq!(store.message(&other, conversation, &sent.id).await.unwrap(), None);
    assert_eq!(store.message_of(&other, &partitions, &sent.id).await.unwrap(), None);
    for external_id in ["wamid.in", "wamid.out", "wamid.parked"] {
        assert_eq!(store.message_by_external_id(&other, &victim.account.external_id(external_id)).await.unwrap(), None);
    }
    assert_eq!(store.messages(&other, &partitions, None, 100).await.unwrap(), (vec![], None));
    assert_eq!(store.messages(&other, &partitions, Some(&sent.id), 100).await.unwrap(), (vec![], None));
    let unread = store.unread_messages(&other, &partitions, "0", None, ReadMark::default(), 100).await.unwrap();
    assert!(unread.is_empty());
    assert_eq!(store.used_reply(&other, conversation, KEY, &reply("Hi"), at(6)).await.unwrap(), None);
    for after in [None, Some("9999999999999#"), cursor.next.as_deref()] {
        let page = store.inbox(&other, &filter, after, 100).await.unwrap();
        assert!(page.conversations.is_empty() && page.next.is_none());
    }
    assert_eq!(store.integrations(&other).await.unwrap(), []);
    assert_eq!(store.integration(&other, victim.account.platform).await.unwrap(), None);
}

#[tokio::test]
async fn another_organization_changes_nothing() {
    let table = Table::open().await;
    let store = table.store();
    let victim = victim(&store).await;
    let before = victim.everything(&table).await;
    let other = Account::whatsapp().organization;
    let (conversation, sent) = (&victim.conversation, &victim.sent);
    let external = |id: &str| victim.account.external_id(id);

    let changes = Changes { read_up_to: Some(i64::MAX), unread: true, ..Changes::default() };
    let refused = store.change_conversation(&other, conversation, &changes, 1).await;
    assert!(matches!(refused, Err(Error::ConversationNotFound)), "{refused:?}");
    let finished = store.finish_reply(&other, sent, &accepted(&victim.account, "wamid.stolen"), at(6)).await;
    assert!(finished.is_err(), "{finished:?}");
    let update = Update { status: Status::Read, at: at(9), external_id: Some(external("wamid.x")), error: None };
    store.raise_status(&other, conversation, &sent.id, &update).await.unwrap();
    let (customer, by, target, timestamp) = (anna(), Party::Customer, "wamid.in".to_owned(), Some(at(9)));
    let changes = [
        MessageChange::Status(status("wamid.in", Status::Read, 9)),
        MessageChange::Edit(Edit {
            customer: customer.clone(),
            by,
            external_id: "e".into(),
            target: target.clone(),
            content: Content::text("forged"),
            timestamp,
        }),
        MessageChange::Unsend(Unsend { customer, by, external_id: "u".into(), target, timestamp }),
    ];
    for id in ["wamid.in", "wamid.out", "wamid.parked"] {
        let settled = store.change_message(&other, &external(id), changes.to_vec(), at(9)).await.unwrap();
        assert_eq!(settled, [Settled::Pending; 3]);
    }
    store.raise_watermark(&other, conversation, Status::Read, at(9)).await.unwrap();
    store.change_preview(&other, &Message { text: Some("forged".into()), ..sent.clone() }).await.unwrap();
    let forged = Message { text: Some("forged".into()), ..sent.clone() };
    let thread = Thread {
        identity: victim.account.identity(&anna()),
        channel: victim.account.platform.into(),
        account: victim.account.id.clone(),
        customer: Profile::told(anna(), at(9)),
    };
    let arrival = Arrival { message: forged, preview: "forged".into(), opens_window: true };
    store.receive(&other, &thread, &[arrival], at(9)).await.unwrap();
    store.first_seen(&other, conversation, "wamid.in", 1).await.unwrap();
    let addressed = victim.account.addressed(&store, conversation).await;
    let writing = Writing { conversation, operator: "eve", key: KEY };
    let mine = store.begin_reply(&other, &addressed, writing, &reply("Something else"), delivery(6)).await;
    assert!(matches!(mine, Ok(Begun::New(_))), "a key is its organization's own: {mine:?}");
    let ids = (&anna(), &user("DE.8172"));
    store.change_identity(&other, &thread, ids, at(9), 1).await.unwrap();

    assert_eq!(victim.everything(&table).await, before);
}

#[tokio::test]
async fn deliveries_of_another_organization_change_nothing() {
    let table = Table::open().await;
    let store = table.store();
    let victim = victim(&store).await;
    let before = victim.everything(&table).await;
    // Even with the same account, as after a change of hands.
    let other = Account::whatsapp();
    let customer = || Customer { user_id: Some("DE.8172".into()), ..anna() };
    let (target, timestamp) = ("wamid.in".to_owned(), Some(at(9)));

    let mut named = status("wamid.out", Status::Read, 9);
    named.callback_data = Some(callback_data(&victim.conversation, &victim.sent.id));
    let events = vec![
        inbound(&anna(), "wamid.in", 0),
        echo(&customer(), "wamid.out", 9),
        event(EventKind::Status(named)),
        event(EventKind::Status(status("wamid.parked", Status::Failed, 9))),
        event(EventKind::Watermark(Watermark { customer: anna(), status: Status::Read, up_to: UpTo::Time(at(9)) })),
        event(EventKind::Watermark(Watermark {
            customer: anna(),
            status: Status::Read,
            up_to: UpTo::Message("wamid.out".into()),
        })),
        event(EventKind::Reaction(Reaction {
            customer: anna(),
            by: Party::Customer,
            external_id: "r".into(),
            target: target.clone(),
            emoji: Some("x".into()),
            timestamp,
        })),
        event(EventKind::Edit(Edit {
            customer: anna(),
            by: Party::Customer,
            external_id: "e".into(),
            target: target.clone(),
            content: Content::text("forged"),
            timestamp,
        })),
        event(EventKind::Unsend(Unsend {
            customer: anna(),
            by: Party::Customer,
            external_id: "u".into(),
            target,
            timestamp,
        })),
    ];
    for second in [10, 11] {
        other.receives(&store, second, events.clone()).await;
    }

    assert_eq!(victim.everything(&table).await, before);
    assert_eq!(other.inbox(&store).await.len(), 1);
}
