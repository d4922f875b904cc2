//! The signatures of deliveries: `x-360dialog-signature` and Meta's `X-Hub-Signature-256` are the same computation,
//! HMAC-SHA256 over the raw bytes of the body, in hex.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "sha256=";

/// What a header says, whoever wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Reads it: 64 hex digits of either case, with or without `sha256=` before them. `None` for anything else.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let digits = match header.split_at_checked(PREFIX.len()) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case(PREFIX) => digits,
            _ => header,
        };
        let mut signature = [0; 32];
        hex::decode_to_slice(digits, &mut signature).ok().map(|()| Self(signature))
    }

    /// Whether it signs `body` with `secret`. Takes the same time wherever a wrong one differs. Nothing is signed with an empty
    /// secret.
    #[must_use]
    pub fn signs(&self, secret: &[u8], body: &[u8]) -> bool {
        let mac = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| !secret.is_empty());
        mac.is_some_and(|mac| mac.chain_update(body).verify_slice(&self.0).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(secret: &[u8], body: &[u8], header: &str) -> bool {
        Signature::parse(header).is_some_and(|signature| signature.signs(secret, body))
    }

    const SECRET: &[u8] = b"topsecret";
    const VECTORS: [(&[u8], &str); 2] = [
        (br#"{"object":"page","entry":[]}"#, "e5fbae00acee5778596de21686032f8a2b3175b7d747d07c424518f47ff7b6fa"),
        (
            br#"{"text":"\u00e4\u00f6\u00e5 \ud83d\ude00 a\/b"}"#,
            "e7aab1bc496483883b37235a954a41c7f87f62bddb983be0ecf17f5b8d960797",
        ),
    ];

    #[test]
    fn a_signature_is_valid_in_every_spelling() {
        for (body, signature) in VECTORS {
            let upper = signature.to_uppercase();
            let prefixed = ["sha256=", "SHA256="].map(|prefix| format!("{prefix}{signature}"));
            for header in [signature, &upper, &prefixed[0], &prefixed[1], &format!("sha256={upper}")] {
                assert!(is_valid(SECRET, body, header), "{header}");
            }
        }
    }

    #[test]
    fn a_signature_is_for_one_body_and_one_secret() {
        let [(body, signature), (other, _)] = VECTORS;
        assert!(!is_valid(SECRET, other, signature));
        assert!(!is_valid(b"topsecreT", body, signature));
        assert!(!is_valid(SECRET, &[body, b"\n"].concat(), signature));
    }

    #[test]
    fn what_is_no_signature_is_not_valid() {
        let (body, signature) = VECTORS[0];
        let half = &signature[..32];
        let long = format!("{signature}00");
        for header in
            ["", "sha256=", "sha1=00", half, &long, &signature.replace('e', "g"), &signature.replace('e', "é")]
        {
            assert!(!is_valid(SECRET, body, header), "{header}");
        }
    }

    #[test]
    fn nothing_is_valid_under_an_empty_secret() {
        let signature = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
        assert!(!is_valid(b"", b"", signature));
    }
}
