//! A function behind the Function URL, for the rig's own tests: refuses what asks to be refused, and repeats the rest.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let refuse = event.payload["headers"]["x-refuse"].is_string();
    Ok(json!({ "statusCode": if refuse { 503 } else { 200 }, "body": event.payload.to_string() }))
}
