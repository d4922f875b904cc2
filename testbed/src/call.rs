//! A call of a function, made from its event, and the answer as the caller sees it.

use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};
use shared::{Result, config::Claims, http, id::OrganizationId};

/// Every role of the token's role claim, and one that nobody knows.
const ROLES: [&str; 4] = ["admin", "operator", "service", "viewer"];

/// The names of the claims that the events carry.
pub fn claims() -> Claims {
    Claims { organization: "organizationId".into(), user: "sub".into(), role: "role".into(), prefix: None }
}

/// An event of API Gateway or of the Function URL, to be changed to what a test needs.
#[derive(Clone, Debug)]
#[must_use]
pub struct Call(Value);

impl Call {
    /// The call that is `events/<name>.json`.
    pub fn of(event: &str) -> Self {
        Self(serde_json::from_str(event).unwrap())
    }

    /// By somebody of that organization.
    pub fn from(self, organization: &OrganizationId) -> Self {
        self.claim("organizationId", Some(organization.as_str()))
    }

    /// By somebody in that role.
    pub fn role(self, role: &str) -> Self {
        self.claim("role", Some(role))
    }

    /// By that user.
    pub fn user(self, user: &str) -> Self {
        self.claim("sub", Some(user))
    }

    fn claim(mut self, name: &str, value: Option<&str>) -> Self {
        let claims = self.0["requestContext"]["authorizer"]["jwt"]["claims"].as_object_mut().unwrap();
        match value {
            Some(value) => claims.insert(name.into(), json!(value)),
            None => claims.remove(name),
        };
        self
    }

    /// With that method.
    pub fn method(mut self, method: &str) -> Self {
        self.0["requestContext"]["http"]["method"] = json!(method);
        self
    }

    /// With that parameter in its path.
    pub fn path(mut self, name: &str, value: &str) -> Self {
        self.0["pathParameters"][name] = json!(value);
        self
    }

    /// With that query and no other, as it stands in a URL.
    pub fn query(mut self, parameters: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.0["rawQueryString"] = json!(pairs.join("&"));
        self.0["queryStringParameters"] = parameters.iter().copied().collect();
        self
    }

    /// With that header; an empty one is left out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let headers = self.0["headers"].as_object_mut().unwrap();
        headers.remove(name);
        if !value.is_empty() {
            headers.insert(name.into(), json!(value));
        }
        self
    }

    /// With that JSON as its body.
    pub fn body(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    /// With that body, JSON or not.
    pub fn text(mut self, body: &str) -> Self {
        self.0["body"] = json!(body);
        self
    }

    /// The same call with each limit that is none.
    pub fn with_bad_limits(&self) -> impl Iterator<Item = Self> {
        ["0", "-1", "101", "2.5", "many"].into_iter().map(|limit| self.clone().query(&[("limit", limit)]))
    }

    /// The same call with a cursor that nobody gave, and with a part of one that somebody did.
    pub fn with_bad_cursors(&self, cursor: &str) -> [Self; 2] {
        ["bm90IGEgY3Vyc29y", &cursor[..cursor.len() - 4]].map(|bad| self.clone().query(&[("cursor", bad)]))
    }

    /// The same call by everybody who may not make it, each with the code of the refusal: without an organization, in
    /// another role than those, without a user.
    pub fn by_strangers(&self, allowed: &[&str]) -> Vec<(Self, &'static str)> {
        let others = ROLES.iter().filter(|role| !allowed.contains(role));
        let mut calls: Vec<_> = others.map(|role| (self.clone().role(role), "FORBIDDEN")).collect();
        calls.push((self.clone().claim("organizationId", None), "NO_ORGANIZATION"));
        calls.push((self.clone().claim("role", None), "FORBIDDEN"));
        calls.push((self.clone().claim("sub", None), "FORBIDDEN"));
        calls
    }

    /// The request as a handler gets it.
    pub fn request(&self) -> Request {
        lambda_http::request::from_str(&self.0.to_string()).unwrap()
    }
}

/// What the caller gets.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The JSON; `null` where there is no body.
    pub body: Value,
}

impl Answer {
    /// The answer that a handler's result becomes.
    pub fn to(result: Result<Response<Body>>) -> Self {
        let response = http::respond(result);
        let body: &[u8] = response.body().as_ref();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
        Self { status: response.status().as_u16(), body }
    }

    /// Status and stable code of a refusal.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }
}
