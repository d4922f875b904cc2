//! Quarantine: what waits for whom, and what connecting receives of it.

use serde_json::json;
use shared::{
    delivery::OF_FORMER_OWNER,
    id::{AccountId, OrganizationId},
    platform::Platform,
    replay::{self, Tally},
    store::{Audience, Chosen, Claim, OwnAccount, QuarantineEntry, QuarantineKind, Store},
    webhook_token::Proof,
};

use crate::{
    engine::Table,
    given::{arrives, at, kept_on, sealed, text_delivery, text_delivery_at, unique},
    integrations::of,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const NOW_MS: i64 = 1_795_428_000_000;

async fn connect(store: &Store, organization: &OrganizationId, account: &AccountId) {
    store.claim_account(organization, Platform::Whatsapp, account, Claim::Proven, NOW_MS).await.unwrap();
}

async fn connected(store: &Store, organization: &OrganizationId, account: &AccountId, limit: usize) -> (Tally, bool) {
    let integration = of(organization, account).integration(sealed("Y2lwaGVy"), 0);
    replay::replay_before_connecting(store, &integration, limit, NOW_MS * 1000).await.unwrap()
}

async fn waiting(store: &Store, organization: &OrganizationId, account: &AccountId) -> Vec<QuarantineEntry> {
    let accounts = [OwnAccount { platform: Platform::Whatsapp, id: account.clone(), proven: true }];
    store.quarantine_of_accounts(organization, &accounts, None, 100).await.unwrap().entries
}

fn somebody() -> (OrganizationId, AccountId) {
    (format!("org-{}", unique()).parse().unwrap(), unique().parse().unwrap())
}

#[tokio::test]
async fn connecting_receives_what_is_younger_than_seven_days() {
    let table = Table::open().await;
    let store = table.store();
    let (organization, account) = somebody();
    for (id, age) in [("wamid.new", 0), ("wamid.six", 6 * DAY_MS), ("wamid.old", 7 * DAY_MS + 1)] {
        arrives(&store, &Proof::Global, &text_delivery(&account, id), NOW_MS - age).await;
    }
    assert_eq!(waiting(&store, &organization, &account).await.len(), 3);
    connect(&store, &organization, &account).await;

    let (tally, more) = connected(&store, &organization, &account, 100).await;

    assert_eq!((tally, more), (Tally { replayed: 2, stay: 0, failed: 0 }, false));
    let left = waiting(&store, &organization, &account).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].received_at, NOW_MS - 7 * DAY_MS - 1);
    assert_eq!(connected(&store, &organization, &account, 100).await.0, Tally::default());
}

#[tokio::test]
async fn what_does_not_fit_into_one_run_is_left_for_the_next() {
    let table = Table::open().await;
    let store = table.store();
    let (organization, account) = somebody();
    for number in 0..5 {
        arrives(&store, &Proof::Global, &text_delivery(&account, &format!("wamid.{number}")), NOW_MS - number).await;
    }
    connect(&store, &organization, &account).await;

    let first = connected(&store, &organization, &account, 3).await;
    let second = connected(&store, &organization, &account, 3).await;

    assert_eq!((first.0.replayed, first.1), (3, true));
    assert_eq!((second.0.replayed, second.1), (2, false));
}

#[tokio::test]
async fn a_forgery_is_kept_beside_what_it_looks_like_and_does_not_stand_for_it() {
    let table = Table::open().await;
    let store = table.store();
    let (organization, account) = somebody();
    let (attacker, theirs) = somebody();
    let token = Proof::Account { platform: Platform::Whatsapp, account: theirs, organization: attacker.clone() };
    let body = text_delivery(&account, "wamid.same");

    // The same message, first forged, then by the provider itself.
    arrives(&store, &token, &body, NOW_MS - 2).await;
    arrives(&store, &Proof::Global, &body, NOW_MS - 1).await;

    let seen = waiting(&store, &organization, &account).await;
    assert_eq!(seen.iter().map(|entry| entry.proof.clone()).collect::<Vec<_>>(), [Proof::Global]);
    assert_eq!(seen[0].audience(), Audience::Owner);
    connect(&store, &organization, &account).await;
    assert_eq!(connected(&store, &organization, &account, 100).await.0.replayed, 1);
    // The attacker's own: of the account that nobody had, and is another's now.
    let forged = waiting(&store, &attacker, &account).await;
    assert_eq!(forged.len(), 1);
    assert_eq!(forged[0].audience(), Audience::Organization(&attacker));
    assert_eq!(replay::entry_of(&store, &attacker, &forged[0].id).await.unwrap(), None);
    assert_eq!(replay::entry_of(&store, &organization, &forged[0].id).await.unwrap(), None);
    let stays = replay::replay(&store, &forged[0], replay::By::Service, NOW_MS * 1000).await.unwrap();
    assert_eq!(stays, replay::Replayed::Stays("token of another organization"));
}

#[tokio::test]
async fn what_is_of_a_former_owners_time_reaches_nobody_else() {
    let table = Table::open().await;
    let store = table.store();
    let (former, account) = somebody();
    let (next, _) = somebody();
    of(&former, &account).connected(&store, sealed("Y2lwaGVy"), 0).await;
    store.delete_integration(&former, Platform::Whatsapp, "ann", at(10)).await.unwrap();
    // While nobody owns the account: of the former owner's time, and later.
    let delivery = |id, second| text_delivery_at(&account, id, second);
    arrives(&store, &Proof::Global, &delivery("wamid.former", 9), NOW_MS - 3).await;
    arrives(&store, &Proof::Global, &delivery("wamid.free", 10), NOW_MS - 2).await;
    of(&next, &account).connected(&store, sealed("Y2lwaGVy"), 20).await;

    let (tally, _) = connected(&store, &next, &account, 100).await;
    assert!(waiting(&store, &next, &account).await.is_empty(), "nor is it told of");
    // Repeated now: whatever it comes with.
    for proof in [Proof::Global, of(&next, &account).proof()] {
        arrives(&store, &proof, &delivery("wamid.again", 8), NOW_MS).await;
        arrives(&store, &proof, &delivery("wamid.new", 21), NOW_MS).await;
    }

    assert_eq!(tally, Tally { replayed: 1, stay: 1, failed: 0 });
    let mine = of(&next, &account);
    let conversation = mine.only(&store).await;
    let found = mine.external_ids(&store, &conversation).await;
    assert_eq!(found, ["wamid.free", "wamid.new"]);
    // It is for who runs the service alone.
    let day = shared::clock::day(NOW_MS);
    let kept = kept_on(&store, &day, OF_FORMER_OWNER).await;
    let of_account: Vec<_> = kept.iter().filter(|entry| entry.account_id.as_ref() == Some(&account)).collect();
    assert_eq!(of_account.len(), 3);
    for entry in of_account {
        assert_eq!(entry.audience(), Audience::Operator);
        for organization in [&former, &next] {
            assert_eq!(replay::entry_of(&store, organization, &entry.id).await.unwrap(), None);
        }
        let trusting = replay::replay(&store, entry, replay::By::TrustedOperator(&next), NOW_MS * 1000).await.unwrap();
        assert_eq!(trusting, replay::Replayed::Stays(OF_FORMER_OWNER));
    }
}

#[tokio::test]
async fn what_can_never_be_anybodys_keeps_nothing_else_waiting() {
    let table = Table::open().await;
    let store = table.store();
    let ((former, account), (next, _)) = (somebody(), somebody());
    of(&former, &account).connected(&store, sealed("Y2lwaGVy"), 0).await;
    store.delete_integration(&former, Platform::Whatsapp, "ann", at(10)).await.unwrap();
    arrives(&store, &Proof::Global, &text_delivery_at(&account, "wamid.free", 11), NOW_MS - 9).await;
    for number in 0..3 {
        let body = text_delivery_at(&account, &format!("wamid.former{number}"), 5);
        arrives(&store, &Proof::Global, &body, NOW_MS - number).await;
    }
    of(&next, &account).connected(&store, sealed("Y2lwaGVy"), 20).await;

    let first = connected(&store, &next, &account, 2).await;
    let second = connected(&store, &next, &account, 2).await;

    assert_eq!(first, (Tally { replayed: 0, stay: 2, failed: 0 }, true));
    assert_eq!(second.0, Tally { replayed: 1, stay: 1, failed: 0 });
    assert!(waiting(&store, &next, &account).await.is_empty());
}

#[tokio::test]
async fn what_the_provider_repeats_on_a_day_is_kept_once_whatever_it_comes_with() {
    let table = Table::open().await;
    let store = table.store();
    let (organization, account) = somebody();
    let body = text_delivery(&account, "wamid.again");
    arrives(&store, &Proof::Global, &body, NOW_MS).await;
    // Another merge of the same updates.
    let mut merged: serde_json::Value = serde_json::from_str(&body).unwrap();
    merged["entry"][0]["changes"][0]["value"]["contacts"] = serde_json::json!([{ "wa_id": "491713920012" }]);
    arrives(&store, &Proof::Global, &merged.to_string(), NOW_MS + 5).await;

    assert_eq!(waiting(&store, &organization, &account).await.len(), 1);
}

/// What of a delivery is in the quarantine of that day for its token's organization: how many entries, and bytes.
async fn kept_of(table: &Table, organization: &OrganizationId) -> (usize, usize) {
    let items = table.partition(&format!("ORG#{organization}#QUARANTINE#{}", shared::clock::day(NOW_MS))).await;
    let bytes = items.iter().map(|item| item["raw"].as_b().unwrap().as_ref().len()).sum();
    (items.iter().filter(|item| item.contains_key("id")).count(), bytes)
}

/// A delivery of so many statuses that nobody understands, with so many bytes around each.
fn unknown_statuses(account: &AccountId, count: usize, around: usize) -> String {
    let statuses: Vec<_> =
        (0..count).map(|number| json!({ "id": format!("wamid.{number}"), "status": "pondered" })).collect();
    let value = json!({
        "metadata": { "phone_number_id": account }, "statuses": statuses, "padding": "x".repeat(around),
    });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

#[tokio::test]
async fn delivery_is_kept_in_little_more_than_its_size() {
    for (count, around) in [(30, 200_000), (40, 1_000_000)] {
        let table = Table::open().await;
        let (organization, account) = somebody();
        let mine = of(&organization, &account);
        mine.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
        let body = unknown_statuses(&account, count, around);

        for _ in 0..2 {
            arrives(&table.store(), &mine.proof(), &body, NOW_MS).await;
        }

        let (entries, bytes) = kept_of(&table, &organization).await;
        assert!(bytes <= body.len() * 5 / 2, "{bytes} of {} in {entries} entries", body.len());
        let waiting = waiting(&table.store(), &organization, &account).await;
        assert_eq!(waiting.iter().filter(|entry| entry.kind == QuarantineKind::Delivery).count(), 1);
    }
}

#[tokio::test]
async fn thousand_items_are_kept_by_themselves() {
    let table = Table::open().await;
    let (organization, account) = somebody();
    let mine = of(&organization, &account);
    mine.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;

    arrives(&table.store(), &mine.proof(), &unknown_statuses(&account, 1000, 200), NOW_MS).await;
    assert_eq!(kept_of(&table, &organization).await.0, 1000);
    arrives(&table.store(), &mine.proof(), &unknown_statuses(&account, 5000, 200), NOW_MS + 1).await;

    assert_eq!(kept_of(&table, &organization).await.0, 1001, "the rest is kept whole, once");
}

#[tokio::test]
async fn delivery_of_too_many_accounts_is_kept_without_a_look_up() {
    let table = Table::open().await;
    let (organization, account) = somebody();
    let mine = of(&organization, &account);
    mine.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
    let mut body: serde_json::Value = serde_json::from_str(&text_delivery(&account, "wamid.x")).unwrap();
    let entry = body["entry"][0].take();
    let entries = (0..2000).map(|number| {
        let mut entry = entry.clone();
        entry["changes"][0]["value"]["metadata"]["phone_number_id"] = json!(format!("{}-{number}", unique()));
        entry
    });
    body["entry"] = entries.collect();
    let body = body.to_string();
    assert!(body.len() > 400_000, "{}", body.len());

    table.meter.start([]);
    arrives(&table.store(), &mine.proof(), &body, NOW_MS).await;
    let calls = table.meter.stop().calls;

    assert!(calls.iter().all(|call| call == "PutItem") && calls.len() < 10, "{calls:?}");
    assert_eq!(kept_of(&table, &organization).await.1, body.len());
}

#[tokio::test]
async fn delivery_kept_whole_is_replayed_for_its_own_account() {
    let table = Table::open().await;
    let store = table.store();
    let (organization, account) = somebody();
    let mine = of(&organization, &account);
    mine.connected(&store, sealed("Y2lwaGVy"), 0).await;
    // Messages of the account among so many that nobody understands that it is kept whole.
    let mut body: serde_json::Value = serde_json::from_str(&unknown_statuses(&account, 1001, 0)).unwrap();
    let text: serde_json::Value = serde_json::from_str(&text_delivery(&account, "wamid.text")).unwrap();
    body["entry"].as_array_mut().unwrap().push(text["entry"][0].clone());
    arrives(&store, &mine.proof(), &body.to_string(), NOW_MS).await;
    let whole = waiting(&store, &organization, &account).await;
    assert_eq!(whole.len(), 100, "a page");
    let whole = kept_on(&store, &shared::clock::day(NOW_MS), "too much for the quarantine of single items").await;
    let whole = whole.into_iter().find(|entry| entry.account_id.as_ref() == Some(&account)).unwrap();

    let found = replay::entry_of(&store, &organization, &whole.id).await.unwrap();
    let outcome = replay::replay(&store, &whole, replay::By::User(&organization, "ann"), NOW_MS * 1000).await.unwrap();

    assert_eq!((found, outcome), (Some(whole), replay::Replayed::Stays("unknown status")));
    let conversation = mine.only(&store).await;
    assert_eq!(mine.external_ids(&store, &conversation).await, ["wamid.text"]);
}

#[tokio::test]
async fn flood_of_one_organization_stays_in_its_own_partition() {
    let table = Table::apart().await;
    let store = table.store();
    let (attacker, account) = somebody();
    let token = of(&attacker, &account).proof();
    let (victim, target) = somebody();
    of(&victim, &target).connected(&store, sealed("Y2lwaGVy"), 0).await;

    for number in 0..5 {
        arrives(&store, &token, &text_delivery(&target, &format!("wamid.{number}")), NOW_MS).await;
        arrives(&store, &token, &format!("no JSON {number}"), NOW_MS).await;
    }
    let free = somebody().1;
    arrives(&store, &Proof::Global, &text_delivery(&free, "wamid.free"), NOW_MS).await;
    arrives(&store, &Proof::Global, "no JSON", NOW_MS).await;

    let day = shared::clock::day(NOW_MS);
    assert_eq!(kept_of(&table, &attacker).await.0, 10);
    assert_eq!(kept_of(&table, &victim).await.0, 0);
    assert_eq!(table.partition(&format!("QUARANTINE#whatsapp#{free}#{day}")).await.len(), 1);
    assert_eq!(table.partition(&format!("QUARANTINE#{day}")).await.len(), 1);
    // Who runs the service finds all of it, a page at a time.
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.quarantine_of_day(&day, Chosen::default(), after.as_deref(), 3).await.unwrap();
        found += page.entries.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, 12);
}
