//! The environments of one function: started when they are needed, kept warm, and forgotten when they end.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::body::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, Notify, Semaphore, mpsc, watch},
};

use super::{
    Failure, locked,
    logs::FunctionLog,
    process::{Environment, Outcome},
};
use crate::{cloudwatch::CloudWatch, template::Function, watchdog::Watchdog};

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) function: Function,
    pub(super) binary: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) runtime_api: String,
    pub(super) log: FunctionLog,
    pub(super) cloudwatch: CloudWatch,
    pub(super) watchdog: Arc<Watchdog>,
    /// What is left of the reserved concurrency; without one, an invocation waits for a free environment.
    pub(super) reserved: Mutex<Option<Arc<Semaphore>>>,
    pub(super) slots: Semaphore,
    /// Warm and waiting; the last one used is the next one used.
    pub(super) idle: Mutex<Vec<Arc<Environment>>>,
    pub(super) alive: Mutex<BTreeMap<u64, Arc<Environment>>>,
    pub(super) spawned: AtomicU64,
}

impl Pool {
    pub(super) fn environments(&self) -> Vec<Arc<Environment>> {
        locked(&self.alive).values().cloned().collect()
    }

    /// A data point of the function.
    pub(super) fn put(&self, metric: &str, value: f64) {
        self.cloudwatch.put_of_function(&self.function.name, metric, value);
    }

    pub(super) async fn invoke(self: Arc<Self>, payload: Bytes) -> Result<Bytes, Failure> {
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
        self.log.error(&failure.to_string());
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
