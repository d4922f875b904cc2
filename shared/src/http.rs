//! The edge of every API function: reads requests, writes envelopes, turns results into responses.

use std::{borrow::Cow, future::Future, time::Duration};

use lambda_http::{
    Adapter, Body, LambdaEvent, Request, RequestExt, Response,
    aws_lambda_events::apigw::ApiGatewayV2httpRequest,
    http::{StatusCode, header},
    lambda_runtime,
    request::LambdaRequest,
    service_fn,
    tower::util::MapRequest,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::{Level, error, info, warn};

use crate::{
    clock,
    error::{Error, Result},
    id::{ConversationId, QuarantineId},
    metrics,
    platform::{Channel, Platform},
};

/// The longest body that an endpoint takes, where it says nothing else.
pub const BODY_MAX_BYTES: usize = 64 * 1024;

/// Serves requests until the environment ends. A handler's error becomes a response here, never a failed invocation.
///
/// # Errors
/// When the runtime cannot be reached.
pub async fn serve<H, F>(handler: H) -> Result<(), lambda_http::Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Result<Response<Body>>> + Send,
{
    let handler = &handler;
    let service = service_fn(|request: Request| {
        let response = handler(request);
        async move {
            let response = respond(response.await);
            metrics::flush();
            Ok::<_, lambda_http::Error>(response)
        }
    });
    lambda_runtime::run(MapRequest::new(Adapter::from(service), with_uri)).await
}

/// What stands in a query as `%xx`: <https://url.spec.whatwg.org/#query-percent-encode-set>
const ENCODED_IN_QUERIES: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// The longest path, and the longest query; API Gateway takes no more of all of the request line and the headers.
const URI_PART_MAX_BYTES: usize = 10_240;

/// The event as one of whose parts `lambda_http` can make a URI: it panics otherwise
/// (<https://github.com/aws/aws-lambda-rust-runtime/issues/515>), and a Function URL decodes the pluses of a query. What cannot be
/// part of one is nothing that we answer: such a path is found nowhere, and without such a query a parameter is missing.
fn with_uri(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    if let LambdaRequest::ApiGatewayV2(request) = &mut event.payload {
        let ApiGatewayV2httpRequest { raw_path, raw_query_string, headers, request_context, .. } = request;
        let fits = |part: &String| part.len() <= URI_PART_MAX_BYTES;
        *raw_query_string = raw_query_string
            .take()
            .filter(fits)
            .map(|query| utf8_percent_encode(&query, ENCODED_IN_QUERIES).to_string());
        *raw_path = raw_path.take().filter(|path| fits(path) && path.starts_with('/'));
        // Nobody here asks for the host, and a sender may write what he likes into its headers.
        headers.remove(header::HOST);
        request_context.domain_name = None;
    }
    event
}

/// Logs a JSON object a line, as Lambda's log format wants it: with time and level, by which Lambda filters. Metrics are such lines,
/// too.
pub fn init_logging() {
    tracing_subscriber::fmt().json().with_max_level(Level::INFO).with_target(false).init();
    metrics::init();
}

/// A response for a result; an error is logged here, once, with its causes, where it is ours.
#[must_use]
pub fn respond(result: Result<Response<Body>>) -> Response<Body> {
    let error = match result {
        Ok(response) => return response,
        Err(error) => error,
    };
    let (status, code) = error.status_and_code();
    match &error {
        // The provider's fault: nothing here to look for.
        Error::ProviderUnavailable { .. } => warn!(error.code = code, "{code}: {}", causes(&error)),
        _ if status.is_server_error() => error!(error.code = code, "{code}: {}", causes(&error)),
        _ => info!(error.code = code, "refused with {code}"),
    }
    let message = error.to_string();
    let body = json!({
        "success": false,
        "message": message,
        "error": { "code": code, "message": message, "details": error.details() },
        "timestamp": clock::rfc3339(clock::now_ms()),
    });
    response(status, &body)
}

/// The answer of a function that is not called over HTTP: an error is logged here, once, with its causes, and fails the invocation.
///
/// # Errors
/// When the result is one.
pub fn invoked<T>(result: Result<T>) -> Result<T, lambda_http::Error> {
    metrics::flush();
    result.map_err(|error| {
        error!(error.code = error.status_and_code().1, "{}", causes(&error));
        error.into()
    })
}

/// An error and everything that caused it, in one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

/// A success.
///
/// # Errors
/// When the data cannot be written as JSON.
pub fn ok(status: StatusCode, data: &impl Serialize) -> Result<Response<Body>> {
    success(status, data, None)
}

/// A success with a sentence for people.
///
/// # Errors
/// When the data cannot be written as JSON.
pub fn ok_with_message(status: StatusCode, data: &impl Serialize, message: &str) -> Result<Response<Body>> {
    success(status, data, Some(message))
}

fn success(status: StatusCode, data: &impl Serialize, message: Option<&str>) -> Result<Response<Body>> {
    let mut body = json!({
        "success": true,
        "data": serde_json::to_value(data).map_err(Error::internal)?,
        "timestamp": clock::rfc3339(clock::now_ms()),
    });
    if let Some(message) = message {
        body["message"] = json!(message);
    }
    Ok(response(status, &body))
}

/// A success that is a page of a list.
///
/// # Errors
/// When the items cannot be written as JSON.
pub fn ok_list(items: &impl Serialize, limit: usize, next_cursor: Option<&str>) -> Result<Response<Body>> {
    ok(StatusCode::OK, &list(items, limit, next_cursor)?)
}

/// A page of a list, as it is answered.
///
/// # Errors
/// When the items cannot be written as JSON.
pub fn list(items: &impl Serialize, limit: usize, next_cursor: Option<&str>) -> Result<serde_json::Value> {
    let pagination = json!({ "limit": limit, "hasNext": next_cursor.is_some(), "nextCursor": next_cursor });
    let items = serde_json::to_value(items).map_err(Error::internal)?;
    Ok(json!({ "items": items, "pagination": pagination }))
}

fn response(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::Text(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// The body of a request as that type.
///
/// # Errors
/// [`Error::UnsupportedMediaType`], [`Error::BodyTooLarge`], or [`Error::InvalidBody`] with what is wrong.
pub fn body<T: DeserializeOwned>(request: &Request, limit_bytes: usize) -> Result<T> {
    let content_type =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Error::UnsupportedMediaType);
    }
    let bytes: &[u8] = request.body().as_ref();
    if bytes.len() > limit_bytes {
        return Err(Error::BodyTooLarge { limit_bytes });
    }
    serde_json::from_slice(bytes).map_err(|error| Error::InvalidBody { message: describe(&error), field: None })
}

/// What is wrong with a body, without repeating what it holds.
fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            let text = error.to_string();
            // Only these two name a field and not a value.
            let named = text.starts_with("missing field") || text.starts_with("unknown field");
            let text = if named { text } else { format!("a value of the wrong type at line {line} column {column}") };
            format!("the body does not fit: {text}")
        }
        _ => format!("the body is not JSON: see line {line} column {column}"),
    }
}

/// A parameter of the path as that type; `otherwise` where it cannot be read: an id that cannot exist is not found.
fn path_parameter<T: std::str::FromStr>(request: &Request, name: &str, otherwise: Error) -> Result<T> {
    let parameters = request.path_parameters();
    let text = parameters.first(name).map(Cow::Borrowed).unwrap_or_default();
    text.parse().map_err(|_| otherwise)
}

/// A parameter of the query; an empty one is absent.
#[must_use]
pub fn query_parameter(request: &Request, name: &str) -> Option<String> {
    request.query_string_parameters().first(name).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// When Lambda ends the request, since the epoch.
#[must_use]
pub fn deadline(request: &Request) -> Duration {
    Duration::from_millis(request.lambda_context_ref().map_or(0, |context| context.deadline))
}

/// The most items of a page.
const PAGE_MAX: usize = 100;
/// The items of a page, where the caller does not say.
const PAGE_DEFAULT: usize = 20;

/// `limit` of the query: 1 to 100, 20 where it is absent.
///
/// # Errors
/// [`Error::InvalidParameter`] for anything else.
pub fn page_limit(request: &Request) -> Result<usize> {
    let Some(text) = query_parameter(request, "limit") else { return Ok(PAGE_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit.ok_or_else(|| Error::invalid_parameter(format!("`limit` is a number from 1 to {PAGE_MAX}"), "limit"))
}

/// The platform that the path names.
///
/// # Errors
/// [`Error::InvalidParameter`] when there is no such platform.
pub fn platform(request: &Request) -> Result<Platform> {
    let unknown = Error::invalid_parameter(crate::platform::UnknownPlatform.to_string(), "platform");
    path_parameter(request, "platform", unknown)
}

/// The conversation that the path names.
///
/// # Errors
/// [`Error::ConversationNotFound`] for what cannot be an id of one.
pub fn conversation_id(request: &Request) -> Result<ConversationId> {
    path_parameter(request, "conversationId", Error::ConversationNotFound)
}

/// The entry of the quarantine that the path names.
///
/// # Errors
/// [`Error::QuarantineEntryNotFound`] for what cannot be an id of one.
pub fn quarantine_id(request: &Request) -> Result<QuarantineId> {
    path_parameter(request, "quarantineId", Error::QuarantineEntryNotFound)
}

/// The channel that the path names, of those whose messages are recorded.
///
/// # Errors
/// [`Error::InvalidParameter`] for any other.
pub fn recorded_channel(request: &Request) -> Result<Channel> {
    let unknown = || Error::invalid_parameter("messages are recorded on the channels website and phone", "channel");
    let channel: Channel = path_parameter(request, "channel", unknown())?;
    if channel.platform().is_some() { Err(unknown()) } else { Ok(channel) }
}
