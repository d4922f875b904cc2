//! Who calls: the organization, the user and the role of a request, from the JWT claims that API Gateway verified.

use lambda_http::{Request, RequestExt, request::RequestContext};

use tracing::warn;

use crate::{
    clock,
    config::Claims,
    error::{Error, Result},
    http::causes,
    id::OrganizationId,
    store::{AuditAction, Store},
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
    let (caller, roles) = identified(request, claims)?;
    if roles.iter().any(|role| allowed.contains(role)) { Ok(caller) } else { Err(Error::Forbidden) }
}

/// The same for what is worth telling the organization's admins when somebody else tries it.
///
/// # Errors
/// As [`caller`].
pub async fn caller_or_told(
    request: &Request,
    claims: &Claims,
    allowed: &[Role],
    store: &Store,
    attempt: AuditAction,
) -> Result<Caller> {
    let result = caller(request, claims, allowed);
    if let (Err(Error::Forbidden), Ok((caller, _))) = (&result, identified(request, claims))
        // It is refused all the same.
        && let Err(error) =
            store.audit_refusal(&caller.organization, &caller.user, attempt, clock::now_ms()).await
    {
        warn!("a refused attempt is not in the audit trail: {}", causes(&error));
    }
    result
}

/// Who calls, and in which roles.
fn identified(request: &Request, claims: &Claims) -> Result<(Caller, Vec<Role>)> {
    let organization =
        claim(request, claims, &claims.organization).and_then(|text| text.parse().ok()).ok_or(Error::NoOrganization)?;
    // A list of people is nobody.
    let user = claim(request, claims, &claims.user)
        .filter(|user| !user.trim().is_empty() && user.len() <= USER_MAX_BYTES && list(user).is_none())
        .ok_or(Error::Forbidden)?;
    let roles = claim(request, claims, &claims.role).map(|text| roles_of(&claims.role, &text)).unwrap_or_default();
    Ok((Caller { organization, user }, roles))
}

/// A claim by its configured name, or with the prefix that the stack's own pool has before its attributes; none where the two
/// contradict each other.
fn claim(request: &Request, names: &Claims, name: &str) -> Option<String> {
    let RequestContext::ApiGatewayV2(context) = request.request_context_ref()? else { return None };
    let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
    let prefixed = names.prefix.as_ref().and_then(|prefix| claims.get(&format!("{prefix}{name}")));
    match (claims.get(name), prefixed) {
        (Some(plain), Some(prefixed)) if plain != prefixed => None,
        (plain, prefixed) => plain.or(prefixed).cloned(),
    }
}

/// The claim of a Cognito user's groups, whose names hold no spaces:
/// <https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateGroup.html>
const COGNITO_GROUPS: &str = "cognito:groups";

/// The roles that a claim tells: its value, or of a list its words. One group "shop admin" and two groups "shop" and "admin" are
/// printed alike, so a list with anything that is no role tells none, unless it is one of names without spaces.
fn roles_of(claim: &str, text: &str) -> Vec<Role> {
    let Some(words) = list(text) else { return role_of(text).into_iter().collect() };
    let roles = words.split(' ').map(role_of);
    if claim == COGNITO_GROUPS { roles.flatten().collect() } else { roles.collect::<Option<_>>().unwrap_or_default() }
}

/// What stands in a list claim, as API Gateway prints one: `[a b]`.
fn list(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

fn role_of(name: &str) -> Option<Role> {
    match name {
        "admin" => Some(Role::Admin),
        "operator" => Some(Role::Operator),
        "service" => Some(Role::Service),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claims() -> Claims {
        Claims { organization: "organizationId".into(), user: "sub".into(), role: "role".into(), prefix: None }
    }

    /// The names in the tokens of the stack's own pool.
    fn own_pool() -> Claims {
        Claims { prefix: Some("custom:".into()), ..claims() }
    }

    fn request(claims: Value) -> Request {
        let event = include_str!("../../events/list-integrations.json");
        let mut event: Value = serde_json::from_str(event).unwrap();
        event["requestContext"]["authorizer"]["jwt"]["claims"] = claims;
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    fn is_admin(names: &Claims, role: &str) -> bool {
        let mut token = json!({"sub": "ann", "organizationId": "acme"});
        token[&names.role] = json!(role);
        caller(&request(token), names, ADMINS).is_ok()
    }

    #[test]
    fn the_caller_is_who_the_token_says() {
        let request = request(json!({"sub": "ann", "organizationId": "acme", "role": "operator"}));

        let caller = caller(&request, &claims(), PEOPLE).unwrap();

        assert_eq!(caller, Caller { organization: "acme".parse().unwrap(), user: "ann".into() });
    }

    #[test]
    fn not_admin_is_no_admin() {
        for title in ["not admin", "Regional admin", "admin read-only", "shop,admin", "admin ", "[admin", "admin]", ""]
        {
            assert!(!is_admin(&claims(), title), "{title}");
        }
        assert!(is_admin(&claims(), "admin"));
    }

    #[test]
    fn list_of_roles_holds_each_of_them() {
        for list in ["[admin]", "[operator admin]", "[admin service]"] {
            assert!(is_admin(&claims(), list), "{list}");
        }
        assert!(!is_admin(&claims(), "[operator service]"));
    }

    #[test]
    fn list_with_another_name_holds_no_role() {
        for list in
            ["[shop admin]", "[not admin]", "[admin read-only]", "[admin  operator]", "[[admin]]", "[admin,x]", "[]"]
        {
            assert!(!is_admin(&claims(), list), "{list}");
            assert!(!is_admin(&own_pool(), list), "{list}");
        }
    }

    #[test]
    fn cognito_groups_hold_roles_beside_other_names() {
        let groups = Claims { role: COGNITO_GROUPS.into(), ..claims() };

        assert!(is_admin(&groups, "[testers admin]"));
        for other in ["[testers]", "[shop-admin]", "testers admin"] {
            assert!(!is_admin(&groups, other), "{other}");
        }
    }

    #[test]
    fn prefixed_claims_count_for_the_own_pool_only() {
        let prefixed = json!({"sub": "ann", "custom:organizationId": "acme", "custom:role": "admin"});
        let plain = json!({"sub": "ann", "organizationId": "acme", "role": "operator", "custom:role": "admin"});

        assert!(caller(&request(prefixed.clone()), &own_pool(), ADMINS).is_ok());
        assert!(matches!(caller(&request(prefixed), &claims(), ADMINS), Err(Error::NoOrganization)));
        assert!(matches!(caller(&request(plain.clone()), &claims(), ADMINS), Err(Error::Forbidden)));
        assert!(caller(&request(plain), &claims(), PEOPLE).is_ok());
    }

    #[test]
    fn list_is_no_organization_and_no_user() {
        let of = |name: &str, value: &str| {
            let mut token = json!({"sub": "ann", "organizationId": "acme", "role": "admin"});
            token[name] = json!(value);
            caller(&request(token), &claims(), ADMINS)
        };

        for organization in ["[acme]", "[acme globex]", "[acme", "acme]"] {
            assert!(matches!(of("organizationId", organization), Err(Error::NoOrganization)), "{organization}");
        }
        assert!(matches!(of("sub", "[ann bob]"), Err(Error::Forbidden)));
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
            caller(&request(claims), &own_pool(), PEOPLE)
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
