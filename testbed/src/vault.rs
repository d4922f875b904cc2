//! A vault on the KMS emulator.

use emulator::arn::KEY_ID;
pub use emulator::kms::Kms;
use shared::{aws, vault::Vault};
use tokio::net::TcpListener;

use crate::engine::aws_at;

/// A vault that remembers nothing yet, and the emulator that it asks, which counts.
pub async fn vault() -> (Vault, Kms) {
    let kms = Kms::new(&[7; 32], Vec::new());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = kms.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Vault::new(aws::kms(&aws_at(&endpoint)).unwrap(), KEY_ID), kms)
}
