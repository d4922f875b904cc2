//! The data folder: one instance at a time, secrets that only their owner can read, and `--fresh`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use emulator::files::write_private;

use crate::error::{Error, Result};

/// The table's file; the engine keeps `-wal` and `-shm` beside it.
pub const TABLE_FILE: &str = "dynamodb.sqlite";
/// The simulator's registrations and undelivered updates.
pub const SIMULATOR_FILE: &str = "simulator.json";
/// One log per function.
pub const LOGS_FOLDER: &str = "logs";
/// What the Secrets Manager emulator keeps.
pub const SECRETS_FILE: &str = "secrets.json";
/// Signs local tokens.
pub const SIGNING_KEY_FILE: &str = "signing-key.pem";
const ENCRYPTION_KEY_FILE: &str = "encryption-key";
const LOCK_FILE: &str = "lock";

/// The data folder, held by this instance until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// The lock goes with the file handle, so a crash leaves none behind.
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, creating it where missing; `fresh` removes what earlier runs left in it, and nothing else.
    ///
    /// # Errors
    /// When another instance holds it, or it cannot be written.
    pub fn open(path: &Path, fresh: bool) -> Result<Self> {
        let failed = |action| move |source| Error::File { action, path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed("create"))?;
        let path = path.canonicalize().map_err(failed("open"))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(|source| Error::File { action: "create", path: lock_path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::DataInUse { path }),
            Err(TryLockError::Error(source)) => return Err(Error::File { action: "lock", path: lock_path, source }),
        }
        let folder = Self { path, _lock: lock };
        if fresh {
            folder.empty()?;
        }
        let logs = folder.file(LOGS_FOLDER);
        fs::create_dir_all(&logs).map_err(|source| Error::File { action: "create", path: logs, source })?;
        Ok(folder)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn empty(&self) -> Result<()> {
        let wal = format!("{TABLE_FILE}-wal");
        let shm = format!("{TABLE_FILE}-shm");
        let files = [TABLE_FILE, &wal, &shm, SIMULATOR_FILE, SIGNING_KEY_FILE, ENCRYPTION_KEY_FILE, SECRETS_FILE];
        for name in files {
            removed(fs::remove_file(self.file(name)), &self.file(name))?;
        }
        removed(fs::remove_dir_all(self.file(LOGS_FOLDER)), &self.file(LOGS_FOLDER))
    }

    /// The root key of the KMS emulator: `ENCRYPTION_KEY`, or one made on the first start.
    ///
    /// # Errors
    /// When the key is not exactly 32 bytes long, or cannot be kept.
    pub fn encryption_key(&self, given: Option<String>) -> Result<[u8; 32]> {
        let from = if given.is_some() { "ENCRYPTION_KEY" } else { "the kept encryption-key" };
        // 24 random bytes make 32 characters.
        let key = given.map_or_else(|| self.secret(ENCRYPTION_KEY_FILE, 24), Ok)?;
        <[u8; 32]>::try_from(key.as_bytes()).map_err(|_| {
            Error::Setting(format!(
                "{from} must be exactly 32 bytes, and is {}: `openssl rand -hex 16` makes one; \
                 unset, a random one is kept in the data folder",
                key.len()
            ))
        })
    }

    /// The text kept under `name`; made from `bytes` random bytes where there is none yet.
    fn secret(&self, name: &str, bytes: usize) -> Result<String> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut random = vec![0; bytes];
                getrandom::fill(&mut random).map_err(|error| Error::File {
                    action: "make",
                    path: path.clone(),
                    source: error.into(),
                })?;
                let text = URL_SAFE_NO_PAD.encode(random);
                write_private(&path, text.as_bytes()).map_err(|source| Error::File {
                    action: "write",
                    path,
                    source,
                })?;
                Ok(text)
            }
            Err(source) => Err(Error::File { action: "read", path, source }),
        }
    }
}

fn removed(result: io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_second_instance_is_turned_away() {
        let folder = tempfile::tempdir().unwrap();
        let _first = DataFolder::open(folder.path(), false).unwrap();

        let second = DataFolder::open(folder.path(), false);

        assert!(matches!(second, Err(Error::DataInUse { .. })));
    }

    #[test]
    fn secrets_are_made_once_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path(), false).unwrap();

        let first = data.encryption_key(None).unwrap();
        let second = data.encryption_key(None).unwrap();

        assert_eq!(first, second);
        let mode = fs::metadata(data.file(ENCRYPTION_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_encryption_key_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path(), false).unwrap();

        for key in ["", "too short", &"x".repeat(33)] {
            let error = data.encryption_key(Some(key.to_owned())).unwrap_err().to_string();
            assert!(error.contains("exactly 32 bytes"), "{error}");
        }
        assert!(data.encryption_key(Some("x".repeat(32))).is_ok());
    }

    #[test]
    fn fresh_forgets_what_was_kept_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine.txt"), "keep").unwrap();
        let data = DataFolder::open(folder.path(), false).unwrap();
        let key = data.encryption_key(None).unwrap();
        drop(data);

        let data = DataFolder::open(folder.path(), true).unwrap();

        assert_ne!(data.encryption_key(None).unwrap(), key);
        assert!(folder.path().join("mine.txt").exists());
    }
}
