//! The webhook of all organizations: authenticate, parse, route, store, and only then answer 200.

use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{Method, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use shared::{
    clock,
    config::SignatureSecrets,
    delivery::{Delivery, Owners},
    dialog360::signature,
    http,
    inbound::Misfits,
    metrics,
    store::Store,
    webhook_token::{self, Proof},
};
use subtle::ConstantTimeEq;
use tracing::error;

const PATH: &str = "/api/v1/webhooks/360dialog";
const BODY_MAX_BYTES: usize = 4 * 1024 * 1024;
const DIALOG360_SIGNATURE: &str = "x-360dialog-signature";
const META_SIGNATURE: &str = "x-hub-signature-256";
/// What the webhook takes.
pub(crate) struct Webhook {
    token: SecretString,
    signatures: SignatureSecrets,
    store: Store,
    owners: Owners,
}

impl Webhook {
    pub(crate) fn new(token: SecretString, signatures: SignatureSecrets, store: Store) -> Self {
        Self { token, signatures, store, owners: Owners::default() }
    }
}

pub(crate) async fn handle(webhook: &Webhook, request: Request) -> Response<Body> {
    if request.raw_http_path().trim_end_matches('/') != PATH {
        return empty(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => handshake(webhook, &request),
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
fn handshake(webhook: &Webhook, request: &Request) -> Response<Body> {
    let query = |name| http::query_parameter(request, name);
    let token = query("hub.verify_token").unwrap_or_default();
    let is_ours = bool::from(token.as_bytes().ct_eq(webhook.token.expose_secret().as_bytes()));
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
    let Some(proof) = authenticate(webhook, request, body) else { return empty(StatusCode::UNAUTHORIZED) };
    let now_us = clock::now_us();
    let (store, owners) = (&webhook.store, &webhook.owners);
    let misfits = &Misfits::Quarantine(&proof);
    let delivery = Delivery { store, owners, proof: &proof, now_us, misfits, only_for: None };
    let received = delivery.receive(body, now_us / 1000).await;
    metrics::delivery(&received, received.oldest_ms.map(|oldest_ms| clock::now_ms() - oldest_ms));
    let failed = received.counts.failed;
    if failed > 0 {
        error!(failed, "a delivery was not stored whole: {failed} events have to come again");
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    empty(StatusCode::OK)
}

/// What a delivery proves before its body is read: by bearer token, or by signature where a secret for one is configured.
fn authenticate(webhook: &Webhook, request: &Request, body: &[u8]) -> Option<Proof> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(token) = header(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "))
        && let Some(proof) = webhook_token::verify(&webhook.token, token.trim())
    {
        return Some(proof);
    }
    let signed = [(DIALOG360_SIGNATURE, &webhook.signatures.dialog360), (META_SIGNATURE, &webhook.signatures.meta)];
    let is_signed = signed.into_iter().any(|(name, secret)| match (header(name), secret) {
        (Some(signature), Some(secret)) => signature::is_valid(secret.expose_secret().as_bytes(), body, signature),
        _ => false,
    });
    is_signed.then_some(Proof::Global)
}
