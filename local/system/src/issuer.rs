//! The identity provider of this machine, under `/local/`: `OpenID` Connect's code flow with PKCE for the console, and tokens for the
//! asking. Whoever signs in says who they are.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, <https://www.rfc-editor.org/rfc/rfc7636>,
//! <https://www.rfc-editor.org/rfc/rfc7009>

mod page;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::{Query, RawQuery, State},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use emulator::{
    authorizer::SigningKey,
    event::{json_response, query_parameters},
    template::{Authorizer, ClaimNames},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use url::Url;

pub use self::page::escaped;
use self::page::{form, note, see_other};

/// How long the tokens of a session are good, unless asked otherwise. Short, so that renewing is really used.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);
/// How long a token of `/local/token` is good, unless asked otherwise.
const ASKED_TOKEN_SECS: i64 = 24 * 60 * 60;
const CODE_SECS: i64 = 60;
const SESSION_SECS: i64 = 12 * 60 * 60;
const ROLES: [&str; 3] = ["admin", "operator", "service"];
const NAME_CHARS: usize = 64;
const STYLES: &str = include_str!("issuer/issuer.css");
/// What a request for authorization may carry through the form.
const REQUEST: [&str; 8] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

/// The identity provider; clones share everything.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Signs tokens.
    pub signing_key: Arc<SigningKey>,
    /// What tokens must say.
    pub authorizer: Authorizer,
    /// Where they say it.
    pub claims: ClaimNames,
    /// How long the tokens of a session are good.
    pub token_lifetime: Duration,
    /// The console's origin, `http://127.0.0.1:3000`: people are sent nowhere else.
    pub origin: String,
    /// What was given out, in memory: after a restart people sign in again.
    pub grants: Arc<Mutex<Grants>>,
}

/// Codes and refresh tokens that can still be used.
#[derive(Debug, Default)]
pub struct Grants {
    codes: HashMap<String, Code>,
    refresh_tokens: HashMap<String, Session>,
}

#[derive(Debug, Clone)]
struct Person {
    organization: String,
    user: String,
    role: String,
}

#[derive(Debug)]
struct Code {
    session: Session,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
    expires: i64,
}

#[derive(Debug, Clone)]
struct Session {
    person: Person,
    scope: String,
    signed_in: i64,
}

/// A request for authorization that may be shown to a person.
#[derive(Debug)]
struct Request {
    redirect_uri: Url,
    scope: String,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
}

type Parameters = HashMap<String, String>;
/// `error` and `error_description`.
type Refusal = (&'static str, &'static str);

/// The routes.
pub fn router(issuer: Issuer) -> Router {
    Router::new()
        .route("/local/.well-known/openid-configuration", get(openid_configuration))
        .route("/local/jwks.json", get(key_set))
        .route("/local/authorize", get(ask).post(decide))
        .route("/local/issuer.css", get(async || ([(CONTENT_TYPE, "text/css")], STYLES)))
        .route("/local/oauth/token", post(exchange))
        .route("/local/oauth/revoke", post(revoke))
        .route("/local/logout", get(log_out))
        .route("/local/token", get(token))
        .route("/local/{*path}", any(async || json_response(StatusCode::NOT_FOUND, &json!({ "message": "Not Found" }))))
        .with_state(issuer)
}

fn locked(grants: &Mutex<Grants>) -> MutexGuard<'_, Grants> {
    grants.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// 256 random bits as text.
fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

async fn openid_configuration(State(issuer): State<Issuer>) -> Json<Value> {
    let url = &issuer.authorizer.issuer;
    let Issuer { claims, .. } = &issuer;
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/oauth/token"),
        "revocation_endpoint": format!("{url}/oauth/revoke"),
        "end_session_endpoint": format!("{url}/logout"),
        "jwks_uri": format!("{url}/jwks.json"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": ["openid", "profile", "offline_access"],
        "claims_supported": ["sub", "name", claims.organization, claims.user, claims.role],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn key_set(State(issuer): State<Issuer>) -> Json<Value> {
    Json(issuer.signing_key.key_set())
}

/// The sign-in page.
async fn ask(State(issuer): State<Issuer>, Query(parameters): Query<Parameters>) -> Response {
    match issuer.request(&parameters) {
        Err(refusal) => *refusal,
        Ok(_) => form(&parameters, StatusCode::OK, ""),
    }
}

/// Signs the person in, and sends them back with a code.
async fn decide(State(issuer): State<Issuer>, Form(parameters): Form<Parameters>) -> Response {
    let request = match issuer.request(&parameters) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let person = match person(&parameters) {
        Ok(person) => person,
        Err(problem) => return form(&parameters, StatusCode::BAD_REQUEST, problem),
    };
    let Some(code) = random() else {
        return note(StatusCode::INTERNAL_SERVER_ERROR, "Cannot sign in", "There is no randomness to be had.");
    };
    let now = now();
    let mut to = request.redirect_uri.clone();
    to.query_pairs_mut().append_pair("code", &code).append_pair("iss", &issuer.authorizer.issuer);
    if let Some(state) = &request.state {
        to.query_pairs_mut().append_pair("state", state);
    }
    let granted = Code {
        session: Session { person, scope: request.scope, signed_in: now },
        redirect_uri: request.redirect_uri.into(),
        challenge: request.challenge,
        nonce: request.nonce,
        expires: now + CODE_SECS,
    };
    locked(&issuer.grants).codes.insert(code, granted);
    see_other(to.as_str())
}

fn person(parameters: &Parameters) -> Result<Person, &'static str> {
    let field = |name: &str| parameters.get(name).map_or("", |value| value.trim());
    let quick: Vec<&str> = field("as").split(' ').collect();
    let (organization, user, role) = match quick[..] {
        [organization, user, role] => (organization, user, role),
        _ => (field("organization"), field("user"), field("role")),
    };
    for name in [organization, user] {
        if name.is_empty() || name.contains('#') || name.chars().count() > NAME_CHARS {
            return Err("Organization and user are names of 1 to 64 characters, without #.");
        }
    }
    if !ROLES.contains(&role) {
        return Err("The role is admin, operator or service.");
    }
    Ok(Person { organization: organization.to_owned(), user: user.to_owned(), role: role.to_owned() })
}

impl Issuer {
    fn client_id(&self) -> &str {
        self.authorizer.audience.first().map_or("", String::as_str)
    }

    /// An address of the console.
    fn own(&self, uri: Option<&String>) -> Option<Url> {
        let url = Url::parse(uri?).ok()?;
        (url.origin().ascii_serialization() == self.origin && url.fragment().is_none()).then_some(url)
    }

    /// Reads a request for authorization. Where it names no address of ours, its sender is told on a page; else the client is.
    fn request(&self, parameters: &Parameters) -> Result<Request, Box<Response>> {
        let field = |name: &str| parameters.get(name).filter(|value| !value.is_empty());
        let to_person = |text: &str| Box::new(note(StatusCode::BAD_REQUEST, "Cannot sign in", text));
        if field("client_id").map(String::as_str) != Some(self.client_id()) {
            return Err(to_person("client_id is not the audience that the API accepts."));
        }
        let redirect_uri = self.own(field("redirect_uri"));
        let redirect_uri = redirect_uri.ok_or_else(|| {
            to_person(&format!("redirect_uri is not an address of the console, which is at {}.", self.origin))
        })?;
        let state = field("state").cloned();
        let to_client = |error: &str, description: &str| {
            let mut to = redirect_uri.clone();
            to.query_pairs_mut().append_pair("error", error).append_pair("error_description", description);
            if let Some(state) = &state {
                to.query_pairs_mut().append_pair("state", state);
            }
            Box::new(see_other(to.as_str()))
        };
        if field("response_type").map(String::as_str) != Some("code") {
            return Err(to_client("unsupported_response_type", "response_type must be code"));
        }
        let scope = field("scope").cloned().unwrap_or_default();
        if !scope.split(' ').any(|scope| scope == "openid") {
            return Err(to_client("invalid_scope", "scope must have openid"));
        }
        if field("code_challenge_method").map(String::as_str) != Some("S256") {
            return Err(to_client("invalid_request", "code_challenge_method must be S256"));
        }
        // A SHA-256 digest, in base64url.
        let Some(challenge) = field("code_challenge").filter(|challenge| challenge.len() == 43) else {
            return Err(to_client("invalid_request", "code_challenge must be the digest of a verifier"));
        };
        if field("prompt").map(String::as_str) == Some("none") {
            return Err(to_client("login_required", "nobody stays signed in here"));
        }
        let (challenge, nonce) = (challenge.clone(), field("nonce").cloned());
        Ok(Request { redirect_uri, scope, state, nonce, challenge })
    }

    fn check_client(&self, parameters: &Parameters) -> Result<(), Refusal> {
        let client = parameters.get("client_id").map_or("", String::as_str);
        let unknown = ("invalid_client", "client_id is not the audience that the API accepts");
        if client == self.client_id() { Ok(()) } else { Err(unknown) }
    }

    /// The session that a code or refresh token stands for, which is used up by asking.
    fn redeem(&self, parameters: &Parameters) -> Result<(Session, Option<String>), Refusal> {
        let field = |name: &str| parameters.get(name).map_or("", String::as_str);
        self.check_client(parameters)?;
        let now = now();
        let mut grants = locked(&self.grants);
        grants.codes.retain(|_, code| code.expires > now);
        grants.refresh_tokens.retain(|_, session| session.signed_in + SESSION_SECS > now);
        match field("grant_type") {
            "authorization_code" => {
                let unknown = ("invalid_grant", "the code is unknown, used or expired");
                let code = grants.codes.remove(field("code")).ok_or(unknown)?;
                if code.redirect_uri != field("redirect_uri") {
                    return Err(("invalid_grant", "redirect_uri is not the one of the authorization"));
                }
                let verifier = field("code_verifier");
                let is_verifier = (43..=128).contains(&verifier.len());
                if !is_verifier || URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != code.challenge {
                    return Err(("invalid_grant", "code_verifier does not fit the code_challenge"));
                }
                Ok((code.session, code.nonce))
            }
            "refresh_token" => {
                let unknown = ("invalid_grant", "the refresh token is unknown, used or expired");
                Ok((grants.refresh_tokens.remove(field("refresh_token")).ok_or(unknown)?, None))
            }
            _ => Err(("unsupported_grant_type", "grant_type must be authorization_code or refresh_token")),
        }
    }

    /// Makes a refresh token worthless. One that is not known is worthless already.
    fn revoke(&self, parameters: &Parameters) -> Result<(), Refusal> {
        self.check_client(parameters)?;
        let token = parameters.get("token").filter(|token| !token.is_empty());
        let token = token.ok_or(("invalid_request", "name the token"))?;
        // A JWT is believed for what it says, whoever has been told what.
        if token.contains('.') {
            return Err(("unsupported_token_type", "only refresh tokens can be revoked: the others run out soon"));
        }
        locked(&self.grants).refresh_tokens.remove(token);
        Ok(())
    }

    /// A token that the API accepts.
    fn signed(&self, session: &Session, nonce: Option<String>) -> Result<String, rsa::Error> {
        let now = now();
        let Person { organization, user, role } = &session.person;
        let lifetime = i64::try_from(self.token_lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut claims = Map::from_iter([
            ("iss".to_owned(), self.authorizer.issuer.clone().into()),
            ("aud".to_owned(), self.client_id().into()),
            ("iat".to_owned(), now.into()),
            ("exp".to_owned(), now.saturating_add(lifetime).into()),
            ("auth_time".to_owned(), session.signed_in.into()),
            ("sub".to_owned(), user.clone().into()),
            ("name".to_owned(), user.clone().into()),
        ]);
        claims.insert(self.claims.organization.clone(), organization.clone().into());
        claims.insert(self.claims.user.clone(), user.clone().into());
        claims.insert(self.claims.role.clone(), role.clone().into());
        claims.extend(nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
        self.signing_key.token(&Value::Object(claims))
    }
}

/// Exchanges a code or a refresh token for tokens.
async fn exchange(State(issuer): State<Issuer>, Form(parameters): Form<Parameters>) -> Response {
    let (session, nonce) = match issuer.redeem(&parameters) {
        Ok(redeemed) => redeemed,
        Err(refusal) => return refused(refusal),
    };
    let (Ok(id_token), Ok(access_token)) = (issuer.signed(&session, nonce), issuer.signed(&session, None)) else {
        return refused(("server_error", "the signing key cannot sign"));
    };
    let mut body = json!({
        "token_type": "Bearer", "expires_in": issuer.token_lifetime.as_secs(), "scope": session.scope,
        "id_token": id_token, "access_token": access_token,
    });
    if let (true, Some(token)) = (session.scope.split(' ').any(|scope| scope == "offline_access"), random()) {
        body["refresh_token"] = token.as_str().into();
        locked(&issuer.grants).refresh_tokens.insert(token, session);
    }
    uncached(StatusCode::OK, &body)
}

/// Forgets a refresh token, so that signing out ends the session here too.
async fn revoke(State(issuer): State<Issuer>, Form(parameters): Form<Parameters>) -> Response {
    match issuer.revoke(&parameters) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refused(refusal),
    }
}

/// What nobody may keep.
fn uncached(status: StatusCode, body: &Value) -> Response {
    let mut response = json_response(status, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refused((error, description): Refusal) -> Response {
    uncached(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": description }))
}

/// Nobody stays signed in here, so there is only the way back.
async fn log_out(State(issuer): State<Issuer>, Query(parameters): Query<Parameters>) -> Response {
    let Some(mut to) = issuer.own(parameters.get("post_logout_redirect_uri")) else {
        return note(StatusCode::OK, "Signed out", "You can close this page.");
    };
    if let Some(state) = parameters.get("state") {
        to.query_pairs_mut().append_pair("state", state);
    }
    see_other(to.as_str())
}

fn problem(message: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": message }))
}

/// `organization`, `user`, `role`, `expiresIn` (seconds, may be negative); any other parameter becomes a claim of that name.
async fn token(State(issuer): State<Issuer>, RawQuery(query): RawQuery) -> Response {
    let now = now();
    let mut lifetime = ASKED_TOKEN_SECS;
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), issuer.authorizer.issuer.clone().into());
    claims.insert("aud".to_owned(), issuer.client_id().into());
    for (name, value) in query_parameters(&query.unwrap_or_default()) {
        match name.as_str() {
            "organization" => drop(claims.insert(issuer.claims.organization.clone(), value)),
            "user" => drop(claims.insert(issuer.claims.user.clone(), value)),
            "role" => drop(claims.insert(issuer.claims.role.clone(), value)),
            "expiresIn" => match value.as_str().and_then(|value| value.parse().ok()) {
                Some(seconds) => lifetime = seconds,
                None => return problem("expiresIn is a number of seconds"),
            },
            _ => drop(claims.insert(name, value)),
        }
    }
    let expires = now.saturating_add(lifetime);
    claims.entry("exp").or_insert(expires.into());
    claims.entry("iat").or_insert(now.min(expires).into());
    match issuer.signing_key.token(&Value::Object(claims)) {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(error) => problem(&error.to_string()),
    }
}
