//! Runs functions as Lambda does: one process per environment, one request at a time in each, behind a Runtime API.

mod logs;
mod pool;
mod process;
mod runtime_api;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use axum::body::Bytes;
use serde_json::json;
use tokio::{sync::Semaphore, time::sleep};

use self::{logs::FunctionLog, pool::Pool};
use crate::{arn::REGION, cloudwatch::CloudWatch, template::Function, watchdog::Watchdog};

/// What a process may take until it first asks for work.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How many environments the function behind the Function URL may have.
pub const WEBHOOK_ENVIRONMENTS: usize = 8;
/// How many any other function may have.
pub const ENVIRONMENTS: usize = 4;

/// Every function, ready to be invoked.
#[derive(Debug)]
pub struct Lambda {
    pools: BTreeMap<String, Arc<Pool>>,
}

/// Why an invocation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The function reported an error.
    #[error("the function reported an error: {0}")]
    Function(String),
    /// The function's time was up.
    #[error("Task timed out after {:.2} seconds", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The process never asked for work.
    #[error("the process did not ask for work within {} seconds", INIT_LIMIT.as_secs())]
    Init,
    /// The process ended.
    #[error("the process ended ({0}) before it answered")]
    Exited(String),
    /// The process could not be started.
    #[error("cannot start the process: {0}")]
    Spawn(#[from] io::Error),
    /// More invocations at once than are reserved for the function.
    #[error("Rate Exceeded.")]
    Throttled,
    /// The rig is stopping, or there is no such function.
    #[error("the function is not available")]
    Unavailable,
}

/// What a process of a function looks like now.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// The function.
    pub function: String,
    /// The process.
    pub pid: u32,
    /// From starting the process to its first request for work.
    pub spawn_to_first_poll_ms: Option<f64>,
    /// How many requests it was given.
    pub invocations: u64,
    /// Memory in use now.
    pub rss_kb: Option<u64>,
    /// The most memory that was in use.
    pub peak_rss_kb: Option<u64>,
    /// Processor time used.
    pub cpu_ms: Option<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lambda {
    /// Prepares the functions; nothing is started until it is needed.
    /// `shared` are the variables that Lambda sets for all of them; a `quiet` one shows nothing of the logs on the terminal.
    /// What functions do and log moves the metrics of `cloudwatch`.
    ///
    /// # Errors
    /// When a log cannot be opened, or the shell that watches over the processes cannot be run.
    pub fn new(
        functions: &[(Function, PathBuf)],
        webhook: Option<&str>,
        runtime_api: &str,
        shared: &BTreeMap<String, String>,
        logs: &Path,
        quiet: bool,
        cloudwatch: &CloudWatch,
    ) -> io::Result<Arc<Self>> {
        let watchdog = Arc::new(Watchdog::start()?);
        let mut pools = BTreeMap::new();
        for (function, binary) in functions {
            let environments = if webhook == Some(&function.name) { WEBHOOK_ENVIRONMENTS } else { ENVIRONMENTS };
            let pool = Pool {
                environment: variables(function, shared),
                function: function.clone(),
                binary: binary.clone(),
                runtime_api: runtime_api.to_owned(),
                log: FunctionLog::open(&function.name, logs, quiet)?,
                cloudwatch: cloudwatch.clone(),
                watchdog: Arc::clone(&watchdog),
                reserved: Mutex::new(function.reserved.map(|executions| Arc::new(Semaphore::new(executions)))),
                slots: Semaphore::new(environments),
                idle: Mutex::default(),
                alive: Mutex::default(),
                spawned: AtomicU64::new(0),
            };
            pools.insert(function.name.clone(), Arc::new(pool));
        }
        Ok(Arc::new(Self { pools }))
    }

    /// Invokes a function with an event and returns its answer. Once begun, it runs to its end, whoever waits for it.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn invoke(&self, function: &str, payload: Vec<u8>) -> Result<Bytes, Failure> {
        let pool = Arc::clone(self.pools.get(function).ok_or(Failure::Unavailable)?);
        let invocation = tokio::spawn(async move { pool.invoke(payload.into()).await });
        invocation.await.unwrap_or(Err(Failure::Unavailable))
    }

    /// Invokes the functions that have a schedule, each time that it comes round, until the rig ends.
    pub fn run_schedules(self: &Arc<Self>) {
        for pool in self.pools.values() {
            let (Some(period), name) = (pool.function.schedule, pool.function.name.clone()) else { continue };
            let lambda = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    sleep(period).await;
                    let Some(lambda) = lambda.upgrade() else { return };
                    if let Err(failure) = lambda.invoke(&name, json!({}).to_string().into_bytes()).await {
                        eprintln!("[{name}] ERROR the scheduled run failed: {failure}");
                    }
                }
            });
        }
    }

    /// Every process that runs now.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let pools = self.pools.values();
        pools.flat_map(|pool| pool.environments().into_iter().map(|environment| environment.process(pool))).collect()
    }

    /// Kills every process of a function; `None` when there is no such function.
    #[must_use]
    pub fn kill(&self, function: &str) -> Option<usize> {
        let pool = self.pools.get(function)?;
        // What comes now must not be given to a process that is about to die.
        locked(&pool.idle).clear();
        let environments = pool.environments();
        for environment in &environments {
            environment.kill.notify_one();
        }
        Some(environments.len())
    }

    /// Reserves concurrency for a function, or lifts the reservation: of the invocations that begin from now on, those beyond it are
    /// throttled. `None` when there is no such function.
    #[must_use]
    pub fn reserve(&self, function: &str, concurrency: Option<usize>) -> Option<()> {
        let pool = self.pools.get(function)?;
        *locked(&pool.reserved) = concurrency.map(|permits| Arc::new(Semaphore::new(permits)));
        Some(())
    }

    /// Kills every process and waits until they are gone.
    pub async fn stop(&self) {
        for pool in self.pools.values() {
            pool.slots.close();
            for environment in pool.environments() {
                environment.kill.notify_one();
                environment.exited().await;
            }
        }
    }
}

/// The variables that Lambda gives a function.
fn variables(function: &Function, shared: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("_HANDLER", "bootstrap".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        // Tells whose a call is: see `iam`.
        ("AWS_ACCESS_KEY_ID", function.name.clone()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_SESSION_TOKEN", "local".to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", if function.json_logs { "JSON" } else { "Text" }.to_owned()),
    ]);
    variables.extend(function.log_level.clone().map(|level| ("AWS_LAMBDA_LOG_LEVEL", level)));
    let mut variables: BTreeMap<_, _> = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    variables.extend(shared.clone());
    variables.extend(function.environment.clone());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_own_variables_come_last() {
        let function = Function {
            name: "send-message".to_owned(),
            memory_mb: 256,
            timeout: Duration::from_secs(3),
            reserved: None,
            json_logs: true,
            log_level: None,
            environment: BTreeMap::from([("TABLE_NAME".to_owned(), "local-Table".to_owned())]),
            schedule: None,
            stream: None,
            statements: Vec::new(),
        };

        let variables = variables(&function, &BTreeMap::from([("AWS_ENDPOINT_URL_KMS".to_owned(), "x".to_owned())]));

        assert_eq!(variables["AWS_LAMBDA_FUNCTION_NAME"], "send-message");
        assert_eq!(variables["AWS_ACCESS_KEY_ID"], "send-message");
        assert_eq!(variables["AWS_LAMBDA_LOG_FORMAT"], "JSON");
        assert_eq!(variables["TABLE_NAME"], "local-Table");
        assert_eq!(variables["AWS_ENDPOINT_URL_KMS"], "x");
    }
}
