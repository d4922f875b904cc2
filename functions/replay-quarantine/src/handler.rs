//! Receives again what waits in quarantine on one of the organization's own accounts.

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Serialize;
use shared::{
    Error, Result, auth, clock,
    config::Claims,
    http,
    id::QuarantineId,
    replay::{self, By, Replayed},
    store::{AuditAction, Store},
};

#[derive(Serialize)]
struct ReplayQuarantineResponse {
    id: QuarantineId,
    outcome: &'static str,
    reason: Option<&'static str>,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller_or_told(&request, claims, auth::ADMINS, store, AuditAction::Replayed).await?;
    let id = http::quarantine_id(&request)?;
    let organization = &caller.organization;
    let entry = replay::entry_of(store, organization, &id).await?.ok_or(Error::QuarantineEntryNotFound)?;

    let replayed = replay::replay(store, &entry, By::User(organization, &caller.user), clock::now_us()).await?;

    let (outcome, reason, message) = match replayed {
        Replayed::Now(_) | Replayed::Before => ("replayed", None, "It has found its place.".to_owned()),
        Replayed::Stays(reason) => ("stays", Some(reason), format!("It stays in quarantine: {reason}.")),
    };
    http::ok_with_message(StatusCode::OK, &ReplayQuarantineResponse { id, outcome, reason }, &message)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use serde_json::{Value, json};
    use shared::{
        delivery::TOKEN_OF_ANOTHER,
        store::{QuarantineEntry, QuarantineKind, Quarantined},
        webhook_token::Proof,
    };
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, anna, arrives, at, kept_on, sealed, text_delivery, unknown_delivery},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/replay-quarantine.json");

    /// A connected account and what waits on it.
    struct Stage {
        table: Table,
        account: Account,
        entry: QuarantineEntry,
    }

    impl Stage {
        /// A message that came before the account was connected.
        async fn early(table: Table) -> Self {
            let (store, account) = (table.store(), Account::whatsapp());
            arrives(&store, &Proof::Global, &text_delivery(&account.id, "wamid.early"), at(0)).await;
            Self::connected(table, account).await
        }

        /// A status that nobody understands.
        async fn unknown(table: Table) -> Self {
            let (store, account) = (table.store(), Account::whatsapp());
            arrives(&store, &Proof::Global, &unknown_delivery(&account.id, "wamid.unknown"), at(0)).await;
            Self::connected(table, account).await
        }

        async fn connected(table: Table, account: Account) -> Self {
            account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
            let entry = account.quarantine(&table.store()).await.remove(0);
            Self { table, account, entry }
        }

        /// The event, of the account's organization and about the entry.
        fn call(&self) -> Call {
            Call::of(EVENT).from(&self.account.organization).path("quarantineId", self.entry.id.as_str())
        }

        async fn answer(&self, call: Call) -> Answer {
            Answer::to(handle(&claims(), &self.table.store(), call.request()).await)
        }

        /// What a replay of the entry came to.
        async fn replay(&self) -> (String, Value) {
            let answer = self.answer(self.call()).await;
            assert_eq!((answer.status, &answer.body["data"]["id"]), (200, &json!(self.entry.id)), "{answer:?}");
            (answer.body["data"]["outcome"].as_str().unwrap().to_owned(), answer.body["data"]["reason"].clone())
        }

        /// The message of the entry is in its thread once, unread, and the audit trail tells of one replay.
        async fn has_found_its_place_once(&self) {
            let store = &self.table.store();
            let conversation = self.account.only(store).await;
            assert_eq!(self.account.external_ids(store, &conversation).await, ["wamid.early"]);
            assert_eq!(self.account.unread(store, &conversation).await, 1);
            assert_eq!(self.account.quarantine(store).await, []);
            assert_eq!(self.replays().await, 1);
        }

        /// The entry is in quarantine as it was, and the audit trail tells of no replay.
        async fn waits(&self) {
            assert_eq!(self.account.quarantine(&self.table.store()).await, slice::from_ref(&self.entry));
            assert_eq!(self.replays().await, 0);
        }

        /// How many replays the audit trail tells of.
        async fn replays(&self) -> usize {
            let trail = self.account.audit(&self.table.store()).await;
            trail.iter().filter(|entry| entry.action == AuditAction::Replayed).count()
        }
    }

    #[tokio::test]
    async fn what_came_too_early_becomes_a_message_and_the_trail_tells_who_had_it_replayed() {
        let stage = Stage::early(Table::open().await).await;

        let answer = stage.answer(stage.call()).await;

        let expected = json!({ "id": stage.entry.id, "outcome": "replayed", "reason": null });
        assert_eq!((answer.status, &answer.body["data"]), (200, &expected));
        assert_eq!(answer.body["message"], "It has found its place.");
        stage.has_found_its_place_once().await;
        let conversation = stage.account.conversation_id(&anna());
        assert_eq!(stage.account.only(&stage.table.store()).await.id, conversation);
        let told = stage.account.audit(&stage.table.store()).await.remove(0);
        assert_eq!((told.action, told.by.as_deref()), (AuditAction::Replayed, Some("ann")));
        assert_eq!(
            (told.platform, told.account_id, told.quarantine_id),
            (stage.entry.platform, stage.entry.account_id.clone(), Some(stage.entry.id.clone()))
        );
    }

    #[tokio::test]
    async fn a_second_replay_tells_the_same_and_only_reads() {
        let stage = Stage::early(Table::open().await).await;
        let first = stage.replay().await;

        stage.table.meter.start([]);
        let second = stage.replay().await;

        let calls = stage.table.meter.stop().calls;
        assert!(calls.len() < 6 && calls.iter().all(|call| matches!(call.as_str(), "GetItem" | "Query")), "{calls:?}");
        assert_eq!(first, ("replayed".into(), Value::Null));
        assert_eq!(second, first);
        stage.has_found_its_place_once().await;
    }

    #[tokio::test]
    async fn replays_at_the_same_moment_are_one() {
        let stage = Stage::early(Table::open().await).await;

        let (one, other) = tokio::join!(stage.replay(), stage.replay());

        assert_eq!((one.0.as_str(), other.0.as_str()), ("replayed", "replayed"));
        stage.has_found_its_place_once().await;
    }

    #[tokio::test]
    async fn what_stays_says_why_and_is_as_it_was() {
        let unknown = Stage::unknown(Table::open().await).await;
        let early = Stage::early(Table::open().await).await;
        let Account { organization, platform, .. } = &early.account;
        early.table.store().disconnect(organization, *platform, "ann", at(1)).await.unwrap();

        for (stage, reason) in [(unknown, "unknown status"), (early, "the integration is disconnected")] {
            for _ in 0..2 {
                let answer = stage.answer(stage.call()).await;
                let expected = json!({ "id": stage.entry.id, "outcome": "stays", "reason": reason });
                assert_eq!((answer.status, &answer.body["data"]), (200, &expected));
                assert_eq!(answer.body["message"], format!("It stays in quarantine: {reason}."));
            }
            let store = &stage.table.store();
            stage.waits().await;
            assert_eq!(stage.account.inbox(store).await, []);
        }
    }

    #[tokio::test]
    async fn of_what_is_understood_in_part_the_messages_are_stored_and_it_stays_for_the_rest() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let mut body: Value = serde_json::from_str(&text_delivery(&account.id, "wamid.early")).unwrap();
        let unknown: Value = serde_json::from_str(&unknown_delivery(&account.id, "wamid.unknown")).unwrap();
        body["entry"].as_array_mut().unwrap().push(unknown["entry"][0].clone());
        let body = body.to_string();
        // As a version left it that did not know the shape.
        let quarantined = Quarantined {
            reason: "the body has no known shape",
            kind: QuarantineKind::Delivery,
            platform: Some(account.platform),
            account: Some(&account.id),
            proof: &account.proof(),
            owner: None,
            identity: body.as_bytes(),
            delivery: body.as_bytes(),
        };
        table.store().quarantine(&quarantined, at(0)).await.unwrap();
        let stage = Stage::connected(table, account).await;

        for _ in 0..2 {
            assert_eq!(stage.replay().await, ("stays".into(), json!("unknown status")));
        }

        let store = &stage.table.store();
        let conversation = stage.account.only(store).await;
        assert_eq!(stage.account.external_ids(store, &conversation).await, ["wamid.early"]);
        stage.waits().await;
    }

    #[tokio::test]
    async fn wherever_the_table_fails_the_next_replay_completes_it() {
        let counted = Stage::early(Table::without_retries().await).await;
        counted.table.meter.start([]);
        counted.replay().await;
        let calls = counted.table.meter.stop().calls.len();

        for call in 0..calls {
            for fault in Fault::ALL {
                let stage = Stage::early(Table::without_retries().await).await;
                stage.table.meter.start([(call, fault)]);
                let answer = stage.answer(stage.call()).await;
                stage.table.meter.stop();
                assert_eq!(answer.refusal(), (503, "UNAVAILABLE"), "{call} {fault:?}");

                assert_eq!(stage.replay().await.0, "replayed", "{call} {fault:?}");
                stage.has_found_its_place_once().await;
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_the_callers_is_not_found_and_waits_on() {
        let stage = Stage::early(Table::apart().await).await;
        let (store, account) = (stage.table.store(), &stage.account);
        let other = Account::whatsapp();
        other.connected(&store, sealed("Y2lwaGVy"), 0).await;
        // Forged with the other's token: neither of the two may have it replayed.
        arrives(&store, &other.proof(), &text_delivery(&account.id, "wamid.forged"), at(0)).await;
        let day = clock::day(at(0));
        let forged = kept_on(&store, &day, TOKEN_OF_ANOTHER).await.remove(0).id;
        let forged = forged.as_str();
        let at_another_time = QuarantineId::of(stage.entry.id.epoch_ms() + 1, stage.entry.id.hash());

        stage.table.meter.start([]);
        let not_theirs = [
            stage.call().from(&other.organization),
            stage.call().from(&other.organization).path("quarantineId", forged),
            stage.call().path("quarantineId", forged),
            stage.call().path("quarantineId", at_another_time.as_str()),
            Call::of(EVENT),
        ];
        for call in not_theirs {
            assert_eq!(stage.answer(call).await.refusal(), (404, "QUARANTINE_ENTRY_NOT_FOUND"));
        }
        let figures = stage.table.meter.stop();
        assert!(figures.calls.iter().all(|call| matches!(call.as_str(), "GetItem" | "Query")), "{figures:?}");
        stage.table.meter.start([]);
        for id in ["", "..", "QUARANTINE#1", "1795427900310-xyz", &format!("{forged}#001")] {
            let answer = stage.answer(stage.call().path("quarantineId", id)).await;
            assert_eq!(answer.refusal(), (404, "QUARANTINE_ENTRY_NOT_FOUND"), "{id}");
        }
        assert_eq!(stage.table.meter.stop().calls, [""; 0], "what cannot be an id is not looked for");

        stage.waits().await;
        assert_eq!((account.inbox(&store).await, other.inbox(&store).await), (vec![], vec![]));
    }

    #[tokio::test]
    async fn strangers_are_refused_before_anything_is_read() {
        let stage = Stage::early(Table::open().await).await;

        stage.table.meter.start([]);
        for (call, code) in stage.call().by_strangers(&["admin"]) {
            assert_eq!(stage.answer(call).await.refusal(), (403, code));
        }

        let calls = stage.table.meter.stop().calls;
        assert!(calls.iter().all(|call| call == "TransactWriteItems"), "told in the audit trail alone: {calls:?}");
        stage.waits().await;
    }
}
