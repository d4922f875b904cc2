//! Lists what happened in the organization, in order; waits a while for more, where that is asked for.

use std::time::{Duration, Instant};

use lambda_http::{Body, Request, Response, http::StatusCode};
use serde::Serialize;
use serde_json::Value;
use shared::{
    Error, Result, auth,
    changes::Kind,
    clock,
    config::Claims,
    http,
    store::{Store, keys},
};

/// The longest that is waited, in seconds: API Gateway gives up after 30.
const WAIT_MAX_SECS: u64 = 20;
/// How often it is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many pages without an event of the wanted types one request goes through.
const PAGES_MAX: usize = 20;

/// Where the caller stands.
const LATEST: &str = "latest";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListEventsResponse {
    items: Vec<Value>,
    /// The next `after`: also beyond events of other types.
    next: String,
    has_more: bool,
}

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let types = types(&request)?;
    let until = Instant::now() + wait(&request)?;
    let mut after = match http::query_parameter(&request, "after") {
        None => None,
        Some(text) if text == LATEST => Some(store.journal_end(organization, clock::now_ms()).await?),
        Some(text) => Some(sequence(&text)?),
    };
    let mut pages = 0;
    loop {
        let page = store.journal(organization, after, limit, clock::now_ms()).await?.ok_or(Error::CursorExpired)?;
        pages += 1;
        let is_empty = page.events.is_empty();
        let wanted =
            page.events.into_iter().filter(|event| types.as_ref().is_none_or(|of| of.contains(&event.change.kind)));
        let items: Vec<_> = wanted.map(|event| event.change.event(organization, event.sequence)).collect();
        let goes_on = if page.more { pages < PAGES_MAX } else { Instant::now() + LOOK_EVERY <= until };
        if !items.is_empty() || !goes_on {
            let next = keys::sequence_digits(page.last);
            return http::ok(StatusCode::OK, &ListEventsResponse { items, next, has_more: page.more });
        }
        if !is_empty {
            after = Some(page.last);
        }
        if !page.more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn sequence(text: &str) -> Result<u64> {
    let sequence = text.parse().ok().filter(|sequence| *sequence < keys::SEQUENCE_MAX);
    sequence.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(|| {
        Error::invalid_parameter(
            "`after` is the sequence of an event, or the `next` of an answer, or `latest`",
            "after",
        )
    })
}

fn types(request: &Request) -> Result<Option<Vec<Kind>>> {
    let Some(text) = http::query_parameter(request, "types") else { return Ok(None) };
    let types = text.split(',').map(str::parse).collect::<Result<_, _>>();
    types.map(Some).map_err(|_| {
        Error::invalid_parameter(
            "`types` is a list of types of events, such as `message.received,message.sent`",
            "types",
        )
    })
}

fn wait(request: &Request) -> Result<Duration> {
    let Some(text) = http::query_parameter(request, "wait") else { return Ok(Duration::ZERO) };
    let secs = text.parse().ok().filter(|secs| *secs <= WAIT_MAX_SECS);
    secs.map(Duration::from_secs).ok_or_else(|| {
        Error::invalid_parameter(format!("`wait` is a number of seconds from 0 to {WAIT_MAX_SECS}"), "wait")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::{changes::Change, id::OrganizationId};
    use testbed::{
        call::{Answer, Call, claims},
        engine::{Fault, Table},
        given::{Account, unique},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/list-events.json");

    async fn answer(table: &Table, call: Call) -> Answer {
        Answer::to(handle(&claims(), &table.store(), call.request()).await)
    }

    async fn journaled(table: &Table, organization: &OrganizationId, kinds: &[Kind]) {
        let now_ms = clock::now_ms();
        for kind in kinds {
            let id = format!("evt_{}", unique());
            let change = Change { id, kind: *kind, subject: "conversations/c".into(), at: now_ms, data: json!({}) };
            table.store().append_to_journal(organization, &[change], now_ms, now_ms).await.unwrap();
        }
    }

    fn sequences(answer: &Answer) -> Vec<&str> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.body["data"]["items"].as_array().unwrap();
        items.iter().map(|item| item["sequence"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn events_come_in_order_page_by_page() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        journaled(&table, &account.organization, &[Kind::MessageReceived; 5]).await;
        let call = Call::of(EVENT).from(&account.organization);

        let first = answer(&table, call.clone().query(&[("limit", "3")])).await;
        let next = first.body["data"]["next"].as_str().unwrap();
        let second = answer(&table, call.clone().query(&[("limit", "3"), ("after", next)])).await;
        let end = second.body["data"]["next"].as_str().unwrap();
        let third = answer(&table, call.query(&[("after", end)])).await;

        assert_eq!(sequences(&first), ["000000000001", "000000000002", "000000000003"]);
        assert_eq!((next, &first.body["data"]["hasMore"]), ("000000000003", &json!(true)));
        assert_eq!(sequences(&second), ["000000000004", "000000000005"]);
        assert_eq!(second.body["data"]["hasMore"], false);
        assert_eq!((sequences(&third), &third.body["data"]["next"]), (vec![], &json!(end)));
        let event = &first.body["data"]["items"][0];
        assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("message.received")));
        assert_eq!(event["source"], format!("/organizations/{}", account.organization));
    }

    #[tokio::test]
    async fn other_types_are_left_out_and_passed() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let kinds = [Kind::MessageReceived, Kind::ConversationOpened, Kind::MessageSent, Kind::ConversationClosed];
        journaled(&table, &account.organization, &kinds).await;
        let call = Call::of(EVENT).from(&account.organization);

        let query = [("types", "message.sent,note.added"), ("limit", "1")];
        let sent = answer(&table, call.clone().query(&query)).await;
        let none = answer(&table, call.query(&[("types", "message.edited")])).await;

        assert_eq!(sequences(&sent), ["000000000003"]);
        assert_eq!((sequences(&none), &none.body["data"]["next"]), (vec![], &json!("000000000004")));
    }

    #[tokio::test]
    async fn waiting_ends_with_the_first_event() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        journaled(&table, &account.organization, &[Kind::MessageReceived]).await;
        let call = Call::of(EVENT).from(&account.organization).query(&[("after", "latest"), ("wait", "20")]);

        let began = Instant::now();
        let (waited, ()) = tokio::join!(answer(&table, call), async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            journaled(&table, &account.organization, &[Kind::MessageSent]).await;
        });

        assert_eq!(sequences(&waited), ["000000000002"]);
        assert!(began.elapsed() >= Duration::from_millis(700) && began.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn places_that_are_not_kept_are_gone() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        journaled(&table, &account.organization, &[Kind::MessageReceived]).await;

        let call = Call::of(EVENT).from(&account.organization).query(&[("after", "2")]);

        assert_eq!(answer(&table, call).await.refusal(), (410, "CURSOR_EXPIRED"));
    }

    #[tokio::test]
    async fn parameters_that_cannot_be_taken_are_named() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        let call = Call::of(EVENT).from(&account.organization);

        table.meter.start([]);
        for (name, values) in [
            ("after", ["-1", "+1", "now", "1e3", "9999999999999"]),
            ("types", ["message", "message.received,", "*", "message.received;", "MESSAGE.SENT"]),
            ("wait", ["21", "-1", "1.5", "long", "1s"]),
            ("limit", ["0", "-1", "101", "2.5", "many"]),
        ] {
            for value in values {
                let answer = answer(&table, call.clone().query(&[(name, value)])).await;
                assert_eq!(answer.refusal(), (400, "INVALID_PARAMETER"), "{name}={value}");
                assert_eq!(answer.body["error"]["details"]["parameter"], name);
            }
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn another_organization_sees_no_event() {
        let (table, account) = (Table::open().await, Account::whatsapp());
        journaled(&table, &account.organization, &[Kind::MessageReceived]).await;
        let name = account.organization.as_str();

        for other in [&name[..name.len() - 1], &format!("{name}0"), &name.to_uppercase()] {
            let answer = answer(&table, Call::of(EVENT).from(&other.parse().unwrap())).await;
            assert_eq!(sequences(&answer), [""; 0], "{other}");
        }
    }

    #[tokio::test]
    async fn a_table_that_does_not_answer_is_no_empty_journal() {
        let (table, account) = (Table::without_retries().await, Account::whatsapp());

        table.meter.start([(0, Fault::Before)]);
        let answer = answer(&table, Call::of(EVENT).from(&account.organization)).await;

        assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
    }

    #[tokio::test]
    async fn strangers_are_refused_before_the_journal_is_read() {
        let table = Table::open().await;

        table.meter.start([]);
        for (call, code) in Call::of(EVENT).by_strangers(&["admin", "operator"]) {
            assert_eq!(answer(&table, call).await.refusal(), (403, code));
        }

        assert_eq!(table.meter.stop().calls, [""; 0]);
    }
}
