//! Functions: what Lambda would give them, when they run by themselves, and what they may do.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    Template,
    yaml::{as_list, as_number, as_text, members, only_keys, wrong},
};
use crate::{
    error::{Error, Result},
    iam::{Condition, Statement},
    stream::{self, Source},
};

/// The type of an event that comes by itself.
pub(super) const SCHEDULE: &str = "Schedule";
/// The type of an event that is what the table's stream tells.
pub(super) const STREAM: &str = "DynamoDB";

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
    /// What it wants of the table's stream.
    pub stream: Option<Source>,
    /// What it may do.
    pub statements: Vec<Statement>,
}

impl<'a> Template<'a> {
    pub(super) fn function(&self, id: &str, resource: &'a Value) -> Result<Function> {
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
            stream: self.stream(id, resource)?,
            statements: self.statements(id, resource)?,
        })
    }

    /// The property of a function, or else that of `Globals.Function`, and where it stands.
    fn function_property(&self, id: &str, resource: &'a Value, name: &str) -> (&'a Value, String) {
        match &resource["Properties"][name] {
            Value::Null => (&self.document["Globals"]["Function"][name], format!("Globals.Function.{name}")),
            own => (own, format!("Resources.{id}.Properties.{name}")),
        }
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

    /// What a function wants of the table's stream.
    fn stream(&self, id: &str, resource: &Value) -> Result<Option<Source>> {
        const UNDERSTOOD: [&str; 8] = [
            "Stream",
            "StartingPosition",
            "BatchSize",
            "FilterCriteria",
            "FunctionResponseTypes",
            "BisectBatchOnFunctionError",
            // Here a record waits as long as it has to.
            "MaximumRetryAttempts",
            "MaximumRecordAgeInSeconds",
        ];
        let mut events = resource["Properties"]["Events"].as_object().into_iter().flatten();
        let Some((name, event)) = events.find(|(_, event)| event["Type"] == STREAM) else { return Ok(None) };
        let place = format!("Resources.{id}.Properties.Events.{name}.Properties");
        only_keys(&event["Properties"], &place, &UNDERSTOOD)?;
        let source = self.required(&event["Properties"], &place)?;
        if source["StartingPosition"] != "TRIM_HORIZON" {
            return Err(wrong(&format!("{place}.StartingPosition"), "only TRIM_HORIZON is served on this machine"));
        }
        let filters = members(&source["FilterCriteria"]["Filters"]).map(|filter| {
            let pattern = filter["Pattern"].as_str().and_then(|pattern| serde_json::from_str(pattern).ok());
            let pattern = pattern.filter(stream::is_understood);
            pattern.ok_or_else(|| wrong(&format!("{place}.FilterCriteria"), format!("{filter} is not understood")))
        });
        let batch = as_number(&source["BatchSize"]).and_then(|size| usize::try_from(size).ok()).unwrap_or(100);
        Ok(Some(Source {
            batch,
            filters: filters.collect::<Result<_>>()?,
            bisects: source["BisectBatchOnFunctionError"] == true,
            reports: members(&source["FunctionResponseTypes"]).any(|kind| kind == "ReportBatchItemFailures"),
        }))
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

/// The crate and binary of a function, and so its name on this machine.
pub(super) fn function_name(id: &str, resource: &Value) -> String {
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
