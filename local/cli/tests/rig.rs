//! The rig itself, with a small template and two small functions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    time::Duration,
};

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use emulator::arn::secret_arn;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Rig, Setup, canaries::Canaries, command, eventually, target_folder, workspace};

const SOON: Duration = Duration::from_secs(30);

fn setup() -> Setup {
    Setup {
        template: Some(workspace().join("local/emulator/tests/fixtures/template.yaml")),
        binaries: target_folder().join("examples"),
        ..Setup::default()
    }
}

fn rig() -> Rig {
    Rig::start_with(setup())
}

/// Registers the webhook of an account, as `connect-integration` would.
async fn register(rig: &Rig, key: &str, headers: Value) {
    let body = json!({ "url": rig.webhook, "headers": headers });
    let url = format!("{}/v1/configs/webhook", rig.provider);
    let answer = rig.request("POST", &url, &[("d360-api-key", key)], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), body);
}

async fn send(rig: &Rig, key: &str, text: &str) -> (u16, Value) {
    let body = json!({
        "messaging_product": "whatsapp", "to": "491713920012", "type": "text", "text": { "body": text },
        "biz_opaque_callback_data": "conversation.message",
    });
    let url = format!("{}/messages", rig.provider);
    let answer = rig.request("POST", &url, &[("d360-api-key", key)], body.to_string()).await;
    (answer.status, answer.json())
}

/// Where a function reaches the table and the key, under its own name.
async fn services(rig: &Rig) -> [String; 2] {
    let token = rig.token("acme", "ann", "admin").await;
    let environment = rig.api("GET", "/echo/environment", &token, Value::Null).await.1;
    assert_eq!(environment["AWS_ACCESS_KEY_ID"], "echo-request");
    ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_KMS"]
        .map(|name| format!("{}/", environment[name].as_str().unwrap()))
}

#[tokio::test]
async fn a_request_reaches_its_function_with_verified_claims() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;

    let (status, answer) = rig.api("POST", "/echo/a%20b?x=1", &token, json!({ "hello": "world" })).await;

    assert_eq!(status, 200);
    let event = &answer["event"];
    assert_eq!(event["routeKey"], "ANY /echo/{thing}");
    assert_eq!(event["pathParameters"]["thing"], "a b");
    assert_eq!(event["body"], r#"{"hello":"world"}"#);
    let claims = &event["requestContext"]["authorizer"]["jwt"]["claims"];
    assert_eq!(claims["organizationId"], "acme");
    assert_eq!(claims["sub"], "ann");
    assert_eq!(claims["role"], "admin");
    assert!(claims["exp"].is_string());
}

#[tokio::test]
async fn only_good_tokens_pass() {
    let rig = rig();
    let good = rig.token("acme", "ann", "admin").await;
    let expired = rig.token_with("organization=acme&expiresIn=-5").await;
    let foreign = rig.token_with("organization=acme&iss=https://other.example.com").await;
    let altered = format!("{}x", &good[..good.len() - 1]);

    for token in ["", "nonsense", &expired, &foreign, &altered] {
        let answer = rig.api_with("GET", "/echo/x", token, &[], Value::Null).await;
        assert_eq!(answer.status, 401, "{token}");
        assert_eq!(answer.json(), json!({ "message": "Unauthorized" }));
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    assert_eq!(rig.api("GET", "/echo/x", &good, Value::Null).await.0, 200);
    let (status, answer) = rig.api("GET", "/open", "", Value::Null).await;
    assert_eq!(status, 200);
    assert!(answer["event"]["requestContext"].get("authorizer").is_none());
}

/// What a browser does to sign in, up to the code. The challenge is that of `VERIFIER`.
async fn sign_in(rig: &Rig, change: impl Fn(&mut BTreeMap<&'static str, String>)) -> support::Answer {
    let mut form = BTreeMap::from([
        ("response_type", "code".to_owned()),
        ("client_id", "local".to_owned()),
        ("redirect_uri", format!("{}/signed-in", rig.api)),
        ("scope", "openid profile offline_access".to_owned()),
        ("state", "a state & more".to_owned()),
        ("nonce", "n-1".to_owned()),
        ("code_challenge", URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))),
        ("code_challenge_method", "S256".to_owned()),
        ("organization", "acme".to_owned()),
        ("user", "ann".to_owned()),
        ("role", "operator".to_owned()),
    ]);
    change(&mut form);
    post_form(rig, "/local/authorize", form).await
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

async fn post_form(rig: &Rig, path: &str, form: impl IntoIterator<Item = (&'static str, String)>) -> support::Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    rig.request("POST", &format!("{}{path}", rig.api), &[kind], body).await
}

/// The parameters that a redirection carries.
fn carried(answer: &support::Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let location = url::Url::parse(answer.headers["location"].to_str().unwrap()).unwrap();
    assert_eq!(location.path(), "/signed-in");
    location.query_pairs().into_owned().collect()
}

async fn exchange(rig: &Rig, change: &[(&'static str, &str)]) -> (u16, Value) {
    let mut form = BTreeMap::from([
        ("grant_type", "authorization_code".to_owned()),
        ("client_id", "local".to_owned()),
        ("redirect_uri", format!("{}/signed-in", rig.api)),
        ("code_verifier", VERIFIER.to_owned()),
    ]);
    form.extend(change.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let answer = post_form(rig, "/local/oauth/token", form).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    (answer.status, answer.json())
}

fn claims(token: &Value) -> Value {
    let part = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_person_signs_in_with_a_code_and_the_session_renews() {
    let rig = Rig::start_with(Setup { arguments: vec!["--token-lifetime".to_owned(), "90".to_owned()], ..setup() });
    let configuration = format!("{}/local/.well-known/openid-configuration", rig.api);
    let configuration = rig.request("GET", &configuration, &[], "").await.json();
    assert_eq!(configuration["issuer"], format!("{}/local", rig.api));
    assert_eq!(configuration["authorization_endpoint"], format!("{}/local/authorize", rig.api));
    assert_eq!(configuration["token_endpoint"], format!("{}/local/oauth/token", rig.api));
    assert_eq!(configuration["revocation_endpoint"], format!("{}/local/oauth/revoke", rig.api));
    assert_eq!(configuration["code_challenge_methods_supported"], json!(["S256"]));

    let carried = carried(&sign_in(&rig, |_| {}).await);
    assert_eq!(carried["state"], "a state & more");
    let (status, tokens) = exchange(&rig, &[("code", &carried["code"])]).await;

    assert_eq!((status, &tokens["token_type"], &tokens["expires_in"]), (200, &json!("Bearer"), &json!(90)));
    let said = claims(&tokens["id_token"]);
    assert_eq!((&said["nonce"], &said["sub"], &said["role"]), (&json!("n-1"), &json!("ann"), &json!("operator")));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 90);
    for token in ["id_token", "access_token"] {
        let (status, answer) = rig.api("GET", "/echo/x", tokens[token].as_str().unwrap(), Value::Null).await;
        assert_eq!(status, 200, "{token}");
        assert_eq!(answer["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["organizationId"], "acme");
    }

    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let renew = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    let (status, renewed) = exchange(&rig, &renew).await;
    assert_eq!((status, &claims(&renewed["id_token"])["sub"]), (200, &json!("ann")));
    assert_ne!(renewed["refresh_token"], tokens["refresh_token"]);
    let (status, answer) = exchange(&rig, &renew).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "a refresh token is good once");
}

#[tokio::test]
async fn revoked_refresh_token_renews_nothing() {
    let rig = rig();
    let carried = carried(&sign_in(&rig, |_| {}).await);
    let (_, tokens) = exchange(&rig, &[("code", &carried["code"])]).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let revoke = async |client: &str, token: &str| {
        let form = BTreeMap::from([("client_id", client.to_owned()), ("token", token.to_owned())]);
        post_form(&rig, "/local/oauth/revoke", form).await
    };
    for (client, token, error) in [
        ("another", refresh_token, "invalid_client"),
        ("local", "", "invalid_request"),
        ("local", tokens["access_token"].as_str().unwrap(), "unsupported_token_type"),
    ] {
        let answer = revoke(client, token).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!(error)));
    }

    assert_eq!(revoke("local", refresh_token).await.status, 200);
    assert_eq!(revoke("local", refresh_token).await.status, 200, "what is worthless already is no error");

    let renew = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    let (status, answer) = exchange(&rig, &renew).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn a_code_is_good_once_for_whoever_asked_for_it() {
    let rig = rig();
    let code = async || carried(&sign_in(&rig, |_| {}).await)["code"].clone();

    let used = code().await;
    assert_eq!(exchange(&rig, &[("code", &used)]).await.0, 200);
    assert_eq!(exchange(&rig, &[("code", &used)]).await.1["error"], "invalid_grant");
    for (name, value) in [
        ("code_verifier", "another-verifier-of-the-same-length-as-it-must-be"),
        ("code_verifier", ""),
        ("redirect_uri", "http://127.0.0.1/signed-in"),
        ("client_id", "another"),
        ("code", "guessed"),
        ("grant_type", "password"),
    ] {
        let code = code().await;
        let (status, answer) = exchange(&rig, &[("code", &code), (name, value)]).await;
        assert_eq!(status, 400, "{name}={value}");
        assert!(answer["error"].is_string() && answer.get("id_token").is_none(), "{name}={value}: {answer}");
    }
}

#[tokio::test]
async fn nobody_is_sent_to_another_site() {
    let rig = rig();
    let other = format!("{}.example.com/signed-in", rig.api);
    for address in ["https://evil.example.com/signed-in", "javascript:alert(1)", "//evil.example.com", "", &other] {
        let answer = sign_in(&rig, |form| drop(form.insert("redirect_uri", address.to_owned()))).await;
        assert_eq!(answer.status, 400, "{address}");
        assert!(answer.headers.get("location").is_none(), "{address}");
        let query = url::form_urlencoded::byte_serialize(address.as_bytes()).collect::<String>();
        let url = format!("{}/local/logout?post_logout_redirect_uri={query}", rig.api);
        let answer = rig.request("GET", &url, &[], "").await;
        assert_eq!(answer.status, 200, "{address}");
        assert!(answer.headers.get("location").is_none(), "{address}");
    }
    let home = format!("{}/local/logout?post_logout_redirect_uri={}/&state=x", rig.api, rig.api);
    let answer = rig.request("GET", &home, &[], "").await;
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (303, &*format!("{}/?state=x", rig.api)));
}

#[tokio::test]
async fn a_request_that_cannot_be_granted_goes_back_with_its_reason() {
    let rig = rig();
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "profile", "invalid_scope"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("prompt", "none", "login_required"),
    ] {
        let carried = carried(&sign_in(&rig, |form| drop(form.insert(name, value.to_owned()))).await);
        assert_eq!(carried["error"], error, "{name}");
        assert_eq!(carried["state"], "a state & more");
        assert!(!carried.contains_key("code"), "{name}");
    }
    assert_eq!(sign_in(&rig, |form| drop(form.insert("client_id", "another".to_owned()))).await.status, 400);
    for (name, value) in [("organization", ""), ("user", "a#b"), ("role", "owner")] {
        let answer = sign_in(&rig, |form| drop(form.insert(name, value.to_owned()))).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text().contains("role=\"alert\""), "{name}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn the_gateway_answers_for_what_is_not_a_route() {
    let rig = rig();

    assert_eq!(rig.api("GET", "/nowhere", "", Value::Null).await, (404, json!({ "message": "Not Found" })));
    assert_eq!(rig.api("POST", "/open", "", Value::Null).await.0, 404);
    let large = vec![b'x'; (10 << 20) + 1];
    assert_eq!(rig.request("GET", &format!("{}/open", rig.api), &[], large).await.status, 413);
}

#[tokio::test]
async fn browsers_are_told_who_may_call() {
    let rig = rig();
    let ours = ("origin", "https://console.example.com");
    let asked = ("access-control-request-method", "POST");
    let url = format!("{}/echo/x", rig.api);
    let allowed = |headers: &HeaderMap| headers.get("access-control-allow-origin").cloned();

    let preflight = rig.request("OPTIONS", &url, &[ours, asked], "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(allowed(&preflight.headers).unwrap(), ours.1);
    assert_eq!(preflight.headers["access-control-allow-methods"], "GET,POST");

    let foreign = rig.request("OPTIONS", &url, &[("origin", "https://evil.example.com"), asked], "").await;
    assert_eq!(allowed(&foreign.headers), None);

    let refused = rig.request("GET", &url, &[ours], "").await;
    assert_eq!((refused.status, allowed(&refused.headers).unwrap().to_str().unwrap()), (401, ours.1));
}

#[tokio::test]
async fn failing_function_answers_500_and_is_replaced() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let call = async |thing: &str| rig.api("GET", &format!("/echo/{thing}"), &token, Value::Null).await;

    for thing in ["exit", "hang", "error", "panic", "nonsense"] {
        assert_eq!(call(thing).await, (500, json!({ "message": "Internal Server Error" })), "{thing}");
        assert_eq!(call("hello").await.0, 200, "after {thing}");
    }
    assert!(rig.log("echo-request").contains("Task timed out after 2.00 seconds"));
}

#[tokio::test]
async fn a_killed_process_is_replaced_and_its_request_fails() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let before = rig.api("GET", "/echo/x", &token, Value::Null).await.1["pid"].clone();

    assert_eq!(rig.kill("echo-request").await, 1);
    let (status, after) = rig.api("GET", "/echo/x", &token, Value::Null).await;
    assert_eq!(status, 200);
    assert_ne!(after["pid"], before);

    let (during, killed) = tokio::join!(rig.api("GET", "/echo/slow", &token, Value::Null), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.kill("echo-request").await
    });
    assert_eq!((during.0, killed), (500, 1));
}

#[tokio::test]
async fn requests_at_once_run_in_processes_of_their_own_up_to_a_limit() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let call = || rig.api("GET", "/echo/slow", &token, Value::Null);

    let answers = tokio::join!(call(), call(), call(), call(), call(), call());

    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5];
    assert!(answers.iter().all(|(status, _)| *status == 200));
    let pids: BTreeSet<u64> = answers.iter().map(|(_, answer)| answer["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids.len(), 4);
    let processes = rig.processes().await;
    assert_eq!(processes.len(), 4);
    assert!(processes.iter().all(|process| process["spawnToFirstPollMs"].as_f64().unwrap() > 0.0));
}

#[tokio::test]
async fn what_is_beyond_the_reserved_concurrency_is_throttled() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let call = async |thing: &str| rig.api("GET", &format!("/echo/{thing}"), &token, Value::Null).await;
    call("warm").await;

    rig.reserve("echo-request", 1).await;
    let (one, other) = tokio::join!(call("slow"), call("slow"));
    let throttled = (503, json!({ "message": "Service Unavailable" }));
    let (served, refused) = if one.0 == 200 { (one, other) } else { (other, one) };
    assert_eq!((served.0, &refused), (200, &throttled));
    assert_eq!(call("again").await.0, 200);

    rig.reserve("echo-request", 0).await;
    assert_eq!(call("nothing").await, throttled);
    let invoke = format!("{}/local/invoke?function=echo-request", rig.api);
    assert_eq!(rig.request("POST", &invoke, &[], "{}").await.status, 429);
    assert_eq!(rig.webhook(&[], "{}").await.status, 200, "another function has its own");
    rig.reserve("receive-webhook", 0).await;
    assert_eq!(rig.webhook(&[], "{}").await.status, 429);

    rig.unreserve("echo-request").await;
    assert_eq!(call("lifted").await.0, 200);
    for (wrong, why) in [("function=nobody&reserved=0", "function"), ("function=echo-request", "reserved")] {
        let answer = rig.request("POST", &format!("{}/local/concurrency?{wrong}", rig.api), &[], "").await;
        assert!(answer.status == 400 && answer.text().contains(why), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_requests_come_to_moves_the_metrics_of_the_services() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let call = async |thing: &str| rig.api("GET", &format!("/echo/{thing}"), &token, Value::Null).await.0;

    assert_eq!([call("hello").await, call("exit").await], [200, 500]);
    assert_eq!(rig.api("GET", "/nowhere", &token, Value::Null).await.0, 404);
    assert_eq!(rig.webhook(&[("x-refuse", "yes")], "{}").await.status, 503);
    rig.reserve("receive-webhook", 0).await;
    assert_eq!(rig.webhook(&[], "{}").await.status, 429);

    let moved: BTreeMap<String, (Value, Value)> = rig
        .metrics()
        .await
        .into_iter()
        .map(|metric| {
            let of: Vec<&str> =
                metric["dimensions"].as_object().unwrap().values().map(|value| value.as_str().unwrap()).collect();
            let name = format!(
                "{} {} {}",
                metric["namespace"].as_str().unwrap(),
                metric["name"].as_str().unwrap(),
                of.join(" ")
            );
            (name, (metric["count"].clone(), metric["sum"].clone()))
        })
        .collect();
    let sum = |name: &str| moved.get(name).map(|(_, sum)| sum.as_f64().unwrap());
    assert_eq!(
        [sum("AWS/ApiGateway Count local"), sum("AWS/ApiGateway 4xx local"), sum("AWS/ApiGateway 5xx local")],
        [Some(3.0), Some(1.0), Some(1.0)]
    );
    let of_lambda = |name: &str, function: &str| sum(&format!("AWS/Lambda {name} {function}"));
    assert_eq!([of_lambda("Invocations", "echo-request"), of_lambda("Errors", "echo-request")], [Some(2.0), Some(1.0)]);
    for (name, expected) in [
        ("Invocations", Some(1.0)),
        ("Errors", None),
        ("Throttles", Some(1.0)),
        ("UrlRequestCount", Some(2.0)),
        ("Url4xxCount", Some(1.0)),
        ("Url5xxCount", Some(1.0)),
    ] {
        assert_eq!(of_lambda(name, "receive-webhook"), expected, "{name}");
    }
    assert!(of_lambda("Duration", "receive-webhook") < of_lambda("UrlRequestLatency", "receive-webhook"), "{moved:?}");
    assert_eq!(moved["AWS/Lambda UrlRequestLatency receive-webhook"].0, 2);
    assert!(rig.log("echo-request").contains(r#""level":"ERROR""#), "the rig tells of the process that ended");
    assert_eq!(sum("local LoggedErrors "), None, "but the function logged nothing");
}

#[tokio::test]
async fn calls_of_a_service_go_wrong_as_ordered() {
    let rig = rig();
    let [table, kms] = services(&rig).await;
    let get = async || {
        let get = json!({ "TableName": "local-Table", "Key": { "pk": { "S": "a" }, "sk": { "S": "b" } } });
        rig.aws("echo-request", &table, "DynamoDB_20120810.GetItem", get).await.status
    };

    rig.service_fault("table", "throttled", 2).await;
    assert_eq!([get().await, get().await, get().await], [400, 400, 200]);
    rig.service_fault("kms", "error", 1).await;
    assert_eq!(rig.aws("echo-request", &kms, "TrentService.GenerateDataKey", json!({})).await.status, 500);
    rig.service_fault("table", "error", 1).await;
    rig.service_fault("table", "error", 0).await;
    assert_eq!(get().await, 200);

    let throttled = rig.metrics().await.into_iter().find(|metric| metric["name"] == "ReadThrottleEvents").unwrap();
    assert_eq!((&throttled["dimensions"], &throttled["count"]), (&json!({ "TableName": "local-Table" }), &json!(2)));
    for (wrong, why) in [
        ("service=disk&fault=error&calls=1", "table, kms"),
        ("service=kms&fault=conflict&calls=1", "throttled, error"),
        ("service=kms&fault=error", "calls"),
    ] {
        let answer = rig.request("POST", &format!("{}/local/fault?{wrong}", rig.api), &[], "").await;
        assert!(answer.status == 400 && answer.text().contains(why), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_function_url_takes_any_path_and_keeps_raw_bodies() {
    let rig = rig();

    let answer = rig.webhook(&[("x-secret", "s")], r#"{"object":"page"}"#).await;
    assert_eq!(answer.status, 200);
    let event = answer.json();
    assert_eq!(event["rawPath"], "/api/v1/webhooks/360dialog");
    assert_eq!(event["headers"]["x-secret"], "s");
    assert_eq!(event["body"], r#"{"object":"page"}"#);
    assert_eq!(event["isBase64Encoded"], false);

    let binary = rig.request("POST", &rig.webhook, &[("content-type", "application/x-unknown")], "hi").await.json();
    assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("aGk="), &json!(true)));
    assert_eq!(rig.webhook(&[("x-refuse", "yes")], "{}").await.status, 503);
    assert_eq!(rig.webhook(&[], vec![b' '; (6 << 20) + 1]).await.status, 413);
}

#[tokio::test]
async fn the_environment_is_lambdas_and_the_templates() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;

    let environment = rig.api("GET", "/echo/environment", &token, Value::Null).await.1;

    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "echo-request");
    assert_eq!(environment["AWS_LAMBDA_LOG_FORMAT"], "JSON");
    assert_eq!(environment["TABLE_NAME"], "local-Table");
    assert_eq!(environment["DIALOG360_BASE_URL"], rig.provider);
    assert_eq!(environment["WEBHOOK_SECRET_ARN"], secret_arn("WebhookSecret"));
    assert_eq!(environment["DIALOG360_WEBHOOK_TOKEN"], Value::Null, "functions are told where it is, not what it is");
    assert_eq!(environment["HOME"], Value::Null);
}

#[tokio::test]
async fn the_meter_counts_calls_and_units() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let environment = rig.api("GET", "/echo/environment", &token, Value::Null).await.1;
    let table = format!("{}/", environment["AWS_ENDPOINT_URL_DYNAMODB"].as_str().unwrap());
    let item = json!({ "pk": { "S": "a" }, "sk": { "S": "b" }, "inboxKey": { "S": "c" }, "inboxSort": { "S": "d" } });
    rig.reset_meter().await;

    let put = json!({ "TableName": "local-Table", "Item": item, "ConditionExpression": "attribute_not_exists(pk)" });
    for expected in [200, 400] {
        let answer = rig.aws("echo-request", &table, "DynamoDB_20120810.PutItem", put.clone()).await;
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
    let get = json!({ "TableName": "local-Table", "Key": { "pk": { "S": "a" }, "sk": { "S": "b" } } });
    assert_eq!(rig.aws("echo-request", &table, "DynamoDB_20120810.GetItem", get.clone()).await.json()["Item"], item);

    let meter = rig.meter().await;
    assert_eq!(meter["requests"], 3);
    assert_eq!(meter["byOperation"], json!({ "GetItem": 1, "PutItem": 2 }));
    assert_eq!(meter["writeUnits"], 2.0);
    assert_eq!(meter["readUnits"], 0.5);
    assert_eq!(meter["failedConditions"], 1);
    assert_eq!(rig.dynamodb("GetItem", get).await["Item"], item);
    assert_eq!(rig.meter().await["requests"], 3);
}

#[test]
fn what_was_sent_is_found_in_a_log() {
    let body = json!({
        "apiKey": "a-very-secret-key", "labels": ["a label of theirs"], "platform": "whatsapp_whatsapp",
        "messages": [{ "from": "491713920012", "text": { "body": "What about \"this\" one, and a lot more?" } }],
    });
    let headers = [("Authorization", "Bearer aaaaaaaaaa.bbbbbbbbbb.Cccccccccc")];
    let is_told = |line: &str| {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("logs")).unwrap();
        let log = data.path().join("logs/send-message.log");
        fs::write(&log, "an innocent line\n").unwrap();
        let canaries = Canaries::default();
        canaries.plant(&headers, &body.to_string().into());
        canaries.assert_untold(data.path());
        fs::write(&log, format!("an innocent line\n{line}\n")).unwrap();
        std::panic::catch_unwind(|| canaries.assert_untold(data.path())).is_err()
    };

    for line in [
        "a-very-secret-key",
        "panicked at a label of theirs",
        "{\"to\":\"+491713920012\"}",
        r#"{"message":"What about \"this\" one, and …"}"#,
        "aaaaaaaaaa.bbbbbbbbbb.Cccccccccc",
        "x.Cccccccccc",
    ] {
        assert!(is_told(line), "{line}");
    }
    assert!(!is_told("whatsapp_whatsapp, 1767877200000"));
}

#[tokio::test]
async fn a_function_is_refused_what_its_policies_do_not_allow() {
    let rig = rig();
    let [table, kms] = services(&rig).await;
    let key = json!({ "pk": { "S": "a" }, "sk": { "S": "b" } });
    let wrap = |platform: &str| json!({ "KeyId": "00000000-0000-4000-8000-00000000c0de", "KeySpec": "AES_256", "EncryptionContext": { "platform": platform } });
    let delete = json!({ "TableName": "local-Table", "Key": key });
    let query = |index: &str| {
        json!({ "TableName": "local-Table", "IndexName": index, "KeyConditionExpression": "inboxKey = :k",
                "ExpressionAttributeValues": { ":k": { "S": "c" } } })
    };
    let call = async |caller: &str, url: &str, target: &str, body: Value| {
        let answer = rig.aws(caller, url, target, body).await;
        let code =
            answer.json()["__type"].as_str().and_then(|code| code.split('#').nth(1)).unwrap_or_default().to_owned();
        (answer.status, code)
    };

    let allowed = (200, String::new());
    assert_eq!(call("echo-request", &table, "DynamoDB_20120810.Query", query("inbox")).await, allowed);
    assert_eq!(call("echo-request", &kms, "TrentService.GenerateDataKey", wrap("whatsapp")).await, allowed);

    let denied = (400, "AccessDeniedException".to_owned());
    assert_eq!(call("echo-request", &table, "DynamoDB_20120810.DeleteItem", delete.clone()).await, denied);
    assert_eq!(call("echo-request", &table, "DynamoDB_20120810.Query", query("by-external-id")).await, denied);
    assert_eq!(call("echo-request", &kms, "TrentService.GenerateDataKey", wrap("facebook")).await, denied);
    assert_eq!(call("receive-webhook", &kms, "TrentService.GenerateDataKey", wrap("whatsapp")).await, denied);
    let unknown = (400, "UnrecognizedClientException".to_owned());
    assert_eq!(call("local", &table, "DynamoDB_20120810.DeleteItem", delete).await, unknown);

    let permissions = rig.request("GET", &format!("{}/local/permissions", rig.api), &[], "").await.json();
    let of = |what: &str| {
        let permissions = permissions["echo-request"][what].as_array().unwrap().iter();
        permissions.map(|one| format!("{} {}", one["action"], one["resource"]).replace('"', "")).collect::<Vec<_>>()
    };
    let arn = "arn:aws:dynamodb:eu-central-1:000000000000:table/local-Table";
    assert_eq!(of("used").len(), 2);
    assert_eq!(of("denied").len(), 3);
    assert!(of("unused").contains(&format!("dynamodb:PutItem {arn}")));
    assert!(!of("unused").contains(&format!("dynamodb:Query {arn}/index/inbox")));
}

#[tokio::test]
async fn a_customers_message_is_delivered_with_the_registered_headers() {
    let rig = rig();
    let unheard = rig.simulate_inbound("whatsapp", "1001", "491713920012", "Hello").await;
    assert_eq!(unheard["delivered"], false);
    assert!(unheard["message"].as_str().unwrap().contains("no webhook is registered"));

    register(&rig, "sim_whatsapp_1001", json!({ "authorization": "Bearer x" })).await;
    let heard = rig.simulate_inbound("whatsapp", "1001", "491713920012", "Hello").await;

    assert_eq!((&heard["delivered"], &heard["status"]), (&json!(true), &json!(200)));
    assert!(heard["id"].as_str().unwrap().starts_with("wamid."));
}

#[tokio::test]
async fn refused_delivery_is_repeated_also_after_a_restart() {
    let rig = rig();
    register(&rig, "sim_whatsapp_1001", json!({ "x-refuse": "yes" })).await;
    let refused = rig.simulate_inbound("whatsapp", "1001", "491713920012", "Hello").await;
    assert_eq!((&refused["delivered"], &refused["status"]), (&json!(false), &json!(503)));

    let rig = rig.restart();
    assert_eq!(rig.undelivered().await.len(), 1);
    register(&rig, "sim_whatsapp_1001", json!({})).await;

    eventually("the queue is empty", SOON, async || rig.undelivered().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_send_is_accepted_and_its_statuses_follow() {
    let rig = rig();
    register(&rig, "sim_whatsapp_1001", json!({ "x-refuse": "yes" })).await;

    let (status, answer) = send(&rig, "sim_whatsapp_1001", "Yes").await;

    assert_eq!(status, 200);
    let sent = rig.sent().await;
    assert_eq!(sent[0]["id"], answer["messages"][0]["id"]);
    assert_eq!(sent[0]["callbackData"], "conversation.message");
    let statuses = eventually("three statuses", SOON, async || {
        let queue = rig.undelivered().await;
        let bodies = queue.iter().map(|delivery| delivery["body"].as_str().unwrap().to_owned());
        let bodies: Vec<String> = bodies.collect();
        (bodies.len() == 3).then_some(bodies)
    })
    .await;
    for (body, status) in statuses.iter().zip(["sent", "delivered", "read"]) {
        let body: Value = serde_json::from_str(body).unwrap();
        let update = &body["entry"][0]["changes"][0]["value"]["statuses"][0];
        assert_eq!(update["status"], status);
        assert_eq!(update["biz_opaque_callback_data"], "conversation.message");
    }
}

#[tokio::test]
async fn keys_and_faults_are_answered_as_the_provider_would() {
    let rig = rig();
    let key = "sim_whatsapp_1001";

    assert_eq!(send(&rig, "nonsense", "x").await.0, 401);
    assert_eq!(send(&rig, "sim_instagram_1001", "x").await.0, 403);
    let cases = [
        ("unauthorized", 401),
        ("rate_limit", 429),
        ("rate_limit_400", 400),
        ("reject:131047", 400),
        ("server_error", 500),
    ];
    for (fault, expected) in cases {
        rig.fault(fault, 1).await;
        assert_eq!(send(&rig, key, "x").await.0, expected, "{fault}");
        assert_eq!(send(&rig, key, "x").await.0, 200, "after {fault}");
    }
    let other = json!({ "fault": "server_error", "calls": 1, "accountId": "2002", "path": "messages" });
    rig.simulate("fault", other).await;
    assert_eq!(send(&rig, key, "x").await.0, 200);
    rig.simulate("fault", json!({ "fault": "none" })).await;
    assert_eq!(send(&rig, "sim_whatsapp_2002", "x").await.0, 200);
}

#[tokio::test]
async fn a_dropped_call_was_accepted_but_has_no_answer() {
    let rig = rig();
    rig.fault("drop_after_accept", 1).await;

    let url: axum::http::Uri = format!("{}/messages", rig.provider).parse().unwrap();
    let body = json!({ "messaging_product": "whatsapp", "to": "49171", "type": "text", "text": { "body": "x" } });
    let request = axum::http::Request::post(url).header("d360-api-key", "sim_whatsapp_1001");
    let request = request.body(body.to_string().into()).unwrap();
    let answer = client::Client::default().send(request, SOON).await;

    assert!(matches!(answer, Err(client::SendError::Connection(_))), "{answer:?}");
    assert_eq!(rig.sent().await.len(), 1);
}

/// What a customer's phone shows.
async fn phone(rig: &Rig, platform: &str, customer: &str) -> Vec<Value> {
    let url = format!("{}/simulate/thread?platform={platform}&accountId=1001&customer={customer}", rig.provider);
    let answer = rig.request("GET", &url, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["messages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_phone_shows_both_sides_and_what_became_of_each_message() {
    let rig = rig();
    register(&rig, "sim_whatsapp_1001", json!({})).await;
    rig.simulate("settings", json!({ "statuses": "manual" })).await;
    let customer = json!({ "platform": "whatsapp", "accountId": "1001", "from": "+49 171 3920012", "name": "Lena" });
    let act = async |more: Value| {
        let mut body = customer.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rig.simulate("inbound", body).await["id"].clone()
    };

    let first = act(json!({ "text": "Is it blue?" })).await;
    act(json!({ "type": "edit", "target": first, "text": "Is it red?" })).await;
    let photo = act(json!({ "type": "image", "text": "This one" })).await;
    act(json!({ "type": "unsend", "target": photo })).await;
    let (_, answer) = send(&rig, "sim_whatsapp_1001", "Yes").await;
    let reply = &answer["messages"][0]["id"];
    act(json!({ "type": "reaction", "target": reply, "emoji": "👍" })).await;
    let shown = phone(&rig, "whatsapp", "491713920012").await;

    let column = |name: &str| shown.iter().map(|message| message[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("by"), ["customer", "customer", "business"]);
    assert_eq!(column("text"), ["Is it red?", "This one", "Yes"]);
    assert_eq!(column("unsent"), [false, true, false]);
    assert_eq!(
        (&shown[0]["edits"], &shown[2]["reaction"], &shown[2]["status"]),
        (&json!(1), &json!("👍"), &Value::Null)
    );
    for status in ["delivered", "read"] {
        rig.simulate("status", json!({ "accountId": "1001", "id": reply, "status": status })).await;
        assert_eq!(phone(&rig, "whatsapp", "491713920012").await[2]["status"], status);
    }

    let accounts = rig.request("GET", &format!("{}/simulate/accounts", rig.provider), &[], "").await.json();
    let account = &accounts["accounts"][0];
    assert_eq!((&account["platform"], &account["id"]), (&json!("whatsapp"), &json!("1001")));
    assert_eq!((&account["customers"][0]["name"], &account["customers"][0]["messages"]), (&json!("Lena"), &json!(3)));
    assert!(account["types"].as_array().unwrap().contains(&json!("location")));
}

#[tokio::test]
async fn a_phone_tells_what_the_webhook_has_not_taken_yet() {
    let rig = rig();
    register(&rig, "sim_facebook_1001", json!({ "x-refuse": "yes" })).await;
    rig.simulate_inbound("facebook", "1001", "7301", "Hello").await;
    assert_eq!(phone(&rig, "facebook", "7301").await[0]["waiting"], true);

    register(&rig, "sim_facebook_1001", json!({})).await;

    eventually("delivered", SOON, async || {
        (phone(&rig, "facebook", "7301").await[0]["waiting"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn faults_are_listed_with_the_calls_that_are_left() {
    let rig = rig();
    let listed = async || {
        let answer = rig.request("GET", &format!("{}/simulate/fault", rig.provider), &[], "").await;
        answer.json()["faults"].as_array().unwrap().clone()
    };
    rig.simulate("fault", json!({ "fault": "reject:131047", "calls": 2, "path": "messages" })).await;
    assert_eq!(
        listed().await,
        [json!({ "fault": "reject:131047", "calls": 2, "accountId": null, "path": "messages" })]
    );

    send(&rig, "sim_whatsapp_1001", "x").await;
    assert_eq!(listed().await[0]["calls"], 1);
    send(&rig, "sim_whatsapp_1001", "x").await;
    assert!(listed().await.is_empty());
}

#[tokio::test]
async fn the_page_of_the_simulator_runs_nothing_but_its_own_script() {
    let rig = rig();
    for (path, kind) in [("/", "text/html"), ("/customer.js", "text/javascript"), ("/customer.css", "text/css")] {
        let answer = rig.request("GET", &format!("{}{path}", rig.provider), &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn state_survives_a_restart() {
    let rig = rig();
    let token = rig.token("acme", "ann", "admin").await;
    let webhook_token = rig.webhook_token();
    let item = json!({ "pk": { "S": "a" }, "sk": { "S": "b" } });
    rig.dynamodb("PutItem", json!({ "TableName": "local-Table", "Item": item })).await;

    let rig = rig.restart();

    assert_eq!(rig.api("GET", "/echo/x", &token, Value::Null).await.0, 200);
    assert_eq!(rig.webhook_token(), webhook_token);
    let found = rig.dynamodb("GetItem", json!({ "TableName": "local-Table", "Key": item })).await;
    assert_eq!(found["Item"], item);
}

#[tokio::test]
async fn stopping_or_crashing_leaves_no_process_behind() {
    for crash in [false, true] {
        let mut rig = rig();
        let token = rig.token("acme", "ann", "admin").await;
        let pid = rig.api("GET", "/echo/x", &token, Value::Null).await.1["pid"].as_u64().unwrap();
        assert!(is_running(pid));

        if crash {
            rig.crash();
        } else {
            assert!(rig.stop().success());
        }

        eventually("the function's process is gone", SOON, async || (!is_running(pid)).then_some(())).await;
    }
}

/// A process that has ended and waits to be collected does not run.
fn is_running(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[tokio::test]
async fn what_is_in_the_way_of_a_start_is_named() {
    let rig = rig();
    let refused = |setup: &Setup, data: &Path, port: u16| {
        let output = command(setup, data, port).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();

    let error = refused(&setup(), rig.data(), 0);
    assert!(error.contains("another instance runs on") && error.contains("--data"), "{error}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = refused(&setup(), folder.path(), port);
    assert!(error.contains(&format!("port {port}")) && error.contains("--port"), "{error}");

    let short = Setup { variables: vec![("ENCRYPTION_KEY".to_owned(), "short".to_owned())], ..setup() };
    let error = refused(&short, folder.path(), 0);
    assert!(error.contains("ENCRYPTION_KEY must be exactly 32 bytes, and is 5"), "{error}");

    let unbuilt = Setup { binaries: folder.path().to_owned(), ..setup() };
    let error = refused(&unbuilt, folder.path(), 0);
    assert!(error.contains("echo-request") && error.contains("cargo build"), "{error}");
}
