//! The inbox: conversations by channel, newest first.

use super::{
    Conversation, ConversationStatus, Item, Store,
    expression::{Expression, s},
    keys,
    message::number,
    query::Query,
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
struct Segment {
    matches: Vec<(String, Item)>,
    scanned_to: Option<String>,
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
        let segments = filter.channels.iter().map(|channel| self.segment(organization, *channel, filter, after, limit));
        let segments = futures_util::future::try_join_all(segments).await?;
        // Nothing below where a channel was looked at may be shown: something of that channel could stand above it.
        let horizon = segments.iter().filter_map(|segment| segment.scanned_to.clone()).max();
        let mut matches: Vec<(String, Item)> = segments.into_iter().flat_map(|segment| segment.matches).collect();
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
        let of_account = Expression::default().if_compares("accountId", "=", s(account.as_str()));
        let query = Query::of_inbox(keys::inbox(organization, platform.into())).filter(of_account);
        let items = self.query(query.only(&[LAST_INBOUND_AT]).newest_first().limit(newest)).await?;
        Ok(items.iter().filter_map(|item| number(item, LAST_INBOUND_AT)).collect())
    }

    async fn segment(
        &self,
        organization: &OrganizationId,
        channel: Channel,
        filter: &InboxFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Segment> {
        let batch = if filter.is_selective() { FILTERED_BATCH } else { limit + 1 };
        let query = Query::of_inbox(keys::inbox(organization, channel)).below(after).filter(filter.expression());
        let mut pages = self.pages(query.newest_first().limit(batch));
        let mut matches = Vec::new();
        let mut looked_at = 0;
        while let Some(items) = pages.next().await? {
            looked_at += batch;
            matches.extend(items.into_iter().filter_map(|item| Some((position(&item)?, item))));
            if matches.len() > limit || looked_at >= SCAN_MAX {
                break;
            }
        }
        Ok(Segment { matches, scanned_to: pages.position() })
    }
}

fn position(item: &Item) -> Option<String> {
    item.get(keys::INBOX_SORT)?.as_s().ok().cloned()
}
