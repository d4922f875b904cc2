//! YAML as JSON, and values of the shape that is needed.

use serde_json::{Value, json};

use crate::error::{Error, Result};

pub(super) fn wrong(place: &str, problem: impl Into<String>) -> Error {
    Error::Template { place: place.to_owned(), problem: problem.into() }
}

/// Writes a short tag (`!Sub x`) as its long form (`{"Fn::Sub": x}`), so that there is one form to resolve.
pub(super) fn plain(yaml: serde_yaml_ng::Value) -> Value {
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

pub(super) fn only_keys(value: &Value, place: &str, known: &[&str]) -> Result<()> {
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
pub(super) fn members(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Null => &[],
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    }
    .iter()
}

pub(super) fn as_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(super) fn as_text(value: &Value, place: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null => Err(wrong(place, "missing")),
        _ => Err(wrong(place, "should be a string")),
    }
}

/// A list of strings; a single string is a list of one, as `CloudFormation` takes it.
pub(super) fn as_list(value: &Value, place: &str) -> Result<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| as_text(item, place)).collect(),
        other => Ok(vec![as_text(other, place)?]),
    }
}
