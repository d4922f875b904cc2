//! Every key of the table.
//!
//! | access pattern | index | partition key | sort key |
//! |---|---|---|---|
//! | an organization's integrations; one by platform | – | `ORG#<org>` | `INTEGRATION#<platform>` |
//! | who owns an account (webhook routing; exclusive claim; TTL 40 d once released) | – | `ACCOUNT#<platform>#<accountId>` | `OWNER` |
//! | one conversation, or the alias that leads to it | – | `ORG#<org>#CONVERSATION#<id>` | `CONVERSATION` |
//! | its messages, by time | – | same | `MESSAGE#<epoch ms>-<hash>` |
//! | an idempotency key's message (TTL 24 h) | – | same | `IDEMPOTENCY#<key>` |
//! | when a message without a usable time was first seen | – | same | `FIRST#<hash>` |
//! | which message the provider calls so: one of an account | – | `ORG#<org>#EXTERNAL#<hash of channel, account, externalId>` | `MESSAGE` |
//! | what was told of a message before it came (TTL 8 d) | – | same | `PENDING#<hash>` |
//! | inbox of one channel, newest first; all or `social`: several, merged | `inbox` | `ORG#<org>#<channel>` | `<lastMessageAt>#<id>` |
//! | messages that failed or may not have arrived, newest first | `inbox` | `ORG#<org>#PROBLEM` | `<messageId>` |
//! | quarantine of a day (TTL 30 d) that an organization's token brought, or that is about its account | – | `ORG#<org>#QUARANTINE#<yyyy-mm-dd>` | `<hash>#<part>` |
//! | the same of an account that no organization has connected | – | `QUARANTINE#<platform>#<accountId>#<yyyy-mm-dd>` | same |
//! | the same where no account is known | – | `QUARANTINE#<yyyy-mm-dd>` | same |
//! | which partitions hold something of a day (TTL 31 d) | – | `QUARANTINE#<yyyy-mm-dd>#PARTITIONS` | `<partition key>` |
//! | what waits there for an organization, by account, newest first | `inbox` | `ORG#<org>#QUARANTINE#<platform>#<accountId>` | `<receivedAt>-<hash>` |
//! | what waits there for whoever owns an account, newest first | `inbox` | `QUARANTINE#<platform>#<accountId>` | same |
//! | what was done in an organization, newest first (TTL 400 d) | – | `ORG#<org>#AUDIT` | `<epoch ms>-<hash>` |
//! | whether a refused attempt was told this hour (TTL 2 h) | – | `ORG#<org>#REFUSED` | `<hash>` |
//! | what changed in an organization, in order (TTL 30 d) | – | `ORG#<org>#JOURNAL` | `<sequence of the first event, 12 digits>` |
//! | where its journal began, so that it never begins twice | – | same | `START` |
//! | integrations whose check is due, in 4 shards | `inbox` | `CHECK#<shard>` | `<due, epoch ms>#<org>#<platform>` |
//!
//! Every write of tenant data has the organization in its partition key.

use crate::{
    id::{AccountId, AuditId, ConversationId, MessageId, OrganizationId, fingerprint, time_digits},
    platform::{Channel, Platform},
    store::ExternalId,
};

/// The partition key attribute.
pub const PK: &str = "pk";
/// The sort key attribute.
pub const SK: &str = "sk";
/// The index of conversations by channel, newest first; all attributes.
pub const INBOX: &str = "inbox";
/// The partition key attribute of [`INBOX`].
pub const INBOX_KEY: &str = "inboxKey";
/// The sort key attribute of [`INBOX`].
pub const INBOX_SORT: &str = "inboxSort";
/// The attribute after whose time (epoch seconds) DynamoDB deletes an item.
pub const EXPIRES_AT: &str = "expiresAt";
/// How the sort keys of messages begin.
pub const MESSAGE_PREFIX: &str = "MESSAGE#";
/// How the sort keys of integrations begin.
pub const INTEGRATION_PREFIX: &str = "INTEGRATION#";

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The partition key.
    pub pk: String,
    /// The sort key.
    pub sk: String,
}

/// The partition of an organization's integrations.
#[must_use]
pub fn organization(organization: &OrganizationId) -> String {
    format!("ORG#{organization}")
}

/// An integration.
#[must_use]
pub fn integration(organization: &OrganizationId, platform: Platform) -> Key {
    Key { pk: self::organization(organization), sk: format!("{INTEGRATION_PREFIX}{platform}") }
}

/// The claim on an account. Not under an organization: it says which one owns the account.
#[must_use]
pub fn account_owner(platform: Platform, account: &AccountId) -> Key {
    Key { pk: format!("ACCOUNT#{platform}#{account}"), sk: "OWNER".into() }
}

/// The partition of a conversation.
#[must_use]
pub fn conversation_partition(organization: &OrganizationId, id: &ConversationId) -> String {
    format!("ORG#{organization}#CONVERSATION#{id}")
}

/// A conversation, or the alias that leads to it.
#[must_use]
pub fn conversation(organization: &OrganizationId, id: &ConversationId) -> Key {
    Key { pk: conversation_partition(organization, id), sk: "CONVERSATION".into() }
}

/// A message.
#[must_use]
pub fn message(organization: &OrganizationId, conversation: &ConversationId, id: &MessageId) -> Key {
    Key { pk: conversation_partition(organization, conversation), sk: format!("{MESSAGE_PREFIX}{id}") }
}

/// What was sent under an idempotency key.
#[must_use]
pub fn idempotency(organization: &OrganizationId, conversation: &ConversationId, key: &str) -> Key {
    Key { pk: conversation_partition(organization, conversation), sk: format!("IDEMPOTENCY#{key}") }
}

/// When a message without a usable time was first seen.
#[must_use]
pub fn first_seen(organization: &OrganizationId, conversation: &ConversationId, external_id: &str) -> Key {
    Key {
        pk: conversation_partition(organization, conversation),
        sk: format!("FIRST#{}", fingerprint("first/1", external_id.as_bytes())),
    }
}

/// The message that has an external id. The id is hashed: the provider may give it more bytes than a key takes.
#[must_use]
pub fn external(organization: &OrganizationId, id: &ExternalId) -> Key {
    let ExternalId { channel, account, id } = id;
    let hash = fingerprint("external/1", format!("{channel}#{account}#{id}").as_bytes());
    Key { pk: format!("ORG#{organization}#EXTERNAL#{hash}"), sk: "MESSAGE".into() }
}

/// How the sort keys of what came before its message begin.
pub const PENDING_PREFIX: &str = "PENDING#";

/// A change, as JSON, that came before its message.
#[must_use]
pub fn pending(organization: &OrganizationId, id: &ExternalId, change: &str) -> Key {
    let sk = format!("{PENDING_PREFIX}{}", fingerprint("pending/1", change.as_bytes()));
    Key { sk, ..external(organization, id) }
}

/// The value of [`INBOX_KEY`].
#[must_use]
pub fn inbox(organization: &OrganizationId, channel: Channel) -> String {
    format!("ORG#{organization}#{channel}")
}

/// The value of [`INBOX_SORT`].
#[must_use]
pub fn inbox_sort(last_message_ms: i64, id: &ConversationId) -> String {
    format!("{}#{id}", time_digits(last_message_ms))
}

/// The value of [`INBOX_KEY`] of the messages that failed or may not have arrived.
#[must_use]
pub fn problems(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#PROBLEM")
}

/// The partition of what could not be understood or routed on a day: of whom it is about or who brought it, so that what one
/// sends never stands in another's way.
#[must_use]
pub fn quarantine_partition(
    day: &str,
    organization: Option<&OrganizationId>,
    account: Option<(Platform, &AccountId)>,
) -> String {
    match (organization, account) {
        (Some(organization), _) => format!("ORG#{organization}#QUARANTINE#{day}"),
        (None, Some((platform, account))) => format!("QUARANTINE#{platform}#{account}#{day}"),
        (None, None) => format!("QUARANTINE#{day}"),
    }
}

/// The partition of the names of a day's partitions made by [`quarantine_partition`].
#[must_use]
pub fn quarantine_partitions(day: &str) -> String {
    format!("QUARANTINE#{day}#PARTITIONS")
}

/// The name of one of a day's partitions.
#[must_use]
pub fn quarantine_partition_name(day: &str, partition: &str) -> Key {
    Key { pk: quarantine_partitions(day), sk: partition.to_owned() }
}

/// A part of something that could not be understood or routed.
#[must_use]
pub fn quarantine(partition: &str, hash: &str, part: usize) -> Key {
    Key { pk: partition.to_owned(), sk: format!("{hash}#{part:03}") }
}

/// The value of [`INBOX_KEY`] of what waits in quarantine for an organization.
#[must_use]
pub fn quarantine_of(organization: &OrganizationId, platform: Platform, account: &AccountId) -> String {
    format!("ORG#{organization}#QUARANTINE#{platform}#{account}")
}

/// The value of [`INBOX_KEY`] of what waits in quarantine for whoever owns the account.
#[must_use]
pub fn quarantine_of_nobody(platform: Platform, account: &AccountId) -> String {
    format!("QUARANTINE#{platform}#{account}")
}

/// The partition of an organization's audit trail.
#[must_use]
pub fn audit_partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#AUDIT")
}

/// An entry of the audit trail.
#[must_use]
pub fn audit(organization: &OrganizationId, id: &AuditId) -> Key {
    Key { pk: audit_partition(organization), sk: id.to_string() }
}

/// That a refused attempt is in the audit trail.
#[must_use]
pub fn refusal(organization: &OrganizationId, attempt: &str) -> Key {
    Key { pk: format!("ORG#{organization}#REFUSED"), sk: attempt.to_owned() }
}

/// The partition of an organization's journal.
#[must_use]
pub fn journal_partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#JOURNAL")
}

/// The entry of the journal that begins with this event.
#[must_use]
pub fn journal(organization: &OrganizationId, sequence: u64) -> Key {
    Key { pk: journal_partition(organization), sk: sequence_digits(sequence) }
}

/// Where the journal began.
#[must_use]
pub fn journal_start(organization: &OrganizationId) -> Key {
    Key { pk: journal_partition(organization), sk: "START".into() }
}

/// The highest sequence that a key takes.
pub const SEQUENCE_MAX: u64 = 999_999_999_999;

/// A sequence of the journal as it stands in keys and events.
#[must_use]
pub fn sequence_digits(sequence: u64) -> String {
    format!("{:012}", sequence.min(SEQUENCE_MAX))
}

/// What an item is about, of those that the journal tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A message, in the partition of this id of its customer.
    Message(OrganizationId, ConversationId, MessageId),
    /// A conversation.
    Conversation(OrganizationId, ConversationId),
    /// An integration.
    Integration(OrganizationId, Platform),
}

impl Subject {
    /// Reads a key; `None` for every other kind of item.
    #[must_use]
    pub fn of(pk: &str, sk: &str) -> Option<Self> {
        let organization = pk.strip_prefix("ORG#")?;
        let Some((organization, id)) = organization.split_once("#CONVERSATION#") else {
            let platform = sk.strip_prefix(INTEGRATION_PREFIX)?.parse().ok()?;
            return Some(Self::Integration(organization.parse().ok()?, platform));
        };
        let (organization, id) = (organization.parse().ok()?, id.parse().ok()?);
        if sk == "CONVERSATION" {
            return Some(Self::Conversation(organization, id));
        }
        Some(Self::Message(organization, id, sk.strip_prefix(MESSAGE_PREFIX)?.parse().ok()?))
    }

    /// Whose it is.
    #[must_use]
    pub fn organization(&self) -> &OrganizationId {
        match self {
            Self::Message(organization, ..)
            | Self::Conversation(organization, _)
            | Self::Integration(organization, _) => organization,
        }
    }
}

/// Integrations wait for their check in so many partitions of the index.
pub const CHECK_SHARDS: u8 = 4;

/// The value of [`INBOX_KEY`] of the integrations of a shard that are to be checked.
#[must_use]
pub fn check(shard: u8) -> String {
    format!("CHECK#{shard}")
}

/// The shard of an organization's integrations.
#[must_use]
pub fn check_shard(organization: &OrganizationId) -> u8 {
    let hash = fingerprint("check/1", organization.as_str().as_bytes());
    u8::from_str_radix(&hash[..2], 16).unwrap_or(0) % CHECK_SHARDS
}

/// The value of [`INBOX_SORT`] of an integration whose check is due then.
#[must_use]
pub fn check_sort(due_ms: i64, organization: &OrganizationId, platform: Platform) -> String {
    format!("{}#{organization}#{platform}", time_digits(due_ms))
}

/// Below this stands whatever is due until then.
#[must_use]
pub fn check_sort_until(now_ms: i64) -> String {
    time_digits(now_ms + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_golden() {
        let acme: OrganizationId = "acme".parse().unwrap();
        let account: AccountId = "700100200300402".parse().unwrap();
        let conversation: ConversationId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let message: MessageId = "1767877200000-0123456789abcdef0123456789abcdef".parse().unwrap();
        let key = |key: Key| format!("{} | {}", key.pk, key.sk);

        assert_eq!(key(integration(&acme, Platform::Whatsapp)), "ORG#acme | INTEGRATION#whatsapp");
        assert_eq!(key(account_owner(Platform::Facebook, &account)), "ACCOUNT#facebook#700100200300402 | OWNER");
        assert_eq!(
            key(self::message(&acme, &conversation, &message)),
            "ORG#acme#CONVERSATION#0123456789abcdef0123456789abcdef | MESSAGE#1767877200000-0123456789abcdef0123456789abcdef"
        );
        let id = ExternalId { channel: Channel::Whatsapp, account: account.clone(), id: "wamid.A".into() };
        let external_key = "ORG#acme#EXTERNAL#ba515b5768fb79f22011a06532aefb16 | MESSAGE";
        assert_eq!(key(external(&acme, &id)), external_key);
        assert_eq!(inbox(&acme, Channel::Instagram), "ORG#acme#instagram");
        assert_eq!(inbox_sort(5, &conversation), "0000000000005#0123456789abcdef0123456789abcdef");
        let day = "2026-11-23";
        let of_acme = quarantine_partition(day, Some(&acme), Some((Platform::Facebook, &account)));
        assert_eq!(key(quarantine(&of_acme, "ab", 2)), "ORG#acme#QUARANTINE#2026-11-23 | ab#002");
        let of_nobody = quarantine_partition(day, None, Some((Platform::Facebook, &account)));
        assert_eq!(of_nobody, "QUARANTINE#facebook#700100200300402#2026-11-23");
        assert_eq!(quarantine_partition(day, None, None), "QUARANTINE#2026-11-23");
        let name = quarantine_partition_name(day, &of_acme);
        assert_eq!(key(name), "QUARANTINE#2026-11-23#PARTITIONS | ORG#acme#QUARANTINE#2026-11-23");
        let of_acme = quarantine_of(&acme, Platform::Instagram, &account);
        assert_eq!(of_acme, "ORG#acme#QUARANTINE#instagram#700100200300402");
        let audit_id: AuditId = "1767877200000-0123456789abcdef0123456789abcdef".parse().unwrap();
        assert_eq!(key(audit(&acme, &audit_id)), format!("ORG#acme#AUDIT | {audit_id}"));
        assert_eq!(key(journal(&acme, 7)), "ORG#acme#JOURNAL | 000000000007");
        assert_eq!(key(journal_start(&acme)), "ORG#acme#JOURNAL | START");
        assert_eq!((check(2), check_shard(&acme)), ("CHECK#2".into(), 0));
        assert_eq!(check_sort(5, &acme, Platform::Whatsapp), "0000000000005#acme#whatsapp");
        assert!(check_sort(5, &acme, Platform::Whatsapp) < check_sort_until(5));
        assert_eq!(quarantine_of_nobody(Platform::Facebook, &account), "QUARANTINE#facebook#700100200300402");
    }

    #[test]
    fn a_key_tells_what_its_item_is_about() {
        let acme: OrganizationId = "acme".parse().unwrap();
        let id: ConversationId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let message: MessageId = "1767877200000-0123456789abcdef0123456789abcdef".parse().unwrap();
        let of = |key: Key| Subject::of(&key.pk, &key.sk);

        let of_message = Subject::Message(acme.clone(), id.clone(), message.clone());
        assert_eq!(of(self::message(&acme, &id, &message)), Some(of_message));
        assert_eq!(of(conversation(&acme, &id)), Some(Subject::Conversation(acme.clone(), id.clone())));
        let platform = Platform::Facebook;
        assert_eq!(of(integration(&acme, platform)), Some(Subject::Integration(acme.clone(), platform)));
        for other in [idempotency(&acme, &id, "k"), journal(&acme, 7), journal_start(&acme), refusal(&acme, "x")] {
            assert_eq!(of(other.clone()), None, "{other:?}");
        }
    }
}
