//! Invoked with what the table's stream tells.

mod handler;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use shared::{http, store::Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::init_logging();
    let store = &Store::from_env().await?;
    let handle =
        |event: LambdaEvent<Value>| async move { http::invoked(Ok(handler::handle(store, &event.payload).await)) };
    lambda_runtime::run(service_fn(handle)).await
}
