//! Deliveries of somebody who means harm. None costs a process, changes anything of another account, or gets in without a proof.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::json;
use support::{Rig, Setup};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::shared::{Account, Organization, SOON, items, now, own_rig, quarantined, run, text, unique};

/// How many levels nobody nests in good faith.
const LEVELS: usize = 100_000;
/// How many requests come without a proof.
const STRANGERS: usize = 10_000;

/// The processes of the webhook.
async fn processes(rig: &Rig) -> BTreeSet<u64> {
    let processes = rig.processes().await;
    let of_it = processes.iter().filter(|process| process["function"] == "receive-webhook");
    of_it.map(|process| process["pid"].as_u64().unwrap()).collect()
}

/// A delivery written to the connection by hand: `framing` says how long it is, the rest is up to the caller.
async fn begin(account: &Account<'_>, framing: &str) -> TcpStream {
    let (host, path) = account.rig.webhook.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut connection = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         connection: close\r\n{framing}\r\n\r\n",
        account.authorization
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

/// The status of the answer.
async fn status(mut connection: TcpStream) -> u16 {
    let mut answer = String::new();
    timeout(SOON, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_compressed_body_is_not_inflated_but_kept_as_it_came() {
    /// `{"object":"whatsapp_business_account","entry":[]}`
    const COMPRESSED: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 79, 202, 74, 77, 46, 81, 178, 82, 42, 207, 72, 44, 41, 78, 44,
        40, 136, 79, 42, 45, 206, 204, 75, 45, 46, 142, 79, 76, 78, 206, 47, 205, 43, 81, 210, 81, 74, 205, 43, 41,
        170, 84, 178, 138, 142, 173, 5, 0, 7, 137, 161, 68, 49, 0, 0, 0,
    ];
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        for encoding in ["gzip", "deflate", "br", "gzip, gzip"] {
            let headers = [("authorization", account.authorization.as_str()), ("content-encoding", encoding)];

            assert_eq!(rig.webhook(&headers, COMPRESSED).await.status, 200, "{encoding}");
        }

        let kept = quarantined(rig).await;
        let kept: Vec<_> = kept.iter().filter(|item| item["accountId"]["S"] == account.id.as_str()).collect();
        assert_eq!(kept.len(), 1, "the same bytes are kept once");
        assert_eq!(STANDARD.decode(text(&kept[0]["raw"]["B"])).unwrap(), COMPRESSED);
        // What says so and is not compressed is read: the bytes count.
        let headers = [("authorization", account.authorization.as_str()), ("content-encoding", "gzip")];
        assert_eq!(rig.webhook(&headers, account.fixture("text")).await.status, 200);
        assert_eq!(organization.thread().await.len(), 1);
    });
}

#[test]
fn a_body_in_chunks_is_received_whole_however_slowly_it_comes() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let body = account.fixture("text");
        let mut connection = begin(&account, "transfer-encoding: chunked").await;

        for piece in body.as_bytes().chunks(64) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            connection.write_all(&chunk).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
        connection.write_all(b"0\r\n\r\n").await.unwrap();

        assert_eq!(status(connection).await, 200);
        assert_eq!(organization.thread().await.len(), 1);
    });
}

#[test]
fn stalling_senders_keep_nobody_waiting() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let (victim, others) = Organization::with(rig, "whatsapp").await;
        let bodies: Vec<_> = (0..50)
            .map(|number| account.text_delivery(&format!("wamid.slow{number}"), "491713920012", now(), "x"))
            .collect();
        let mut stalled = Vec::new();
        for body in &bodies {
            let mut connection = begin(&account, &format!("content-length: {}", body.len())).await;
            connection.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
            stalled.push(connection);
        }

        timeout(SOON, others.receive("text")).await.expect("others are served meanwhile");
        assert_eq!(victim.thread().await.len(), 1);

        let finished = stalled.split_off(25);
        drop(stalled);
        let finished = finished.into_iter().zip(&bodies[25..]).map(async |(mut connection, body)| {
            connection.write_all(&body.as_bytes()[body.len() / 2..]).await.unwrap();
            status(connection).await
        });
        assert!(join_all(finished).await.iter().all(|status| *status == 200));
        assert_eq!(organization.thread().await.len(), 25);
        assert!(account.quarantined().await.is_empty());
    });
}

#[test]
fn nesting_costs_no_process_however_deep() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive_body(r#"{"object":"whatsapp_business_account","entry":[]}"#).await;
        let before = processes(rig).await;
        let (open, close) = ("[".repeat(LEVELS), "]".repeat(LEVELS));
        let objects = |levels| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let within = |nested: &str| {
            let message = account.text_delivery("wamid.nested", "491713920012", now(), "A text");
            message.replace(r#""type":"text""#, &format!(r#""type":"text","nested":{nested}"#))
        };
        let bodies = [
            open.clone(),
            format!("{open}{close}"),
            objects(LEVELS),
            format!(r#"{{"object":"whatsapp_business_account","entry":{open}{close}}}"#),
            within(&format!("{open}{close}")),
            within(&objects(LEVELS)),
            // Nothing is wrong with these but their length.
            format!(r#"{{"object":"page","{}":1}}"#, "k".repeat(LEVELS)),
        ];

        for body in bodies {
            account.receive_body(body).await;
        }

        let reasons: BTreeSet<_> = account.quarantined().await.into_iter().collect();
        assert_eq!(reasons, ["the body has no known shape", "the body is not JSON"].map(str::to_owned).into());
        assert!(before.is_subset(&processes(rig).await), "none died");
        // As deep as JSON is read here, and deeper than the table takes: the message is received.
        account.receive_body(within(&objects(100))).await;
        assert_eq!(organization.thread().await[0]["text"], "A text");
    });
}

#[test]
fn a_key_that_is_there_twice_opens_no_other_account() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let (victim, target) = Organization::with(rig, "whatsapp").await;
        let own = format!(r#""phone_number_id":"{}""#, account.id);
        let theirs = format!(r#""phone_number_id":"{}""#, target.id);
        let body = account.text_delivery("wamid.doubled", "491713920012", now(), "Twice");
        let [theirs_last, own_last] =
            [format!("{own},{theirs}"), format!("{theirs},{own}")].map(|ids| body.replace(&own, &ids));
        assert_ne!(theirs_last, body);

        account.receive_body(theirs_last).await;
        assert!(organization.conversations("").await.is_empty());
        account.receive_body(own_last).await;

        // Who is checked is who gets it: the last one, in both.
        assert_eq!(organization.thread().await.len(), 1);
        assert_eq!(target.quarantined().await, ["token of another organization"]);
        assert!(victim.conversations("").await.is_empty());
    });
}

#[tokio::test]
async fn unproven_requests_leave_no_trace_and_cost_no_call() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let (_, other) = Organization::with(&rig, "whatsapp").await;
    account.receive("text").await;
    let own = account.authorization.as_str();
    let (named, mac) = own.rsplit_once('.').unwrap();
    let headers = [
        ("x-nothing", "x".to_owned()),
        ("authorization", "Bearer wrong".to_owned()),
        ("authorization", own[..own.len() - 1].to_owned()),
        ("authorization", named.to_owned()),
        ("authorization", format!("{}.{mac}", other.authorization.rsplit_once('.').unwrap().0)),
        ("authorization", format!("Bearer {}", "x".repeat(4000))),
        ("x-hub-signature-256", format!("sha256={}", "0".repeat(64))),
    ];
    let bodies = [
        account.text_delivery("wamid.stranger", "491713920012", now(), "Let me in"),
        "[".repeat(LEVELS / 100),
        String::new(),
        json!({ "object": "page", "entry": [{ "id": unique().to_string() }] }).to_string(),
    ];
    let before = items(&rig).await;
    rig.reset_meter().await;

    let requests = (0..STRANGERS).map(|number| {
        let (name, value) = &headers[number % headers.len()];
        let body = bodies[number % bodies.len()].clone();
        let rig = &rig;
        async move {
            if number % 10 == 0 {
                let query = format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong{number}");
                return rig.request("GET", &format!("{}?{query}", rig.webhook), &[], "").await.status == 403;
            }
            rig.webhook(&[(*name, value.as_str())], body).await.status == 401
        }
    });
    let refused =
        stream::iter(requests).buffer_unordered(32).filter(|refused| std::future::ready(*refused)).count().await;

    assert_eq!(refused, STRANGERS);
    let meter = rig.meter().await;
    // A new process opens its connection to the table by one look at nothing.
    let processes = u64::try_from(processes(&rig).await.len()).unwrap();
    assert!(meter["requests"].as_u64().unwrap() <= processes, "{meter}");
    assert_eq!((&meter["writeUnits"], &meter["kms"]), (&json!(0.0), &json!({})), "{meter}");
    assert_eq!(items(&rig).await.len(), before.len());
    assert_eq!(organization.thread().await.len(), 1);
}
