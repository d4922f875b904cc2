//! What can stop the local system from starting, in words for the person who started it.

use std::{io, path::PathBuf};

/// A reason not to start. Its text names what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The emulation cannot start.
    #[error(transparent)]
    Emulator(#[from] emulator::error::Error),
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
    /// Something else listens there.
    #[error("port {port} ({what}) is in use: stop what listens there, or choose other ports with --port")]
    PortInUse {
        /// The port.
        port: u16,
        /// What was to listen there.
        what: &'static str,
    },
    /// A listener could not be opened for another reason.
    #[error("cannot listen on port {port} ({what}): {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What was to listen there.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Another instance uses the data folder.
    #[error("another instance runs on {}: stop it, or choose another folder with --data", path.display())]
    DataInUse {
        /// The data folder.
        path: PathBuf,
    },
    /// A setting of the environment or command line is wrong.
    #[error("{0}")]
    Setting(String),
    /// A program that is needed could not be run.
    #[error("cannot run {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// Why it failed.
        source: io::Error,
    },
    /// `cargo build` said no; its own words are on the terminal.
    #[error("the functions did not build")]
    Build,
    /// A function's binary is missing.
    #[error("{}: no such binary; start without --no-build, or run `cargo build -p {function}` first", path.display())]
    NoBinary {
        /// The function.
        function: String,
        /// Where it was expected.
        path: PathBuf,
    },
}

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
