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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use testbed::{
        call::Call,
        engine::{Fault, Table},
        given::{Account, sealed, unique},
    };

    use super::*;

    const EVENT: &str = include_str!("../../../events/receive-webhook.json");
    /// The number that the event is about.
    const NUMBER: &str = "700100200300402";
    /// The token that the event carries.
    const TOKEN: &str = "events-webhook-token";
    const SIGNATURE_SECRET: &str = "a-secret-of-the-tests";

    /// A delivery to a connected account, and everything that it takes.
    struct Stage {
        table: Table,
        account: Account,
        webhook: Webhook,
    }

    impl Stage {
        async fn of(table: Table) -> Self {
            let account = Account::whatsapp();
            account.connected(&table.store(), sealed("Y2lwaGVy"), 0).await;
            let signatures = SignatureSecrets { dialog360: Some(SIGNATURE_SECRET.into()), meta: None };
            let webhook = Webhook::new(TOKEN.into(), signatures, table.store());
            Self { table, account, webhook }
        }

        /// The event, about the account.
        fn call(&self) -> Call {
            let event: Value = serde_json::from_str(EVENT).unwrap();
            Call::of(EVENT).text(&event["body"].as_str().unwrap().replace(NUMBER, self.account.id.as_str()))
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
        let foreign = webhook_token::issue(
            &"another-secret-of-the-tests".into(),
            stage.account.platform,
            &stage.account.id,
            &stage.account.organization,
        );
        let refused = [
            call(),
            call().header("authorization", "Bearer "),
            call().header("authorization", TOKEN),
            call().header("authorization", &format!("Bearer {TOKEN}x")),
            call().header("authorization", &format!("Bearer {}", foreign.expose_secret())),
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
    async fn the_token_of_an_account_delivers_to_its_own_organization_only() {
        let (stage, other) = (Stage::of(Table::open().await).await, Account::whatsapp());
        let by = |account: &Account| {
            let token = webhook_token::issue(&TOKEN.into(), account.platform, &account.id, &account.organization);
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
        assert_eq!(shake("subscribe", TOKEN).await, (200, "1158201444".into()));
        for (mode, token) in [("subscribe", ""), ("subscribe", "events-webhook-toke"), ("unsubscribe", TOKEN)] {
            assert_eq!(shake(mode, token).await, (403, String::new()));
        }

        assert_eq!(stage.table.meter.stop().calls, [""; 0]);
    }
}
