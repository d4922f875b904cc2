//! Reads template.yaml and says what it describes, with every intrinsic function resolved for this machine.
//!
//! Only what is needed is resolved, and what is needed must be understood: anything else is an error that names its place.

mod alarms;
mod api;
mod console;
mod functions;
mod intrinsics;
mod table;
mod yaml;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use serde_json::{Map, Value};

use self::yaml::{plain, wrong};
pub use self::{
    api::{Api, Authorizer, Cors, Route},
    console::Console,
    functions::Function,
    table::Table,
};
use crate::{
    alarms::Alarm,
    arn::secret_arn,
    error::{Error, Result},
    metrics::MetricFilter,
};

/// The HTTP API.
pub const API_ID: &str = "local";
/// The audience of tokens, unless a parameter says otherwise.
pub const AUDIENCE: &str = "local";
/// The resource that says where the provider delivers.
const WEBHOOK_ADDRESS: &str = "WebhookAddress";

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

struct Template<'a> {
    document: &'a Value,
    emulation: &'a Emulation,
    parameters: HashMap<String, Value>,
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

    fn parameter_or(&self, name: &str, default: &str) -> String {
        self.parameters.get(name).and_then(Value::as_str).unwrap_or(default).to_owned()
    }

    fn resources(&self) -> Result<&'a Map<String, Value>> {
        self.document["Resources"].as_object().ok_or_else(|| wrong("Resources", "missing"))
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
}

/// The issuer of local tokens.
#[must_use]
pub fn issuer(api: &str) -> String {
    format!("{api}/local")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        alarms::{Comparison, Query, Statistic},
        arn::{KEY_ID, key_arn, table_arn},
        iam::Condition,
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
            ("!Ref Table", "!GetAtt Table.TableId", "Table.TableId"),
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
}
