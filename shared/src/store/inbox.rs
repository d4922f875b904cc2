//! The inbox: conversations by channel, newest first.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Conversation, ConversationStatus, Item, Store,
    expression::{Expression, s},
    fault, keys,
    message::number,
    read,
};
use crate::{
    error::Result,
    id::{AccountId, OrganizationId},
    platform::{Channel, Platform},
};

/// Which conversations are listed.
#[derive(Clone, Debug, Default)]
pub struct InboxFilter {
    /// The channels, each a partition of the inbox.
    pub channels: Vec<Channel>,
    /// Only open or only closed ones.
    pub status: Option<ConversationStatus>,
    /// Only those with something unread.
    pub unread: bool,
    /// Only those that this operator cares for.
    pub assigned_to: Option<String>,
    /// Only those with this label.
    pub label: Option<String>,
}

/// A page of the inbox.
#[derive(Debug)]
pub struct InboxPage {
    /// The conversations, newest first.
    pub conversations: Vec<Conversation>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// How many conversations of one channel are looked at for one page: a filter that matches few may return a short page.
const SCAN_MAX: usize = 1000;
const LAST_INBOUND_AT: &str = "lastInboundAt";
/// How many are read at once where a filter drops some.
const FILTERED_BATCH: usize = 100;

impl InboxFilter {
    fn is_selective(&self) -> bool {
        self.status.is_some() || self.unread || self.assigned_to.is_some() || self.label.is_some()
    }

    /// The same for a conversation that was read already.
    pub(super) fn matches(&self, conversation: &Conversation) -> bool {
        self.channels.contains(&conversation.channel)
            && self.status.is_none_or(|status| status == conversation.status)
            && (!self.unread || conversation.unread_from.is_some())
            && self.assigned_to.as_ref().is_none_or(|user| conversation.assigned_to.as_ref() == Some(user))
            && self.label.as_ref().is_none_or(|label| conversation.labels.contains(label))
    }

    fn expression(&self) -> Expression {
        let mut expression = Expression::default();
        if let Some(status) = self.status {
            expression = expression.if_compares("status", "=", s(status.as_str()));
        }
        if self.unread {
            expression = expression.if_exists("unreadFrom");
        }
        if let Some(user) = &self.assigned_to {
            expression = expression.if_compares("assignedTo", "=", s(user));
        }
        if let Some(label) = &self.label {
            expression = expression.if_contains("labels", s(label));
        }
        expression
    }
}

/// What one channel has from a position on: the matches, and how far it was looked at (`None`: to the end).
struct Stretch {
    matches: Vec<(String, Item)>,
    looked_until: Option<String>,
}

impl Store {
    /// Up to `limit` conversations that stand behind `after` in the inbox.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn inbox(
        &self,
        organization: &OrganizationId,
        filter: &InboxFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<InboxPage> {
        let stretches =
            filter.channels.iter().map(|channel| self.stretch(organization, *channel, filter, after, limit));
        let stretches = futures_util::future::try_join_all(stretches).await?;
        // Nothing below where a channel was looked at may be shown: something of that channel could stand above it.
        let horizon = stretches.iter().filter_map(|stretch| stretch.looked_until.clone()).max();
        let mut matches: Vec<(String, Item)> = stretches.into_iter().flat_map(|stretch| stretch.matches).collect();
        matches.retain(|(position, _)| horizon.as_ref().is_none_or(|horizon| position >= horizon));
        matches.sort_by(|(a, _), (b, _)| b.cmp(a));
        let next = if matches.len() > limit {
            matches.truncate(limit);
            matches.last().map(|(position, _)| position.clone())
        } else {
            horizon
        };
        let conversations = matches.into_iter().map(|(_, item)| read(item)).collect::<Result<_>>()?;
        Ok(InboxPage { conversations, next })
    }

    /// When the customers of an account last wrote, one time for each of the newest conversations, epoch milliseconds. One query of
    /// so many of the platform's: where another account had its place not long ago, fewer are this one's.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn last_heard(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        newest: usize,
    ) -> Result<Vec<i64>> {
        let mut expression = Expression::default().if_compares("accountId", "=", s(account.as_str()));
        let (key, heard) = (expression.name(keys::INBOX_KEY), expression.name(LAST_INBOUND_AT));
        let partition = expression.value(s(keys::inbox(organization, platform.into())));
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(keys::INBOX)
            .key_condition_expression(format!("{key} = {partition}"))
            .set_filter_expression(expression.conditions())
            .projection_expression(heard)
            .set_expression_attribute_names(expression.names())
            .set_expression_attribute_values(expression.values())
            .scan_index_forward(false)
            .limit(i32::try_from(newest).unwrap_or(i32::MAX));
        let _turn = self.turn().await?;
        let output = request.send().await.map_err(|error| fault("Query", &error))?;
        Ok(output.items.unwrap_or_default().iter().filter_map(|item| number(item, LAST_INBOUND_AT)).collect())
    }

    async fn stretch(
        &self,
        organization: &OrganizationId,
        channel: Channel,
        filter: &InboxFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Stretch> {
        let batch = if filter.is_selective() { FILTERED_BATCH } else { limit + 1 };
        let mut matches = Vec::new();
        let mut looked_at = 0;
        let mut below = after.map(str::to_owned);
        loop {
            let output = {
                let mut expression = filter.expression();
                let condition = expression.conditions();
                let (key, sort) = (expression.name(keys::INBOX_KEY), expression.name(keys::INBOX_SORT));
                let partition = expression.value(s(keys::inbox(organization, channel)));
                let keyed = match &below {
                    Some(below) => format!("{key} = {partition} AND {sort} < {}", expression.value(s(below))),
                    None => format!("{key} = {partition}"),
                };
                self.client
                    .query()
                    .table_name(&self.table)
                    .index_name(keys::INBOX)
                    .key_condition_expression(keyed)
                    .set_filter_expression(condition)
                    .set_expression_attribute_names(expression.names().map(|mut names| {
                        if below.is_none() {
                            names.remove(&sort);
                        }
                        names
                    }))
                    .set_expression_attribute_values(expression.values())
                    .scan_index_forward(false)
                    .limit(i32::try_from(batch).unwrap_or(i32::MAX))
                    .send()
                    .await
                    .map_err(|error| fault("Query", &error))?
            };
            looked_at += batch;
            matches
                .extend(output.items.unwrap_or_default().into_iter().filter_map(|item| Some((position(&item)?, item))));
            below = output.last_evaluated_key.as_ref().and_then(position);
            if below.is_none() || matches.len() > limit || looked_at >= SCAN_MAX {
                return Ok(Stretch { matches, looked_until: below });
            }
        }
    }
}

fn position(item: &HashMap<String, AttributeValue>) -> Option<String> {
    item.get(keys::INBOX_SORT)?.as_s().ok().cloned()
}
