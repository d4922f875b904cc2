//! Integrations: one per organization and platform, and an account belongs to one organization at a time.

use futures_util::future::join_all;
use shared::{
    Error,
    id::{AccountId, OrganizationId},
    platform::Platform,
    store::{
        Claim, Connection, ConnectionStatus, Health, HealthStatus, Integration, Owner, OwnerStatus, Store, Stored,
    },
};

use crate::{
    engine::{Fault, Table},
    given::{Account, at, sealed, unique},
};

const PLATFORM: Platform = Platform::Whatsapp;

fn organization() -> OrganizationId {
    format!("org-{}", unique()).parse().unwrap()
}

fn account() -> AccountId {
    unique().parse().unwrap()
}

/// An organization's WhatsApp number.
pub fn of(organization: &OrganizationId, account: &AccountId) -> Account {
    Account { organization: organization.clone(), platform: PLATFORM, id: account.clone() }
}

fn integration(organization: &OrganizationId, account: &AccountId, second: i64) -> Integration {
    of(organization, account).integration(sealed("Y2lwaGVy"), second)
}

async fn connected(store: &Store, organization: &OrganizationId, account: &AccountId, second: i64) -> Integration {
    of(organization, account).connected(store, sealed("Y2lwaGVy"), second).await
}

async fn owner(store: &Store, account: &AccountId) -> Option<Owner> {
    store.owner_of_account(PLATFORM, account).await.unwrap()
}

fn check(status: ConnectionStatus, second: i64) -> Connection {
    Connection {
        status,
        proven: true,
        health: None,
        webhook_verified: None,
        error_message: None,
        checked_at: at(second),
        next_check_at: at(second + 100),
    }
}

#[tokio::test]
async fn an_account_is_claimed_then_connected() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();

    let claimed = store.claim_account(&organization, PLATFORM, &account, Claim::Proven, at(0)).await.unwrap();
    let pending = owner(&store, &account).await.unwrap();
    let again = store.claim_account(&organization, PLATFORM, &account, Claim::Proven, at(1)).await.unwrap();
    let integration = connected(&store, &organization, &account, 2).await;

    assert_eq!((claimed, again), (Stored::New, Stored::Duplicate));
    assert_eq!((pending.status, &pending.organization_id), (OwnerStatus::Pending, &organization));
    let owned = owner(&store, &account).await.unwrap();
    assert_eq!((owned.status, owned.webhook_verified), (OwnerStatus::Connected, true));
    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap(), Some(integration.clone()));
    assert_eq!(store.integrations(&organization).await.unwrap(), [integration]);
    assert_eq!(store.integration(&organization, Platform::Facebook).await.unwrap(), None);
}

#[tokio::test]
async fn an_account_of_another_organization_is_in_use() {
    let (table, account) = (Table::open().await, account());
    let store = table.store();
    let (owning, other) = (organization(), organization());
    connected(&store, &owning, &account, 0).await;

    let in_use = |result: Result<Stored, Error>| matches!(result, Err(Error::AccountInUse));
    assert!(in_use(store.claim_account(&other, PLATFORM, &account, Claim::Proven, at(100_000)).await));
    store.disconnect(&owning, PLATFORM, "ann", at(1)).await.unwrap();
    assert!(
        in_use(store.claim_account(&other, PLATFORM, &account, Claim::Proven, at(100_000)).await),
        "disconnected is still owned"
    );
    let stolen = store.put_integration(&integration(&other, &account, 2), None, "ann").await;
    assert!(matches!(stolen, Err(Error::AccountInUse)), "{stolen:?}");
    assert_eq!(store.integration(&other, PLATFORM).await.unwrap(), None);

    store.delete_integration(&owning, PLATFORM, "ann", at(9)).await.unwrap();
    assert_eq!(store.claim_account(&other, PLATFORM, &account, Claim::Proven, at(3)).await.unwrap(), Stored::New);
}

#[tokio::test]
async fn of_many_organizations_at_once_one_gets_the_account() {
    let (table, account) = (Table::open().await, account());
    let stores: Vec<_> = (0..8).map(|_| (table.store(), organization())).collect();

    let claims = stores
        .iter()
        .map(|(store, organization)| store.claim_account(organization, PLATFORM, &account, Claim::Proven, at(0)));
    let claims = join_all(claims).await;

    assert_eq!(claims.iter().filter(|claim| matches!(claim, Ok(Stored::New))).count(), 1);
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Err(Error::AccountInUse))).count(), 7);
}

#[tokio::test]
async fn a_claim_that_was_never_finished_runs_out() {
    let (table, account) = (Table::open().await, account());
    let store = table.store();
    let (first, second) = (organization(), organization());
    store.claim_account(&first, PLATFORM, &account, Claim::Proven, at(0)).await.unwrap();

    let early = store.claim_account(&second, PLATFORM, &account, Claim::Proven, at(119)).await;
    let late = store.claim_account(&second, PLATFORM, &account, Claim::Proven, at(121)).await;

    assert!(matches!(early, Err(Error::AccountInUse)), "{early:?}");
    assert_eq!(late.unwrap(), Stored::New);
    let lost = store.put_integration(&integration(&first, &account, 122), None, "ann").await;
    assert!(matches!(lost, Err(Error::AccountInUse)), "{lost:?}");
    store.release_claim(&first, PLATFORM, &account, at(1)).await.unwrap();
    assert_eq!(owner(&store, &account).await.unwrap().organization_id, second, "only one's own claim is given back");
}

#[tokio::test]
async fn a_claim_is_given_back_unless_it_led_to_a_connection() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    store.claim_account(&organization, PLATFORM, &account, Claim::Proven, at(0)).await.unwrap();

    store.release_claim(&organization, PLATFORM, &account, at(1)).await.unwrap();
    assert_eq!(owner(&store, &account).await, None);
    store.release_claim(&organization, PLATFORM, &account, at(1)).await.unwrap();
    connected(&store, &organization, &account, 1).await;
    store.release_claim(&organization, PLATFORM, &account, at(1)).await.unwrap();

    assert_eq!(owner(&store, &account).await.unwrap().status, OwnerStatus::Connected);
}

#[tokio::test]
async fn what_happened_before_a_release_stays_the_former_owners() {
    let (table, account) = (Table::open().await, account());
    let store = table.store();
    let (first, second) = (organization(), organization());
    let start = async |organization: &OrganizationId, second| {
        connected(&store, organization, &account, second).await;
        let owner = owner(&store, &account).await.unwrap();
        assert_eq!((&owner.organization_id, owner.status), (organization, OwnerStatus::Connected));
        owner.not_before
    };
    let released = async |organization: &OrganizationId, now_ms| {
        store.delete_integration(organization, PLATFORM, "ann", now_ms).await.unwrap();
    };

    assert_eq!(start(&first, 0).await, None);
    released(&first, at(9)).await;
    assert_eq!(start(&first, 20).await, None, "its own time");
    released(&first, at(30) + 999).await;
    assert_eq!(start(&second, 40).await, Some(at(30)), "in whole seconds");
    released(&second, at(50)).await;
    assert_eq!(start(&second, 60).await, Some(at(30)), "its own time, but for what was another's");
    released(&second, at(70)).await;
    assert_eq!(start(&first, 80).await, Some(at(70)));
}

#[tokio::test]
async fn a_claim_that_came_to_nothing_changes_no_ones_time() {
    let (table, account) = (Table::open().await, account());
    let store = table.store();
    let (former, hasty, next) = (organization(), organization(), organization());
    connected(&store, &former, &account, 0).await;
    store.delete_integration(&former, PLATFORM, "ann", at(10)).await.unwrap();
    let claimed = store.claim_account(&hasty, PLATFORM, &account, Claim::Proven, at(20)).await.unwrap();
    assert_eq!((claimed, owner(&store, &account).await.unwrap().not_before), (Stored::New, Some(at(10))));

    store.release_claim(&hasty, PLATFORM, &account, at(21)).await.unwrap();

    connected(&store, &next, &account, 30).await;
    let owner = owner(&store, &account).await.unwrap();
    assert_eq!((owner.not_before, owner.released_at), (Some(at(10)), None));
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_no_other_organizations() {
    let table = Table::open().await;
    let store = table.store();
    for call in 0..2 {
        let (first, second, account) = (organization(), organization(), account());
        connected(&store, &first, &account, 0).await;
        store.delete_integration(&first, PLATFORM, "ann", at(10)).await.unwrap();
        table.meter.start([(call, Fault::After)]);

        let claimed = store.claim_account(&second, PLATFORM, &account, Claim::Proven, at(20)).await;

        assert_eq!(table.meter.stop().calls.len(), 3);
        assert!(claimed.is_ok(), "call {call}: {claimed:?}");
        assert_eq!(owner(&store, &account).await.unwrap().organization_id, second);
    }
}

#[tokio::test]
async fn only_a_released_claim_expires() {
    let (table, account) = (Table::open().await, account());
    let store = table.store();
    let (first, second) = (organization(), organization());
    let expires_at = async || {
        let mut items = table.partition(&format!("ACCOUNT#whatsapp#{account}")).await;
        items.remove(0).remove("expiresAt").and_then(|seconds| seconds.as_n().ok()?.parse::<i64>().ok())
    };
    connected(&store, &first, &account, 0).await;
    assert_eq!(expires_at().await, None);

    store.delete_integration(&first, PLATFORM, "ann", at(10)).await.unwrap();
    assert_eq!(expires_at().await, Some(at(10) / 1000 + 40 * 24 * 60 * 60));
    store.claim_account(&second, PLATFORM, &account, Claim::Proven, at(20)).await.unwrap();
    assert_eq!(expires_at().await, None);
}

#[tokio::test]
async fn a_released_account_cannot_be_connected_without_a_claim() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    connected(&store, &organization, &account, 0).await;
    store.delete_integration(&organization, PLATFORM, "ann", at(10)).await.unwrap();

    // The end of an attempt that had read it before it was deleted.
    let late = store.put_integration(&integration(&organization, &account, 11), None, "ann").await;

    assert!(matches!(late, Err(Error::AccountInUse)), "{late:?}");
    assert_eq!(owner(&store, &account).await, None);
}

#[tokio::test]
async fn a_key_is_rotated_in_place() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let before = connected(&store, &organization, &account, 0).await;

    let mut rotated = Integration { updated_at: at(1), ..before.clone() };
    rotated.credentials.sealed_key = sealed("bmV3");
    store.put_integration(&rotated, Some(&before), "ann").await.unwrap();
    let stale = store.put_integration(&Integration { updated_at: at(2), ..before.clone() }, Some(&before), "ann").await;
    let unseen = store.put_integration(&Integration { updated_at: at(2), ..before }, None, "ann").await;

    assert!(matches!(stale, Err(Error::Conflict)), "{stale:?}");
    assert!(matches!(unseen, Err(Error::Conflict)), "{unseen:?}");
    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap(), Some(rotated));
}

#[tokio::test]
async fn a_change_of_account_frees_the_old_one() {
    let (table, organization) = (Table::open().await, organization());
    let store = table.store();
    let (old, new) = (account(), account());
    connected(&store, &organization, &old, 0).await;

    connected(&store, &organization, &new, 1).await;

    assert_eq!(owner(&store, &old).await, None);
    assert_eq!(owner(&store, &new).await.unwrap().status, OwnerStatus::Connected);
    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap().unwrap().credentials.account, new);
    let next = self::organization();
    connected(&store, &next, &old, 2).await;
    assert_eq!(owner(&store, &old).await.unwrap().not_before, Some(at(1)));
}

#[tokio::test]
async fn disconnecting_keeps_the_key_and_deleting_forgets_it() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let before = connected(&store, &organization, &account, 0).await;

    let disconnected = store.disconnect(&organization, PLATFORM, "ann", at(1)).await.unwrap();
    assert_eq!((disconnected.status, &disconnected.credentials), (ConnectionStatus::Disconnected, &before.credentials));
    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap(), Some(disconnected));
    assert_eq!(owner(&store, &account).await.unwrap().status, OwnerStatus::Disconnected);
    connected(&store, &organization, &account, 2).await;
    assert_eq!(owner(&store, &account).await.unwrap().status, OwnerStatus::Connected);

    store.delete_integration(&organization, PLATFORM, "ann", at(9)).await.unwrap();
    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap(), None);
    assert_eq!(owner(&store, &account).await, None);
    let gone = store.delete_integration(&organization, PLATFORM, "ann", at(9)).await;
    assert!(matches!(gone, Err(Error::IntegrationNotFound)), "{gone:?}");
    let gone = store.disconnect(&organization, PLATFORM, "ann", at(3)).await;
    assert!(matches!(gone, Err(Error::IntegrationNotFound)), "{gone:?}");
}

#[tokio::test]
async fn a_check_tells_what_the_provider_said() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let before = connected(&store, &organization, &account, 0).await;

    let (status, reasons) = (HealthStatus::Limited, vec!["quality".into()]);
    let health = Health { status, reasons, checked_at: at(1), refused_a_send: false };
    let refused = Connection {
        health: Some(health.clone()),
        webhook_verified: Some(false),
        error_message: Some("Connect again".into()),
        ..check(ConnectionStatus::Error, 1)
    };
    let refused = store.record_check(&before, refused).await.unwrap();
    let recovered = store.record_check(&refused, check(ConnectionStatus::Connected, 2)).await.unwrap();

    assert_eq!((refused.status, refused.error_message.as_deref()), (ConnectionStatus::Error, Some("Connect again")));
    assert_eq!((refused.webhook_verified, &refused.health), (false, &Some(health.clone())));
    let unchanged = Integration {
        last_synced_at: Some(at(2)),
        updated_at: at(2),
        health: Some(health),
        webhook_verified: false,
        ..before
    };
    assert_eq!(recovered, unchanged);
    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap(), Some(unchanged));
}

#[tokio::test]
async fn a_check_of_what_has_been_disconnected_meanwhile_changes_nothing() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let checked = connected(&store, &organization, &account, 0).await;
    let disconnected = store.disconnect(&organization, PLATFORM, "ann", at(1)).await.unwrap();

    let recorded = store.record_check(&checked, check(ConnectionStatus::Connected, 2)).await.unwrap();

    assert_eq!(recorded, disconnected);
    store.delete_integration(&organization, PLATFORM, "ann", at(9)).await.unwrap();
    let missing = store.record_check(&checked, check(ConnectionStatus::Connected, 3)).await;
    assert!(matches!(missing, Err(Error::IntegrationNotFound)), "{missing:?}");
}

#[tokio::test]
async fn only_what_is_connected_is_marked_as_refused() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let asked = integration(&organization, &account, 0);
    let refuse = async |second| {
        store.mark_refused(&asked, "Connect again", at(second)).await.unwrap();
        store.integration(&organization, PLATFORM).await.unwrap()
    };
    assert_eq!(refuse(0).await, None);

    connected(&store, &organization, &account, 0).await;
    let refused = refuse(1).await.unwrap();
    assert_eq!((refused.status, refused.error_message.as_deref()), (ConnectionStatus::Error, Some("Connect again")));
    assert_eq!(refuse(2).await.unwrap(), refused);
    let disconnected = store.disconnect(&organization, PLATFORM, "ann", at(3)).await.unwrap();
    assert_eq!(disconnected.error_message, None);
    assert_eq!(refuse(4).await.unwrap(), disconnected);
}

#[tokio::test]
async fn a_refusal_says_nothing_of_a_newer_key() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let asked = connected(&store, &organization, &account, 0).await;

    // Connected again with a new key, while a reply with the old one is on its way to the provider.
    let mut rotated = integration(&organization, &account, 1);
    rotated.credentials.sealed_key = sealed("bmV3");
    store.put_integration(&rotated, Some(&asked), "ann").await.unwrap();
    store.mark_refused(&asked, "Connect again", at(2)).await.unwrap();

    assert_eq!(store.integration(&organization, PLATFORM).await.unwrap(), Some(rotated));
}

#[tokio::test]
async fn silence_ends_with_a_delivery_or_a_change_of_connection() {
    let (table, organization, account) = (Table::open().await, organization(), account());
    let store = table.store();
    let integration = connected(&store, &organization, &account, 0).await;
    let is_quiet = async || {
        let now = store.integration(&organization, Platform::Whatsapp).await.unwrap().unwrap();
        (now.quiet_since, owner(&store, &account).await.unwrap().is_quiet)
    };
    let mark = async || store.mark_quiet(&integration, Some(at(5))).await.unwrap();

    mark().await;
    assert_eq!(is_quiet().await, (Some(at(5)), true));
    store.mark_webhook_verified(&organization, Platform::Whatsapp, &account).await.unwrap();
    assert_eq!(is_quiet().await, (None, false));
    mark().await;
    store.disconnect(&organization, PLATFORM, "ann", at(6)).await.unwrap();
    assert_eq!(is_quiet().await, (None, false));
    mark().await;
    assert_eq!(is_quiet().await, (None, false), "the check was not of that");

    table.meter.start([]);
    store.mark_quiet(&integration, None).await.unwrap();
    assert_eq!(table.meter.stop().calls, [""; 0], "no news, no write");
}

#[tokio::test]
async fn a_delivery_proves_the_webhook_of_its_own_account_only() {
    let (table, organization) = (Table::open().await, organization());
    let store = table.store();
    let (old, new, foreign) = (account(), account(), account());
    connected(&store, &organization, &old, 0).await;
    store.claim_account(&organization, PLATFORM, &new, Claim::Proven, at(1)).await.unwrap();
    let previous = store.integration(&organization, PLATFORM).await.unwrap();
    let unproven = Integration { webhook_verified: false, ..integration(&organization, &new, 1) };
    store.put_integration(&unproven, previous.as_ref(), "ann").await.unwrap();
    let verified = async || {
        let integration = store.integration(&organization, PLATFORM).await.unwrap().unwrap();
        (integration.webhook_verified, owner(&store, &new).await.unwrap().webhook_verified)
    };

    store.mark_webhook_verified(&organization, PLATFORM, &old).await.unwrap();
    store.mark_webhook_verified(&organization, PLATFORM, &foreign).await.unwrap();
    store.mark_webhook_verified(&self::organization(), PLATFORM, &new).await.unwrap();
    assert_eq!(verified().await, (false, false));
    assert_eq!((owner(&store, &old).await, owner(&store, &foreign).await), (None, None));
    store.mark_webhook_verified(&organization, PLATFORM, &new).await.unwrap();
    assert_eq!(verified().await, (true, true));
}
