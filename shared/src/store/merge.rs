//! Where a customer's ids lead: the aliases between them, and two conversations that turn out to be one customer's.

use super::{
    Conversation, Item, Partition, Store, Thread, Written,
    conversation_item::{
        ALIAS_OF, MAX_HOPS, MAX_RACES, MEMBERS, SHOWN, alias_of, parts_of, set_of, shown, still, text,
    },
    expression::{Expression, n, s},
    keys,
    message::number,
    partition::{HOLDERS, part_at},
    profile::{PROFILE, told_at},
    read,
};
use crate::{
    error::{Error, Result},
    id::{ConversationId, MessageId, OrganizationId},
    identity::Identity,
};

/// How many followed aliases a process remembers.
const ALIASES_MAX: usize = 10_000;

/// Where what comes with an id at a time belongs.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// The part of the id's partition.
    pub(super) part: Partition,
    /// The conversation.
    pub(super) root: ConversationId,
    pub(super) item: Option<Item>,
}

impl Home {
    /// Whether the conversation lists the part.
    pub(super) fn is_listed(&self) -> bool {
        parts_of(self.item.as_ref(), &self.root).contains(&self.part)
    }

    /// Whether the same holds for another time of that partition.
    pub(super) fn covers(&self, at: i64) -> bool {
        self.part.contains(at)
    }

    /// Demands that the part is still the conversation's.
    pub(super) fn guard(&self, expression: Expression) -> Expression {
        if self.part == Partition::whole(self.root.clone()) {
            expression.if_absent(HOLDERS)
        } else {
            expression.if_contains(MEMBERS, s(self.part.to_string()))
        }
    }
}

impl Store {
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
    pub(super) async fn resolve(
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

    pub(super) fn remembered(&self, id: &ConversationId) -> Option<ConversationId> {
        self.aliases.lock().ok()?.get(id).cloned()
    }

    pub(super) fn forget_alias(&self, alias: &ConversationId) {
        if let Ok(mut aliases) = self.aliases.lock() {
            aliases.remove(alias);
        }
    }

    pub(super) fn remember(&self, alias: &ConversationId, target: &ConversationId) {
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
    pub(super) async fn link_or_merge(
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
}
