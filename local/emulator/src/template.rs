//! Reads template.yaml and says what it describes, with every intrinsic function resolved for this machine.
//!
//! Only what is needed is resolved, and what is needed must be understood: anything else is an error that names its place.

mod alarms;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    alarms::Alarm,
    error::{Error, Result},
    iam::{Condition, Statement},
    metrics::MetricFilter,
};

/// The account id that the emulated resources live in.
pub const ACCOUNT_ID: &str = "000000000000";
/// The region that the emulated resources live in.
pub const REGION: &str = "eu-central-1";
/// The emulated KMS key.
pub const KEY_ID: &str = "00000000-0000-4000-8000-00000000c0de";
/// The HTTP API.
pub const API_ID: &str = "local";
/// The audience of tokens, unless a parameter says otherwise.
pub const AUDIENCE: &str = "local";
/// The name of the stack, which prefixes the names of its resources.
const STACK: &str = "local";
/// The resource that says where the provider delivers.
const WEBHOOK_ADDRESS: &str = "WebhookAddress";
/// The type of an event that comes by itself.
const SCHEDULE: &str = "Schedule";

/// What the template cannot know: where this machine serves things.
#[derive(Debug, Clone)]
pub struct Emulation {
    /// `http://127.0.0.1:3000`, the HTTP API.
    pub api: String,
    /// `http://127.0.0.1:3001/`, the Function URL; ends in a slash, as on AWS.
    pub function_url: String,
    /// `http://127.0.0.1:3002`, the provider simulator.
    pub provider: String,
    /// Parameters given on the command line.
    pub parameters: BTreeMap<String, String>,
}

/// Everything that has to be brought up.
#[derive(Debug)]
pub struct System {
    /// The functions, by template order of their logical ids.
    pub functions: Vec<Function>,
    /// The HTTP API.
    pub api: Api,
    /// The function behind the Function URL.
    pub webhook: Option<String>,
    /// Where the provider should deliver: the Function URL with the path that the functions register.
    pub webhook_url: String,
    /// The table.
    pub table: Table,
    /// The ARNs of the secrets that the template generates.
    pub secrets: Vec<String>,
    /// The names under which the KMS key is known, beside its id.
    pub key_aliases: Vec<String>,
    /// The claims that carry organization, user and role.
    pub claims: ClaimNames,
    /// How the console is served, where the template has one.
    pub console: Option<Console>,
    /// What rings when something is wrong, by template order of the logical ids.
    pub alarms: Vec<Alarm>,
    /// What counts lines of the functions' logs.
    pub metric_filters: Vec<MetricFilter>,
}

/// A function as the template declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its crate and binary.
    pub name: String,
    /// What Lambda would give it.
    pub memory_mb: u64,
    /// After this it is killed.
    pub timeout: Duration,
    /// `ReservedConcurrentExecutions`: more at once are throttled.
    pub reserved: Option<usize>,
    /// Whether `LoggingConfig` asks for JSON.
    pub json_logs: bool,
    /// `LoggingConfig.ApplicationLogLevel`.
    pub log_level: Option<String>,
    /// Its variables.
    pub environment: BTreeMap<String, String>,
    /// How often it is invoked by itself.
    pub schedule: Option<Duration>,
    /// What it may do.
    pub statements: Vec<Statement>,
}

/// The HTTP API.
#[derive(Debug)]
pub struct Api {
    /// Every route.
    pub routes: Vec<Route>,
    /// The JWT authorizer, if any route needs one.
    pub authorizer: Option<Authorizer>,
    /// Answers to browsers.
    pub cors: Option<Cors>,
}

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `GET`…, or `ANY`.
    pub method: String,
    /// `/api/v1/conversations/{conversationId}`.
    pub path: String,
    /// The function that answers.
    pub function: String,
    /// Whether a token is needed.
    pub authorized: bool,
}

/// What a token must say.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorizer {
    /// Its `iss`.
    pub issuer: String,
    /// One of these is its `aud` or `client_id`.
    pub audience: Vec<String>,
}

/// `CorsConfiguration`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cors {
    /// Origins, or `*`.
    pub origins: Vec<String>,
    /// Methods, or `*`.
    pub methods: Vec<String>,
    /// Headers, or `*`.
    pub headers: Vec<String>,
    /// Headers that scripts may read.
    pub exposed: Vec<String>,
    /// How long a preflight answer holds, in seconds.
    pub max_age_secs: Option<u64>,
    /// Whether credentials are allowed.
    pub credentials: bool,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    /// Its name here.
    pub name: String,
    /// Whether the stack makes it; else it must be there already.
    pub is_made: bool,
    /// The body of `CreateTable`.
    pub create: Value,
    /// The attribute that expires items.
    pub ttl_attribute: Option<String>,
    /// Whether it is encrypted with a key of ours, which whoever uses the table must then be allowed to use through it.
    pub uses_key: bool,
}

/// What the console's files are served with.
#[derive(Debug, Clone, PartialEq)]
pub struct Console {
    /// The headers of every answer, from the response headers policy.
    pub headers: Vec<(String, String)>,
    /// The text of `config.json`, the output `ConsoleConfig`.
    pub config: String,
}

/// Names of the claims, as the functions are told.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimNames {
    /// Holds the organization.
    pub organization: String,
    /// Holds the user.
    pub user: String,
    /// Holds the role.
    pub role: String,
}

/// Reads the template at `path` and resolves it for this machine.
///
/// # Errors
/// When the file is missing or no YAML, or says something that is not understood where it is needed.
pub fn load(path: &Path, emulation: &Emulation) -> Result<System> {
    let text =
        fs::read_to_string(path).map_err(|source| Error::File { action: "read", path: path.to_owned(), source })?;
    let yaml = serde_yaml_ng::from_str(&text).map_err(|source| Error::Yaml { path: path.to_owned(), source })?;
    Template::new(&plain(yaml), emulation)?.system()
}

/// Writes a short tag (`!Sub x`) as its long form (`{"Fn::Sub": x}`), so that there is one form to resolve.
fn plain(yaml: serde_yaml_ng::Value) -> Value {
    use serde_yaml_ng::Value as Yaml;
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => value.into(),
            (_, Some(value), _) => value.into(),
            (.., value) => value.into(),
        },
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => items.into_iter().map(plain).collect(),
        Yaml::Mapping(members) => Value::Object(
            members
                .into_iter()
                .map(|(key, value)| {
                    let key = match plain(key) {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    (key, plain(value))
                })
                .collect(),
        ),
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let tag = tag.trim_start_matches('!');
            let value = match (tag, plain(tagged.value)) {
                ("GetAtt", Value::String(path)) => {
                    let (resource, attribute) = path.split_once('.').unwrap_or((&path, ""));
                    json!([resource, attribute])
                }
                (_, value) => value,
            };
            match tag {
                "Ref" | "Condition" => json!({ tag: value }),
                _ => json!({ format!("Fn::{tag}"): value }),
            }
        }
    }
}

struct Template<'a> {
    document: &'a Value,
    emulation: &'a Emulation,
    parameters: HashMap<String, Value>,
}

fn wrong(place: &str, problem: impl Into<String>) -> Error {
    Error::Template { place: place.to_owned(), problem: problem.into() }
}

impl<'a> Template<'a> {
    fn new(document: &'a Value, emulation: &'a Emulation) -> Result<Self> {
        let mut parameters = HashMap::new();
        let declared = document["Parameters"].as_object().cloned().unwrap_or_default();
        for name in emulation.parameters.keys() {
            if !declared.contains_key(name) {
                return Err(Error::Setting(format!("--parameter {name}: the template has no such parameter")));
            }
        }
        for (name, declaration) in declared {
            let given = emulation.parameters.get(&name).cloned().or_else(|| match name.as_str() {
                "JwtIssuer" => Some(issuer(&emulation.api)),
                "JwtAudience" => Some(AUDIENCE.to_owned()),
                "Dialog360BaseUrl" | "GraphBaseUrl" => Some(emulation.provider.clone()),
                "InstagramGraphBaseUrl" => Some(format!("{}/graph.instagram.com", emulation.provider)),
                // As with 360dialog itself, nobody says whose an Instagram account or page is; here, that is nobody's loss.
                "TrustPartnerChannel" => Some("true".to_owned()),
                _ => None,
            });
            let value = match (given, &declaration["Default"]) {
                (Some(given), _) => given,
                (None, Value::String(default)) => default.clone(),
                (None, Value::Null) => {
                    let problem = format!("has no default; give one with --parameter {name}=VALUE");
                    return Err(wrong(&format!("Parameters.{name}"), problem));
                }
                (None, other) => other.to_string(),
            };
            let kind = declaration["Type"].as_str().unwrap_or("String");
            let value = if kind == "CommaDelimitedList" || kind.starts_with("List<") {
                value.split(',').map(|item| Value::from(item.trim())).collect()
            } else {
                Value::String(value)
            };
            parameters.insert(name, value);
        }
        Ok(Self { document, emulation, parameters })
    }

    fn system(&self) -> Result<System> {
        let mut functions = Vec::new();
        let mut routes = Vec::new();
        let mut webhook = None;
        for (id, resource) in self.resources()? {
            if resource["Type"] != "AWS::Serverless::Function" {
                continue;
            }
            let function = self.function(id, resource)?;
            routes.extend(self.routes(id, resource, &function.name)?);
            if self.has_function_url(id, resource)?
                && let Some(other) = webhook.replace(function.name.clone())
            {
                let problem = format!("a second Function URL, after {other}: this machine serves one");
                return Err(wrong(&format!("Resources.{id}.Properties.FunctionUrlConfig"), problem));
            }
            functions.push(function);
        }
        let webhook_url = match self.document["Resources"].get(WEBHOOK_ADDRESS) {
            Some(_) => self.attribute(WEBHOOK_ADDRESS, "Value", "Resources")?,
            None => String::new(),
        };
        // Whatever domain stands before it on AWS, on this machine the Function URL is reached itself.
        let is_here = webhook_url.starts_with(&self.emulation.function_url);
        let webhook_url = if is_here { webhook_url } else { self.emulation.function_url.clone() };
        let (authorizer, cors) = self.http_api()?;
        if authorizer.is_none() && !routes.is_empty() {
            for route in &mut routes {
                route.authorized = false;
            }
        }
        Ok(System {
            functions,
            api: Api { routes, authorizer, cors },
            webhook,
            webhook_url,
            table: self.table()?,
            secrets: self.each("AWS::SecretsManager::Secret", |id, _, _| Ok(secret_arn(id)))?,
            key_aliases: self.key_aliases()?,
            claims: ClaimNames {
                organization: self.parameter_or("OrganizationClaim", "organizationId"),
                user: self.parameter_or("UserClaim", "sub"),
                role: self.parameter_or("RoleClaim", "role"),
            },
            console: self.console()?,
            alarms: self.each("AWS::CloudWatch::Alarm", |id, properties, place| self.alarm(id, properties, place))?,
            metric_filters: self
                .each("AWS::Logs::MetricFilter", |_, properties, place| self.metric_filter(properties, place))?,
        })
    }

    /// Reads every resource of a type: its logical id, its properties, and where they stand.
    fn each<T>(&self, kind: &str, read: impl Fn(&str, &Value, &str) -> Result<T>) -> Result<Vec<T>> {
        let resources = self.resources()?.iter().filter(|(_, resource)| resource["Type"] == kind);
        resources
            .map(|(id, resource)| read(id, &resource["Properties"], &format!("Resources.{id}.Properties")))
            .collect()
    }

    fn alarm(&self, id: &str, properties: &Value, place: &str) -> Result<Alarm> {
        let mut properties = properties.clone();
        // Who is told has no meaning on one machine.
        for key in ["AlarmActions", "OKActions"] {
            properties.as_object_mut().map(|properties| properties.remove(key));
        }
        alarms::read(id, &self.required(&properties, place)?, place)
    }

    fn metric_filter(&self, properties: &Value, place: &str) -> Result<MetricFilter> {
        let filter = self.required(properties, place)?;
        only_keys(&filter, place, &["LogGroupName", "FilterPattern", "MetricTransformations"])?;
        let logs = &self.document["Globals"]["Function"]["LoggingConfig"]["LogGroup"];
        if self.resolve(logs, "Globals.Function.LoggingConfig.LogGroup")?.as_ref() != Some(&filter["LogGroupName"]) {
            return Err(wrong(&format!("{place}.LogGroupName"), "is not that of the functions"));
        }
        let [transformation] = &filter["MetricTransformations"].as_array().map(Vec::as_slice).unwrap_or_default()
        else {
            return Err(wrong(&format!("{place}.MetricTransformations"), "should be one"));
        };
        alarms::read_filter(&filter["FilterPattern"], transformation, place)
    }

    fn console(&self) -> Result<Option<Console>> {
        let mut policies = self.resources()?.iter();
        let Some((id, policy)) =
            policies.find(|(_, resource)| resource["Type"] == "AWS::CloudFront::ResponseHeadersPolicy")
        else {
            return Ok(None);
        };
        let place = format!("Resources.{id}.Properties.ResponseHeadersPolicyConfig");
        let policy = self.required(&policy["Properties"]["ResponseHeadersPolicyConfig"], &place)?;
        only_keys(&policy, &place, &["Name", "Comment", "SecurityHeadersConfig", "CustomHeadersConfig"])?;
        let mut headers = Vec::new();
        let place = format!("{place}.SecurityHeadersConfig");
        for (name, header) in policy["SecurityHeadersConfig"].as_object().into_iter().flatten() {
            let text = |key: &str| as_text(&header[key], &format!("{place}.{name}.{key}"));
            headers.push(match name.as_str() {
                "ContentSecurityPolicy" => ("content-security-policy".to_owned(), text("ContentSecurityPolicy")?),
                "ContentTypeOptions" => ("x-content-type-options".to_owned(), "nosniff".to_owned()),
                "FrameOptions" => ("x-frame-options".to_owned(), text("FrameOption")?),
                "ReferrerPolicy" => ("referrer-policy".to_owned(), text("ReferrerPolicy")?),
                // There is no TLS here to insist on.
                "StrictTransportSecurity" => continue,
                other => return Err(wrong(&place, format!("{other} is not served on this machine"))),
            });
        }
        for header in policy["CustomHeadersConfig"]["Items"].as_array().into_iter().flatten() {
            let text = |key: &str| as_text(&header[key], &format!("Resources.{id}: CustomHeadersConfig.{key}"));
            headers.push((text("Header")?.to_ascii_lowercase(), text("Value")?));
        }
        let config = &self.document["Outputs"]["ConsoleConfig"]["Value"];
        Ok(Some(Console { headers, config: self.text(config, "Outputs.ConsoleConfig.Value")? }))
    }

    fn parameter_or(&self, name: &str, default: &str) -> String {
        self.parameters.get(name).and_then(Value::as_str).unwrap_or(default).to_owned()
    }

    fn resources(&self) -> Result<&'a Map<String, Value>> {
        self.document["Resources"].as_object().ok_or_else(|| wrong("Resources", "missing"))
    }

    /// The property of a function, or else that of `Globals.Function`, and where it stands.
    fn function_property(&self, id: &str, resource: &'a Value, name: &str) -> (&'a Value, String) {
        match &resource["Properties"][name] {
            Value::Null => (&self.document["Globals"]["Function"][name], format!("Globals.Function.{name}")),
            own => (own, format!("Resources.{id}.Properties.{name}")),
        }
    }

    fn function(&self, id: &str, resource: &'a Value) -> Result<Function> {
        let properties = &resource["Properties"];
        let number = |property: &str, default: u64| {
            let (value, place) = self.function_property(id, resource, property);
            match self.resolve(value, &place)? {
                None | Some(Value::Null) => Ok(default),
                Some(value) => as_number(&value).ok_or_else(|| wrong(&place, format!("{value} is not a whole number"))),
            }
        };
        let logging = |property: &str| {
            let (config, place) = self.function_property(id, resource, "LoggingConfig");
            match self.resolve(&config[property], &format!("{place}.{property}"))? {
                Some(Value::String(text)) => Ok::<_, Error>(Some(text)),
                _ => Ok(None),
            }
        };
        let mut environment = BTreeMap::new();
        let globals =
            (&self.document["Globals"]["Function"]["Environment"]["Variables"], "Globals.Function".to_owned());
        let own = (&properties["Environment"]["Variables"], format!("Resources.{id}.Properties"));
        for (variables, owner) in [globals, own] {
            for (name, value) in variables.as_object().into_iter().flatten() {
                let place = format!("{owner}.Environment.Variables.{name}");
                match self.resolve(value, &place)? {
                    None => drop(environment.remove(name)),
                    Some(value) => drop(environment.insert(name.clone(), as_text(&value, &place)?)),
                }
            }
        }
        let reserved = &properties["ReservedConcurrentExecutions"];
        let reserved = match reserved {
            Value::Null => None,
            _ => self.resolve(reserved, &format!("Resources.{id}.Properties.ReservedConcurrentExecutions"))?,
        };
        Ok(Function {
            name: function_name(id, resource),
            reserved: reserved.as_ref().and_then(as_number).and_then(|number| usize::try_from(number).ok()),
            memory_mb: number("MemorySize", 128)?,
            timeout: Duration::from_secs(number("Timeout", 3)?),
            json_logs: logging("LogFormat")?.as_deref() == Some("JSON"),
            log_level: logging("ApplicationLogLevel")?,
            environment,
            schedule: self.schedule(id, resource)?,
            statements: self.statements(id, resource)?,
        })
    }

    /// The schedule among the events of a function.
    fn schedule(&self, id: &str, resource: &Value) -> Result<Option<Duration>> {
        let events = resource["Properties"]["Events"].as_object().into_iter().flatten();
        let schedules = events.filter(|(_, event)| event["Type"] == SCHEDULE).map(|(name, event)| {
            let place = format!("Resources.{id}.Properties.Events.{name}.Properties");
            only_keys(&event["Properties"], &place, &["Schedule", "Description", "Enabled", "Name"])?;
            let place = format!("{place}.Schedule");
            let rate = self.text(&event["Properties"]["Schedule"], &place)?;
            read_rate(&rate).ok_or_else(|| wrong(&place, format!("{rate} is no rate(…) that this machine serves")))
        });
        schedules.min_by_key(|rate| rate.as_ref().ok().copied()).transpose()
    }

    /// What the policies of a function allow, those that it shares with others included.
    fn statements(&self, id: &str, resource: &'a Value) -> Result<Vec<Statement>> {
        let (policies, place) = self.function_property(id, resource, "Policies");
        let mut statements = Vec::new();
        for (index, policy) in members(policies).enumerate() {
            let place = format!("{place}[{index}]");
            let managed = policy["Ref"].as_str().map(|name| (name, &self.document["Resources"][name]));
            let (policy, place) = match managed {
                Some((name, managed)) if managed["Type"] == "AWS::IAM::ManagedPolicy" => {
                    (&managed["Properties"]["PolicyDocument"], format!("Resources.{name}.Properties.PolicyDocument"))
                }
                Some((name, _)) => return Err(wrong(&place, format!("{name} is no managed policy of this template"))),
                None => (policy, place),
            };
            only_keys(policy, &place, &["Version", "Statement"])?;
            for (index, statement) in members(&policy["Statement"]).enumerate() {
                let place = format!("{place}.Statement[{index}]");
                let Some(statement) = self.resolve(statement, &place)? else { continue };
                statements.push(read_statement(&statement, &place)?);
            }
        }
        Ok(statements)
    }

    fn has_function_url(&self, id: &str, resource: &Value) -> Result<bool> {
        let config = &resource["Properties"]["FunctionUrlConfig"];
        let place = format!("Resources.{id}.Properties.FunctionUrlConfig");
        if config.is_null() {
            return Ok(false);
        }
        only_keys(config, &place, &["AuthType", "InvokeMode"])?;
        match self.resolve(&config["AuthType"], &place)?.as_ref().and_then(Value::as_str) {
            Some("NONE") => {}
            _ => return Err(wrong(&format!("{place}.AuthType"), "only NONE is served on this machine")),
        }
        match self.resolve(&config["InvokeMode"], &place)?.as_ref().and_then(Value::as_str) {
            None | Some("BUFFERED") => Ok(true),
            Some(other) => Err(wrong(&format!("{place}.InvokeMode"), format!("{other} is not served on this machine"))),
        }
    }

    fn routes(&self, id: &str, resource: &Value, function: &str) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for (name, event) in resource["Properties"]["Events"].as_object().into_iter().flatten() {
            let place = format!("Resources.{id}.Properties.Events.{name}");
            if event["Type"] == SCHEDULE {
                continue;
            }
            if event["Type"] != "HttpApi" {
                return Err(wrong(&place, format!("events of type {} are not served on this machine", event["Type"])));
            }
            let properties = &event["Properties"];
            let place = format!("{place}.Properties");
            only_keys(properties, &place, &["ApiId", "Path", "Method", "Auth", "PayloadFormatVersion"])?;
            let text = |key: &str| self.text(&properties[key], &format!("{place}.{key}"));
            if !properties["PayloadFormatVersion"].is_null() && text("PayloadFormatVersion")? != "2.0" {
                return Err(wrong(&format!("{place}.PayloadFormatVersion"), "only 2.0 is served on this machine"));
            }
            only_keys(&properties["Auth"], &format!("{place}.Auth"), &["Authorizer"])?;
            let authorizer = &properties["Auth"]["Authorizer"];
            routes.push(Route {
                method: text("Method")?.to_ascii_uppercase(),
                path: text("Path")?,
                function: function.to_owned(),
                authorized: authorizer != "NONE",
            });
        }
        Ok(routes)
    }

    fn http_api(&self) -> Result<(Option<Authorizer>, Option<Cors>)> {
        let apis: Vec<_> =
            self.resources()?.iter().filter(|(_, resource)| resource["Type"] == "AWS::Serverless::HttpApi").collect();
        let (id, api) = match apis.as_slice() {
            [] => return Ok((None, None)),
            [one] => *one,
            [_, (id, _), ..] => {
                return Err(wrong(&format!("Resources.{id}"), "a second HTTP API: this machine serves one"));
            }
        };
        let place = format!("Resources.{id}.Properties");
        let properties = &api["Properties"];
        let auth = &properties["Auth"];
        let auth_place = format!("{place}.Auth");
        only_keys(auth, &auth_place, &["Authorizers", "DefaultAuthorizer"])?;
        let authorizer = match auth["DefaultAuthorizer"].as_str() {
            None => None,
            Some(name) => {
                let place = format!("{auth_place}.Authorizers.{name}");
                let authorizer = &auth["Authorizers"][name];
                only_keys(authorizer, &place, &["JwtConfiguration", "IdentitySource"])?;
                let source = &authorizer["IdentitySource"];
                if !source.is_null() && source != "$request.header.Authorization" {
                    let problem = "only $request.header.Authorization is served on this machine";
                    return Err(wrong(&format!("{place}.IdentitySource"), problem));
                }
                let jwt = self.required(&authorizer["JwtConfiguration"], &format!("{place}.JwtConfiguration"))?;
                let member = |lower: &str, upper: &str| match &jwt[lower] {
                    Value::Null => jwt[upper].clone(),
                    value => value.clone(),
                };
                Some(Authorizer {
                    issuer: as_text(&member("issuer", "Issuer"), &format!("{place}.JwtConfiguration.issuer"))?,
                    audience: as_list(&member("audience", "Audience"), &format!("{place}.JwtConfiguration.audience"))?,
                })
            }
        };
        let cors_place = format!("{place}.CorsConfiguration");
        let cors = match self.resolve(&properties["CorsConfiguration"], &cors_place)? {
            None | Some(Value::Null) => None,
            Some(cors) => Some(read_cors(&cors, &cors_place)?),
        };
        Ok((authorizer, cors))
    }

    fn table(&self) -> Result<Table> {
        let tables: Vec<_> =
            self.resources()?.iter().filter(|(_, resource)| resource["Type"] == "AWS::DynamoDB::Table").collect();
        let [(id, table)] = tables.as_slice() else {
            return Err(wrong("Resources", format!("{} tables: this machine serves exactly one", tables.len())));
        };
        let place = format!("Resources.{id}.Properties");
        let is_made = match table["Condition"].as_str() {
            Some(condition) => self.condition(condition, &format!("Resources.{id}.Condition"))?,
            None => true,
        };
        let name = if is_made {
            self.reference(id, &place)?.as_str().unwrap_or_default().to_owned()
        } else {
            self.parameter_or("ExistingTable", "")
        };
        let mut create = json!({ "TableName": name, "BillingMode": "PAY_PER_REQUEST" });
        for key in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"] {
            let value = &table["Properties"][key];
            if !value.is_null() {
                create[key] = self.required(value, &format!("{place}.{key}"))?;
            }
        }
        let understood = [
            "AttributeDefinitions",
            "KeySchema",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
            "BillingMode",
            "TableName",
            "TimeToLiveSpecification",
            // These have no meaning on one machine.
            "DeletionProtectionEnabled",
            "PointInTimeRecoverySpecification",
            "SSESpecification",
            "OnDemandThroughput",
            "TableClass",
            "ContributorInsightsSpecification",
            "Tags",
        ];
        only_keys(&table["Properties"], &place, &understood)?;
        let ttl_place = format!("{place}.TimeToLiveSpecification");
        let ttl = self.resolve(&table["Properties"]["TimeToLiveSpecification"], &ttl_place)?.unwrap_or_default();
        let ttl_attribute = match &ttl["Enabled"] {
            Value::Null | Value::Bool(false) => None,
            _ => Some(as_text(&ttl["AttributeName"], &format!("{ttl_place}.AttributeName"))?),
        };
        let uses_key = !table["Properties"]["SSESpecification"]["KMSMasterKeyId"].is_null();
        Ok(Table { name, is_made, create, ttl_attribute, uses_key })
    }

    fn key_aliases(&self) -> Result<Vec<String>> {
        let mut aliases = Vec::new();
        for (id, resource) in self.resources()? {
            if resource["Type"] == "AWS::KMS::Alias" {
                let place = format!("Resources.{id}.Properties.AliasName");
                aliases.push(self.text(&resource["Properties"]["AliasName"], &place)?);
            }
        }
        Ok(aliases)
    }

    fn required(&self, value: &Value, place: &str) -> Result<Value> {
        match self.resolve(value, place)? {
            None | Some(Value::Null) => Err(wrong(place, "missing")),
            Some(value) => Ok(value),
        }
    }

    fn text(&self, value: &Value, place: &str) -> Result<String> {
        as_text(&self.required(value, place)?, place)
    }

    /// The value with its intrinsic functions replaced; `None` for `AWS::NoValue`.
    fn resolve(&self, value: &Value, place: &str) -> Result<Option<Value>> {
        match value {
            Value::Object(members) => {
                if let Some((function, argument)) = intrinsic(members) {
                    return self.call(function, argument, place);
                }
                let mut resolved = Map::new();
                for (name, member) in members {
                    if let Some(member) = self.resolve(member, &format!("{place}.{name}"))? {
                        resolved.insert(name.clone(), member);
                    }
                }
                Ok(Some(Value::Object(resolved)))
            }
            Value::Array(items) => {
                let mut resolved = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    resolved.extend(self.resolve(item, &format!("{place}[{index}]"))?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            Value::String(text) => without_dynamic_reference(text.clone(), place).map(Some),
            other => Ok(Some(other.clone())),
        }
    }

    fn call(&self, function: &str, argument: &Value, place: &str) -> Result<Option<Value>> {
        let arguments = || self.arguments(argument, place);
        match function {
            "Ref" if argument == "AWS::NoValue" => Ok(None),
            "Ref" => {
                let name = argument.as_str().ok_or_else(|| wrong(place, "Ref needs a name"))?;
                self.reference(name, place).map(Some)
            }
            "Fn::GetAtt" => {
                let path: Vec<&str> = match argument {
                    Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
                    Value::String(path) => path.splitn(2, '.').collect(),
                    _ => Vec::new(),
                };
                let [resource, attribute] = path[..] else {
                    return Err(wrong(place, "GetAtt needs a resource and an attribute"));
                };
                self.attribute(resource, attribute, place).map(|text| Some(Value::String(text)))
            }
            "Fn::Sub" => {
                let (text, extra) = match argument {
                    Value::String(text) => (text.as_str(), Value::Null),
                    Value::Array(parts) if parts.len() == 2 => {
                        (parts[0].as_str().unwrap_or_default(), self.required(&parts[1], place)?)
                    }
                    _ => return Err(wrong(place, "Sub needs a string, or a string and a map")),
                };
                let text = self.substitute(text, &extra, place)?;
                without_dynamic_reference(text, place).map(Some)
            }
            "Fn::If" => {
                let Some([condition, yes, no]) = argument.as_array().map(Vec::as_slice) else {
                    return Err(wrong(place, "If needs a condition and two values"));
                };
                let name = condition.as_str().ok_or_else(|| wrong(place, "If needs a condition's name"))?;
                self.resolve(if self.condition(name, place)? { yes } else { no }, place)
            }
            "Fn::Join" => {
                let Value::Array(parts) = argument else { return Err(wrong(place, "Join needs a list")) };
                let [Value::String(separator), list] = &parts[..] else {
                    return Err(wrong(place, "Join needs a separator and a list"));
                };
                let items = as_list(&self.required(list, place)?, place)?;
                Ok(Some(Value::String(items.join(separator))))
            }
            "Fn::Split" => match &arguments()?[..] {
                [Value::String(separator), Value::String(text)] => Ok(Some(text.split(separator.as_str()).collect())),
                _ => Err(wrong(place, "Split needs a separator and a string")),
            },
            "Fn::Select" => match &arguments()?[..] {
                [index, Value::Array(items)] => {
                    let index = as_number(index).and_then(|index| usize::try_from(index).ok());
                    let item = index.and_then(|index| items.get(index));
                    item.cloned().map(Some).ok_or_else(|| wrong(place, "Select is out of range"))
                }
                _ => Err(wrong(place, "Select needs an index and a list")),
            },
            "Fn::FindInMap" => {
                let keys = as_list(&Value::Array(arguments()?), place)?;
                let found = keys.iter().fold(&self.document["Mappings"], |map, key| &map[key.as_str()]);
                self.required(found, place).map(Some)
            }
            "Fn::Equals" => match &arguments()?[..] {
                [left, right] => Ok(Some(Value::Bool(loosely_equal(left, right)))),
                _ => Err(wrong(place, "Equals needs two values")),
            },
            "Fn::And" => Ok(Some(Value::Bool(arguments()?.iter().all(|value| value == true)))),
            "Fn::Or" => Ok(Some(Value::Bool(arguments()?.iter().any(|value| value == true)))),
            "Fn::Not" => Ok(Some(Value::Bool(arguments()?.iter().all(|value| value == false)))),
            "Condition" => {
                let name = argument.as_str().ok_or_else(|| wrong(place, "Condition needs a name"))?;
                self.condition(name, place).map(|value| Some(Value::Bool(value)))
            }
            other => Err(wrong(place, format!("{other} is not understood on this machine"))),
        }
    }

    fn arguments(&self, argument: &Value, place: &str) -> Result<Vec<Value>> {
        match self.required(argument, place)? {
            Value::Array(arguments) => Ok(arguments),
            _ => Err(wrong(place, "an intrinsic function needs a list here")),
        }
    }

    fn condition(&self, name: &str, place: &str) -> Result<bool> {
        let condition = &self.document["Conditions"][name];
        if condition.is_null() {
            return Err(wrong(place, format!("there is no condition {name}")));
        }
        let place = format!("Conditions.{name}");
        self.required(condition, &place)?.as_bool().ok_or_else(|| wrong(&place, "is not a condition"))
    }

    fn reference(&self, name: &str, place: &str) -> Result<Value> {
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        let pseudo = match name {
            "AWS::Region" => Some(REGION.to_owned()),
            "AWS::AccountId" => Some(ACCOUNT_ID.to_owned()),
            "AWS::StackName" => Some(STACK.to_owned()),
            "AWS::StackId" => Some(format!("arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/{STACK}/0")),
            "AWS::Partition" => Some("aws".to_owned()),
            "AWS::URLSuffix" => Some("amazonaws.com".to_owned()),
            _ => None,
        };
        if let Some(value) = pseudo {
            return Ok(Value::String(value));
        }
        let resource = &self.document["Resources"][name];
        let named = |property: &str| match &resource["Properties"][property] {
            Value::Null => Ok(format!("{STACK}-{name}")),
            given => self.text(given, &format!("Resources.{name}.Properties.{property}")),
        };
        let value = match resource["Type"].as_str() {
            None => return Err(wrong(place, format!("there is no parameter or resource {name}"))),
            Some("AWS::DynamoDB::Table") => named("TableName")?,
            Some("AWS::KMS::Key") => KEY_ID.to_owned(),
            Some("AWS::KMS::Alias") => named("AliasName")?,
            Some("AWS::SecretsManager::Secret") => secret_arn(name),
            Some("AWS::Logs::LogGroup") => named("LogGroupName")?,
            Some("AWS::Serverless::HttpApi") => API_ID.to_owned(),
            Some("AWS::Serverless::Function") => function_name(name, resource),
            Some(kind) => {
                return Err(wrong(place, format!("a Ref to {name} ({kind}) is not emulated on this machine")));
            }
        };
        Ok(Value::String(value))
    }

    fn attribute(&self, name: &str, attribute: &str, place: &str) -> Result<String> {
        if let Some(function) = name.strip_suffix("Url") {
            let resource = &self.document["Resources"][function];
            if attribute == "FunctionUrl" && !resource["Properties"]["FunctionUrlConfig"].is_null() {
                return Ok(self.emulation.function_url.clone());
            }
        }
        let kind = self.document["Resources"][name]["Type"].as_str();
        let reference = || as_text(&self.reference(name, place)?, place);
        match (kind, attribute) {
            (Some("AWS::DynamoDB::Table"), "Arn") => Ok(table_arn(&reference()?)),
            (Some("AWS::SSM::Parameter"), "Value") => {
                let value = &self.document["Resources"][name]["Properties"]["Value"];
                self.text(value, &format!("Resources.{name}.Properties.Value"))
            }
            // Here the console is served by the API.
            (Some("AWS::CloudFront::Distribution"), "DomainName") => Ok("console.local.invalid".to_owned()),
            (Some("AWS::KMS::Key"), "Arn") => Ok(key_arn()),
            (Some("AWS::KMS::Key"), "KeyId") => Ok(KEY_ID.to_owned()),
            (Some("AWS::Serverless::Function"), "Arn") => {
                Ok(format!("arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{}", reference()?))
            }
            (Some("AWS::Serverless::HttpApi"), "ApiEndpoint") => Ok(self.emulation.api.clone()),
            (Some("AWS::Logs::LogGroup"), "Arn") => {
                Ok(format!("arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{}:*", reference()?))
            }
            (None, _) => Err(wrong(place, format!("there is no resource {name}"))),
            (Some(kind), _) => {
                Err(wrong(place, format!("{name}.{attribute} ({kind}) is not emulated on this machine")))
            }
        }
    }

    fn substitute(&self, text: &str, extra: &Value, place: &str) -> Result<String> {
        let mut result = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            result.push_str(&rest[..start]);
            let end = rest[start..].find('}').ok_or_else(|| wrong(place, "a ${ without its }"))? + start;
            let name = rest[start + 2..end].trim();
            if let Some(literal) = name.strip_prefix('!') {
                result.extend(["${", literal, "}"]);
            } else if let Some(value) = extra.get(name) {
                result.push_str(&as_text(value, place)?);
            } else if let (Some((resource, attribute)), false) = (name.split_once('.'), name.starts_with("AWS::")) {
                result.push_str(&self.attribute(resource, attribute, place)?);
            } else {
                result.push_str(&as_text(&self.reference(name, place)?, place)?);
            }
            rest = &rest[end + 1..];
        }
        result.push_str(rest);
        Ok(result)
    }
}

/// The issuer of local tokens.
#[must_use]
pub fn issuer(api: &str) -> String {
    format!("{api}/local")
}

/// The ARN of the emulated KMS key.
#[must_use]
pub fn key_arn() -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{KEY_ID}")
}

/// The ARN of a table.
#[must_use]
pub fn table_arn(name: &str) -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/{name}")
}

/// The ARN of a secret of the template.
#[must_use]
pub fn secret_arn(logical_id: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:{logical_id}")
}

/// A text as it stands: `{{resolve:…}}` is resolved when a resource is updated, not when the value changes.
fn without_dynamic_reference(text: String, place: &str) -> Result<Value> {
    if text.contains("{{resolve:") {
        return Err(wrong(place, "a dynamic reference is not resolved on this machine"));
    }
    Ok(Value::String(text))
}

/// The intrinsic function that an object is, if it is one: its only member.
fn intrinsic(members: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = members.iter().next()?;
    let is_one = members.len() == 1 && (name == "Ref" || name == "Condition" || name.starts_with("Fn::"));
    is_one.then_some((name.as_str(), argument))
}

fn only_keys(value: &Value, place: &str, known: &[&str]) -> Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Object(members) => match members.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(wrong(&format!("{place}.{key}"), "is not understood on this machine")),
        },
        _ => Err(wrong(place, "should be a map")),
    }
}

/// The members of a list; a single value is a list of one, as `CloudFormation` takes it.
fn members(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Null => &[],
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    }
    .iter()
}

fn read_statement(statement: &Value, place: &str) -> Result<Statement> {
    only_keys(statement, place, &["Sid", "Effect", "Action", "Resource", "Condition"])?;
    if statement["Effect"] != "Allow" {
        return Err(wrong(&format!("{place}.Effect"), "only Allow is understood on this machine"));
    }
    let list = |key: &str| {
        let place = format!("{place}.{key}");
        let list = as_list(&statement[key], &place)?;
        match list.iter().find(|text| text.contains(['*', '?'])) {
            Some(wildcard) => Err(wrong(&place, format!("{wildcard} has a wildcard: name each one"))),
            None => Ok(list),
        }
    };
    let mut conditions = Vec::new();
    for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
        let place = format!("{place}.Condition.{operator}");
        for (key, value) in keys.as_object().into_iter().flatten() {
            let (key, place) = (key.clone(), format!("{place}.{key}"));
            conditions.push(match operator.as_str() {
                "Null" => Condition::Absent(key, as_text(value, &place)? == "true"),
                "StringEquals" => Condition::Equals(key, as_list(value, &place)?),
                "ForAllValues:StringEquals" => Condition::OnlyThese(key, as_list(value, &place)?),
                _ => return Err(wrong(&place, "is not understood on this machine")),
            });
        }
    }
    Ok(Statement { actions: list("Action")?, resources: list("Resource")?, conditions })
}

fn read_cors(cors: &Value, place: &str) -> Result<Cors> {
    let known = ["AllowOrigins", "AllowMethods", "AllowHeaders", "ExposeHeaders", "MaxAge", "AllowCredentials"];
    only_keys(cors, place, &known)?;
    let list = |key: &str| match &cors[key] {
        Value::Null => Ok(Vec::new()),
        value => as_list(value, &format!("{place}.{key}")),
    };
    Ok(Cors {
        origins: list("AllowOrigins")?,
        methods: list("AllowMethods")?,
        headers: list("AllowHeaders")?,
        exposed: list("ExposeHeaders")?,
        max_age_secs: as_number(&cors["MaxAge"]),
        credentials: cors["AllowCredentials"] == true || cors["AllowCredentials"] == "true",
    })
}

/// `rate(1 hour)`.
fn read_rate(text: &str) -> Option<Duration> {
    let (number, unit) = text.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let minutes = match unit.trim_end_matches('s') {
        "minute" => 1,
        "hour" => 60,
        "day" => 24 * 60,
        _ => return None,
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    Some(Duration::from_mins(number * minutes))
}

fn as_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn as_text(value: &Value, place: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null => Err(wrong(place, "missing")),
        _ => Err(wrong(place, "should be a string")),
    }
}

/// A list of strings; a single string is a list of one, as `CloudFormation` takes it.
fn as_list(value: &Value, place: &str) -> Result<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| as_text(item, place)).collect(),
        other => Ok(vec![as_text(other, place)?]),
    }
}

/// `CloudFormation` compares as strings: `"1"` equals `1`.
fn loosely_equal(left: &Value, right: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text(left) == text(right)
}

/// The crate and binary of a function, and so its name on this machine.
fn function_name(id: &str, resource: &Value) -> String {
    let binary = &resource["Metadata"]["BuildProperties"]["Binary"];
    let folder = resource["Properties"]["CodeUri"].as_str().unwrap_or(".").trim_end_matches('/').rsplit('/').next();
    match (binary.as_str(), folder) {
        (Some(binary), _) => binary.to_owned(),
        (None, Some(folder)) if !folder.is_empty() && folder != "." => folder.to_owned(),
        _ => kebab_case(id),
    }
}

/// `ListIntegrations` → `list-integrations`.
fn kebab_case(id: &str) -> String {
    let mut name = String::new();
    for character in id.chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alarms::{Comparison, Query, Statistic},
        metrics::Metric,
    };

    const TEMPLATE: &str = include_str!("../tests/fixtures/template.yaml");

    fn emulation() -> Emulation {
        Emulation {
            api: "http://127.0.0.1:3000".to_owned(),
            function_url: "http://127.0.0.1:3001/".to_owned(),
            provider: "http://127.0.0.1:3002".to_owned(),
            parameters: BTreeMap::new(),
        }
    }

    fn read(text: &str, emulation: &Emulation) -> Result<System> {
        Template::new(&plain(serde_yaml_ng::from_str(text).unwrap()), emulation)?.system()
    }

    #[test]
    fn functions_have_their_variables_resolved() {
        let system = read(TEMPLATE, &emulation()).unwrap();

        let function = &system.functions[0];
        assert_eq!(function.name, "echo-request");
        assert_eq!(function.timeout, Duration::from_secs(2));
        assert_eq!(function.memory_mb, 256);
        assert!(function.json_logs);
        let environment = &function.environment;
        assert_eq!(environment["TABLE_NAME"], "local-Table");
        assert_eq!(environment["KMS_KEY_ID"], KEY_ID);
        assert_eq!(environment["WEBHOOK_URL"], "http://127.0.0.1:3001/api/v1/webhooks/360dialog");
        assert_eq!(environment["WEBHOOK_SECRET_ARN"], secret_arn("WebhookSecret"));
        assert_eq!(system.secrets, [secret_arn("WebhookSecret")]);
        assert_eq!(environment["DIALOG360_BASE_URL"], "http://127.0.0.1:3002");
        assert_eq!(system.webhook_url, "http://127.0.0.1:3001/api/v1/webhooks/360dialog");
    }

    #[test]
    fn functions_may_do_what_their_policies_say() {
        let system = read(TEMPLATE, &emulation()).unwrap();

        let [reads, _, wraps] = &system.functions[0].statements[..] else { panic!("{:?}", system.functions[0]) };
        assert_eq!(reads.actions, ["dynamodb:GetItem", "dynamodb:Query"]);
        assert_eq!(reads.resources, [table_arn("local-Table"), format!("{}/index/inbox", table_arn("local-Table"))]);
        assert_eq!(wraps.resources, [key_arn()]);
        let platform = "kms:EncryptionContext:platform".to_owned();
        assert_eq!(wraps.conditions, [Condition::Equals(platform, vec!["whatsapp".to_owned()])]);
        assert!(system.functions[1].statements.is_empty());
    }

    #[test]
    fn routes_ask_for_a_token_unless_they_say_none() {
        let system = read(TEMPLATE, &emulation()).unwrap();

        let open: Vec<_> = system.api.routes.iter().filter(|route| !route.authorized).collect();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].path, "/open");
        let authorizer = system.api.authorizer.unwrap();
        assert_eq!(authorizer.issuer, "http://127.0.0.1:3000/local");
        assert_eq!(authorizer.audience, ["local"]);
    }

    #[test]
    fn the_table_is_created_as_declared() {
        let table = read(TEMPLATE, &emulation()).unwrap().table;

        assert_eq!(table.create["GlobalSecondaryIndexes"][1]["Projection"]["ProjectionType"], "KEYS_ONLY");
        assert_eq!(table.ttl_attribute.as_deref(), Some("expiresAt"));
    }

    #[test]
    fn alarms_watch_what_the_machine_calls_by_these_names() {
        let system = read(TEMPLATE, &emulation()).unwrap();

        let [crashes, refused, slow, undelivered] = &system.alarms[..] else { panic!("{:?}", system.alarms) };
        let crashing = Metric::new("AWS/Lambda", "Errors", &[("FunctionName", "receive-webhook")]);
        assert_eq!(crashes.name, "Crashes");
        assert_eq!(crashes.description, "The function ended while it worked.");
        assert_eq!(crashes.query, Query::Metric(crashing, Statistic::Sum));
        assert_eq!((crashes.period, crashes.periods, crashes.to_alarm), (Duration::from_mins(5), 2, 2));
        assert_eq!((crashes.comparison, crashes.threshold), (Comparison::AtLeast, 1.0));
        let reads = [("TableName", "local-Table"), ("GlobalSecondaryIndexName", "inbox")];
        let summed = [
            (Metric::new("AWS/DynamoDB", "WriteThrottleEvents", &reads[..1]), Statistic::Sum),
            (Metric::new("AWS/DynamoDB", "ReadThrottleEvents", &reads), Statistic::Sum),
        ];
        assert_eq!(refused.query, Query::Sum(summed.into()));
        assert_eq!((refused.period, refused.periods, refused.to_alarm), (Duration::from_mins(1), 5, 3));
        let slow_api = Metric::new("AWS/ApiGateway", "Latency", &[("ApiId", "local")]);
        assert_eq!(slow.query, Query::Metric(slow_api, Statistic::Percentile(99.9)));
        assert_eq!((slow.comparison, slow.threshold), (Comparison::Above, 0.5));
        let (namespace, name) = ("local".to_owned(), "Undelivered".to_owned());
        assert_eq!(undelivered.query, Query::Every { namespace, name, statistic: Statistic::Average });
        assert_eq!(undelivered.period, Duration::from_hours(1));
    }

    #[test]
    fn a_metric_filter_says_which_lines_it_counts() {
        let filters = read(TEMPLATE, &emulation()).unwrap().metric_filters;

        let metric = Metric::new("local", "LoggedErrors", &[]);
        let (field, text) = ("level".to_owned(), "ERROR".to_owned());
        assert_eq!(filters, [MetricFilter { field, text, metric, value: 1.0 }]);
    }

    #[test]
    fn a_condition_chooses_by_parameter() {
        let mut emulation = emulation();
        emulation.parameters.insert("WebhookUrl".to_owned(), "https://hooks.example.com/in".to_owned());

        let system = read(TEMPLATE, &emulation).unwrap();

        assert_eq!(system.functions[0].environment["WEBHOOK_URL"], "https://hooks.example.com/in");
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        let cases = [
            ("!Ref Table", "!GetAtt Table.StreamArn", "Table.StreamArn"),
            ("!Ref Table", "!ImportValue x", "Fn::ImportValue"),
            ("!Ref Table", "!Ref Tabel", "no parameter or resource Tabel"),
            ("Type: HttpApi", "Type: Schedule", "Events"),
            ("AllowOrigins", "AllowOrigin", "CorsConfiguration.AllowOrigin"),
            ("!Ref WebhookSecret", "'{{resolve:ssm:a}}'", "dynamic reference"),
            ("Action: dynamodb:PutItem", "Action: dynamodb:*", "wildcard"),
            ("Effect: Allow", "Effect: Deny", "only Allow"),
            ("StringEquals:", "StringLike:", "StringLike"),
            ("!Ref Reads", "!Ref Table", "no managed policy"),
            ("Statistic: Sum", "Statistic: Maximum", "Resources.Crashes.Properties.Statistic: Maximum"),
            ("Period: 300", "Period: 0", "Resources.Crashes.Properties.Period"),
            ("EvaluationPeriods: 2", "EvaluationPeriods: two", "EvaluationPeriods"),
            ("GreaterThanThreshold", "LessThanThreshold", "ComparisonOperator"),
            ("TreatMissingData: notBreaching", "TreatMissingData: ignore", "only notBreaching"),
            ("ReturnData: false", "ReturnData: true", "Metrics[1].ReturnData"),
            ("FILL(METRICS(), 0)", "METRICS()", "only SUM(FILL(METRICS(), 0))"),
            ("Period: 60", "Period: 30", "one period"),
            ("SELECT AVG", "SELECT MAX", "Resources.Undelivered.Properties.Metrics[0].Expression"),
            ("$.level = ", "$.level != ", "FilterPattern"),
            ("LogGroupName: !Ref Logs", "LogGroupName: another", "LogGroupName"),
        ];
        for (from, to, expected) in cases {
            let error = read(&TEMPLATE.replacen(from, to, 1), &emulation()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_projects_own_template_is_understood() {
        let system = read(include_str!("../../../template.yaml"), &emulation()).unwrap();

        assert_eq!(system.webhook.as_deref(), Some("receive-webhook"));
        assert_eq!(system.webhook_url, "http://127.0.0.1:3001/api/v1/webhooks/360dialog");
        assert!(system.api.routes.iter().all(|route| route.authorized));
        assert!(system.api.cors.is_some());
        let console = system.console.unwrap();
        let config: Value = serde_json::from_str(&console.config).unwrap();
        assert_eq!(config["issuer"], "http://127.0.0.1:3000/local");
        assert_eq!(config["clientId"], "local");
        assert_eq!(config["claims"]["organization"], "organizationId");
        assert_eq!(config["webhookUrl"], "http://127.0.0.1:3001/api/v1/webhooks/360dialog");
        let policy = &console.headers.iter().find(|(name, _)| name == "content-security-policy").unwrap().1;
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:3000; "), "{policy}");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(system.table.ttl_attribute.as_deref(), Some("expiresAt"));
        assert!(system.alarms.iter().any(|alarm| alarm.name == "TableThrottled"));
        assert_eq!(system.metric_filters.len(), 1);
        assert!(system.functions.iter().all(|function| function.reserved.is_none()));
    }

    #[test]
    fn parameters_reach_functions_and_headers() {
        let mut emulation = emulation();
        let given = [("WebhookConcurrency", "7"), ("ConnectOrigins", "https://tokens.example.com")];
        emulation.parameters.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));

        let system = read(include_str!("../../../template.yaml"), &emulation).unwrap();

        let reserved = system.functions.iter().filter_map(|function| Some((&function.name[..], function.reserved?)));
        assert_eq!(reserved.collect::<Vec<_>>(), [("receive-webhook", 7)]);
        let headers = system.console.unwrap().headers;
        let policy = &headers.iter().find(|(name, _)| name == "content-security-policy").unwrap().1;
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:3000 https://tokens.example.com; "), "{policy}");
    }

    #[test]
    fn a_parameter_that_does_not_exist_is_refused() {
        let mut emulation = emulation();
        emulation.parameters.insert("Nonsense".to_owned(), "1".to_owned());

        assert!(read(TEMPLATE, &emulation).unwrap_err().to_string().contains("Nonsense"));
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(read_rate("rate(1 hour)"), Some(Duration::from_hours(1)));
        assert_eq!(read_rate("rate(5 minutes)"), Some(Duration::from_mins(5)));
        for text in ["rate(0 hours)", "rate(1 week)", "cron(0 * * * ? *)", "1 hour"] {
            assert_eq!(read_rate(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_crates_follow_logical_ids() {
        assert_eq!(kebab_case("ListIntegrations"), "list-integrations");
    }
}
