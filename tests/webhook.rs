//! The webhook as the provider meets it: the handshake, who is let in, and what is answered.

use ::shared::{platform::Platform, webhook_token::WebhookKeys};
use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use emulator::arn::secret_arn;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Rig, Setup, eventually};

use crate::shared::{Organization, SOON, api_key, fixture, items, own_rig, quarantined, run, text, unique};

const MIB: usize = 1 << 20;

/// A delivery of one WhatsApp text with this id to this account.
fn delivery(account: &str, id: &str) -> String {
    let body = fixture("whatsapp", "text_without_contacts");
    body.replace("700100200300402", account).replace("wamid.B2", id)
}

/// What is in the table of the organization's conversations.
async fn stored(rig: &Rig, organization: &Organization<'_>) -> Vec<Value> {
    let all = format!("ORG#{}#", organization.id);
    let besides = ["AUDIT", "QUARANTINE"].map(|kind| format!("{all}{kind}"));
    let of_it = |item: &Value| {
        let partition = text(&item["pk"]["S"]);
        partition.starts_with(&all) && !besides.iter().any(|kind| partition.starts_with(kind))
    };
    items(rig).await.into_iter().filter(of_it).collect()
}

/// Hex of HMAC-SHA256.
fn signature(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body).finalize();
    format!("{:x}", Bytes::copy_from_slice(&mac.into_bytes()))
}

#[test]
fn handshake_returns_the_challenge_for_the_token() {
    run(async |rig| {
        let keys = rig.webhook_keys();
        let token = keys.verify_token().expose_secret();
        let ask = async |query: &str| rig.request("GET", &format!("{}?{query}", rig.webhook), &[], "").await;

        let answer = ask(&format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}")).await;

        assert_eq!((answer.status, answer.text().as_str()), (200, "1158201444"));
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        let wrong = [
            String::new(),
            "hub.mode=subscribe&hub.challenge=1".to_owned(),
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=".to_owned(),
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong".to_owned(),
            format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token={}", &token[..token.len() - 1]),
            format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}x"),
            format!("hub.mode=unsubscribe&hub.challenge=1&hub.verify_token={token}"),
            format!("hub.challenge=1&hub.verify_token={token}"),
            format!("hub.mode=subscribe&hub.verify_token={token}"),
        ];
        for query in wrong {
            let answer = ask(&query).await;
            assert_eq!((answer.status, answer.text().as_str()), (403, ""), "{query}");
        }
    });
}

#[test]
fn other_paths_and_methods_are_refused() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let headers = [("authorization", account.authorization.as_str()), ("content-type", "application/json")];
        let base = rig.webhook.strip_suffix("/api/v1/webhooks/360dialog").unwrap();
        let body = account.fixture("text");

        for path in [
            "/",
            "/api/v1/webhooks",
            "/api/v1/webhooks/360dialog/x",
            "/api/v1/webhooks/360Dialog",
            "/api/v1/webhooks/360dialo%67",
            "//api/v1/webhooks/360dialog",
            "/api/v1/conversations",
        ] {
            let answer = rig.request("POST", &format!("{base}{path}"), &headers, body.clone()).await;
            assert_eq!((answer.status, answer.text().as_str()), (404, ""), "{path}");
        }
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = rig.request(method, &rig.webhook, &headers, body.clone()).await;
            assert_eq!((answer.status, answer.headers["allow"].to_str().unwrap()), (405, "GET, POST"), "{method}");
        }
        assert!(stored(rig, &organization).await.is_empty());
        assert_eq!(rig.request("POST", &format!("{}/", rig.webhook), &headers, body).await.status, 200);
    });
}

#[test]
fn a_body_over_four_mebibytes_is_refused() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let body = |length| {
            let mut body = account.fixture("text").into_bytes();
            body.resize(length, b' ');
            body
        };

        assert_eq!(account.deliver(body(4 * MIB + 1)).await.status, 413);
        assert_eq!(account.deliver(body(6 * MIB)).await.status, 413);
        assert!(stored(rig, &organization).await.is_empty());

        assert_eq!(account.deliver(body(4 * MIB)).await.status, 200);
        assert_eq!(organization.thread().await.len(), 1);
    });
}

#[test]
fn a_body_is_read_whatever_it_is_said_to_be() {
    run(async |rig| {
        for content_type in ["application/octet-stream", "text/plain", "application/x-www-form-urlencoded", "", "x"] {
            let (organization, account) = Organization::with(rig, "whatsapp").await;
            // What is no text reaches the function in Base64.
            let headers = [("authorization", account.authorization.as_str()), ("content-type", content_type)];

            let answer = rig.request("POST", &rig.webhook, &headers, account.fixture("text_escaped")).await;

            assert_eq!(answer.status, 200, "{content_type}");
            assert_eq!(organization.thread().await[0]["text"], "äöå 😀 a/b", "{content_type}");
        }
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let mut body = account.fixture("text").into_bytes();
        let place = body.windows(5).position(|window| window == b"stock").unwrap();
        body[place] = 0xFF;
        account.receive_body(body).await;
        assert_eq!(organization.thread().await[0]["text"], "Hello, is the blue one in \u{FFFD}tock?");
    });
}

#[test]
fn authentic_nonsense_is_acknowledged_and_kept() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let marker = unique();
        let bodies = [
            (format!("no JSON {marker}").into_bytes(), "the body is not JSON"),
            (format!("{{\"cut\": \"{marker}").into_bytes(), "the body is not JSON"),
            ([&[0xFF, 0xFE, 0x00][..], marker.to_string().as_bytes()].concat(), "the body is not JSON"),
            ("[".repeat(5000).into_bytes(), "the body is not JSON"),
            (format!("[{marker}]").into_bytes(), "the body has no known shape"),
            (format!("{{\"hello\": {marker}}}").into_bytes(), "the body has no known shape"),
            (format!("\"{marker}\"").into_bytes(), "the body has no known shape"),
        ];
        for (body, _) in &bodies {
            account.receive_body(body.clone()).await;
        }
        account.receive_body("").await;

        let of_this: Vec<_> =
            quarantined(rig).await.into_iter().filter(|item| item["accountId"]["S"] == account.id.as_str()).collect();

        assert_eq!(of_this.len(), bodies.len() + 1);
        for (body, reason) in bodies {
            let kept = of_this.iter().find(|item| STANDARD.decode(text(&item["raw"]["B"])).unwrap() == body).unwrap();
            assert_eq!(kept["reason"]["S"], reason);
            assert_eq!(kept["platform"]["S"], "whatsapp");
            assert!(kept["expiresAt"]["N"].is_string());
        }
        assert!(stored(rig, &organization).await.is_empty());
    });
}

#[test]
fn an_empty_envelope_is_acknowledged() {
    run(async |rig| {
        let (_, account) = Organization::with(rig, "whatsapp").await;

        account.receive_body(r#"{"object":"whatsapp_business_account","entry":[]}"#).await;

        assert!(account.quarantined().await.is_empty());
    });
}

#[test]
fn without_a_configured_secret_no_signature_lets_anybody_in() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let body = account.fixture("text");

        for header in ["x-360dialog-signature", "x-hub-signature-256"] {
            for signature in [signature("", body.as_bytes()), format!("sha256={}", signature("", body.as_bytes()))] {
                let answer = rig.webhook(&[(header, &signature)], body.clone()).await;
                assert_eq!(answer.status, 401, "{header}");
            }
        }
        assert!(stored(rig, &organization).await.is_empty());
    });
}

#[test]
fn disconnected_deliveries_are_acknowledged_and_dropped() {
    run(async |rig| {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        let path = "/api/v1/social-integrations/whatsapp/disconnect";
        let (status, _) = rig.api("POST", path, &organization.admin, Value::Null).await;
        assert_eq!(status, 200);

        account.receive("text").await;

        assert!(organization.conversations("").await.is_empty());
        assert!(stored(rig, &organization).await.is_empty());
        assert!(account.quarantined().await.is_empty());

        // Connected again, it receives again.
        let account = organization.connect_account("whatsapp", &account.id).await;
        account.receive("text").await;
        assert_eq!(organization.thread().await.len(), 1);
    });
}

#[test]
fn one_key_and_webhook_serve_two_platforms() {
    run(async |rig| {
        let organization = Organization::new(rig).await;
        let number = format!("70010021{:07}", unique());
        let whatsapp = organization.connect_account("whatsapp", &number).await;
        // The earlier system's guide: "Same 360dialog API key". Registering replaces the number's webhook token.
        let body = json!({ "apiKey": api_key("whatsapp", &number), "instagramAccountId": format!("1784{number}") });
        let path = "/api/v1/social-integrations/instagram/connect";
        let (status, answer) = rig.api("POST", path, &organization.admin, body).await;
        assert_eq!(status, 201, "{answer}");

        rig.simulate_inbound("whatsapp", &number, "491713920012", "Still there?").await;

        assert_eq!(organization.conversation().await["lastMessage"]["text"], "Still there?");
        assert!(whatsapp.quarantined().await.is_empty());
    });
}

#[tokio::test]
async fn only_refusals_that_look_like_ours_are_told() {
    let rig = signed_rig().await;
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let keys = WebhookKeys::derive(&"the secret of another stack".into()).unwrap();
    let id = (account.id.parse().unwrap(), organization.id.parse().unwrap());
    let token = keys.account_token(Platform::Whatsapp, &id.0, &id.1);
    let refused = async |name: &str, value: &str| {
        assert_eq!(rig.webhook(&[(name, value)], account.fixture("text")).await.status, 401, "{name}: {value}");
    };
    let counted = async || {
        let metrics = rig.metrics().await;
        let metric = metrics.into_iter().find(|metric| metric["name"] == "DeliveriesRefused");
        metric.map_or(Value::Null, |metric| metric["sum"].clone())
    };

    for (name, value) in [
        ("x-nothing", "x"),
        ("authorization", "Bearer wrong"),
        ("authorization", "Bearer kw2.x.y.z"),
        ("authorization", "Basic a2V5OnNlY3JldA=="),
        ("x-360dialog-signature", "none"),
        ("x-hub-signature", &"0".repeat(64)),
    ] {
        refused(name, value).await;
    }
    assert!(!rig.log("receive-webhook").contains("refused"), "noise is no news");

    for _ in 0..30 {
        refused("authorization", &format!("bearer {}", token.expose_secret())).await;
    }
    refused("x-hub-signature-256", &format!("sha256={}", "0".repeat(64))).await;

    eventually("they are counted", SOON, async || (counted().await == json!(31.0)).then_some(())).await;
    let log = rig.log("receive-webhook");
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("a delivery was refused"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 31);
    let fields = &lines[0]["fields"];
    assert_eq!((&fields["key.id"], &fields["claimed.organization.id"]), (&json!(keys.id()), &json!(organization.id)));
    assert_eq!(lines[30]["fields"]["header"], "x-hub-signature-256");
}

#[tokio::test]
async fn deliveries_survive_the_rotation_of_the_secret() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Before").await;

    rig.put_secret("WebhookSecret", "the-second-secret-of-the-webhook").await;

    account.customer_writes("491713920012", "The old token").await;
    let (_, other) = Organization::with(&rig, "whatsapp").await;
    other.customer_writes("491713920099", "Connected meanwhile").await;
    let service = format!("Bearer {}", rig.webhook_token());
    let body = account.text_delivery("wamid.rotated", "491713920012", crate::shared::now(), "The new one");
    assert_eq!(rig.webhook(&[("authorization", &service)], body).await.status, 200);
    // The process that was there before, and one that starts now.
    rig.kill("receive-webhook").await;
    account.customer_writes("491713920012", "The old token again").await;

    let told: Vec<_> = organization.thread().await.iter().map(|message| text(&message["text"]).to_owned()).collect();
    assert_eq!(told, ["Before", "The old token", "The new one", "The old token again"]);
}

/// Makes a header of a body.
type Sign = fn(&[u8]) -> String;

/// A rig that checks signatures, and calls Instagram at Meta itself.
async fn signed_rig() -> Rig {
    let parameters = [
        format!("SignatureSecretArn={}", secret_arn("Partner")),
        format!("MetaAppSecretArn={}", secret_arn("App")),
        "InstagramPreset=graph".to_owned(),
    ];
    let arguments = parameters.into_iter().flat_map(|parameter| ["--parameter".to_owned(), parameter]);
    let rig = own_rig(Setup { arguments: arguments.collect(), ..Setup::default() });
    rig.put_secret("Partner", "partner-secret").await;
    rig.put_secret("App", "app-secret").await;
    rig
}

#[tokio::test]
async fn what_is_not_authentic_is_refused_and_costs_the_table_nothing() {
    let rig = signed_rig().await;
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let (_, other) = Organization::with(&rig, "whatsapp").await;
    let global = rig.webhook_token();
    let own = account.authorization.strip_prefix("Bearer ").unwrap();
    let [version, key_id, subject, mac] = own.split('.').collect::<Vec<_>>().try_into().unwrap();
    let foreign_mac = other.authorization.rsplit('.').next().unwrap();
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let body = account.fixture("text");
    let signed_other = signature("partner-secret", format!("{body} ").as_bytes());
    let refused = [
        ("x-nothing", "x".to_owned()),
        bearer(""),
        bearer("wrong"),
        bearer(&global[..global.len() - 1]),
        bearer(&format!("{global}x")),
        bearer(&global.to_uppercase()),
        bearer(&own[..own.len() - 1]),
        bearer(&own[1..]),
        bearer(&rig.webhook_secret()),
        bearer(&format!("{version}.{key_id}.{subject}.")),
        bearer(&format!("{version}.{key_id}.{subject}.{foreign_mac}")),
        bearer(&format!("{version}.{key_id}..{mac}")),
        bearer(&format!("{version}.00000000.{subject}.{mac}")),
        bearer(&format!("{version}.{subject}.{mac}")),
        bearer(&format!("kw1.{subject}.{mac}")),
        bearer(&format!("{own}.{mac}")),
        ("authorization", own.to_owned()),
        ("authorization", format!("Basic {own}")),
        ("authorization", format!("Basic {global}")),
        ("d360-api-key", global.clone()),
        ("x-360dialog-signature", signed_other.clone()),
        ("x-360dialog-signature", signature("app-secret", body.as_bytes())),
        ("x-360dialog-signature", String::new()),
        ("x-hub-signature-256", format!("sha256={signed_other}")),
        ("x-hub-signature-256", signature("partner-secret", body.as_bytes())),
        ("x-hub-signature-256", format!("sha1={}", signature("app-secret", body.as_bytes()))),
        ("x-hub-signature", signature("app-secret", body.as_bytes())),
    ];
    let before = items(&rig).await;
    rig.reset_meter().await;

    for (name, value) in refused {
        let answer = rig.webhook(&[(name, &value)], body.clone()).await;
        assert_eq!((answer.status, answer.text().as_str()), (401, ""), "{name}: {value}");
    }
    let headers = [("authorization", "Bearer wrong")];
    assert_eq!(rig.webhook(&headers, "no JSON").await.status, 401, "the body is not read before");

    let meter = rig.meter().await;
    // A new process opens its connection to the table by one look at nothing.
    let processes =
        rig.processes().await.into_iter().filter(|process| process["function"] == "receive-webhook").count();
    assert!(meter["requests"].as_u64().unwrap() <= u64::try_from(processes).unwrap(), "{meter}");
    assert_eq!(meter["writeUnits"], 0.0, "{meter}");
    assert_eq!(items(&rig).await.len(), before.len());
    assert!(organization.conversations("").await.is_empty());
}

#[tokio::test]
async fn a_right_signature_lets_a_delivery_of_any_account_in() {
    let rig = signed_rig().await;
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    let spellings: [(&str, Sign); 4] = [
        ("x-360dialog-signature", |body| signature("partner-secret", body)),
        ("x-360dialog-signature", |body| format!("sha256={}", signature("partner-secret", body).to_uppercase())),
        ("x-hub-signature-256", |body| format!("sha256={}", signature("app-secret", body))),
        ("x-hub-signature-256", |body| signature("app-secret", body)),
    ];

    for (number, (header, sign)) in (1..).zip(spellings) {
        let body = delivery(&account.id, &format!("wamid.{number}"));
        let answer = rig.webhook(&[(header, &sign(body.as_bytes()))], body).await;
        assert_eq!(answer.status, 200, "{header}");
        assert_eq!(organization.thread().await.len(), number);
    }
    // A signature is over the bytes as they came, which no text of JSON repeats.
    let body = [delivery(&account.id, "wamid.raw").as_bytes(), &b"\r\n \t"[..]].concat();
    let headers = [
        ("x-360dialog-signature", signature("partner-secret", &body)),
        ("content-type", "application/octet-stream".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(rig.request("POST", &rig.webhook, &headers, body).await.status, 200);
    // One right proof is enough.
    let headers = [("authorization", account.authorization.as_str()), ("x-360dialog-signature", "wrong")];
    assert_eq!(rig.webhook(&headers, delivery(&account.id, "wamid.both")).await.status, 200);
    assert_eq!(organization.thread().await.len(), 6);
}

#[tokio::test]
async fn first_delivery_verifies_a_webhook_set_by_hand() {
    let rig = signed_rig().await;
    let organization = Organization::new(&rig).await;
    let id = format!("17841{:012}", unique());
    let (status, connected) = organization.try_connect("instagram", &id).await;
    assert_eq!((status, &connected["data"]["webhookVerified"]), (201, &json!(false)), "{connected}");
    let body = json!({
        "object": "instagram",
        "entry": [{ "id": id, "time": 1, "messaging": [{
            "sender": { "id": "1029384756102938" }, "recipient": { "id": id }, "timestamp": 1_767_877_300_123_u64,
            "message": { "mid": "m1", "text": "Hello" },
        }] }],
    })
    .to_string();
    let signature = format!("sha256={}", signature("app-secret", body.as_bytes()));

    let answer = rig.webhook(&[("x-hub-signature-256", &signature)], body).await;

    assert_eq!(answer.status, 200);
    let integration = organization.get("/api/v1/social-integrations/instagram").await;
    assert_eq!((&integration["webhookVerified"], &integration["status"]), (&json!(true), &json!("connected")));
    assert_eq!(organization.thread().await[0]["text"], "Hello");
}
