//! A mock of the provider: it gives the answers that it was told to give, and notes what it was asked.

use std::{
    collections::VecDeque,
    future,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use shared::{
    config::{self, Preset},
    dialog360::Provider,
};
use tokio::net::TcpListener;

/// A request as the provider got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// `POST /messages`, with its query.
    pub call: String,
    /// The key in 360dialog's header.
    pub key: String,
    /// The JSON; `null` where there is no body.
    pub body: Value,
}

/// What it says to a request: status and JSON, or nothing at all.
type Says = dyn Fn(&Asked) -> Option<(u16, Value)> + Send + Sync;

/// The mock.
#[derive(Clone, Debug)]
pub struct MockProvider {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl MockProvider {
    /// A provider that gives these answers, one after the other. Asked more, it refuses, for good.
    pub async fn answering(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let answers: Mutex<VecDeque<_>> = Mutex::new(answers.into_iter().collect());
        Self::saying(move |_| {
            let next = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            Some(next.unwrap_or_else(|| (400, json!({ "error": "the test expects no such request" }))))
        })
        .await
    }

    /// A provider that gives the answer that the request wants; where there is none, the caller waits in vain.
    pub async fn saying(says: impl Fn(&Asked) -> Option<(u16, Value)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mock = Self { url: format!("http://{}", listener.local_addr().unwrap()), asked: Arc::default() };
        let says: Arc<Says> = Arc::new(says);
        let router = Router::new().fallback(answer).with_state((mock.clone(), says));
        tokio::spawn(async move { axum::serve(listener, router).await });
        mock
    }

    /// The client that a handler asks it with.
    pub fn client(&self) -> Provider {
        Provider::new(self.settings())
    }

    /// What leads a client to it: everything goes through 360dialog.
    pub fn settings(&self) -> config::Provider {
        config::Provider {
            dialog360_base_url: self.url.clone(),
            graph_base_url: self.url.clone(),
            instagram_graph_base_url: format!("{}/graph.instagram.com", self.url),
            graph_version: "v24.0".into(),
            instagram: Preset::Dialog360,
            facebook: Preset::Dialog360,
            trust_partner_channel: false,
        }
    }

    /// What it was asked, in this order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The calls that it was asked for, in this order.
    pub fn calls(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.call).collect()
    }
}

async fn answer(
    State((mock, says)): State<(MockProvider, Arc<Says>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = headers.get("d360-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let asked = Asked { call: format!("{method} {uri}"), key, body };
    let said = says(&asked);
    mock.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let Some((status, body)) = said else { return future::pending().await };
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
