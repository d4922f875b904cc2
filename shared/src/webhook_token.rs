//! The tokens that deliveries authenticate with: one per account, checked without a look-up, so that one organization's
//! token proves nothing about another's account.
//!
//! One secret gives them all, and none of them gives it away: HKDF-SHA-256 derives from it a key that signs the tokens of accounts,
//! the token of the whole service, and Meta's verify token.
//!
//! `kw2.<key id>.<base64url of the subject>.<base64url of the tag>`. The key id tells which secret a token is of. The subject is that
//! of a [`Proof`]. The tag is HMAC-SHA-256 over what stands before the last dot; that of the whole service is derived.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    id::{AccountId, OrganizationId},
    platform::Platform,
};

const VERSION: &str = "kw2";
const KEY_BYTES: usize = 32;
/// A block of SHA-256.
const HMAC_KEY_BYTES: usize = 64;
const KEY_ID_BYTES: usize = 4;
const KEY_ID_INFO: &[u8] = b"kepleroai/webhook/1/key-id";
const ACCOUNTS_INFO: &[u8] = b"kepleroai/webhook/1/account-tokens";
const SERVICE_INFO: &[u8] = b"kepleroai/webhook/1/service-token";
const VERIFY_INFO: &[u8] = b"kepleroai/webhook/1/verify-token";
/// The fewest characters of the secret.
const SECRET_MIN_CHARS: usize = 16;

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

/// The secret is too short to be one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the webhook's secret is shorter than {SECRET_MIN_CHARS} characters: use a long random text")]
pub struct WeakSecret;

/// What is derived from one version of the webhook's secret.
pub struct WebhookKeys {
    id: String,
    accounts: Zeroizing<[u8; HMAC_KEY_BYTES]>,
    service: Zeroizing<[u8; KEY_BYTES]>,
    verify_token: SecretString,
}

impl WebhookKeys {
    /// Derives them.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn derive(secret: &SecretString) -> Result<Self, WeakSecret> {
        let secret = secret.expose_secret();
        if secret.len() < SECRET_MIN_CHARS {
            return Err(WeakSecret);
        }
        let hkdf = Hkdf::<Sha256>::new(None, secret.as_bytes());
        Ok(Self {
            id: hex::encode(expand::<KEY_ID_BYTES>(&hkdf, KEY_ID_INFO)?),
            accounts: expand(&hkdf, ACCOUNTS_INFO)?,
            service: expand(&hkdf, SERVICE_INFO)?,
            verify_token: URL_SAFE_NO_PAD.encode(expand::<KEY_BYTES>(&hkdf, VERIFY_INFO)?).into(),
        })
    }

    /// Tells this version of the secret from others: eight hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The token of an account.
    #[must_use]
    pub fn account_token(
        &self,
        platform: Platform,
        account: &AccountId,
        organization: &OrganizationId,
    ) -> SecretString {
        let (account, organization) = (account.clone(), organization.clone());
        self.token(&Proof::Account { platform, account, organization })
    }

    /// The token of the whole service.
    #[must_use]
    pub fn service_token(&self) -> SecretString {
        self.token(&Proof::Global)
    }

    /// What Meta's handshake has to bring.
    #[must_use]
    pub fn verify_token(&self) -> &SecretString {
        &self.verify_token
    }

    /// Whether the token was made with these keys; `None` where it is of another secret.
    #[must_use]
    pub fn verify(&self, token: &UnverifiedToken) -> Option<bool> {
        let tag = || self.tag(&token.subject, token.signed);
        (self.id == token.key_id).then(|| tag().as_slice().ct_eq(&token.tag).into())
    }

    fn token(&self, subject: &Proof) -> SecretString {
        let signed = format!("{VERSION}.{}.{}", self.id, URL_SAFE_NO_PAD.encode(subject.to_string()));
        let tag = self.tag(subject, &signed);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_slice())).into()
    }

    fn tag(&self, subject: &Proof, signed: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        match subject {
            Proof::Global => self.service.clone(),
            Proof::Account { .. } => {
                let mac = Hmac::<Sha256>::new(&(*self.accounts).into()).chain_update(signed);
                Zeroizing::new(mac.finalize().into_bytes().into())
            }
        }
    }
}

fn expand<const BYTES: usize>(hkdf: &Hkdf<Sha256>, info: &[u8]) -> Result<Zeroizing<[u8; BYTES]>, WeakSecret> {
    let mut key = Zeroizing::new([0; BYTES]);
    hkdf.expand(info, key.as_mut_slice()).map_err(|_| WeakSecret)?;
    Ok(key)
}

/// The token in an `Authorization` header; the scheme's name may be written in any case (RFC 9110).
#[must_use]
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start())
}

/// A text of the form of a token, whoever wrote it.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    /// The version of the secret that it claims to be of.
    pub key_id: &'a str,
    /// What it claims to prove.
    pub subject: Proof,
    signed: &'a str,
    tag: [u8; KEY_BYTES],
}

impl<'a> UnverifiedToken<'a> {
    /// Reads it; `None` where it is of another form.
    #[must_use]
    pub fn parse(token: &'a str) -> Option<Self> {
        let (signed, tag) = token.rsplit_once('.')?;
        let [VERSION, key_id, subject] = signed.splitn(3, '.').collect::<Vec<_>>()[..] else { return None };
        let is_key_id =
            key_id.len() == 2 * KEY_ID_BYTES && key_id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let subject = String::from_utf8(URL_SAFE_NO_PAD.decode(subject).ok()?).ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?.try_into().ok()?;
        is_key_id.then_some(Self { key_id, subject: subject.try_into().ok()?, signed, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str) -> WebhookKeys {
        WebhookKeys::derive(&secret.into()).unwrap()
    }

    fn ours() -> WebhookKeys {
        keys("a-webhook-secret-for-tests")
    }

    fn account() -> Proof {
        "whatsapp/700100200300402/acme".to_owned().try_into().unwrap()
    }

    fn token(keys: &WebhookKeys) -> String {
        let token =
            keys.account_token(Platform::Whatsapp, &"700100200300402".parse().unwrap(), &"acme".parse().unwrap());
        token.expose_secret().to_owned()
    }

    /// What a token claims, and whether it proves that; `None` where it has another form.
    fn verify(keys: &WebhookKeys, token: &str) -> Option<(Proof, Option<bool>)> {
        let token = UnverifiedToken::parse(token)?;
        let is_proven = keys.verify(&token);
        Some((token.subject, is_proven))
    }

    #[test]
    fn token_proves_the_account_it_was_issued_for() {
        assert_eq!(verify(&ours(), &token(&ours())), Some((account(), Some(true))));
    }

    #[test]
    fn token_of_another_secret_is_told_by_its_key_id() {
        assert_eq!(verify(&keys("another secret for tests"), &token(&ours())), Some((account(), None)));
    }

    #[test]
    fn proof_is_read_back_from_its_text() {
        for (proof, text) in [(account(), "whatsapp/700100200300402/acme"), (Proof::Global, "service")] {
            assert_eq!(proof.to_string(), text);
            assert_eq!(Proof::try_from(text.to_owned()).unwrap(), proof);
        }
        for text in ["", "acme", "whatsapp/1", "whatsapp/1/a#b", "telegram/1/acme", "whatsapp/1/acme/x"] {
            assert!(Proof::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn service_token_proves_any_account() {
        let token = ours().service_token();
        assert_eq!(verify(&ours(), token.expose_secret()), Some((Proof::Global, Some(true))));
    }

    #[test]
    fn secret_itself_is_no_token_and_in_no_token() {
        let secret = "kw2.0123456789abcdef";
        let keys = keys(secret);

        assert_eq!(verify(&keys, secret), None);
        for token in [token(&keys).as_str(), keys.service_token().expose_secret(), keys.verify_token().expose_secret()]
        {
            assert!(!token.contains(secret), "{token}");
        }
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let keys = ours();
        let tags = [
            hex::encode(&keys.accounts[..KEY_BYTES]),
            hex::encode(&keys.service[..]),
            hex::encode(URL_SAFE_NO_PAD.decode(keys.verify_token().expose_secret()).unwrap()),
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert_eq!(tag.len(), 2 * KEY_BYTES);
            assert!(!tags[..index].contains(tag) && !tag.starts_with(keys.id()), "{index}");
        }
        // What the key of the accounts signs is not the service's token.
        let forged = format!("{VERSION}.{}.{}", keys.id(), URL_SAFE_NO_PAD.encode("service"));
        let mac = Hmac::<Sha256>::new(&(*keys.accounts).into()).chain_update(&forged).finalize().into_bytes();
        let forged = format!("{forged}.{}", URL_SAFE_NO_PAD.encode(mac));
        assert_eq!(verify(&ours(), &forged), Some((Proof::Global, Some(false))));
    }

    #[test]
    fn derived_keys_stay_the_same() {
        let keys = ours();
        assert_eq!(keys.id(), "56467321");
        assert_eq!(
            keys.service_token().expose_secret(),
            "kw2.56467321.c2VydmljZQ.3-n2r3N7Qp7a9Bj3zC4wKLqnRgg60fYiCW1QvNXTwJM"
        );
        assert_eq!(keys.verify_token().expose_secret(), "ZSes6yQ5Z_tpouWjjT-w10zulr6NqefKB1mAm4j_BQo");
        let (signed, tag) =
            ("kw2.56467321.d2hhdHNhcHAvNzAwMTAwMjAwMzAwNDAyL2FjbWU", "xjQRdWx0a7HRr16hdbp5kgAT3velTmuG1xLnV6yzMVQ");
        assert_eq!(token(&keys), format!("{signed}.{tag}"));
    }

    #[test]
    fn altered_token_proves_nothing() {
        let token = token(&ours());
        let other = token.replacen(&URL_SAFE_NO_PAD.encode("whatsapp/"), &URL_SAFE_NO_PAD.encode("facebook/"), 1);
        let service =
            token.replacen(&URL_SAFE_NO_PAD.encode(account().to_string()), &URL_SAFE_NO_PAD.encode(GLOBAL), 1);
        for text in [other, service] {
            assert_eq!(verify(&ours(), &text).unwrap().1, Some(false), "{text}");
        }
    }

    #[test]
    fn text_of_another_form_is_no_token() {
        let token = token(&ours());
        let older = token.replacen("kw2", "kw1", 1);
        let longer = format!("{token}.x");
        let upper = token.to_uppercase();
        for text in
            ["", ".", "kw2...", "kw2.x", "service", &token[..token.len() - 1], &token[1..], &older, &longer, &upper]
        {
            assert_eq!(verify(&ours(), text), None, "{text}");
        }
    }

    #[test]
    fn scheme_is_read_in_any_case() {
        for header in ["Bearer a.b", "bearer a.b", "BEARER   a.b "] {
            assert_eq!(bearer(header), Some("a.b"), "{header}");
        }
        for header in ["", "Bearer", "a.b", "Basic a.b"] {
            assert_eq!(bearer(header), None, "{header}");
        }
    }

    #[test]
    fn short_secret_is_refused() {
        assert!(WebhookKeys::derive(&"fifteen letters".into()).is_err());
    }
}
