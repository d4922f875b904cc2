//! `local bench`: drives the real binaries over HTTP and prints what it measures. Every message that was delivered is counted back
//! through the API at the end: a bench that lost or doubled one fails.

mod chart;
mod driver;
pub mod instructions;
mod loads;
mod report;
pub mod sustained;

use std::{env, path::PathBuf, sync::Arc};

use system::{
    console::Source,
    error::{Error, Result},
    issuer,
    start::{self, Binaries, Options},
};
use tempfile::TempDir;

use driver::Driver;
use loads::Scale;
pub use report::Report;

/// How to measure.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The template; the workspace is its folder.
    pub template: PathBuf,
    /// Where the functions' binaries come from.
    pub binaries: Binaries,
    /// Small numbers: less than two minutes.
    pub quick: bool,
}

/// Measures; `say` is told what is being done.
///
/// # Errors
/// When the system does not start, an answer is not what it should be, or a message was lost or doubled.
pub async fn run(bench: &Bench, say: impl Fn(&str)) -> Result<Report> {
    let scale = if bench.quick { Scale::QUICK } else { Scale::FULL };
    let mut report = Report::new(bench.quick);

    // Timed without the meter, which stands between the functions and the table and costs time of its own.
    say("Timing…");
    let rig = Rig::start(bench, false, &say).await?;
    report.loads = loads::everyday(&rig.driver, scale, &say).await?;
    report.spawn_to_first_poll_ms = loads::cold_starts(&rig.driver, scale).await?;
    report.growth = loads::growth(&rig.driver, scale, &say).await?;
    report.peak_memory_mb = rig.driver.peak_memory_mb().await?;
    report.counted_back = loads::count_back(&rig.driver, &say).await?;
    rig.stop().await;

    say("Counting calls and units…");
    let rig = Rig::start(bench, true, &say).await?;
    report.costs = loads::costs(&rig.driver, scale, &say).await?;
    loads::count_back(&rig.driver, &say).await?;
    rig.stop().await;
    Ok(report)
}

/// A system of its own in a folder of its own, which goes with it.
struct Rig {
    running: start::Running,
    driver: Arc<Driver>,
    /// Goes with the rig, also where that does not start.
    _folder: TempDir,
}

impl Rig {
    async fn start(bench: &Bench, meter: bool, say: &impl Fn(&str)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("social-integrations-bench-").tempdir();
        let folder =
            folder.map_err(|source| Error::File { action: "create a folder in", path: env::temp_dir(), source })?;
        let options = Options {
            port: 0,
            data: folder.path().to_owned(),
            fresh: false,
            template: bench.template.clone(),
            binaries: bench.binaries.clone(),
            console: Source::None,
            token_lifetime: issuer::TOKEN_LIFETIME,
            meter,
            faults: None,
            quiet: false,
            parameters: std::collections::BTreeMap::new(),
            encryption_key: None,
            webhook_secret: None,
        };
        let running = start::start(&options, say).await?;
        let driver = Arc::new(Driver::new(&running).await?);
        Ok(Self { running, driver, _folder: folder })
    }

    async fn stop(self) {
        self.running.stop().await;
    }
}

/// What went wrong, in a sentence.
fn failed(problem: impl Into<String>) -> Error {
    Error::Setting(problem.into())
}
