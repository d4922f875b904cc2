//! Compares the journal with the table: whether it tells of the newest messages of a channel. It finds what no alarm on the stream
//! can: a change that was read and not told.

use std::collections::HashSet;

use crate::{
    changes::Kind,
    error::Result,
    id::{MessageId, OrganizationId},
    platform::Channel,
    store::{InboxFilter, Store},
};

/// How far back is looked: a channel is compared once a day.
const LOOK_BACK_MS: i64 = 25 * 60 * 60 * 1000;
/// What is newer may still be on its way; longer than that, the alarm on the stream's age tells.
const ON_ITS_WAY_MS: i64 = 5 * 60 * 1000;
/// What was stored in so long before the oldest event that is looked at may be told before that.
const BEFORE_MS: i64 = 60 * 1000;
/// How many entries of the journal are looked at.
const ENTRIES: usize = 500;
/// Of how many conversations, the newest first, and how many messages of each.
const CONVERSATIONS: usize = 10;
const MESSAGES: usize = 10;

/// The messages among the newest of a channel that the journal does not tell of.
///
/// # Errors
/// When the table does not answer.
pub async fn missing(
    store: &Store,
    organization: &OrganizationId,
    channel: Channel,
    now_ms: i64,
) -> Result<Vec<MessageId>> {
    let Some((changes, since_ms)) = store.journal_since(organization, now_ms - LOOK_BACK_MS, ENTRIES).await? else {
        return Ok(Vec::new());
    };
    let told = changes.iter().filter(|change| {
        matches!(change.kind, Kind::MessageReceived | Kind::MessageSent | Kind::NoteAdded | Kind::MessageUnsent)
    });
    let told: HashSet<&str> = told.filter_map(|change| change.subject.rsplit('/').next()).collect();
    let between = since_ms + BEFORE_MS..now_ms - ON_ITS_WAY_MS;
    let filter = InboxFilter { channels: vec![channel], ..InboxFilter::default() };
    let mut missing = Vec::new();
    for conversation in store.inbox(organization, &filter, None, CONVERSATIONS).await?.conversations {
        let (messages, _) = store.messages(organization, &conversation.partitions(), None, MESSAGES).await?;
        let due = messages.into_iter().filter(|message| between.contains(&(message.received_at / 1000)));
        missing.extend(due.map(|message| message.id).filter(|id| !told.contains(id.as_str())));
    }
    Ok(missing)
}
