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

use serde::{Deserialize, Serialize};

use super::{
    Partition, Store, Written,
    conversation_item::{ALIAS_OF, MAX_HOPS, alias_of, written_in},
    expression::{Expression, n, s},
    keys,
    message::{Message, ReadMark},
    partition::HOLDERS,
    read,
};
use crate::{
    error::Result,
    id::{AccountId, ConversationId, MessageId, OrganizationId},
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
    pub(super) fn position(&self) -> (i64, i64) {
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
}
