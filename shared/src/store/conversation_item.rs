//! What stands in a conversation's item, attribute by attribute.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Item, Partition, expression::Expression, message::number, partition::HOLDERS};
use crate::id::{ConversationId, MessageId};

pub(super) const ALIAS_OF: &str = "aliasOf";
pub(super) const MEMBERS: &str = "members";
/// What the inbox shows of the newest message.
pub(super) const SHOWN: [&str; 4] = ["lastMessageId", "lastMessageText", "lastMessageSender", "lastArrivedAt"];
/// How many aliases are followed: a chain grows by one with each merge of merged customers.
pub(super) const MAX_HOPS: usize = 8;
/// How often a write that lost a race is tried again.
pub(super) const MAX_RACES: usize = 8;

pub(super) fn alias_of(item: &Item) -> Option<ConversationId> {
    item.get(ALIAS_OF)?.as_s().ok()?.parse().ok()
}

pub(super) fn set_of(members: impl IntoIterator<Item = impl ToString>) -> AttributeValue {
    AttributeValue::Ss(members.into_iter().map(|member| member.to_string()).collect())
}

/// The partitions that a conversation's messages are in.
pub(super) fn parts_of(item: Option<&Item>, id: &ConversationId) -> BTreeSet<Partition> {
    let members = item.and_then(|item| item.get(MEMBERS)?.as_ss().ok());
    let own = item.is_none_or(|item| !item.contains_key(HOLDERS)).then(|| Partition::whole(id.clone()));
    members.into_iter().flatten().filter_map(|member| member.parse().ok()).chain(own).collect()
}

/// Where the business writes to a customer who had the number first whose id this is.
pub(super) fn written_in(id: &ConversationId) -> ConversationId {
    id.beside("written")
}

/// The time and the arrival of the message that the inbox shows: of one millisecond (`WhatsApp` tells whole seconds), the
/// later arrival is the newer message.
pub(super) fn shown(item: &Item) -> Option<(i64, Option<i64>)> {
    let id: MessageId = text(item, "lastMessageKey")?.parse().ok()?;
    Some((id.epoch_ms(), number(item, "lastArrivedAt")))
}

/// Demands that attributes are what was read.
pub(super) fn still(expression: Expression, attributes: &[&str], item: &Item) -> Expression {
    attributes
        .iter()
        .fold(expression, |expression, attribute| expression.if_still(attribute, item.get(*attribute).cloned()))
}

pub(super) fn text<'a>(item: &'a Item, attribute: &str) -> Option<&'a str> {
    item.get(attribute)?.as_s().ok().map(String::as_str)
}
