//! External ids: what the provider calls a message. One message of an account has each, whatever else is told of it.
//!
//! An item per external id names its message; it is written beside the message, on the condition that there is none yet. Of two
//! messages with one id (told with another time, or under another id of its customer), the one that comes second goes again
//! before its delivery is answered. A process that ends before that leaves both: nothing was answered, so the delivery comes
//! again and finishes it.

use tracing::warn;

use super::{
    Item, Message, Received, Store, Stored, Written,
    expression::{Expression, n, s},
    keys,
    message::number,
    with_key,
};
use crate::{
    error::{Error, Result},
    id::{AccountId, ConversationId, MessageId, OrganizationId},
    platform::Channel,
};

/// What the provider, or who records messages, calls a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalId {
    /// Where the account is.
    pub channel: Channel,
    /// The account that the message is of.
    pub account: AccountId,
    /// The id: unique on the account.
    pub id: String,
}

/// The message that has an external id.
pub(super) struct Named {
    conversation: ConversationId,
    id: MessageId,
    /// When it came for the first time, epoch microseconds.
    received_at: i64,
    /// Nothing had the id before.
    is_first: bool,
    /// Something was told of it before it came, and has still to be applied.
    pub(super) has_pending: bool,
}

impl Named {
    fn read(item: &Item) -> Option<Self> {
        let text = |attribute: &str| item.get(attribute)?.as_s().ok();
        Some(Self {
            conversation: text(CONVERSATION)?.parse().ok()?,
            id: text(MESSAGE)?.parse().ok()?,
            received_at: number(item, RECEIVED_AT)?,
            is_first: false,
            has_pending: item.contains_key(PENDING),
        })
    }

    pub(super) fn is(&self, message: &Message) -> bool {
        self.conversation == message.conversation_id && self.id == message.id
    }
}

/// The attribute of a message that says its external id. It is there only once the id names the message.
pub(super) const EXTERNAL_ID: &str = "externalId";
const CONVERSATION: &str = "conversationId";
pub(super) const MESSAGE: &str = "messageId";
/// The attribute that says that changes wait for the message, or have still to be applied to it.
pub(super) const PENDING: &str = "pending";
const RECEIVED_AT: &str = "receivedAt";
/// How long it is remembered that a second message of an id has gone: longer than a write can be late.
const GONE_SECS: i64 = 24 * 60 * 60;

/// What names the message by an external id.
pub(super) fn naming(organization: &OrganizationId, external_id: &ExternalId, message: &Message) -> Item {
    let item = Item::from([
        (CONVERSATION.into(), s(message.conversation_id.as_str())),
        (MESSAGE.into(), s(message.id.as_str())),
        (RECEIVED_AT.into(), n(message.received_at)),
    ]);
    with_key(item, &keys::external(organization, external_id))
}

impl Store {
    /// The message that the provider calls so.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn message_by_external_id(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
    ) -> Result<Option<(ConversationId, MessageId)>> {
        let item = self.get_item(&keys::external(organization, external_id)).await?;
        Ok(item.as_ref().and_then(Named::read).map(|named| (named.conversation, named.id)))
    }

    /// Gives a message an external id, unless another one has it; which message has it then.
    pub(super) async fn name(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        message: &Message,
    ) -> Result<Named> {
        let naming = Expression::default()
            .set(CONVERSATION, s(message.conversation_id.as_str()))
            .set(MESSAGE, s(message.id.as_str()))
            .set(RECEIVED_AT, n(message.received_at))
            .remove(keys::EXPIRES_AT)
            .if_absent(MESSAGE);
        let (is_first, item) = match self.update(&keys::external(organization, external_id), naming).await? {
            Written::Done(item) => (true, item),
            Written::Refused(item) => (false, item.unwrap_or_default()),
        };
        let named = Named::read(&item).ok_or_else(|| Error::internal("an external id without its message"))?;
        Ok(Named { is_first, ..named })
    }

    /// Gives a message that was sent the id that the provider has told of it.
    pub(super) async fn name_sent(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        message: &Message,
    ) -> Result<()> {
        let named = self.name(organization, external_id, message).await?;
        if !named.is(message) {
            warn!("the provider calls two messages the same");
            return Ok(());
        }
        let name = Expression::default().set_if_absent(EXTERNAL_ID, s(&external_id.id)).if_item_exists();
        self.update(&keys::message(organization, &message.conversation_id, &message.id), name).await?;
        if named.has_pending {
            Box::pin(self.apply_pending(organization, external_id, &(named.conversation, named.id))).await?;
        }
        Ok(())
    }

    /// What became of a message whose external id was there before it: it is the one that has it, or it goes.
    pub(super) async fn settle_external_id(
        &self,
        organization: &OrganizationId,
        external_id: &ExternalId,
        message: &Message,
        is_new: bool,
    ) -> Result<Received> {
        let first = self.name(organization, external_id, message).await?;
        let (stored, received_at) = match (first.is(message), is_new) {
            (true, true) => (Stored::New, message.received_at),
            // An attempt ended before it could name what it had stored.
            (true, false) if first.is_first => {
                let known = self.message(organization, &message.conversation_id, &message.id).await?;
                (Stored::Duplicate, known.map_or(message.received_at, |known| known.received_at))
            }
            (true, false) => (Stored::Duplicate, first.received_at),
            (false, _) => {
                // The process of the first one may have ended before that was stored: it has to be before this one goes.
                let (conversation_id, id) = (first.conversation.clone(), first.id.clone());
                let kept = Message { conversation_id, id, received_at: first.received_at, ..message.clone() };
                let key = keys::message(organization, &kept.conversation_id, &kept.id);
                self.put_if_absent(&key, kept.to_item()?).await?;
                self.forget(organization, message).await?;
                (Stored::Duplicate, first.received_at)
            }
        };
        if first.is(message) && first.received_at != received_at {
            // Two at once, or an attempt that ended between the two: the arrival is that of the message that is stored.
            let arrival = Expression::default().set(RECEIVED_AT, n(received_at)).if_item_exists();
            self.update(&keys::external(organization, external_id), arrival).await?;
        }
        let Named { conversation, id, has_pending, .. } = first;
        Ok(Received { stored, conversation, id, received_at, has_pending })
    }

    /// Leaves nothing of a message but its key, for a while: a write of it that is late must not bring it back.
    async fn forget(&self, organization: &OrganizationId, message: &Message) -> Result<()> {
        let gone = Item::from([(keys::EXPIRES_AT.into(), n(message.received_at / 1_000_000 + GONE_SECS))]);
        self.put(with_key(gone, &keys::message(organization, &message.conversation_id, &message.id))).await
    }
}
