//! Lists who did what in the organization, newest first.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    cursor, http,
    id::{AccountId, AuditId, ConversationId, MessageId, QuarantineId},
    platform::Platform,
    store::{AuditAction, AuditEntry, Store},
};

/// A part of the query that cursors are bound to.
const QUERY: &str = "audit";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditEntryView {
    id: AuditId,
    timestamp: String,
    action: AuditAction,
    attempted: Option<AuditAction>,
    by: Option<String>,
    platform: Option<Platform>,
    account_id: Option<AccountId>,
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    quarantine_id: Option<QuarantineId>,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::ADMINS)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let before = match http::query_parameter(&request, "cursor") {
        Some(text) => Some(cursor::decode(organization, QUERY, &text)?.parse().map_err(|_| Error::InvalidCursor)?),
        None => None,
    };

    let (entries, next) = store.audit_trail(organization, before.as_ref(), limit).await?;

    let entries: Vec<_> = entries.into_iter().map(AuditEntryView::from).collect();
    let next = next.map(|next| cursor::encode(organization, QUERY, next.as_str()));
    http::ok_list(&entries, limit, next.as_deref())
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            timestamp: clock::rfc3339(entry.id.epoch_ms()),
            id: entry.id,
            action: entry.action,
            attempted: entry.attempted,
            by: entry.by,
            platform: entry.platform,
            account_id: entry.account_id,
            conversation_id: entry.conversation_id,
            message_id: entry.message_id,
            quarantine_id: entry.quarantine_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, anna, at, sealed},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/list-audit.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    /// An account whose organization has done so much, all of it in the same second.
    async fn with_trail(table: &Table, count: usize) -> Account {
        let account = Account::whatsapp();
        for _ in 0..count {
            did(table, &account, AuditEntry::new(AuditAction::Sent, Some("olga"), at(0)).unwrap()).await;
        }
        account
    }

    async fn did(table: &Table, account: &Account, entry: AuditEntry) {
        table.store().audit(&account.organization, &entry).await.unwrap();
    }

    fn items(answer: &Answer) -> &[Value] {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["data"]["items"].as_array().unwrap()
    }

    #[tokio::test]
    async fn the_event_lists_who_did_what_newest_first() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let (store, Account { organization, platform, .. }) = (table.store(), &account);
        account.connected(&store, sealed("Y2lwaGVy"), 0).await;
        account.connected(&store, sealed("bmV3"), 1).await;
        let repaired = AuditEntry::new(AuditAction::WebhookRepaired, None, at(2)).unwrap();
        did(&table, &account, repaired.about(*platform, &account.id)).await;
        store.disconnect(organization, *platform, "bob", at(3)).await.unwrap();
        store.delete_integration(organization, *platform, "ann", at(4)).await.unwrap();

        table.meter.start([]);
        let answer = answer(&table, Call::of(EVENT).from(organization)).await;

        assert_eq!(table.meter.stop().calls, ["Query"]);
        let done = [
            (4, "deleted", json!("ann")),
            (3, "disconnected", json!("bob")),
            (2, "webhook_repaired", Value::Null),
            (1, "key_rotated", json!("ann")),
            (0, "connected", json!("ann")),
        ];
        assert_eq!(items(&answer).len(), done.len());
        let expected: Vec<_> = done
            .iter()
            .zip(items(&answer))
            .map(|((second, action, by), item)| {
                json!({
                    "id": item["id"], "timestamp": clock::rfc3339(at(*second)), "action": action, "attempted": null, "by": by,
                    "platform": "whatsapp", "accountId": account.id,
                    "conversationId": null, "messageId": null, "quarantineId": null,
                })
            })
            .collect();
        assert_eq!(items(&answer), expected);
        assert_eq!(answer.body["data"]["pagination"], json!({ "limit": 20, "hasNext": false, "nextCursor": null }));
    }

    #[tokio::test]
    async fn what_was_done_is_told_by_id_and_the_keys_are_nowhere_in_the_trail() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
        let conversation = account.conversation_id(&anna());
        let (message, quarantined) =
            (MessageId::of(at(1), "m1"), QuarantineId::of(at(0), "0123456789abcdef0123456789abcdef"));
        let sent = AuditEntry {
            conversation_id: Some(conversation.clone()),
            message_id: Some(message.clone()),
            ..AuditEntry::new(AuditAction::Sent, Some("olga"), at(1)).unwrap()
        };
        did(&table, &account, sent).await;
        let replayed = AuditEntry {
            quarantine_id: Some(quarantined.clone()),
            ..AuditEntry::new(AuditAction::Replayed, Some("ann"), at(2)).unwrap()
        };
        did(&table, &account, replayed).await;

        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        let [replayed, sent, _] = items(&answer) else { panic!("{answer:?}") };
        assert_eq!((&replayed["action"], &replayed["quarantineId"]), (&json!("replayed"), &json!(quarantined)));
        assert_eq!((&sent["action"], &sent["by"]), (&json!("sent"), &json!("olga")));
        assert_eq!((&sent["conversationId"], &sent["messageId"]), (&json!(conversation), &json!(message)));
        let kept = table.partition(&format!("ORG#{}#AUDIT", account.organization)).await;
        assert_eq!(kept.len(), 3);
        assert!(!format!("{kept:?} {answer:?}").contains("Y2lwaGVy"), "{kept:?}");
    }

    #[tokio::test]
    async fn pages_lead_through_the_whole_trail_although_more_is_done_meanwhile() {
        let table = Table::open().await;
        let account = with_trail(&table, 5).await;

        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let call = Call::of(EVENT).from(&account.organization).query(&[("limit", "2"), ("cursor", &cursor)]);
            let answer = answer(&table, call).await;
            found.extend(items(&answer).to_vec());
            did(&table, &account, AuditEntry::new(AuditAction::Sent, Some("olga"), at(1)).unwrap()).await;
            let Some(next) = answer.body["data"]["pagination"]["nextCursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }

        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found.is_sorted_by(|one, next| one["id"].as_str() > next["id"].as_str()), "{found:#?}");
        assert!(found.iter().all(|entry| entry["timestamp"] == clock::rfc3339(at(0))), "{found:#?}");
    }

    #[tokio::test]
    async fn limits_and_cursors_that_cannot_be_taken_are_named_before_anything_is_read() {
        let table = Table::open().await;
        let (account, other) = (with_trail(&table, 2).await, Account::whatsapp());
        let call = Call::of(EVENT).from(&account.organization);
        let first = answer(&table, call.clone().query(&[("limit", "1")])).await;
        let cursor = first.body["data"]["pagination"]["nextCursor"].as_str().unwrap();
        let of_another_list =
            cursor::encode(&account.organization, "quarantine", items(&first)[0]["id"].as_str().unwrap());
        let no_id = cursor::encode(&account.organization, QUERY, "~");

        table.meter.start([]);
        for call in call.with_bad_limits() {
            let answer = answer(&table, call).await;
            assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"));
            assert_eq!(answer.body["error"]["details"]["parameter"], "limit");
        }
        let refused = [
            call.clone().query(&[("cursor", &of_another_list)]),
            call.clone().query(&[("cursor", &no_id)]),
            Call::of(EVENT).from(&other.organization).query(&[("cursor", cursor)]),
        ];
        for call in refused.into_iter().chain(call.with_bad_cursors(cursor)) {
            assert_eq!(answer(&table, call).await.refusal(), (400, "INVALID_CURSOR"));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn another_organization_sees_none_of_it_however_alike_its_name() {
        let table = Table::open().await;
        let account = with_trail(&table, 1).await;
        let name = account.organization.as_str();

        for other in [&name[..name.len() - 1], &format!("{name}0"), &name.to_uppercase()] {
            let answer = answer(&table, Call::of(EVENT).from(&other.parse().unwrap())).await;
            assert_eq!(items(&answer), [Value::Null; 0], "{other}");
        }
    }

    #[tokio::test]
    async fn a_table_that_does_not_answer_is_no_empty_trail() {
        let table = Table::without_retries().await;
        let account = with_trail(&table, 1).await;

        table.meter.start([(0, Fault::Before)]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
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
