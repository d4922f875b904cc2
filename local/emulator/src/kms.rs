//! The KMS emulator: data keys wrapped by AES-256-GCM under one root key, with the encryption context as authenticated data.
//!
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html>

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::arn::{ACCOUNT_ID, KEY_ID, REGION, key_arn};

/// The first byte of a ciphertext.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;
/// KMS takes no longer ciphertext.
const BLOB_MAX_BYTES: usize = 6144;

/// The emulator and what it was asked.
#[derive(Clone)]
pub struct Kms {
    cipher: Aes256Gcm,
    aliases: Vec<String>,
    calls: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl std::fmt::Debug for Kms {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kms").field("aliases", &self.aliases).finish_non_exhaustive()
    }
}

/// The code and text of an error, as KMS answers it.
type Refusal = (&'static str, String);

impl Kms {
    /// An emulator of one key.
    #[must_use]
    pub fn new(root_key: &[u8; 32], aliases: Vec<String>) -> Self {
        Self { cipher: Aes256Gcm::new(&(*root_key).into()), aliases, calls: Arc::default() }
    }

    /// The endpoint.
    pub fn router(&self) -> Router {
        Router::new().route("/", post(handle)).with_state(self.clone())
    }

    /// Calls since the start or the last [`Kms::forget_calls`], by operation.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts from zero again.
    pub fn forget_calls(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn answer(&self, operation: &str, request: &Value) -> Result<Value, Refusal> {
        match operation {
            "GenerateDataKey" => self.generate_data_key(request),
            "Decrypt" => self.decrypt(request),
            "DescribeKey" => {
                self.known_key(&request["KeyId"])?;
                Ok(json!({ "KeyMetadata": {
                    "AWSAccountId": ACCOUNT_ID, "Arn": key_arn(), "Enabled": true, "KeyId": KEY_ID, "KeyManager": "CUSTOMER",
                    "KeySpec": "SYMMETRIC_DEFAULT", "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS",
                    "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
                } }))
            }
            _ => Err(("UnknownOperationException", String::new())),
        }
    }

    fn generate_data_key(&self, request: &Value) -> Result<Value, Refusal> {
        self.known_key(&request["KeyId"])?;
        let bytes = match (request["KeySpec"].as_str(), request["NumberOfBytes"].as_u64()) {
            (Some("AES_256"), None) => 32,
            (Some("AES_128"), None) => 16,
            (None, Some(bytes @ 1..=1024)) => usize::try_from(bytes).unwrap_or(32),
            _ => {
                let problem = "Please specify either number of bytes or key spec.";
                return Err(("ValidationException", problem.to_owned()));
            }
        };
        let mut key = vec![0; bytes];
        let mut nonce = [0; NONCE_BYTES];
        for random in [key.as_mut_slice(), nonce.as_mut_slice()] {
            getrandom::fill(random).map_err(|error| ("KMSInternalException", error.to_string()))?;
        }
        let context = canonical_context(&request["EncryptionContext"])?;
        let wrapped = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: &key, aad: &context })
            .map_err(|error| ("KMSInternalException", error.to_string()))?;
        let blob = [&[FORMAT][..], &nonce, &wrapped].concat();
        Ok(json!({ "CiphertextBlob": STANDARD.encode(blob), "Plaintext": STANDARD.encode(key), "KeyId": key_arn() }))
    }

    fn decrypt(&self, request: &Value) -> Result<Value, Refusal> {
        if !request["KeyId"].is_null() {
            self.known_key(&request["KeyId"])?;
        }
        // KMS says no more than this, whatever is wrong with the ciphertext or its context.
        let invalid = || ("InvalidCiphertextException", String::new());
        let context = canonical_context(&request["EncryptionContext"])?;
        let blob = STANDARD.decode(request["CiphertextBlob"].as_str().unwrap_or_default()).map_err(|_| invalid())?;
        if !(1..=BLOB_MAX_BYTES).contains(&blob.len()) {
            let problem = "1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint";
            return Err(("ValidationException", problem.to_owned()));
        }
        let rest = blob.strip_prefix(&[FORMAT]).ok_or_else(invalid)?;
        let (nonce, wrapped) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(invalid)?;
        let key = self
            .cipher
            .decrypt(&Nonce::from(*nonce), Payload { msg: wrapped, aad: &context })
            .map_err(|_| invalid())?;
        Ok(json!({
            "KeyId": key_arn(), "Plaintext": STANDARD.encode(key), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }))
    }

    fn known_key(&self, id: &Value) -> Result<(), Refusal> {
        let id = id.as_str().unwrap_or_default();
        let alias = id.strip_prefix(&format!("arn:aws:kms:{REGION}:{ACCOUNT_ID}:")).unwrap_or(id);
        if id == KEY_ID || id == key_arn() || self.aliases.iter().any(|known| known == alias) {
            Ok(())
        } else {
            Err(("NotFoundException", format!("Key '{id}' does not exist")))
        }
    }
}

/// The context in one form, whatever the order of its members.
fn canonical_context(context: &Value) -> Result<Vec<u8>, Refusal> {
    let pairs: BTreeMap<String, String> = match context {
        Value::Null => BTreeMap::new(),
        other => serde_json::from_value(other.clone())
            .map_err(|_| ("SerializationException", "the encryption context is a map of strings".to_owned()))?,
    };
    Ok(json!(pairs).to_string().into_bytes())
}

async fn handle(State(kms): State<Kms>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix("TrentService.").unwrap_or_default();
    *kms.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(operation.to_owned()).or_default() += 1;
    let answer = match serde_json::from_slice(&body) {
        Ok(request) => kms.answer(operation, &request),
        Err(_) => Err(("SerializationException", String::new())),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err((code, text)) if text.is_empty() => (StatusCode::BAD_REQUEST, json!({ "__type": code })),
        Err((code, text)) => (StatusCode::BAD_REQUEST, json!({ "__type": code, "message": text })),
    };
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kms() -> Kms {
        Kms::new(&[7; 32], vec!["alias/secrets".to_owned()])
    }

    fn data_key(kms: &Kms) -> Value {
        let context = json!({ "organizationId": "acme", "platform": "whatsapp" });
        let request = json!({ "KeyId": KEY_ID, "KeySpec": "AES_256", "EncryptionContext": context });
        kms.answer("GenerateDataKey", &request).unwrap()
    }

    #[test]
    fn a_data_key_opens_under_its_own_context_in_any_order() {
        let key = data_key(&kms());
        let context = json!({ "platform": "whatsapp", "organizationId": "acme" });

        let request = json!({ "CiphertextBlob": key["CiphertextBlob"], "EncryptionContext": context });
        let opened = kms().answer("Decrypt", &request).unwrap();

        assert_eq!(opened["Plaintext"], key["Plaintext"]);
        assert_eq!(STANDARD.decode(key["Plaintext"].as_str().unwrap()).unwrap().len(), 32);
    }

    #[test]
    fn another_context_is_an_invalid_ciphertext() {
        let key = data_key(&kms());
        let contexts = [
            Value::Null,
            json!({}),
            json!({ "organizationId": "acme" }),
            json!({ "organizationId": "other", "platform": "whatsapp" }),
        ];
        for context in contexts {
            let request = json!({ "CiphertextBlob": key["CiphertextBlob"], "EncryptionContext": context });
            assert_eq!(kms().answer("Decrypt", &request).unwrap_err().0, "InvalidCiphertextException", "{context}");
        }
    }

    #[test]
    fn another_root_key_or_a_damaged_ciphertext_opens_nothing() {
        let key = data_key(&kms());
        let context = json!({ "organizationId": "acme", "platform": "whatsapp" });
        let request = json!({ "CiphertextBlob": key["CiphertextBlob"], "EncryptionContext": context });
        let other = Kms::new(&[8; 32], Vec::new());
        assert_eq!(other.answer("Decrypt", &request).unwrap_err().0, "InvalidCiphertextException");

        for blob in ["AQ==", "AAAA", "?"] {
            let request = json!({ "CiphertextBlob": blob, "EncryptionContext": context });
            assert_eq!(kms().answer("Decrypt", &request).unwrap_err().0, "InvalidCiphertextException");
        }
        for blob in [String::new(), STANDARD.encode([FORMAT; BLOB_MAX_BYTES + 1])] {
            let request = json!({ "CiphertextBlob": blob, "EncryptionContext": context });
            assert_eq!(kms().answer("Decrypt", &request).unwrap_err().0, "ValidationException");
        }
    }

    #[test]
    fn the_key_is_known_by_id_arn_and_alias_only() {
        for id in [KEY_ID, &key_arn(), "alias/secrets", &format!("arn:aws:kms:{REGION}:{ACCOUNT_ID}:alias/secrets")] {
            assert!(kms().answer("DescribeKey", &json!({ "KeyId": id })).is_ok(), "{id}");
        }
        let refusal = kms().answer("GenerateDataKey", &json!({ "KeyId": "another", "KeySpec": "AES_256" }));
        assert_eq!(refusal.unwrap_err().0, "NotFoundException");
    }
}
