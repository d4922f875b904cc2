//! What can stop the emulation from starting, in words for the person who started it.

use std::{io, path::PathBuf};

/// A reason not to start. Its text names what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The template says something here that cannot be brought up.
    #[error("template.yaml, {place}: {problem}")]
    Template {
        /// The path of the value, as `Resources.Table.Properties.KeySchema`.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The template is not YAML.
    #[error("{} is not valid YAML: {source}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: `read`, `write`, `create`…
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A setting of the environment or command line is wrong.
    #[error("{0}")]
    Setting(String),
    /// The stream of the table cannot be read.
    #[error("cannot read the stream of the table: {source}")]
    Stream {
        /// Why.
        source: rusqlite::Error,
    },
    /// The embedded `DynamoDB` engine refused.
    #[error("the embedded DynamoDB cannot {action}: {source}")]
    Table {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: dynoxide::DynoxideError,
    },
    /// A key of ours is unusable.
    #[error("the signing key in the data folder is unusable ({0}): delete signing-key.pem")]
    SigningKey(#[from] SigningKeyError),
}

/// Why the signing key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Key generation or arithmetic failed.
    #[error(transparent)]
    Rsa(#[from] rsa::Error),
    /// The PEM text is damaged.
    #[error(transparent)]
    Pem(#[from] rsa::pkcs8::Error),
}

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
