//! Quarantine: what could not be understood or routed, as a delivery of its own, with the reason, until it is replayed or runs out.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use serde::{Deserialize, Serialize};

use super::{
    AuditAction, AuditEntry, Item, OwnAccount, Store, Stored, Written,
    expression::{Expression, n, s},
    keys,
    query::Query,
    read,
};
use crate::{
    clock,
    delivery::{ACCOUNT_NOT_PROVEN, ACCOUNT_OF_NOBODY, OF_FORMER_OWNER},
    error::{Error, Result},
    id::{AccountId, OrganizationId, QuarantineId, fingerprint},
    platform::Platform,
    webhook_token::Proof,
};

/// What kind of thing it is, as far as that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineKind {
    /// A message of a customer.
    Message,
    /// A message of the business.
    Echo,
    /// A status of a message.
    Status,
    /// Delivered or read up to a point.
    Watermark,
    /// A reaction to a message.
    Reaction,
    /// An edit of a message.
    Edit,
    /// A message taken back.
    Unsend,
    /// News of the account.
    Notice,
    /// An event that is not understood.
    Unknown,
    /// A whole delivery that cannot be taken apart.
    Delivery,
}

impl QuarantineKind {
    /// Its name in keys and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Echo => "echo",
            Self::Status => "status",
            Self::Watermark => "watermark",
            Self::Reaction => "reaction",
            Self::Edit => "edit",
            Self::Unsend => "unsend",
            Self::Notice => "notice",
            Self::Unknown => "unknown",
            Self::Delivery => "delivery",
        }
    }
}

/// Something to be kept.
#[derive(Clone, Debug)]
pub struct Quarantined<'a> {
    /// Why, in fixed words.
    pub reason: &'a str,
    /// What it is.
    pub kind: QuarantineKind,
    /// The platform, where it is known.
    pub platform: Option<Platform>,
    /// The account, where it is known.
    pub account: Option<&'a AccountId>,
    /// What the delivery proved that it came with.
    pub proof: &'a Proof,
    /// Who owned the account then.
    pub owner: Option<&'a OrganizationId>,
    /// What tells it from everything else of the account.
    pub identity: &'a [u8],
    /// A delivery of it alone.
    pub delivery: &'a [u8],
}

/// Something that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineEntry {
    /// Its id.
    pub id: QuarantineId,
    /// Why it is here.
    pub reason: String,
    /// What it is.
    pub kind: QuarantineKind,
    /// The platform, where it is known.
    pub platform: Option<Platform>,
    /// The account, where it is known.
    pub account_id: Option<AccountId>,
    /// What its delivery proved.
    pub proof: Proof,
    /// Who owned the account when it came.
    pub owner_id: Option<OrganizationId>,
    /// When it came, epoch milliseconds.
    pub received_at: i64,
    /// How large it is.
    pub size_bytes: usize,
    /// When a replay found its place, epoch milliseconds.
    pub replayed_at: Option<i64>,
    parts: usize,
    #[serde(rename = "pk")]
    partition: String,
}

/// Who may see something and have it replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// That organization: it owned the account, or the delivery came with its token and nobody did.
    Organization(&'a OrganizationId),
    /// Whoever has proven to own the account: nobody had, and the provider itself told.
    Owner,
    /// Only who runs the service: it came with the token of one organization and is about another's account (it may be forged, or
    /// of a former owner), it is of a former owner's time, or it names no account.
    Operator,
}

/// Which of a day's entries are asked for; by default all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen<'a> {
    /// Only what is there for this reason.
    pub reason: Option<&'a str>,
    /// Only what is about this account.
    pub account: Option<(Platform, &'a AccountId)>,
}

/// A page of the quarantine.
#[derive(Debug)]
pub struct QuarantinePage {
    /// Newest first.
    pub entries: Vec<QuarantineEntry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// How long it is kept.
const TTL_SECS: i64 = 30 * DAY_SECS;
const DAY_SECS: i64 = 24 * 60 * 60;
/// The most bytes of one item; DynamoDB takes 400 KB.
const PART_MAX_BYTES: usize = 300_000;
/// The most bytes of the first part, which the index copies and lists read.
const FIRST_PART_MAX_BYTES: usize = 16_000;
/// What lists read of an item: everything but its bytes.
const SUMMARY: [&str; 13] = [
    "id",
    "reason",
    "kind",
    "platform",
    "accountId",
    "proof",
    "ownerId",
    "receivedAt",
    "sizeBytes",
    "replayedAt",
    "parts",
    keys::PK,
    keys::INBOX_SORT,
];
/// How many names of partitions a process remembers.
const PARTITIONS_MAX: usize = 10_000;

fn audience<'a>(
    reason: &str,
    account: Option<&AccountId>,
    token_of: Option<&'a OrganizationId>,
    owner: Option<&'a OrganizationId>,
) -> Audience<'a> {
    match (account, token_of, owner) {
        _ if reason == OF_FORMER_OWNER => Audience::Operator,
        (None, ..) => Audience::Operator,
        (Some(_), Some(token_of), Some(owner)) if token_of != owner => Audience::Operator,
        (Some(_), _, Some(owner)) => Audience::Organization(owner),
        (Some(_), Some(token_of), None) => Audience::Organization(token_of),
        (Some(_), None, None) => Audience::Owner,
    }
}

impl QuarantineEntry {
    /// Who may see it.
    #[must_use]
    pub fn audience(&self) -> Audience<'_> {
        audience(&self.reason, self.account_id.as_ref(), self.proof.organization(), self.owner_id.as_ref())
    }
}

impl Quarantined<'_> {
    /// The same for what the provider repeats; what two accounts receive alike, or with another proof, is kept for each.
    fn fingerprint(&self) -> String {
        let about = format!(
            "quarantine/2/{}/{}/{}/{}/{}",
            self.reason,
            self.platform.map(Platform::as_str).unwrap_or_default(),
            self.account.map(AccountId::as_str).unwrap_or_default(),
            self.proof,
            self.owner.map(OrganizationId::as_str).unwrap_or_default(),
        );
        fingerprint(&about, self.identity)
    }

    /// The partition that it is kept in.
    fn partition(&self, day: &str) -> String {
        keys::quarantine_partition(day, self.proof.organization().or(self.owner), self.platform.zip(self.account))
    }

    /// The partition of the index that its audience reads.
    fn index_partition(&self) -> Option<String> {
        let (platform, account) = (self.platform?, self.account?);
        match audience(self.reason, self.account, self.proof.organization(), self.owner) {
            Audience::Organization(organization) => Some(keys::quarantine_of(organization, platform, account)),
            Audience::Owner => Some(keys::quarantine_of_nobody(platform, account)),
            Audience::Operator => None,
        }
    }
}

impl Store {
    /// Keeps it, in as many parts as it needs. What came for the account before on the same day is kept once.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn quarantine(&self, quarantined: &Quarantined<'_>, now_ms: i64) -> Result<Stored> {
        let (day, hash) = (clock::day(now_ms), quarantined.fingerprint());
        let id = QuarantineId::of(now_ms, &hash);
        let partition = quarantined.partition(&day);
        self.name_partition(&day, &partition, now_ms).await?;
        let delivery = quarantined.delivery;
        let (first, rest) = delivery.split_at(delivery.len().min(FIRST_PART_MAX_BYTES));
        let rest: Vec<&[u8]> = rest.chunks(PART_MAX_BYTES).collect();
        let expires_at = n(now_ms / 1000 + TTL_SECS);
        // The first part comes last: where it is, all are.
        for (number, part) in (1..).zip(&rest) {
            let item = Item::from([
                ("raw".into(), AttributeValue::B(Blob::new(*part))),
                (keys::EXPIRES_AT.into(), expires_at.clone()),
            ]);
            self.put_if_absent(&keys::quarantine(&partition, &hash, number), item).await?;
        }
        let mut item = Item::from([
            ("id".into(), s(id.as_str())),
            ("reason".into(), s(quarantined.reason)),
            ("kind".into(), s(quarantined.kind.as_str())),
            ("proof".into(), s(quarantined.proof.to_string())),
            ("raw".into(), AttributeValue::B(Blob::new(first))),
            ("parts".into(), n(1 + rest.len())),
            ("sizeBytes".into(), n(delivery.len())),
            ("receivedAt".into(), n(now_ms)),
            (keys::EXPIRES_AT.into(), expires_at),
        ]);
        let named = [
            ("platform", quarantined.platform.map(Platform::as_str)),
            ("accountId", quarantined.account.map(AccountId::as_str)),
            ("ownerId", quarantined.owner.map(OrganizationId::as_str)),
        ];
        item.extend(named.into_iter().filter_map(|(name, value)| Some((name.into(), s(value?)))));
        if let Some(index_partition) = quarantined.index_partition() {
            item.insert(keys::INBOX_KEY.into(), s(index_partition));
            item.insert(keys::INBOX_SORT.into(), s(id.as_str()));
        }
        match self.put_if_absent(&keys::quarantine(&partition, &hash, 0), item).await? {
            None => Ok(Stored::New),
            Some(_) => Ok(Stored::Duplicate),
        }
    }

    /// Stores the name of a partition of the day, before anything is kept there. That of what names no account is known.
    async fn name_partition(&self, day: &str, partition: &str, now_ms: i64) -> Result<()> {
        let is_named = self.partitions.lock().is_ok_and(|named| named.contains(partition));
        if is_named || partition == keys::quarantine_partition(day, None, None) {
            return Ok(());
        }
        let expires_at = n(now_ms / 1000 + TTL_SECS + DAY_SECS);
        let item = Item::from([(keys::EXPIRES_AT.into(), expires_at)]);
        self.put_if_absent(&keys::quarantine_partition_name(day, partition), item).await?;
        if let Ok(mut named) = self.partitions.lock() {
            if named.len() >= PARTITIONS_MAX {
                named.clear();
            }
            named.insert(partition.to_owned());
        }
        Ok(())
    }

    /// Up to `limit` entries that wait on these accounts of the organization and stand behind `after`, newest first. The accounts
    /// have to be its own; what the provider told of them before is only in sight where they are proven to be.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn quarantine_of_accounts(
        &self,
        organization: &OrganizationId,
        accounts: &[OwnAccount],
        after: Option<&str>,
        limit: usize,
    ) -> Result<QuarantinePage> {
        let partitions = accounts.iter().flat_map(|OwnAccount { platform, id, proven }| {
            let of_nobody = proven.then(|| keys::quarantine_of_nobody(*platform, id));
            of_nobody.into_iter().chain([keys::quarantine_of(organization, *platform, id)])
        });
        let segments = partitions.map(|partition| self.quarantine_segment(partition, after, limit + 1));
        let mut entries: Vec<QuarantineEntry> =
            futures_util::future::try_join_all(segments).await?.into_iter().flatten().collect();
        entries.sort_by(|a, b| b.id.cmp(&a.id));
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.id.to_string());
        Ok(QuarantinePage { entries, next })
    }

    /// What came for an account while nobody owned it, or had proven to, and no longer ago than `since_ms`: for the organization that
    /// has proven to own it now, up to `limit` entries, the newest first.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn quarantine_before_connecting(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        since_ms: i64,
        limit: usize,
    ) -> Result<Vec<QuarantineEntry>> {
        let accounts = [OwnAccount { platform, id: account.clone(), proven: true }];
        let mut waiting = Vec::new();
        let mut after = None;
        loop {
            let page = self.quarantine_of_accounts(organization, &accounts, after.as_deref(), limit).await?;
            let is_over = page.next.is_none() || page.entries.last().is_some_and(|entry| entry.received_at < since_ms);
            let recent = page.entries.into_iter().filter(|entry| entry.received_at >= since_ms);
            waiting.extend(
                recent.filter(|entry| [ACCOUNT_OF_NOBODY, ACCOUNT_NOT_PROVEN].contains(&entry.reason.as_str())),
            );
            if is_over || waiting.len() >= limit {
                return Ok(waiting);
            }
            after = page.next;
        }
    }

    /// The newest entries of a partition of the index, below `after`.
    async fn quarantine_segment(
        &self,
        partition: String,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QuarantineEntry>> {
        let mut pages = self.pages(Query::of_inbox(partition).below(after).only(&SUMMARY).newest_first().limit(limit));
        let mut entries = Vec::new();
        while entries.len() < limit
            && let Some(items) = pages.next().await?
        {
            entries.extend(items.into_iter().map(read).collect::<Result<Vec<_>>>()?);
        }
        Ok(entries)
    }

    /// One entry of a partition, whoever may see it: its audience has to be asked for.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn any_quarantined(&self, partition: &str, id: &QuarantineId) -> Result<Option<QuarantineEntry>> {
        let entry: Option<QuarantineEntry> = self.get(&keys::quarantine(partition, id.hash(), 0)).await?;
        Ok(entry.filter(|entry| entry.id == *id))
    }

    /// What came on a day and waits, of all organizations, for who runs the service: up to `limit` entries behind `after`, by no
    /// order that tells anything, and where to go on. A page may be empty and not the last one.
    ///
    /// # Errors
    /// When the table does not answer, or `after` is not where a page ended.
    pub async fn quarantine_of_day(
        &self,
        day: &str,
        chosen: Chosen<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<QuarantinePage> {
        let first = keys::quarantine_partition(day, None, None);
        // A partition, and the last sort key of it that was read: keys hold no spaces.
        let (partition, after) = after
            .map_or(Some((first.as_str(), "")), |after| after.split_once(' '))
            .ok_or_else(|| Error::invalid_body("`after` is the `next` of an earlier run", "after"))?;
        // The later parts of an entry have no id of their own.
        let mut expression = Expression::default().if_absent("replayedAt").if_exists("id");
        if let Some(reason) = chosen.reason {
            expression = expression.if_compares("reason", "=", s(reason));
        }
        if let Some((platform, account)) = chosen.account {
            expression = expression.if_compares("platform", "=", s(platform.as_str()));
            expression = expression.if_compares("accountId", "=", s(account.as_str()));
        }
        let query = Query::of(partition.to_owned()).above(after).filter(expression).only(&SUMMARY);
        let mut pages = self.pages(query.limit(limit));
        let entries = pages.next().await?.into_iter().flatten().map(read).collect::<Result<_>>()?;
        let next = match pages.position() {
            Some(last) => Some(format!("{partition} {last}")),
            None => self.partition_behind(day, if partition == first { "" } else { partition }).await?,
        };
        Ok(QuarantinePage { entries, next })
    }

    /// Where the partition of the day begins whose name comes next.
    async fn partition_behind(&self, day: &str, partition: &str) -> Result<Option<String>> {
        let names = Query::of(keys::quarantine_partitions(day)).above(partition);
        let items = self.query(names.limit(1)).await?;
        let next = items.first().and_then(|item| item.get(keys::SK)?.as_s().ok());
        Ok(next.map(|next| format!("{next} ")))
    }

    /// The delivery that is kept.
    ///
    /// # Errors
    /// When the table does not answer, or a part is missing.
    pub async fn quarantined_delivery(&self, entry: &QuarantineEntry) -> Result<Vec<u8>> {
        let mut delivery = Vec::with_capacity(entry.size_bytes);
        for part in 0..entry.parts {
            let item = self.get_item(&keys::quarantine(&entry.partition, entry.id.hash(), part)).await?;
            let raw = item.as_ref().and_then(|item| item.get("raw")?.as_b().ok());
            delivery
                .extend_from_slice(raw.ok_or_else(|| Error::internal("a part of the quarantine is missing"))?.as_ref());
        }
        Ok(delivery)
    }

    /// Notes that it is of a former owner's time, and so can never be anybody's: a later owner's time begins later still. It is listed
    /// no longer.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn mark_of_former_owner(&self, entry: &QuarantineEntry) -> Result<()> {
        let key = keys::quarantine(&entry.partition, entry.id.hash(), 0);
        let expression = Expression::default()
            .set("reason", s(OF_FORMER_OWNER))
            .remove(keys::INBOX_KEY)
            .remove(keys::INBOX_SORT)
            .if_item_exists();
        self.update(&key, expression).await.map(drop)
    }

    /// Notes that a replay found its place: it is listed no longer, and stays until it runs out. `told` is the organization whose audit
    /// trail tells of it, as what, and the user who had it replayed. `Duplicate` when it was noted before.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn mark_replayed(
        &self,
        entry: &QuarantineEntry,
        told: Option<(&OrganizationId, AuditAction, Option<&str>)>,
        now_ms: i64,
    ) -> Result<Stored> {
        let key = keys::quarantine(&entry.partition, entry.id.hash(), 0);
        let expression = Expression::default()
            .set("replayedAt", n(now_ms))
            .remove(keys::INBOX_KEY)
            .remove(keys::INBOX_SORT)
            .if_item_exists()
            .if_absent("replayedAt");
        let Some((organization, action, user)) = told else {
            return Ok(match self.update(&key, expression).await? {
                Written::Done(_) => Stored::New,
                Written::Refused(_) => Stored::Duplicate,
            });
        };
        let audit = AuditEntry {
            platform: entry.platform,
            account_id: entry.account_id.clone(),
            quarantine_id: Some(entry.id.clone()),
            ..AuditEntry::new(action, user, now_ms)?
        };
        let writes = vec![self.transact_update(&key, &expression)?, self.audit_write(organization, &audit)?];
        match self.transact(writes, |_| Error::Conflict).await {
            Ok(()) => Ok(Stored::New),
            Err(Error::Conflict) => Ok(Stored::Duplicate),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whom_it_concerns_sees_it() {
        let (acme, globex): (OrganizationId, OrganizationId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let account: AccountId = "1".parse().unwrap();
        let of = |token_of, owner| audience(ACCOUNT_OF_NOBODY, Some(&account), token_of, owner);

        assert_eq!(of(None, None), Audience::Owner);
        assert_eq!(of(None, Some(&acme)), Audience::Organization(&acme));
        assert_eq!(of(Some(&acme), Some(&acme)), Audience::Organization(&acme));
        assert_eq!(of(Some(&acme), None), Audience::Organization(&acme));
        assert_eq!(of(Some(&acme), Some(&globex)), Audience::Operator);
        assert_eq!(audience(ACCOUNT_OF_NOBODY, None, None, None), Audience::Operator);
        assert_eq!(audience(ACCOUNT_OF_NOBODY, None, Some(&acme), None), Audience::Operator);
        assert_eq!(audience(OF_FORMER_OWNER, Some(&account), None, Some(&acme)), Audience::Operator);
    }
}
