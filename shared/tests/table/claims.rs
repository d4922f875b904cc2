//! Claims on accounts that the provider names to nobody: what they receive, and to whom they give way.

use shared::{
    Error,
    delivery::ACCOUNT_NOT_PROVEN,
    platform::Platform,
    replay::{self, Tally},
    store::{
        ACCOUNT_LOST, AuditAction, Claim, Connection, ConnectionStatus, Integration, OwnAccount, OwnerStatus, Store,
        Stored,
    },
    webhook_token::Proof,
};

use crate::{
    engine::Table,
    given::{Account, arrives, at, sealed, unique, user},
};

const PLATFORM: Platform = Platform::Facebook;

/// A page that two organizations want.
fn wanted_by_two() -> (Account, Account) {
    let page = Account::new(PLATFORM);
    let other = Account { id: page.id.clone(), ..Account::new(PLATFORM) };
    (page, other)
}

async fn connected_as(store: &Store, account: &Account, claim: Claim, second: i64) -> Integration {
    let integration = account.integration(sealed("Y2lwaGVy"), second);
    account.connected_as(store, Integration { noted_claim: Some(claim), ..integration }).await
}

/// Somebody wrote to the page at that second.
async fn is_written_to(store: &Store, account: &Account, proof: &Proof, mid: &str, second: i64) {
    let message = serde_json::json!({
        "sender": { "id": "7301122334455667" }, "recipient": { "id": account.id }, "timestamp": at(second),
        "message": { "mid": mid, "text": mid },
    });
    let entry = serde_json::json!({ "id": account.id, "time": at(second), "messaging": [message] });
    let body = serde_json::json!({ "object": "page", "entry": [entry] });
    arrives(store, proof, &body.to_string(), at(second)).await;
}

/// The provider's ids of what was received.
async fn received(store: &Store, account: &Account) -> Vec<String> {
    let id = account.conversation_id(&user("7301122334455667"));
    match store.conversation(&account.organization, &id).await.unwrap() {
        Some(conversation) => account.external_ids(store, &conversation).await,
        None => Vec::new(),
    }
}

#[tokio::test]
async fn an_unproven_claim_gets_its_own_tokens_events_only() {
    let (table, account) = (Table::open().await, Account::new(PLATFORM));
    let store = &table.store();
    connected_as(store, &account, Claim::Unproven, 0).await;

    is_written_to(store, &account, &account.proof(), "m_own", 1).await;
    is_written_to(store, &account, &Proof::Global, "m_services", 2).await;
    is_written_to(store, &account, &Account::whatsapp().proof(), "m_strangers", 3).await;

    assert_eq!(received(store, &account).await, ["m_own"]);
    let all = [OwnAccount { platform: PLATFORM, id: account.id.clone(), proven: true }];
    let kept = store.quarantine_of_accounts(&account.organization, &all, None, 10).await.unwrap().entries;
    assert_eq!(kept.iter().map(|entry| entry.reason.as_str()).collect::<Vec<_>>(), [ACCOUNT_NOT_PROVEN]);
    assert!(!replay::accounts(store, &account.organization).await.unwrap()[0].proven);
    assert_eq!(account.quarantine(store).await, [], "it is not the organization's to see");
    let entry = replay::entry_of(store, &account.organization, &kept[0].id).await.unwrap();
    assert_eq!(entry, None, "nor to replay");
}

#[tokio::test]
async fn an_unproven_claim_gets_nothing_of_before() {
    let (table, account) = (Table::open().await, Account::new(PLATFORM));
    let store = &table.store();
    is_written_to(store, &account, &Proof::Global, "m_early", 1).await;
    is_written_to(store, &account, &account.proof(), "m_early_own", 2).await;
    let integration = connected_as(store, &account, Claim::Unproven, 3).await;

    let replayed = replay::replay_before_connecting(store, &integration, 100, at(4) * 1000).await.unwrap();

    assert_eq!(replayed, (Tally::default(), false));
    assert_eq!(received(store, &account).await, [""; 0]);
}

#[tokio::test]
async fn a_proven_claim_takes_over_and_nothing_leaks() {
    let (table, (stranger, owner)) = (Table::open().await, wanted_by_two());
    let store = &table.store();
    connected_as(store, &stranger, Claim::Unproven, 0).await;
    is_written_to(store, &stranger, &stranger.proof(), "m_strangers", 1).await;
    is_written_to(store, &stranger, &Proof::Global, "m_owners", 2).await;

    let integration = connected_as(store, &owner, Claim::Proven, 3).await;
    let (tally, _) = replay::replay_before_connecting(store, &integration, 100, at(4) * 1000).await.unwrap();
    is_written_to(store, &owner, &Proof::Global, "m_later", 5).await;
    is_written_to(store, &owner, &stranger.proof(), "m_forged", 6).await;

    assert_eq!(tally, Tally { replayed: 1, ..Tally::default() });
    assert_eq!(received(store, &owner).await, ["m_owners", "m_later"]);
    assert_eq!(received(store, &stranger).await, ["m_strangers"], "what arrived stays");
    let lost = store.integration(&stranger.organization, PLATFORM).await.unwrap().unwrap();
    assert_eq!((lost.status, lost.claim()), (ConnectionStatus::Error, Claim::Lost));
    assert_eq!(lost.error_message.as_deref(), Some(ACCOUNT_LOST));
    assert_eq!(stranger.audit(store).await[0].action, AuditAction::AccountLost);
    assert_eq!(replay::accounts(store, &stranger.organization).await.unwrap(), []);
}

#[tokio::test]
async fn what_lost_its_account_is_deleted_or_replaced() {
    for end in ["deleted", "disconnected", "replaced"] {
        let (table, (stranger, owner)) = (Table::open().await, wanted_by_two());
        let store = &table.store();
        connected_as(store, &stranger, Claim::Unproven, 0).await;
        connected_as(store, &owner, Claim::Proven, 1).await;

        let organization = &stranger.organization;
        match end {
            "deleted" => store.delete_integration(organization, PLATFORM, "ann", at(2)).await.unwrap(),
            "disconnected" => store.disconnect(organization, PLATFORM, "ann", at(2)).await.map(drop).unwrap(),
            _ => {
                let another = Account { organization: organization.clone(), ..Account::new(PLATFORM) };
                connected_as(store, &another, Claim::Unproven, 2).await;
            }
        }

        let holder = store.owner_of_account(PLATFORM, &owner.id).await.unwrap().unwrap();
        assert_eq!((holder.organization_id, holder.status), (owner.organization, OwnerStatus::Connected), "{end}");
    }
}

#[tokio::test]
async fn only_a_proof_takes_over_and_only_what_is_not_proven() {
    let cases = [
        (Claim::Unproven, Claim::Unproven, false),
        (Claim::Unproven, Claim::Proven, true),
        (Claim::Proven, Claim::Unproven, false),
        (Claim::Proven, Claim::Proven, false),
    ];
    for (held, wanted, taken) in cases {
        let (table, (first, second)) = (Table::open().await, wanted_by_two());
        let store = &table.store();
        connected_as(store, &first, held, 0).await;

        let claim = store.claim_account(&second.organization, PLATFORM, &second.id, wanted, at(1)).await;

        match claim {
            Ok(Stored::New) => assert!(taken, "{held:?} {wanted:?}"),
            Err(Error::AccountInUse) => assert!(!taken, "{held:?} {wanted:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_check_that_the_provider_confirms_proves_the_claim() {
    let (table, account) = (Table::open().await, Account::new(PLATFORM));
    let store = &table.store();
    let before = connected_as(store, &account, Claim::Unproven, 0).await;
    let connection = Connection {
        status: ConnectionStatus::Connected,
        proven: true,
        health: None,
        webhook_verified: None,
        error_message: None,
        checked_at: at(1),
        next_check_at: at(2),
    };

    let after = store.record_check(&before, connection).await.unwrap();
    is_written_to(store, &account, &Proof::Global, "m_services", 3).await;

    assert_eq!(after.claim(), Claim::Proven);
    assert_eq!(received(store, &account).await, ["m_services"]);
}

#[tokio::test]
async fn of_old_claims_whatsapps_alone_are_proven() {
    let table = Table::open().await;
    let store = &table.store();
    for (platform, proven) in [(Platform::Whatsapp, true), (Platform::Instagram, false), (PLATFORM, false)] {
        let account = Account { id: unique().parse().unwrap(), ..Account::new(platform) };
        let integration = Integration { noted_claim: None, ..account.integration(sealed("Y2lwaGVy"), 0) };
        assert_eq!(integration.claim() == Claim::Proven, proven);
        account.connected_as(store, integration).await;
        let owner = store.owner_of_account(platform, &account.id).await.unwrap().unwrap();
        assert_eq!(owner.is_proven(platform), proven);
    }
}
