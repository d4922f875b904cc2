//! A small HTTP client without TLS: everything that it calls is on this machine.

pub mod call;

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{Request, Response},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{error::Elapsed, timeout};

pub use self::call::{Addresses, Call};

/// Sends requests, keeping connections open between them.
#[derive(Debug, Clone)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The URL or a header cannot be one.
    #[error("no such request: {0}")]
    Request(#[from] axum::http::Error),
    /// No connection, or it broke.
    #[error("{}", cause(.0))]
    Connection(#[from] legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Body(#[from] hyper::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut(#[from] Elapsed),
}

/// The client's own text says only "client error".
fn cause(error: &legacy::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Client {
    /// The whole answer to a call, if it comes within `limit`.
    ///
    /// # Errors
    /// When it does not.
    pub async fn call(&self, call: &Call, limit: Duration) -> Result<Response<Bytes>, SendError> {
        self.send(call.request()?, limit).await
    }

    /// The whole answer, if it comes within `limit`.
    ///
    /// # Errors
    /// When it does not.
    pub async fn send(&self, request: Request<Bytes>, limit: Duration) -> Result<Response<Bytes>, SendError> {
        let answer = async {
            let (parts, body) = self.0.request(request.map(Full::new)).await?.into_parts();
            Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        timeout(limit, answer).await?
    }
}
