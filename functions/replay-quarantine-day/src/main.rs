//! Invoked by whoever runs the service.

mod handler;

use lambda_runtime::{LambdaEvent, service_fn};
use shared::{http, store::Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::init_logging();
    let store = &Store::from_env().await?;
    let handle = |event: LambdaEvent<handler::ReplayQuarantineDayRequest>| async move {
        http::invoked(handler::handle(store, &event.payload, event.context.deadline).await)
    };
    lambda_runtime::run(service_fn(handle)).await
}
