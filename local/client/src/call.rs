//! What the tests, the bench and chaos ask of a running system; each sends it, and judges the answer, in its own way.

use axum::{
    body::Bytes,
    http::{self, Request},
};
use serde_json::Value;

/// A request that can be sent more than once.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `GET`…
    pub method: String,
    /// Where to.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
}

impl Call {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self { method: method.to_owned(), url: url.into(), ..Self::default() }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The same with a body of JSON that says so.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// As it is sent.
    ///
    /// # Errors
    /// When the URL or a header cannot be one.
    pub fn request(&self) -> http::Result<Request<Bytes>> {
        let start = Request::builder().method(self.method.as_str()).uri(&self.url);
        let request = self.headers.iter().fold(start, |request, (name, value)| request.header(name, value));
        request.body(self.body.clone())
    }
}

/// Where a running system is.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `http://127.0.0.1:3000`
    pub api: String,
    /// The webhook's URL.
    pub webhook: String,
    /// The provider simulator.
    pub provider: String,
}

impl Addresses {
    /// An operation of the API; an empty token is none, and so is a null body.
    #[must_use]
    pub fn operation(&self, method: &str, path: &str, token: &str, body: &Value) -> Call {
        let mut call = Call::new(method, format!("{}{path}", self.api));
        if !token.is_empty() {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        if body.is_null() { call } else { call.json(body) }
    }

    /// A delivery of the provider; `authorization` is the whole header.
    #[must_use]
    pub fn delivery(&self, authorization: &str, body: impl Into<Bytes>) -> Call {
        let call = Call::new("POST", &self.webhook).header("authorization", authorization);
        call.header("content-type", "application/json").body(body)
    }

    /// What exists on one machine only: `local("POST", "kill?function=send-message")`.
    #[must_use]
    pub fn local(&self, method: &str, path: &str) -> Call {
        Call::new(method, format!("{}/local/{path}", self.api))
    }

    /// A token of the local issuer, with these claims.
    #[must_use]
    pub fn token(&self, claims: &str) -> Call {
        self.local("GET", &format!("token?{claims}"))
    }

    /// A control of the simulator, such as `settings` or `status`.
    #[must_use]
    pub fn simulate(&self, control: &str, body: &Value) -> Call {
        Call::new("POST", format!("{}/simulate/{control}", self.provider)).body(body.to_string())
    }

    /// What the simulator accepted, without the first so many.
    #[must_use]
    pub fn sent(&self, from: usize) -> Call {
        Call::new("GET", format!("{}/simulate/sent?from={from}", self.provider))
    }

    /// The webhook that is registered for the account of an API key.
    #[must_use]
    pub fn registration(&self, api_key: &str) -> Call {
        Call::new("GET", format!("{}/v1/configs/webhook", self.provider)).header("d360-api-key", api_key)
    }
}

/// A call of an emulated AWS service by a function, or by whoever else has that access key.
#[must_use]
pub fn aws(caller: &str, url: &str, target: &str, body: &Value) -> Call {
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential={caller}/20261123/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, \
         Signature=00"
    );
    Call::new("POST", url)
        .header("x-amz-target", target)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20261123T100000Z")
        .header("authorization", signature)
        .body(body.to_string())
}
