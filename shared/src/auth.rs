//! Who calls: the organization, the user and the role of a request, from the JWT claims that API Gateway verified.

use lambda_http::{Request, RequestExt, request::RequestContext};

use crate::{
    config::Claims,
    error::{Error, Result},
    id::OrganizationId,
};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connects accounts; reads and replies.
    Admin,
    /// Reads and replies.
    Operator,
    /// A system of the platform: records messages.
    Service,
}

/// The roles that may read and reply.
pub const PEOPLE: &[Role] = &[Role::Admin, Role::Operator];
/// The role that may change integrations.
pub const ADMINS: &[Role] = &[Role::Admin];
/// The roles that may record messages.
pub const RECORDERS: &[Role] = &[Role::Service, Role::Admin];

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The organization that everything is read from and written to.
    pub organization: OrganizationId,
    /// The user's id.
    pub user: String,
}

/// The longest user id that is taken, in bytes.
const USER_MAX_BYTES: usize = 128;

/// The caller, when one of the allowed roles is theirs.
///
/// # Errors
/// [`Error::NoOrganization`] without a usable organization, [`Error::Forbidden`] with another role or without a user.
pub fn caller(request: &Request, claims: &Claims, allowed: &[Role]) -> Result<Caller> {
    let organization =
        claim(request, &claims.organization).and_then(|text| text.parse().ok()).ok_or(Error::NoOrganization)?;
    let roles = claim(request, &claims.role).unwrap_or_default();
    if !roles_of(&roles).any(|role| allowed.contains(&role)) {
        return Err(Error::Forbidden);
    }
    let user = claim(request, &claims.user)
        .filter(|user| !user.trim().is_empty() && user.len() <= USER_MAX_BYTES)
        .ok_or(Error::Forbidden)?;
    Ok(Caller { organization, user })
}

/// A claim by its configured name, or with Cognito's prefix for custom attributes; none where the two contradict each other.
fn claim(request: &Request, name: &str) -> Option<String> {
    let RequestContext::ApiGatewayV2(context) = request.request_context_ref()? else { return None };
    let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
    match (claims.get(name), claims.get(&format!("custom:{name}"))) {
        (Some(plain), Some(custom)) if plain != custom => None,
        (plain, custom) => plain.or(custom).cloned(),
    }
}

/// API Gateway prints a list claim as `[admin operator]`.
fn roles_of(text: &str) -> impl Iterator<Item = Role> {
    text.trim_start_matches('[').trim_end_matches(']').split([' ', ',']).filter_map(|role| match role {
        "admin" => Some(Role::Admin),
        "operator" => Some(Role::Operator),
        "service" => Some(Role::Service),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claims() -> Claims {
        Claims { organization: "organizationId".into(), user: "sub".into(), role: "role".into() }
    }

    fn request(claims: Value) -> Request {
        let event = include_str!("../../events/list-integrations.json");
        let mut event: Value = serde_json::from_str(event).unwrap();
        event["requestContext"]["authorizer"]["jwt"]["claims"] = claims;
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    #[test]
    fn the_caller_is_who_the_token_says() {
        let request = request(json!({"sub": "ann", "organizationId": "acme", "role": "operator"}));

        let caller = caller(&request, &claims(), PEOPLE).unwrap();

        assert_eq!(caller, Caller { organization: "acme".parse().unwrap(), user: "ann".into() });
    }

    #[test]
    fn cognitos_names_and_lists_are_read() {
        let request = request(json!({"sub": "ann", "custom:organizationId": "acme", "role": "[viewer admin]"}));

        assert!(caller(&request, &claims(), ADMINS).is_ok());
    }

    #[test]
    fn a_token_without_a_usable_organization_is_refused() {
        for organization in [json!(null), json!(""), json!("a#b"), json!("x".repeat(10_000))] {
            let mut token = json!({"sub": "ann", "role": "admin"});
            if !organization.is_null() {
                token["organizationId"] = organization;
            }
            assert!(matches!(caller(&request(token), &claims(), PEOPLE), Err(Error::NoOrganization)));
        }
    }

    #[test]
    fn claims_that_contradict_each_other_are_none() {
        let doubled = |name: &str, value: &str| {
            let mut claims = json!({"sub": "ann", "organizationId": "acme", "role": "admin"});
            claims[format!("custom:{name}")] = json!(value);
            caller(&request(claims), &self::claims(), PEOPLE)
        };

        assert!(doubled("organizationId", "acme").is_ok());
        assert!(matches!(doubled("organizationId", "globex"), Err(Error::NoOrganization)));
        assert!(matches!(doubled("role", "operator"), Err(Error::Forbidden)));
        assert!(matches!(doubled("sub", "bob"), Err(Error::Forbidden)));
    }

    #[test]
    fn claims_of_ten_kilobytes_are_refused() {
        for (name, value) in
            [("sub", "x".repeat(10_000)), ("role", "admin".repeat(2000)), ("organizationId", "x".repeat(10_000))]
        {
            let mut claims = json!({"sub": "ann", "organizationId": "acme", "role": "admin"});
            claims[name] = json!(value);
            assert!(caller(&request(claims), &self::claims(), PEOPLE).is_err(), "{name}");
        }
    }

    #[test]
    fn another_role_is_refused() {
        for role in ["", "service", "Admin", "administrator"] {
            let token = json!({"sub": "ann", "organizationId": "acme", "role": role});
            assert!(matches!(caller(&request(token), &claims(), PEOPLE), Err(Error::Forbidden)), "{role}");
        }
    }
}
