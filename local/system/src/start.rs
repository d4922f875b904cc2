//! Brings everything up in order, and takes it down again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use client::Addresses;
use emulator::{
    arn::secret_arn,
    authorizer::SigningKey,
    cloudwatch::CloudWatch,
    faults::Faults,
    forward::Forward,
    function_url,
    gateway::Gateway,
    iam::{Guard, Service},
    kms::Kms,
    lambda::Lambda,
    meter::Meter,
    secrets::Secrets,
    stream::Stream,
    table,
    template::{self, AUDIENCE, Authorizer, Emulation, System},
};
use serde::Serialize;
use simulator::Simulator;
use tokio::task::spawn_blocking;

use crate::{
    console,
    control::{self, Control},
    error::{Error, Result},
    functions,
    issuer::{self, Issuer},
    listen::{address, listen, private_listener, serve, serve_private},
    state::{self, DataFolder},
};

/// The secret that `DIALOG360_WEBHOOK_TOKEN` gives.
const WEBHOOK_SECRET: &str = "WebhookSecret";

/// How to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The HTTP API listens here, the Function URL and the provider on the next two; 0 takes three free neighbours.
    pub port: u16,
    /// Where state is kept.
    pub data: PathBuf,
    /// Whether to forget earlier state.
    pub fresh: bool,
    /// The template; the workspace is its folder.
    pub template: PathBuf,
    /// Where the functions' binaries come from.
    pub binaries: Binaries,
    /// Where the console's files come from.
    pub console: console::Source,
    /// How long the tokens of people who sign in are good.
    pub token_lifetime: Duration,
    /// Whether to stand between the functions and `DynamoDB`: to count their calls, and to refuse what their policies do not allow.
    /// Also whether metrics are kept and alarms evaluated.
    pub meter: bool,
    /// What lets calls of the services go wrong; with a meter there is always one, which `/local/fault` controls.
    pub faults: Option<Faults>,
    /// Whether to show nothing of the functions' logs on the terminal.
    pub quiet: bool,
    /// Values for the template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// `ENCRYPTION_KEY`.
    pub encryption_key: Option<String>,
    /// `DIALOG360_WEBHOOK_TOKEN`: the webhook's secret.
    pub webhook_secret: Option<String>,
}

/// Where binaries come from.
#[derive(Debug, Clone)]
pub enum Binaries {
    /// Cargo builds them first.
    Built {
        /// For release.
        release: bool,
    },
    /// Cargo has built them before.
    Kept {
        /// For release.
        release: bool,
    },
    /// They are in this folder.
    In(PathBuf),
}

/// The running system.
#[derive(Debug)]
pub struct Running {
    /// The HTTP API.
    pub api: String,
    /// Where the provider delivers.
    pub webhook: String,
    /// The provider simulator.
    pub provider: String,
    /// The embedded `DynamoDB`.
    pub dynamodb: String,
    /// The table in it.
    pub table: String,
    /// The console's address, where it is served.
    pub console: Option<String>,
    /// Why the console is not there, though it should be.
    pub console_problem: Option<String>,
    /// The page to play the customer on.
    pub customer: String,
    /// The data folder, held until the system stops.
    pub data: DataFolder,
    lambda: Arc<Lambda>,
    stream: Stream,
    simulator: Simulator,
}

/// The first line of standard output, with `--json`.
#[derive(Debug, Serialize)]
pub struct Ready<'a> {
    event: &'static str,
    api: &'a str,
    webhook: &'a str,
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    console: Option<&'a str>,
    customer: &'a str,
}

/// Starts everything; `say` is told what is being done.
///
/// # Errors
/// When something is missing or in the way; the error says what to change.
pub async fn start(options: &Options, say: impl Fn(&str)) -> Result<Running> {
    let [api_listener, url_listener, provider_listener] = listen(options.port)?;
    let data = DataFolder::open(&options.data, options.fresh)?;
    let root_key = data.encryption_key(options.encryption_key.clone())?;
    let emulation = Emulation {
        api: address(&api_listener)?,
        function_url: format!("{}/", address(&url_listener)?),
        provider: address(&provider_listener)?,
        parameters: options.parameters.clone(),
    };
    let system = template::load(&options.template, &emulation)?;
    let binaries = find_binaries(options, &system, &say).await?;
    let console = find_console(options, &system, &emulation.api, &say);
    let console_problem = console.as_ref().and_then(|(_, problem)| problem.clone());

    say("Opening the table…");
    let dynamodb_listener = private_listener("DynamoDB")?;
    let dynamodb = address(&dynamodb_listener)?;
    let database = table::serve(&data.file(state::TABLE_FILE), &system.table, dynamodb_listener)?;
    let between = Between::new(options, &system, &dynamodb);
    let functions_dynamodb = between.serve_dynamodb()?.unwrap_or_else(|| dynamodb.clone());
    let kms = Kms::new(&root_key, system.key_aliases.clone());
    let kms_endpoint = between.serve_kms(&kms)?;
    let secrets = open_secrets(&data, &system, options.webhook_secret.as_deref())?;
    let secrets_endpoint = between.serve_secrets(&secrets)?;
    let Between { guard, meter, faults, cloudwatch, .. } = between;

    let shared = BTreeMap::from([
        ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), functions_dynamodb),
        ("AWS_ENDPOINT_URL_KMS".to_owned(), kms_endpoint.clone()),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), secrets_endpoint.clone()),
    ]);
    let runtime_listener = private_listener("the Lambda Runtime API")?;
    let logs = data.file(state::LOGS_FOLDER);
    let runtime_api = address(&runtime_listener)?;
    let webhook = system.webhook.as_deref();
    let lambda = Lambda::new(&binaries, webhook, &runtime_api, &shared, &logs, options.quiet, &cloudwatch)
        .map_err(|source| Error::File { action: "write", path: logs, source })?;
    serve(runtime_listener, lambda.runtime_api())?;
    lambda.run_schedules();
    let stream = read_stream(&database, &data, &system, &lambda, &cloudwatch)?;

    if !data.file(state::SIGNING_KEY_FILE).exists() {
        say("Making a key that signs local tokens…");
    }
    let key_file = data.file(state::SIGNING_KEY_FILE);
    let signing_key = Arc::new(SigningKey::open(&key_file)?);
    let issuer = Issuer {
        signing_key: Arc::clone(&signing_key),
        authorizer: system.api.authorizer.clone().unwrap_or_else(|| Authorizer {
            issuer: template::issuer(&emulation.api),
            audience: vec![AUDIENCE.to_owned()],
        }),
        claims: system.claims,
        token_lifetime: options.token_lifetime,
        origin: emulation.api.clone(),
        grants: Arc::default(),
    };
    let control = Control {
        lambda: Arc::clone(&lambda),
        guard,
        kms,
        secrets,
        meter,
        faults,
        stream: stream.clone(),
        cloudwatch: cloudwatch.clone(),
        endpoints: BTreeMap::from([
            ("api", emulation.api.clone()),
            ("webhook", system.webhook_url.clone()),
            ("provider", emulation.provider.clone()),
            ("dynamodb", dynamodb.clone()),
            ("kms", kms_endpoint),
            ("secretsmanager", secrets_endpoint),
            ("table", system.table.name.clone()),
        ]),
    };
    let simulator = open_simulator(data.file(state::SIMULATOR_FILE))?;
    serve(url_listener, function_url::router(system.webhook, Arc::clone(&lambda), cloudwatch.clone()))?;
    let gateway = Gateway { api: system.api, lambda: Arc::clone(&lambda), signing_key, cloudwatch };
    let local = control::router(control).merge(issuer::router(issuer));
    let console_url = console.is_some().then(|| format!("{}/", emulation.api));
    serve(api_listener, gateway.router(local, console.map(|(router, _)| router)))?;
    simulator.serve(provider_listener).map_err(|source| Error::Listen { port: 0, what: "the provider", source })?;
    Ok(Running {
        console: console_url,
        console_problem,
        customer: format!("{}/", emulation.provider),
        api: emulation.api,
        webhook: system.webhook_url,
        provider: emulation.provider,
        dynamodb,
        table: system.table.name,
        data,
        lambda,
        stream,
        simulator,
    })
}

/// Begins to read the table's stream for the functions that want it.
fn read_stream(
    database: &table::Database,
    data: &DataFolder,
    system: &System,
    lambda: &Arc<Lambda>,
    cloudwatch: &CloudWatch,
) -> Result<Stream> {
    let stream = Stream::default();
    for function in &system.functions {
        let Some(source) = &function.stream else { continue };
        let engine = (database.clone(), data.file(state::TABLE_FILE));
        stream.read(engine, &system.table.name, (&function.name, source), lambda, cloudwatch)?;
    }
    Ok(stream)
}

fn open_simulator(file: PathBuf) -> Result<Simulator> {
    Simulator::open(&file).map_err(|source| Error::File { action: "read", path: file, source })
}

/// The secrets of the template: that of the webhook as it is given, where it is; the others random, made on the first start.
fn open_secrets(data: &DataFolder, system: &System, webhook_secret: Option<&str>) -> Result<Secrets> {
    let file = data.file(state::SECRETS_FILE);
    let kept = Secrets::open(file.clone()).and_then(|secrets| {
        if let Some(text) = webhook_secret {
            secrets.put(&secret_arn(WEBHOOK_SECRET), text)?;
        }
        system.secrets.iter().try_for_each(|arn| secrets.create(arn))?;
        Ok(secrets)
    });
    kept.map_err(|source| Error::File { action: "keep", path: file, source })
}

/// What stands between the functions and the emulated services.
struct Between {
    guard: Guard,
    meter: Option<Meter>,
    faults: Option<Faults>,
    cloudwatch: CloudWatch,
    /// Behind it.
    engine: String,
}

impl Between {
    fn new(options: &Options, system: &System, dynamodb: &str) -> Self {
        let statements = system.functions.iter().map(|function| (function.name.clone(), function.statements.clone()));
        let engine = format!("{dynamodb}/");
        let behind = system.functions.iter().filter(|function| function.stream.is_some());
        let behind: BTreeSet<_> = behind.map(|function| function.name.clone()).collect();
        let faults = options.faults.clone().or_else(|| options.meter.then(Faults::new));
        if let Some(faults) = &faults {
            faults.set_behind(behind.clone());
        }
        Self {
            guard: Guard::new(statements.collect(), system.table.uses_key),
            meter: options.meter.then(|| Meter::new(engine.clone(), behind)),
            faults,
            cloudwatch: if options.meter {
                CloudWatch::new(system.alarms.clone(), system.metric_filters.clone())
            } else {
                CloudWatch::default()
            },
            engine,
        }
    }

    /// Where the functions reach `DynamoDB`; `None` where nothing stands before it.
    fn serve_dynamodb(&self) -> Result<Option<String>> {
        let router = match (&self.meter, &self.faults) {
            (None, None) => return Ok(None),
            (None, Some(_)) => Forward::new(self.engine.clone()).router(),
            (Some(meter), _) => self.guard.before(Service::DynamoDb, meter.router()),
        };
        serve_private(self.with_faults(Service::DynamoDb, router), "what stands before DynamoDB").map(Some)
    }

    /// Where the functions reach KMS.
    fn serve_kms(&self, kms: &Kms) -> Result<String> {
        let router = self.guard.before(Service::Kms, kms.router());
        serve_private(self.with_faults(Service::Kms, router), "KMS")
    }

    /// Where the functions reach Secrets Manager.
    fn serve_secrets(&self, secrets: &Secrets) -> Result<String> {
        let router = self.guard.before(Service::SecretsManager, secrets.router());
        serve_private(self.with_faults(Service::SecretsManager, router), "Secrets Manager")
    }

    fn with_faults(&self, service: Service, router: Router) -> Router {
        match &self.faults {
            None => router,
            Some(faults) => faults.before(service, router, &self.cloudwatch),
        }
    }
}

impl Running {
    /// Where it is.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let Self { api, webhook, provider, .. } = self;
        Addresses { api: api.clone(), webhook: webhook.clone(), provider: provider.clone() }
    }

    /// What a program reads on the first line.
    #[must_use]
    pub fn ready(&self) -> Ready<'_> {
        Ready {
            event: "ready",
            console: self.console.as_deref(),
            customer: &self.customer,
            api: &self.api,
            webhook: &self.webhook,
            provider: &self.provider,
        }
    }

    /// Stops every process and keeps what must be kept.
    pub async fn stop(self) {
        self.stream.stop();
        self.lambda.stop().await;
        self.simulator.stop();
    }
}

/// What serves the console, and why it cannot be there, where that is so.
fn find_console(
    options: &Options,
    system: &System,
    origin: &str,
    say: &impl Fn(&str),
) -> Option<(Router, Option<String>)> {
    let console = system.console.as_ref().filter(|_| options.console != console::Source::None)?;
    let workspace = options.template.parent().unwrap_or(Path::new("."));
    let files = console::find(workspace, options.console, say);
    let problem = files.as_ref().err().cloned();
    if let Some(problem) = &problem {
        say(problem);
    }
    Some((console::router(files, console, origin.to_owned()), problem))
}

async fn find_binaries(
    options: &Options,
    system: &System,
    say: &impl Fn(&str),
) -> Result<Vec<(template::Function, PathBuf)>> {
    let names: Vec<String> = system.functions.iter().map(|function| function.name.clone()).collect();
    with_binaries(system, &binaries_folder(options, names, say).await?)
}

/// The binary of one function.
pub(crate) async fn find_binary(options: &Options, function: &str, say: &impl Fn(&str)) -> Result<PathBuf> {
    functions::binary(&binaries_folder(options, vec![function.to_owned()], say).await?, function)
}

/// The folder that holds the binaries of these functions, built where that is asked for.
async fn binaries_folder(options: &Options, names: Vec<String>, say: &impl Fn(&str)) -> Result<PathBuf> {
    let workspace = options.template.parent().unwrap_or(Path::new(".")).to_owned();
    let (release, build) = match &options.binaries {
        Binaries::Built { release } => (*release, true),
        Binaries::Kept { release } => (*release, false),
        Binaries::In(folder) => return Ok(folder.clone()),
    };
    if build {
        say(&format!("Building {} functions (the first time takes a few minutes)…", names.len()));
    }
    let finding = spawn_blocking(move || {
        if build {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            functions::build(&workspace, &names, release)?;
        }
        functions::binaries(&workspace, release)
    });
    finding.await.unwrap_or(Err(Error::Build))
}

fn with_binaries(system: &System, folder: &Path) -> Result<Vec<(template::Function, PathBuf)>> {
    let with_binary = |function: &template::Function| {
        functions::binary(folder, &function.name).map(|binary| (function.clone(), binary))
    };
    system.functions.iter().map(with_binary).collect()
}
