//! The tokens that deliveries authenticate with: one per account, checked without a look-up, so that one organization's
//! token proves nothing about another's account.
//!
//! `kw1.<base64url of "<platform>/<accountId>/<organizationId>">.<base64url of HMAC-SHA-256 over what stands before the last dot>`

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{
    id::{AccountId, OrganizationId},
    platform::Platform,
};

const VERSION: &str = "kw1";

/// What a bearer token proves. As text: `service`, or `<platform>/<accountId>/<organizationId>`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Proof {
    /// The global token: any account.
    Global,
    /// The token that was registered for one account of one organization.
    Account {
        /// The platform.
        platform: Platform,
        /// The account.
        account: AccountId,
        /// The organization that it was registered for.
        organization: OrganizationId,
    },
}

impl Proof {
    /// The organization whose token it was; `None` where it stands for the whole service.
    #[must_use]
    pub fn organization(&self) -> Option<&OrganizationId> {
        match self {
            Self::Global => None,
            Self::Account { organization, .. } => Some(organization),
        }
    }
}

const GLOBAL: &str = "service";

impl fmt::Display for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => formatter.write_str(GLOBAL),
            Self::Account { platform, account, organization } => {
                write!(formatter, "{platform}/{account}/{organization}")
            }
        }
    }
}

/// The text is no proof.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not the text of a proof")]
pub struct InvalidProof;

impl TryFrom<String> for Proof {
    type Error = InvalidProof;

    fn try_from(text: String) -> Result<Self, InvalidProof> {
        if text == GLOBAL { Ok(Self::Global) } else { account_proof(&text).ok_or(InvalidProof) }
    }
}

fn account_proof(text: &str) -> Option<Proof> {
    let mut parts = text.splitn(3, '/');
    Some(Proof::Account {
        platform: parts.next()?.parse().ok()?,
        account: parts.next()?.parse().ok()?,
        organization: parts.next()?.parse().ok()?,
    })
}

/// The token of an account.
#[must_use]
pub fn issue(
    secret: &SecretString,
    platform: Platform,
    account: &AccountId,
    organization: &OrganizationId,
) -> SecretString {
    let named = format!("{VERSION}.{}", URL_SAFE_NO_PAD.encode(format!("{platform}/{account}/{organization}")));
    let tag = mac(secret, &named).map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    format!("{named}.{}", tag.unwrap_or_default()).into()
}

/// What a token proves; `None` when nothing.
#[must_use]
pub fn verify(secret: &SecretString, token: &str) -> Option<Proof> {
    if bool::from(token.as_bytes().ct_eq(secret.expose_secret().as_bytes())) {
        return Some(Proof::Global);
    }
    let (named, tag) = token.rsplit_once('.')?;
    mac(secret, named)?.verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
    let (version, subject) = named.split_once('.')?;
    let subject = String::from_utf8(URL_SAFE_NO_PAD.decode(subject).ok()?).ok()?;
    let proof = account_proof(&subject)?;
    (version == VERSION).then_some(proof)
}

fn mac(secret: &SecretString, named: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(named.as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretString {
        "a-webhook-token-for-tests".into()
    }

    fn token() -> SecretString {
        issue(&secret(), Platform::Whatsapp, &"700100200300402".parse().unwrap(), &"acme".parse().unwrap())
    }

    #[test]
    fn a_token_proves_the_account_that_it_was_issued_for() {
        let proof = verify(&secret(), token().expose_secret()).unwrap();

        let account = "700100200300402".parse().unwrap();
        assert_eq!(
            proof,
            Proof::Account { platform: Platform::Whatsapp, account, organization: "acme".parse().unwrap() }
        );
    }

    #[test]
    fn a_proof_is_read_back_from_its_text() {
        let proof = verify(&secret(), token().expose_secret()).unwrap();
        for (proof, text) in [(proof, "whatsapp/700100200300402/acme"), (Proof::Global, "service")] {
            assert_eq!(proof.to_string(), text);
            assert_eq!(Proof::try_from(text.to_owned()).unwrap(), proof);
        }
        for text in ["", "acme", "whatsapp/1", "whatsapp/1/a#b", "telegram/1/acme", "whatsapp/1/acme/x"] {
            assert!(Proof::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_global_token_proves_any_account() {
        assert_eq!(verify(&secret(), secret().expose_secret()), Some(Proof::Global));
    }

    #[test]
    fn no_other_text_proves_anything() {
        let token = token();
        let token = token.expose_secret();
        let forged = token.replacen(&URL_SAFE_NO_PAD.encode("whatsapp/"), &URL_SAFE_NO_PAD.encode("facebook/"), 1);
        for text in
            ["", ".", "kw1..", "kw1.x", &token[..token.len() - 1], &token[1..], &forged, "a-webhook-token-for-test"]
        {
            assert_eq!(verify(&secret(), text), None, "{text}");
        }
        assert_eq!(verify(&"another-webhook-token".into(), token), None);
    }
}
