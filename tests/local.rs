//! The system on one machine itself: restarts, crashes, and what it says when it cannot start.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use support::{Rig, Setup, build_functions, command, eventually};

use crate::shared::{Account, Organization, SOON, own_rig, text};

/// Longer than the provider waits before it repeats a delivery a few times.
const LATER: Duration = Duration::from_secs(40);

/// What is known of an organization beyond a restart: its tokens stay good.
struct Remembered {
    id: String,
    admin: String,
    operator: String,
}

impl Remembered {
    fn of(organization: &Organization<'_>) -> Self {
        let Organization { id, admin, operator, .. } = organization.clone();
        Self { id, admin, operator }
    }

    fn on(self, rig: &Rig) -> Organization<'_> {
        let Self { id, admin, operator } = self;
        Organization { rig, id, service: admin.clone(), admin, operator }
    }
}

fn texts(thread: &[Value]) -> Vec<&str> {
    thread.iter().map(|message| text(&message["text"])).collect()
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Before").await;
    let conversation = organization.conversation().await;
    // Its statuses are still to come.
    rig.simulate("settings", json!({ "delayMs": 4000 })).await;
    let (status, sent) = organization.send(&conversation, json!({ "text": "Coming" })).await;
    assert_eq!(status, 201, "{sent}");
    let integrations = organization.get("/api/v1/social-integrations").await;
    let thread = organization.thread().await;
    let before = organization.conversation().await;
    let (remembered, account) = (Remembered::of(&organization), account.id.clone());

    let rig = rig.restart();

    let organization = remembered.on(&rig);
    assert_eq!(organization.get("/api/v1/social-integrations").await, integrations);
    assert_eq!(organization.conversation().await, before);
    assert_eq!(texts(&organization.thread().await), texts(&thread));
    eventually("the statuses that were on their way arrive", LATER, async || {
        let thread = organization.thread().await;
        (thread.last()?["status"] == "read").then_some(())
    })
    .await;
    let account = organization.connect_account("whatsapp", &account).await;
    account.customer_writes("491713920012", "After").await;
    assert_eq!(texts(&organization.thread().await), ["Before", "Coming", "After"]);
    rig.simulate("settings", json!({ "delayMs": 50 })).await;
    assert_eq!(organization.send(&before, json!({ "text": "Still here" })).await.0, 201);
}

#[tokio::test]
async fn deliveries_that_failed_before_a_crash_arrive_after_it() {
    let mut rig = own_rig(Setup::default());
    let (remembered, account) = {
        let (organization, account) = Organization::with(&rig, "whatsapp").await;
        // As if the registered token had been lost: every delivery is refused.
        let body = json!({ "url": rig.webhook, "headers": { "Authorization": "Bearer wrong" } }).to_string();
        let key = format!("sim_whatsapp_{}", account.id);
        let url = format!("{}/v1/configs/webhook", rig.provider);
        assert_eq!(rig.request("POST", &url, &[("d360-api-key", &key)], body).await.status, 200);
        for words in ["One", "Two"] {
            let refused = rig.simulate_inbound("whatsapp", &account.id, "491713920012", words).await;
            assert_eq!((&refused["delivered"], &refused["status"]), (&json!(false), &json!(401)));
        }
        // The queue is written to the disk a moment after.
        tokio::time::sleep(Duration::from_millis(500)).await;
        (Remembered::of(&organization), account.id)
    };
    rig.crash();

    let rig = rig.restart();

    assert_eq!(rig.undelivered().await.len(), 2);
    let organization = remembered.on(&rig);
    organization.connect_account("whatsapp", &account).await;
    let thread = eventually("both messages arrive", LATER, async || {
        let conversations = organization.conversations("").await;
        let messages = organization.messages(conversations.first()?).await;
        (messages.len() == 2).then_some(messages)
    })
    .await;
    let mut texts = texts(&thread);
    texts.sort_unstable();
    assert_eq!(texts, ["One", "Two"]);
}

/// A delivery of many messages of one customer.
fn many(account: &Account<'_>, count: usize) -> Value {
    let message = |number: usize| {
        json!({
            "from": "491713920012", "id": format!("wamid.many{number}"), "timestamp": (1_767_877_200 + number).to_string(),
            "type": "text", "text": { "body": format!("Message {number}") },
        })
    };
    let messages: Vec<Value> = (0..count).map(message).collect();
    let value = json!({
        "messaging_product": "whatsapp", "metadata": { "phone_number_id": account.id }, "messages": messages,
    });
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }],
    })
}

#[tokio::test]
async fn killed_function_fails_one_request_and_repeating_stores_once() {
    const COUNT: usize = 800;
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Warm").await;
    let delivery = json!({ "platform": "whatsapp", "accountId": account.id, "payload": many(&account, COUNT) });
    let conversation = organization.conversation().await;
    // One small page: whoever reads all that is there looks up when the delivery is through.
    let first_page = format!("/api/v1/conversations/{}/messages?limit=5", text(&conversation["id"]));

    let (first, killed) = tokio::join!(rig.simulate("inbound", delivery), async {
        eventually("some messages are stored", SOON, async || {
            let page = organization.get(&first_page).await;
            (page["items"].as_array().unwrap().len() > 3).then_some(())
        })
        .await;
        rig.kill("receive-webhook").await
    });

    assert_eq!(killed, 1);
    assert_eq!((&first["delivered"], &first["status"]), (&json!(false), &json!(502)));
    let partly = organization.thread().await.len();
    assert!(partly < COUNT, "killed too late to show anything");
    eventually("the provider repeats it", LATER, async || rig.undelivered().await.is_empty().then_some(())).await;
    let mut ids: Vec<String> =
        organization.thread().await.iter().map(|message| text(&message["id"]).to_owned()).collect();
    assert_eq!(ids.len(), COUNT + 1);
    ids.dedup();
    assert_eq!(ids.len(), COUNT + 1);
    assert_eq!(organization.conversation().await["unreadCount"], 99);
}

#[tokio::test]
async fn any_function_that_is_killed_is_replaced() {
    let rig = own_rig(Setup::default());
    let (organization, account) = Organization::with(&rig, "instagram").await;
    account.customer_writes("491713920012", "Hello").await;
    let conversation = organization.conversation().await;
    organization.get("/api/v1/social-integrations").await;
    assert_eq!(organization.send(&conversation, json!({ "text": "Hello!" })).await.0, 201);
    let functions: Vec<String> =
        rig.processes().await.iter().map(|process| text(&process["function"]).to_owned()).collect();
    assert!(functions.len() >= 5, "{functions:?}");

    for function in functions {
        rig.kill(&function).await;
    }

    organization.get("/api/v1/social-integrations").await;
    account.customer_writes("491713920012", "Still there?").await;
    assert_eq!(organization.send(&conversation, json!({ "text": "Yes" })).await.0, 201);
    assert_eq!(texts(&organization.thread().await), ["Hello", "Hello!", "Still there?", "Yes"]);
}

#[tokio::test]
async fn fresh_forgets_everything() {
    let rig = own_rig(Setup { arguments: vec!["--fresh".to_owned()], ..Setup::default() });
    let (organization, account) = Organization::with(&rig, "whatsapp").await;
    account.customer_writes("491713920012", "Before").await;
    let token = rig.webhook_token();
    let remembered = Remembered::of(&organization);

    let rig = rig.restart();

    let (status, _) = rig.api("GET", "/api/v1/conversations", &remembered.admin, Value::Null).await;
    assert_eq!(status, 401, "tokens of before are signed with a key that is gone");
    assert_ne!(rig.webhook_token(), token);
    let admin = rig.token(&remembered.id, "ada", "admin").await;
    let again = Remembered { operator: admin.clone(), admin, ..remembered }.on(&rig);
    assert_eq!(again.conversations("").await, Vec::<Value>::new());
    assert_eq!(again.get("/api/v1/social-integrations").await["items"], json!([]));
}

#[tokio::test]
async fn keys_sealed_under_another_root_key_are_reported() {
    let mut rig = own_rig(Setup::default());
    let (remembered, account) = {
        let (organization, account) = Organization::with(&rig, "whatsapp").await;
        account.customer_writes("491713920012", "Hello").await;
        (Remembered::of(&organization), account.id)
    };
    rig.stop();
    fs::write(rig.data().join("encryption-key"), "another-key-of-thirty-two-bytes!").unwrap();

    let rig = rig.restart();

    let organization = remembered.on(&rig);
    let conversation = organization.conversation().await;
    let (status, answer) = organization.send(&conversation, json!({ "text": "Hello!" })).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("NOT_CONNECTED")), "{answer}");
    let integration = organization.get("/api/v1/social-integrations/whatsapp").await;
    assert_eq!(integration["status"], "error");
    assert!(text(&integration["errorMessage"]).contains("Connect again"), "{integration}");
    organization.connect_account("whatsapp", &account).await;
    assert_eq!(organization.send(&conversation, json!({ "text": "Hello!" })).await.0, 201);
}

fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "nothing is ready");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_port_in_use_is_named_with_what_wanted_it_and_the_flag() {
    build_functions();
    let folder = tempfile::tempdir().unwrap();
    let wanted = ["the HTTP API", "the webhook's Function URL", "the provider simulator"];
    for (place, what) in (0..).zip(wanted) {
        // Another test may hold a port before the taken one: then that one is named, and another is tried.
        let named = (0..20).any(|_| {
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();

            let error = refused(command(&Setup::default(), folder.path(), port - place));

            assert!(error.contains(" is in use") && error.contains("--port"), "{error}");
            error.contains(&format!("port {port} ({what}) is in use"))
        });
        assert!(named, "{what}");
    }
}

#[test]
fn encryption_key_of_wrong_length_is_refused_unshown() {
    build_functions();
    let folder = tempfile::tempdir().unwrap();
    for key in ["", "too-short", "thirty-three-bytes-are-one-too-many!", "ä-is-two-bytes-so-32-characters!"] {
        let variables = vec![("ENCRYPTION_KEY".to_owned(), key.to_owned())];

        let error = refused(command(&Setup { variables, ..Setup::default() }, folder.path(), 0));

        let says = format!("ENCRYPTION_KEY must be exactly 32 bytes, and is {}", key.len());
        assert!(error.contains(&says) && error.contains("openssl rand -hex 16"), "{error}");
        assert!(key.is_empty() || !error.contains(key), "{error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn json_prints_one_line_with_all_addresses() {
    build_functions();
    let folder = tempfile::tempdir().unwrap();
    let log = fs::File::create(folder.path().join("rig.log")).unwrap();
    let mut system = command(&Setup::default(), folder.path(), 0).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut output = BufReader::new(system.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();

    let ready: Value = serde_json::from_str(&line).unwrap();
    let port: u16 = text(&ready["api"]).rsplit(':').next().unwrap().parse().unwrap();
    let expected = format!(
        concat!(
            r#"{{"event":"ready","api":"http://127.0.0.1:{}","#,
            r#""webhook":"http://127.0.0.1:{}/api/v1/webhooks/360dialog","provider":"http://127.0.0.1:{}","#,
            r#""customer":"http://127.0.0.1:{}/"}}"#
        ),
        port,
        port + 1,
        port + 2,
        port + 2
    );
    assert_eq!(line.trim_end(), expected);

    assert!(Command::new("kill").args(["-TERM", &system.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(system.wait().unwrap().success());
    assert!(Path::new(folder.path()).join("dynamodb.sqlite").exists());
}
