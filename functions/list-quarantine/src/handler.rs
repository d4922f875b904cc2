//! Lists what waits in quarantine on the organization's own accounts, newest first.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Result, auth, clock,
    config::Claims,
    cursor, http,
    id::{AccountId, QuarantineId},
    platform::Platform,
    replay,
    store::{QuarantineEntry, QuarantineKind, Store},
};

/// A part of the query that cursors are bound to.
const QUERY: &str = "quarantine";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QuarantineEntryView {
    id: QuarantineId,
    platform: Option<Platform>,
    account_id: Option<AccountId>,
    kind: QuarantineKind,
    reason: String,
    received_at: String,
    size_bytes: usize,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let after = http::query_parameter(&request, "cursor");
    let after = after.map(|after| cursor::decode(organization, QUERY, &after)).transpose()?;

    let accounts = replay::accounts(store, organization).await?;
    let page = store.quarantine_of_accounts(organization, &accounts, after.as_deref(), limit).await?;

    let entries: Vec<_> = page.entries.into_iter().map(QuarantineEntryView::from).collect();
    let next = page.next.map(|next| cursor::encode(organization, QUERY, &next));
    http::ok_list(&entries, limit, next.as_deref())
}

impl From<QuarantineEntry> for QuarantineEntryView {
    fn from(entry: QuarantineEntry) -> Self {
        Self {
            id: entry.id,
            platform: entry.platform,
            account_id: entry.account_id,
            kind: entry.kind,
            reason: entry.reason,
            received_at: clock::rfc3339(entry.received_at),
            size_bytes: entry.size_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{store::Claim, webhook_token::Proof};
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, arrives, at, sealed, unknown_delivery},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/list-quarantine.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    /// A connected account on which so much waits that nobody understands, a second apart.
    async fn with_unknown(table: &Table, count: i64) -> Account {
        let account = Account::whatsapp();
        account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
        for second in 0..count {
            let body = unknown_delivery(&account.id, &format!("wamid.{second}"));
            arrives(&table.store(), &account.proof(), &body, at(second)).await;
        }
        account
    }

    fn items(answer: &Answer) -> &[Value] {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["data"]["items"].as_array().unwrap()
    }

    #[tokio::test]
    async fn the_event_lists_what_waits_with_its_reason_and_nothing_of_what_it_holds() {
        let table = Table::open().await;
        let account = with_unknown(&table, 1).await;

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(table.meter.stop().calls, ["Query", "GetItem", "Query", "Query"], "accounts, owner, ours, nobody's");
        let entry = json!({
            "id": items(&answer)[0]["id"], "platform": "whatsapp", "accountId": account.id,
            "kind": "unknown", "reason": "unknown status", "receivedAt": clock::rfc3339(at(0)),
            "sizeBytes": unknown_delivery(&account.id, "wamid.0").len(),
        });
        let pagination = json!({ "limit": 20, "hasNext": false, "nextCursor": null });
        assert_eq!(answer.body["data"], json!({ "items": [entry], "pagination": pagination }));
    }

    #[tokio::test]
    async fn pages_lead_through_all_accounts_newest_first_although_more_comes_meanwhile() {
        let table = Table::open().await;
        let (store, account) = (table.store(), with_unknown(&table, 3).await);
        let page = Account { organization: account.organization.clone(), ..Account::new(Platform::Facebook) };
        // One came before the page was connected, and one together with the number's.
        let early = json!({ "object": "page", "entry": [{ "id": page.id, "messaging": [{ "message": "?" }] }] });
        arrives(&store, &Proof::Global, &early.to_string(), at(3)).await;
        page.connected(&store, sealed("Y2lwaGVy"), 4).await;
        arrives(&store, &page.proof(), "no JSON", at(1)).await;

        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let call = Call::of(EVENT).from(&account.organization).query(&[("limit", "2"), ("cursor", &cursor)]);
            let answer = answer(&table, call).await;
            found.extend(items(&answer).to_vec());
            let newer = unknown_delivery(&account.id, &format!("wamid.newer.{}", found.len()));
            arrives(&store, &account.proof(), &newer, at(100)).await;
            let Some(next) = answer.body["data"]["pagination"]["nextCursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }

        assert!(found.is_sorted_by(|one, next| one["id"].as_str() > next["id"].as_str()), "{found:#?}");
        let mut told: Vec<_> = found.iter().map(|entry| (&entry["receivedAt"], &entry["platform"])).collect();
        told[2..4].sort_by_key(|(_, platform)| platform.as_str());
        let expected = [(3, "facebook"), (2, "whatsapp"), (1, "facebook"), (1, "whatsapp"), (0, "whatsapp")];
        let expected = expected.map(|(second, platform)| (json!(clock::rfc3339(at(second))), json!(platform)));
        assert_eq!(told, expected.iter().map(|(time, platform)| (time, platform)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_waits_on_a_disconnected_account_is_its_owners_to_see_and_on_a_deleted_one_nobodys() {
        let table = Table::open().await;
        let (store, account) = (table.store(), with_unknown(&table, 1).await);
        let seen = async || items(&answer(&table, Call::of(EVENT).from(&account.organization)).await).len();

        store.disconnect(&account.organization, account.platform, "ann", at(1)).await.unwrap();
        assert_eq!(seen().await, 1);
        store.delete_integration(&account.organization, account.platform, "ann", at(2)).await.unwrap();

        assert_eq!(seen().await, 0);
    }

    #[tokio::test]
    async fn another_organization_sees_nothing_whether_it_is_about_to_connect_the_account_or_its_token_brought_it() {
        let table = Table::open().await;
        let (store, account, other) = (table.store(), with_unknown(&table, 1).await, with_unknown(&table, 0).await);
        let forged = unknown_delivery(&account.id, "wamid.forged");
        arrives(&store, &other.proof(), &forged, at(1)).await;
        let free = Account::whatsapp();
        arrives(&store, &Proof::Global, &unknown_delivery(&free.id, "wamid.free"), at(1)).await;
        store
            .claim_account(&other.organization, free.platform, &free.id, Claim::Proven, clock::now_ms())
            .await
            .unwrap();

        let owners = answer(&table, Call::of(EVENT).from(&account.organization)).await;
        let others = answer(&table, Call::of(EVENT).from(&other.organization)).await;

        assert_eq!(items(&others), [Value::Null; 0]);
        let times: Vec<_> = items(&owners).iter().map(|entry| entry["receivedAt"].clone()).collect();
        assert_eq!(times, [clock::rfc3339(at(0))], "nothing of the forgery either");
    }

    #[tokio::test]
    async fn limits_and_cursors_that_cannot_be_taken_are_named_before_anything_is_read() {
        let table = Table::open().await;
        let (account, other) = (with_unknown(&table, 2).await, Account::whatsapp());
        let call = Call::of(EVENT).from(&account.organization);
        let first = answer(&table, call.clone().query(&[("limit", "1")])).await;
        let cursor = first.body["data"]["pagination"]["nextCursor"].as_str().unwrap();
        let elsewhere = cursor::encode(&account.organization, "audit", items(&first)[0]["id"].as_str().unwrap());

        table.meter.start([]);
        for call in call.with_bad_limits() {
            let answer = answer(&table, call).await;
            assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"));
            assert_eq!(answer.body["error"]["details"]["parameter"], "limit");
        }
        let refused = [
            call.clone().query(&[("cursor", &elsewhere)]),
            Call::of(EVENT).from(&other.organization).query(&[("cursor", cursor)]),
        ];
        for call in refused.into_iter().chain(call.with_bad_cursors(cursor)) {
            assert_eq!(answer(&table, call).await.refusal(), (400, "INVALID_CURSOR"));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn a_table_that_answers_in_part_is_told_and_nothing_left_out() {
        let table = Table::without_retries().await;
        let account = with_unknown(&table, 1).await;

        for call in 0..4 {
            table.meter.start([(call, Fault::Before)]);
            let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;
            assert_eq!(answer.refusal(), (503, "UNAVAILABLE"), "{call}");
        }
    }

    #[tokio::test]
    async fn strangers_are_refused_before_anything_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for (call, code) in Call::of(EVENT).by_strangers(&["admin"]) {
            assert_eq!(answer(&table, call).await.refusal(), (403, code));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }
}
