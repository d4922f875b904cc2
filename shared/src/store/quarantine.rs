//! Quarantine: what could not be understood or routed, raw, with the reason, until somebody looks.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

use super::{
    Item, Store, Stored,
    expression::{n, s},
    keys,
};
use crate::{clock, error::Result, id::fingerprint};

/// Something to be kept.
#[derive(Clone, Debug)]
pub struct Quarantined<'a> {
    /// Why, in fixed words.
    pub reason: &'a str,
    /// The platform, where it is known.
    pub platform: Option<&'a str>,
    /// The account, where it is known.
    pub account: Option<&'a str>,
    /// The bytes as they came.
    pub raw: &'a [u8],
}

/// How long it is kept.
const TTL_SECS: i64 = 30 * 24 * 60 * 60;
/// The most bytes of one item; DynamoDB takes 400 KB.
const PART_MAX_BYTES: usize = 300_000;

impl Store {
    /// Keeps it, in as many parts as it needs. What came for the account before on the same day is kept once.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn quarantine(&self, quarantined: &Quarantined<'_>, now_ms: i64) -> Result<Stored> {
        // What two accounts receive alike is kept for each of them.
        let Quarantined { reason, platform, account, raw } = quarantined;
        let about = format!("quarantine/1/{reason}/{}/{}", platform.unwrap_or_default(), account.unwrap_or_default());
        let id = fingerprint(&about, raw);
        let parts: Vec<&[u8]> =
            if quarantined.raw.is_empty() { vec![&[]] } else { quarantined.raw.chunks(PART_MAX_BYTES).collect() };
        let mut stored = Stored::Duplicate;
        for (number, part) in parts.iter().enumerate() {
            let mut item = Item::from([
                ("reason".into(), s(quarantined.reason)),
                ("raw".into(), AttributeValue::B(Blob::new(*part))),
                ("parts".into(), n(parts.len())),
                ("receivedAt".into(), n(now_ms)),
                (keys::EXPIRES_AT.into(), n(now_ms / 1000 + TTL_SECS)),
            ]);
            let named = [("platform", quarantined.platform), ("accountId", quarantined.account)];
            item.extend(named.into_iter().filter_map(|(name, value)| Some((name.into(), s(value?)))));
            let key = keys::quarantine(&clock::day(now_ms), &id, number);
            if self.put_if_absent(&key, item).await?.is_none() {
                stored = Stored::New;
            }
        }
        Ok(stored)
    }
}
