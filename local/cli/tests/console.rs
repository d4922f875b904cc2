//! The console's own checks and tests, and its end-to-end tests against the whole system in a real browser.
//!
//! They need Node and a Chromium. Where one is missing they are skipped, which is said on the terminal; in CI that is a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;
use support::{Answer, Rig, Setup, build_functions, target_folder, workspace};
use system::console::{self, Source};
use tempfile::TempDir;

/// A workspace of its own around the project's template, with a console that was built.
fn console_only() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("console/dist/assets")).unwrap();
    fs::copy(workspace().join("template.yaml"), path("template.yaml")).unwrap();
    fs::write(path("openapi.yaml"), "").unwrap();
    fs::write(path("console/package-lock.json"), "{}").unwrap();
    fs::write(path("console/dist/index.html"), "<!doctype html><title>Console</title>").unwrap();
    fs::write(path("console/dist/assets/index-1a2b.js"), "run()").unwrap();
    folder
}

fn setup(workspace: &TempDir) -> Setup {
    build_functions();
    Setup { template: Some(workspace.path().join("template.yaml")), console: true, ..Setup::default() }
}

async fn get(rig: &Rig, path: &str) -> Answer {
    rig.request("GET", &format!("{}{path}", rig.api), &[], "").await
}

#[tokio::test]
async fn the_console_is_served_as_the_distribution_does() {
    let workspace = console_only();
    let rig = Rig::start_with(Setup { arguments: vec!["--no-build".to_owned()], ..setup(&workspace) });

    for path in ["/", "/conversations", "/conversations/4f?channel=whatsapp", "/settings/socials", "/signed-in?code=x"]
    {
        let answer = get(&rig, path).await;
        assert_eq!((answer.status, answer.text().contains("<title>Console</title>")), (200, true), "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-cache", "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self' {}; \
                 manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
                rig.api
            )
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    }

    let asset = get(&rig, "/assets/index-1a2b.js").await;
    assert_eq!((asset.status, asset.text().as_str()), (200, "run()"));
    assert_eq!(asset.headers["content-type"], "text/javascript");
    assert!(asset.headers["cache-control"].to_str().unwrap().contains("immutable"));
    for path in ["/assets/index-0000.js", "/favicon.ico", "/../template.yaml", "/%2e%2e/template.yaml"] {
        let answer = get(&rig, path).await;
        assert_eq!((answer.status, answer.text().contains("Console")), (404, false), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }

    let config = get(&rig, "/config.json").await;
    assert_eq!(config.headers["content-type"], "application/json");
    let config = config.json();
    assert_eq!(config["issuer"], format!("{}/local", rig.api));
    assert_eq!((&config["clientId"], &config["token"]), (&json!("local"), &json!("id_token")));
    assert_eq!(config["scope"], "openid profile offline_access");
    assert_eq!(config["claims"], json!({ "organization": "organizationId", "user": "sub", "role": "role" }));
    assert_eq!(config["webhookUrl"], rig.webhook);

    // The API's own answers stay its own.
    assert_eq!(get(&rig, "/api/v1/conversations").await.status, 401);
    assert_eq!(get(&rig, "/api/v1/nowhere").await.json(), json!({ "message": "Not Found" }));
    assert_eq!(get(&rig, "/local/nowhere").await.status, 404);
}

#[tokio::test]
async fn other_host_name_redirects_to_the_sign_in_origin() {
    let workspace = console_only();
    let rig = Rig::start_with(Setup { arguments: vec!["--no-build".to_owned()], ..setup(&workspace) });

    let url = format!("{}/conversations?status=open", rig.api);
    let answer = rig.request("GET", &url, &[("host", "localhost:3000")], "").await;

    assert_eq!(answer.status, 307);
    assert_eq!(answer.headers["location"], format!("{}/conversations?status=open", rig.api));
}

#[tokio::test]
async fn without_node_the_rest_runs_and_the_page_says_what_to_do() {
    let workspace = console_only();
    let variables = vec![("PATH".to_owned(), String::new())];
    let rig = Rig::start_with(Setup { variables, ..setup(&workspace) });

    let answer = get(&rig, "/").await;

    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("install Node 20 or newer"), "{}", answer.text());
    assert_eq!(get(&rig, "/api/v1/conversations").await.status, 401);
    let log = fs::read_to_string(rig.data().join("rig.log")).unwrap();
    assert!(log.contains("install Node 20 or newer"), "{log}");
}

/// Where a browser may be; `CHROMIUM` names another.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

#[test]
fn console_passes_its_checks_and_browser_tests() {
    let workspace = workspace();
    if program("node").is_none() || program("npm").is_none() {
        return skipped("the console's checks and tests", "there is no Node: install Node 20 or newer");
    }
    if let Err(problem) = console::find(workspace, Source::Built, say) {
        panic!("{problem}");
    }
    npm(workspace, &["run", "check"], &[]);
    npm(workspace, &["test"], &[]);
    let chromium = env::var_os("CHROMIUM").map(PathBuf::from).or_else(|| BROWSERS.into_iter().find_map(program));
    let Some(chromium) = chromium else {
        return skipped(
            "the console's tests in a browser",
            "there is no Chromium: install one (apt install chromium), or set CHROMIUM to its path",
        );
    };
    build_functions();
    npm(workspace, &["run", "e2e"], &[("CHROMIUM", chromium), ("BINARIES", target_folder())]);
}

fn npm(workspace: &Path, arguments: &[&str], variables: &[(&str, PathBuf)]) {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(workspace.join("console")).envs(variables.iter().cloned());
    let status = command.stdin(Stdio::null()).stdout(io::stderr()).status().unwrap();
    assert!(status.success(), "`npm {}` in console/ failed; what it says is above", arguments.join(" "));
}

/// Where a program is, if it is anywhere on the path.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn skipped(what: &str, why: &str) {
    assert!(env::var_os("CI").is_none(), "{what} must run in CI, and {why}");
    say(&format!("SKIPPED: {what}: {why}"));
}

/// Past the test harness, which keeps what a passing test prints to itself.
fn say(text: &str) {
    io::stderr().write_all(format!("\n{text}\n").as_bytes()).unwrap();
}
