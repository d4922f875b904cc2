//! Requests that make no sense or come from nobody: a clear refusal with a stable code, nothing stored, no process lost.

use std::{collections::BTreeSet, fs};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use emulator::authorizer::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rsa::{
    PrivateKey,
    pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Answer, Rig};

use crate::{
    openapi::operations,
    shared::{Account, Organization, items, now, run, text, unique},
};

const KIB: usize = 1024;

/// An organization with one conversation, and what the table holds of it.
struct Target<'a> {
    organization: Organization<'a>,
    account: Account<'a>,
    conversation: Value,
    stored: Vec<Value>,
}

impl<'a> Target<'a> {
    async fn new(rig: &'a Rig) -> Self {
        let (organization, account) = Organization::with(rig, "whatsapp").await;
        account.receive("text").await;
        let conversation = organization.conversation().await;
        let stored = stored(&organization).await;
        Self { organization, account, conversation, stored }
    }

    fn conversation_path(&self) -> String {
        format!("/api/v1/conversations/{}", text(&self.conversation["id"]))
    }

    /// Method and path of everything that takes a body, with who may call it and how long the body may be.
    fn bodies(&self) -> Vec<(&'static str, String, &str, usize)> {
        let Organization { admin, operator, service, .. } = &self.organization;
        vec![
            ("POST", "/api/v1/social-integrations/facebook/connect".into(), admin.as_str(), 64 * KIB),
            ("PATCH", self.conversation_path(), operator, 64 * KIB),
            ("POST", format!("{}/messages", self.conversation_path()), operator, 64 * KIB),
            ("POST", "/api/v1/channels/website/messages".into(), service, 256 * KIB),
        ]
    }

    /// A call with a raw body.
    async fn call(&self, (method, path, token, _): &(&str, String, &str, usize), kind: &str, body: Vec<u8>) -> Answer {
        let rig = self.organization.rig;
        let authorization = format!("Bearer {token}");
        let key = format!("key-{}", unique());
        let mut headers = vec![("authorization", authorization.as_str()), ("idempotency-key", &key)];
        if !kind.is_empty() {
            headers.push(("content-type", kind));
        }
        rig.request(method, &format!("{}{path}", rig.api), &headers, body).await
    }

    /// Nothing was stored or changed, and no process was lost.
    async fn is_untouched(&self) {
        assert_eq!(stored(&self.organization).await, self.stored);
        assert_no_panic(self.organization.rig).await;
    }
}

/// What is in the table about an organization, but for its audit trail, which tells refused attempts.
async fn stored(organization: &Organization<'_>) -> Vec<Value> {
    let begin = format!("ORG#{}", organization.id);
    let told = ["AUDIT", "REFUSED"].map(|kind| format!("{begin}#{kind}"));
    let is_of_it = |item: &Value| {
        let partition = text(&item["pk"]["S"]);
        partition.split('#').take(2).eq(begin.split('#')) && !told.iter().any(|kind| partition == kind)
    };
    let mut stored: Vec<_> = items(organization.rig).await.into_iter().filter(is_of_it).collect();
    stored.sort_by_key(|item| (text(&item["pk"]["S"]).to_owned(), text(&item["sk"]["S"]).to_owned()));
    stored
}

async fn assert_no_panic(rig: &Rig) {
    let functions: BTreeSet<_> =
        rig.processes().await.iter().map(|process| text(&process["function"]).to_owned()).collect();
    for function in functions {
        let log = rig.log(&function);
        let panic = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panic, None, "{function}");
    }
}

fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    let body = answer.json();
    assert_eq!((answer.status, &body["error"]["code"]), (status, &json!(code)), "{what:.300}: {}", answer.text());
    assert_eq!(body["success"], false, "{what:.300}");
    assert_eq!(body["message"], body["error"]["message"], "{what:.300}");
    assert!(!text(&body["message"]).is_empty(), "{what:.300}");
    assert!(body["timestamp"].is_string(), "{what:.300}");
}

#[test]
fn a_body_that_is_no_json_or_does_not_fit_is_refused() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let bodies = [
            b"".to_vec(),
            b" ".to_vec(),
            b"{".to_vec(),
            b"{\"text\":\"x\"".to_vec(),
            b"{\"text\":\"x\"}}".to_vec(),
            b"{'text':'x'}".to_vec(),
            b"text=x".to_vec(),
            b"<x/>".to_vec(),
            b"null".to_vec(),
            b"17".to_vec(),
            b"[]".to_vec(),
            b"[[[]]]".to_vec(),
            b"\"x\"".to_vec(),
            b"true".to_vec(),
            b"\xEF\xBB\xBF".to_vec(),
            b"{\"text\":\"\xFF\"}".to_vec(),
            b"{\"text\":\"\\ud83d\"}".to_vec(),
            b"\x00".to_vec(),
            b"{\"text\":1e999}".to_vec(),
            b"{\"text\":\"a\",\"text\":\"b\",\"status\":\"open\",\"status\":\"closed\"}".to_vec(),
            "[".repeat(50_000).into_bytes(),
            "{\"a\":".repeat(10_000).into_bytes(),
            json!({ "text": { "text": "x" }, "apiKey": ["x"], "status": 1, "customer": "x", "message": 1 })
                .to_string()
                .into(),
            json!({ "text": null, "apiKey": null, "status": [], "customer": null, "message": null }).to_string().into(),
        ];

        for route in target.bodies() {
            for body in &bodies {
                let answer = target.call(&route, "application/json", body.clone()).await;
                let what = format!("{} {}: {}", route.0, route.1, String::from_utf8_lossy(body));
                assert_refused(&answer, 400, "INVALID_BODY", &what);
            }
        }
        target.is_untouched().await;
    });
}

#[test]
fn a_refusal_does_not_repeat_what_was_sent() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let secret = format!("secret-{}", unique());

        for route in target.bodies() {
            for body in [
                json!({ "apiKey": { "key": secret } }),
                json!({ "apiKey": secret, "text": [secret], "status": secret, "customer": secret }),
            ] {
                let answer = target.call(&route, "application/json", body.to_string().into()).await;
                assert_eq!(answer.status, 400, "{}", route.1);
                assert!(!answer.text().contains(&secret), "{}", answer.text());
            }
        }
        for function in ["connect-integration", "update-conversation", "send-message", "record-message"] {
            assert!(!rig.log(function).contains(&secret), "{function}");
        }
    });
}

#[test]
fn a_body_of_another_type_is_refused() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let body = json!({
            "text": "x", "type": "internal_note", "status": "closed", "apiKey": "x",
            "customer": { "id": "1" }, "message": { "id": "1", "sender": "ai", "text": "x" },
        });

        for route in target.bodies() {
            for kind in [
                "",
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "application/jsonx",
                "application/json-patch+json",
                "application/octet-stream",
                "json",
                ";",
                "application/json, text/plain",
            ] {
                let answer = target.call(&route, kind, body.to_string().into()).await;
                assert_refused(&answer, 415, "UNSUPPORTED_MEDIA_TYPE", &format!("{} {kind}", route.1));
            }
            for kind in ["application/json; charset=utf-8", "Application/JSON", " application/json ;x=y"] {
                let answer = target.call(&route, kind, b"{".to_vec()).await;
                assert_refused(&answer, 400, "INVALID_BODY", &format!("{} {kind}", route.1));
            }
        }
        target.is_untouched().await;
    });
}

#[test]
fn a_body_over_the_limit_is_refused() {
    run(async |rig| {
        let target = Target::new(rig).await;

        for route in target.bodies() {
            let limit = route.3;
            let padded = |length: usize| {
                let mut body = b"{}".to_vec();
                body.resize(length, b' ');
                body
            };
            for length in [limit + 1, 6 * KIB * KIB] {
                let answer = target.call(&route, "application/json", padded(length)).await;
                assert_refused(&answer, 413, "BODY_TOO_LARGE", &route.1);
                assert_eq!(answer.json()["error"]["details"]["limitBytes"], limit, "{}", route.1);
            }
            let answer = target.call(&route, "application/json", padded(limit)).await;
            assert_refused(&answer, 400, "INVALID_BODY", &route.1);
            let answer = target.call(&route, "application/json", padded(10 * KIB * KIB + 1)).await;
            assert_eq!((answer.status, answer.json()), (413, json!({ "message": "Request Entity Too Large" })));
        }
        target.is_untouched().await;
    });
}

#[test]
fn an_id_that_can_be_none_is_not_found() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let id = text(&target.conversation["id"]);
        let ids = [
            "%23".to_owned(),
            format!("{id}%23"),
            format!("{id}%23MESSAGE"),
            format!("{}%23{}", target.organization.id, id),
            format!("{id}%00"),
            format!("%20{id}"),
            format!("{id}0"),
            id[..31].to_owned(),
            id.to_uppercase().replace(char::is_numeric, "A"),
            "g".repeat(32),
            "%C3%A4".repeat(16),
            "%FF%FE".to_owned(),
            "null".to_owned(),
            "CONVERSATION".to_owned(),
            "..".to_owned(),
            "0".repeat(5000),
            "*".to_owned(),
            "'%20OR%201=1".to_owned(),
        ];

        for id in &ids {
            let path = format!("/api/v1/conversations/{id}");
            let messages = format!("{path}/messages");
            for (method, path, body) in [
                ("GET", &path, Value::Null),
                ("PATCH", &path, json!({ "status": "closed" })),
                ("GET", &messages, Value::Null),
                ("POST", &messages, json!({ "text": "x", "type": "internal_note" })),
            ] {
                let headers = [("idempotency-key", "k")];
                let answer = rig.api_with(method, path, &target.organization.operator, &headers, body).await;
                assert_refused(&answer, 404, "CONVERSATION_NOT_FOUND", &format!("{method} {path}"));
            }
        }
        // What decodes to another path is another route, or none.
        for id in ["%2F", "a%2Fb", "%3F", "%2E%2E%2Fsocial-integrations"] {
            let path = format!("/api/v1/conversations/{id}");
            let answer = rig.api_with("GET", &path, &target.organization.operator, &[], Value::Null).await;
            assert_eq!(answer.status, 404, "{path}");
        }
        target.is_untouched().await;
    });
}

#[test]
fn an_unknown_platform_or_channel_is_refused() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let admin = &target.organization.admin;
        let long = "whatsapp".repeat(500);
        let platforms = [
            "telegram",
            "WhatsApp",
            "whatsapp%20",
            "whatsapp%00",
            "%23",
            "whatsapp%23x",
            "social",
            "website",
            "-",
            &long,
        ];

        for platform in platforms {
            let path = format!("/api/v1/social-integrations/{platform}");
            for (method, path, body) in [
                ("GET", path.clone(), Value::Null),
                ("DELETE", path.clone(), Value::Null),
                ("POST", format!("{path}/connect"), json!({ "apiKey": "sim_whatsapp_1", "phoneNumberId": "1" })),
                ("POST", format!("{path}/test"), Value::Null),
                ("POST", format!("{path}/disconnect"), Value::Null),
            ] {
                let answer = rig.api_with(method, &path, admin, &[], body).await;
                assert_refused(&answer, 400, "INVALID_PARAMETER", &format!("{method} {path}"));
                assert_eq!(answer.json()["error"]["details"]["parameter"], "platform");
            }
            if !["social", "website"].contains(&platform) {
                let path = format!("/api/v1/conversations?channel={platform}");
                let answer = rig.api_with("GET", &path, admin, &[], Value::Null).await;
                assert_refused(&answer, 400, "INVALID_PARAMETER", &path);
                assert_eq!(answer.json()["error"]["details"]["parameter"], "channel");
            }
        }
        target.is_untouched().await;
    });
}

#[test]
fn a_query_that_makes_no_sense_is_refused() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let operator = &target.organization.operator;
        let messages = format!("{}/messages", target.conversation_path());
        let limits = ["0", "-1", "101", "abc", "1.5", "1e1", "%201", "99999999999999999999", "0x10", "%23", "5%00"];

        for path in ["/api/v1/conversations", &messages] {
            for limit in limits {
                let path = format!("{path}?limit={limit}");
                let answer = rig.api_with("GET", &path, operator, &[], Value::Null).await;
                assert_refused(&answer, 400, "INVALID_PARAMETER", &path);
                assert_eq!(answer.json()["error"]["details"]["parameter"], "limit", "{path}");
            }
            let long = "A".repeat(5000);
            for cursor in [
                "x",
                "%23",
                "AAAA",
                "%00",
                "=",
                "..",
                "%F0%9F%98%80",
                "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
                &long,
            ] {
                let path = format!("{path}?cursor={cursor}");
                let answer = rig.api_with("GET", &path, operator, &[], Value::Null).await;
                assert_refused(&answer, 400, "INVALID_CURSOR", &path);
            }
        }
        for (query, parameter) in [
            ("status=archived", "status"),
            ("status=Open", "status"),
            ("status=open%23", "status"),
            ("unread=yes", "unread"),
            ("unread=1", "unread"),
            ("unread=TRUE", "unread"),
            ("channel=email", "channel"),
            ("channel=whatsapp,phone", "channel"),
        ] {
            let path = format!("/api/v1/conversations?{query}");
            let answer = rig.api_with("GET", &path, operator, &[], Value::Null).await;
            assert_refused(&answer, 400, "INVALID_PARAMETER", &path);
            assert_eq!(answer.json()["error"]["details"]["parameter"], parameter, "{path}");
        }
        // Any text may be a label or a user: there is just nothing with it.
        let long = "x".repeat(5000);
        for text in ["%23", "%00", "%F0%9F%98%80", "ORG%23acme", &long, "%FF"] {
            for query in ["label", "assignedTo"] {
                let path = format!("/api/v1/conversations?{query}={text}");
                let (status, answer) = rig.api("GET", &path, operator, Value::Null).await;
                assert_eq!((status, &answer["data"]["items"]), (200, &json!([])), "{path:.200}");
            }
        }
        target.is_untouched().await;
    });
}

#[test]
fn what_is_no_account_or_key_is_refused_before_anybody_is_asked() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let connect = "/api/v1/social-integrations/instagram/connect";
        let long = "x".repeat(5000);

        for (body, field) in [
            (json!({ "apiKey": "k" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "phoneNumberId": "1" }), json!("instagramAccountId")),
            (json!({ "instagramAccountId": "1" }), json!("apiKey")),
            (json!({ "apiKey": "k", "instagramAccountId": "" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": "1#OWNER" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": "1/2" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": "1 2" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": "ä" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": "1\u{0}" }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": "1".repeat(129) }), json!("instagramAccountId")),
            (json!({ "apiKey": "k", "instagramAccountId": 1 }), Value::Null),
            (json!({ "apiKey": "", "instagramAccountId": "1" }), json!("apiKey")),
            (json!({ "apiKey": " ", "instagramAccountId": "1" }), json!("apiKey")),
            (json!({ "apiKey": "a b", "instagramAccountId": "1" }), json!("apiKey")),
            (json!({ "apiKey": "a\r\nx: y", "instagramAccountId": "1" }), json!("apiKey")),
            (json!({ "apiKey": "ä", "instagramAccountId": "1" }), json!("apiKey")),
            (json!({ "apiKey": long, "instagramAccountId": "1" }), json!("apiKey")),
        ] {
            let answer = rig.api_with("POST", connect, &target.organization.admin, &[], body.clone()).await;
            assert_refused(&answer, 400, "INVALID_BODY", &body.to_string());
            assert_eq!(answer.json()["error"]["details"].get("field").unwrap_or(&Value::Null), &field, "{body}");
        }
        let body = json!({ "apiKey": "nobodys-key", "instagramAccountId": "1" });
        let answer = rig.api_with("POST", connect, &target.organization.admin, &[], body).await;
        assert_refused(&answer, 400, "INVALID_CREDENTIALS", "a key that nobody has");
        target.is_untouched().await;
    });
}

#[test]
fn what_is_no_route_is_not_found() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let admin = &target.organization.admin;
        let conversation = target.conversation_path();

        for (method, path) in [
            ("GET", "/"),
            ("GET", "/api/v1"),
            ("GET", "/api/v2/conversations"),
            ("GET", "/API/v1/conversations"),
            ("POST", "/api/v1/conversations"),
            ("DELETE", "/api/v1/conversations"),
            ("PUT", &conversation),
            ("DELETE", &conversation),
            ("GET", "/api/v1/channels/website/messages"),
            ("POST", "/api/v1/social-integrations/whatsapp"),
            ("GET", "/api/v1/social-integrations/whatsapp/connect"),
            ("POST", "/api/v1/webhooks/360dialog"),
            ("POST", "/api/v1/quarantine"),
            ("GET", "/api/v1/conversations/../../../local/token"),
        ] {
            let answer = rig.api_with(method, path, admin, &[], Value::Null).await;
            assert_eq!((answer.status, answer.json()), (404, json!({ "message": "Not Found" })), "{method} {path}");
        }
        target.is_untouched().await;
    });
}

/// A token with its header replaced, and signed by `sign` over header and claims.
fn forged(token: &str, header: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    move |signed| mac.clone().chain_update(signed).finalize().into_bytes().to_vec()
}

#[test]
fn a_token_that_is_none_opens_nothing() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let good = &target.organization.admin;
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        let decoded = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let with = |name: &str, value: Value| {
            let mut header = decoded(header);
            header[name] = value;
            header
        };
        let altered = |name: &str, value: Value| {
            let mut claims = decoded(claims);
            claims[name] = value;
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
        };
        let pem = fs::read_to_string(rig.data().join("signing-key.pem")).unwrap();
        let private = PrivateKey::from_pkcs8_pem(&pem).unwrap();
        let key = SigningKey::open(&rig.data().join("signing-key.pem")).unwrap();
        let signed = |name: &str, value: Value| {
            let mut claims = decoded(claims);
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value,
            }
            key.token(&claims).unwrap()
        };
        let key_set = key.key_set();
        let modulus = text(&key_set["keys"][0]["n"]).to_owned();
        let hs = with("alg", json!("HS256"));
        let tokens = [
            String::new(),
            "nonsense".to_owned(),
            "..".to_owned(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{header}.{claims}.{}", &signature[..signature.len() - 4]),
            format!("{header}.{claims}.{signature}.{signature}"),
            format!("{header}..{signature}"),
            "A".repeat(7000),
            altered("organizationId", json!("another")),
            altered("role", json!("service")),
            altered("exp", json!(now() + 999_999)),
            signed("exp", json!(now() - 5)),
            signed("exp", Value::Null),
            signed("exp", json!("tomorrow")),
            signed("nbf", json!(now() + 600)),
            signed("iat", json!(now() + 600)),
            signed("iss", json!("https://other.example.com")),
            signed("iss", Value::Null),
            signed("aud", json!("another")),
            signed("aud", Value::Null),
            forged(good, &with("kid", json!("another")), |_| URL_SAFE_NO_PAD.decode(signature).unwrap()),
            forged(good, &with("alg", json!("none")), |_| Vec::new()),
            forged(good, &with("alg", json!("None")), |_| Vec::new()),
            forged(good, &json!({ "alg": "none" }), |_| Vec::new()),
            forged(good, &hs, hs256(modulus.as_bytes())),
            forged(good, &hs, hs256(&URL_SAFE_NO_PAD.decode(&modulus).unwrap())),
            forged(good, &hs, hs256(key_set.to_string().as_bytes())),
            forged(good, &hs, hs256(private.as_public_key().to_public_key_pem(LineEnding::LF).unwrap().as_bytes())),
            forged(good, &hs, hs256(private.as_public_key().to_public_key_der().unwrap().as_bytes())),
            // A key that the token brings along is nobody's.
            forged(good, &with("jwk", key_set["keys"][0].clone()), |_| vec![1; 256]),
            forged(good, &with("jku", json!(format!("{}/keys.json", rig.provider))), |_| vec![1; 256]),
            forged(good, &hs, hs256(b"")),
        ];
        assert_eq!(rig.api("GET", "/api/v1/conversations", &signed("extra", json!(1)), Value::Null).await.0, 200);

        for token in &tokens {
            let (status, answer) = rig.api("GET", "/api/v1/conversations", token, Value::Null).await;
            assert_eq!((status, answer), (401, json!({ "message": "Unauthorized" })), "{token:.200}");
        }
        let replaced = |path: &str| {
            let path = path.replace("{conversationId}", text(&target.conversation["id"]));
            path.replace("{platform}", "whatsapp").replace("{channel}", "website")
        };
        for operation in operations().iter().filter(|operation| operation.is_of_the_api) {
            for token in [&tokens[0], &tokens[9], &tokens[12], &tokens[17], &tokens[22], &tokens[25]] {
                let path = replaced(operation.path);
                let (status, answer) = rig.api(&operation.method, &path, token, json!({})).await;
                assert_eq!((status, answer), (401, json!({ "message": "Unauthorized" })), "{}", operation.id);
            }
        }
        target.is_untouched().await;
    });
}

#[test]
fn a_token_without_organization_role_or_user_may_do_nothing() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let key = SigningKey::open(&rig.data().join("signing-key.pem")).unwrap();
        let claims = target.organization.admin.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let token = |name: &str, value: Value| {
            let mut claims = claims.clone();
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value,
            }
            key.token(&claims).unwrap()
        };
        let organization = text(&claims["organizationId"]);
        let mut refused = Vec::new();
        for value in [
            Value::Null,
            json!(""),
            json!(" "),
            json!("#"),
            json!(format!("{organization}#CONVERSATION")),
            json!(format!("{organization}#INTEGRATION")),
            json!(format!("{organization} ")),
            json!(format!("{organization}/x")),
            json!("ä"),
            json!("x".repeat(129)),
            json!("x".repeat(10_000)),
            json!([organization, "b"]),
            json!(["a b"]),
            // Its own id, printed as `[id]`: a tenant of its own it must not be.
            json!([organization]),
            json!(format!("[{organization}]")),
        ] {
            refused.push((token("organizationId", value.clone()), "NO_ORGANIZATION", value));
        }
        for value in [
            Value::Null,
            json!(""),
            json!("superuser"),
            json!("Admin"),
            json!("administrator"),
            json!("admin#"),
            json!(["viewer"]),
            json!(["shop admin"]),
            json!(["viewer", "admin"]),
            json!("not admin"),
            json!(true),
            json!("admin".repeat(2000)),
        ] {
            refused.push((token("role", value.clone()), "FORBIDDEN", value));
        }
        for value in [Value::Null, json!(""), json!(" "), json!("x".repeat(129)), json!("x".repeat(10_000))] {
            refused.push((token("sub", value.clone()), "FORBIDDEN", value));
        }
        for operation in operations().iter().filter(|operation| operation.is_of_the_api) {
            let path = operation.path.replace("{conversationId}", text(&target.conversation["id"]));
            let path = path.replace("{platform}", "whatsapp").replace("{channel}", "website");
            for (token, code, value) in &refused {
                let headers = [("idempotency-key", "k")];
                let answer = rig.api_with(&operation.method, &path, token, &headers, json!({})).await;
                assert_refused(&answer, 403, code, &format!("{} {value}", operation.id));
            }
        }
        // Another issuer's claims with Cognito's prefix are nobody's.
        for token in [token("role", json!(["operator", "admin"])), token("custom:organizationId", json!("another"))] {
            assert_eq!(rig.api("GET", "/api/v1/conversations", &token, Value::Null).await.0, 200);
        }
        target.is_untouched().await;
    });
}

/// RFC 7519, section 4: a parser refuses doubled names, or takes the last. Who gets in by one is who is seen.
#[test]
fn of_doubled_claims_the_last_is_the_only_one() {
    run(async |rig| {
        let (target, own) = (Target::new(rig).await, Target::new(rig).await);
        let pem = fs::read_to_string(rig.data().join("signing-key.pem")).unwrap();
        let key = PrivateKey::from_pkcs8_pem(&pem).unwrap();
        let [header, claims, _] = own.organization.admin.split('.').collect::<Vec<_>>().try_into().unwrap();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let (mine, theirs) = (own.organization.id.as_str(), target.organization.id.as_str());
        let single = format!(r#""organizationId":"{mine}""#);
        let doubled = claims.replace(&single, &format!(r#""organizationId":"{theirs}",{single}"#));
        assert_ne!(doubled, claims);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(doubled));
        let signature = key.pkcs1v15_sign::<rsa::sha2::Sha256>(signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));

        let (status, answer) = rig.api("GET", "/api/v1/conversations", &token, Value::Null).await;
        let (foreign, _) = rig.api("GET", &target.conversation_path(), &token, Value::Null).await;

        assert_eq!((status, &answer["data"]["items"][0]["id"]), (200, &own.conversation["id"]), "{answer}");
        assert_eq!(foreign, 404);
        target.is_untouched().await;
    });
}

#[test]
fn hundreds_of_bad_requests_at_once_cost_no_process() {
    run(async |rig| {
        let target = Target::new(rig).await;
        let routes = target.bodies();
        let calls = (0..200).map(|number| {
            let route = &routes[number % routes.len()];
            target.call(route, "application/json", vec![b'['; number * 50])
        });

        let answers = futures_util::future::join_all(calls).await;

        assert!(
            answers.iter().all(|answer| answer.status == 400),
            "{:?}",
            answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
        );
        target.account.receive("text").await;
        target.is_untouched().await;
    });
}

/// A Function URL decodes a query in part, and what else AWS leaves in one is not ours to promise.
#[test]
fn decoded_query_is_answered_by_every_function() {
    run(async |rig| {
        for function in fs::read_dir("../events").unwrap() {
            let path = function.unwrap().path();
            let mut event: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            if event["requestContext"].is_null() {
                continue;
            }
            let function = path.file_stem().unwrap().to_str().unwrap();
            // An organization that has nothing which the call could change.
            event["requestContext"]["authorizer"]["jwt"]["claims"]["organizationId"] =
                json!(format!("org-{}", unique()));
            for query in ["a=b c", "a=ä", "a=\"<{|}>\\^`#?\u{1}", "a=%", &"ä".repeat(40_000)] {
                event["rawQueryString"] = json!(query);
                let answer = rig.invoke(function, event.clone()).await;
                assert!(
                    answer["statusCode"].as_u64().is_some_and(|status| status < 500),
                    "{function} {query:.9}: {answer}"
                );
            }
            event["rawQueryString"] = json!("");
            for (place, value) in
                [("/headers/host", "a b"), ("/headers/x-forwarded-proto", "a b"), ("/rawPath", "a b:c")]
            {
                let mut event = event.clone();
                let parent = event.pointer_mut(place.rsplit_once('/').unwrap().0).unwrap();
                parent[place.rsplit_once('/').unwrap().1] = json!(value);
                let answer = rig.invoke(function, event).await;
                assert!(
                    answer["statusCode"].as_u64().is_some_and(|status| status < 500),
                    "{function} {place}: {answer}"
                );
            }
        }
    });
}

#[test]
fn plus_in_the_webhooks_query_is_refused_and_no_crash() {
    run(async |rig| {
        for query in ["a=b+c", "hub.mode=subscribe&hub.verify_token=a+b&hub.challenge=1+2", "+", "a=%20+%zz"] {
            let answer = rig.request("GET", &format!("{}?{query}", rig.webhook), &[], "").await;
            assert_eq!(answer.status, 403, "{query}");
        }
    });
}
