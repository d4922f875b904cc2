//! Conversations: one customer on one account.
//!
//! A conversation's id is computed from the id under which the provider shows the customer. Where the provider shows two
//! ids together (a phone number and a business-scoped user id), both lead to one conversation: the second id's key
//! holds an alias, and the conversation lists its partition as a *member*. Messages always stay in the partition of the id that
//! they came with, so a repeated delivery meets its own key whatever was learned in between; a thread is read from all members.
//!
//! A user id stays its customer's for ever; a phone number has one *holder* after another (see [`Partition`]). Who leaves a number,
//! or is told beside it with another user id, parts it: from that time on it leads elsewhere.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};

use super::{
    AuditAction, AuditEntry, Item, Partition, Store, Thread, Written,
    expression::{Expression, n, s},
    keys::{self, Key},
    message::{Message, MessageType, ReadMark, number},
    partition::{HOLDERS, TAKEN_AT, next_taken, part_at},
    read,
};
use crate::{
    error::{Error, Result},
    event::{Customer, Profile},
    id::{AccountId, ConversationId, MessageId, OrganizationId, time_digits},
    identity::Identity,
    message::{Sender, Status},
    platform::Channel,
};

/// Whether somebody still has to care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConversationStatus {
    /// It needs care.
    Open,
    /// It is done; a new inbound message opens it again.
    Closed,
}

impl ConversationStatus {
    /// Its name in the table and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A conversation, as it is stored. Small, so that an inbound text costs it one write unit and the inbox two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Where it happens.
    pub channel: Channel,
    /// The account that it is on.
    pub account_id: AccountId,
    /// Whether somebody still has to care.
    pub status: ConversationStatus,
    /// The customer's name.
    pub customer_name: Option<String>,
    /// The customer's phone number as the provider spells it: what a reply is addressed to.
    pub customer_phone: Option<String>,
    /// The customer's user id at the platform.
    pub customer_user_id: Option<String>,
    /// The customer's username.
    pub customer_username: Option<String>,
    /// The highest id of its messages: the time of the newest one, and what a repetition is recognized by.
    pub last_message_key: MessageId,
    /// The message that the inbox shows; absent in what was stored before it was kept.
    #[serde(default)]
    pub last_message_id: Option<MessageId>,
    /// The preview of the newest message; of one second, of the one that arrived last.
    pub last_message_text: String,
    /// Who wrote it.
    pub last_message_sender: Sender,
    /// When the customer last did what opens the window, epoch milliseconds: the newest message, mostly.
    pub last_inbound_at: Option<i64>,
    /// When the customer's last message came to us, epoch microseconds; never earlier, but it may be the arrival of a
    /// delivery that brought known messages once more.
    pub last_received_at: Option<i64>,
    /// Where counting what is unread begins: no unread message has a lower id. Absent when all is read.
    pub unread_from: Option<String>,
    /// What came until then was read by an operator, epoch microseconds.
    pub read_at: Option<i64>,
    /// What stands in the thread up to there was read, too.
    #[serde(default)]
    pub read_through: Option<ReadThrough>,
    /// Everything sent until then was delivered, epoch milliseconds.
    pub delivered_up_to: Option<i64>,
    /// Everything sent until then was read by the customer, epoch milliseconds.
    pub read_up_to: Option<i64>,
    /// The operator who cares for it.
    pub assigned_to: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// Other ids of the same customer whose partitions hold messages of this thread.
    #[serde(default)]
    pub members: BTreeSet<Partition>,
    /// Who held the number whose id this is, after its first holder: only parts of its partition are of this thread.
    #[serde(default)]
    pub holders: BTreeSet<String>,
    /// When it began for us, epoch milliseconds.
    pub created_at: i64,
    /// When it last changed, epoch milliseconds.
    pub updated_at: i64,
}

/// A point in the thread, as it is shown, up to which everything was read that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadThrough {
    /// The time of the message that was read last, epoch milliseconds.
    pub at: i64,
    /// Its arrival, epoch microseconds: of one millisecond, the thread shows the messages in the order in which they came.
    pub received_at: i64,
    /// The latest arrival of what was there, epoch microseconds: what came later, and stands above, was not read.
    pub until: i64,
}

impl ReadThrough {
    fn position(&self) -> (i64, i64) {
        (self.at, self.received_at)
    }
}

impl Conversation {
    /// What of it was read.
    #[must_use]
    pub fn read_mark(&self) -> ReadMark {
        ReadMark { read_at: self.read_at.unwrap_or(0), through: self.read_through }
    }

    /// The partitions that its messages are in.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let own = self.holders.is_empty().then(|| Partition::whole(self.id.clone()));
        own.into_iter().chain(self.members.iter().cloned()).collect()
    }

    /// The partition of what the business writes in it, when a request calls it `name`.
    #[must_use]
    pub fn outbound_partition(&self, name: &ConversationId) -> ConversationId {
        let all = Partition::whole(name.clone());
        if (*name == self.id && self.holders.is_empty()) || self.members.contains(&all) {
            name.clone()
        } else if self.holders.is_empty() {
            self.id.clone()
        } else {
            written_in(&self.id)
        }
    }
}

/// The newest message of a conversation, as the inbox shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct LastMessage {
    /// The highest id of its millisecond: what a repetition is compared with.
    pub id: MessageId,
    /// Its own id.
    pub shown: MessageId,
    /// Its preview.
    pub text: String,
    /// Who wrote it.
    pub sender: Sender,
    /// When it came to us, epoch microseconds.
    pub received_at: i64,
}

/// What the messages of one delivery change on their conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// Computed from the customer's first id; its partition holds the messages.
    pub conversation: ConversationId,
    /// Computed from the customer's other ids, where the delivery shows several.
    pub also: BTreeSet<ConversationId>,
    /// Where it happens.
    pub channel: Channel,
    /// The account.
    pub account: AccountId,
    /// What is told of the customer.
    pub customer: Profile,
    /// The newest message.
    pub last: LastMessage,
    /// The customer's newest message that opens the window, epoch milliseconds.
    pub last_inbound_at: Option<i64>,
    /// The arrival of the customer's newest message, epoch microseconds; the one of its first delivery where that is known.
    pub last_received_at: Option<i64>,
    /// The id of that message.
    pub last_received: Option<MessageId>,
    /// The lowest id of the customer's messages.
    pub first_inbound: Option<MessageId>,
    /// It is about the conversation itself, and not about whoever has that id.
    pub is_addressed: bool,
}

/// What came of [`Store::record_activity`].
#[derive(Debug)]
pub enum Recorded {
    /// It was taken for news; the item as it was before.
    Done(Item),
    /// Something was not news: the item as it is, when there is one.
    Behind(Option<Item>),
}

/// Where what comes with an id at a time belongs.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// The part of the id's partition.
    part: Partition,
    /// The conversation.
    pub(super) root: ConversationId,
    item: Option<Item>,
}

impl Home {
    /// Whether the conversation lists the part.
    fn is_listed(&self) -> bool {
        parts_of(self.item.as_ref(), &self.root).contains(&self.part)
    }

    /// Whether the same holds for another time of that partition.
    pub(super) fn covers(&self, at: i64) -> bool {
        self.part.contains(at)
    }

    /// Demands that the part is still the conversation's.
    fn guard(&self, expression: Expression) -> Expression {
        if self.part == Partition::whole(self.root.clone()) {
            expression.if_absent(HOLDERS)
        } else {
            expression.if_contains(MEMBERS, s(self.part.to_string()))
        }
    }
}

/// Who cares for a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignee {
    /// Nobody in particular.
    Nobody,
    /// This operator.
    User(String),
}

/// What an operator changes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The user who changes it, for the audit trail.
    pub by: Option<String>,
    /// Open or closed.
    pub status: Option<ConversationStatus>,
    /// Everything that came until then (epoch microseconds) is read.
    pub read_up_to: Option<i64>,
    /// This message is read, and whatever the thread shows above it.
    pub read_through: Option<MessageId>,
    /// The newest message is unread again, where nothing else is.
    pub unread: bool,
    /// Who cares.
    pub assigned_to: Option<Assignee>,
    /// Only where this is who cares until then.
    pub if_assigned_to: Option<Assignee>,
    /// Exactly these labels.
    pub labels: Option<BTreeSet<String>>,
    /// These labels beside the others.
    pub add_labels: BTreeSet<String>,
    /// The others without these labels.
    pub remove_labels: BTreeSet<String>,
}

impl Assignee {
    fn of(user: Option<&String>) -> Self {
        user.cloned().map_or(Self::Nobody, Self::User)
    }
}

/// How many labels a conversation has at most.
pub const LABELS_MAX: usize = 20;

/// How many aliases are followed: a chain grows by one with each merge of merged customers.
const MAX_HOPS: usize = 8;
/// How often a write that lost a race is tried again.
const MAX_RACES: usize = 8;
/// Longer than a delivery is under way at the table.
const DELIVERY_MS: i64 = 60_000;
/// How many followed aliases a process remembers.
const ALIASES_MAX: usize = 10_000;
/// What is told of a customer, and when that was told.
const PROFILE: [[&str; 2]; 4] = [
    ["customerName", "customerNameAt"],
    ["customerPhone", "customerPhoneAt"],
    ["customerUserId", "customerUserIdAt"],
    ["customerUsername", "customerUsernameAt"],
];
/// The longest name and username of a customer, in bytes.
const NAME_MAX_BYTES: usize = 120;
const ALIAS_OF: &str = "aliasOf";
const MEMBERS: &str = "members";
/// What the inbox shows of the newest message.
const SHOWN: [&str; 4] = ["lastMessageId", "lastMessageText", "lastMessageSender", "lastArrivedAt"];

fn set_of(members: impl IntoIterator<Item = impl ToString>) -> AttributeValue {
    AttributeValue::Ss(members.into_iter().map(|member| member.to_string()).collect())
}

/// Where the business writes to a customer who had the number first whose id this is.
fn written_in(id: &ConversationId) -> ConversationId {
    id.beside("written")
}

fn alias_of(item: &Item) -> Option<ConversationId> {
    item.get(ALIAS_OF)?.as_s().ok()?.parse().ok()
}

impl Store {
    /// A conversation, also by an id that has become an alias. Absent when there is none, or only the beginning of one.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn conversation(
        &self,
        organization: &OrganizationId,
        id: &ConversationId,
    ) -> Result<Option<Conversation>> {
        let (_, item) = self.resolve(organization, id).await?;
        item.filter(|item| item.contains_key("lastMessageKey")).map(read).transpose()
    }

    /// Whose a message of an id's partition is that was written then, and the part of the partition that is theirs.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn conversation_at(
        &self,
        organization: &OrganizationId,
        id: &ConversationId,
        at: i64,
    ) -> Result<(Partition, Option<Conversation>)> {
        let Home { part, item, .. } = self.route(organization, id, at).await?;
        let item = item.filter(|item| item.contains_key("lastMessageKey"));
        Ok((part, item.map(read).transpose()?))
    }

    /// Where an id leads: the last id of its chain of aliases, and the item there.
    async fn resolve(
        &self,
        organization: &OrganizationId,
        id: &ConversationId,
    ) -> Result<(ConversationId, Option<Item>)> {
        let mut id = id.clone();
        for _ in 0..MAX_HOPS {
            let item = self.get_item(&keys::conversation(organization, &id)).await?;
            match item.as_ref().and_then(alias_of) {
                Some(next) => id = next,
                None => return Ok((id, item)),
            }
        }
        Err(Error::internal("aliases of conversations form a circle"))
    }

    /// Where an id leads at a time.
    pub(super) async fn route(&self, organization: &OrganizationId, id: &ConversationId, at: i64) -> Result<Home> {
        let own = self.get_item(&keys::conversation(organization, id)).await?;
        let (part, holder) = part_at(own.as_ref(), id, at);
        let next = if holder == *id { own.as_ref().and_then(alias_of) } else { Some(holder) };
        let (root, item) = match next {
            Some(next) => self.resolve(organization, &next).await?,
            None => (id.clone(), own),
        };
        Ok(Home { part, root, item })
    }

    /// Whether two ids lead to one conversation at a time.
    pub(super) async fn is_same_conversation(
        &self,
        organization: &OrganizationId,
        one: &ConversationId,
        other: &ConversationId,
        at: i64,
    ) -> Result<bool> {
        let homes = (self.route(organization, one, at), self.route(organization, other, at));
        let (one, other) = futures_util::future::try_join(homes.0, homes.1).await?;
        Ok(one.root == other.root)
    }

    fn remembered(&self, id: &ConversationId) -> Option<ConversationId> {
        self.aliases.lock().ok()?.get(id).cloned()
    }

    fn forget_alias(&self, alias: &ConversationId) {
        if let Ok(mut aliases) = self.aliases.lock() {
            aliases.remove(alias);
        }
    }

    fn remember(&self, alias: &ConversationId, target: &ConversationId) {
        if alias == target {
            return;
        }
        if let Ok(mut aliases) = self.aliases.lock() {
            if aliases.len() >= ALIASES_MAX {
                aliases.clear();
            }
            aliases.insert(alias.clone(), target.clone());
        }
    }

    /// Tells a conversation of its messages, beside the puts of the messages themselves: creates it for a first contact, moves it
    /// up the inbox, reopens it for an inbound message. One write, which is refused where something is not news; then
    /// [`Self::settle_activity`] has to follow, once the puts have told what had come before.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn record_activity(
        &self,
        organization: &OrganizationId,
        activity: &Activity,
        now_ms: i64,
    ) -> Result<Recorded> {
        let (key, news) = self.news(organization, activity, now_ms);
        Ok(match self.update_returning(&key, news, ReturnValue::AllOld).await? {
            Written::Done(before) => Recorded::Done(before),
            Written::Refused(item) => Recorded::Behind(item),
        })
    }

    /// The write that tells a conversation of its messages, and is refused where something is not news.
    pub(super) fn news(&self, organization: &OrganizationId, activity: &Activity, now_ms: i64) -> (Key, Expression) {
        let (target, ids) = self.target_of(activity);
        let news = with_activity(activity, organization, &target, now_ms).if_absent(ALIAS_OF);
        let news = if activity.is_by(&target) { news.if_absent(HOLDERS) } else { news };
        // The customer's message that came last must be above all that is known: a known one would count as one that just came.
        let newest = activity.last_received.as_ref().unwrap_or(&activity.last.id);
        let news = news.if_absent_or("lastMessageKey", "<", s(newest.as_str()));
        let news = match activity.last_received_at {
            Some(received_at) => news.if_absent_or("lastReceivedAt", "<", n(received_at)),
            None => news,
        };
        let newest_ms = newest.epoch_ms();
        let earlier = told_of(&activity.customer).into_iter().flatten().filter(|told| told.at < newest_ms);
        let news = earlier.fold(news, |news, told| news.if_absent_or(told.attribute_at, "<=", n(told.at)));
        // What comes late, together with something newer, must not move the window back, nor be left out of what is unread.
        let news = match activity.last_inbound_at {
            Some(inbound) => news.if_absent_or("lastInboundAt", "<=", n(inbound)),
            None => news,
        };
        let news = match &activity.first_inbound {
            Some(first) => news.if_absent_or("unreadFrom", "<=", s(first.as_str())),
            None => news,
        };
        let news = ids.iter().fold(news, |news, id| news.if_contains(MEMBERS, s(id.as_str())));
        (keys::conversation(organization, &target), news)
    }

    /// Brings a conversation up to date with messages of which some are late, known, or of a customer with new ids. `told` is
    /// what [`Self::record_activity`] was told and `recorded` what came of it; `activity` now has the first arrival of messages
    /// that had come before. Asks nothing where all was news. `false` where whose messages they are has to be found first.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn settle_activity(
        &self,
        organization: &OrganizationId,
        told: &Activity,
        recorded: Recorded,
        activity: &Activity,
        now_ms: i64,
    ) -> Result<bool> {
        let (target, ids) = self.target_of(activity);
        let item = match recorded {
            Recorded::Done(before) => {
                let Some(amendment) = amendment(&before, told, activity) else { return Ok(true) };
                let key = keys::conversation(organization, &target);
                match self.update(&key, amendment).await? {
                    Written::Refused(Some(item)) if alias_of(&item).is_some() => Some(item),
                    _ => return Ok(true),
                }
            }
            Recorded::Behind(item) => item,
        };
        match item {
            Some(item) if activity.is_all_of(&item, &target, &ids) => {
                let part = Partition::whole(activity.conversation.clone());
                self.reconcile(organization, Home { part, root: target, item: Some(item) }, activity, now_ms).await
            }
            _ if activity.is_addressed => {
                let (root, item) = self.resolve(organization, &target).await?;
                let part = Partition::whole(root.clone());
                self.reconcile(organization, Home { part, root, item }, activity, now_ms).await
            }
            _ => Ok(false),
        }
    }

    /// Whether [`Self::settle_activity`] has something to write, as far as that is known without asking.
    pub(super) fn is_settled(
        &self,
        organization: &OrganizationId,
        told: &Activity,
        recorded: &Recorded,
        activity: &Activity,
    ) -> bool {
        let (target, ids) = self.target_of(activity);
        match recorded {
            Recorded::Done(before) => amendment(before, told, activity).is_none(),
            Recorded::Behind(Some(item)) if activity.is_all_of(item, &target, &ids) => {
                difference(item, activity, organization, &target, 0).is_none()
            }
            Recorded::Behind(_) => false,
        }
    }

    /// Takes back that a conversation was told of messages that are not there under these ids: they were known under others. What
    /// it shows then is read from its messages; what else changed is as it was before, where that is known.
    ///
    /// # Errors
    /// When the table does not answer.
    pub(super) async fn withdraw_activity(
        &self,
        organization: &OrganizationId,
        told: &Activity,
        recorded: &Recorded,
        untrue: &[&MessageId],
    ) -> Result<()> {
        let (target, item) = self.resolve(organization, &self.target_of(told).0).await?;
        let Some(item) = item else { return Ok(()) };
        let Some(shown) = text(&item, "lastMessageKey") else { return Ok(()) };
        let was_told = matches!(recorded, Recorded::Done(_)) && shown == told.last.id.as_str();
        if !was_told && !untrue.iter().any(|id| shown == id.as_str()) {
            return Ok(());
        }
        let last = self.last_message(organization, &parts_of(Some(&item), &target)).await?;
        let mut expression = Expression::default()
            .if_absent(ALIAS_OF)
            .if_still("lastMessageKey", item.get("lastMessageKey").cloned())
            .if_still("lastArrivedAt", item.get("lastArrivedAt").cloned());
        expression = with_newest(expression, last.as_ref(), told.channel, organization, &target);
        if let Recorded::Done(before) = recorded {
            let moved = ["status", "unreadFrom", "lastReceivedAt", "lastInboundAt"];
            let moved = moved.into_iter().chain(PROFILE.as_flattened().iter().copied());
            expression = moved.fold(expression, |expression, attribute| match before.get(attribute) {
                Some(value) => expression.set(attribute, value.clone()),
                None => expression.remove(attribute),
            });
        }
        // Where something newer came meanwhile, that stands there.
        self.update(&keys::conversation(organization, &target), expression).await.map(drop)
    }

    /// Where an activity belongs as far as this process knows, and the other ids that have to lead there.
    fn target_of(&self, activity: &Activity) -> (ConversationId, BTreeSet<ConversationId>) {
        let mut ids = activity.also.clone();
        let mut target = activity.conversation.clone();
        while let Some(next) = self.remembered(&target) {
            ids.insert(target);
            target = next;
        }
        ids.remove(&target);
        (target, ids)
    }

    /// The newest message of a thread.
    async fn last_message(
        &self,
        organization: &OrganizationId,
        parts: &BTreeSet<Partition>,
    ) -> Result<Option<LastMessage>> {
        let parts: Vec<_> = parts.iter().cloned().collect();
        let newest = self.newest(organization, &parts, |message| message.message_type == MessageType::Message).await?;
        Ok(newest.map(|(newest, highest)| LastMessage {
            id: highest,
            text: newest.preview(),
            sender: newest.sender,
            received_at: newest.received_at,
            shown: newest.id,
        }))
    }

    /// Brings a conversation up to date with messages of which some may be late or known: compares, and writes what differs.
    /// `false` where they have become another's.
    pub(super) async fn reconcile(
        &self,
        organization: &OrganizationId,
        mut home: Home,
        activity: &Activity,
        now_ms: i64,
    ) -> Result<bool> {
        const WATCHED: [&str; 5] = ["lastMessageKey", "lastArrivedAt", "lastReceivedAt", "lastInboundAt", "unreadFrom"];
        let told = told_of(&activity.customer).into_iter().flatten().map(|told| told.attribute_at);
        let watched: Vec<_> = WATCHED.into_iter().chain(told).collect();
        for _ in 0..MAX_RACES {
            if !activity.is_addressed && !home.is_listed() {
                return Ok(false);
            }
            let item = home.item.take().unwrap_or_default();
            let target = &home.root;
            let Some(expression) = difference(&item, activity, organization, target, now_ms) else { return Ok(true) };
            let expression = still(expression, &watched, &item).if_absent(ALIAS_OF);
            let expression = if activity.is_addressed { expression } else { home.guard(expression) };
            if let Written::Done(_) = self.update(&keys::conversation(organization, target), expression).await? {
                return Ok(true);
            }
            (home.root, home.item) = self.resolve(organization, &home.root).await?;
        }
        Err(Error::Unavailable("a conversation changed faster than it could be written".into()))
    }

    /// Whose conversation it is that ids lead to at a time. Ids that are shown together for the first time become one customer's;
    /// where the number is known with another user id, it has changed hands.
    pub(super) async fn resolve_identity(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        at: i64,
        now_ms: i64,
    ) -> Result<Home> {
        let Identity { conversation, user } = &thread.identity;
        for _ in 0..MAX_RACES {
            let home = self.route(organization, conversation, at).await?;
            let Some(user) = user else {
                if home.is_listed() {
                    return Ok(home);
                }
                self.list(organization, &home).await?;
                continue;
            };
            let of_user = self.route(organization, user, at).await?;
            if home.root == of_user.root {
                if home.is_listed() && of_user.is_listed() {
                    if home.part == Partition::whole(conversation.clone()) {
                        self.remember(conversation, &home.root);
                        self.remember(user, &home.root);
                    }
                    return Ok(of_user);
                }
                self.list(organization, &home).await?;
                self.list(organization, &of_user).await?;
                continue;
            }
            let shown = thread.customer.user_id.as_ref().map(|(user_id, _)| user_id.as_str());
            let known = home.item.as_ref().and_then(|item| text(item, "customerUserId"));
            if known.is_some() && known != shown {
                // In the millisecond in which somebody else was shown with it, it is that one's.
                if self.part_number(organization, thread, conversation, at, &of_user.root, now_ms).await? {
                    return Ok(of_user);
                }
                continue;
            }
            if !home.is_listed() {
                self.list(organization, &home).await?;
                continue;
            }
            // Of two user ids that are shown with a number at the same moment, one is the first.
            let claim = Expression::default()
                .set_some("customerUserId", shown.map(s))
                .if_still("customerUserId", known.map(s))
                .if_absent(ALIAS_OF);
            let key = keys::conversation(organization, &home.root);
            if let Written::Done(_) = self.update(&key, home.guard(claim)).await? {
                self.link_or_merge(organization, &home.root, user, now_ms).await?;
            }
        }
        Err(Error::Unavailable("a customer's ids changed faster than they could be followed".into()))
    }

    /// Completes what ended half-way: an id leads to a conversation that does not list it.
    async fn list(&self, organization: &OrganizationId, home: &Home) -> Result<()> {
        if home.is_listed() {
            return Ok(());
        }
        let add = Expression::default().add(MEMBERS, set_of([&home.part])).if_absent(ALIAS_OF);
        self.update(&keys::conversation(organization, &home.root), add).await.map(drop)
    }

    /// Makes an id lead to a conversation, and returns to which both lead then.
    async fn link_or_merge(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &ConversationId,
        now_ms: i64,
    ) -> Result<ConversationId> {
        let root = self.unite(organization, conversation, id, now_ms).await?;
        for id in [conversation, id] {
            if *id == root {
                continue;
            }
            let item = self.get_item(&keys::conversation(organization, id)).await?;
            // Of a number that was parted, the conversation that had the parts has handed them over.
            if item.is_none_or(|item| !item.contains_key(HOLDERS)) {
                let add = Expression::default().add(MEMBERS, set_of([id])).if_absent(ALIAS_OF);
                if let Written::Refused(_) = self.update(&keys::conversation(organization, &root), add).await? {
                    return Err(Error::Unavailable("a conversation was merged at the same moment".into()));
                }
                self.remember(id, &root);
            }
        }
        Ok(root)
    }

    /// What a customer changes at a time: a user id becomes another one for ever; a phone number is left, and leads nowhere from
    /// then on, and the new one is taken.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change_identity(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        (old_ids, new_ids): (&Customer, &Customer),
        at: i64,
        now_ms: i64,
    ) -> Result<()> {
        let id = |phone: Option<&String>, user_id: Option<&String>| {
            let ids = Customer { phone: phone.cloned(), user_id: user_id.cloned(), ..Customer::default() };
            Identity::of(organization, thread.channel, &thread.account, &ids).map(|identity| identity.conversation)
        };
        let mut root = self.resolve_identity(organization, thread, at, now_ms).await?.root;
        if let Some(user) = id(None, new_ids.user_id.as_ref()) {
            root = self.link_or_merge(organization, &root, &user, now_ms).await?;
        }
        let old = id(old_ids.phone.as_ref(), None);
        let Some(new) = id(new_ids.phone.as_ref(), None).filter(|new| Some(new) != old.as_ref()) else {
            return Ok(());
        };
        // First: what its next holder is reached by is not this customer's.
        if let Some(old) = old {
            self.leave_number(organization, thread, &old, at + 1, &root, now_ms).await?;
        }
        self.take_number(organization, thread, &new, at, &root, now_ms).await
    }

    /// Parts a number from the customer who has it.
    async fn leave_number(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        phone: &ConversationId,
        at: i64,
        root: &ConversationId,
        now_ms: i64,
    ) -> Result<()> {
        let next = phone.beside(&time_digits(at));
        for _ in 0..MAX_RACES {
            let home = self.route(organization, phone, at).await?;
            let (root, _) = self.resolve(organization, root).await?;
            if home.root != root || self.part_number(organization, thread, phone, at, &next, now_ms).await? {
                return Ok(());
            }
        }
        Err(Error::Unavailable("a number changed hands faster than it could be followed".into()))
    }

    /// Gives a customer a number: from a time on where somebody had it before, else all of it.
    async fn take_number(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        phone: &ConversationId,
        at: i64,
        root: &ConversationId,
        now_ms: i64,
    ) -> Result<()> {
        // Whoever is told later to have left it before that does not take it along.
        let taken = Expression::default().add(TAKEN_AT, set_of([time_digits(at)]));
        self.update(&keys::conversation(organization, phone), taken).await?;
        for _ in 0..MAX_RACES {
            let home = self.route(organization, phone, at).await?;
            let (root, _) = self.resolve(organization, root).await?;
            if home.root == root {
                return Ok(());
            }
            if self.had_holder(organization, &home, at).await? {
                if self.part_number(organization, thread, phone, at, &root, now_ms).await? {
                    return Ok(());
                }
            } else {
                let id = if home.part == Partition::whole(phone.clone()) { phone } else { &home.root };
                self.link_or_merge(organization, &root, id, now_ms).await?;
            }
        }
        Err(Error::Unavailable("a number changed hands faster than it could be followed".into()))
    }

    /// Whether somebody had a number before a time.
    async fn had_holder(&self, organization: &OrganizationId, home: &Home, at: i64) -> Result<bool> {
        let Some(item) = &home.item else { return Ok(false) };
        if told_at(item, "customerUserId", "customerUserIdAt").is_some_and(|told| told < at) {
            return Ok(true);
        }
        let before = Partition { until: Some(at), ..home.part.clone() };
        let (messages, _) = self.messages(organization, &[before], None, 1).await?;
        Ok(!messages.is_empty())
    }

    /// Gives a number to somebody else from a time on, until its next holder's: what was written then moves to their conversation.
    /// `false` where something changed meanwhile.
    async fn part_number(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        phone: &ConversationId,
        at: i64,
        to: &ConversationId,
        now_ms: i64,
    ) -> Result<bool> {
        const WATCHED: [&str; 12] = [
            ALIAS_OF,
            MEMBERS,
            "lastMessageKey",
            "lastArrivedAt",
            "lastReceivedAt",
            "lastInboundAt",
            "unreadFrom",
            "readAt",
            "updatedAt",
            "customerPhone",
            "customerPhoneAt",
            "customerUserId",
        ];
        let own = self.get_item(&keys::conversation(organization, phone)).await?;
        let (before, holder) = part_at(own.as_ref(), phone, at);
        if before.from == Some(at) {
            return Ok(true);
        }
        let (from, from_item) = self.resolve(organization, &holder).await?;
        let (to_root, to_item) = self.resolve(organization, to).await?;
        if from == to_root {
            return Ok(true);
        }
        let (from_item, to_item) = (from_item.unwrap_or_default(), to_item.unwrap_or_default());
        let until = [before.until, next_taken(own.as_ref(), at)].into_iter().flatten().min();
        let part = Partition { from: Some(at), until, ..before.clone() };
        let rest = (until != before.until).then(|| Partition { from: until, ..before.clone() });
        let mut holders = vec![format!("{}={to}", time_digits(at))];
        holders.extend(until.filter(|_| rest.is_some()).map(|until| format!("{}={from}", time_digits(until))));

        let mut left = parts_of(Some(&from_item), &from);
        left.remove(&before);
        left.extend(rest.clone().into_iter().chain([Partition { until: Some(at), ..before }]));
        if from == *phone {
            left.insert(Partition::whole(written_in(phone)));
        }
        let mut gained = parts_of(Some(&to_item), &to_root);
        gained.insert(part.clone());
        let mut leaving = Expression::default();
        let mut moved = Profile::default();
        if rest.is_none() && is_number(organization, thread, &from_item, phone) {
            let told = number(&from_item, "customerPhoneAt").filter(|told| *told >= at);
            moved.phone = told.and_then(|told| Some((text(&from_item, "customerPhone")?.to_owned(), told)));
            // Nothing late makes it theirs again.
            leaving = leaving.remove("customerPhone").set("customerPhoneAt", n(at - 2));
        }
        let is_behind = text(&from_item, "lastMessageKey").is_some_and(|key| key >= time_digits(at).as_str());
        let mut taking = None;
        if is_behind && let Some(activity) = self.moved(organization, thread, &part, &from_item, moved).await? {
            leaving = self.without_moved(organization, leaving, thread.channel, &from, &from_item, &left).await?;
            taking = difference(&to_item, &activity, organization, &to_root, now_ms);
        }
        let mut taking = taking.unwrap_or_default();
        if !to_item.contains_key("lastMessageKey") {
            taking = taking.set_some("readAt", from_item.get("readAt").cloned());
        }
        // All of one's own partition is not listed.
        left.remove(&Partition::whole(from.clone()));
        gained.remove(&Partition::whole(to_root.clone()));
        leaving = still(leaving.set(MEMBERS, set_of(&left)), &WATCHED, &from_item);
        taking = still(taking.set(MEMBERS, set_of(&gained)), &WATCHED, &to_item);
        let held = |expression: Expression| {
            still(
                expression.add(HOLDERS, set_of(&holders)),
                &[ALIAS_OF, HOLDERS, TAKEN_AT],
                own.as_ref().unwrap_or(&Item::default()),
            )
        };
        let mut writes = Vec::new();
        if from == *phone {
            leaving = held(leaving);
            let alias = Expression::default().set(ALIAS_OF, s(phone.as_str()));
            writes.push(self.transact_update(&keys::conversation(organization, &written_in(phone)), &alias)?);
        } else if to_root == *phone {
            taking = held(taking);
        } else {
            let key = keys::conversation(organization, phone);
            writes.push(self.transact_update(&key, &held(Expression::default()))?);
        }
        writes.push(self.transact_update(&keys::conversation(organization, &from), &leaving)?);
        writes.push(self.transact_update(&keys::conversation(organization, &to_root), &taking)?);
        match self.transact(writes, |_| Error::Conflict).await {
            Ok(()) => {
                self.forget_alias(phone);
                Ok(true)
            }
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the messages of a part are to the conversation that they move to.
    async fn moved(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        part: &Partition,
        from_item: &Item,
        customer: Profile,
    ) -> Result<Option<Activity>> {
        let parts = std::slice::from_ref(part);
        let Some(last) = self.last_message(organization, &BTreeSet::from([part.clone()])).await? else {
            return Ok(None);
        };
        let from: Conversation = read(from_item.clone())?;
        let unread = match &from.unread_from {
            Some(first) => self.unread_messages(organization, parts, first, None, from.read_mark(), usize::MAX).await?,
            None => Vec::new(),
        };
        let newest = self.newest(organization, parts, Message::is_from_customer).await?;
        let last_unread = unread.iter().max_by_key(|message| message.received_at);
        Ok(Some(Activity {
            conversation: part.id.clone(),
            also: BTreeSet::new(),
            channel: thread.channel,
            account: thread.account.clone(),
            customer,
            last,
            last_inbound_at: newest.map(|(newest, _)| newest.id.epoch_ms()),
            last_received_at: last_unread.map(|message| message.received_at),
            last_received: last_unread.map(|message| message.id.clone()),
            first_inbound: unread.iter().map(|message| message.id.clone()).min(),
            is_addressed: false,
        }))
    }

    /// What is left on a conversation once a part of its messages is another's.
    async fn without_moved(
        &self,
        organization: &OrganizationId,
        expression: Expression,
        channel: Channel,
        from: &ConversationId,
        item: &Item,
        left: &BTreeSet<Partition>,
    ) -> Result<Expression> {
        let last = self.last_message(organization, left).await?;
        let mut expression = with_newest(expression, last.as_ref(), channel, organization, from);
        let parts: Vec<_> = left.iter().cloned().collect();
        let newest = self.newest(organization, &parts, Message::is_from_customer).await?;
        let newest = newest.map(|(newest, _)| newest.id.epoch_ms());
        if number(item, "lastInboundAt") > newest {
            expression = expression.set_or_remove("lastInboundAt", newest.map(n));
        }
        let conversation: Conversation = read(item.clone())?;
        if let Some(first) = &conversation.unread_from {
            let mark = conversation.read_mark();
            if self.unread_messages(organization, &parts, first, None, mark, 1).await?.is_empty() {
                expression = expression.remove("unreadFrom");
            }
        }
        Ok(expression)
    }

    /// Makes `id` lead to `root`, or both to the older of the two where both are conversations already.
    async fn unite(
        &self,
        organization: &OrganizationId,
        root: &ConversationId,
        id: &ConversationId,
        now_ms: i64,
    ) -> Result<ConversationId> {
        for _ in 0..MAX_RACES {
            let (a, a_item) = self.resolve(organization, root).await?;
            let (b, b_item) = self.resolve(organization, id).await?;
            if a == b {
                return Ok(a);
            }
            let (winner, loser, loser_item, winner_item) = match (a_item, b_item) {
                (a_item, None) => (a, b, None, a_item),
                (None, b_item) => (b, a, None, b_item),
                (Some(a_item), Some(b_item)) => {
                    let age = |item: &Item| number(item, "createdAt").unwrap_or(i64::MAX);
                    if (age(&a_item), &a) <= (age(&b_item), &b) {
                        (a, b, Some(b_item), Some(a_item))
                    } else {
                        (b, a, Some(a_item), Some(b_item))
                    }
                }
            };
            let alias = Expression::default().set(ALIAS_OF, s(winner.as_str()));
            let united = match loser_item {
                None => matches!(
                    self.update(&keys::conversation(organization, &loser), alias.if_item_absent()).await?,
                    Written::Done(_)
                ),
                Some(loser_item) => {
                    let winner_item = winner_item.unwrap_or_default();
                    self.merge(organization, (&winner, &winner_item), (&loser, &loser_item), now_ms).await?
                }
            };
            if united {
                return Ok(winner);
            }
        }
        Err(Error::Unavailable("two conversations of one customer changed faster than they could be merged".into()))
    }

    /// Turns the younger of two conversations into an alias of the older. `false` when one of them changed meanwhile.
    async fn merge(
        &self,
        organization: &OrganizationId,
        (winner, winner_item): (&ConversationId, &Item),
        (loser, loser_item): (&ConversationId, &Item),
        now_ms: i64,
    ) -> Result<bool> {
        const WATCHED: [&str; 8] = [
            ALIAS_OF,
            "lastMessageKey",
            "lastReceivedAt",
            "lastInboundAt",
            "unreadFrom",
            "updatedAt",
            MEMBERS,
            HOLDERS,
        ];
        let alias =
            Expression::default().set(ALIAS_OF, s(winner.as_str())).remove(keys::INBOX_KEY).remove(keys::INBOX_SORT);
        let mut members = parts_of(Some(loser_item), loser);
        members.remove(&Partition::whole(winner.clone()));
        let mut union = Expression::default().set("updatedAt", n(now_ms));
        if !members.is_empty() {
            union = union.add(MEMBERS, set_of(&members));
        }
        let newer = text(loser_item, "lastMessageKey").filter(|key| Some(*key) > text(winner_item, "lastMessageKey"));
        if let Some(key) = newer.and_then(|key| key.parse::<MessageId>().ok()) {
            union = union
                .set("lastMessageKey", s(key.as_str()))
                .set(keys::INBOX_SORT, s(keys::inbox_sort(key.epoch_ms(), winner)));
        }
        if shown(loser_item) > shown(winner_item) {
            for attribute in SHOWN {
                union = union.set_some(attribute, loser_item.get(attribute).cloned());
            }
        }
        for attribute in ["lastInboundAt", "lastReceivedAt", "deliveredUpTo", "readUpTo"] {
            if number(loser_item, attribute) > number(winner_item, attribute) {
                union = union.set_some(attribute, loser_item.get(attribute).cloned());
            }
        }
        // What is unread in one of them stays unread, even if something that was read in the other counts again.
        let unread = [loser_item, winner_item].into_iter().filter(|item| item.contains_key("unreadFrom"));
        let read_at = |item: &Item| number(item, "readAt").unwrap_or(0);
        if let Some(from) = unread.clone().filter_map(|item| text(item, "unreadFrom")).min() {
            union = union.set("unreadFrom", s(from)).set_some("readAt", unread.map(read_at).min().map(n));
        } else {
            union = union.set_some("readAt", number(loser_item, "readAt").max(number(winner_item, "readAt")).map(n));
        }
        // What was read in the order of two threads tells nothing of the order of both.
        union = union.remove("readThrough");
        if text(loser_item, "status") == Some("open") {
            union = union.set("status", s("open"));
        }
        for [attribute, at] in PROFILE {
            if told_at(loser_item, attribute, at) > told_at(winner_item, attribute, at) {
                union = union
                    .set_or_remove(attribute, loser_item.get(attribute).cloned())
                    .set_or_remove(at, loser_item.get(at).cloned());
            }
        }
        if !winner_item.contains_key("assignedTo") {
            union = union.set_some("assignedTo", loser_item.get("assignedTo").cloned());
        }
        if let Some(labels) = loser_item.get("labels").filter(|labels| labels.is_ss()) {
            union = union.add("labels", labels.clone());
        }
        let writes = vec![
            self.transact_update(&keys::conversation(organization, loser), &still(alias, &WATCHED, loser_item))?,
            self.transact_update(&keys::conversation(organization, winner), &still(union, &WATCHED, winner_item))?,
        ];
        match self.transact(writes, |_| Error::Conflict).await {
            Ok(()) => Ok(true),
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes what the inbox shows of a message that was edited or unsent, where it is still the newest.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change_preview(&self, organization: &OrganizationId, message: &Message) -> Result<()> {
        let root = self.route(organization, &message.conversation_id, message.id.epoch_ms()).await?.root;
        // Not by the arrival: that of an attempt that failed later may stand there.
        let expression = Expression::default().set("lastMessageText", s(message.preview())).if_compares(
            "lastMessageId",
            "=",
            s(message.id.as_str()),
        );
        self.update(&keys::conversation(organization, &root), expression).await.map(drop)
    }

    /// Raises how far the customer has received or read; also where nothing is there yet that was received.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn raise_watermark(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        status: Status,
        up_to: i64,
    ) -> Result<()> {
        let attribute = if status == Status::Read { "readUpTo" } else { "deliveredUpTo" };
        self.raise(organization, conversation, attribute, up_to).await
    }

    /// Opens the messaging window from a time on, where the customer did something that is no message.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn open_window(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        at: i64,
    ) -> Result<()> {
        self.raise(organization, conversation, "lastInboundAt", at).await
    }

    /// Raises a time of a conversation, also where nothing has been written in it yet.
    async fn raise(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        attribute: &str,
        at: i64,
    ) -> Result<()> {
        let mut target = self.remembered(conversation).unwrap_or_else(|| conversation.clone());
        let mut is_routed = false;
        for _ in 0..MAX_HOPS {
            let mut raise =
                Expression::default().set(attribute, n(at)).if_absent(ALIAS_OF).if_absent_or(attribute, "<", n(at));
            if !is_routed && target == *conversation {
                raise = raise.if_absent(HOLDERS);
            }
            let written = self.update(&keys::conversation(organization, &target), raise).await?;
            let Written::Refused(Some(item)) = written else { return Ok(()) };
            if !is_routed && target == *conversation && item.contains_key(HOLDERS) {
                target = self.route(organization, conversation, at).await?.root;
                is_routed = true;
                continue;
            }
            let Some(next) = alias_of(&item) else { return Ok(()) };
            if !is_routed {
                self.remember(&target, &next);
            }
            target = next;
        }
        Ok(())
    }

    /// Applies what an operator changed, and returns the conversation as it is then.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`] when there is none, [`Error::AlreadyAssigned`] when somebody else than expected cares for
    /// it, [`Error::InvalidBody`] when it would have too many labels.
    pub async fn change_conversation(
        &self,
        organization: &OrganizationId,
        id: &ConversationId,
        changes: &Changes,
        now_ms: i64,
    ) -> Result<Conversation> {
        for _ in 0..MAX_RACES {
            let conversation = self.conversation(organization, id).await?.ok_or(Error::ConversationNotFound)?;
            let mut expression =
                Expression::default().set("updatedAt", n(now_ms)).if_absent(ALIAS_OF).if_exists("lastMessageKey");
            if let Some(status) = changes.status.filter(|status| *status != conversation.status) {
                let before = s(conversation.status.as_str());
                expression = expression.set("status", s(status.as_str())).if_compares("status", "=", before);
            }
            if let Some(read_up_to) = changes.read_up_to {
                // What is still on its way was not read, whatever its arrival will have been.
                let read_up_to = read_up_to.min(conversation.last_received_at.unwrap_or(0));
                let read_at = read_up_to.max(conversation.read_at.unwrap_or(0));
                expression = expression.set("readAt", n(read_at));
                if conversation.read_through.is_some_and(|through| through.until <= read_at) {
                    expression = expression.remove("readThrough");
                }
                if self.is_read(organization, &conversation, read_at, now_ms).await? {
                    expression = expression.remove("unreadFrom");
                }
            }
            if let Some(id) = &changes.read_through {
                expression = self.with_read_through(expression, organization, &conversation, id, now_ms).await?;
            }
            if changes.unread {
                expression = self.with_unread(expression, organization, &conversation).await?;
            }
            if changes.read_up_to.is_some() || changes.read_through.is_some() || changes.unread {
                expression = expression
                    .if_still("lastReceivedAt", conversation.last_received_at.map(n))
                    .if_still("unreadFrom", conversation.unread_from.as_ref().map(s));
            }
            expression = with_assignee(expression, changes, &conversation)?;
            expression = with_labels(expression, changes, &conversation)?;
            let key = keys::conversation(organization, &conversation.id);
            let entries = changes.entries(&conversation, now_ms)?;
            if entries.is_empty() {
                match self.update(&key, expression).await? {
                    Written::Done(item) => return read(item),
                    Written::Refused(_) => continue,
                }
            }
            // Both or none: a repetition finds what was done, and would tell nothing.
            let mut writes = vec![self.transact_update(&key, &expression)?];
            for entry in &entries {
                writes.push(self.audit_write(organization, entry)?);
            }
            match self.transact(writes, |_| Error::Conflict).await {
                Ok(()) => return self.get(&key).await?.ok_or(Error::ConversationNotFound),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Reads up to a message as the thread shows it: what stands there now. One query of what becomes read, one of whether
    /// anything is left.
    async fn with_read_through(
        &self,
        expression: Expression,
        organization: &OrganizationId,
        conversation: &Conversation,
        id: &MessageId,
        now_ms: i64,
    ) -> Result<Expression> {
        let partitions = conversation.partitions();
        let shown = self.message_of(organization, &partitions, id).await?.ok_or(Error::MessageNotFound)?;
        let Some(from) = &conversation.unread_from else { return Ok(expression) };
        let mark = conversation.read_mark();
        let position = (id.epoch_ms(), shown.received_at);
        // Further down something was read before: that stays read.
        let further = mark.through.filter(|known| known.position() > position);
        let end_ms = further.map_or(position.0, |known| known.at);
        let unread = self.unread_messages(organization, &partitions, from, Some(end_ms), mark, usize::MAX).await?;
        let above = |end: (i64, i64)| unread.iter().filter(move |message| message.position() <= end);
        let until = above(position).map(|message| message.received_at);
        let until = until.chain(mark.through.map(|known| known.until)).chain([shown.received_at]).max();
        let until = until.unwrap_or(shown.received_at);
        let through = match further {
            // Something that nobody was shown stands between the two: rather unread twice than never.
            Some(known) if above(known.position()).count() > above(position).count() => return Ok(expression),
            Some(known) => ReadThrough { until, ..known },
            None => ReadThrough { at: position.0, received_at: position.1, until },
        };
        let mark = ReadMark { through: Some(through), ..mark };
        let from = crate::id::time_digits(through.at).max(from.clone());
        let left = self.unread_messages(organization, &partitions, &from, None, mark, 1).await?;
        let received_at = conversation.last_received_at.unwrap_or(0);
        // What is told already may still be on its way into the table.
        let has_settled = received_at <= until.max(mark.read_at) || received_at / 1000 + DELIVERY_MS < now_ms;
        let first = left.iter().map(|message| message.id.as_str()).min();
        Ok(match first {
            None if has_settled => expression
                .set("readAt", n(received_at.max(until).max(mark.read_at)))
                .remove("readThrough")
                .remove("unreadFrom"),
            first => expression
                .set("readThrough", serde_dynamo::to_attribute_value(through).map_err(Error::internal)?)
                .set_some("unreadFrom", first.filter(|_| has_settled).map(s)),
        })
    }

    /// Makes the customer's newest message unread, where nothing is: what is unread already stays as it is.
    async fn with_unread(
        &self,
        expression: Expression,
        organization: &OrganizationId,
        conversation: &Conversation,
    ) -> Result<Expression> {
        let partitions = conversation.partitions();
        if let Some(from) = &conversation.unread_from {
            let unread =
                self.unread_messages(organization, &partitions, from, None, conversation.read_mark(), 1).await?;
            if !unread.is_empty() {
                return Ok(expression);
            }
        }
        let Some((last, _)) = self.newest(organization, &partitions, Message::is_from_customer).await? else {
            return Ok(expression);
        };
        let (at, received_at) = (last.id.epoch_ms(), last.received_at - 1);
        let until = conversation.last_received_at.unwrap_or(0).max(last.received_at);
        let through = ReadThrough { at, received_at, until };
        Ok(expression
            .set("readAt", n(received_at))
            .set("readThrough", serde_dynamo::to_attribute_value(through).map_err(Error::internal)?)
            .set("unreadFrom", s(crate::id::time_digits(at))))
    }

    /// Whether everything that came is read. `lastReceivedAt` may be later than every message: then the messages tell, once those
    /// of the latest delivery have to be there.
    async fn is_read(
        &self,
        organization: &OrganizationId,
        conversation: &Conversation,
        read_at: i64,
        now_ms: i64,
    ) -> Result<bool> {
        match (conversation.last_received_at, &conversation.unread_from) {
            (Some(received_at), Some(from)) if received_at > read_at => {
                let mark = ReadMark { read_at, ..conversation.read_mark() };
                let partitions = conversation.partitions();
                Ok(received_at / 1000 + DELIVERY_MS < now_ms
                    && self.unread_messages(organization, &partitions, from, None, mark, 1).await?.is_empty())
            }
            _ => Ok(true),
        }
    }
}

impl Changes {
    /// What the audit trail tells of them: what others see, where it differs from what is there.
    fn entries(&self, conversation: &Conversation, now_ms: i64) -> Result<Vec<AuditEntry>> {
        let Some(by) = &self.by else { return Ok(Vec::new()) };
        let assignee = Assignee::of(conversation.assigned_to.as_ref());
        let changes = [
            (AuditAction::StatusChanged, self.status.is_some_and(|status| status != conversation.status)),
            (AuditAction::Assigned, self.assigned_to.as_ref().is_some_and(|assigned| *assigned != assignee)),
            (AuditAction::LabelsChanged, self.labels_after(&conversation.labels) != conversation.labels),
        ];
        let told = changes.into_iter().filter(|(_, is_changed)| *is_changed);
        told.map(|(action, _)| {
            let entry = AuditEntry::new(action, Some(by), now_ms)?;
            Ok(AuditEntry { conversation_id: Some(conversation.id.clone()), ..entry })
        })
        .collect()
    }

    fn labels_after(&self, before: &BTreeSet<String>) -> BTreeSet<String> {
        match &self.labels {
            Some(labels) => labels.clone(),
            None => before.difference(&self.remove_labels).chain(&self.add_labels).cloned().collect(),
        }
    }
}

/// Who cares from now on. Where the change is on a condition, so is the write: of several at once, one gets it.
fn with_assignee(expression: Expression, changes: &Changes, conversation: &Conversation) -> Result<Expression> {
    let current = Assignee::of(conversation.assigned_to.as_ref());
    let expression = match &changes.if_assigned_to {
        // A repeated request finds that it has been done.
        Some(expected) if *expected == current || changes.assigned_to.as_ref() == Some(&current) => {
            expression.if_still("assignedTo", conversation.assigned_to.as_ref().map(s))
        }
        Some(_) => {
            return Err(Error::AlreadyAssigned { assigned_to: conversation.assigned_to.clone(), conversation: None });
        }
        None => expression,
    };
    let assignee = changes.assigned_to.as_ref().filter(|assignee| **assignee != current);
    let before = || conversation.assigned_to.as_ref().map(s);
    Ok(match assignee {
        Some(Assignee::User(user)) => expression.set("assignedTo", s(user)).if_still("assignedTo", before()),
        Some(Assignee::Nobody) => expression.remove("assignedTo").if_still("assignedTo", before()),
        None => expression,
    })
}

/// The labels from now on. What is added or taken away touches no other label, so that two operators at once lose none; of two who
/// do the same, one does it.
fn with_labels(expression: Expression, changes: &Changes, conversation: &Conversation) -> Result<Expression> {
    let set = |labels: &BTreeSet<String>| AttributeValue::Ss(labels.iter().cloned().collect());
    let (before, after) = (&conversation.labels, changes.labels_after(&conversation.labels));
    if !changes.add_labels.is_empty() && after.len() > LABELS_MAX {
        return Err(Error::invalid_body(format!("a conversation has at most {LABELS_MAX} labels"), "addLabels"));
    }
    let add: BTreeSet<_> = after.difference(before).cloned().collect();
    let remove: BTreeSet<_> = before.difference(&after).cloned().collect();
    Ok(match (add.is_empty(), remove.is_empty()) {
        (true, true) => expression,
        (false, true) if changes.labels.is_none() => {
            let expression = expression.add("labels", set(&add)).if_at_most("labels", LABELS_MAX - add.len());
            add.iter().fold(expression, |expression, label| expression.unless_contains("labels", s(label)))
        }
        (true, false) if changes.labels.is_none() => {
            let expression = expression.delete("labels", set(&remove));
            remove.iter().fold(expression, |expression, label| expression.if_contains("labels", s(label)))
        }
        // Exactly these, or both at once, which one expression cannot do to one set: what was read stands in for it.
        _ => {
            let labels = (!after.is_empty()).then(|| set(&after));
            let still = (!before.is_empty()).then(|| set(before));
            expression.set_or_remove("labels", labels).if_still("labels", still)
        }
    })
}

fn text<'a>(item: &'a Item, attribute: &str) -> Option<&'a str> {
    item.get(attribute)?.as_s().ok().map(String::as_str)
}

/// Demands that attributes are what was read.
fn still(expression: Expression, attributes: &[&str], item: &Item) -> Expression {
    attributes
        .iter()
        .fold(expression, |expression, attribute| expression.if_still(attribute, item.get(*attribute).cloned()))
}

/// The time and the arrival of the message that the inbox shows: of one millisecond (`WhatsApp` tells whole seconds), the
/// later arrival is the newer message.
fn shown(item: &Item) -> Option<(i64, Option<i64>)> {
    let id: MessageId = text(item, "lastMessageKey")?.parse().ok()?;
    Some((id.epoch_ms(), number(item, "lastArrivedAt")))
}

/// Whether a conversation's customer is reached by that number.
fn is_number(organization: &OrganizationId, thread: &Thread, item: &Item, phone: &ConversationId) -> bool {
    let ids = Customer { phone: text(item, "customerPhone").map(str::to_owned), ..Customer::default() };
    Identity::of(organization, thread.channel, &thread.account, &ids)
        .is_some_and(|identity| identity.conversation == *phone)
}

/// The partitions that a conversation's messages are in.
fn parts_of(item: Option<&Item>, id: &ConversationId) -> BTreeSet<Partition> {
    let members = item.and_then(|item| item.get(MEMBERS)?.as_ss().ok());
    let own = item.is_none_or(|item| !item.contains_key(HOLDERS)).then(|| Partition::whole(id.clone()));
    members.into_iter().flatten().filter_map(|member| member.parse().ok()).chain(own).collect()
}

impl Activity {
    /// Whether it goes by the id whose conversation that would be.
    fn is_by(&self, target: &ConversationId) -> bool {
        !self.is_addressed && *target == self.conversation
    }

    /// Whether what has these ids is all of a conversation, whatever its time.
    fn is_all_of(&self, item: &Item, target: &ConversationId, ids: &BTreeSet<ConversationId>) -> bool {
        let parts = parts_of(Some(item), target);
        alias_of(item).is_none()
            && ids.iter().all(|id| parts.contains(&Partition::whole(id.clone())))
            && !(self.is_by(target) && item.contains_key(HOLDERS))
    }
}

/// Something that is told of a customer, and where a conversation keeps it.
struct ToldOf<'a> {
    attribute: &'static str,
    text: &'a str,
    attribute_at: &'static str,
    at: i64,
}

fn told_of(customer: &Profile) -> [Option<ToldOf<'_>>; 4] {
    let Profile { name, phone, user_id, username } = customer;
    let [of_name, of_phone, of_user_id, of_username] = PROFILE;
    [(of_name, name), (of_phone, phone), (of_user_id, user_id), (of_username, username)].map(
        |([attribute, attribute_at], told)| {
            told.as_ref().map(|(text, at)| ToldOf { attribute, text, attribute_at, at: *at })
        },
    )
}

/// When it was told, or that it is theirs no more: what was stored before that was kept is older than everything. `None` where it
/// was never told.
fn told_at(item: &Item, attribute: &str, at: &str) -> Option<i64> {
    number(item, at).or_else(|| item.get(attribute).map(|_| i64::MIN))
}

/// Keeps what is told of the customer.
fn with_told<'a>(expression: Expression, told: impl Iterator<Item = ToldOf<'a>>) -> Expression {
    told.fold(expression, |expression, ToldOf { attribute, text, attribute_at, at }| {
        let is_name = matches!(attribute, "customerName" | "customerUsername");
        let text = if is_name { s(crate::content::truncate(text, NAME_MAX_BYTES)) } else { s(text) };
        expression.set(attribute, text).set(attribute_at, n(at))
    })
}

/// What every activity sets.
fn with_identity(activity: &Activity, target: &ConversationId, now_ms: i64) -> Expression {
    Expression::default()
        .set_if_absent("id", s(target.as_str()))
        .set_if_absent("channel", s(activity.channel.as_str()))
        .set_if_absent("accountId", s(activity.account.as_str()))
        .set_if_absent("createdAt", n(now_ms))
        .set("updatedAt", n(now_ms))
}

/// Moves the conversation to its newest message.
fn with_last(
    expression: Expression,
    last: &LastMessage,
    channel: Channel,
    organization: &OrganizationId,
    target: &ConversationId,
) -> Expression {
    expression
        .set("lastMessageKey", s(last.id.as_str()))
        .set(keys::INBOX_KEY, s(keys::inbox(organization, channel)))
        .set(keys::INBOX_SORT, s(keys::inbox_sort(last.id.epoch_ms(), target)))
}

/// What the inbox shows of the newest message.
fn with_preview(expression: Expression, last: &LastMessage) -> Expression {
    expression
        .set("lastMessageId", s(last.shown.as_str()))
        .set("lastMessageText", s(&last.text))
        .set("lastMessageSender", sender(last.sender))
        .set("lastArrivedAt", n(last.received_at))
}

/// Shows a conversation's newest message; without one it is only the beginning of a conversation, which gives way to any other.
fn with_newest(
    expression: Expression,
    last: Option<&LastMessage>,
    channel: Channel,
    organization: &OrganizationId,
    target: &ConversationId,
) -> Expression {
    match last {
        Some(last) => with_preview(with_last(expression, last, channel, organization, target), last),
        None => SHOWN
            .into_iter()
            .chain(["lastMessageKey", "createdAt", keys::INBOX_KEY, keys::INBOX_SORT])
            .fold(expression, Expression::remove),
    }
}

/// The one write of news.
fn with_activity(
    activity: &Activity,
    organization: &OrganizationId,
    target: &ConversationId,
    now_ms: i64,
) -> Expression {
    let expression = with_identity(activity, target, now_ms);
    let expression = with_told(expression, told_of(&activity.customer).into_iter().flatten());
    let mut expression = with_last(expression, &activity.last, activity.channel, organization, target);
    expression = with_preview(expression, &activity.last);
    expression = expression.set_some("lastInboundAt", activity.last_inbound_at.map(n));
    match (activity.last_received_at, &activity.first_inbound) {
        (Some(received_at), Some(first)) => expression
            .set("lastReceivedAt", n(received_at))
            .set_if_absent("unreadFrom", s(first.as_str()))
            .set("status", s("open")),
        _ => expression.set_if_absent("status", s("open")),
    }
}

/// What `activity` changes on a conversation as it is; `None` when nothing.
fn difference(
    item: &Item,
    activity: &Activity,
    organization: &OrganizationId,
    target: &ConversationId,
    now_ms: i64,
) -> Option<Expression> {
    let is_newer = text(item, "lastMessageKey").is_none_or(|current| current < activity.last.id.as_str());
    let is_shown = shown(item) < Some((activity.last.id.epoch_ms(), Some(activity.last.received_at)));
    let arrived = activity.last_received_at.filter(|at| number(item, "lastReceivedAt").is_none_or(|known| known < *at));
    let earlier = activity.first_inbound.as_ref().filter(|first| {
        // Only where something is unread: a message that was read before does not become unread by coming again.
        activity.last_received_at > number(item, "readAt")
            && text(item, "unreadFrom").is_some_and(|from| first.as_str() < from)
    });
    let inbound = activity.last_inbound_at.filter(|at| number(item, "lastInboundAt").is_none_or(|known| known < *at));
    let is_told = |told: &ToldOf<'_>| told_at(item, told.attribute, told.attribute_at) < Some(told.at);
    let mut told = told_of(&activity.customer).into_iter().flatten().filter(is_told).peekable();
    let is_known = told.peek().is_none();
    if is_known && !is_newer && !is_shown && arrived.is_none() && inbound.is_none() && earlier.is_none() {
        return None;
    }
    let expression = with_identity(activity, target, now_ms).set_some("lastInboundAt", inbound.map(n));
    let mut expression = with_told(expression, told);
    if is_newer {
        expression = with_last(expression, &activity.last, activity.channel, organization, target);
    }
    if is_shown {
        expression = with_preview(expression, &activity.last);
    }
    if arrived.is_none() {
        expression = expression.set_some("unreadFrom", earlier.map(|first| s(first.as_str())));
    }
    Some(match arrived {
        Some(received_at) => {
            let first = activity.first_inbound.as_ref().map(MessageId::as_str);
            let from = [first, text(item, "unreadFrom")].into_iter().flatten().min();
            expression
                .set("lastReceivedAt", n(received_at))
                .set_some("unreadFrom", from.map(s))
                .set("status", s("open"))
        }
        None => expression.set_if_absent("status", s("open")),
    })
}

/// What the inbox has to show of a conversation that was `before` and then took `told` for news, when the truth is
/// `activity`: messages that had come before count with their first arrival. `None` when it shows that already.
fn amendment(before: &Item, told: &Activity, activity: &Activity) -> Option<Expression> {
    let is_shown = shown(before) < Some((activity.last.id.epoch_ms(), Some(activity.last.received_at)));
    if is_shown && activity.last == told.last {
        return None;
    }
    let expression = Expression::default()
        .if_absent(ALIAS_OF)
        .if_still("lastMessageKey", Some(s(told.last.id.as_str())))
        .if_still("lastArrivedAt", Some(n(told.last.received_at)));
    Some(if is_shown {
        with_preview(expression, &activity.last)
    } else {
        SHOWN
            .into_iter()
            .fold(expression, |expression, attribute| expression.set_some(attribute, before.get(attribute).cloned()))
    })
}

fn sender(sender: Sender) -> AttributeValue {
    s(match sender {
        Sender::Customer => "customer",
        Sender::Operator => "operator",
        Sender::Ai => "ai",
        Sender::System => "system",
    })
}
