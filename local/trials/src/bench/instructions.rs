//! `local instructions`: counts what the released webhook executes, with valgrind's callgrind. The same binary executes the same number
//! again, whatever else the machine does: so a bound can be held where times cannot.

use std::{
    fmt,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde::Serialize;
use system::{
    error::{Error, Result},
    functions,
    start::Binaries,
};

use super::{Bench, Rig, failed};

const WEBHOOK: &str = "receive-webhook";
/// Reads deliveries and does nothing else.
const PARSER: &str = "parse-delivery";
const ORGANIZATION: &str = "9001";
/// Deliveries, or readings of one, that a count is divided by.
const REPEATS: usize = 200;
/// Deliveries before that: connections are open, the owner is known, buffers have grown.
const WARM_UP: usize = 20;
/// How long a stopped process may take to write its count.
const COUNT_WITHIN: Duration = Duration::from_secs(20);

/// What was counted on x86-64, and some more, less than a tenth: a regression by that breaks these. Reading is a part of the delivery. A quarter of
/// the delivery is SHA-256 (the SDK signs each call), which processors have instructions for, and valgrind does not.
const PARSE_MOST: u64 = 45_000;
const DELIVERY_MOST: u64 = 1_740_000;
/// Of it, 1.6 million are a second service that is asked: Secrets Manager, for what deliveries are checked with.
const START_MOST: u64 = 6_300_000;

/// Instructions, by what they were spent on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    /// Reading the body of one delivery of a text.
    pub parse: u64,
    /// One warm delivery of a text, from the event until the next one is asked for.
    pub delivery: u64,
    /// From the start of the process to the first stored text, without TLS.
    pub start: u64,
}

impl Instructions {
    /// Nothing, or which bounds are broken.
    #[must_use]
    pub fn excess(&self) -> Option<String> {
        let bounds = [
            ("parse", self.parse, PARSE_MOST),
            ("delivery", self.delivery, DELIVERY_MOST),
            ("start", self.start, START_MOST),
        ];
        let broken = bounds.iter().filter(|(_, counted, most)| counted > most);
        let broken: Vec<_> =
            broken.map(|(what, counted, most)| format!("{what}: {counted} instructions, at most {most}")).collect();
        (!broken.is_empty()).then(|| broken.join("; "))
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| instructions | counted | at most |\n|---|---|---|")?;
        writeln!(formatter, "| read one delivery | {} | {PARSE_MOST} |", self.parse)?;
        writeln!(formatter, "| one warm delivery, stored | {} | {DELIVERY_MOST} |", self.delivery)?;
        write!(formatter, "| start to first stored delivery | {} | {START_MOST} |", self.start)
    }
}

/// Counts; `say` is told what is being done.
///
/// # Errors
/// When valgrind or a binary is missing, or a delivery was not stored.
pub async fn run(bench: &Bench, say: impl Fn(&str)) -> Result<Instructions> {
    let workspace = bench.template.parent().unwrap_or(Path::new("."));
    say("Building the released webhook and parser…");
    functions::build(workspace, &[WEBHOOK, "shared"], true)?;
    let released = functions::binaries(workspace, true)?;
    let everyday = functions::binaries(workspace, false)?;
    let folder =
        tempfile::tempdir().map_err(|source| Error::Program { program: "a temporary folder".to_owned(), source })?;
    let counter = Counter { folder: folder.path().to_owned() };

    say("Counting what reading takes…");
    let parser = released.join(PARSER);
    let parse = (counter.of_parser(&parser, REPEATS + 1)? - counter.of_parser(&parser, 1)?) / REPEATS as u64;

    say("Counting what a delivery takes…");
    counter.stand_in(&workspace.join("functions"), &released.join(WEBHOOK), &everyday)?;
    let start = counter.of_deliveries(bench, 1, &say).await?;
    let warm = counter.of_deliveries(bench, WARM_UP, &say).await?;
    let more = counter.of_deliveries(bench, WARM_UP + REPEATS, &say).await?;
    Ok(Instructions { parse, delivery: more.saturating_sub(warm) / REPEATS as u64, start })
}

/// Runs programs under callgrind, which writes each count into a file of the folder.
struct Counter {
    folder: PathBuf,
}

impl Counter {
    fn counts(&self) -> PathBuf {
        self.folder.join("count")
    }

    fn functions(&self) -> PathBuf {
        self.folder.join("functions")
    }

    fn of_parser(&self, parser: &Path, times: usize) -> Result<u64> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", self.counts().display())]);
        command.arg(parser).arg(times.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().map_err(|source| Error::Program { program: "valgrind".to_owned(), source })?;
        if status.success() { self.count() } else { Err(failed(format!("the parser ended with {status}"))) }
    }

    /// The functions as the rig starts them: the webhook under callgrind, the others as they are.
    fn stand_in(&self, functions: &Path, webhook: &Path, others: &Path) -> Result<()> {
        let folder = self.functions();
        let write = |source| Error::File { action: "write", path: folder.clone(), source };
        fs::create_dir(&folder).map_err(write)?;
        for entry in fs::read_dir(functions).map_err(write)? {
            let name = entry.map_err(write)?.file_name();
            if name != WEBHOOK {
                symlink(others.join(&name), folder.join(&name)).map_err(write)?;
            }
        }
        let script = File::options().write(true).create_new(true).mode(0o755).open(folder.join(WEBHOOK));
        let (counts, webhook) = (self.counts(), webhook.display());
        let text = format!(
            "#!/bin/sh\nexec valgrind --quiet --tool=callgrind --callgrind-out-file={} {webhook}\n",
            counts.display()
        );
        script.map_err(write)?.write_all(text.as_bytes()).map_err(write)
    }

    /// Everything that one process of the webhook executes to store that many texts, one delivery each.
    async fn of_deliveries(&self, bench: &Bench, count: usize, say: &impl Fn(&str)) -> Result<u64> {
        let bench = Bench { binaries: Binaries::In(self.functions()), ..bench.clone() };
        let rig = Rig::start(&bench, false, say).await?;
        let driver = &rig.driver;
        driver.connect(ORGANIZATION).await?;
        for _ in 0..count {
            driver.call(&driver.delivery(ORGANIZATION, "messages", &[driver.text(ORGANIZATION, 1)])).await?;
        }
        driver.terminate(WEBHOOK).await?;
        let counted = tokio::time::timeout(COUNT_WITHIN, async {
            loop {
                if let Ok(counted) = self.count() {
                    return counted;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let counted = counted.await.map_err(|_| failed("callgrind wrote no count"));
        rig.stop().await;
        let counted = counted?;
        fs::remove_file(self.counts()).map_err(|source| Error::File {
            action: "remove",
            path: self.counts(),
            source,
        })?;
        Ok(counted)
    }

    fn count(&self) -> Result<u64> {
        let path = self.counts();
        let text = fs::read_to_string(&path).map_err(|source| Error::File { action: "read", path, source })?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        totals.and_then(|totals| totals.trim().parse().ok()).ok_or_else(|| failed("callgrind wrote no count"))
    }
}
