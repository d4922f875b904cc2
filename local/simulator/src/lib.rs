//! A stand-in for 360dialog (and Meta's Graph API): checks keys, accepts messages, reports statuses, lets you write as a customer.
//!
//! Any key `sim_<platform>_<account id>` speaks for that account; others get 401. A key that is generated (`…~1`, `…~2`) revokes
//! the ones before it. It knows nothing of the rest of this crate's
//! system: it delivers to whatever URL was registered with it.

mod control;
mod faults;
mod inbound;
mod messages;
mod page;
mod payloads;
mod provider;
mod threads;
mod webhooks;

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use emulator::{connection, event::epoch_millis};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use control::Settings;
use faults::Fault;
use messages::Sent;
use threads::Threads;
use webhooks::Webhooks;

/// Meta delivers bodies of up to 3 MB; tests want to deliver more.
const BODY_LIMIT_BYTES: usize = 32 << 20;

/// Where an account lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Platform {
    Whatsapp,
    Instagram,
    Facebook,
}

/// One number, Instagram account or page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Account {
    platform: Platform,
    id: String,
}

/// The simulator; clones share everything.
#[derive(Debug, Clone)]
pub struct Simulator {
    webhooks: Arc<Webhooks>,
    state: Arc<Mutex<Memory>>,
}

/// What does not survive a restart.
#[derive(Debug, Default)]
struct Memory {
    faults: Vec<Fault>,
    settings: Settings,
    sent: Vec<Sent>,
    threads: Threads,
    /// How many keys were generated for an account: only the last one is valid.
    generated_keys: BTreeMap<Account, u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> i64 {
    epoch_millis(OffsetDateTime::now_utc())
}

impl Platform {
    fn name(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Facebook => "facebook",
        }
    }
}

impl Account {
    /// The account that a key was made for, and how many were made for it before.
    fn of_key(key: &str) -> Option<(Self, u64)> {
        let (platform, id) = key.strip_prefix("sim_")?.split_once('_')?;
        let platform = [Platform::Whatsapp, Platform::Instagram, Platform::Facebook]
            .into_iter()
            .find(|known| known.name() == platform)?;
        let (id, generation) = match id.split_once('~') {
            Some((id, generation)) => (id, generation.parse().ok()?),
            None => (id, 0),
        };
        (!id.is_empty()).then(|| (Self { platform, id: id.to_owned() }, generation))
    }
}

impl Simulator {
    /// A simulator whose registrations and undelivered updates are kept in `file`. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(file: &Path) -> io::Result<Self> {
        Ok(Self { webhooks: Webhooks::open(file)?, state: Arc::default() })
    }

    /// Serves on `listener`.
    ///
    /// # Errors
    /// When the listener is unusable.
    pub fn serve(&self, listener: TcpListener) -> io::Result<()> {
        connection::serve(listener, self.router(), "the provider simulator")
    }

    /// Keeps what is not delivered yet.
    pub fn stop(&self) {
        self.webhooks.save();
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/health_status", get(provider::health_status))
            .route("/v1/configs/webhook", get(provider::read_webhook).post(provider::register_webhook))
            .route("/messages", post(provider::send_whatsapp))
            .route("/instagram/{account}/messages", post(provider::send_instagram))
            .route("/messenger/{account}/messages", post(provider::send_messenger))
            .route("/{version}/me", get(provider::page_me))
            .route("/{version}/me/messages", post(provider::send_by_page))
            .route("/graph.instagram.com/{version}/me", get(provider::instagram_me))
            .route("/graph.instagram.com/{version}/me/messages", post(provider::send_by_instagram))
            .route("/simulate/inbound", post(control::simulate_inbound))
            .route("/simulate/accounts", get(control::simulate_accounts))
            .route("/simulate/thread", get(control::simulate_thread))
            .route("/simulate/fault", get(faults::read_faults).post(faults::simulate_fault))
            .route("/simulate/key", post(control::simulate_key))
            .route("/simulate/sent", get(control::simulate_sent))
            .route("/simulate/status", post(control::simulate_status))
            .route("/simulate/settings", get(control::read_settings).post(control::simulate_settings))
            .route("/simulate/undelivered", get(control::undelivered))
            .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
            .with_state(self.clone())
            .merge(page::router())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_speaks_for_its_account_only() {
        let (account, _) = Account::of_key("sim_whatsapp_700100200300402").unwrap();
        assert_eq!((account.platform, account.id.as_str()), (Platform::Whatsapp, "700100200300402"));
        assert_eq!(Account::of_key("sim_whatsapp_700100200300402~2"), Some((account, 2)));
        for key in
            ["", "sim_whatsapp_", "sim_whatsapp_~1", "sim_whatsapp_1~x", "sim_telegram_1", "whatsapp_1", "sim_whatsapp"]
        {
            assert_eq!(Account::of_key(key), None, "{key}");
        }
    }
}
