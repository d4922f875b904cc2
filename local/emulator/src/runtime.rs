//! Runs functions as Lambda does: one process per environment, one request at a time in each, behind a Runtime API.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, Notify, Semaphore, mpsc, oneshot, watch},
    time::sleep,
};

use crate::{
    cloudwatch::CloudWatch,
    event::{epoch_millis, request_id},
    template::{ACCOUNT_ID, Function, REGION},
    watchdog::Watchdog,
};

/// What a process may take until it first asks for work.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// What an answer may weigh, on Lambda.
const ANSWER_LIMIT_BYTES: usize = 6 << 20;
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

#[derive(Debug)]
struct Pool {
    function: Function,
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    runtime_api: String,
    log: FunctionLog,
    cloudwatch: CloudWatch,
    watchdog: Arc<Watchdog>,
    /// What is left of the reserved concurrency; without one, an invocation waits for a free environment.
    reserved: Mutex<Option<Arc<Semaphore>>>,
    slots: Semaphore,
    /// Warm and waiting; the last one used is the next one used.
    idle: Mutex<Vec<Arc<Environment>>>,
    alive: Mutex<BTreeMap<u64, Arc<Environment>>>,
    spawned: AtomicU64,
}

#[derive(Debug)]
struct Environment {
    id: u64,
    /// Known once the process is started.
    pid: OnceLock<u32>,
    spawned_at: Instant,
    first_poll: OnceLock<Duration>,
    invocations: AtomicU64,
    requests: mpsc::Sender<Invocation>,
    inbox: AsyncMutex<mpsc::Receiver<Invocation>>,
    current: Mutex<Option<Current>>,
    kill: Notify,
    exit: watch::Receiver<Option<String>>,
}

#[derive(Debug)]
struct Invocation {
    request_id: String,
    payload: Bytes,
    started: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Current {
    request_id: String,
    outcome: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Answer(Bytes),
    Error(String),
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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

    /// The Runtime API of all environments; each has its own prefix.
    pub fn runtime_api(self: &Arc<Self>) -> Router {
        const PREFIX: &str = "/{function}/{environment}/2018-06-01/runtime";
        Router::new()
            .route(&format!("{PREFIX}/invocation/next"), get(next))
            .route(&format!("{PREFIX}/invocation/{{request_id}}/response"), post(answered))
            .route(&format!("{PREFIX}/invocation/{{request_id}}/error"), post(failed))
            .route(&format!("{PREFIX}/init/error"), post(init_failed))
            .layer(DefaultBodyLimit::max(2 * ANSWER_LIMIT_BYTES))
            .with_state(Arc::clone(self))
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

    fn environment(&self, function: &str, id: u64) -> Option<(Arc<Pool>, Arc<Environment>)> {
        let pool = self.pools.get(function)?;
        let environment = locked(&pool.alive).get(&id).cloned()?;
        Some((Arc::clone(pool), environment))
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

impl Pool {
    fn environments(&self) -> Vec<Arc<Environment>> {
        locked(&self.alive).values().cloned().collect()
    }

    /// A data point of the function.
    fn put(&self, metric: &str, value: f64) {
        self.cloudwatch.put_of_function(&self.function.name, metric, value);
    }

    async fn invoke(self: Arc<Self>, payload: Bytes) -> Result<Bytes, Failure> {
        let reserved = locked(&self.reserved).clone();
        let _reserved = reserved.map(Semaphore::try_acquire_owned).transpose().map_err(|_| {
            self.put("Throttles", 1.0);
            Failure::Throttled
        })?;
        let _slot = self.slots.acquire().await.map_err(|_| Failure::Unavailable)?;
        loop {
            let warm = locked(&self.idle).pop();
            let is_warm = warm.is_some();
            let environment = match warm {
                Some(environment) => environment,
                None => self.spawn()?,
            };
            match environment.run(&self, payload.clone()).await {
                Ok(outcome) => {
                    if environment.exit.borrow().is_none() {
                        locked(&self.idle).push(environment);
                    }
                    return match outcome {
                        Outcome::Answer(answer) => Ok(answer),
                        Outcome::Error(error) => Err(self.failed(Failure::Function(error))),
                    };
                }
                // It died while it was waiting, so the request never reached it.
                Err((Failure::Exited(_), false)) if is_warm => {}
                Err((failure, _)) => {
                    environment.kill.notify_one();
                    environment.exited().await;
                    return Err(self.failed(failure));
                }
            }
        }
    }

    fn failed(&self, failure: Failure) -> Failure {
        self.put("Errors", 1.0);
        self.log.write(&json!({ "level": "ERROR", "message": failure.to_string(), "target": "local" }).to_string());
        failure
    }

    fn spawn(self: &Arc<Self>) -> Result<Arc<Environment>, Failure> {
        let id = self.spawned.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(&self.environment)
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/{}/{id}", self.runtime_api, self.function.name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for the rig, which stops its processes itself.
            .process_group(0)
            .kill_on_drop(true);
        let (requests, inbox) = mpsc::channel(1);
        let (exited, exit) = watch::channel(None);
        let environment = Arc::new(Environment {
            id,
            pid: OnceLock::new(),
            spawned_at: Instant::now(),
            first_poll: OnceLock::new(),
            invocations: AtomicU64::new(0),
            requests,
            inbox: AsyncMutex::new(inbox),
            current: Mutex::default(),
            kill: Notify::new(),
            exit,
        });
        // Known before it is started: on a busy machine its first poll can come before the next line runs.
        locked(&self.alive).insert(id, Arc::clone(&environment));
        let mut child = command.spawn().inspect_err(|_| drop(locked(&self.alive).remove(&id)))?;
        if let Some(pid) = child.id() {
            environment.pid.get_or_init(|| pid);
            self.watchdog.watch(pid);
        }
        if let Some(output) = child.stdout.take() {
            tokio::spawn(Arc::clone(self).copy_log(output));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(Arc::clone(self).copy_log(output));
        }
        tokio::spawn(Arc::clone(self).watch(Arc::clone(&environment), child, exited));
        Ok(environment)
    }

    /// Waits for the end of the process, kills it when asked to, and forgets it.
    async fn watch(
        self: Arc<Self>,
        environment: Arc<Environment>,
        mut child: Child,
        exited: watch::Sender<Option<String>>,
    ) {
        let status = tokio::select! {
            status = child.wait() => status,
            () = environment.kill.notified() => match child.start_kill() {
                Ok(()) => child.wait().await,
                Err(error) => Err(error),
            },
        };
        if let Some(pid) = environment.pid.get() {
            self.watchdog.forget(*pid);
        }
        locked(&self.alive).remove(&environment.id);
        locked(&self.idle).retain(|idle| idle.id != environment.id);
        exited.send_replace(Some(status.map_or_else(|error| error.to_string(), describe)));
    }

    async fn copy_log(self: Arc<Self>, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line);
            self.log.write(text.trim_end());
            // What the rig itself writes does not come by here: on AWS that is the platform's, and no line of a function.
            self.cloudwatch.log(&text);
            line.clear();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "ended".to_owned(),
    }
}

impl Environment {
    /// Hands over a request and waits for its outcome; the flag of a failure says whether the request had been handed over.
    async fn run(&self, pool: &Pool, payload: Bytes) -> Result<Outcome, (Failure, bool)> {
        let timeout = pool.function.timeout;
        let request_id = request_id();
        let (started, has_started) = oneshot::channel();
        let (outcome, has_outcome) = oneshot::channel();
        *locked(&self.current) = Some(Current { request_id: request_id.clone(), outcome });
        if self.requests.send(Invocation { request_id, payload, started }).await.is_err() {
            return Err((Failure::Exited("gone".to_owned()), false));
        }
        tokio::select! {
            biased;
            Ok(()) = has_started => {}
            status = self.exited() => return Err((Failure::Exited(status), false)),
            () = sleep(INIT_LIMIT) => return Err((Failure::Init, false)),
        }
        self.invocations.fetch_add(1, Ordering::Relaxed);
        pool.put("Invocations", 1.0);
        let began = Instant::now();
        let outcome = tokio::select! {
            biased;
            Ok(outcome) = has_outcome => Ok(outcome),
            status = self.exited() => Err((Failure::Exited(status), true)),
            () = sleep(timeout) => Err((Failure::TimedOut(timeout), true)),
        };
        pool.put("Duration", began.elapsed().as_secs_f64() * 1000.0);
        outcome
    }

    async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.ok().and_then(|status| status.clone());
        status.unwrap_or_else(|| "ended".to_owned())
    }

    fn settle(&self, request_id: &str, outcome: Outcome) -> StatusCode {
        let mut current = locked(&self.current);
        match current.take_if(|current| current.request_id == request_id) {
            // Whoever invoked has given up when this fails, and the process is being killed.
            Some(current) => current.outcome.send(outcome).map_or(StatusCode::GONE, |()| StatusCode::ACCEPTED),
            None => StatusCode::BAD_REQUEST,
        }
    }

    fn process(&self, pool: &Pool) -> Process {
        let pid = self.pid.get().copied().unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kilobytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        Process {
            function: pool.function.name.clone(),
            pid,
            spawn_to_first_poll_ms: self.first_poll.get().map(|time| time.as_secs_f64() * 1000.0),
            invocations: self.invocations.load(Ordering::Relaxed),
            rss_kb: kilobytes("VmRSS"),
            peak_rss_kb: kilobytes("VmHWM"),
            cpu_ms: cpu_ms(pid),
        }
    }
}

/// Processor time of a process: user and system, in the hundredths of a second that Linux counts in.
fn cpu_ms(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 10)
}

type Id = UrlPath<(String, u64)>;
type RequestId = UrlPath<(String, u64, String)>;

async fn next(State(lambda): State<Arc<Lambda>>, UrlPath((function, id)): Id) -> Response {
    let Some((pool, environment)) = lambda.environment(&function, id) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    environment.first_poll.get_or_init(|| environment.spawned_at.elapsed());
    let Some(invocation) = environment.inbox.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    if invocation.started.send(()).is_err() {
        // Whoever invoked has given up, and the process is being killed.
        return StatusCode::GONE.into_response();
    }
    let deadline = epoch_millis(OffsetDateTime::now_utc() + pool.function.timeout);
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.request_id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", format!("arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{function}")),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.payload).into_response()
}

async fn answered(
    State(lambda): State<Arc<Lambda>>,
    UrlPath((function, id, request_id)): RequestId,
    body: Bytes,
) -> StatusCode {
    let outcome = if body.len() > ANSWER_LIMIT_BYTES {
        Outcome::Error(format!(
            "Response payload size exceeded maximum allowed payload size ({ANSWER_LIMIT_BYTES} bytes)"
        ))
    } else {
        Outcome::Answer(body)
    };
    match lambda.environment(&function, id) {
        Some((_, environment)) => environment.settle(&request_id, outcome),
        None => StatusCode::FORBIDDEN,
    }
}

async fn failed(
    State(lambda): State<Arc<Lambda>>,
    UrlPath((function, id, request_id)): RequestId,
    body: Bytes,
) -> StatusCode {
    match lambda.environment(&function, id) {
        Some((_, environment)) => {
            environment.settle(&request_id, Outcome::Error(String::from_utf8_lossy(&body).into_owned()))
        }
        None => StatusCode::FORBIDDEN,
    }
}

/// The process exits after this, which fails its request.
async fn init_failed(State(lambda): State<Arc<Lambda>>, UrlPath((function, id)): Id, body: Bytes) -> StatusCode {
    let Some((pool, _)) = lambda.environment(&function, id) else { return StatusCode::FORBIDDEN };
    let message = format!("initialisation failed: {}", String::from_utf8_lossy(&body));
    pool.log.write(&json!({ "level": "ERROR", "message": message, "target": "local" }).to_string());
    StatusCode::ACCEPTED
}

/// A function's log file; what needs attention is shown on the terminal too.
#[derive(Debug)]
struct FunctionLog {
    function: String,
    file: Mutex<File>,
    quiet: bool,
}

impl FunctionLog {
    fn open(function: &str, folder: &Path, quiet: bool) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(folder.join(format!("{function}.log")))?;
        Ok(Self { function: function.to_owned(), file: Mutex::new(file), quiet })
    }

    fn write(&self, line: &str) {
        if let Err(error) = writeln!(locked(&self.file), "{line}") {
            eprintln!("[{}] cannot write the log: {error}", self.function);
        }
        if let Some(short) = short(line).filter(|_| !self.quiet) {
            eprintln!("[{}] {short}", self.function);
        }
    }
}

/// A log line as shown on the terminal: warnings, errors, and what is no log line at all, such as a panic.
fn short(line: &str) -> Option<String> {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return (!line.trim().is_empty()).then(|| line.to_owned());
    };
    let level = line["level"].as_str().filter(|level| matches!(*level, "WARN" | "ERROR"))?;
    let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
    let message = fields["message"].as_str().unwrap_or_default();
    let error = fields["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
    Some(format!("{level} {message}{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_shows_what_needs_attention() {
        assert_eq!(short(r#"{"level":"INFO","fields":{"message":"stored"}}"#), None);
        assert_eq!(
            short(r#"{"level":"ERROR","fields":{"message":"cannot store","error":"timeout"}}"#).as_deref(),
            Some("ERROR cannot store: timeout")
        );
        assert_eq!(short(r#"{"level":"WARN","message":"odd"}"#).as_deref(), Some("WARN odd"));
        assert_eq!(short("thread 'main' panicked at x").as_deref(), Some("thread 'main' panicked at x"));
    }

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
