//! Builds the functions with cargo, and finds their binaries.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::error::{Error, Result};

/// Runs `cargo build` for packages, at once: one after the other, each would want other features of their dependencies. Cargo's own
/// progress goes to standard error.
///
/// # Errors
/// When cargo cannot be run, or one of them does not compile.
pub fn build(workspace: &Path, packages: &[&str], release: bool) -> Result<()> {
    let mut command = cargo(workspace);
    command.args(["build", "--bins"]).stdout(Stdio::null());
    if release {
        command.arg("--release");
    }
    for package in packages {
        command.args(["-p", package]);
    }
    let status = command.status().map_err(|source| Error::Program { program: "cargo build".to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Build) }
}

/// The folder that cargo puts binaries into.
///
/// # Errors
/// When cargo cannot say.
pub fn binaries(workspace: &Path, release: bool) -> Result<PathBuf> {
    let mut command = cargo(workspace);
    command.args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
    let output = command.output().map_err(|source| Error::Program { program: "cargo metadata".to_owned(), source })?;
    let metadata = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
    let target = metadata["target_directory"].as_str().ok_or(Error::Build)?;
    Ok(Path::new(target).join(if release { "release" } else { "debug" }))
}

/// The binary of a function.
///
/// # Errors
/// When it is not there.
pub fn binary(folder: &Path, function: &str) -> Result<PathBuf> {
    let path = folder.join(function);
    if path.is_file() { Ok(path) } else { Err(Error::NoBinary { function: function.to_owned(), path }) }
}

/// Cargo, without what an outer `cargo run` says about this package: build scripts would take it for a change.
fn cargo(workspace: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace);
    let of_this_package = |name: &str| {
        name.starts_with("CARGO_PKG_")
            || matches!(
                name,
                "CARGO_MANIFEST_DIR"
                    | "CARGO_MANIFEST_PATH"
                    | "CARGO_CRATE_NAME"
                    | "CARGO_BIN_NAME"
                    | "CARGO_PRIMARY_PACKAGE"
            )
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(of_this_package) {
            command.env_remove(name);
        }
    }
    command
}
