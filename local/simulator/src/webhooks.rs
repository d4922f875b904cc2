//! Registered webhooks, and deliveries that are repeated until they are answered with 200.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, Request, Uri},
};
use client::Client;
use emulator::files::write_private;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, oneshot},
    task::spawn_blocking,
    time::sleep,
};

use super::{Account, locked, now_ms};

/// 360dialog waits no longer for an answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The first wait between two attempts; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// After this an update is lost, as at 360dialog.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// Changes of the queue are written together.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// Meta's limit for webhook URLs.
const URL_LIMIT: usize = 200;

/// What an account registered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Registration {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Registrations and the queue, and the file that they are kept in.
#[derive(Debug)]
pub(super) struct Webhooks {
    file: PathBuf,
    client: Client,
    kept: Mutex<Kept>,
    changed: Notify,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    registrations: Vec<(Account, Registration)>,
    queue: BTreeMap<u64, Delivery>,
    /// Ids are never used twice.
    next_id: u64,
}

/// An update on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    account: Account,
    body: String,
    attempts: u32,
    created_at_ms: i64,
    due_at_ms: i64,
}

/// Tells the status of the first attempt; `None` when nobody answered.
pub(super) type FirstAttempt = oneshot::Receiver<Option<u16>>;

impl Registration {
    /// Whether 360dialog would take it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let uri = self.url.parse::<Uri>().map_err(|_| "url is not a URL")?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() || self.url.len() > URL_LIMIT {
            return Err("url must be an http or https URL of at most 200 characters");
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err("headers must have valid names and values");
            }
        }
        Ok(())
    }

    fn request(&self, body: &str) -> Result<Request<Bytes>, axum::http::Error> {
        let mut request = Request::post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Bytes::from(body.to_owned()))
    }
}

impl Webhooks {
    /// What the file keeps; deliveries go on where they were.
    pub(super) fn open(file: &Path) -> io::Result<Arc<Self>> {
        let kept: Kept = match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        let ids: Vec<u64> = kept.queue.keys().copied().collect();
        let webhooks = Arc::new(Self {
            file: file.to_owned(),
            client: Client::default(),
            kept: Mutex::new(kept),
            changed: Notify::new(),
        });
        for id in ids {
            tokio::spawn(Arc::clone(&webhooks).run(id, None));
        }
        tokio::spawn(Arc::clone(&webhooks).save_changes());
        Ok(webhooks)
    }

    pub(super) fn registration(&self, account: &Account) -> Option<Registration> {
        let kept = locked(&self.kept);
        let found = kept.registrations.iter().find(|(registered, _)| registered == account);
        found.map(|(_, registration)| registration.clone())
    }

    /// Replaces the account's registration; it is kept before this returns.
    pub(super) fn register(&self, account: &Account, registration: Registration) -> io::Result<()> {
        let mut kept = locked(&self.kept);
        match kept.registrations.iter_mut().find(|(registered, _)| registered == account) {
            Some((_, registered)) => *registered = registration,
            None => kept.registrations.push((account.clone(), registration)),
        }
        write_private(&self.file, &serde_json::to_vec(&*kept)?)
    }

    /// Queues an update, due after `delay`; `None` where the account has no webhook.
    pub(super) fn deliver(self: &Arc<Self>, account: &Account, body: String, delay: Duration) -> Option<FirstAttempt> {
        self.registration(account)?;
        let now = now_ms();
        let id = {
            let mut kept = locked(&self.kept);
            kept.next_id += 1;
            let id = kept.next_id;
            let delivery = Delivery {
                account: account.clone(),
                body,
                attempts: 0,
                created_at_ms: now,
                due_at_ms: now + millis(delay),
            };
            kept.queue.insert(id, delivery);
            id
        };
        self.changed.notify_one();
        let (first, attempt) = oneshot::channel();
        tokio::spawn(Arc::clone(self).run(id, Some(first)));
        Some(attempt)
    }

    /// The accounts that have a webhook, in the order of their first registration.
    pub(super) fn accounts(&self) -> Vec<Account> {
        locked(&self.kept).registrations.iter().map(|(account, _)| account.clone()).collect()
    }

    /// Whether an update that names this message waits.
    pub(super) fn is_waiting(&self, account: &Account, id: &str) -> bool {
        let kept = locked(&self.kept);
        kept.queue.values().any(|delivery| delivery.account == *account && delivery.body.contains(id))
    }

    /// Updates that wait for their first or next attempt.
    pub(super) fn undelivered(&self) -> Vec<Delivery> {
        locked(&self.kept).queue.values().cloned().collect()
    }

    /// Attempts one delivery until it succeeds, is too old, or its account has no webhook any more.
    async fn run(self: Arc<Self>, id: u64, mut first: Option<oneshot::Sender<Option<u16>>>) {
        loop {
            let Some(delivery) = locked(&self.kept).queue.get(&id).cloned() else { return };
            sleep(Duration::from_millis(u64::try_from(delivery.due_at_ms - now_ms()).unwrap_or_default())).await;
            let status = match self.registration(&delivery.account) {
                Some(registration) => self.attempt(&registration, &delivery.body).await,
                None => Some(200),
            };
            if let Some(first) = first.take() {
                // Nobody waits for the first attempt of a status.
                first.send(status).unwrap_or_default();
            }
            let mut kept = locked(&self.kept);
            let is_too_old = now_ms() - delivery.created_at_ms > millis(KEPT);
            if status == Some(200) || is_too_old {
                kept.queue.remove(&id);
            } else if let Some(delivery) = kept.queue.get_mut(&id) {
                delivery.due_at_ms = now_ms() + millis(wait_after(delivery.attempts));
                delivery.attempts += 1;
            }
            drop(kept);
            self.changed.notify_one();
        }
    }

    async fn attempt(&self, registration: &Registration, body: &str) -> Option<u16> {
        let answer = self.client.send(registration.request(body).ok()?, TIME_LIMIT).await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    async fn save_changes(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            sleep(SAVE_EVERY).await;
            let webhooks = Arc::clone(&self);
            if let Err(error) = spawn_blocking(move || webhooks.save()).await {
                eprintln!("the provider simulator cannot keep its queue: {error}");
            }
        }
    }

    pub(super) fn save(&self) {
        let kept = locked(&self.kept);
        let written = serde_json::to_vec(&*kept).map_err(io::Error::from);
        // The lock is held while writing, so that an older state never replaces a newer one.
        if let Err(error) = written.and_then(|bytes| write_private(&self.file, &bytes)) {
            eprintln!("the provider simulator cannot keep its queue: {error}");
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The wait after a failed attempt, of which there were `attempts` before.
fn wait_after(attempts: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts)).min(LAST_WAIT)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use axum::{Router, extract::State, http::StatusCode, routing::post};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Platform;

    fn account() -> Account {
        Account { platform: Platform::Whatsapp, id: "1001".to_owned() }
    }

    /// A webhook that answers with the status in `answer`, once the right header is there.
    async fn webhook(answer: Arc<AtomicU16>) -> Registration {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let handler = |State(answer): State<Arc<AtomicU16>>, headers: axum::http::HeaderMap| async move {
            assert_eq!(headers["authorization"], "Bearer x");
            StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap()
        };
        let router = Router::new().route("/in", post(handler)).with_state(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Registration { url, headers: BTreeMap::from([("authorization".to_owned(), "Bearer x".to_owned())]) }
    }

    #[tokio::test]
    async fn a_delivery_is_repeated_until_it_is_answered_with_200() {
        let folder = tempfile::tempdir().unwrap();
        let answer = Arc::new(AtomicU16::new(503));
        let webhooks = Webhooks::open(&folder.path().join("simulator.json")).unwrap();
        webhooks.register(&account(), webhook(Arc::clone(&answer)).await).unwrap();

        let first = webhooks.deliver(&account(), "{}".to_owned(), Duration::ZERO).unwrap();

        assert_eq!(first.await.unwrap(), Some(503));
        answer.store(200, Ordering::SeqCst);
        let started = std::time::Instant::now();
        while !webhooks.undelivered().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(10), "not delivered");
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn registrations_and_the_queue_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("simulator.json");
        let answer = Arc::new(AtomicU16::new(500));
        let webhooks = Webhooks::open(&file).unwrap();
        let registration = webhook(Arc::clone(&answer)).await;
        webhooks.register(&account(), registration.clone()).unwrap();
        webhooks.deliver(&account(), "{}".to_owned(), Duration::ZERO).unwrap().await.unwrap();
        webhooks.save();

        let again = Webhooks::open(&file).unwrap();

        assert_eq!(again.registration(&account()), Some(registration));
        assert_eq!(again.undelivered().len(), 1);
    }

    #[tokio::test]
    async fn an_account_without_a_webhook_hears_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let webhooks = Webhooks::open(&folder.path().join("simulator.json")).unwrap();

        assert!(webhooks.deliver(&account(), "{}".to_owned(), Duration::ZERO).is_none());
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let waits: Vec<u64> = (0..8).map(|attempts| wait_after(attempts).as_secs()).collect();

        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(wait_after(u32::MAX), LAST_WAIT);
    }

    #[test]
    fn only_web_addresses_are_registered() {
        for url in
            ["", "hooks.example.com", "ftp://example.com/x", "http://", &format!("https://e.com/{}", "x".repeat(200))]
        {
            let registration = Registration { url: url.to_owned(), headers: BTreeMap::new() };
            assert!(registration.check().is_err(), "{url}");
        }
        let registration = Registration { url: "https://hooks.example.com/in".to_owned(), headers: BTreeMap::new() };
        assert!(registration.check().is_ok());
    }
}
