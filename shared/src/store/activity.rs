//! What messages change on their conversation: its newest message, what is unread, the window, what the customer is called.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::{
    Item, Partition, Store, Written,
    conversation_item::{ALIAS_OF, MAX_RACES, MEMBERS, SHOWN, alias_of, parts_of, shown, still, text},
    expression::{Expression, n, s},
    keys::{self, Key},
    merge::Home,
    message::{MessageType, number},
    partition::HOLDERS,
    profile::{PROFILE, ToldOf, told_at, told_of, with_told},
};
use crate::{
    error::{Error, Result},
    event::Profile,
    id::{AccountId, ConversationId, MessageId, OrganizationId},
    message::Sender,
    platform::Channel,
};

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

impl Store {
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
    pub(super) async fn last_message(
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
pub(super) fn with_last(
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
pub(super) fn with_preview(expression: Expression, last: &LastMessage) -> Expression {
    expression
        .set("lastMessageId", s(last.shown.as_str()))
        .set("lastMessageText", s(&last.text))
        .set("lastMessageSender", sender(last.sender))
        .set("lastArrivedAt", n(last.received_at))
}

/// Shows a conversation's newest message; without one it is only the beginning of a conversation, which gives way to any other.
pub(super) fn with_newest(
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
pub(super) fn difference(
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
