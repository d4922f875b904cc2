//! `cargo run -p local`: builds the functions, starts everything, and says where it is.

use std::{
    collections::BTreeMap,
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use system::{
    console::Source,
    error::{Error, Result},
    issuer,
    replay::{self, Replay},
    start::{self, Binaries, Options, Running},
};
use tokio::signal::unix::{SignalKind, signal};
use trials::{
    bench::{
        self, Bench,
        sustained::{self, Load},
    },
    chaos::{self, Chaos},
};

/// Runs the whole system on this machine. Ctrl-C stops it.
///
/// `ENCRYPTION_KEY` (32 bytes) and `DIALOG360_WEBHOOK_TOKEN` are taken from the environment; where they are unset, random ones are kept in the data folder.
#[derive(Debug, Parser)]
#[command(name = "local", version)]
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
struct Arguments {
    /// Port of the HTTP API; the webhook and the provider simulator listen on the next two (0: any three free ports)
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Folder for the table, keys and logs
    #[arg(long, value_name = "DIR", default_value = ".local")]
    data: PathBuf,
    /// Forget what earlier runs left in the data folder
    #[arg(long)]
    fresh: bool,
    /// Build and run release binaries
    #[arg(long)]
    release: bool,
    /// Write one JSON object a line to standard output; text for humans goes to standard error
    #[arg(long)]
    json: bool,
    /// Leave the console out: neither built nor served
    #[arg(long)]
    no_console: bool,
    /// How long the tokens of people who sign in are good, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = issuer::TOKEN_LIFETIME.as_secs())]
    token_lifetime: u64,
    /// Value for a parameter of the template
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = name_and_value)]
    parameters: Vec<(String, String)>,
    /// Template to bring up, instead of the template.yaml here or above
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Run the binaries that are there
    #[arg(long, hide = true)]
    no_build: bool,
    /// Take the functions' binaries from this folder
    #[arg(long, hide = true, value_name = "DIR")]
    binaries: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What else can be run.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the release binaries: latency, throughput, processor time, memory, table calls and units
    Bench(Measuring),
    /// Break everything around the release binaries, and check that nothing was lost, doubled, shown to others or told wrongly
    ///
    /// Each seed is a story of its own: customers write, operators reply, admins connect and disconnect, while functions are killed
    /// and table, KMS and provider fail. Without --minutes and --seeds only the seed is played.
    Chaos {
        /// The first seed
        #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
        seed: u64,
        /// Play one seed after the other for so many minutes
        #[arg(long, value_name = "M", conflicts_with = "seeds")]
        minutes: Option<u64>,
        /// Play the seeds A to B
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Option<(u64, u64)>,
        /// How many events the provider delivers in a seed
        #[arg(long, default_value_t = 500)]
        events: usize,
        /// Write what came of it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Count the instructions of the released webhook with valgrind; fails above the bounds
    Instructions {
        /// Write the counts as JSON
        #[arg(long)]
        json: bool,
    },
    /// Receive again what a day left in quarantine: of the system that runs here (--port), or of any table
    Replay {
        /// The day that it came, UTC: 2026-11-23
        #[arg(long)]
        day: String,
        /// Only what is there for this reason
        #[arg(long)]
        reason: Option<String>,
        /// Only what is about this account, such as whatsapp/700100200300402
        #[arg(long, value_name = "PLATFORM/ID")]
        account: Option<String>,
        /// Count what waits, and receive nothing
        #[arg(long)]
        dry_run: bool,
        /// Take what another organization's token brought for --account as the provider's own word. It may be forged: without
        /// --token-of it is only counted
        #[arg(long, requires = "account")]
        trust_tokens: bool,
        /// Confirms whose tokens are trusted
        #[arg(long, value_name = "ORGANIZATION", requires = "trust_tokens")]
        token_of: Option<String>,
        /// Where `DynamoDB` is; AWS where only --table is given
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
        /// The table
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
    },
}

/// What the bench measures.
#[derive(Debug, Args)]
struct Measuring {
    /// Small numbers, in less than two minutes
    #[arg(long)]
    quick: bool,
    /// Everything at once and for long, beside a tenant that sends a thousand times as much as each of the others; fails when a
    /// message is lost or doubled, or memory does not stay flat
    #[arg(long, conflicts_with = "quick")]
    sustained: bool,
    /// For how long, at least three minutes to judge memory
    #[arg(long, value_name = "M", default_value = "10", value_parser = minutes, requires = "sustained")]
    minutes: Duration,
    /// Events a second, of all tenants together
    #[arg(long, default_value = "105", value_parser = rate, requires = "sustained")]
    rate: f64,
    /// The seed of the times at which everything arrives
    #[arg(long, default_value_t = 1, requires = "sustained")]
    seed: u64,
    /// Draw the sustained load as SVG into this file
    #[arg(long, value_name = "FILE", requires = "sustained")]
    chart: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

fn minutes(argument: &str) -> std::result::Result<Duration, String> {
    let minutes = rate(argument).map_err(|_| "a number of minutes is needed")?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())
}

fn rate(argument: &str) -> std::result::Result<f64, String> {
    let rate = argument.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "a number of events is needed".to_owned())
}

fn seeds(argument: &str) -> std::result::Result<(u64, u64), String> {
    let parsed = argument.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    parsed.filter(|(first, last)| first <= last).ok_or_else(|| "A..B is needed, such as 1..300".to_owned())
}

fn name_and_value(argument: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = argument.split_once('=').ok_or("NAME=VALUE is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut arguments: Arguments) -> Result<()> {
    match arguments.command.take() {
        Some(Command::Bench(measuring)) if measuring.sustained => return run_sustained(arguments, measuring).await,
        Some(Command::Bench(Measuring { quick, json, .. })) => return run_bench(arguments, quick, json).await,
        Some(Command::Chaos { seed, minutes, seeds, events, json }) => {
            let (first, last) = seeds.map_or((seed, None), |(first, last)| (first, Some(last)));
            return run_chaos(arguments, (first, last, minutes, events), json).await;
        }
        Some(Command::Instructions { json }) => return count_instructions(arguments, json).await,
        Some(Command::Replay { day, reason, account, dry_run, trust_tokens, token_of, endpoint, table }) => {
            let replay = Replay { day, reason, account, dry_run, trust_tokens, token_of, endpoint, table };
            let tally = replay::run(&replay, &arguments.options()?, |text| eprintln!("{text}")).await?;
            println!("{}", serde_json::to_string(&tally).unwrap_or_default());
            return Ok(());
        }
        None => {}
    }
    let json = arguments.json;
    let options = arguments.options()?;
    let running = start::start(&options, |text| eprintln!("{text}")).await?;
    // Before anybody is told that it runs: who stops it right after that stops it properly.
    let stop = stop_signal().map_err(|source| Error::Program { program: "the signal handler".to_owned(), source })?;
    if json {
        println!("{}", serde_json::to_string(&running.ready()).unwrap_or_default());
    } else {
        println!("{}", introduction(&running));
    }
    stop.await;
    eprintln!("Stopping…");
    running.stop().await;
    Ok(())
}

async fn run_bench(arguments: Arguments, quick: bool, json: bool) -> Result<()> {
    let options = Arguments { release: true, ..arguments }.options()?;
    let bench = Bench { template: options.template, binaries: options.binaries, quick };
    let report = bench::run(&bench, |text| eprintln!("{text}")).await?;
    if json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        println!("{report}");
    }
    Ok(())
}

async fn run_sustained(arguments: Arguments, measuring: Measuring) -> Result<()> {
    let options = Arguments { release: true, ..arguments }.options()?;
    let bench = Bench { template: options.template, binaries: options.binaries, quick: false };
    let load = Load { length: measuring.minutes, rate: measuring.rate, seed: measuring.seed };
    let report = sustained::run(&bench, &load, |text| eprintln!("{text}")).await?;
    if measuring.json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        println!("{report}");
    }
    if let Some(path) = measuring.chart {
        std::fs::write(&path, report.chart()).map_err(|source| Error::File { action: "write", path, source })?;
    }
    report.failure().map_or(Ok(()), |failure| Err(Error::Setting(failure)))
}

async fn count_instructions(arguments: Arguments, json: bool) -> Result<()> {
    let options = arguments.options()?;
    let bench = Bench { template: options.template, binaries: options.binaries, quick: true };
    let counted = bench::instructions::run(&bench, |text| eprintln!("{text}")).await?;
    if json {
        println!("{}", serde_json::to_string(&counted).unwrap_or_default());
    } else {
        println!("{counted}");
    }
    counted.excess().map_or(Ok(()), |excess| Err(Error::Setting(excess)))
}

async fn run_chaos(
    arguments: Arguments,
    (first, last, minutes, events): (u64, Option<u64>, Option<u64>, usize),
    json: bool,
) -> Result<()> {
    let options = Arguments { release: true, ..arguments }.options()?;
    let Options { template, binaries, .. } = options;
    let report =
        chaos::run(&Chaos { template, binaries, first, last, minutes, events }, |text| eprintln!("{text}")).await?;
    if json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        println!("{report}");
    }
    match report.failure {
        Some(failure) => Err(Error::Setting(failure.what)),
        None => Ok(()),
    }
}

/// Listens from now on; done with the first signal.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

impl Arguments {
    fn options(self) -> Result<Options> {
        let template = match self.template {
            Some(path) => absolute(&path)?,
            None => find_template(&env::current_dir().map_err(|source| Error::File {
                action: "find",
                path: PathBuf::from("."),
                source,
            })?)?,
        };
        // State belongs to the project, wherever in it the command is given.
        let data = if self.data == Path::new(".local") { template.with_file_name(".local") } else { self.data };
        Ok(Options {
            port: self.port,
            data,
            fresh: self.fresh,
            template,
            binaries: match self.binaries {
                Some(folder) => Binaries::In(folder),
                None if self.no_build => Binaries::Kept { release: self.release },
                None => Binaries::Built { release: self.release },
            },
            console: match (self.no_console, self.no_build) {
                (true, _) => Source::None,
                (false, true) => Source::Kept,
                (false, false) => Source::Built,
            },
            token_lifetime: Duration::from_secs(self.token_lifetime),
            meter: true,
            faults: None,
            quiet: false,
            parameters: self.parameters.into_iter().collect::<BTreeMap<_, _>>(),
            encryption_key: variable("ENCRYPTION_KEY")?,
            webhook_secret: variable("DIALOG360_WEBHOOK_TOKEN")?,
        })
    }
}

fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Error::Setting(format!("{name} is not UTF-8 text"))),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|source| Error::File { action: "read", path: path.to_owned(), source })
}

fn find_template(folder: &Path) -> Result<PathBuf> {
    let templates = folder.ancestors().map(|folder| folder.join("template.yaml"));
    templates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::Setting(format!(
            "there is no template.yaml in {} or above: run this inside the project",
            folder.display()
        ))
    })
}

fn introduction(running: &Running) -> String {
    let Running { api, webhook, provider, customer, dynamodb, table, data, .. } = running;
    let data = data.path().display();
    let console = match (&running.console, &running.console_problem) {
        (Some(console), None) => console.as_str(),
        (_, Some(problem)) => problem.as_str(),
        (None, None) => "left out",
    };
    format!(
        r#"
Everything is up. Ctrl-C stops it.

  Console             {console}
  Play the customer   {customer}

  HTTP API            {api}
  Webhook             {webhook}
  Provider simulator  {provider}
  DynamoDB            {dynamodb} (table {table})
  Data and logs       {data}

Open the two pages side by side: in the console, sign in and connect WhatsApp under Settings > Socials, with the phone number ID 1001 and the API
key sim_whatsapp_1001; then write as a customer. Or try it in another terminal:

  # sign in
  TOKEN=$(curl -s '{api}/local/token?organization=acme&user=ann&role=admin' | cut -d '"' -f 4)

  # connect a WhatsApp number: any sim_whatsapp_<number id> is a key that the simulator knows
  curl -s {api}/api/v1/social-integrations/whatsapp/connect -H "Authorization: Bearer $TOKEN" \
    -H 'Content-Type: application/json' -d '{{"apiKey":"sim_whatsapp_1001","phoneNumberId":"1001"}}'

  # a customer writes
  curl -s {provider}/simulate/inbound \
    -d '{{"platform":"whatsapp","accountId":"1001","from":"491713920012","name":"Lena","text":"Is the blue one in stock?"}}'

  # and there is the conversation
  curl -s {api}/api/v1/conversations -H "Authorization: Bearer $TOKEN"
"#
    )
}
