//! The webhook of all organizations: authenticate, parse, route, store, and only then answer 200.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{Method, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use shared::{
    Result, clock,
    config::SignatureSecrets,
    dialog360::{signature, webhook::parse},
    event::{Event, EventKind},
    http,
    id::AccountId,
    inbound::{Counts, Inbound, quarantine},
    platform::Platform,
    store::{Owner, OwnerStatus, Store},
    webhook_token::{self, Proof},
};
use subtle::ConstantTimeEq;
use tracing::{error, info, warn};

const PATH: &str = "/api/v1/webhooks/360dialog";
const BODY_MAX_BYTES: usize = 4 * 1024 * 1024;
const DIALOG360_SIGNATURE: &str = "x-360dialog-signature";
const META_SIGNATURE: &str = "x-hub-signature-256";
/// How many accounts of one delivery are worked on at once.
const ACCOUNTS: usize = 8;
/// How many events are put into quarantine at once.
const PUTS: usize = 32;
/// How long an account's owner is believed without being asked for again.
const OWNER_FOR: Duration = Duration::from_mins(1);
/// How many owners are remembered.
const OWNERS_MAX: usize = 10_000;

/// What the webhook takes.
pub(crate) struct Webhook {
    token: SecretString,
    signatures: SignatureSecrets,
    store: Store,
    owners: Mutex<HashMap<(Platform, AccountId), (Owner, Instant)>>,
}

impl Webhook {
    pub(crate) fn new(token: SecretString, signatures: SignatureSecrets, store: Store) -> Self {
        Self { token, signatures, store, owners: Mutex::default() }
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
    let counts = store(webhook, &proof, body, clock::now_us()).await;
    let Counts { stored, duplicates, quarantined, ignored, failed } = counts;
    if failed > 0 {
        error!(
            stored,
            duplicates,
            quarantined,
            ignored,
            failed,
            "a delivery was not stored whole: {failed} events have to come again"
        );
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    info!(stored, duplicates, quarantined, ignored, "stored a delivery");
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

async fn store(webhook: &Webhook, proof: &Proof, body: &[u8], arrived_us: i64) -> Counts {
    let now_ms = arrived_us / 1000;
    let events = match parse(body, now_ms) {
        Ok(events) => events,
        Err(reason) => {
            let account = match proof {
                Proof::Account { platform, account, .. } => Some((*platform, account)),
                Proof::Global => None,
            };
            let (platform, account) = account.unzip();
            return or_failed(quarantine(&webhook.store, platform, account, body, &reason.to_string(), now_ms).await);
        }
    };
    let mut counts = Counts::default();
    let mut by_account: BTreeMap<(Platform, AccountId), Vec<Event>> = BTreeMap::new();
    let mut homeless = Vec::new();
    for event in events {
        match (account_of(&event, proof), &event.kind) {
            (Some(account), _) => by_account.entry((event.platform, account)).or_default().push(event),
            // News of a whole business account names no number: nothing for a conversation.
            (None, EventKind::Notice { what }) => {
                info!(what, "noticed {what}");
                counts.ignored += 1;
            }
            (None, EventKind::Unknown { reason }) => homeless.push((*reason, event)),
            (None, _) => homeless.push(("no account named", event)),
        }
    }
    let mut accounts = stream::iter(by_account)
        .map(|((platform, account), events)| store_of_account(webhook, proof, platform, account, events, arrived_us))
        .buffer_unordered(ACCOUNTS);
    while let Some(outcome) = accounts.next().await {
        counts += outcome;
    }
    counts += keep(webhook, homeless, now_ms).await;
    counts
}

/// The account that an event is about: its own word, or the token's where an old flat body names none.
fn account_of(event: &Event, proof: &Proof) -> Option<AccountId> {
    match (&event.account, proof) {
        (Some(account), _) => Some(account.clone()),
        (None, Proof::Account { platform, account, .. }) if *platform == event.platform => Some(account.clone()),
        (None, _) => None,
    }
}

async fn store_of_account(
    webhook: &Webhook,
    proof: &Proof,
    platform: Platform,
    account: AccountId,
    events: Vec<Event>,
    now_us: i64,
) -> Counts {
    let account = &account;
    let owner = match owner(webhook, proof, platform, account).await {
        Ok(owner) => owner,
        Err(error) => {
            error!("the owner of an account is not known now: {}", http::causes(&error));
            return Counts { failed: events.len(), ..Counts::default() };
        }
    };
    let refused = match &owner {
        None => Some("account of no organization"),
        Some(owner) if !covers(proof, owner) => Some("token of another organization"),
        Some(_) => None,
    };
    let (Some(owner), None) = (owner, refused) else {
        let reason = refused.unwrap_or_default();
        return keep(webhook, events.into_iter().map(|event| (reason, event)).collect(), now_us / 1000).await;
    };
    if owner.status == OwnerStatus::Disconnected {
        warn!(metric = "disconnected", count = events.len(), %platform, "a disconnected integration still receives");
        return Counts { ignored: events.len(), ..Counts::default() };
    }
    let inbound = Inbound { store: &webhook.store, organization: &owner.organization_id, platform, account, now_us };
    let counts = inbound.apply(events).await;
    if !owner.webhook_verified && owner.status == OwnerStatus::Connected {
        verified(webhook, &owner, platform, account).await;
    }
    counts
}

/// The first authentic delivery proves that the webhook works. Only a hint for the admin: a failure costs nothing else.
async fn verified(webhook: &Webhook, owner: &Owner, platform: Platform, account: &AccountId) {
    match webhook.store.mark_webhook_verified(&owner.organization_id, platform, account).await {
        Ok(()) => remember(webhook, platform, account, Owner { webhook_verified: true, ..owner.clone() }),
        Err(error) => warn!("a webhook was not marked as verified: {}", http::causes(&error)),
    }
}

/// Whether what the delivery proves covers the owner's accounts: the global token all, an account's token those of its organization.
/// One API key may serve several platforms and has one webhook: the token that was registered last comes with all of them.
fn covers(proof: &Proof, owner: &Owner) -> bool {
    match proof {
        Proof::Global => true,
        Proof::Account { organization, .. } => *organization == owner.organization_id,
    }
}

/// Who owns an account. Remembered for a minute, but only where the token names the same organization: an account that has just
/// changed hands must not deliver to its former owner. A disconnected one is not remembered: it would lose what comes right after
/// it was connected again.
async fn owner(webhook: &Webhook, proof: &Proof, platform: Platform, account: &AccountId) -> Result<Option<Owner>> {
    let remembered = webhook.owners.lock().ok().and_then(|owners| {
        let (owner, since) = owners.get(&(platform, account.clone()))?;
        (since.elapsed() < OWNER_FOR).then(|| owner.clone())
    });
    if let (Some(owner), Proof::Account { .. }) = (remembered, proof)
        && covers(proof, &owner)
    {
        return Ok(Some(owner));
    }
    let owner = webhook.store.owner_of_account(platform, account).await?;
    if let Some(owner) = owner.clone().filter(|owner| owner.status == OwnerStatus::Connected) {
        remember(webhook, platform, account, owner);
    }
    Ok(owner)
}

fn remember(webhook: &Webhook, platform: Platform, account: &AccountId, owner: Owner) {
    if let Ok(mut owners) = webhook.owners.lock() {
        if owners.len() >= OWNERS_MAX {
            owners.clear();
        }
        owners.insert((platform, account.clone()), (owner, Instant::now()));
    }
}

/// Keeps events that have no place, each with its reason.
async fn keep(webhook: &Webhook, events: Vec<(&'static str, Event)>, now_ms: i64) -> Counts {
    let kept: Vec<_> = events
        .into_iter()
        .map(|(reason, event)| async move {
            let raw = event.raw.to_string();
            let account = event.account.as_ref();
            quarantine(&webhook.store, Some(event.platform), account, raw.as_bytes(), reason, now_ms).await
        })
        .collect();
    let mut kept = stream::iter(kept).buffer_unordered(PUTS);
    let mut counts = Counts::default();
    while let Some(outcome) = kept.next().await {
        counts += or_failed(outcome);
    }
    counts
}

fn or_failed(outcome: Result<Counts>) -> Counts {
    outcome.unwrap_or_else(|error| {
        error!("quarantine did not take it: {}", http::causes(&error));
        Counts { failed: 1, ..Counts::default() }
    })
}
