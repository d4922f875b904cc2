//! Ids, parsed once at the edge: none is empty, too long, or holds `#`, the separator of the table's keys,
//! so no id can forge a key.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::platform::Channel;

/// The longest id that comes from outside, in bytes.
const MAX_BYTES: usize = 128;

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 128 visible ASCII characters without '#' and '/'")]
pub struct InvalidId;

fn parse(text: &str) -> Result<String, InvalidId> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b'/';
    if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(allowed) {
        return Err(InvalidId);
    }
    Ok(text.to_owned())
}

/// An organization: the tenant. Without brackets: API Gateway prints a list of organizations as `[a]`, which is none of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct OrganizationId(String);

/// An account at a platform: phone number id, Instagram account id, page id; also the pseudo account of a channel
/// without a platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct AccountId(String);

/// A conversation: 32 lower-case hex characters, a hash of (organization, channel, account, customer). It is computed,
/// never looked up, and holds nothing of the customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ConversationId(String);

/// A message: `<epoch milliseconds, 13 digits>-<32 hex characters>`. Sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct MessageId(String);

/// Something in quarantine: `<when it came, epoch milliseconds, 13 digits>-<32 hex characters>`. Sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct QuarantineId(String);

/// An entry of the audit trail: `<when it happened, epoch milliseconds, 13 digits>-<32 hex characters>`. Sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct AuditId(String);

macro_rules! id {
    ($name:ident, $parse:path) => {
        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                $parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
    };
}

id!(OrganizationId, parse_organization);
id!(AccountId, parse);
id!(ConversationId, parse_hash);
id!(MessageId, parse_timed_hash);
id!(QuarantineId, parse_timed_hash);
id!(AuditId, parse_timed_hash);

fn parse_organization(text: &str) -> Result<String, InvalidId> {
    if text.contains(['[', ']']) { Err(InvalidId) } else { parse(text) }
}

const HASH_BYTES: usize = 16;

fn is_hash(text: &str) -> bool {
    text.len() == 2 * HASH_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse_hash(text: &str) -> Result<String, InvalidId> {
    if is_hash(text) { Ok(text.to_owned()) } else { Err(InvalidId) }
}

/// How many digits a time has in ids and keys: enough until the year 2286.
const TIME_DIGITS: usize = 13;

/// The latest time that fits.
const MAX_TIME: i64 = 9_999_999_999_999;

fn parse_timed_hash(text: &str) -> Result<String, InvalidId> {
    match text.split_once('-') {
        Some((time, hash))
            if time.len() == TIME_DIGITS && time.bytes().all(|byte| byte.is_ascii_digit()) && is_hash(hash) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(InvalidId),
    }
}

/// Epoch milliseconds as they stand in ids and sort keys.
#[must_use]
pub fn time_digits(epoch_ms: i64) -> String {
    format!("{:0TIME_DIGITS$}", epoch_ms.clamp(0, MAX_TIME))
}

/// Parts are separated by a byte that no part can be confused over: each comes with its length.
fn hash<'a>(domain: &str, parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new_with_prefix(domain);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex::encode(&hasher.finalize()[..HASH_BYTES])
}

impl ConversationId {
    /// The conversation of a customer, known by `customer` (an id of one kind, already in its canonical spelling), on an account.
    #[must_use]
    pub fn of(organization: &OrganizationId, channel: Channel, account: &AccountId, customer: &str) -> Self {
        Self(hash("conversation/1", [organization.as_str(), channel.as_str(), account.as_str(), customer]))
    }

    /// A conversation beside this one, that has the phone number whose id this is at another time.
    #[must_use]
    pub fn beside(&self, what: &str) -> Self {
        Self(hash("beside/1", [self.as_str(), what]))
    }
}

impl MessageId {
    /// The message that its sender calls `external_id`, written at that time.
    #[must_use]
    pub fn of(epoch_ms: i64, external_id: &str) -> Self {
        Self(format!("{}-{}", time_digits(epoch_ms), hash("message/1", [external_id])))
    }

    /// When it was written, epoch milliseconds.
    #[must_use]
    pub fn epoch_ms(&self) -> i64 {
        epoch_ms(&self.0)
    }
}

impl QuarantineId {
    /// What came at that time and has that [`fingerprint`].
    #[must_use]
    pub fn of(epoch_ms: i64, hash: &str) -> Self {
        Self(format!("{}-{hash}", time_digits(epoch_ms)))
    }

    /// When it came, epoch milliseconds.
    #[must_use]
    pub fn epoch_ms(&self) -> i64 {
        epoch_ms(&self.0)
    }

    /// Its fingerprint.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0[TIME_DIGITS + 1..]
    }
}

impl AuditId {
    /// What happened at that time; `hash` has 32 hex characters.
    #[must_use]
    pub fn of(epoch_ms: i64, hash: &str) -> Self {
        Self(format!("{}-{hash}", time_digits(epoch_ms)))
    }

    /// When it happened, epoch milliseconds.
    #[must_use]
    pub fn epoch_ms(&self) -> i64 {
        epoch_ms(&self.0)
    }
}

fn epoch_ms(timed_hash: &str) -> i64 {
    timed_hash[..TIME_DIGITS].parse().unwrap_or(0)
}

/// A short stable name for arbitrary bytes: 32 lower-case hex characters.
#[must_use]
pub fn fingerprint(domain: &str, content: &[u8]) -> String {
    let mut hasher = Sha256::new_with_prefix(domain);
    hasher.update(content);
    hex::encode(&hasher.finalize()[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_hold_the_separator_of_keys() {
        for text in ["", "a#b", "a b", "a/b", "ä", "a\u{0}", &"x".repeat(129)] {
            assert!(text.parse::<OrganizationId>().is_err(), "{text}");
        }
        assert!("66f1c0ffee-ACME.1:x@y".parse::<OrganizationId>().is_ok());
    }

    #[test]
    fn organization_ids_hold_no_brackets() {
        for text in ["[acme]", "[acme", "acme]", "a[c]me"] {
            assert!(text.parse::<OrganizationId>().is_err(), "{text}");
            assert!(text.parse::<AccountId>().is_ok(), "{text}");
        }
    }

    #[test]
    fn conversation_ids_are_golden() {
        let organization = "acme".parse().unwrap();
        let account = "700100200300402".parse().unwrap();
        let id = ConversationId::of(&organization, Channel::Whatsapp, &account, "phone:491713920012");
        assert_eq!(id.as_str(), "1a9d669738860f034c07171091c3c799");
        assert_eq!(id.as_str().parse::<ConversationId>().unwrap(), id);
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(hash("x", ["ab", "c"]), hash("x", ["a", "bc"]));
    }

    #[test]
    fn message_ids_sort_by_time_and_tell_it() {
        let early = MessageId::of(999, "wamid.Z");
        let late = MessageId::of(1_767_877_200_000, "wamid.A");
        assert!(early < late);
        assert_eq!(late.epoch_ms(), 1_767_877_200_000);
        assert_eq!(late.as_str().parse::<MessageId>().unwrap(), late);
    }

    #[test]
    fn foreign_shapes_are_no_message_ids() {
        for text in ["", "1-2", "1767877200000", "1767877200000-XYZ", "1767877200000-0123456789ABCDEF0123456789ABCDEF"]
        {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }
}
