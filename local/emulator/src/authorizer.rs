//! Issues local tokens and verifies them as API Gateway's JWT authorizer does.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>

use std::{fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rsa::{
    PrivateKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding},
    sha2::Sha256,
    traits::PublicKeyParts as _,
};
use serde_json::{Map, Value, json};
use sha2::Digest as _;

use crate::{
    error::{Error, Result, SigningKeyError},
    files::write_private,
    template::Authorizer,
};

/// API Gateway accepts RSA keys; this is what identity providers use.
const KEY_BITS: usize = 2048;

/// The key that signs local tokens.
#[derive(Debug)]
pub struct SigningKey {
    key: PrivateKey,
    id: String,
}

/// Why a token was refused, in API Gateway's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub &'static str);

impl SigningKey {
    /// The key kept at `path`, made on the first start.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn open(path: &Path) -> Result<Self> {
        let key = match fs::read_to_string(path) {
            Ok(pem) => PrivateKey::from_pkcs8_pem(&pem).map_err(SigningKeyError::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = PrivateKey::new(&mut getrandom::SysRng, KEY_BITS).map_err(SigningKeyError::from)?;
                let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(SigningKeyError::from)?;
                write_private(path, pem.as_bytes()).map_err(|source| Error::File {
                    action: "write",
                    path: path.to_owned(),
                    source,
                })?;
                key
            }
            Err(source) => return Err(Error::File { action: "read", path: path.to_owned(), source }),
        };
        let id = URL_SAFE_NO_PAD.encode(&Sha256::digest(key.as_public_key().n_bytes())[..12]);
        Ok(Self { key, id })
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn token(&self, claims: &Value) -> std::result::Result<String, rsa::Error> {
        self.token_with_header(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.id }), claims)
    }

    fn token_with_header(&self, header: &Value, claims: &Value) -> std::result::Result<String, rsa::Error> {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.pkcs1v15_sign::<Sha256>(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public key as a JSON Web Key Set.
    #[must_use]
    pub fn key_set(&self) -> Value {
        let public = self.key.as_public_key();
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id,
            "n": URL_SAFE_NO_PAD.encode(public.n_bytes()), "e": URL_SAFE_NO_PAD.encode(public.e_bytes()),
        }] })
    }

    /// The claims of an acceptable token.
    ///
    /// # Errors
    /// When it is not signed by this key, or its claims do not satisfy the authorizer at `now` (epoch seconds).
    pub fn verify(
        &self,
        token: &str,
        authorizer: &Authorizer,
        now: i64,
    ) -> std::result::Result<Map<String, Value>, Refusal> {
        let malformed = Refusal("the token is malformed");
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
        let object = |part: &str| serde_json::from_slice::<Map<String, Value>>(&decode(part)?).map_err(|_| malformed);
        let header = object(header)?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(Refusal("signing method is invalid"));
        }
        if header.get("kid").and_then(Value::as_str) != Some(&self.id) {
            return Err(Refusal("unable to find a signing key that matches the token's kid"));
        }
        let signature = decode(signature)?;
        self.key
            .as_public_key()
            .pkcs1v15_verify::<Sha256>(signed.as_bytes(), &signature)
            .map_err(|_| Refusal("the token's signature is invalid"))?;
        let claims = object(claims)?;
        check_claims(&claims, authorizer, now)?;
        Ok(claims)
    }
}

fn check_claims(claims: &Map<String, Value>, authorizer: &Authorizer, now: i64) -> std::result::Result<(), Refusal> {
    if claims.get("iss").and_then(Value::as_str) != Some(&authorizer.issuer) {
        return Err(Refusal("the token has an invalid issuer"));
    }
    // client_id counts only where there is no aud.
    let audience = match claims.get("aud").or_else(|| claims.get("client_id")) {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.iter().any(|audience| authorizer.audience.iter().any(|accepted| accepted == audience)) {
        return Err(Refusal("the token has an invalid audience"));
    }
    // Times are numbers and may have a fraction.
    let time =
        |name: &str| claims.get(name).map(|value| value.as_f64().ok_or(Refusal("the token has an invalid time")));
    #[expect(clippy::cast_precision_loss, reason = "epoch seconds fit a double for millions of years")]
    let now = now as f64;
    let Some(expires) = time("exp").transpose()? else { return Err(Refusal("the token has no expiry")) };
    if expires <= now {
        return Err(Refusal("the token has expired"));
    }
    for name in ["nbf", "iat"] {
        if time(name).transpose()?.is_some_and(|from| from > now) {
            return Err(Refusal("the token is not valid yet"));
        }
    }
    Ok(())
}

/// Claims as API Gateway hands them to a function: every value a string, a list as `[a b]`. What is in a list is not quoted, so
/// that one name with a space and two names are printed alike.
#[must_use]
pub fn claims_as_strings(claims: &Map<String, Value>) -> Map<String, Value> {
    fn text(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
            other => other.to_string(),
        }
    }
    claims.iter().map(|(name, value)| (name.clone(), Value::String(text(value)))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn key() -> &'static SigningKey {
        static KEY: OnceLock<SigningKey> = OnceLock::new();
        KEY.get_or_init(|| SigningKey::open(&tempfile::tempdir().unwrap().path().join("key.pem")).unwrap())
    }

    fn authorizer() -> Authorizer {
        Authorizer { issuer: "http://127.0.0.1:3000/local".to_owned(), audience: vec!["local".to_owned()] }
    }

    fn claims() -> Value {
        json!({ "iss": "http://127.0.0.1:3000/local", "aud": "local", "sub": "ann", "iat": NOW - 5, "exp": NOW + 60 })
    }

    fn verify(claims: &Value) -> std::result::Result<Map<String, Value>, Refusal> {
        key().verify(&key().token(claims).unwrap(), &authorizer(), NOW)
    }

    #[test]
    fn a_good_token_gives_its_claims() {
        assert_eq!(verify(&claims()).unwrap()["sub"], "ann");
    }

    #[test]
    fn the_key_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let token = SigningKey::open(&path).unwrap().token(&claims()).unwrap();

        let again = SigningKey::open(&path).unwrap();

        assert!(again.verify(&token, &authorizer(), NOW).is_ok());
        assert_eq!(again.key_set()["keys"][0]["e"], "AQAB");
    }

    #[test]
    fn each_wrong_claim_is_refused() {
        let cases = [
            ("iss", json!("https://other.example.com")),
            ("aud", json!("another")),
            ("aud", json!(["another"])),
            ("exp", json!(NOW)),
            ("exp", json!("soon")),
            ("exp", Value::Null),
            ("nbf", json!(NOW + 10)),
            ("iat", json!(NOW + 10)),
        ];
        for (name, value) in cases {
            let mut claims = claims();
            claims[name] = value;
            assert!(verify(&claims).is_err(), "{name}: {}", claims[name]);
        }
    }

    #[test]
    fn client_id_stands_in_for_a_missing_audience() {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("aud");
        assert!(verify(&claims).is_err());

        claims["client_id"] = json!("local");

        assert!(verify(&claims).is_ok());
    }

    #[test]
    fn another_algorithm_or_key_is_refused() {
        for header in [
            json!({ "alg": "none", "kid": key().id }),
            json!({ "alg": "HS256", "kid": key().id }),
            json!({ "alg": "RS256", "kid": "another" }),
            json!({ "alg": "RS256" }),
        ] {
            let token = key().token_with_header(&header, &claims()).unwrap();
            assert!(key().verify(&token, &authorizer(), NOW).is_err(), "{header}");
        }
    }

    #[test]
    fn an_altered_token_is_refused() {
        let token = key().token(&claims()).unwrap();
        let parts: Vec<_> = token.split('.').collect();
        let mut other = claims();
        other["sub"] = json!("eve");
        let altered = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(other.to_string()), parts[2]);

        assert!(key().verify(&altered, &authorizer(), NOW).is_err());
        for garbage in ["", ".", "..", "a.b.c", &format!("{}.{}.", parts[0], parts[1])] {
            assert!(key().verify(garbage, &authorizer(), NOW).is_err(), "{garbage}");
        }
    }

    #[test]
    fn claims_become_strings() {
        let claims =
            json!({ "sub": "ann", "exp": 1_795_000_000, "groups": ["a", "b"], "group": ["a b"], "admin": true });

        let strings = claims_as_strings(claims.as_object().unwrap());

        assert_eq!(strings["exp"], "1795000000");
        assert_eq!((&strings["groups"], &strings["group"]), (&json!("[a b]"), &json!("[a b]")));
        assert_eq!(strings["admin"], "true");
    }
}
