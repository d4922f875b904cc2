//! `local chaos`: plays seeded stories over the real binaries while everything around them fails, and compares what the API says in
//! the end with what happened. Everything random comes from the seed; the timing of processes does not, so a failure prints what
//! happened, too.

mod agents;
mod check;
mod deliveries;
mod driver;
mod history;
mod journal;
mod protocol;
mod scene;
mod trouble;
mod world;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use emulator::faults::Faults;
use serde::Serialize;
use system::{
    console,
    error::{Error, Result},
    issuer,
    start::{self, Binaries, Options, Running},
};

use driver::Driver;

/// After so many seeds the system is stopped and started again on its data.
const SEEDS_PER_START: u64 = 25;
/// How many lines of the functions' logs a failure shows.
const LOG_LINES: usize = 40;

/// What to play.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// The template; the workspace is its folder.
    pub template: PathBuf,
    /// Where the functions' binaries come from.
    pub binaries: Binaries,
    /// The first seed.
    pub first: u64,
    /// The last seed; without one, and without `minutes`, only the first is played.
    pub last: Option<u64>,
    /// Play one seed after the other for so long.
    pub minutes: Option<u64>,
    /// How many events the provider has to tell in a seed.
    pub events: usize,
}

/// What was played, and what came of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seeds after which everything was as it had to be.
    pub passed: Vec<u64>,
    /// How long it took.
    pub seconds: u64,
    /// How much happened, over all seeds.
    pub counts: BTreeMap<String, u64>,
    /// How often each fault was injected; also those that never were.
    pub faults: BTreeMap<String, u64>,
    /// What was wrong.
    pub failure: Option<Failure>,
}

/// What was wrong after a seed.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The seed; `None` where it was no single one.
    pub seed: Option<u64>,
    /// The smallest difference between what is and what has to be.
    pub what: String,
    /// How it came to that.
    pub history: Vec<String>,
    /// The other differences.
    pub others: Vec<String>,
    /// The last warnings and errors of the functions.
    pub log: Vec<String>,
}

/// Kinds of trouble that a run of many seeds has to have made, beside all of those of the table and KMS.
const TROUBLE: [&str; 21] = [
    "killed: connect-integration",
    "killed: delete-integration",
    "killed: disconnect-integration",
    "killed: list-conversations",
    "killed: list-messages",
    "killed: receive-webhook",
    "killed: record-message",
    "killed: send-message",
    "killed: update-conversation",
    "killed: write-journal",
    "provider: drop_after_accept",
    "provider: key revoked",
    "provider: rate_limit",
    "provider: rate_limit_400",
    "provider: reject",
    "provider: server_error",
    "provider: slow_answer",
    "provider: timeout",
    "provider: unauthorized",
    "stream: repeat",
    "stream: split",
];
/// In so many seeds everything that can happen has happened.
const MANY_SEEDS: usize = 25;

/// Plays; `say` is told of each seed. What was wrong is in the report.
///
/// # Errors
/// When the system does not start.
pub async fn run(chaos: &Chaos, say: impl Fn(&str)) -> Result<Report> {
    let began = Instant::now();
    let folder = std::env::temp_dir().join(format!("social-integrations-chaos-{}", std::process::id()));
    let faults = Faults::new();
    let mut report = Report::default();
    let mut rig: Option<(Running, Arc<Driver>)> = None;
    for (seed, played) in (chaos.first..).zip(0_u64..) {
        let is_enough = match (chaos.last, chaos.minutes) {
            (Some(last), _) => seed > last,
            (None, Some(minutes)) => began.elapsed() >= Duration::from_secs(60 * minutes),
            (None, None) => seed > chaos.first,
        };
        if is_enough || report.failure.is_some() {
            break;
        }
        if let Some((running, _)) = rig.take_if(|_| played.is_multiple_of(SEEDS_PER_START)) {
            running.stop().await;
        }
        let (running, driver) = match rig.take() {
            Some(rig) => rig,
            None => start(chaos, &folder, &faults, &say).await?,
        };
        let logs_before = log_lengths(&running);
        let since = Instant::now();
        let outcome = scene::play(&driver, &faults, seed, chaos.events).await;
        for (what, count) in &outcome.counts {
            *report.counts.entry((*what).to_owned()).or_default() += count;
        }
        for (what, count) in &outcome.injected {
            *report.faults.entry(what.clone()).or_default() += count;
        }
        let mut findings = outcome.findings.into_iter();
        match findings.next() {
            None => {
                report.passed.push(seed);
                say(&format!("seed {seed}: {} in {:.1} s", counted(&outcome.counts), since.elapsed().as_secs_f64()));
            }
            Some(smallest) => {
                report.failure = Some(Failure {
                    seed: Some(seed),
                    what: smallest.what,
                    history: smallest.history,
                    others: findings.map(|finding| finding.what).collect(),
                    log: complaints(&running, &logs_before),
                });
            }
        }
        rig = Some((running, driver));
    }
    report.faults.extend(faults.injected());
    report.seconds = began.elapsed().as_secs();
    if let Some((running, _)) = rig {
        running.stop().await;
    }
    if report.failure.is_none() {
        report.failure = never_injected(&report);
    }
    match &report.failure {
        Some(_) => say(&format!("The data and logs are kept in {}", folder.display())),
        None => fs::remove_dir_all(&folder).map_err(|source| Error::File {
            action: "remove",
            path: folder.clone(),
            source,
        })?,
    }
    Ok(report)
}

async fn start(
    chaos: &Chaos,
    folder: &std::path::Path,
    faults: &Faults,
    say: &impl Fn(&str),
) -> Result<(Running, Arc<Driver>)> {
    let options = Options {
        port: 0,
        data: folder.to_owned(),
        fresh: false,
        template: chaos.template.clone(),
        binaries: chaos.binaries.clone(),
        console: console::Source::None,
        token_lifetime: issuer::TOKEN_LIFETIME,
        meter: false,
        faults: Some(faults.clone()),
        quiet: true,
        parameters: BTreeMap::new(),
        encryption_key: None,
        webhook_secret: None,
    };
    let running = start::start(&options, say).await?;
    let driver = Arc::new(Driver::new(&running).await);
    Ok((running, driver))
}

/// A run of many seeds that never had one kind of trouble proves nothing about it.
fn never_injected(report: &Report) -> Option<Failure> {
    if report.passed.len() < MANY_SEEDS {
        return None;
    }
    // Those of the table and KMS are listed whether or not they happened.
    let expected = TROUBLE.iter().map(|name| (*name).to_owned()).chain(report.faults.keys().cloned());
    let never: Vec<String> =
        expected.filter(|name| report.faults.get(name).copied().unwrap_or_default() == 0).collect();
    (!never.is_empty()).then(|| Failure {
        seed: None,
        what: format!("never happened in {} seeds: {}", report.passed.len(), never.join(", ")),
        history: Vec::new(),
        others: Vec::new(),
        log: Vec::new(),
    })
}

fn counted(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    counts.join(", ")
}

fn logs(running: &Running) -> Vec<PathBuf> {
    let files = fs::read_dir(running.data.file(system::state::LOGS_FOLDER)).into_iter().flatten().flatten();
    files.map(|file| file.path()).collect()
}

fn log_lengths(running: &Running) -> BTreeMap<PathBuf, usize> {
    let length = |path: &PathBuf| fs::metadata(path).map_or(0, |file| usize::try_from(file.len()).unwrap_or(0));
    logs(running).into_iter().map(|path| (path.clone(), length(&path))).collect()
}

/// The last warnings and errors that the functions logged since then.
fn complaints(running: &Running, before: &BTreeMap<PathBuf, usize>) -> Vec<String> {
    let mut lines = Vec::new();
    for path in logs(running) {
        let function = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read(&path).unwrap_or_default();
        let new = text.get(before.get(&path).copied().unwrap_or(0)..).unwrap_or_default();
        let new = String::from_utf8_lossy(new).into_owned();
        let complaints: Vec<String> = new
            .lines()
            .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"") || !line.starts_with('{'))
            .map(|line| format!("[{function}] {line}"))
            .collect();
        lines.extend(complaints.into_iter().rev().take(LOG_LINES / 4).rev());
    }
    lines
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            match failure.seed {
                Some(seed) => writeln!(formatter, "\nseed {seed} FAILED: {}", failure.what)?,
                None => writeln!(formatter, "\nFAILED: {}", failure.what)?,
            }
            for line in &failure.history {
                writeln!(formatter, "  {line}")?;
            }
            if !failure.others.is_empty() {
                writeln!(formatter, "{} other differences:", failure.others.len())?;
                for other in failure.others.iter().take(20) {
                    writeln!(formatter, "  {other}")?;
                }
            }
            if !failure.log.is_empty() {
                writeln!(formatter, "The functions complained last:")?;
                for line in &failure.log {
                    writeln!(formatter, "  {line}")?;
                }
            }
        }
        writeln!(formatter, "\n{} seeds passed in {} s", self.passed.len(), self.seconds)?;
        for (what, count) in &self.counts {
            writeln!(formatter, "{count:>9} {what}")?;
        }
        writeln!(formatter, "Faults injected:")?;
        for (what, count) in &self.faults {
            writeln!(formatter, "{count:>9} {what}")?;
        }
        Ok(())
    }
}
