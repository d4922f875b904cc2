//! Payload format 2.0: an HTTP request as the event of a function, and the function's answer as an HTTP response.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE, USER_AGENT},
    },
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::arn::ACCOUNT_ID;

/// `12/Mar/2026:19:03:58 +0000`
const CLF: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
/// Beyond this nobody waits for the rest of an oversized body, and the connection breaks.
const DRAINED_BYTES: usize = 64 << 20;

/// A request, read whole.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path, percent-encoded as it came.
    pub path: String,
    /// Its query, percent-encoded as it came; empty where there is none.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What names it in logs.
    pub id: String,
}

/// The body was over the limit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The function's answer is not a response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the function's answer is not a response of payload format 2.0: {0}")]
pub struct BadAnswer(&'static str);

impl Request {
    /// Reads a request whose body may have up to `limit` bytes.
    ///
    /// # Errors
    /// When it has more.
    pub async fn read(request: axum::extract::Request, limit: usize) -> Result<Self, TooLarge> {
        let (parts, mut body) = request.into_parts();
        let mut bytes = Vec::new();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            // A sender that breaks off is gone: whatever is answered, nobody reads it.
            let Ok(frame) = frame else { return Err(TooLarge) };
            if let Some(data) = frame.data_ref() {
                length += data.len();
                if length <= limit {
                    bytes.extend_from_slice(data);
                } else if length > DRAINED_BYTES {
                    return Err(TooLarge);
                }
            }
        }
        // Oversized bodies are read to their end, so that the sender gets to see the answer.
        if length > limit {
            return Err(TooLarge);
        }
        Ok(Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: bytes.into(),
            id: request_id(),
        })
    }

    fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What both kinds of event share.
    fn event(&self, route_key: &str, path: &str, now: OffsetDateTime) -> Value {
        let mut headers = Map::new();
        let mut cookies = Vec::new();
        for name in self.headers.keys() {
            let values = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            if name == COOKIE {
                cookies.extend(values.flat_map(|value| value.split("; ").map(str::to_owned).collect::<Vec<_>>()));
            } else {
                headers.insert(name.to_string(), values.collect::<Vec<_>>().join(",").into());
            }
        }
        headers.insert("x-forwarded-for".to_owned(), "127.0.0.1".into());
        headers.insert("x-forwarded-proto".to_owned(), "http".into());
        let mut event = json!({
            "version": "2.0",
            "routeKey": route_key,
            "rawPath": path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "domainName": self.header(&HOST),
                "domainPrefix": "local",
                "http": {
                    "method": self.method.as_str(),
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": self.header(&USER_AGENT),
                },
                "requestId": self.id,
                "routeKey": route_key,
                "stage": "$default",
                "time": now.format(CLF).unwrap_or_default(),
                "timeEpoch": epoch_millis(now),
            },
            "isBase64Encoded": false,
        });
        if !cookies.is_empty() {
            event["cookies"] = cookies.into();
        }
        let parameters = query_parameters(&self.query);
        if !parameters.is_empty() {
            event["queryStringParameters"] = Value::Object(parameters);
        }
        match std::str::from_utf8(&self.body) {
            Ok("") => {}
            Ok(text) if is_text(self.header(&CONTENT_TYPE)) => event["body"] = text.into(),
            _ => {
                event["body"] = STANDARD.encode(&self.body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
        event
    }

    /// The event of an HTTP API.
    #[must_use]
    pub fn http_api_event(
        &self,
        route_key: &str,
        path_parameters: Map<String, Value>,
        claims: Option<Map<String, Value>>,
        now: OffsetDateTime,
    ) -> Value {
        // An HTTP API decodes the path, and what follows a decoded `?` is lost: https://github.com/hotsock/voker/pull/8
        let path = percent_decode(&self.path);
        let path = path.split('?').next().unwrap_or_default();
        let mut event = self.event(route_key, path, now);
        if !path_parameters.is_empty() {
            event["pathParameters"] = Value::Object(path_parameters);
        }
        let context = &mut event["requestContext"];
        context["accountId"] = ACCOUNT_ID.into();
        context["apiId"] = "local".into();
        if let Some(claims) = claims {
            context["authorizer"] = json!({ "jwt": { "claims": claims, "scopes": null } });
        }
        event
    }

    /// The event of a Function URL.
    #[must_use]
    pub fn function_url_event(&self, now: OffsetDateTime) -> Value {
        let mut event = self.event("$default", &self.path, now);
        // Of all of the query, only this is decoded: https://github.com/aws/aws-lambda-web-adapter/issues/491
        event["rawQueryString"] = self.query.replace('+', " ").into();
        let context = &mut event["requestContext"];
        context["accountId"] = "anonymous".into();
        context["apiId"] = "local".into();
        context["authentication"] = Value::Null;
        event
    }
}

/// The response that a function's answer stands for; `content_type` is what it has where the answer names none.
///
/// # Errors
/// When the answer cannot be one.
pub fn response(answer: &[u8], content_type: &'static str) -> Result<Response, BadAnswer> {
    let parsed = serde_json::from_slice::<Value>(answer).map_err(|_| BadAnswer("it is not JSON"))?;
    if parsed.get("statusCode").is_none_or(Value::is_null) {
        // Without a status code the whole answer is the body.
        let text = parsed.as_str().map_or_else(|| parsed.to_string(), str::to_owned);
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    }
    let status = &parsed["statusCode"];
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
    let status = status
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(BadAnswer("statusCode is no status"))?;
    let body = parsed["body"].as_str().unwrap_or_default();
    let body = if parsed["isBase64Encoded"] == true {
        STANDARD.decode(body).map_err(|_| BadAnswer("the body is not base64"))?
    } else {
        body.as_bytes().to_vec()
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in parsed["headers"].as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = HeaderName::try_from(name.as_str()).map_err(|_| BadAnswer("a header's name is invalid"))?;
        // The length of the body is known here, and its transfer is this server's affair.
        if name != "content-length" && name != "transfer-encoding" && name != "connection" {
            let value = HeaderValue::try_from(text).map_err(|_| BadAnswer("a header's value is invalid"))?;
            response.headers_mut().insert(name, value);
        }
    }
    for cookie in parsed["cookies"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let value = HeaderValue::try_from(cookie).map_err(|_| BadAnswer("a cookie is invalid"))?;
        response.headers_mut().append(SET_COOKIE, value);
    }
    Ok(response)
}

/// A response with a JSON body.
#[must_use]
pub fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Whether a body of this type reaches a function as text rather than base64.
fn is_text(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.is_empty()
        || kind.starts_with("text/")
        || matches!(kind.as_str(), "application/json" | "application/javascript" | "application/xml")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

/// The decoded query; a repeated name has its values joined with commas.
#[must_use]
pub fn query_parameters(query: &str) -> Map<String, Value> {
    let mut parameters = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let value = decode(value);
        let entry = parameters.entry(decode(name)).or_insert(Value::Null);
        *entry = match entry.as_str() {
            Some(earlier) => format!("{earlier},{value}").into(),
            None => value.into(),
        };
    }
    parameters
}

/// Undoes percent-encoding; what is not valid stays as it is.
#[must_use]
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[index] == b'%' => {
                decoded.push(byte);
                index += 3;
            }
            _ => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A random id in the form of a UUID.
#[must_use]
pub fn request_id() -> String {
    let random = getrandom::u64().unwrap_or_default();
    let more = getrandom::u64().unwrap_or_default();
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        random >> 32,
        (random >> 16) & 0xffff,
        random & 0xfff,
        (more >> 48) & 0x3fff | 0x8000,
        more & 0xffff_ffff_ffff
    )
}

/// Milliseconds since 1970.
#[must_use]
pub fn epoch_millis(time: OffsetDateTime) -> i64 {
    time.unix_timestamp() * 1000 + i64::from(time.millisecond())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    async fn request(builder: axum::http::request::Builder, body: &'static [u8]) -> Request {
        Request::read(builder.body(Body::from(body)).unwrap(), 1000).await.unwrap()
    }

    fn post(uri: &str) -> axum::http::request::Builder {
        axum::http::Request::post(uri)
    }

    const NOW: OffsetDateTime = datetime!(2026-11-23 10:00:00.250 UTC);

    #[tokio::test]
    async fn an_http_api_event_has_every_part_of_the_request() {
        let request = request(
            post("/echo/a%20b?x=1&x=2&name=M%C3%BCller+AG")
                .header("Content-Type", "application/json")
                .header("X-Two", "1")
                .header("X-Two", "2")
                .header("Cookie", "a=1; b=2"),
            b"{}",
        )
        .await;
        let parameters = json!({ "thing": "a b" }).as_object().unwrap().clone();
        let claims = json!({ "sub": "ann" }).as_object().unwrap().clone();

        let event = request.http_api_event("POST /echo/{thing}", parameters, Some(claims), NOW);

        assert_eq!(event["version"], "2.0");
        assert_eq!(event["routeKey"], "POST /echo/{thing}");
        assert_eq!(event["rawPath"], "/echo/a b");
        assert_eq!(event["rawQueryString"], "x=1&x=2&name=M%C3%BCller+AG");
        assert_eq!(event["queryStringParameters"], json!({ "x": "1,2", "name": "Müller AG" }));
        assert_eq!(event["headers"]["x-two"], "1,2");
        assert_eq!(event["headers"]["cookie"], Value::Null);
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!(event["pathParameters"]["thing"], "a b");
        assert_eq!(event["body"], "{}");
        assert_eq!(event["isBase64Encoded"], false);
        let context = &event["requestContext"];
        assert_eq!(context["authorizer"]["jwt"], json!({ "claims": { "sub": "ann" }, "scopes": null }));
        assert_eq!(context["time"], "23/Nov/2026:10:00:00 +0000");
        assert_eq!(context["timeEpoch"], 1_795_428_000_250_i64);
        assert_eq!(context["stage"], "$default");
    }

    #[tokio::test]
    async fn function_url_event_has_encoded_path_and_no_authorizer() {
        let event = request(post("/a%20b"), b"").await.function_url_event(NOW);

        assert_eq!(event["rawPath"], "/a%20b");
        assert_eq!(event["routeKey"], "$default");
        assert!(event["requestContext"].get("authorizer").is_none());
        assert!(event.get("body").is_none());
        assert!(event.get("queryStringParameters").is_none());
    }

    #[tokio::test]
    async fn a_function_url_event_has_spaces_for_pluses_in_its_query() {
        let event = request(post("/a?x=b+c%2Bd"), b"").await.function_url_event(NOW);

        assert_eq!(event["rawQueryString"], "x=b c%2Bd");
        assert_eq!(event["queryStringParameters"], json!({ "x": "b c+d" }));
    }

    #[tokio::test]
    async fn a_body_that_is_not_text_comes_as_base64() {
        let binary = request(post("/").header("content-type", "application/octet-stream"), b"plain").await;
        let broken = request(post("/").header("content-type", "application/json"), b"\xff").await;

        for (request, expected) in [(binary, "cGxhaW4="), (broken, "/w==")] {
            let event = request.function_url_event(NOW);
            assert_eq!(event["body"], expected);
            assert_eq!(event["isBase64Encoded"], true);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let request = post("/").body(Body::from(vec![0; 1001])).unwrap();

        assert_eq!(Request::read(request, 1000).await.unwrap_err(), TooLarge);
    }

    #[tokio::test]
    async fn an_answer_becomes_a_response() {
        let answer = json!({
            "statusCode": 201, "headers": { "content-type": "application/json", "x-count": 3 },
            "cookies": ["a=1", "b=2"], "body": "aGk=", "isBase64Encoded": true,
        });

        let response = response(answer.to_string().as_bytes(), "text/plain;charset=UTF-8").unwrap();

        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["x-count"], "3");
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hi");
    }

    #[test]
    fn an_answer_without_a_status_is_the_body_of_a_200() {
        let response = response(br#"{"hello":"world"}"#, "text/plain;charset=UTF-8").unwrap();

        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[test]
    fn an_answer_that_is_no_response_is_an_error() {
        for answer in
            ["not json", r#"{"statusCode":"soon"}"#, r#"{"statusCode":200,"isBase64Encoded":true,"body":"?"}"#]
        {
            assert!(response(answer.as_bytes(), "text/plain").is_err(), "{answer}");
        }
    }
}
