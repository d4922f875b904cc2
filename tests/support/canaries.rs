//! What a test sends and nobody may find in a log again: keys, tokens, texts, names, phone numbers. Every value that goes out is
//! planted, and every log of the rig is searched for all of them, so each test is also one of what the functions tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aho_corasick::AhoCorasick;
use axum::body::Bytes;
use serde_json::Value;

/// Members of bodies that belong to somebody.
const PRIVATE: &[&str] = &[
    "apiKey",
    "assignedTo",
    "authorization",
    "body",
    "caption",
    "display_phone_number",
    "email",
    "first_name",
    "formatted_name",
    "from",
    "idempotencyKey",
    "labels",
    "last_name",
    "name",
    "phone",
    "text",
    "token",
    "transcript",
    "username",
    "wa_id",
];
/// Headers that do.
const PRIVATE_HEADERS: &[&str] =
    &["authorization", "d360-api-key", "idempotency-key", "x-360dialog-signature", "x-hub-signature-256"];
/// Shorter ones could be found by chance.
const MIN_CHARS: usize = 8;
/// Digits are everywhere.
const MIN_DIGITS: usize = 10;
/// So much of a longer one gives it away.
const PREFIX_CHARS: usize = 24;

/// What was sent, and how far each log has been searched.
#[derive(Debug, Default)]
pub struct Canaries {
    planted: Mutex<BTreeSet<String>>,
    searched: Mutex<BTreeMap<PathBuf, usize>>,
}

impl Canaries {
    /// Remembers what is private in a request; gives it back.
    pub fn plant(&self, headers: &[(&str, &str)], body: &Bytes) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, value) in headers {
            if PRIVATE_HEADERS.iter().any(|private| private.eq_ignore_ascii_case(name)) {
                keep(&mut found, value.trim_start_matches("Bearer "));
                // A signature alone forges nothing, and is nobody's business either.
                keep(&mut found, value.rsplit('.').next().unwrap_or_default());
            }
        }
        match serde_json::from_slice(body) {
            Ok(json) => collect(&mut found, &json, false),
            // No JSON: whatever it is, it is the customer's.
            Err(_) => std::str::from_utf8(body).into_iter().for_each(|text| keep(&mut found, text)),
        }
        locked(&self.planted).extend(found.iter().cloned());
        found
    }

    /// Remembers a secret that is not sent.
    pub fn plant_text(&self, text: &str) {
        keep(&mut locked(&self.planted), text);
    }

    /// Searches what was written to the logs since the last time.
    ///
    /// # Panics
    /// When a log tells what was planted.
    pub fn assert_untold(&self, data: &Path) {
        let mut searched = locked(&self.searched);
        let planted: Vec<String> = locked(&self.planted).iter().cloned().collect();
        let patterns = AhoCorasick::new(&planted).unwrap();
        let folder = fs::read_dir(data.join("logs")).into_iter().flatten();
        let logs = folder.map(|file| file.unwrap().path()).chain([data.join("rig.log")]);
        for log in logs {
            let Ok(bytes) = fs::read(&log) else { continue };
            let from = searched.entry(log.clone()).or_default();
            let new = &bytes[(*from).min(bytes.len())..];
            // Told once, to one test.
            *from = bytes.len();
            if let Some(found) = patterns.find(new) {
                let line = new.split(|byte| *byte == b'\n').scan(0, |at, line| {
                    *at += line.len() + 1;
                    Some((*at, line))
                });
                let line = line.skip_while(|(end, _)| *end <= found.start()).map(|(_, line)| line).next();
                let line = String::from_utf8_lossy(line.unwrap_or_default());
                panic!("{} tells {:?}: {line}", log.display(), planted[found.pattern().as_usize()]);
            }
        }
    }
}

/// Several tests share a rig, and one that fails is no reason for the others to.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(found: &mut BTreeSet<String>, json: &Value, is_private: bool) {
    match json {
        Value::String(text) if is_private => keep(found, text),
        Value::Number(number) if is_private => keep(found, &number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(found, item, is_private)),
        Value::Object(members) => {
            for (name, value) in members {
                let is_private = PRIVATE.iter().any(|private| private.eq_ignore_ascii_case(name));
                collect(found, value, is_private);
            }
        }
        _ => {}
    }
}

fn keep(found: &mut BTreeSet<String>, text: &str) {
    let text: String = text.trim().chars().take(PREFIX_CHARS).collect();
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_one_word = text.bytes().all(|byte| byte.is_ascii_lowercase());
    let least = if is_digits { MIN_DIGITS } else { MIN_CHARS };
    if text.chars().count() >= least && !is_one_word {
        // As it stands in a log, which is JSON.
        let escaped = Value::from(text).to_string();
        found.insert(escaped[1..escaped.len() - 1].to_owned());
    }
}
