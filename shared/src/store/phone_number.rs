//! Phone numbers have one holder after another: who leaves one, who takes one, and whose is what was written under it.

use std::collections::BTreeSet;

use super::{
    Activity, Conversation, Item, Message, Partition, Store, Thread,
    activity::{difference, with_newest},
    conversation_item::{ALIAS_OF, MAX_RACES, MEMBERS, parts_of, set_of, still, text, written_in},
    expression::{Expression, n, s},
    keys,
    merge::Home,
    message::number,
    partition::{HOLDERS, TAKEN_AT, next_taken, part_at},
    profile::told_at,
    read,
};
use crate::{
    error::{Error, Result},
    event::{Customer, Profile},
    id::{ConversationId, OrganizationId, time_digits},
    identity::Identity,
    platform::Channel,
};

impl Store {
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
    pub(super) async fn part_number(
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
}

/// Whether a conversation's customer is reached by that number.
fn is_number(organization: &OrganizationId, thread: &Thread, item: &Item, phone: &ConversationId) -> bool {
    let ids = Customer { phone: text(item, "customerPhone").map(str::to_owned), ..Customer::default() };
    Identity::of(organization, thread.channel, &thread.account, &ids)
        .is_some_and(|identity| identity.conversation == *phone)
}
