//! The webhook of all organizations: authenticate, parse, route, store, and only then answer 200.

use futures_util::future::join_all;
use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{Method, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use shared::{
    clock,
    delivery::{Delivery, Owners},
    dialog360::signature::Signature,
    http,
    inbound::Misfits,
    metrics,
    secrets::{RotatingSecret, SignatureSecrets, WebhookSecret},
    store::Store,
    webhook_token::{Proof, UnverifiedToken, WebhookKeys, bearer},
};
use subtle::ConstantTimeEq;
use tracing::{error, warn};

const PATH: &str = "/api/v1/webhooks/360dialog";
const BODY_MAX_BYTES: usize = 4 * 1024 * 1024;
const DIALOG360_SIGNATURE: &str = "x-360dialog-signature";
const META_SIGNATURE: &str = "x-hub-signature-256";
/// What the webhook takes.
pub(crate) struct Webhook {
    secret: WebhookSecret,
    signatures: SignatureSecrets,
    store: Store,
    owners: Owners,
}

impl Webhook {
    pub(crate) fn new(secret: WebhookSecret, signatures: SignatureSecrets, store: Store) -> Self {
        Self { secret, signatures, store, owners: Owners::default() }
    }

    /// Whoever holds a version that was replaced twice must not stay welcome for as long as a process lives.
    async fn refresh_secrets(&self) {
        let signatures = [&self.signatures.dialog360, &self.signatures.meta].into_iter().flatten();
        let signatures = join_all(signatures.map(RotatingSecret::fresh));
        tokio::join!(self.secret.fresh(), signatures);
    }
}

pub(crate) async fn handle(webhook: &Webhook, request: Request) -> Response<Body> {
    if request.raw_http_path().trim_end_matches('/') != PATH {
        return empty(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => handshake(webhook, &request).await,
        Method::POST => deliver(webhook, &request).await,
        _ => {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, POST"));
            response
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Meta's handshake: the challenge comes back when the token is ours.
async fn handshake(webhook: &Webhook, request: &Request) -> Response<Body> {
    let query = |name| http::query_parameter(request, name);
    let token = query("hub.verify_token").unwrap_or_default();
    let is_it =
        |keys: &WebhookKeys| -> bool { keys.verify_token().expose_secret().as_bytes().ct_eq(token.as_bytes()).into() };
    let is_ours = webhook.secret.find(|keys| is_it(keys).then_some(())).await.is_some();
    match (query("hub.mode").as_deref(), query("hub.challenge")) {
        (Some("subscribe"), Some(challenge)) if is_ours => {
            let mut response = Response::new(Body::Text(challenge));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
            response
        }
        _ => empty(StatusCode::FORBIDDEN),
    }
}

async fn deliver(webhook: &Webhook, request: &Request) -> Response<Body> {
    let body: &[u8] = request.body().as_ref();
    if body.len() > BODY_MAX_BYTES {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let proof = match authenticate(webhook, request, body).await {
        Ok(proof) => proof,
        Err(refused) => {
            tell(&refused);
            return empty(StatusCode::UNAUTHORIZED);
        }
    };
    let now_us = clock::now_us();
    let (store, owners) = (&webhook.store, &webhook.owners);
    let misfits = &Misfits::of_delivery(&proof, body.len());
    let delivery = Delivery { store, owners, proof: &proof, now_us, misfits, only_for: None };
    let (received, ()) = tokio::join!(delivery.receive(body, now_us / 1000), webhook.refresh_secrets());
    metrics::delivery(&received, received.oldest_ms.map(|oldest_ms| clock::now_ms() - oldest_ms));
    let failed = received.counts.failed;
    if failed > 0 {
        error!(failed, "a delivery was not stored whole: {failed} events have to come again");
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    empty(StatusCode::OK)
}

/// Why a delivery is refused.
enum Refused {
    /// Nothing about it looks like ours.
    Stranger,
    /// Its token has the form of ours.
    Token {
        /// The version of the secret that it names.
        key_id: String,
        /// What it claims to prove.
        claimed: Proof,
        /// Whether we know that version: then it is forged or damaged.
        is_known: bool,
    },
    /// Its signature is not that of its body.
    Signature(&'static str),
}

/// What a delivery proves before its body is read: by bearer token, or by signature where a secret for one is configured.
async fn authenticate(webhook: &Webhook, request: &Request, body: &[u8]) -> Result<Proof, Refused> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let mut refused = Refused::Stranger;
    let token = header(header::AUTHORIZATION.as_str()).and_then(bearer).and_then(UnverifiedToken::parse);
    if let Some(token) = token {
        let verified = webhook.secret.find(|keys| keys.verify(&token)).await;
        let (key_id, claimed) = (token.key_id.to_owned(), token.subject);
        if verified == Some(true) {
            return Ok(claimed);
        }
        refused = Refused::Token { key_id, claimed, is_known: verified.is_some() };
    }
    let signed = [(DIALOG360_SIGNATURE, &webhook.signatures.dialog360), (META_SIGNATURE, &webhook.signatures.meta)];
    for (name, secret) in signed {
        let (Some(signature), Some(secret)) = (header(name).and_then(Signature::parse), secret) else { continue };
        let signs = |secret: &SecretString| signature.signs(secret.expose_secret().as_bytes(), body).then_some(());
        if secret.find(signs).await.is_some() {
            return Ok(Proof::Global);
        }
        refused = Refused::Signature(name);
    }
    Err(refused)
}

/// Tells what looks like ours and is refused: its sender waits in vain. What strangers send is no news.
fn tell(refused: &Refused) {
    match refused {
        Refused::Stranger => return,
        Refused::Token { key_id, claimed, is_known } => {
            let organization = claimed.organization().map(ToString::to_string);
            let why = if *is_known { "its tag is wrong" } else { "it is of another secret" };
            warn!(
                key.id = key_id,
                claimed.organization.id = organization,
                "a delivery was refused by its token: {why}"
            );
        }
        Refused::Signature(name) => warn!(header = name, "a delivery was refused by its signature"),
    }
    metrics::delivery_refused();
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use testbed::{
        call::Call,
        engine::{Fault, Table},
        given::{Account, sealed, unique},
        secrets::{NAME, Secrets, secret, webhook_keys, webhook_secret},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/receive-webhook.json");
    /// The number that the event is about.
    const NUMBER: &str = "700100200300402";
    /// The secret whose token the event carries.
    const SECRET: &str = "events-webhook-secret";
    const SIGNATURE_SECRET: &str = "a-secret-of-the-tests";

    /// A delivery to a connected account, and everything that it takes.
    struct Stage {
        table: Table,
        account: Account,
        secrets: Secrets,
        webhook: Webhook,
    }

    impl Stage {
        async fn of(table: Table) -> Self {
            let account = Account::whatsapp();
            account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
            let signatures = SignatureSecrets { dialog360: Some(secret(SIGNATURE_SECRET).await), meta: None };
            let (secret, secrets) = webhook_secret(SECRET).await;
            let webhook = Webhook::new(secret, signatures, table.store());
            Self { table, account, secrets, webhook }
        }

        /// The event, about the account.
        fn call(&self) -> Call {
            let event: Value = serde_json::from_str(EVENT).unwrap();
            Call::of(EVENT).text(&event["body"].as_str().unwrap().replace(NUMBER, self.account.id.as_str()))
        }

        /// With the account's token of that secret.
        fn call_by(&self, secret: &str) -> Call {
            let Account { platform, id, organization } = &self.account;
            let token = webhook_keys(secret).account_token(*platform, id, organization);
            self.call().header("authorization", &format!("Bearer {}", token.expose_secret()))
        }

        async fn answer(&self, call: Call) -> u16 {
            handle(&self.webhook, call.request()).await.status().as_u16()
        }

        /// The texts of all messages that the account has received.
        async fn texts(&self) -> Vec<String> {
            let (store, mut texts) = (self.table.store(), Vec::new());
            for conversation in self.account.inbox(&store).await {
                texts.extend(
                    self.account.thread(&store, &conversation).await.into_iter().filter_map(|message| message.text),
                );
            }
            texts
        }
    }

    #[tokio::test]
    async fn the_event_is_stored_once_however_often_it_comes() {
        let stage = Stage::of(Table::open().await).await;

        let first = stage.answer(stage.call()).await;
        let again = stage.answer(stage.call()).await;

        assert_eq!((first, again), (200, 200));
        assert_eq!(stage.texts().await, ["Hello, is the blue one in stock?"]);
        let conversation = stage.account.only(&stage.table.store()).await;
        assert_eq!(conversation.customer_name.as_deref(), Some("Lena Vogt"));
    }

    #[tokio::test]
    async fn what_is_not_stored_is_not_acknowledged_and_is_stored_once_repeated() {
        let stage = Stage::of(Table::without_retries().await).await;

        for call in 0..3 {
            stage.table.meter.start([(call, Fault::Before)]);
            assert_eq!(stage.answer(stage.call()).await, 503, "{call}");
            stage.table.meter.stop();
        }

        assert_eq!(stage.answer(stage.call()).await, 200);
        assert_eq!(stage.texts().await, ["Hello, is the blue one in stock?"]);
    }

    #[tokio::test]
    async fn without_proof_nothing_is_read_or_stored() {
        let stage = Stage::of(Table::open().await).await;
        let call = || stage.call().header("authorization", "");
        let service = webhook_keys(SECRET).service_token();
        let service = service.expose_secret();
        let refused = [
            call(),
            call().header("authorization", "Bearer "),
            call().header("authorization", service),
            call().header("authorization", &format!("Basic {service}")),
            call().header("authorization", &format!("Bearer {service}x")),
            call().header("authorization", &format!("Bearer {SECRET}")),
            stage.call_by("another-secret-of-the-tests"),
            call().header(DIALOG360_SIGNATURE, &"0".repeat(64)),
            call().header(META_SIGNATURE, &format!("sha256={}", "0".repeat(64))),
        ];

        stage.table.meter.start([]);
        for call in refused {
            assert_eq!(stage.answer(call).await, 401);
        }
        assert_eq!(stage.answer(stage.call().text(&" ".repeat(BODY_MAX_BYTES + 1))).await, 413);
        assert_eq!(stage.answer(stage.call().method("PUT")).await, 405);

        assert_eq!(stage.table.meter.stop().calls, [""; 0]);
    }

    #[tokio::test]
    async fn scheme_of_the_token_is_taken_in_any_case() {
        let stage = Stage::of(Table::open().await).await;
        let token = webhook_keys(SECRET).service_token();

        for scheme in ["bearer", "BEARER", "Bearer "] {
            let call = stage.call().header("authorization", &format!("{scheme} {}", token.expose_secret()));
            assert_eq!(stage.answer(call).await, 200, "{scheme}");
        }
    }

    #[tokio::test]
    async fn token_stays_good_for_one_rotation() {
        let stage = Stage::of(Table::open().await).await;
        let second = "the-second-webhook-secret";

        stage.secrets.put(NAME, second).unwrap();
        assert_eq!(stage.answer(stage.call_by(second)).await, 200, "the new secret is read when it is needed");
        assert_eq!(stage.answer(stage.call_by(SECRET)).await, 200);

        stage.secrets.put(NAME, "the-third-webhook-secret").unwrap();
        let later = Webhook::new(
            webhook_secret("the-third-webhook-secret").await.0,
            SignatureSecrets::default(),
            stage.table.store(),
        );
        assert_eq!(handle(&later, stage.call_by(SECRET).request()).await.status(), 401);
    }

    #[tokio::test]
    async fn the_token_of_an_account_delivers_to_its_own_organization_only() {
        let (stage, other) = (Stage::of(Table::open().await).await, Account::whatsapp());
        let by = |account: &Account| {
            let keys = webhook_keys(SECRET);
            let token = keys.account_token(account.platform, &account.id, &account.organization);
            stage.call().header("authorization", &format!("Bearer {}", token.expose_secret()))
        };

        assert_eq!(stage.answer(by(&other)).await, 200, "it is kept in quarantine");
        assert_eq!(stage.texts().await, [""; 0]);
        assert_eq!(other.inbox(&stage.table.store()).await, []);
        assert_eq!(stage.answer(by(&stage.account)).await, 200);
        assert_eq!(stage.texts().await.len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_understood_is_kept_as_it_came_and_acknowledged() {
        let stage = Stage::of(Table::open().await).await;
        let mark = unique();
        let raw = format!("{{ no JSON, {mark}");

        assert_eq!(stage.answer(stage.call().text(&raw)).await, 200);

        let kept = stage.table.partition(&format!("QUARANTINE#{}", clock::day(clock::now_ms()))).await;
        let is_it = |raw: &[u8]| raw.ends_with(mark.as_bytes());
        let kept: Vec<_> = kept.iter().filter(|item| is_it(item["raw"].as_b().unwrap().as_ref())).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(kept[0]["raw"].as_b().unwrap().as_ref(), raw.as_bytes());
    }

    #[tokio::test]
    async fn metas_handshake_needs_the_token_and_no_table() {
        let stage = Stage::of(Table::open().await).await;
        let shake = async |mode, token| {
            let query = [("hub.mode", mode), ("hub.verify_token", token), ("hub.challenge", "1158201444")];
            let response = handle(&stage.webhook, Call::of(EVENT).method("GET").query(&query).request()).await;
            (response.status().as_u16(), String::from_utf8_lossy(response.body().as_ref()).into_owned())
        };

        stage.table.meter.start([]);
        let keys = webhook_keys(SECRET);
        let token = keys.verify_token().expose_secret();
        assert_eq!(shake("subscribe", token).await, (200, "1158201444".into()));
        let (shorter, service) = (&token[..token.len() - 1], keys.service_token());
        for (mode, token) in [
            ("subscribe", ""),
            ("subscribe", shorter),
            ("subscribe", SECRET),
            ("subscribe", service.expose_secret()),
            ("unsubscribe", token),
        ] {
            assert_eq!(shake(mode, token).await, (403, String::new()));
        }

        assert_eq!(stage.table.meter.stop().calls, [""; 0]);
    }
}
