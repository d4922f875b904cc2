//! The journal: what changed in an organization, in order and without a hole.
//!
//! An entry holds events, and its key is the sequence of the first. The next entry begins where the newest ends, and is written
//! on the condition that nothing stands there: of several writers one gets the place, and the others look again. So there is no
//! counter, and no place is left out by a writer that ended. What a writer finds there when it looks also tells which of its
//! events another attempt has written: an event stands there once, however often it is appended.
//!
//! An organization in which nothing happens for so long that its whole journal has expired begins again, above every sequence
//! that it can have had.

use std::collections::HashSet;

use super::{
    Item, Store,
    expression::{Expression, n, s},
    keys,
    message::number,
    query::Query,
};
use crate::{
    changes::Change,
    error::{Error, Result},
    id::OrganizationId,
};

/// How many events stand in one entry at most.
pub const ENTRY_EVENTS_MAX: usize = 100;
/// How long they are together at most, in bytes: an item takes 400 kB, and what reads one reads all of it.
const ENTRY_MAX_BYTES: usize = 100_000;
/// How long an entry is kept.
const TTL_SECS: i64 = 30 * 24 * 60 * 60;
/// How often a writer looks again that did not get the place.
const RACES: usize = 32;
/// How much the clocks of a writer and of the table may differ.
const CLOCKS_MS: i64 = 5_000;
/// How many entries a writer reads at once; mostly, the newest says enough.
const LOOK_BACK: usize = 10;
/// How many entries a reader reads at once.
const ENTRIES: usize = 100;

const EVENTS: &str = "events";
const COUNT: &str = "count";
const WRITTEN_AT: &str = "writtenAt";
const SEQUENCE: &str = "sequence";
const BEGAN_AT: &str = "beganAt";

/// An event in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Journaled {
    /// Its place: one more than that of the event before.
    pub sequence: u64,
    /// What happened.
    pub change: Change,
}

/// Events that follow each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The events.
    pub events: Vec<Journaled>,
    /// The sequence of the last of them; where the page began, when there is none.
    pub last: u64,
    /// Whether more follow.
    pub more: bool,
}

/// Where a writer goes on.
struct Tail {
    /// The sequence of the next event.
    next: u64,
    /// The ids of the events that were written lately.
    known: HashSet<String>,
}

struct Entry {
    first: u64,
    events: Vec<Change>,
}

impl Entry {
    fn read(item: &Item) -> Result<Self> {
        let events = item.get(EVENTS).and_then(|events| events.as_s().ok()).map(String::as_str);
        let events = events.and_then(|events| serde_json::from_str(events).ok());
        let events = events.ok_or_else(|| Error::internal("an entry of the journal without its events"))?;
        Ok(Self { first: first(item)?, events })
    }

    fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    fn journaled(self) -> impl Iterator<Item = Journaled> {
        (self.first..).zip(self.events).map(|(sequence, change)| Journaled { sequence, change })
    }
}

fn first(item: &Item) -> Result<u64> {
    let sequence = item.get(keys::SK).and_then(|sk| sk.as_s().ok()?.parse().ok());
    sequence.ok_or_else(|| Error::internal("an entry of the journal without its place"))
}

fn whole(item: &Item, attribute: &str) -> Result<u64> {
    let number = number(item, attribute).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| Error::internal("an entry of the journal without a number"))
}

/// `DynamoDB` deletes what has expired when it gets to it, in any order: it is gone from then on all the same.
fn is_kept(item: &Item, now_ms: i64) -> bool {
    number(item, keys::EXPIRES_AT).is_some_and(|expires_at| expires_at > now_ms / 1000)
}

impl Store {
    /// Appends changes that are not there yet, in their order. `since_ms` is when the first of them was made: none can have been
    /// written before that. How many were new.
    ///
    /// # Errors
    /// When the table does not answer; then some of them may be there, and the call can be repeated.
    pub async fn append_to_journal(
        &self,
        organization: &OrganizationId,
        changes: &[Change],
        since_ms: i64,
        now_ms: i64,
    ) -> Result<usize> {
        let mut appended = 0;
        for _ in 0..RACES {
            let Tail { mut next, mut known } = self.journal_tail(organization, since_ms - CLOCKS_MS, now_ms).await?;
            // Also of one call, each counts once.
            let missing: Vec<&Change> = changes.iter().filter(|change| known.insert(change.id.clone())).collect();
            let mut lost = false;
            for part in parts(&missing)? {
                let key = keys::journal(organization, next);
                let item = Item::from([
                    (EVENTS.into(), s(part.events)),
                    (COUNT.into(), n(part.count)),
                    (WRITTEN_AT.into(), n(now_ms)),
                    (keys::EXPIRES_AT.into(), n(now_ms / 1000 + TTL_SECS)),
                ]);
                if self.put_if_absent(&key, item).await?.is_some() {
                    lost = true;
                    break;
                }
                next += part.count as u64;
                appended += part.count;
            }
            if !lost {
                return Ok(appended);
            }
        }
        Err(Error::Unavailable("the journal grew faster than it could be written".into()))
    }

    /// Where the journal ends, and what was written since then.
    async fn journal_tail(&self, organization: &OrganizationId, since_ms: i64, now_ms: i64) -> Result<Tail> {
        let mut next = None;
        let mut known = HashSet::new();
        let mut before = keys::SEQUENCE_MAX;
        loop {
            let items = self.journal_entries(organization, 0, before, false, LOOK_BACK).await?;
            for item in &items {
                if !is_kept(item, now_ms) {
                    break;
                }
                let first = first(item)?;
                next = next.or(Some(first + whole(item, COUNT)?));
                if number(item, WRITTEN_AT).is_some_and(|written_at| written_at < since_ms) {
                    return Ok(Tail { next: next.unwrap_or(first), known });
                }
                // What cannot be read is nothing that is appended now.
                known.extend(Entry::read(item).into_iter().flat_map(|entry| entry.events).map(|change| change.id));
                before = first.saturating_sub(1);
            }
            let is_last = items.len() < LOOK_BACK;
            if is_last || items.last().is_some_and(|item| !is_kept(item, now_ms)) {
                let next = match next {
                    Some(next) => next,
                    None => self.begin_journal(organization, now_ms).await?,
                };
                return Ok(Tail { next, known });
            }
        }
    }

    /// Where a journal begins of which nothing is left: the same for all who ask at once.
    async fn begin_journal(&self, organization: &OrganizationId, now_ms: i64) -> Result<u64> {
        /// More than an organization writes over the years.
        const EVENTS_A_SECOND: i64 = 100;
        let key = keys::journal_start(organization);
        let begun = self.get_item(&key).await?;
        let (sequence, condition) = match &begun {
            None => (1, Expression::default().if_item_absent()),
            // Nothing that was written since then can have gone.
            Some(begun) if number(begun, BEGAN_AT).is_some_and(|at| at / 1000 + TTL_SECS > now_ms / 1000) => {
                return whole(begun, SEQUENCE);
            }
            Some(begun) => {
                let sequence = (now_ms / 1000 * EVENTS_A_SECOND).max(number(begun, SEQUENCE).unwrap_or(0) + 1);
                (sequence, Expression::default().if_still(BEGAN_AT, begun.get(BEGAN_AT).cloned()))
            }
        };
        let item = Item::from([(SEQUENCE.into(), n(sequence)), (BEGAN_AT.into(), n(now_ms))]);
        match self.put_if(&key, item, &condition).await? {
            None => u64::try_from(sequence).map_err(Error::internal),
            Some(other) => whole(&other, SEQUENCE),
        }
    }

    /// Up to `limit` events after `after`; from the oldest that is kept, where that is `None`. Nothing where what comes next is
    /// not kept any more, or there never was such a place.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn journal(
        &self,
        organization: &OrganizationId,
        after: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<Page>> {
        let begins_after = after.unwrap_or(0);
        let mut events: Vec<Journaled> = Vec::new();
        let mut from = begins_after + 1;
        loop {
            let items = self.journal_entries(organization, from, keys::SEQUENCE_MAX, true, ENTRIES).await?;
            let is_last = items.len() < ENTRIES;
            for item in items.into_iter().filter(|item| is_kept(item, now_ms)) {
                let entry = Entry::read(&item)?;
                from = entry.last() + 1;
                events.extend(entry.journaled());
            }
            if is_last || events.len() > limit {
                break;
            }
        }
        if let Some(after) = after
            && events.first().is_none_or(|event| event.sequence != after + 1)
        {
            // It may be in the middle of an entry, or at the end.
            let covering = self.journal_entries(organization, 0, after, false, 1).await?;
            let covering = covering.first().filter(|item| is_kept(item, now_ms)).map(Entry::read).transpose()?;
            let end = covering.as_ref().map_or(0, Entry::last);
            let follows = events.first().is_none_or(|event| event.sequence == end + 1);
            if end < after || !follows {
                return Ok(None);
            }
            let rest = covering.into_iter().flat_map(Entry::journaled).filter(|event| event.sequence > after);
            events = rest.chain(events).collect();
        }
        let more = events.len() > limit;
        events.truncate(limit);
        let last = events.last().map_or(begins_after, |event| event.sequence);
        Ok(Some(Page { events, last, more }))
    }

    /// The sequence of the newest event; 0 where there is none.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn journal_end(&self, organization: &OrganizationId, now_ms: i64) -> Result<u64> {
        let items = self.journal_entries(organization, 0, keys::SEQUENCE_MAX, false, 1).await?;
        match items.first().filter(|item| is_kept(item, now_ms)) {
            Some(item) => Ok(first(item)? + whole(item, COUNT)? - 1),
            None => Ok(0),
        }
    }

    /// The events that were written since then, the newest entry first, of so many entries at most; and since when these are all:
    /// never before the journal began. Nothing where it has not begun.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn journal_since(
        &self,
        organization: &OrganizationId,
        since_ms: i64,
        most_entries: usize,
    ) -> Result<Option<(Vec<Change>, i64)>> {
        let begun = self.get_item(&keys::journal_start(organization)).await?;
        let Some(began_ms) = begun.and_then(|begun| number(&begun, BEGAN_AT)) else { return Ok(None) };
        let since_ms = since_ms.max(began_ms);
        let mut changes = Vec::new();
        let (mut before, mut read) = (keys::SEQUENCE_MAX, 0);
        loop {
            let items = self.journal_entries(organization, 0, before, false, ENTRIES).await?;
            let is_last = items.len() < ENTRIES;
            for item in &items {
                let written_at = number(item, WRITTEN_AT).unwrap_or(0);
                if written_at < since_ms {
                    return Ok(Some((changes, since_ms)));
                }
                read += 1;
                if read > most_entries {
                    return Ok(Some((changes, written_at)));
                }
                before = first(item)?.saturating_sub(1);
                changes.extend(Entry::read(item)?.events);
            }
            if is_last {
                return Ok(Some((changes, since_ms)));
            }
        }
    }

    /// Up to so many entries whose first event lies between these, both included.
    async fn journal_entries(
        &self,
        organization: &OrganizationId,
        from: u64,
        to: u64,
        ascending: bool,
        limit: usize,
    ) -> Result<Vec<Item>> {
        let (from, to) = (keys::sequence_digits(from), keys::sequence_digits(to));
        if from > to {
            return Ok(Vec::new());
        }
        let query = Query::of(keys::journal_partition(organization)).between(from, to).limit(limit);
        let mut pages = self.pages(if ascending { query } else { query.newest_first() });
        let mut items = Vec::new();
        // A page ends at a megabyte, too.
        while items.len() < limit
            && let Some(page) = pages.next().await?
        {
            items.extend(page);
        }
        items.truncate(limit);
        Ok(items)
    }
}

/// Events of one entry, as JSON.
struct Part {
    events: String,
    count: usize,
}

/// Splits changes into entries.
fn parts(changes: &[&Change]) -> Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for change in changes {
        let event = serde_json::to_string(change).map_err(Error::internal)?;
        match parts.last_mut() {
            Some(part) if part.count < ENTRY_EVENTS_MAX && part.events.len() + event.len() < ENTRY_MAX_BYTES => {
                part.events.extend([",", &event]);
                part.count += 1;
            }
            _ => parts.push(Part { events: format!("[{event}"), count: 1 }),
        }
    }
    for part in &mut parts {
        part.events.push(']');
    }
    Ok(parts)
}
