//! The HTTP contract, as `openapi.yaml` has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use jsonschema::Validator;
use serde_json::{Value, json};
use support::workspace;

use crate::shared::text;

/// One method of one path.
#[derive(Debug)]
pub struct Operation {
    /// `sendMessage`
    pub id: &'static str,
    /// `POST`
    pub method: String,
    /// `/api/v1/conversations/{conversationId}/messages`
    pub path: &'static str,
    /// Of path, query and header.
    pub parameters: Vec<&'static Value>,
    /// The request's body.
    pub body: Option<&'static Value>,
    /// By status.
    pub responses: BTreeMap<u16, &'static Value>,
    /// Needs the console's token; else it is the provider's.
    pub is_of_the_api: bool,
}

/// The whole document.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let path = workspace().join("openapi.yaml");
        serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    });
    &DOCUMENT
}

/// What a value says, or what it refers to says.
pub fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => document().pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Every operation.
pub fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in ["get", "post", "patch", "put", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            let parameters = [item, operation].into_iter().filter_map(|place| place["parameters"].as_array());
            let responses = operation["responses"].as_object().unwrap().iter();
            operations.push(Operation {
                id: text(&operation["operationId"]),
                method: method.to_uppercase(),
                path,
                parameters: parameters.flatten().map(resolved).collect(),
                body: operation.get("requestBody").map(resolved),
                responses: responses.map(|(status, response)| (status.parse().unwrap(), resolved(response))).collect(),
                is_of_the_api: operation.get("security").is_none(),
            });
        }
    }
    operations
}

/// Checks values against a schema of the document.
pub fn validator(schema: &Value) -> Validator {
    let mut schema = schema.clone();
    // References of the schema start at the document's root.
    schema["components"] = json!({ "schemas": document()["components"]["schemas"] });
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// What is wrong with a value; empty when nothing.
pub fn problems(validator: &Validator, value: &Value) -> String {
    let problems: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    problems.join("\n")
}

/// The error codes that a response's schema names; `gateway` stands for an answer of API Gateway itself.
pub fn codes(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if schema["$ref"].as_str().is_some_and(|reference| reference.ends_with("/GatewayError")) {
        found.insert("gateway".to_owned());
    }
    let code = &schema["properties"]["error"]["properties"]["code"];
    let named = code["enum"].as_array().cloned().unwrap_or_default().into_iter().chain(code.get("const").cloned());
    found.extend(named.map(|code| text(&code).to_owned()));
    for parts in ["allOf", "oneOf", "anyOf"] {
        found.extend(schema[parts].as_array().into_iter().flatten().flat_map(codes));
    }
    found
}
