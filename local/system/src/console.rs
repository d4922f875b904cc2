//! The web console: builds it where it is missing or stale, and serves it as the distribution does on AWS.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, HOST},
    },
    response::{IntoResponse as _, Redirect, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use emulator::template;
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;
use tower_http::services::{ServeDir, ServeFile};

/// The first major version of Node that builds the console.
const NODE: u32 = 20;
/// What is no source of the build, in the folder of the console.
const NOT_SOURCES: [&str; 6] = ["node_modules", "dist", "e2e", "test-results", "playwright-report", "coverage"];
/// The build names these files after their content.
const ASSETS: &str = "/assets/";

/// Where the console's files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// There is no console.
    None,
    /// They were built before.
    Kept,
    /// They are built where they are missing or stale.
    Built,
}

/// What serves the console.
#[derive(Debug)]
struct Served {
    /// The folder of the build, or why there is none.
    files: Result<PathBuf, String>,
    config: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// `http://127.0.0.1:3000`
    origin: String,
}

/// Builds where that is needed. The folder of the build, or a sentence on why there is none: the rest runs without.
///
/// # Errors
/// When the console cannot be built.
pub fn find(workspace: &Path, source: Source, say: impl Fn(&str)) -> Result<PathBuf, String> {
    let folder = workspace.join("console");
    let built = folder.join("dist");
    if source == Source::Built {
        build(workspace, &folder, say)?;
    }
    if built.join("index.html").is_file() {
        Ok(built)
    } else {
        Err("The console has not been built: start without --no-build.".to_owned())
    }
}

fn build(workspace: &Path, folder: &Path, say: impl Fn(&str)) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("The console cannot be built: {what}: {error}.");
    // Beside cargo's own output; several instances may start at once.
    let marks = workspace.join("target/console");
    fs::create_dir_all(&marks).map_err(failed("making target/console"))?;
    let lock = File::create(marks.join("lock")).map_err(failed("making a lock"))?;
    lock.lock().map_err(failed("locking"))?;

    let (built_from, installed_from) = (marks.join("built-from"), marks.join("installed-from"));
    let is_marked = |mark: &Path, digest: &str| fs::read_to_string(mark).is_ok_and(|marked| marked == digest);
    let sources = digest_of_sources(workspace, folder).map_err(failed("reading the sources"))?;
    if is_marked(&built_from, &sources) && folder.join("dist/index.html").is_file() {
        return Ok(());
    }
    check_node()?;
    let packages = fs::read(folder.join("package-lock.json")).map_err(failed("reading package-lock.json"))?;
    let packages = URL_SAFE_NO_PAD.encode(Sha256::digest(packages));
    if !is_marked(&installed_from, &packages) || !folder.join("node_modules").is_dir() {
        say("Installing the console's packages…");
        npm(folder, &["ci", "--no-audit", "--no-fund"])?;
        fs::write(&installed_from, packages).map_err(failed("noting what is installed"))?;
    }
    say("Building the console…");
    npm(folder, &["run", "build"])?;
    // The build itself may write sources that it generates from the contract.
    let sources = digest_of_sources(workspace, folder).map_err(failed("reading the sources"))?;
    fs::write(&built_from, sources).map_err(failed("noting what is built"))
}

/// One text for the names and contents of all that the build depends on.
fn digest_of_sources(workspace: &Path, folder: &Path) -> io::Result<String> {
    let mut files = vec![workspace.join("openapi.yaml")];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if next == folder && NOT_SOURCES.contains(&name.as_ref()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        // A file that goes away meanwhile is one more change, to be seen the next time.
        let content = fs::read(&file).unwrap_or_default();
        digest.update(file.to_string_lossy().as_bytes());
        digest.update([0]);
        digest.update(Sha256::digest(content));
    }
    Ok(URL_SAFE_NO_PAD.encode(digest.finalize()))
}

fn check_node() -> Result<(), String> {
    let install = format!("install Node {NODE} or newer (https://nodejs.org), then start again");
    let output = Command::new("node").arg("--version").stderr(Stdio::null()).output();
    let version = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => return Err(format!("The console needs Node to be built, and there is none: {install}.")),
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= NODE) {
        Ok(())
    } else {
        Err(format!("The console needs a newer Node to be built than {version}: {install}."))
    }
}

/// Runs npm; what it says goes to standard error.
fn npm(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("npm").args(arguments).current_dir(folder).stdout(io::stderr()).status();
    let call = format!("npm {}", arguments.join(" "));
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("The console cannot be built: `{call}` in console/ failed, the terminal says why.")),
        Err(error) => Err(format!("The console cannot be built: `{call}` cannot be run: {error}.")),
    }
}

/// Serves `files`, or says why there are none; every path without an extension is the console's one page.
pub fn router(files: Result<PathBuf, String>, console: &template::Console, origin: String) -> Router {
    let header =
        |(name, value): &(String, String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    let headers = console.headers.iter().filter_map(header).collect();
    let served = Arc::new(Served { files, config: console.config.clone(), headers, origin });
    Router::new().fallback(handle).with_state(served)
}

async fn handle(State(served): State<Arc<Served>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = served.answer(&path, request).await;
    let lifetime = if path.starts_with(ASSETS) && response.status().is_success() {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(lifetime));
    response.headers_mut().extend(served.headers.iter().cloned());
    response
}

impl Served {
    async fn answer(&self, path: &str, request: Request) -> Response {
        if path == "/config.json" {
            return ([(CONTENT_TYPE, "application/json")], self.config.clone()).into_response();
        }
        let is_page = !path.rsplit('/').next().unwrap_or_default().contains('.');
        // Signing in works at one origin only, and people write localhost.
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if is_page && self.origin.strip_prefix("http://") != Some(host) {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            return Redirect::temporary(&format!("{}{path}", self.origin)).into_response();
        }
        let files = match &self.files {
            Ok(files) => files,
            Err(problem) => return unavailable(problem),
        };
        let answer = if is_page {
            ServeFile::new(files.join("index.html")).oneshot(request).await
        } else {
            ServeDir::new(files).append_index_html_on_directories(false).oneshot(request).await
        };
        answer.map(|response| response.map(Body::new)).into_response()
    }
}

/// The page that stands where the console would.
fn unavailable(problem: &str) -> Response {
    let problem = crate::issuer::escaped(problem);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>No console</title>\n<h1>The console is not here</h1>\n\
         <p>{problem}</p>\n<p>The HTTP API, the webhook and the provider simulator run all the same.</p>\n</html>\n"
    );
    (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("console/src")).unwrap();
        fs::create_dir_all(folder.path().join("console/dist")).unwrap();
        fs::write(folder.path().join("openapi.yaml"), "openapi: 3.1.0").unwrap();
        fs::write(folder.path().join("console/src/main.ts"), "main()").unwrap();
        folder
    }

    fn digest(workspace: &Path) -> String {
        digest_of_sources(workspace, &workspace.join("console")).unwrap()
    }

    #[test]
    fn build_is_stale_after_source_or_contract_changes_only() {
        let folder = workspace();
        let before = digest(folder.path());

        fs::write(folder.path().join("console/dist/index.html"), "built").unwrap();
        assert_eq!(digest(folder.path()), before);
        fs::write(folder.path().join("openapi.yaml"), "openapi: 3.1.1").unwrap();
        let contract = digest(folder.path());
        assert_ne!(contract, before);
        fs::write(folder.path().join("console/src/main.ts"), "main(1)").unwrap();
        assert_ne!(digest(folder.path()), contract);
    }

    #[test]
    fn a_build_that_is_not_there_is_named() {
        let folder = workspace();

        let problem = find(folder.path(), Source::Kept, |_| {}).unwrap_err();

        assert!(problem.contains("--no-build"), "{problem}");
        fs::write(folder.path().join("console/dist/index.html"), "built").unwrap();
        assert_eq!(find(folder.path(), Source::Kept, |_| {}).unwrap(), folder.path().join("console/dist"));
    }
}
