//! What a browser is shown: the form to sign in with, notes, and ways back.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{Html, IntoResponse as _, Response},
};

use super::{Parameters, REQUEST, ROLES};

const PAGE: &str = include_str!("authorize.html");
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The text as it may stand in HTML, in elements and in quoted attributes.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A page that no script, frame or foreign form can get hold of.
fn page(status: StatusCode, html: String) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, Html(html)).into_response()
}

pub(super) fn note(status: StatusCode, title: &str, text: &str) -> Response {
    let (title, text) = (escaped(title), escaped(text));
    page(
        status,
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <link rel=\"stylesheet\" href=\"/local/issuer.css\">\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n</main>\n</html>\n"
        ),
    )
}

/// `303`, and nothing for caches or other sites.
pub(super) fn see_other(to: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(to) else {
        return note(StatusCode::BAD_REQUEST, "Cannot go on", "The address to go back to is none.");
    };
    let headers = [
        (LOCATION, location),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

pub(super) fn form(parameters: &Parameters, status: StatusCode, problem: &str) -> Response {
    let value = |name: &str, default: &str| escaped(parameters.get(name).map_or(default, String::as_str));
    let hidden = REQUEST
        .iter()
        .filter_map(|name| Some((name, parameters.get(*name)?)))
        .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value)))
        .collect::<Vec<_>>()
        .join("\n");
    let chosen = value("role", ROLES[0]);
    let role = |role: &&str| format!("<option{}>{role}</option>", if **role == chosen { " selected" } else { "" });
    let problem = match problem {
        "" => String::new(),
        problem => format!("<p class=\"problem\" role=\"alert\">{}</p>", escaped(problem)),
    };
    let parts = [
        ("{problem}", problem),
        ("{hidden}", hidden),
        ("{organization}", value("organization", "acme")),
        ("{user}", value("user", "ann")),
        ("{roles}", ROLES.iter().map(role).collect()),
    ];
    page(status, filled(PAGE, &parts))
}

/// The template with each name replaced once, in order; what was filled in is not looked at again.
fn filled(template: &str, parts: &[(&str, String)]) -> String {
    let mut html = String::new();
    let mut rest = template;
    for (name, part) in parts {
        let (before, after) = rest.split_once(name).unwrap_or((rest, ""));
        html.push_str(before);
        html.push_str(part);
        rest = after;
    }
    html + rest
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn filled_in_values_stay_plain_text() {
        let parameters = HashMap::from([
            ("state".to_owned(), "\"><script>alert(1)</script>{organization}".to_owned()),
            ("organization".to_owned(), "{user}<b>".to_owned()),
        ]);
        let response = form(&parameters, StatusCode::OK, "'<i>'");
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(response.into_body(), usize::MAX));
        let html = String::from_utf8(body.unwrap().unwrap().to_vec()).unwrap();

        assert!(html.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{organization}\""), "{html}");
        assert!(html.contains("value=\"{user}&lt;b&gt;\""), "{html}");
        assert!(html.contains("&#39;&lt;i&gt;&#39;"), "{html}");
        assert!(html.contains("<option selected>admin</option>"), "{html}");
    }
}
