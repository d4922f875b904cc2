//! A function for the rig's own tests: answers with its event, or misbehaves as its path parameter says.

use std::{collections::BTreeMap, env, process, time::Duration};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let body = match event.payload["pathParameters"]["thing"].as_str().unwrap_or_default() {
        "exit" => process::exit(3),
        "hang" => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            Value::Null
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            json!({ "pid": process::id() })
        }
        "error" => return Err("something went wrong".into()),
        "panic" => panic!("something went very wrong"),
        "nonsense" => return Ok(json!({ "statusCode": "soon" })),
        "environment" => json!(env::vars().collect::<BTreeMap<_, _>>()),
        _ => json!({ "event": event.payload, "pid": process::id() }),
    };
    Ok(json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json", "x-deadline": event.context.deadline },
        "body": body.to_string(),
    }))
}
