//! One environment: a process, and the one request at a time that it is given.

use std::{
    fs,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{body::Bytes, http::StatusCode};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot, watch},
    time::sleep,
};

use super::{Failure, INIT_LIMIT, Process, locked, pool::Pool};
use crate::event::request_id;

#[derive(Debug)]
pub(super) struct Environment {
    pub(super) id: u64,
    /// Known once the process is started.
    pub(super) pid: OnceLock<u32>,
    pub(super) spawned_at: Instant,
    pub(super) first_poll: OnceLock<Duration>,
    pub(super) invocations: AtomicU64,
    pub(super) requests: mpsc::Sender<Invocation>,
    pub(super) inbox: AsyncMutex<mpsc::Receiver<Invocation>>,
    pub(super) current: Mutex<Option<Current>>,
    pub(super) kill: Notify,
    pub(super) exit: watch::Receiver<Option<String>>,
}

#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
    pub(super) started: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(super) struct Current {
    request_id: String,
    outcome: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Bytes),
    Error(String),
}

impl Environment {
    /// Hands over a request and waits for its outcome; the flag of a failure says whether the request had been handed over.
    pub(super) async fn run(&self, pool: &Pool, payload: Bytes) -> Result<Outcome, (Failure, bool)> {
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

    pub(super) async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.ok().and_then(|status| status.clone());
        status.unwrap_or_else(|| "ended".to_owned())
    }

    pub(super) fn settle(&self, request_id: &str, outcome: Outcome) -> StatusCode {
        let mut current = locked(&self.current);
        match current.take_if(|current| current.request_id == request_id) {
            // Whoever invoked has given up when this fails, and the process is being killed.
            Some(current) => current.outcome.send(outcome).map_or(StatusCode::GONE, |()| StatusCode::ACCEPTED),
            None => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn process(&self, pool: &Pool) -> Process {
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
