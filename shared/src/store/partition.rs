//! The partitions that a conversation's messages are in.
//!
//! A user id is one person's for ever; a phone number has one holder after another. What comes with a user id lies in that id's
//! partition, the rest in the phone number's, and messages never move: of a number's partition, a conversation has the times at
//! which its customer held the number.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Item, Message};
use crate::id::{ConversationId, InvalidId, time_digits};

/// A partition, or what it holds of a time: `<id>`, `<id>@<from>-<until>`, where either time may be missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Partition {
    /// Whose it is.
    pub id: ConversationId,
    /// What was written then, epoch milliseconds, and later.
    pub from: Option<i64>,
    /// What was written before that.
    pub until: Option<i64>,
}

impl Partition {
    /// All of it.
    #[must_use]
    pub fn whole(id: ConversationId) -> Self {
        Self { id, from: None, until: None }
    }

    /// Whether a time is of it.
    #[must_use]
    pub fn contains(&self, at: i64) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether a message is of it.
    #[must_use]
    pub fn holds(&self, message: &Message) -> bool {
        self.id == message.conversation_id && self.contains(message.id.epoch_ms())
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, from, until } = self;
        if from.is_none() && until.is_none() {
            return id.fmt(formatter);
        }
        let digits = |time: &Option<i64>| time.map(time_digits).unwrap_or_default();
        write!(formatter, "{id}@{}-{}", digits(from), digits(until))
    }
}

impl FromStr for Partition {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let Some((id, times)) = text.split_once('@') else { return Ok(Self::whole(text.parse()?)) };
        let (from, until) = times.split_once('-').ok_or(InvalidId)?;
        let time = |digits: &str| match digits {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| InvalidId),
        };
        Ok(Self { id: id.parse()?, from: time(from)?, until: time(until)? })
    }
}

impl TryFrom<String> for Partition {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.to_string()
    }
}

/// The attribute of a phone number's item that says who held it from when on, after its first holder: `<from>=<id>`, where the id
/// leads to the holder's conversation.
pub(super) const HOLDERS: &str = "holders";
/// The attribute of a phone number's item with the times at which a customer who had another one came to it.
pub(super) const TAKEN_AT: &str = "takenAt";

/// Who held a number, by the time from which on.
pub(super) fn holders_of(item: Option<&Item>) -> BTreeMap<i64, ConversationId> {
    let holders = item.and_then(|item| item.get(HOLDERS)?.as_ss().ok());
    let holder = |text: &String| {
        let (from, id) = text.split_once('=')?;
        Some((from.parse().ok()?, id.parse().ok()?))
    };
    holders.into_iter().flatten().filter_map(holder).collect()
}

/// The next time after that one at which a customer came to the number.
pub(super) fn next_taken(item: Option<&Item>, after: i64) -> Option<i64> {
    let taken = item.and_then(|item| item.get(TAKEN_AT)?.as_ss().ok());
    taken.into_iter().flatten().filter_map(|time| time.parse().ok()).filter(|time| *time > after).min()
}

/// Whose the messages of a time in an id's partition are: the part of it around that time, and the id that leads to them.
pub(super) fn part_at(item: Option<&Item>, id: &ConversationId, at: i64) -> (Partition, ConversationId) {
    let holders = holders_of(item);
    let current = holders.range(..=at).next_back();
    let until = holders.range(at.saturating_add(1)..).next().map(|(until, _)| *until);
    let part = Partition { id: id.clone(), from: current.map(|(from, _)| *from), until };
    (part, current.map_or(id, |(_, holder)| holder).clone())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    fn id(digit: char) -> ConversationId {
        digit.to_string().repeat(32).parse().unwrap()
    }

    #[test]
    fn partitions_are_read_as_they_are_written() {
        for (from, until) in [(None, None), (Some(5), None), (None, Some(1_767_877_200_000)), (Some(1), Some(2))] {
            let partition = Partition { id: id('a'), from, until };
            assert_eq!(partition.to_string().parse(), Ok(partition));
        }
        for text in ["", "a", "0123@1-", &format!("{}@1", id('a')), &format!("{}@x-", id('a'))] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_time_of_a_number_has_one_holder() {
        let holders = ["0000000000020=".to_owned() + id('b').as_str(), "0000000000030=".to_owned() + id('c').as_str()];
        let item = Item::from([(HOLDERS.into(), AttributeValue::Ss(holders.into()))]);
        for (at, from, until, holder) in [
            (19, None, Some(20), 'a'),
            (20, Some(20), Some(30), 'b'),
            (29, Some(20), Some(30), 'b'),
            (30, Some(30), None, 'c'),
            (i64::MAX, Some(30), None, 'c'),
        ] {
            let (part, found) = part_at(Some(&item), &id('a'), at);
            assert_eq!((part.from, part.until, found), (from, until, id(holder)), "{at}");
            assert!(part.contains(at));
        }
        assert_eq!(part_at(None, &id('a'), 5), (Partition::whole(id('a')), id('a')));
    }
}
