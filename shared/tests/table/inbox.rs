//! Lists: the inbox over several channels and the messages of a conversation, page by page, each thing exactly once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::select};
use shared::{
    id::MessageId,
    platform::{Channel, Platform},
    store::{Assignee, Changes, Conversation, ConversationStatus, InboxFilter, Message, ReadMark, Store},
};

use crate::{
    converge::check,
    engine::Table,
    given::{Account, both, delivery, echo, inbound, phone, user},
};

const SOCIAL: [Channel; 2] = [Channel::Instagram, Channel::Facebook];

/// An organization with an account on each platform.
struct Company([Account; 3]);

impl Company {
    fn new() -> Self {
        let account = Account::whatsapp();
        Self(Platform::ALL.map(|platform| Account { platform, ..account.clone() }))
    }

    /// All pages: their conversations, and how many they were.
    async fn pages(&self, store: &Store, filter: &InboxFilter, limit: usize) -> (Vec<Conversation>, usize) {
        let (mut conversations, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.inbox(&self.0[0].organization, filter, after.as_deref(), limit).await.unwrap();
            assert!(page.conversations.len() <= limit);
            conversations.extend(page.conversations);
            pages += 1;
            after = page.next;
            if after.is_none() {
                return (conversations, pages);
            }
            assert!(pages < 100, "pages without end");
        }
    }
}

/// A conversation of the inbox.
#[derive(Clone, Debug)]
struct Given {
    platform: usize,
    second: i64,
    is_closed: bool,
    is_read: bool,
    assignee: Option<&'static str>,
    labels: BTreeSet<&'static str>,
}

fn given() -> impl Strategy<Value = Given> {
    let labels = proptest::collection::btree_set(select(vec!["vip", "later"]), 0..=2);
    let assignee = select(vec![None, Some("olga"), Some("omar")]);
    (0..3usize, 0..6i64, any::<bool>(), any::<bool>(), assignee, labels).prop_map(
        |(platform, second, is_closed, is_read, assignee, labels)| Given {
            platform,
            second,
            is_closed,
            is_read,
            assignee,
            labels,
        },
    )
}

fn filter() -> impl Strategy<Value = InboxFilter> {
    let channels = select(vec![vec![Channel::Whatsapp], SOCIAL.to_vec(), Channel::ALL.to_vec()]);
    let status = select(vec![None, None, Some(ConversationStatus::Open), Some(ConversationStatus::Closed)]);
    let assigned_to = select(vec![None, None, Some("olga".to_owned())]);
    let label = select(vec![None, None, Some("vip".to_owned())]);
    (channels, status, any::<bool>(), assigned_to, label).prop_map(|(channels, status, unread, assigned_to, label)| {
        InboxFilter { channels, status, unread, assigned_to, label }
    })
}

impl Given {
    fn matches(&self, filter: &InboxFilter) -> bool {
        let status = if self.is_closed { ConversationStatus::Closed } else { ConversationStatus::Open };
        filter.channels.contains(&Platform::ALL[self.platform].into())
            && filter.status.is_none_or(|wanted| wanted == status)
            && (!filter.unread || !self.is_read)
            && filter.assigned_to.as_deref().is_none_or(|wanted| self.assignee == Some(wanted))
            && filter.label.as_deref().is_none_or(|wanted| self.labels.contains(wanted))
    }

    async fn is_stored(&self, company: &Company, store: &Store, index: usize) {
        let account = &company.0[self.platform];
        let customer = user(&format!("customer {index}"));
        account.receives(store, 1, vec![inbound(&customer, &format!("m{index}"), self.second)]).await;
        let changes = Changes {
            status: self.is_closed.then_some(ConversationStatus::Closed),
            read_up_to: self.is_read.then(|| delivery(2)),
            assigned_to: self.assignee.map(|user| Assignee::User(user.into())),
            labels: Some(self.labels.iter().map(ToString::to_string).collect()),
            ..Changes::default()
        };
        store
            .change_conversation(&account.organization, &account.conversation_id(&customer), &changes, 0)
            .await
            .unwrap();
    }
}

#[test]
fn every_filter_and_page_size_lists_each_conversation_once_newest_first() {
    let case = (vec(given(), 0..10), vec((filter(), 1..6usize), 6));
    check(20, &case, &async |table, (all, queries)| {
        let (company, store) = (Company::new(), table.store());
        for (index, given) in all.iter().enumerate() {
            given.is_stored(&company, &store, index).await;
        }
        for (filter, limit) in queries {
            let (listed, pages) = company.pages(&store, &filter, limit).await;
            let positions: Vec<_> =
                listed.iter().map(|conversation| conversation.last_message_key.epoch_ms()).collect();
            assert!(positions.is_sorted_by(|a, b| a >= b), "{positions:?}");
            let mut names: Vec<_> = listed.into_iter().map(|conversation| conversation.last_message_text).collect();
            let matching = all.iter().enumerate().filter(|(_, given)| given.matches(&filter));
            let mut expected: Vec<_> = matching.map(|(index, _)| format!("m{index}")).collect();
            names.sort();
            expected.sort();
            assert_eq!(names, expected, "{filter:?} by {limit}");
            let is_selective =
                filter.unread || filter.status.is_some() || filter.assigned_to.is_some() || filter.label.is_some();
            assert!(is_selective || pages == expected.len().div_ceil(limit).max(1), "full pages");
        }
    });
}

#[test]
fn pages_stay_right_while_messages_arrive_between_them() {
    // Before each page, messages of these customers, some of them new.
    let arrivals = vec(vec((0..3usize, 0..14u8), 0..4), 0..8);
    let case = (vec((0..3usize, 0..6i64), 1..10), arrivals, 1..4usize);
    check(20, &case, &async |table, (given, arrivals, limit)| {
        let (company, store) = (Company::new(), table.store());
        let customer = |index: usize| user(&format!("customer {index}"));
        for (index, (platform, second)) in given.iter().enumerate() {
            let name = format!("m{index}");
            company.0[*platform].receives(&store, 1, vec![inbound(&customer(index), &name, *second)]).await;
        }
        let filter = InboxFilter { channels: Channel::ALL.to_vec(), ..InboxFilter::default() };
        let (mut listed, mut touched, mut after) = (Vec::new(), BTreeSet::new(), None::<String>);
        for page in 0i64.. {
            for (place, (platform, index)) in
                (0i64..).zip(arrivals.get(usize::try_from(page).unwrap()).into_iter().flatten())
            {
                let account = &company.0[*platform];
                let customer = customer((*index).into());
                touched.insert(account.conversation_id(&customer));
                let (second, name) = (100 + page * 10 + place, format!("new {page}.{place}"));
                account.receives(&store, second, vec![inbound(&customer, &name, second)]).await;
            }
            let organization = &company.0[0].organization;
            let listing = store.inbox(organization, &filter, after.as_deref(), limit).await.unwrap();
            listed.extend(listing.conversations.into_iter().map(|conversation| conversation.id));
            after = listing.next;
            if after.is_none() {
                break;
            }
        }

        let once: BTreeSet<_> = listed.iter().cloned().collect();
        assert_eq!(once.len(), listed.len(), "nothing twice");
        for (index, (platform, _)) in given.iter().enumerate() {
            let id = company.0[*platform].conversation_id(&customer(index));
            assert!(once.contains(&id) || touched.contains(&id), "customer {index} was skipped");
        }
    });
}

#[tokio::test]
async fn a_filter_that_matches_little_finds_it_behind_many_others() {
    let (table, company) = (Table::open().await, Company::new());
    let store = table.store();
    let account = &company.0[0];
    let customer = |index: i64| user(&format!("customer {index}"));
    account
        .receives(&store, 1, (0..230).map(|index| inbound(&customer(index), &format!("m{index}"), index)).collect())
        .await;
    let labels = Changes { labels: Some(BTreeSet::from(["vip".into()])), ..Changes::default() };
    for index in [3, 120] {
        store
            .change_conversation(&account.organization, &account.conversation_id(&customer(index)), &labels, 0)
            .await
            .unwrap();
    }
    let filter = InboxFilter { channels: Channel::ALL.to_vec(), label: Some("vip".into()), ..InboxFilter::default() };

    for limit in [1, 2, 50] {
        let (listed, _) = company.pages(&store, &filter, limit).await;
        let names: Vec<_> = listed.iter().map(|conversation| conversation.last_message_text.as_str()).collect();
        assert_eq!(names, ["m120", "m3"]);
    }
}

/// All pages of a thread, each newest first, with what happens between them.
async fn thread_pages(
    account: &Account,
    store: &Store,
    conversation: &Conversation,
    limit: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<Vec<Message>> {
    let (mut pages, mut before) = (Vec::new(), None::<MessageId>);
    loop {
        let partitions = conversation.partitions();
        let page = store.messages(&account.organization, &partitions, before.as_ref(), limit).await.unwrap();
        assert!(page.0.len() <= limit);
        pages.push(page.0);
        before = page.1;
        if before.is_none() {
            return pages;
        }
        assert!(pages.len() < 100, "pages without end");
        between(pages.len()).await;
    }
}

#[test]
fn every_page_size_lists_each_message_once_newest_first() {
    let case = (vec((0..4i64, any::<bool>(), any::<bool>()), 1..14), 1..6usize, vec((-1..5i64, any::<bool>()), 0..6));
    check(25, &case, &async |table, (given, limit, late)| {
        let (account, store) = (Account::whatsapp(), table.store());
        let customers = [phone("4917111"), user("DE.1")];
        account.receives(&store, 1, vec![echo(&both("4917111", "DE.1"), "first", -10)]).await;
        for (index, (second, by_user, is_echo)) in (0..).zip(&given) {
            let (customer, name) = (&customers[usize::from(*by_user)], format!("m{index}"));
            let event = if *is_echo { echo } else { inbound }(customer, &name, *second);
            account.receives(&store, index + 2, vec![event]).await;
        }
        let conversation = account.only(&store).await;
        let thread: Vec<_> = account.thread(&store, &conversation).await.into_iter().rev().collect();
        let mut same_moment = BTreeMap::new();
        for message in &thread {
            *same_moment.entry(message.id.epoch_ms()).or_insert(0) += 1;
        }

        let pages = thread_pages(&account, &store, &conversation, limit, async |_| {}).await;
        let listed: Vec<_> = pages.concat();
        if same_moment.values().all(|count| *count <= limit) {
            assert_eq!(listed, thread);
        }
        let times = listed.iter().map(|message| message.id.epoch_ms());
        assert!(times.is_sorted_by(|a, b| a >= b));
        for page in &pages {
            assert!(
                page.is_sorted_by_key(|message| { std::cmp::Reverse((message.id.epoch_ms(), message.received_at)) })
            );
        }

        // The same again, while others arrive: in front, behind, and in the same moments.
        let arriving = pages_with_arrivals(&account, &store, &conversation, limit, &late, &customers).await;
        let once: BTreeSet<_> = arriving.iter().map(|message| &message.id).collect();
        assert_eq!(once.len(), arriving.len(), "nothing twice");
        assert!(thread.iter().all(|message| once.contains(&message.id)), "nothing is skipped");
    });
}

async fn pages_with_arrivals(
    account: &Account,
    store: &Store,
    conversation: &Conversation,
    limit: usize,
    late: &[(i64, bool)],
    customers: &[shared::event::Customer; 2],
) -> Vec<Message> {
    let pages = thread_pages(account, store, conversation, limit, async |page| {
        if let Some((second, by_user)) = late.get(page - 1) {
            let event = inbound(&customers[usize::from(*by_user)], &format!("late {page}"), *second);
            account.receives(store, 100 + i64::try_from(page).unwrap(), vec![event]).await;
        }
    });
    pages.await.concat()
}

#[tokio::test]
async fn unread_messages_are_counted_up_to_a_limit() {
    let (table, account) = (Table::open().await, Account::whatsapp());
    let store = table.store();
    let events = (0..120).map(|index| inbound(&phone("4917111"), &format!("m{index}"), index)).collect();
    account.receives(&store, 1, events).await;

    let conversation = account.only(&store).await;
    let from = conversation.unread_from.as_ref().unwrap();
    let count = async |most| {
        let (partitions, mark) = (conversation.partitions(), ReadMark::default());
        let unread = store.unread_messages(&account.organization, &partitions, from, None, mark, most);
        unread.await.unwrap().len()
    };

    assert_eq!((count(99).await, count(1000).await), (99, 120));
}
