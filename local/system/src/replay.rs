//! `local -- replay`: runs the function that receives again what a day left in quarantine, against any table.

use std::{collections::BTreeMap, env, fs, path::Path, time::Duration};

use axum::{body::Bytes, http::Request};
use client::Client;
use emulator::{cloudwatch::CloudWatch, lambda::Lambda, template::Function};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    listen::{address, private_listener, serve},
    start::{self, Options},
    state,
};

const FUNCTION: &str = "replay-quarantine-day";
/// As in the template.
const TIME_LIMIT: Duration = Duration::from_mins(15);
/// A system on this machine tells at once where its table is.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// What to replay, and where.
#[derive(Debug, Clone)]
pub struct Replay {
    /// `2026-11-23`, UTC.
    pub day: String,
    /// Only what is there for this reason.
    pub reason: Option<String>,
    /// Only what is about this account: `<platform>/<account id>`.
    pub account: Option<String>,
    /// Counts what waits, and receives nothing.
    pub dry_run: bool,
    /// Takes what another organization's token brought for the account as the provider's own word; only counts it without
    /// `token_of`.
    pub trust_tokens: bool,
    /// Confirms whose tokens are trusted.
    pub token_of: Option<String>,
    /// Where `DynamoDB` is; on AWS, where a table is given and no endpoint.
    pub endpoint: Option<String>,
    /// The table; that of the system that runs on this machine, where none is given.
    pub table: Option<String>,
}

/// How many entries came to what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Have found their place.
    pub replayed: u64,
    /// Stay in quarantine.
    pub stay: u64,
    /// Could not be read or stored now.
    pub failed: u64,
    /// Of a dry run: what waits, as the function tells it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Value>,
    /// The organization that has the account now.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub receiver: Value,
}

/// Replays to the end of the day.
///
/// # Errors
/// When the function cannot be run, or fails.
pub async fn run(replay: &Replay, options: &Options, say: impl Fn(&str)) -> Result<Tally> {
    let environment = environment(replay, options.port).await?;
    let function = Function {
        name: FUNCTION.to_owned(),
        memory_mb: 256,
        timeout: TIME_LIMIT,
        reserved: None,
        json_logs: true,
        log_level: None,
        environment,
        schedule: None,
        stream: None,
        statements: Vec::new(),
    };
    let binary = start::find_binary(options, FUNCTION, &say).await?;
    let logs = options.data.join(state::LOGS_FOLDER);
    let cannot_write = |source| Error::File { action: "write", path: logs.clone(), source };
    fs::create_dir_all(&logs).map_err(cannot_write)?;
    let listener = private_listener("the Lambda Runtime API")?;
    let runtime_api = address(&listener)?;
    let nobody_watches = CloudWatch::default();
    let lambda =
        Lambda::new(&[(function, binary)], None, &runtime_api, &BTreeMap::new(), &logs, false, &nobody_watches)
            .map_err(cannot_write)?;
    serve(listener, lambda.runtime_api())?;
    let tally = to_the_end(replay, &lambda, &logs).await;
    lambda.stop().await;
    tally
}

async fn to_the_end(replay: &Replay, lambda: &Lambda, logs: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut after = Value::Null;
    let account = match replay.account.as_deref().map(|account| account.split_once('/')) {
        None => Value::Null,
        Some(Some((platform, id))) => json!({ "platform": platform, "accountId": id }),
        Some(None) => {
            return Err(Error::Setting("--account is PLATFORM/ID, such as whatsapp/700100200300402".to_owned()));
        }
    };
    loop {
        let event = json!({
            "day": replay.day, "reason": replay.reason, "account": account, "after": after,
            "dryRun": replay.dry_run, "trustTokens": replay.trust_tokens, "tokenOf": replay.token_of,
        });
        let answer = lambda.invoke(FUNCTION, event.to_string().into_bytes()).await.map_err(|failure| {
            Error::Setting(format!("{failure}; see {}", logs.join(format!("{FUNCTION}.log")).display()))
        })?;
        let mut answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let count = |name: &str| answer[name].as_u64().unwrap_or_default();
        tally.replayed += count("replayed");
        tally.stay += count("stay");
        tally.failed += count("failed");
        if let Value::Array(waiting) = answer["waiting"].take() {
            tally.waiting.extend(waiting);
        }
        tally.receiver = answer["receiver"].take();
        after = answer["next"].take();
        if after.is_null() {
            return Ok(tally);
        }
    }
}

/// What the function is told: the table, and on AWS the credentials of whoever calls.
async fn environment(replay: &Replay, port: u16) -> Result<BTreeMap<String, String>> {
    let (endpoint, table) = match (&replay.endpoint, &replay.table) {
        (None, None) => {
            let (endpoint, table) = running(port).await?;
            (Some(endpoint), table)
        }
        (Some(_), None) => return Err(Error::Setting("--endpoint needs --table NAME, too".to_owned())),
        (endpoint, Some(table)) => (endpoint.clone(), table.clone()),
    };
    let mut environment = BTreeMap::from([("TABLE_NAME".to_owned(), table)]);
    let credentials = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let given = credentials.map(|name| (name, env::var(name).ok().filter(|value| !value.is_empty())));
    if let Some(endpoint) = endpoint {
        environment.insert("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), endpoint);
    } else {
        if let Some((name, _)) = given[..3].iter().find(|(_, value)| value.is_none()) {
            let problem = format!(
                "{name} is not set: for a table on AWS give region and credentials in the environment, such as with \
                 `eval $(aws configure export-credentials --format env)`"
            );
            return Err(Error::Setting(problem));
        }
        // The emulator's own would be sent otherwise.
        environment.insert("AWS_SESSION_TOKEN".to_owned(), String::new());
    }
    environment.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(environment)
}

/// Endpoint and table of the system that runs on this machine.
async fn running(port: u16) -> Result<(String, String)> {
    let url = format!("http://127.0.0.1:{port}/local/endpoints");
    let nobody = || {
        let problem = format!("nothing runs at {url}: start the system, or give --table NAME and --endpoint URL");
        Error::Setting(problem)
    };
    let request = Request::get(&url).body(Bytes::new()).map_err(|_| nobody())?;
    let answer = Client::default().send(request, ASK_LIMIT).await.map_err(|_| nobody())?;
    let endpoints: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let text = |name: &str| endpoints[name].as_str().map(str::to_owned).ok_or_else(nobody);
    Ok((text("dynamodb")?, text("table")?))
}
