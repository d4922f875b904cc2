//! Passes calls of the SDK on to an emulated service, for what stands in between.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, Request, StatusCode, header},
    response::IntoResponse as _,
};
use client::Client;

/// `DynamoDB` accepts bodies up to this size.
pub const BODY_LIMIT_BYTES: usize = 16 << 20;
/// Longer than any call of the engine takes.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// The service behind.
#[derive(Debug, Clone)]
pub struct Forward {
    client: Client,
    endpoint: String,
}

impl Forward {
    /// To the service at `endpoint`, a URL with its path.
    #[must_use]
    pub fn new(endpoint: String) -> Self {
        Self { client: Client::default(), endpoint }
    }

    /// Passes everything on.
    pub fn router(self) -> Router {
        let pass = async |State(forward): State<Self>, headers: HeaderMap, body: Bytes| {
            forward.send(&headers, body).await.into_response()
        };
        Router::new().fallback(pass).layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES)).with_state(self)
    }

    /// The service's answer, or 502 where it gives none.
    pub async fn send(&self, headers: &HeaderMap, body: Bytes) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::post(&self.endpoint);
        for (name, value) in headers {
            if !is_of_the_connection(name) {
                request = request.header(name, value);
            }
        }
        let failed = |problem: String| (StatusCode::BAD_GATEWAY, HeaderMap::new(), Bytes::from(problem));
        let answer = match request.body(body) {
            Ok(request) => self.client.send(request, TIME_LIMIT).await,
            Err(error) => return failed(error.to_string()),
        };
        match answer {
            Ok(answer) => {
                let (mut parts, body) = answer.into_parts();
                parts.headers.remove(header::TRANSFER_ENCODING);
                (parts.status, parts.headers, body)
            }
            Err(error) => failed(error.to_string()),
        }
    }
}

/// What a call asks for: `PutItem`, `Decrypt`.
#[must_use]
pub fn operation(headers: &HeaderMap) -> &str {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default()
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING].contains(name)
}
