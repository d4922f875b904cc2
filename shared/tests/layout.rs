//! Functions, template, events and contract agree: whoever adds an endpoint is told what is still missing.
#![expect(clippy::unwrap_used, reason = "a file that is not as expected is what these tests look for")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value as Json;
use serde_yaml_ng::Value as Yaml;

/// `GET /api/v1/conversations`, as API Gateway spells a route.
type Route = String;

const WEBHOOK: &str = "receive-webhook";
const WEBHOOK_PATH: &str = "/api/v1/webhooks/360dialog";
/// Not reached over HTTP at all: invoked by a schedule, or by whoever runs the service.
const INVOKED: [&str; 4] = ["check-integrations", "issue-webhook-token", "replay-quarantine-day", "write-journal"];
/// What a stack uses instead of making it where a parameter names one, and when it makes it.
const ADOPTED: [(&str, &str); 4] = [
    ("Table", "MakesTable"),
    ("SecretsKey", "MakesKey"),
    ("WebhookSecret", "MakesSecret"),
    ("UserPool", "MakesUserPool"),
];
/// The crates that are no function, each with those of the workspace that it may depend on; a function may on `shared`.
const CRATES: [(&str, &str, &[&str]); 9] = [
    ("shared", "shared", &[]),
    ("local/client", "client", &[]),
    ("local/emulator", "emulator", &["client"]),
    ("local/simulator", "simulator", &["client", "emulator"]),
    ("local/system", "system", &["client", "emulator", "simulator"]),
    ("local/trials", "trials", &["client", "emulator", "system"]),
    ("local/cli", "local", &["system", "trials"]),
    ("testbed", "testbed", &["emulator", "shared"]),
    ("tests", "tests", &["client", "emulator", "shared"]),
];
/// What each of them may besides in its own tests.
const IN_TESTS: [(&str, &[&str]); 3] =
    [("shared", &["testbed"]), ("local", &["client", "emulator", "tests"]), ("emulator", &["shared"])];
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(relative)
}

fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(path(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The names of the functions: the folders of `functions/`.
fn functions() -> BTreeSet<String> {
    names_in("functions").into_iter().filter(|name| path(&format!("functions/{name}/Cargo.toml")).exists()).collect()
}

fn is_invoked(function: &str) -> bool {
    INVOKED.contains(&function)
}

fn template() -> Yaml {
    serde_yaml_ng::from_str(&read("template.yaml")).unwrap()
}

fn contract() -> Yaml {
    serde_yaml_ng::from_str(&read("openapi.yaml")).unwrap()
}

fn event(function: &str) -> Json {
    serde_json::from_str(&read(&format!("events/{function}.json"))).unwrap()
}

/// The properties of every function in the template, by logical id.
fn function_resources(template: &Yaml) -> BTreeMap<String, Yaml> {
    let resources = template["Resources"].as_mapping().unwrap();
    let functions = resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function");
    functions.map(|(id, resource)| (text(id), resource["Properties"].clone())).collect()
}

fn text(value: &Yaml) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value:?}")).to_owned()
}

/// `list-messages` as `ListMessages`.
fn pascal_case(name: &str) -> String {
    let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(capitalized).collect()
}

/// `list-messages` as `listMessages`.
fn camel_case(name: &str) -> String {
    let pascal = pascal_case(name);
    pascal[..1].to_lowercase() + &pascal[1..]
}

/// The routes of a function in the template.
fn template_routes(properties: &Yaml) -> BTreeSet<Route> {
    let events = properties["Events"].as_mapping().cloned().unwrap_or_default();
    events
        .values()
        .filter(|event| event["Type"] == "HttpApi")
        .map(|event| &event["Properties"])
        .map(|api| route(&text(&api["Method"]), &text(&api["Path"])))
        .collect()
}

fn route(method: &str, path: &str) -> Route {
    format!("{} {path}", method.to_uppercase())
}

/// The routes of the contract, by operation id.
fn contract_routes(contract: &Yaml) -> BTreeMap<String, Route> {
    let mut routes = BTreeMap::new();
    for (path, item) in contract["paths"].as_mapping().unwrap() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let before = routes.insert(text(&operation["operationId"]), route(method, &text(path)));
                assert_eq!(before, None, "{path:?}: the operation id is taken");
            }
        }
    }
    routes
}

/// Every text in a value, at any depth, under any tag.
fn texts(value: &Yaml, found: &mut Vec<String>) {
    match value {
        Yaml::String(text) => found.push(text.clone()),
        Yaml::Sequence(items) => items.iter().for_each(|item| texts(item, found)),
        Yaml::Mapping(fields) => fields.values().for_each(|field| texts(field, found)),
        Yaml::Tagged(tagged) => texts(&tagged.value, found),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
    }
}

fn variable_names(of: &Yaml) -> BTreeSet<String> {
    of["Environment"]["Variables"].as_mapping().into_iter().flat_map(|names| names.keys()).map(text).collect()
}

/// What stands in quotation marks in a source file and is written `LIKE_THIS`.
fn constants_in(source: &str) -> BTreeSet<String> {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let literals = source.split('"').skip(1).step_by(2);
    let is_constant = |text: &&str| text.starts_with(char::is_alphabetic) && text.bytes().all(allowed);
    literals.filter(is_constant).map(str::to_owned).collect()
}

#[test]
fn function_is_a_crate_of_its_name_in_the_workspace() {
    assert!(read("Cargo.toml").contains("\"functions/*\""), "the workspace takes its members by glob");
    for function in functions() {
        let manifest = read(&format!("functions/{function}/Cargo.toml"));
        assert!(
            manifest.contains(&format!("name = \"{function}\"")),
            "functions/{function} holds a package of another name"
        );
    }
}

/// The names in a section of a manifest.
fn names_in_section(manifest: &str, section: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ']).next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A change of one crate rebuilds those above it, so a function's tests stay clear of what only measures the whole system.
#[test]
fn crates_depend_on_lower_ones_only() {
    let functions = functions();
    let members: BTreeSet<String> =
        CRATES.iter().map(|(_, name, _)| (*name).to_owned()).chain(functions.clone()).collect();
    let paths = functions.iter().map(|name| (format!("functions/{name}"), name.clone(), vec!["shared"]));
    let others = CRATES.iter().map(|(folder, name, lower)| ((*folder).to_owned(), (*name).to_owned(), lower.to_vec()));
    for (folder, name, mut allowed) in others.chain(paths) {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{folder} holds a package of another name");
        let refused = |section: &str, allowed: &[&str]| {
            let mut names = names_in_section(&manifest, section);
            names.retain(|name| members.contains(name) && !allowed.contains(&name.as_str()));
            names
        };
        assert_eq!(refused("[dependencies]", &allowed), BTreeSet::new(), "{name} depends on what is not below it");
        let in_tests = IN_TESTS.iter().find(|(of, _)| *of == name).map(|(_, in_tests)| *in_tests);
        allowed.extend(in_tests.unwrap_or(if functions.contains(&name) { &["testbed"] } else { &[] }));
        assert_eq!(refused("[dev-dependencies]", &allowed), BTreeSet::new(), "{name}'s tests do");
    }
    let folders = names_in("local").into_iter().map(|name| format!("local/{name}")).collect::<BTreeSet<_>>();
    let listed = CRATES.iter().map(|(folder, ..)| (*folder).to_owned()).filter(|folder| folder.starts_with("local/"));
    assert_eq!(folders, listed.collect(), "the crates of local/");
}

#[test]
fn functions_and_template_agree() {
    let resources = function_resources(&template());
    let expected: BTreeMap<_, _> =
        functions().iter().map(|name| (pascal_case(name), format!("functions/{name}"))).collect();
    let found: BTreeMap<_, _> =
        resources.iter().map(|(id, properties)| (id.clone(), text(&properties["CodeUri"]))).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_function_has_one_event_of_its_own_route() {
    let events: BTreeSet<_> = functions().iter().map(|name| format!("{name}.json")).collect();
    assert_eq!(names_in("events"), events);
    let resources = function_resources(&template());
    for function in functions().iter().filter(|function| !is_invoked(function)) {
        let event = event(function);
        assert_eq!(event["version"], "2.0", "{function}");
        assert_eq!(event["routeKey"], event["requestContext"]["routeKey"], "{function}");
        assert_eq!(event["rawPath"], event["requestContext"]["http"]["path"], "{function}");
        let routes = template_routes(&resources[&pascal_case(function)]);
        if function == WEBHOOK {
            assert_eq!(event["rawPath"], WEBHOOK_PATH);
        } else {
            assert_eq!(routes, BTreeSet::from([event["routeKey"].as_str().unwrap().to_owned()]), "{function}");
        }
    }
}

#[test]
fn routes_and_contract_agree() {
    let mut expected: BTreeMap<String, Route> = functions()
        .iter()
        .filter(|function| *function != WEBHOOK && !is_invoked(function))
        .map(|function| {
            (camel_case(function), template_routes(&function_resources(&template())[&pascal_case(function)]))
        })
        .map(|(operation, routes)| (operation, routes.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();
    expected.insert(camel_case(WEBHOOK), route("post", WEBHOOK_PATH));
    expected.insert("verifyWebhook".into(), route("get", WEBHOOK_PATH));
    assert_eq!(contract_routes(&contract()), expected);
}

#[test]
fn the_webhook_alone_is_reached_without_the_api() {
    for (id, properties) in function_resources(&template()) {
        let is_webhook = id == pascal_case(WEBHOOK);
        assert_eq!(properties.get("FunctionUrlConfig").is_some(), is_webhook, "{id}");
        let is_invoked = INVOKED.iter().any(|function| id == pascal_case(function));
        assert_eq!(template_routes(&properties).is_empty(), is_webhook || is_invoked, "{id}");
    }
}

#[test]
fn set_and_read_environment_variables_agree() {
    let template = template();
    let mut set = variable_names(&template["Globals"]["Function"]);
    set.extend(function_resources(&template).values().flat_map(variable_names));
    let read =
        constants_in(&read("shared/src/config.rs")).into_iter().filter(|name| !name.starts_with("AWS_")).collect();
    assert_eq!(set, read);
}

/// Two expressions for one variable drift apart, and only one of them is tried locally.
#[test]
fn environment_variable_has_one_expression() {
    let template = template();
    let globals = template["Globals"]["Function"].clone();
    let functions = function_resources(&template).into_iter().chain([("Globals".to_owned(), globals)]);
    let mut expressions: BTreeMap<String, (String, Yaml)> = BTreeMap::new();
    for (owner, properties) in functions {
        for (name, expression) in properties["Environment"]["Variables"].as_mapping().into_iter().flatten() {
            let name = text(name);
            let (first, known) = expressions.entry(name.clone()).or_insert_with(|| (owner.clone(), expression.clone()));
            assert_eq!(known, expression, "{name} is set to one thing in {first} and to another in {owner}");
        }
    }
    assert!(expressions.len() > 10);
}

/// These names are the whole account's, in all regions: a second stack would not fit beside the first.
#[test]
fn account_wide_names_differ_by_stack() {
    let template = template();
    let resources = template["Resources"].as_mapping().unwrap();
    let names = resources.values().filter_map(|resource| {
        let properties = &resource["Properties"];
        Some(match resource["Type"].as_str()? {
            "AWS::CloudFront::OriginAccessControl" => {
                (&properties["OriginAccessControlConfig"]["Name"], "AWS::StackId")
            }
            "AWS::CloudFront::Function" => (&properties["Name"], "AWS::StackId"),
            "AWS::CloudFront::ResponseHeadersPolicy" => {
                (&properties["ResponseHeadersPolicyConfig"]["Name"], "AWS::StackId")
            }
            "AWS::CloudFront::CachePolicy" => (&properties["CachePolicyConfig"]["Name"], "AWS::StackId"),
            "AWS::CloudWatch::Dashboard" => (&properties["DashboardName"], "AWS::Region"),
            _ => return None,
        })
    });
    let mut count = 0;
    for (name, part) in names {
        let mut found = Vec::new();
        texts(name, &mut found);
        assert!(found.iter().any(|text| text.contains(part)), "{found:?} lacks {part}");
        count += 1;
    }
    assert_eq!(count, 5);
}

/// The build reads `Architecture` too: under `deploy` alone it would deploy what was built for another processor.
#[test]
fn build_and_deployment_read_the_same_parameters() {
    for section in read("samconfig.toml").split("\n[").filter(|section| section.contains("parameter_overrides")) {
        assert!(section.split_once(".global.parameters]").is_some(), "{section}");
    }
}

/// A stack may use another stack's table, key, pool or secret: whoever needs one reads which it is.
#[test]
fn adopted_resources_are_named_in_one_place() {
    let template = read("template.yaml");
    for (resource, condition) in ADOPTED {
        let attribute = format!("!GetAtt {resource}.");
        let names = [format!("!Ref {resource}"), format!("${{{resource}")];
        for line in template.lines().filter(|line| !line.contains(&format!("!If [{condition},"))) {
            let is_named = names.iter().any(|name| {
                let rest = line.split_once(name.as_str()).map(|(_, rest)| rest);
                rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
            });
            assert!(!is_named && !line.contains(&attribute), "{line}");
        }
    }
}

/// A value in a function's configuration is told to whoever may read that: a secret is named there, and never stands there.
#[test]
fn no_secret_stands_in_a_functions_environment() {
    let template = template();
    let hidden: BTreeSet<String> = template["Parameters"]
        .as_mapping()
        .unwrap()
        .iter()
        .filter(|(_, parameter)| parameter["NoEcho"].as_bool() == Some(true))
        .map(|(name, _)| text(name))
        .collect();
    let functions = function_resources(&template);
    for of in functions.values().chain([&template["Globals"]["Function"]]) {
        for (name, value) in of["Environment"]["Variables"].as_mapping().into_iter().flatten() {
            let mut found = Vec::new();
            texts(value, &mut found);
            let tells = |text: &&String| text.contains("{{resolve:") || hidden.iter().any(|name| text.contains(name));
            assert_eq!(found.iter().find(tells), None, "{name:?}");
        }
    }
}

/// Each of these takes a permit first; a request from anywhere else would be one more than a process may have under way.
#[test]
fn requests_to_the_table_leave_from_three_files() {
    let rooms = names_in("shared/src/store").into_iter().map(|name| format!("store/{name}"));
    let senders: Vec<_> = rooms
        .chain(["store.rs".to_owned()])
        .filter(|room| read(&format!("shared/src/{room}")).contains(".send()"))
        .collect();
    assert_eq!(senders, ["store/query.rs", "store/transaction.rs", "store.rs"]);
}

/// Else an issuer that cannot be read at a deployment costs the API all its routes, and the deployment succeeds.
#[test]
fn api_is_not_deployed_with_warnings() {
    assert_eq!(template()["Resources"]["HttpApi"]["Properties"]["FailOnWarnings"], true);
}

#[test]
fn error_codes_and_contract_agree() {
    let contract = contract();
    let described = contract["components"]["schemas"]["ErrorCode"]["enum"].as_sequence().unwrap();
    let described: BTreeSet<_> = described.iter().map(text).collect();
    assert_eq!(described, constants_in(&read("shared/src/error.rs")));
}

#[test]
fn no_function_may_do_everything_or_touch_everything() {
    for (id, properties) in function_resources(&template()) {
        let mut granted = Vec::new();
        texts(&properties["Policies"], &mut granted);
        assert!(!granted.is_empty(), "{id} has no policy");
        assert!(granted.iter().all(|text| !text.contains('*')), "{id}: {granted:?}");
    }
}

#[test]
fn every_alarm_has_three_commands_in_the_runbook() {
    let (template, runbook) = (template(), read("docs/runbook.md"));
    let resources = template["Resources"].as_mapping().unwrap();
    let alarms: BTreeSet<String> = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm")
        .map(|(id, alarm)| {
            assert!(text(&alarm["Properties"]["AlarmDescription"]).len() > 100, "{id:?} does not say what to do");
            text(id)
        })
        .collect();
    let mut described = BTreeSet::new();
    for chapter in runbook.split("\n## ").skip(1) {
        let (title, body) = chapter.split_once('\n').unwrap();
        let block = body.split("```").nth(1).unwrap_or_else(|| panic!("{title} has no commands"));
        let commands = block.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).count();
        assert_eq!(commands, 3, "{title}");
        described.insert(title.to_owned());
    }
    assert_eq!(described, alarms);
}

/// The Rust files in a folder, at any depth.
fn sources(folder: &str) -> Vec<String> {
    let entries = names_in(folder).into_iter().map(|name| format!("{folder}/{name}"));
    entries
        .flat_map(|entry| match path(&entry).is_dir() {
            true => sources(&entry),
            false if PathBuf::from(&entry).extension().is_some_and(|extension| extension == "rs") => vec![entry],
            false => Vec::new(),
        })
        .collect()
}

/// A list of failures can be scanned: subject and result; the reason is a comment.
#[test]
fn test_names_are_at_most_60_characters_long() {
    for file in ["local", "testbed", "tests"].iter().flat_map(|folder| sources(folder)) {
        let source = read(&file);
        for test in source.split("#[test]").skip(1).chain(source.split("#[tokio::test").skip(1)) {
            let name = test.split_once("fn ").and_then(|(_, rest)| rest.split('(').next()).unwrap_or_default();
            assert!(name.len() <= 60, "{file}: {name} has {} characters", name.len());
        }
    }
}

/// Code, tables and links do not break; everything else is read as text.
#[test]
fn prose_is_at_most_100_columns_wide() {
    let documents = names_in("docs").into_iter().map(|name| format!("docs/{name}")).chain(["README.md".to_owned()]);
    let is_prose = |name: &String| PathBuf::from(name).extension().is_some_and(|extension| extension == "md");
    for document in documents.filter(is_prose) {
        let mut is_code = false;
        for (number, line) in read(&document).lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            let breaks = !is_code && !line.starts_with('|') && !line.contains("](") && !line.contains("://");
            assert!(!breaks || line.chars().count() <= 100, "{document}, line {}: {line}", number + 1);
        }
    }
}

#[test]
fn watched_metrics_are_written_by_functions() {
    let written = read("shared/src/metrics.rs");
    let template = read("template.yaml");
    let names = ["MetricName=\\\"", "SELECT SUM(", "SELECT AVG(", "\"${AWS::StackName}\", \""];
    let watched = names.iter().flat_map(|before| template.split(before).skip(1)).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap();
        &rest[..end]
    });
    let watched: BTreeSet<&str> = watched.filter(|name| *name != "LoggedErrors").collect();
    assert!(watched.len() > 12, "{watched:?}");
    for name in watched {
        assert!(written.contains(&format!("\"{name}\"")), "nothing writes {name}");
    }
}
