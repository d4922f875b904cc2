//! Opaque positions in a list, bound to the organization and the query: one from another list, or an altered one, is
//! refused. They hold no secret and are no authorization: a position only ever moves within the caller's own list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    error::{Error, Result},
    id::{OrganizationId, fingerprint},
};

/// The longest cursor that is looked at, in bytes.
const MAX_BYTES: usize = 512;

/// A position in the list that `organization` gets for `query`.
#[must_use]
pub fn encode(organization: &OrganizationId, query: &str, position: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{position}", seal(organization, query, position)))
}

/// The position that [`encode`] was given.
///
/// # Errors
/// [`Error::InvalidCursor`] when it belongs to another organization or query, or was altered.
pub fn decode(organization: &OrganizationId, query: &str, cursor: &str) -> Result<String> {
    let position = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (sealed, position) = text.split_at_checked(seal(organization, query, "").len())?;
        (sealed == seal(organization, query, position)).then(|| position.to_owned())
    };
    if cursor.len() > MAX_BYTES { Err(Error::InvalidCursor) } else { position().ok_or(Error::InvalidCursor) }
}

fn seal(organization: &OrganizationId, query: &str, position: &str) -> String {
    fingerprint("cursor/1", format!("{organization}\n{query}\n{position}").as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn acme() -> OrganizationId {
        "acme".parse().unwrap()
    }

    #[test]
    fn a_cursor_belongs_to_one_organization_and_one_query() {
        let cursor = encode(&acme(), "channel=whatsapp", "1767877200000#x");

        assert_eq!(decode(&acme(), "channel=whatsapp", &cursor).unwrap(), "1767877200000#x");
        assert!(decode(&"globex".parse().unwrap(), "channel=whatsapp", &cursor).is_err());
        assert!(decode(&acme(), "channel=phone", &cursor).is_err());
    }

    /// See *Fuzz* in `docs/contributing.md`.
    #[test]
    fn fuzz_any_cursor() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(position) = decode(&acme(), "", &text) {
                assert_eq!(encode(&acme(), "", &position), text, "there is one cursor of a position");
            }
            let cursor = encode(&acme(), "", &text);
            match decode(&acme(), "", &cursor) {
                Ok(position) => assert_eq!(position, text),
                Err(_) => assert!(cursor.len() > MAX_BYTES),
            }
        });
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_refused(cursor in ".{0,600}") {
            prop_assert!(decode(&acme(), "", &cursor).is_err());
        }

        #[test]
        fn an_altered_cursor_is_refused(position in "[ -~]{0,80}", at in 0usize..100, flip in 1u8..128) {
            let mut bytes = encode(&acme(), "", &position).into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(altered) = String::from_utf8(bytes) {
                prop_assert!(decode(&acme(), "", &altered).is_err());
            }
        }
    }
}
