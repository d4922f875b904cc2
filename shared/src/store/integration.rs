//! Integrations: one connected account per organization and platform, and the exclusive claim on the account.

use std::{cmp::Reverse, collections::BTreeMap};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::{
    AuditAction, AuditEntry, Expression, Store, Written,
    expression::{n, s},
    keys,
    query::Query,
    read, with_key, write,
};
use crate::{
    dialog360::advice::{OfAccount, of_account},
    error::{Error, Result},
    event::ProviderError,
    id::{AccountId, OrganizationId},
    platform::Platform,
    vault::SealedKey,
};

/// Where an integration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionStatus {
    /// Receives and sends.
    Connected,
    /// Neither receives nor sends; history and credentials stay.
    Disconnected,
    /// The provider refuses the key: receives, cannot send.
    Error,
}

/// What the provider says of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// It can send.
    Available,
    /// It can send with limits.
    Limited,
    /// It cannot send.
    Blocked,
}

/// What the provider last said of the account, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The summary.
    pub status: HealthStatus,
    /// The provider's reasons, where it is not available.
    pub reasons: Vec<String>,
    /// When it said so, epoch milliseconds.
    pub checked_at: i64,
    /// It said so by not taking a message: by taking one, it says the opposite. What it told otherwise stays until it is asked.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub refused_a_send: bool,
}

/// What the provider told of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When, epoch milliseconds.
    pub at: i64,
    /// The provider's name for the kind of news.
    pub kind: String,
    /// What it told, in a sentence.
    pub message: String,
}

/// Something that the provider tells of an account.
#[derive(Clone, Debug)]
pub struct Told {
    /// When, epoch milliseconds.
    pub at: i64,
    /// The kind of news; `None` where it is known from a refusal, and the integration's health alone.
    pub kind: Option<String>,
    /// A sentence for the admin.
    pub message: String,
    /// Whether the account can send from then on, where it tells that.
    pub health: Option<HealthStatus>,
    /// The digits of the number that it is about, where it names one.
    pub phone: Option<String>,
    /// It is why a message was not taken.
    pub refused_a_send: bool,
}

impl Told {
    /// What a refused message says of the whole account; `None` where it is about that message alone.
    #[must_use]
    pub fn refusal(error: &ProviderError, at: i64) -> Option<Self> {
        let OfAccount { health, to_admin, .. } = of_account(error)?;
        let message = to_admin.to_owned();
        Some(Self { at, kind: None, message, health: Some(health), phone: None, refused_a_send: false })
    }

    /// The same of a message that the provider would not even take.
    #[must_use]
    pub fn refused_send(error: &ProviderError, at: i64) -> Option<Self> {
        Self::refusal(error, at).map(|told| Self { refused_a_send: true, ..told })
    }
}

/// What an organization's claim on an account stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// The provider says that the key speaks for the account.
    Proven,
    /// Nobody says so: the deployment trusts its partner channel. Gives way to a proven one.
    Unproven,
    /// Another organization has proven that the account is its own.
    Lost,
}

impl Claim {
    /// A claim that was made before it was noted what it stands on. A WhatsApp key was always held against the number that the
    /// provider named; for the other platforms it named none.
    fn before_noted(platform: Platform) -> Self {
        match platform {
            Platform::Whatsapp => Self::Proven,
            Platform::Instagram | Platform::Facebook => Self::Unproven,
        }
    }
}

/// The account that is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Phone number id, Instagram account id or page id.
    pub account: AccountId,
    /// The `WhatsApp` Business Account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waba_id: Option<String>,
    /// The phone number as people write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_phone_number: Option<String>,
    /// The API key, sealed.
    pub sealed_key: SealedKey,
    /// The key is the token of the page that the Instagram account is linked with: Meta has an interface for each kind.
    #[serde(default)]
    pub is_page_token: bool,
}

/// A connected account of an organization on a platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its platform.
    pub platform: Platform,
    /// Where it stands.
    pub status: ConnectionStatus,
    /// What the claim on the account stands on, where that was noted: [`Integration::claim`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub noted_claim: Option<Claim>,
    /// The account and its key.
    pub credentials: Credentials,
    /// The provider delivers to us: read back from it, or proven by a delivery.
    pub webhook_verified: bool,
    /// The provider has delivered to us at some time.
    #[serde(default)]
    pub webhook_was_ours: bool,
    /// The admin allowed the service to set a webhook that points elsewhere to ours again.
    #[serde(default)]
    pub repair_webhook: bool,
    /// When the provider last answered for it, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_synced_at: Option<i64>,
    /// What an admin has to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What the provider last said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What the provider told of the account, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notices: Vec<Notice>,
    /// Nothing has come since then, and that is unusual: what a check found out, until something comes. Epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quiet_since: Option<i64>,
    /// When it was first connected, epoch milliseconds.
    pub created_at: i64,
    /// When it was last connected, where that was noted: [`Integration::connected_at`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub noted_connected_at: Option<i64>,
    /// When it last changed, epoch milliseconds.
    pub updated_at: i64,
}

impl Integration {
    /// What the claim on the account stands on.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.noted_claim.unwrap_or(Claim::before_noted(self.platform))
    }

    /// When it was last connected, epoch milliseconds: before, nothing could come.
    #[must_use]
    pub fn connected_at(&self) -> i64 {
        self.noted_connected_at.unwrap_or(self.created_at)
    }
}

/// What a check of the connection found out.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where the integration stands now.
    pub status: ConnectionStatus,
    /// The provider says that the key speaks for the account.
    pub proven: bool,
    /// What the provider said; `None` leaves what was known.
    pub health: Option<Health>,
    /// Whether the provider delivers to us; `None` leaves what was known.
    pub webhook_verified: Option<bool>,
    /// What an admin has to do.
    pub error_message: Option<String>,
    /// When it was checked, epoch milliseconds.
    pub checked_at: i64,
    /// When it is to be checked again, epoch milliseconds.
    pub next_check_at: i64,
}

/// What the claim on an account allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerStatus {
    /// Being connected right now: deliveries are already kept.
    Pending,
    /// Deliveries are kept.
    Connected,
    /// Deliveries are acknowledged and counted, not kept.
    Disconnected,
    /// Nobody owns it any more; tells the next owner from when on it is theirs.
    Released,
}

/// Who owns an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The organization.
    pub organization_id: OrganizationId,
    /// What happens to deliveries.
    pub status: OwnerStatus,
    /// What the claim stands on, where that was noted: [`Owner::is_proven`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub noted_claim: Option<Claim>,
    /// As on the integration; a copy, so that a delivery needs one read.
    pub webhook_verified: bool,
    /// The integration says that nothing has come for long: the next delivery has to tell it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_quiet: bool,
    /// When the claim was made, epoch milliseconds.
    pub claimed_at: i64,
    /// What happened before is another organization's, epoch milliseconds: when that released the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// When an organization that had it connected last released it, epoch milliseconds. Stays until the next one has connected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_at: Option<i64>,
}

impl Owner {
    /// Whether the provider said that the account of that platform is the organization's: only then is what the provider tells the
    /// whole service of the account the organization's, too.
    #[must_use]
    pub fn is_proven(&self, platform: Platform) -> bool {
        self.noted_claim.unwrap_or(Claim::before_noted(platform)) == Claim::Proven
    }
}

/// An account of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAccount {
    /// Its platform.
    pub platform: Platform,
    /// Its id there.
    pub id: AccountId,
    /// Whether the provider said that it is the organization's.
    pub proven: bool,
}

/// What an admin is told when the provider no longer takes the key.
pub const KEY_REFUSED: &str = "360dialog refuses the API key: it was revoked or replaced. Generate a new key in the 360dialog hub and connect again with it.";
/// What an admin is told when the stored key does not open.
pub const KEY_UNREADABLE: &str = "The stored API key cannot be read any more. Connect again with the key.";

/// What an admin is told when another organization has proven that the account is its own.
pub const ACCOUNT_LOST: &str = "The provider says that this account is another organization's: nothing is received or sent for it here any more. Connect an account of your own.";
/// What an admin is told when the provider delivers to somebody else.
pub const WEBHOOK_ELSEWHERE: &str = "The provider delivers to another webhook. Connect again to register ours.";

/// How many notices are kept of an integration.
const NOTICES: usize = 20;
/// How many of them may be of one kind: what comes often must not drive out a ban.
const NOTICES_OF_A_KIND: usize = 5;
/// A claim that was never finished is free again after this long.
const PENDING_CLAIM_MS: i64 = 120_000;
/// How long a released claim is kept: nothing of its time can come any more. The provider repeats for a week, and quarantine keeps for 30
/// days what it took.
const RELEASED_SECS: i64 = 40 * 24 * 60 * 60;

impl Store {
    /// The organization's integrations, by platform.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn integrations(&self, organization: &OrganizationId) -> Result<Vec<Integration>> {
        let query = Query::of(keys::organization(organization)).beginning_with(keys::INTEGRATION_PREFIX);
        let items = self.query(query).await?;
        let mut integrations = items.into_iter().map(read).collect::<Result<Vec<Integration>>>()?;
        integrations.sort_by_key(|integration| integration.platform);
        Ok(integrations)
    }

    /// The organization's integration on a platform.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn integration(&self, organization: &OrganizationId, platform: Platform) -> Result<Option<Integration>> {
        self.get(&keys::integration(organization, platform)).await
    }

    /// Who owns an account: the one look-up that starts from no organization, for the webhook's routing.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn owner_of_account(&self, platform: Platform, account: &AccountId) -> Result<Option<Owner>> {
        let owner: Option<Owner> = self.get(&keys::account_owner(platform, account)).await?;
        Ok(owner.filter(|owner| owner.status != OwnerStatus::Released))
    }

    /// Claims an account for the organization, before anything is told to the provider. `New` when it was free, or when it was another
    /// organization's that had not proven it and this one has: that organization's integration is an error then.
    ///
    /// # Errors
    /// [`Error::AccountInUse`] when another organization has it, [`Error::Conflict`] when somebody else changed it.
    pub async fn claim_account(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        claim: Claim,
        now_ms: i64,
    ) -> Result<super::Stored> {
        let owner = Owner {
            organization_id: organization.clone(),
            status: OwnerStatus::Pending,
            noted_claim: Some(claim),
            webhook_verified: false,
            is_quiet: false,
            claimed_at: now_ms,
            not_before: None,
            released_at: None,
        };
        let key = keys::account_owner(platform, account);
        let Some(existing) = self.put_if_absent(&key, write(&owner)?).await? else { return Ok(super::Stored::New) };
        let existing: Owner = read(existing)?;
        let was_ours = existing.organization_id == *organization;
        let is_free = match existing.status {
            OwnerStatus::Released => true,
            _ if was_ours => return Ok(super::Stored::Duplicate),
            _ if claim == Claim::Proven && !existing.is_proven(platform) => true,
            OwnerStatus::Pending => existing.claimed_at <= now_ms - PENDING_CLAIM_MS,
            OwnerStatus::Connected | OwnerStatus::Disconnected => false,
        };
        if !is_free {
            return Err(Error::AccountInUse);
        }
        // The time of whoever held it without proof, and never gave it back, was nobody's.
        let not_before = if was_ours {
            existing.not_before
        } else {
            existing.released_at.map(whole_second).max(existing.not_before)
        };
        let takeover = Expression::default()
            .set("organizationId", s(organization.as_str()))
            .set("status", s(owner_status_name(OwnerStatus::Pending)))
            .set(NOTED_CLAIM, s(claim_name(claim)))
            .set("webhookVerified", AttributeValue::Bool(false))
            .set("claimedAt", n(now_ms))
            .remove(IS_QUIET)
            .remove(keys::EXPIRES_AT)
            .if_compares("status", "=", s(owner_status_name(existing.status)))
            .if_compares("claimedAt", "=", n(existing.claimed_at));
        let takeover = match not_before {
            Some(not_before) => takeover.set("notBefore", n(not_before)),
            None => takeover.remove("notBefore"),
        };
        let holder: Option<Owner> = match existing.status {
            OwnerStatus::Pending | OwnerStatus::Released => match self.update(&key, takeover).await? {
                Written::Done(_) => return Ok(super::Stored::New),
                Written::Refused(item) => item.map(read).transpose()?,
            },
            OwnerStatus::Connected | OwnerStatus::Disconnected => {
                let former = &existing.organization_id;
                match self.take_over(former, platform, account, &takeover, now_ms).await {
                    Ok(()) => return Ok(super::Stored::New),
                    Err(Error::AccountInUse) => self.get(&key).await?,
                    Err(error) => return Err(error),
                }
            }
        };
        // Another request of the same organization, or this one before it was repeated.
        if holder.is_some_and(|holder| holder.organization_id == *organization) {
            return Ok(super::Stored::Duplicate);
        }
        Err(Error::AccountInUse)
    }

    /// Takes an account from an organization that has not proven it, whose integration tells so from then on.
    async fn take_over(
        &self,
        former: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        takeover: &Expression,
        now_ms: i64,
    ) -> Result<()> {
        let mut writes = vec![self.transact_update(&keys::account_owner(platform, account), takeover)?];
        let theirs = self.integration(former, platform).await?;
        if let Some(theirs) = theirs.filter(|theirs| theirs.credentials.account == *account) {
            let lost = Expression::default()
                .set("status", s(status_name(ConnectionStatus::Error)))
                .set(NOTED_CLAIM, s(claim_name(Claim::Lost)))
                .set("errorMessage", s(ACCOUNT_LOST))
                .set("webhookVerified", AttributeValue::Bool(false))
                .set("updatedAt", n(now_ms.max(theirs.updated_at + 1)))
                .remove(keys::INBOX_KEY)
                .remove(keys::INBOX_SORT)
                .if_compares("updatedAt", "=", n(theirs.updated_at));
            writes.push(self.transact_update(&keys::integration(former, platform), &lost)?);
            let audit = AuditEntry::new(AuditAction::AccountLost, None, now_ms)?.about(platform, account);
            writes.push(self.audit_write(former, &audit)?);
        }
        self.transact(writes, |position| if position == 0 { Error::AccountInUse } else { Error::Conflict }).await
    }

    /// Gives back a claim that did not lead to a connection.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn release_claim(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        now_ms: i64,
    ) -> Result<()> {
        let release =
            released(organization, now_ms).if_compares("status", "=", s(owner_status_name(OwnerStatus::Pending)));
        self.update(&keys::account_owner(platform, account), release).await.map(drop)
    }

    /// Stores a connected integration with its claim, for the user `by`; `previous` is what was read before, and still has to be
    /// there. An account that it no longer speaks for becomes free. Its first check is due at once.
    ///
    /// # Errors
    /// [`Error::AccountInUse`] when the claim was lost, [`Error::Conflict`] when somebody else changed the integration.
    pub async fn put_integration(
        &self,
        integration: &Integration,
        previous: Option<&Integration>,
        by: &str,
    ) -> Result<()> {
        let (organization, platform) = (&integration.organization_id, integration.platform);
        let account = &integration.credentials.account;
        let unchanged = match previous {
            Some(previous) => Expression::default().if_compares("updatedAt", "=", n(previous.updated_at)),
            None => Expression::default().if_item_absent(),
        };
        let mut item = with_key(write(integration)?, &keys::integration(organization, platform));
        item.insert(keys::INBOX_KEY.into(), s(keys::check(keys::check_shard(organization))));
        item.insert(keys::INBOX_SORT.into(), s(keys::check_sort(integration.updated_at, organization, platform)));
        let action = match previous.filter(|previous| previous.credentials.account == *account) {
            Some(previous) if previous.credentials.sealed_key == integration.credentials.sealed_key => {
                AuditAction::Reconnected
            }
            Some(previous) if previous.status != ConnectionStatus::Disconnected => AuditAction::KeyRotated,
            Some(_) | None => AuditAction::Connected,
        };
        let audit = AuditEntry::new(action, Some(by), integration.updated_at)?.about(platform, account);
        let mut writes = vec![
            self.owner_update(organization, platform, account, OwnerStatus::Connected, |update| {
                update
                    .set("webhookVerified", AttributeValue::Bool(integration.webhook_verified))
                    .set(NOTED_CLAIM, s(claim_name(integration.claim())))
            })?,
            self.transact_put(item, &unchanged)?,
        ];
        if let Some(previous) = previous.filter(|previous| previous.credentials.account != *account) {
            writes.extend(self.owner_release(previous, integration.updated_at)?);
        }
        writes.push(self.audit_write(organization, &audit)?);
        self.transact(writes, |position| if position == 0 { Error::AccountInUse } else { Error::Conflict }).await
    }

    /// Records what a check of the integration as it was found out, and returns it as it is then. What somebody else has
    /// connected or disconnected meanwhile stays: the check was not of that. A claim that the provider confirms is proven from then on.
    ///
    /// # Errors
    /// [`Error::IntegrationNotFound`] when it was deleted meanwhile, [`Error::Conflict`] when the account was.
    pub async fn record_check(&self, checked: &Integration, connection: Connection) -> Result<Integration> {
        let (organization, platform) = (&checked.organization_id, checked.platform);
        let newly_proven = connection.proven && checked.claim() == Claim::Unproven;
        if newly_proven {
            let proven = Expression::default().set(NOTED_CLAIM, s(claim_name(Claim::Proven))).if_compares(
                "organizationId",
                "=",
                s(organization.as_str()),
            );
            let owner = keys::account_owner(platform, &checked.credentials.account);
            if let Written::Refused(_) = self.update(&owner, proven).await? {
                return Err(Error::Conflict);
            }
        }
        let mut expression = Expression::default()
            .set_some(NOTED_CLAIM, newly_proven.then(|| s(claim_name(Claim::Proven))))
            .set("status", s(status_name(connection.status)))
            .set("updatedAt", n(connection.checked_at))
            .set("lastSyncedAt", n(connection.checked_at))
            .set_some("webhookVerified", connection.webhook_verified.map(AttributeValue::Bool))
            .if_compares("status", "=", s(status_name(checked.status)))
            .if_compares("updatedAt", "=", n(checked.updated_at));
        if connection.webhook_verified == Some(true) {
            expression = expression.set(WEBHOOK_WAS_OURS, AttributeValue::Bool(true));
        }
        if connection.status != ConnectionStatus::Disconnected {
            expression = next_check(expression, checked, connection.next_check_at);
        }
        expression = match &connection.error_message {
            Some(message) => expression.set("errorMessage", s(message)),
            None => expression.remove("errorMessage"),
        };
        if let Some(health) = &connection.health {
            expression = expression.set("health", serde_dynamo::to_attribute_value(health).map_err(Error::internal)?);
        }
        match self.update(&keys::integration(organization, platform), expression).await? {
            Written::Done(item) | Written::Refused(Some(item)) => read(item),
            Written::Refused(None) => Err(Error::IntegrationNotFound),
        }
    }

    /// Puts off the check of an integration that gave no answer. What somebody else has changed meanwhile stays.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn postpone_check(&self, checked: &Integration, next_check_at: i64) -> Result<()> {
        let expression = next_check(Expression::default(), checked, next_check_at)
            .if_compares("status", "=", s(status_name(checked.status)))
            .if_compares("updatedAt", "=", n(checked.updated_at));
        self.update(&keys::integration(&checked.organization_id, checked.platform), expression).await.map(drop)
    }

    /// The integrations of all organizations whose check is due, the longest due first, up to `limit` of a shard.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn integrations_due_of_all(&self, shard: u8, now_ms: i64, limit: usize) -> Result<Vec<Integration>> {
        let until = keys::check_sort_until(now_ms);
        let due = Query::of_inbox(keys::check(shard)).below(Some(&until)).limit(limit);
        self.query(due).await?.into_iter().map(read).collect()
    }

    /// Marks a connected integration as refused by the provider, or its key as unreadable. What has another key by now stays: that
    /// key was not refused.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn mark_refused(&self, refused: &Integration, message: &str, now_ms: i64) -> Result<()> {
        let sealed_key = serde_dynamo::to_attribute_value(&refused.credentials.sealed_key).map_err(Error::internal)?;
        let expression = Expression::default()
            .set("status", s(status_name(ConnectionStatus::Error)))
            .set("errorMessage", s(message))
            .set("updatedAt", n(now_ms))
            .if_compares("status", "=", s(status_name(ConnectionStatus::Connected)))
            .if_entry("credentials", "sealedKey", sealed_key);
        self.update(&keys::integration(&refused.organization_id, refused.platform), expression).await.map(drop)
    }

    /// Notes what the provider tells of an account of the organization, once and in the provider's order. What is known, older than
    /// what is known, or about another number changes nothing.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn tell(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        told: &[Told],
    ) -> Result<()> {
        const RACES: usize = 8;
        for _ in 0..RACES {
            let integration = self.integration(organization, platform).await?;
            let Some(integration) = integration.filter(|integration| integration.credentials.account == *account)
            else {
                return Ok(());
            };
            let mut after = integration.clone();
            for told in told.iter().filter(|told| !is_of_another_number(&integration, told)) {
                after.note(told);
            }
            if after == integration {
                return Ok(());
            }
            let mut expression = Expression::default().if_entry("credentials", "account", s(account.as_str()));
            if after.notices != integration.notices {
                let before = (!integration.notices.is_empty()).then(|| attribute(&integration.notices)).transpose()?;
                expression = expression.set("notices", attribute(&after.notices)?).if_still("notices", before);
            }
            if after.health != integration.health {
                let before = integration.health.as_ref().map(attribute).transpose()?;
                expression = expression.set("health", attribute(&after.health)?).if_still("health", before);
            }
            if let Written::Done(_) = self.update(&keys::integration(organization, platform), expression).await? {
                return Ok(());
            }
        }
        Err(Error::Unavailable("what the provider tells of an account was not noted".into()))
    }

    /// Notes that the provider took a message of an account that was blocked as far as it was known. What a refused message told is
    /// over then; the rest the provider is asked soon, since what it takes it may still refuse later.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn took_message(&self, known: &Integration, now_ms: i64) -> Result<()> {
        let blocked = known.health.as_ref().filter(|health| health.status == HealthStatus::Blocked);
        let Some(blocked) = blocked else { return Ok(()) };
        let mut expression = next_check(Expression::default(), known, now_ms)
            .if_compares("status", "=", s(status_name(ConnectionStatus::Connected)))
            .if_still("health", Some(attribute(blocked)?));
        if blocked.refused_a_send {
            // A status that refuses this message afterwards tells whole seconds, and must not be the older one.
            let checked_at = whole_second(now_ms) - 1;
            let status = HealthStatus::Available;
            let health = Health { status, reasons: Vec::new(), checked_at, refused_a_send: false };
            expression = expression.set("health", attribute(&health)?);
        }
        self.update(&keys::integration(&known.organization_id, known.platform), expression).await.map(drop)
    }

    /// Notes since when nothing has come, as a check found out, or that it is not so; and for the webhook, so that the next delivery
    /// ends it. What somebody else has changed meanwhile stays.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn mark_quiet(&self, checked: &Integration, quiet_since: Option<i64>) -> Result<()> {
        if checked.quiet_since == quiet_since {
            return Ok(());
        }
        let (organization, platform) = (&checked.organization_id, checked.platform);
        let account = &checked.credentials.account;
        let integration = Expression::default()
            .set_or_remove(QUIET_SINCE, quiet_since.map(n))
            .if_compares("status", "=", s(status_name(checked.status)))
            .if_entry("credentials", "account", s(account.as_str()));
        let owner = Expression::default()
            .set_or_remove(IS_QUIET, quiet_since.map(|_| AttributeValue::Bool(true)))
            .if_compares("organizationId", "=", s(organization.as_str()));
        let writes = vec![
            self.transact_update(&keys::integration(organization, platform), &integration)?,
            self.transact_update(&keys::account_owner(platform, account), &owner)?,
        ];
        match self.transact(writes, |_| Error::Conflict).await {
            Ok(()) | Err(Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Records that an authentic delivery came for the account: the webhook works, and it is quiet no longer.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn mark_webhook_verified(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
    ) -> Result<()> {
        let yes = || AttributeValue::Bool(true);
        let verified = || Expression::default().set("webhookVerified", yes());
        // The account may have been replaced since the delivery left.
        let still_here = verified().set(WEBHOOK_WAS_OURS, yes()).remove(QUIET_SINCE).if_entry(
            "credentials",
            "account",
            s(account.as_str()),
        );
        self.update(&keys::integration(organization, platform), still_here).await?;
        let mine = verified().remove(IS_QUIET).if_compares("organizationId", "=", s(organization.as_str()));
        self.update(&keys::account_owner(platform, account), mine).await.map(drop)
    }

    /// Stops receiving and sending, for the user `by`; history and credentials stay.
    ///
    /// # Errors
    /// [`Error::IntegrationNotFound`] when there is none, [`Error::Conflict`] when somebody else changed it.
    pub async fn disconnect(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        by: &str,
        now_ms: i64,
    ) -> Result<Integration> {
        let integration = self.integration(organization, platform).await?.ok_or(Error::IntegrationNotFound)?;
        let expression = Expression::default()
            .set("status", s(status_name(ConnectionStatus::Disconnected)))
            .set("updatedAt", n(now_ms))
            .remove("errorMessage")
            .remove(QUIET_SINCE)
            .remove(keys::INBOX_KEY)
            .remove(keys::INBOX_SORT)
            .if_compares("updatedAt", "=", n(integration.updated_at));
        let update = self.transact_update(&keys::integration(organization, platform), &expression)?;
        let account = &integration.credentials.account;
        let audit = AuditEntry::new(AuditAction::Disconnected, Some(by), now_ms)?.about(platform, account);
        let mut writes = vec![update, self.audit_write(organization, &audit)?];
        if integration.claim() != Claim::Lost {
            let status = OwnerStatus::Disconnected;
            writes.push(self.owner_update(organization, platform, account, status, |update| update)?);
        }
        self.transact(writes, |_| Error::Conflict).await?;
        Ok(Integration {
            status: ConnectionStatus::Disconnected,
            error_message: None,
            quiet_since: None,
            updated_at: now_ms,
            ..integration
        })
    }

    /// Forgets the credentials and frees the account, for the user `by`; conversations stay.
    ///
    /// # Errors
    /// [`Error::IntegrationNotFound`] when there is none, [`Error::Conflict`] when somebody else changed it.
    pub async fn delete_integration(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        by: &str,
        now_ms: i64,
    ) -> Result<()> {
        let integration = self.integration(organization, platform).await?.ok_or(Error::IntegrationNotFound)?;
        let unchanged = Expression::default().if_compares("updatedAt", "=", n(integration.updated_at));
        let delete = self.transact_delete(&keys::integration(organization, platform), &unchanged)?;
        let account = &integration.credentials.account;
        let audit = AuditEntry::new(AuditAction::Deleted, Some(by), now_ms)?.about(platform, account);
        let mut writes = vec![delete, self.audit_write(organization, &audit)?];
        writes.extend(self.owner_release(&integration, now_ms)?);
        self.transact(writes, |_| Error::Conflict).await
    }

    fn owner_update(
        &self,
        organization: &OrganizationId,
        platform: Platform,
        account: &AccountId,
        status: OwnerStatus,
        besides: impl FnOnce(Expression) -> Expression,
    ) -> Result<TransactWriteItem> {
        let expression = besides(Expression::default().set("status", s(owner_status_name(status))))
            .remove("releasedAt")
            .remove(IS_QUIET)
            .if_compares("organizationId", "=", s(organization.as_str()))
            .if_compares("status", "<>", s(owner_status_name(OwnerStatus::Released)));
        self.transact_update(&keys::account_owner(platform, account), &expression)
    }

    /// Frees the integration's account, unless it is another organization's by now.
    fn owner_release(&self, integration: &Integration, now_ms: i64) -> Result<Option<TransactWriteItem>> {
        if integration.claim() == Claim::Lost {
            return Ok(None);
        }
        let release = released(&integration.organization_id, now_ms).set("releasedAt", n(now_ms));
        let owner = keys::account_owner(integration.platform, &integration.credentials.account);
        self.transact_update(&owner, &release).map(Some)
    }
}

fn attribute<T: Serialize>(value: &T) -> Result<AttributeValue> {
    serde_dynamo::to_attribute_value(value).map_err(Error::internal)
}

impl Integration {
    /// Notes what is told, in the provider's order.
    fn note(&mut self, told: &Told) {
        if let Some(kind) = &told.kind {
            let notice = Notice { at: told.at, kind: kind.clone(), message: told.message.clone() };
            // Where the provider tells no time, a repetition has another one.
            let last = self.notices.iter().find(|known| known.kind == notice.kind && known.at <= notice.at);
            if last.is_none_or(|last| last.message != notice.message) {
                self.notices.push(notice);
            }
            self.notices.sort_by_key(|notice| Reverse(notice.at));
            let mut of_kind: BTreeMap<String, usize> = BTreeMap::new();
            self.notices.retain(|notice| {
                let count = of_kind.entry(notice.kind.clone()).or_default();
                *count += 1;
                *count <= NOTICES_OF_A_KIND
            });
            self.notices.truncate(NOTICES);
        }
        let Some(status) = told.health else { return };
        let reasons = if status == HealthStatus::Available { Vec::new() } else { vec![told.message.clone()] };
        let is_newer = self
            .health
            .as_ref()
            .is_none_or(|known| known.checked_at < told.at && (known.status, &known.reasons) != (status, &reasons));
        if is_newer {
            let refused_a_send = told.refused_a_send;
            self.health = Some(Health { status, reasons, checked_at: told.at, refused_a_send });
        }
    }
}

fn is_of_another_number(integration: &Integration, told: &Told) -> bool {
    let digits = |number: &String| number.chars().filter(char::is_ascii_digit).collect::<String>();
    match (&told.phone, integration.credentials.display_phone_number.as_ref().map(digits)) {
        (Some(told), Some(ours)) => *told != ours,
        _ => false,
    }
}

/// Releases a claim of the organization.
fn released(organization: &OrganizationId, now_ms: i64) -> Expression {
    Expression::default()
        .set("status", s(owner_status_name(OwnerStatus::Released)))
        .set(keys::EXPIRES_AT, n(now_ms / 1000 + RELEASED_SECS))
        .if_compares("organizationId", "=", s(organization.as_str()))
}

/// `WhatsApp` tells times in whole seconds: what is of the same second must not be taken for earlier.
fn whole_second(epoch_ms: i64) -> i64 {
    epoch_ms / 1000 * 1000
}

/// Sets when an integration is to be checked again.
fn next_check(expression: Expression, integration: &Integration, due_ms: i64) -> Expression {
    let organization = &integration.organization_id;
    expression
        .set(keys::INBOX_KEY, s(keys::check(keys::check_shard(organization))))
        .set(keys::INBOX_SORT, s(keys::check_sort(due_ms, organization, integration.platform)))
}

const QUIET_SINCE: &str = "quietSince";
const IS_QUIET: &str = "isQuiet";
const WEBHOOK_WAS_OURS: &str = "webhookWasOurs";
const NOTED_CLAIM: &str = "notedClaim";

fn claim_name(claim: Claim) -> &'static str {
    match claim {
        Claim::Proven => "proven",
        Claim::Unproven => "unproven",
        Claim::Lost => "lost",
    }
}

fn owner_status_name(status: OwnerStatus) -> &'static str {
    match status {
        OwnerStatus::Pending => "pending",
        OwnerStatus::Connected => "connected",
        OwnerStatus::Disconnected => "disconnected",
        OwnerStatus::Released => "released",
    }
}

fn status_name(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Connected => "connected",
        ConnectionStatus::Disconnected => "disconnected",
        ConnectionStatus::Error => "error",
    }
}
