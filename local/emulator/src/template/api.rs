//! The HTTP API and the Function URL: what is reached from outside.

use serde_json::Value;

use super::{
    Template,
    functions::{SCHEDULE, STREAM},
    yaml::{as_list, as_number, as_text, only_keys, wrong},
};
use crate::error::Result;

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

impl Template<'_> {
    pub(super) fn routes(&self, id: &str, resource: &Value, function: &str) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for (name, event) in resource["Properties"]["Events"].as_object().into_iter().flatten() {
            let place = format!("Resources.{id}.Properties.Events.{name}");
            if event["Type"] == SCHEDULE || event["Type"] == STREAM {
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

    pub(super) fn has_function_url(&self, id: &str, resource: &Value) -> Result<bool> {
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

    pub(super) fn http_api(&self) -> Result<(Option<Authorizer>, Option<Cors>)> {
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
