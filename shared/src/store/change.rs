//! What the provider tells of a message by its id: statuses, reactions, edits, and that it was taken back. Only its author changes
//! a message, and only its own conversation reacts to it.
//!
//! What comes before its message waits beside the external id, which is marked: the message finds the mark where it would be named,
//! so that a message for which nothing waits pays nothing for it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::{error, warn};

use super::{
    Change, ExternalId, Item, Message, ReactionEntry, Store, Stored, Update, Written,
    expression::{Expression, n, s},
    external_id::{MESSAGE, PENDING},
    keys,
    query::Query,
};
use crate::{
    content::{Content, truncate},
    error::{Error, Result},
    event::{Customer, MessageChange, Party, Reaction},
    id::{ConversationId, MessageId, OrganizationId},
    identity::Identity,
    message::Direction,
};

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its message is known: whether it changed that.
    Applied(Stored),
    /// Its message is not known yet: kept until it comes.
    Pending,
    /// It is not its maker's to change.
    Refused,
}

/// How long a change waits for its message: longer than the provider repeats a delivery.
const PENDING_SECS: i64 = 8 * 24 * 60 * 60;
/// The attribute of a pending change that holds it, as JSON.
const CHANGE: &str = "change";
/// How many changes of one message are put at once.
const PUTS: usize = 32;
/// The longest text and parts of an edit that waits: it has to fit into an item as JSON, which may take six bytes for one.
const PENDING_TEXT_MAX_BYTES: usize = 40_000;
const PENDING_PARTS_MAX_BYTES: usize = 100_000;
/// A message that has its name is on its way into the table: how long it is waited for.
const ON_ITS_WAY: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(200), Duration::from_millis(500)];

impl Store {
    /// Changes the message that the provider calls so, in the order of time; keeps the changes where it has not come yet. What
    /// became of each, in the order of time.
    ///
    /// # Errors
    /// When the table does not answer, or the message is just being stored.
    pub async fn change_message(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        changes: Vec<MessageChange>,
        now_ms: i64,
    ) -> Result<Vec<Settled>> {
        let dated = |changes: Vec<MessageChange>| changes.into_iter().map(|change| change.or_at(now_ms)).collect();
        if let Some(place) = self.message_by_external_id(organization, external_id).await? {
            return self.apply_changes(organization, external_id, &place, dated(changes)).await;
        }
        let expires_at = n(now_ms / 1000 + PENDING_SECS);
        let mut items = Vec::with_capacity(changes.len());
        for change in &changes {
            let change = storable(change);
            // As it was told: what is repeated waits once, also where it tells no time.
            let told = serde_json::to_string(&change).map_err(Error::internal)?;
            let key = keys::pending(organization, external_id, &told);
            let change = serde_json::to_string(&change.or_at(now_ms)).map_err(Error::internal)?;
            items.push((key, Item::from([(CHANGE.into(), s(change)), (keys::EXPIRES_AT.into(), expires_at.clone())])));
        }
        let puts: Vec<_> = items.into_iter().map(|(key, item)| self.put(super::with_key(item, &key))).collect();
        stream::iter(puts).buffer_unordered(PUTS).try_collect::<()>().await?;
        // After them: a message that is named before this finds none, and one that is named later finds all.
        let mark = Expression::default()
            .set(PENDING, AttributeValue::Bool(true))
            .set(keys::EXPIRES_AT, expires_at)
            .if_absent(MESSAGE);
        if let Written::Done(_) = self.update(&keys::external(organization, external_id), mark).await? {
            return Ok(vec![Settled::Pending; changes.len()]);
        }
        match self.message_by_external_id(organization, external_id).await? {
            Some(place) => self.apply_changes(organization, external_id, &place, dated(changes)).await,
            None => Err(Error::internal("an external id without its message")),
        }
    }

    /// Applies what was told of a message before it came.
    pub(super) async fn apply_pending(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        place: &(ConversationId, MessageId),
    ) -> Result<()> {
        let key = keys::external(organization, external_id);
        let mut changes = Vec::new();
        let mut pages = self.pages(Query::of(key.pk.clone()).beginning_with(keys::PENDING_PREFIX));
        while let Some(items) = pages.next().await? {
            for item in items {
                let change = item.get(CHANGE).and_then(|change| change.as_s().ok()).map(String::as_str);
                if let Ok(change) = serde_json::from_str(change.unwrap_or_default()) {
                    changes.push(change);
                } else {
                    // Of another version: it must not keep the message waiting.
                    error!("a change that waited for its message cannot be read");
                }
            }
        }
        self.apply_changes(organization, external_id, place, changes).await?;
        self.update(&key, Expression::default().remove(PENDING).if_item_exists()).await.map(drop)
    }

    async fn apply_changes(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        (conversation, id): &(ConversationId, MessageId),
        mut changes: Vec<MessageChange>,
    ) -> Result<Vec<Settled>> {
        changes.sort_by_key(|change| {
            let rank = if let MessageChange::Status(change) = change { change.status.rank() } else { 0 };
            (change.at(), rank)
        });
        let mut settled = Vec::with_capacity(changes.len());
        let (mut reactions, mut edits, mut taken_back) = (Vec::new(), Vec::new(), Vec::new());
        let mut message = None;
        for change in changes {
            if let MessageChange::Status(change) = change {
                let (status, at, error) = (change.status, change.timestamp.unwrap_or_default(), change.error);
                let update = Update { status, at, external_id: None, error };
                settled.push(match self.raise_message(organization, conversation, id, &update).await?.0 {
                    Change::Raised => Settled::Applied(Stored::New),
                    Change::Unchanged => Settled::Applied(Stored::Duplicate),
                    Change::NoMessage => return Err(on_its_way()),
                });
                continue;
            }
            let message = match &mut message {
                Some(message) => message,
                none => none.insert(self.arriving_message(organization, conversation, id).await?),
            };
            let (Some(by), Some(customer)) = (change.by(), change.customer()) else { continue };
            let is_theirs = change.is_allowed_for(message, by)
                && self.is_of(organization, external_id, customer, (conversation, id.epoch_ms())).await?;
            if !is_theirs {
                warn!(what = change.name(), "a change of a message is not its maker's to make");
                settled.push(Settled::Refused);
                continue;
            }
            match change {
                MessageChange::Status(_) => {}
                MessageChange::Watermark(watermark) => {
                    self.raise_watermark(organization, conversation, watermark.status, id.epoch_ms()).await?;
                    settled.push(Settled::Applied(Stored::New));
                }
                MessageChange::Reaction(reaction) => reactions.push((by, entry(reaction))),
                MessageChange::Edit(edit) => edits.push((edit.timestamp.unwrap_or_default(), edit.content)),
                MessageChange::Unsend(unsend) => taken_back.push(unsend.timestamp.unwrap_or_default()),
            }
        }
        let Some(message) = message else { return Ok(settled) };
        let mut stored = |stored, count| settled.extend(std::iter::repeat_n(Settled::Applied(stored), count));
        if !reactions.is_empty() {
            stored(self.react(organization, message.clone(), &reactions).await?, reactions.len());
        }
        let mut as_it_is = None;
        if !edits.is_empty() {
            let (outcome, edited) = self.edit(organization, message.clone(), &edits).await?;
            stored(outcome, edits.len());
            as_it_is = Some(edited);
        }
        if let Some(at) = taken_back.first() {
            let (outcome, message) = self.unsend(organization, conversation, id, *at).await?;
            stored(outcome, taken_back.len());
            as_it_is = message.or(as_it_is);
        }
        if let Some(message) = as_it_is {
            self.change_preview(organization, &message).await?;
        }
        Ok(settled)
    }

    /// A message that has its name: a moment later, it is there too.
    async fn arriving_message(
        &self,
        organization: &OrganizationId,
        conversation: &ConversationId,
        id: &MessageId,
    ) -> Result<Message> {
        for pause in ON_ITS_WAY {
            if let Some(message) = self.message(organization, conversation, id).await? {
                return Ok(message);
            }
            tokio::time::sleep(pause).await;
        }
        self.message(organization, conversation, id).await?.ok_or_else(on_its_way)
    }

    /// Whether what was written then in a conversation's partition is of the customer.
    async fn is_of(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        customer: &Customer,
        (conversation, at): (&ConversationId, i64),
    ) -> Result<bool> {
        let ExternalId { channel, account, .. } = external_id;
        let Some(identity) = Identity::of(organization, *channel, account, customer) else { return Ok(false) };
        if identity.partition() == conversation {
            return Ok(true);
        }
        self.is_same_conversation(organization, identity.partition(), conversation, at).await
    }
}

fn on_its_way() -> Error {
    Error::Unavailable("a message is named and not stored yet".into())
}

/// The longest sequence that is one emoji has some 40 bytes.
pub const EMOJI_MAX_BYTES: usize = 100;

fn entry(reaction: Reaction) -> ReactionEntry {
    let emoji = reaction.emoji.map(|emoji| truncate(&emoji, EMOJI_MAX_BYTES));
    ReactionEntry { emoji, at: reaction.timestamp.unwrap_or_default(), ids: vec![reaction.external_id] }
}

/// A change that fits into an item, without what it does not need.
fn storable(change: &MessageChange) -> MessageChange {
    let ids = |customer: &mut Customer| (customer.name, customer.username) = (None, None);
    let mut change = change.clone();
    match &mut change {
        MessageChange::Status(change) => change.error = change.error.take().map(|error| error.shortened()),
        MessageChange::Watermark(watermark) => ids(&mut watermark.customer),
        MessageChange::Reaction(reaction) => {
            ids(&mut reaction.customer);
            reaction.emoji = reaction.emoji.take().map(|emoji| truncate(&emoji, EMOJI_MAX_BYTES));
        }
        MessageChange::Edit(edit) => {
            ids(&mut edit.customer);
            let Content { text, parts, .. } = &mut edit.content;
            *text = text.take().map(|text| truncate(&text, PENDING_TEXT_MAX_BYTES));
            if serde_json::to_string(parts).map_or(0, |parts| parts.len()) > PENDING_PARTS_MAX_BYTES {
                parts.clear();
            }
        }
        MessageChange::Unsend(unsend) => ids(&mut unsend.customer),
    }
    change
}

impl MessageChange {
    /// Whether who made it may: its author changes a message; everybody in a conversation reacts to it and reads it.
    fn is_allowed_for(&self, message: &Message, by: Party) -> bool {
        match (self, by) {
            (Self::Edit(_) | Self::Unsend(_), Party::Customer) => message.is_from_customer(),
            (Self::Edit(_) | Self::Unsend(_), Party::Business) => message.direction == Direction::Outbound,
            (Self::Status(_) | Self::Watermark(_) | Self::Reaction(_), _) => true,
        }
    }
}
