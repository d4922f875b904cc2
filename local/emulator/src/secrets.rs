//! The Secrets Manager emulator: text secrets by ARN, each with its current version and the one before.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{files::write_private, forward::operation};

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
/// How many random bytes a generated secret holds.
const RANDOM_BYTES: usize = 32;

/// The emulator; clones share everything.
#[derive(Clone)]
pub struct Secrets {
    file: Option<PathBuf>,
    kept: Arc<Mutex<BTreeMap<String, Secret>>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Secret {
    current: String,
    previous: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.kept().keys().cloned().collect();
        formatter.debug_struct("Secrets").field("names", &names).finish_non_exhaustive()
    }
}

/// The code and text of an error, as Secrets Manager answers it.
type Refusal = (&'static str, String);

impl Secrets {
    /// Secrets that end with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { file: None, kept: Arc::default() }
    }

    /// The secrets that the file keeps.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(file: PathBuf) -> io::Result<Self> {
        let kept = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file: Some(file), kept: Arc::new(Mutex::new(kept)) })
    }

    /// The endpoint.
    pub fn router(&self) -> Router {
        Router::new().route("/", post(handle)).with_state(self.clone())
    }

    /// Makes a random secret where there is none, as `GenerateSecretString` does.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn create(&self, arn: &str) -> io::Result<()> {
        if self.kept().contains_key(arn) { Ok(()) } else { self.rotate(arn) }
    }

    /// A random text becomes the current version.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn rotate(&self, arn: &str) -> io::Result<()> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)?;
        self.put(arn, &URL_SAFE_NO_PAD.encode(random))
    }

    /// The text becomes the current version, as `PutSecretValue` does it; what was current is the previous one then.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn put(&self, arn: &str, text: &str) -> io::Result<()> {
        let mut kept = self.kept();
        let previous = match kept.get(arn) {
            Some(secret) if secret.current == text => return Ok(()),
            secret => secret.map(|secret| secret.current.clone()),
        };
        kept.insert(arn.to_owned(), Secret { current: text.to_owned(), previous });
        match &self.file {
            Some(file) => write_private(file, json!(*kept).to_string().as_bytes()),
            None => Ok(()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, operation: &str, request: &Value) -> Result<Value, Refusal> {
        if operation != "GetSecretValue" {
            return Err(("UnknownOperationException", String::new()));
        }
        let absent = |what: &str| {
            ("ResourceNotFoundException", format!("Secrets Manager can't find the specified secret{what}."))
        };
        let kept = self.kept();
        let id = request["SecretId"].as_str().unwrap_or_default();
        let secret = kept.get(id).ok_or_else(|| absent(""))?;
        let stage = request["VersionStage"].as_str().unwrap_or(CURRENT);
        let text = match stage {
            CURRENT => Some(&secret.current),
            PREVIOUS => secret.previous.as_ref(),
            _ => None,
        };
        let text = text.ok_or_else(|| absent(&format!(" value for staging label: {stage}")))?;
        let name = id.rsplit(':').next().unwrap_or_default();
        Ok(json!({ "ARN": id, "Name": name, "SecretString": text, "VersionStages": [stage] }))
    }
}

async fn handle(State(secrets): State<Secrets>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = match serde_json::from_slice(&body) {
        Ok(request) => secrets.answer(operation(&headers), &request),
        Err(_) => Err(("SerializationException", String::new())),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err((code, text)) => (StatusCode::BAD_REQUEST, json!({ "__type": code, "Message": text })),
    };
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:a";

    fn value(secrets: &Secrets, stage: &Value) -> Result<String, Refusal> {
        let answer = secrets.answer("GetSecretValue", &json!({ "SecretId": ARN, "VersionStage": stage }))?;
        Ok(answer["SecretString"].as_str().unwrap().to_owned())
    }

    #[test]
    fn new_version_leaves_the_previous_one() {
        let secrets = Secrets::in_memory();
        assert_eq!(value(&secrets, &Value::Null).unwrap_err().0, "ResourceNotFoundException");

        for text in ["first", "second", "second", "third"] {
            secrets.put(ARN, text).unwrap();
        }

        assert_eq!(value(&secrets, &Value::Null).unwrap(), "third");
        assert_eq!(value(&secrets, &json!(CURRENT)).unwrap(), "third");
        assert_eq!(value(&secrets, &json!(PREVIOUS)).unwrap(), "second");
    }

    #[test]
    fn secret_without_previous_version_has_none() {
        let secrets = Secrets::in_memory();
        secrets.create(ARN).unwrap();
        let made = value(&secrets, &Value::Null).unwrap();
        secrets.create(ARN).unwrap();

        assert_eq!(value(&secrets, &Value::Null).unwrap(), made, "it is made once");
        let (code, text) = value(&secrets, &json!(PREVIOUS)).unwrap_err();
        assert!(code == "ResourceNotFoundException" && text.contains(PREVIOUS), "{text}");
    }

    #[test]
    fn secrets_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.json");
        Secrets::open(file.clone()).unwrap().put(ARN, "kept").unwrap();

        assert_eq!(value(&Secrets::open(file).unwrap(), &Value::Null).unwrap(), "kept");
    }
}
