//! The log of a function: a file, and what needs attention on the terminal.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::Mutex,
};

use serde_json::{Value, json};

use super::locked;

/// A function's log file; what needs attention is shown on the terminal too.
#[derive(Debug)]
pub(super) struct FunctionLog {
    function: String,
    file: Mutex<File>,
    quiet: bool,
}

impl FunctionLog {
    pub(super) fn open(function: &str, folder: &Path, quiet: bool) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(folder.join(format!("{function}.log")))?;
        Ok(Self { function: function.to_owned(), file: Mutex::new(file), quiet })
    }

    /// An error of the platform's own.
    pub(super) fn error(&self, message: &str) {
        self.write(&json!({ "level": "ERROR", "message": message, "target": "local" }).to_string());
    }

    pub(super) fn write(&self, line: &str) {
        if let Err(error) = writeln!(locked(&self.file), "{line}") {
            eprintln!("[{}] cannot write the log: {error}", self.function);
        }
        if let Some(short) = short(line).filter(|_| !self.quiet) {
            eprintln!("[{}] {short}", self.function);
        }
    }
}

/// A log line as shown on the terminal: warnings, errors, and what is no log line at all, such as a panic.
fn short(line: &str) -> Option<String> {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return (!line.trim().is_empty()).then(|| line.to_owned());
    };
    let level = line["level"].as_str().filter(|level| matches!(*level, "WARN" | "ERROR"))?;
    let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
    let message = fields["message"].as_str().unwrap_or_default();
    let error = fields["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
    Some(format!("{level} {message}{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_shows_what_needs_attention() {
        assert_eq!(short(r#"{"level":"INFO","fields":{"message":"stored"}}"#), None);
        assert_eq!(
            short(r#"{"level":"ERROR","fields":{"message":"cannot store","error":"timeout"}}"#).as_deref(),
            Some("ERROR cannot store: timeout")
        );
        assert_eq!(short(r#"{"level":"WARN","message":"odd"}"#).as_deref(), Some("WARN odd"));
        assert_eq!(short("thread 'main' panicked at x").as_deref(), Some("thread 'main' panicked at x"));
    }
}
