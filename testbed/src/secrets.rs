//! Secrets on the Secrets Manager emulator.

use aws_sdk_secretsmanager::Client;
pub use emulator::secrets::Secrets;
use secrecy::SecretString;
use shared::{
    aws,
    secrets::{RotatingSecret, WebhookSecret},
    webhook_token::WebhookKeys,
};
use tokio::net::TcpListener;

use crate::engine::aws_at;

/// The name of the one secret.
pub const NAME: &str = "secret";

/// An emulator that keeps one secret, and a client of it.
pub async fn emulator(text: &str) -> (Client, Secrets) {
    let secrets = Secrets::in_memory();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = secrets.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    secrets.put(NAME, text).unwrap();
    (aws::secrets_manager(&aws_at(&endpoint)).unwrap(), secrets)
}

/// A secret as it is, read just now.
pub async fn secret(text: &str) -> RotatingSecret<SecretString> {
    RotatingSecret::open(&emulator(text).await.0, NAME.into(), Ok).await.unwrap()
}

/// The webhook's secret, read just now, and the emulator that keeps it.
pub async fn webhook_secret(text: &str) -> (WebhookSecret, Secrets) {
    let (client, secrets) = emulator(text).await;
    let keys = RotatingSecret::open(&client, NAME.into(), |secret| Ok(WebhookKeys::derive(&secret)?));
    (keys.await.unwrap(), secrets)
}

/// What is derived from a webhook's secret.
pub fn webhook_keys(text: &str) -> WebhookKeys {
    WebhookKeys::derive(&text.into()).unwrap()
}
