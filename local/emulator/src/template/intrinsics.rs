//! Intrinsic functions, resolved for this machine.

use serde_json::{Map, Value};

use super::{
    API_ID, Template,
    functions::function_name,
    yaml::{as_list, as_number, as_text, wrong},
};
use crate::{
    arn::{ACCOUNT_ID, KEY_ID, REGION, key_arn, secret_arn, table_arn},
    error::Result,
};

/// The name of the stack, which prefixes the names of its resources.
const STACK: &str = "local";

impl Template<'_> {
    pub(super) fn required(&self, value: &Value, place: &str) -> Result<Value> {
        match self.resolve(value, place)? {
            None | Some(Value::Null) => Err(wrong(place, "missing")),
            Some(value) => Ok(value),
        }
    }

    pub(super) fn text(&self, value: &Value, place: &str) -> Result<String> {
        as_text(&self.required(value, place)?, place)
    }

    /// The value with its intrinsic functions replaced; `None` for `AWS::NoValue`.
    pub(super) fn resolve(&self, value: &Value, place: &str) -> Result<Option<Value>> {
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

    pub(super) fn condition(&self, name: &str, place: &str) -> Result<bool> {
        let condition = &self.document["Conditions"][name];
        if condition.is_null() {
            return Err(wrong(place, format!("there is no condition {name}")));
        }
        let place = format!("Conditions.{name}");
        self.required(condition, &place)?.as_bool().ok_or_else(|| wrong(&place, "is not a condition"))
    }

    pub(super) fn reference(&self, name: &str, place: &str) -> Result<Value> {
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

    pub(super) fn attribute(&self, name: &str, attribute: &str, place: &str) -> Result<String> {
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
            (Some("AWS::DynamoDB::Table"), "StreamArn") => Ok(format!("{}/stream/0", table_arn(&reference()?))),
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

/// `CloudFormation` compares as strings: `"1"` equals `1`.
fn loosely_equal(left: &Value, right: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text(left) == text(right)
}
