//! The HTTP API as API Gateway serves it: routes, JWT authorizer, CORS, events of payload format 2.0.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN, WWW_AUTHENTICATE,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::any,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::{
    authorizer::{Refusal, SigningKey, claims_as_strings},
    cloudwatch::CloudWatch,
    event::{self, Request, json_response, percent_decode},
    lambda::{Failure, Lambda},
    template::{API_ID, Api, Authorizer, Cors, Route},
};

/// API Gateway takes no larger body.
const BODY_LIMIT_BYTES: usize = 10 << 20;
/// API Gateway waits no longer for a function.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// What a response without a content type gets.
const DEFAULT_CONTENT_TYPE: &str = "text/plain;charset=UTF-8";

/// The HTTP API.
#[derive(Debug)]
pub struct Gateway {
    /// What it serves.
    pub api: Api,
    /// Who answers.
    pub lambda: Arc<Lambda>,
    /// Whose tokens it accepts.
    pub signing_key: Arc<SigningKey>,
    /// Whose metrics requests move.
    pub cloudwatch: CloudWatch,
}

impl Gateway {
    /// Its router; `local` are further routes. Where there is a console, it answers for all that is not below `/api/`, as
    /// the distribution has it on AWS.
    pub fn router(self, local: Router, console: Option<Router>) -> Router {
        let gateway = Arc::new(self);
        let api = any(handle).with_state(Arc::clone(&gateway));
        let routes = match console {
            None => local.fallback_service(api),
            Some(console) => local.route("/api/{*path}", api).fallback_service(console),
        };
        routes.layer(middleware::from_fn_with_state(gateway, cors))
    }

    async fn answer(&self, request: Request) -> Response {
        let Some((route, parameters)) = find_route(&self.api.routes, &request.method, &request.path) else {
            return json_response(StatusCode::NOT_FOUND, &json!({ "message": "Not Found" }));
        };
        let now = OffsetDateTime::now_utc();
        let claims = match self.api.authorizer.as_ref().filter(|_| route.authorized) {
            None => None,
            Some(authorizer) => match self.claims(authorizer, &request.headers, now.unix_timestamp()) {
                Ok(claims) => Some(claims),
                Err(refusal) => return unauthorized(refusal),
            },
        };
        let route_key = format!("{} {}", route.method, route.path);
        let event = request.http_api_event(&route_key, parameters, claims, now);
        let invocation = self.lambda.invoke(&route.function, event.to_string().into_bytes());
        let answer = timeout(TIME_LIMIT, invocation).await.unwrap_or(Err(Failure::Unavailable));
        let mut response = match answer.map(|answer| event::response(&answer, DEFAULT_CONTENT_TYPE)) {
            Ok(Ok(response)) => response,
            Ok(Err(bad_answer)) => {
                eprintln!("[{}] ERROR {bad_answer}", route.function);
                internal_server_error()
            }
            Err(Failure::Unavailable | Failure::Throttled) => {
                json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "message": "Service Unavailable" }))
            }
            Err(_) => internal_server_error(),
        };
        if let Ok(id) = HeaderValue::from_str(&request.id) {
            response.headers_mut().insert("apigw-requestid", id);
        }
        response
    }

    fn claims(
        &self,
        authorizer: &Authorizer,
        headers: &HeaderMap,
        now: i64,
    ) -> Result<Map<String, Value>, Option<Refusal>> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(None)?;
        // The scheme may be missing, as API Gateway allows.
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => header,
        };
        let claims = self.signing_key.verify(token, authorizer, now).map_err(Some)?;
        Ok(claims_as_strings(&claims))
    }
}

async fn handle(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request) -> Response {
    let response = match Request::read(request, BODY_LIMIT_BYTES).await {
        Ok(request) => gateway.answer(request).await,
        Err(event::TooLarge) => {
            json_response(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "message": "Request Entity Too Large" }))
        }
    };
    let put = |metric| gateway.cloudwatch.put("AWS/ApiGateway", metric, &[("ApiId", API_ID)], 1.0);
    put("Count");
    if response.status().is_client_error() {
        put("4xx");
    } else if response.status().is_server_error() {
        put("5xx");
    }
    response
}

fn internal_server_error() -> Response {
    json_response(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "message": "Internal Server Error" }))
}

fn unauthorized(refusal: Option<Refusal>) -> Response {
    let mut response = json_response(StatusCode::UNAUTHORIZED, &json!({ "message": "Unauthorized" }));
    let challenge = match refusal {
        None => "Bearer".to_owned(),
        Some(Refusal(why)) => format!(r#"Bearer scope="" error="invalid_token" error_description="{why}""#),
    };
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The most specific route of a request, and the values of its path parameters.
fn find_route<'a>(routes: &'a [Route], method: &Method, path: &str) -> Option<(&'a Route, Map<String, Value>)> {
    let matching = routes.iter().filter(|route| route.method == "ANY" || route.method == method.as_str());
    let matching = matching.filter_map(|route| match_path(&route.path, path).map(|(rank, found)| (rank, route, found)));
    // A literal part is better than a parameter, that is better than a greedy one; then a method is better than ANY.
    let best = matching.min_by_key(|(rank, route, _)| (rank.clone(), route.method == "ANY"))?;
    Some((best.1, best.2))
}

/// How specific the match is (lower is better), and the parameters.
fn match_path(pattern: &str, path: &str) -> Option<(Vec<u8>, Map<String, Value>)> {
    let mut rank = Vec::new();
    let mut parameters = Map::new();
    let mut parts = path.split('/');
    for expected in pattern.split('/') {
        let name = expected.strip_prefix('{').and_then(|expected| expected.strip_suffix('}'));
        let part = parts.next()?;
        match name {
            None if expected == percent_decode(part) => rank.push(0),
            None => return None,
            Some(name) if name.ends_with('+') => {
                let rest: Vec<&str> = std::iter::once(part).chain(parts).collect();
                parameters.insert(name.trim_end_matches('+').to_owned(), percent_decode(&rest.join("/")).into());
                rank.push(2);
                return Some((rank, parameters));
            }
            Some(_) if part.is_empty() => return None,
            Some(name) => {
                parameters.insert(name.to_owned(), percent_decode(part).into());
                rank.push(1);
            }
        }
    }
    parts.next().is_none().then_some((rank, parameters))
}

/// Answers preflight requests, and tells browsers who may read the other answers.
async fn cors(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request, next: Next) -> Response {
    let Some(cors) = &gateway.api.cors else { return next.run(request).await };
    let origin = request.headers().get(ORIGIN).cloned();
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let Some(origin) = origin else { return next.run(request).await };
    let mut response = if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    response.headers_mut().extend(cors_headers(cors, &origin, is_preflight));
    response
}

fn cors_headers(cors: &Cors, origin: &HeaderValue, is_preflight: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let any = cors.origins.iter().any(|allowed| allowed == "*");
    if !any && !cors.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        return headers;
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, if any { HeaderValue::from_static("*") } else { origin.clone() });
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let mut list = |name, values: &[String]| {
        if let (false, Ok(value)) = (values.is_empty(), HeaderValue::try_from(values.join(","))) {
            headers.insert(name, value);
        }
    };
    if is_preflight {
        list(ACCESS_CONTROL_ALLOW_METHODS, &cors.methods);
        list(ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers);
        headers.extend(cors.max_age_secs.map(|age| (ACCESS_CONTROL_MAX_AGE, HeaderValue::from(age))));
    } else {
        list(ACCESS_CONTROL_EXPOSE_HEADERS, &cors.exposed);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, path: &str) -> Route {
        Route { method: method.to_owned(), path: path.to_owned(), function: String::new(), authorized: true }
    }

    fn found(routes: &[Route], method: &Method, path: &str) -> Option<(String, Value)> {
        let (route, parameters) = find_route(routes, method, path)?;
        Some((format!("{} {}", route.method, route.path), Value::Object(parameters)))
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = [
            route("ANY", "/{proxy+}"),
            route("GET", "/conversations/{id}"),
            route("ANY", "/conversations/{id}"),
            route("GET", "/conversations/mine"),
        ];

        let key = |method, path| found(&routes, method, path).unwrap().0;

        assert_eq!(key(&Method::GET, "/conversations/mine"), "GET /conversations/mine");
        assert_eq!(key(&Method::GET, "/conversations/1"), "GET /conversations/{id}");
        assert_eq!(key(&Method::PUT, "/conversations/1"), "ANY /conversations/{id}");
        assert_eq!(key(&Method::GET, "/conversations/1/messages"), "ANY /{proxy+}");
    }

    #[test]
    fn parameters_are_decoded() {
        let routes = [route("GET", "/a/{id}/b"), route("GET", "/files/{path+}")];

        let parameters = |path| found(&routes, &Method::GET, path).unwrap().1;

        assert_eq!(parameters("/a/x%23y%20z/b"), json!({ "id": "x#y z" }));
        assert_eq!(parameters("/files/x/y"), json!({ "path": "x/y" }));
    }

    #[test]
    fn other_paths_and_methods_have_no_route() {
        let routes = [route("GET", "/a/{id}")];

        for path in ["/", "/a", "/a/", "/a//", "/a/1/", "/a/1/b", "/b/1"] {
            assert_eq!(found(&routes, &Method::GET, path), None, "{path}");
        }
        assert_eq!(found(&routes, &Method::POST, "/a/1"), None);
    }

    #[test]
    fn only_allowed_origins_are_told_so() {
        let cors = Cors {
            origins: vec!["https://console.example.com".to_owned()],
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            max_age_secs: Some(600),
            ..Cors::default()
        };

        let ours = cors_headers(&cors, &HeaderValue::from_static("https://console.example.com"), true);
        let theirs = cors_headers(&cors, &HeaderValue::from_static("https://evil.example.com"), true);

        assert_eq!(ours[ACCESS_CONTROL_ALLOW_ORIGIN], "https://console.example.com");
        assert_eq!(ours[ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
        assert_eq!(ours[ACCESS_CONTROL_MAX_AGE], "600");
        assert!(theirs.is_empty());
    }
}
