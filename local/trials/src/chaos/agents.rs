//! Admins who connect, rotate, disconnect, delete and race for accounts, and operators who read, sort, reply, repeat and race.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    driver::Answer,
    history::{Owner, Patch, Send, Span, Told, now_ms},
    scene::Scene,
    trouble,
    world::{self, Account, Fate, PLATFORMS, Platform, canary},
};

/// A conversation as an operator sees it in the list.
#[derive(Debug, Clone)]
struct Seen {
    id: String,
    platform: Platform,
    labels: Vec<String>,
}

async fn pause(random: &mut Rng, ms: std::ops::Range<u64>) {
    sleep(Duration::from_millis(random.u64(ms))).await;
}

/// The path of an integration's endpoint.
fn integration(account: &Account, action: &str) -> String {
    format!("social-integrations/{}{action}", account.platform)
}

/// One request to connect; a success is the only thing that is possible from then on.
async fn try_connect(scene: &Scene, account: usize, organization: usize) -> Answer {
    let named = &scene.world.accounts[account];
    scene.history().may_become(account, Owner::Connected(organization));
    let mut body = json!({ "apiKey": scene.key(account) });
    body[named.platform.account_field()] = named.id.as_str().into();
    let answer = scene.api(organization, "admin", "POST", &integration(named, "/connect"), None, &body).await;
    if !answer.is_ok() && answer.code() == "INVALID_BODY" {
        scene.history().wrongs.push(format!("a good request to connect was refused: {}", answer.text));
    }
    answer
}

/// Connects until that succeeds; whether it did, and not another organization has the account.
pub(super) async fn connect(scene: Arc<Scene>, account: usize, organization: usize) -> bool {
    const ATTEMPTS: usize = 200;
    let random = &mut world::random(scene.world.seed, &format!("connect {account} {organization}"));
    for _ in 0..ATTEMPTS {
        let answer = try_connect(&scene, account, organization).await;
        if answer.is_ok() {
            scene.history().is_now(account, Owner::Connected(organization));
            remember_token(&scene, account).await;
            return true;
        }
        if answer.code() == "ACCOUNT_IN_USE" {
            return false;
        }
        pause(random, 20..120).await;
    }
    let name = &scene.world.organizations[organization];
    scene.history().wrongs.push(format!("{name} could not connect account {account} in {ATTEMPTS} attempts"));
    false
}

/// The provider has a token for the account's deliveries now, and tells whose it is.
async fn remember_token(scene: &Scene, account: usize) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    for _ in 0..50 {
        if let Some(authorization) = scene.driver.registered(&scene.key(account)).await {
            let subject = authorization.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
            let subject = subject.and_then(|subject| String::from_utf8(subject).ok()).unwrap_or_default();
            let owner = subject.rsplit('/').next().unwrap_or_default();
            if let Some(owner) = scene.world.organizations.iter().position(|name| name == owner) {
                scene.registered(account, owner, authorization);
            }
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until the answer is one of `expected`.
async fn insist(
    scene: &Scene,
    organization: usize,
    method: &str,
    path: &str,
    expected: &[u16],
    random: &mut Rng,
) -> bool {
    const ATTEMPTS: usize = 200;
    for _ in 0..ATTEMPTS {
        let answer = scene.api(organization, "admin", method, path, None, &Value::Null).await;
        if expected.contains(&answer.status) {
            return true;
        }
        pause(random, 10..80).await;
    }
    scene.history().wrongs.push(format!("{method} {path} was never answered with any of {expected:?}"));
    false
}

async fn disconnect(scene: &Scene, account: usize, organization: usize, random: &mut Rng) {
    scene.history().may_become(account, Owner::Disconnected(organization));
    let path = integration(&scene.world.accounts[account], "/disconnect");
    if insist(scene, organization, "POST", &path, &[200], random).await {
        scene.history().is_now(account, Owner::Disconnected(organization));
    }
}

async fn delete(scene: &Scene, account: usize, organization: usize, random: &mut Rng) {
    let start = now_ms();
    scene.history().may_become(account, Owner::Nobody);
    let path = integration(&scene.world.accounts[account], "");
    if insist(scene, organization, "DELETE", &path, &[200, 204, 404], random).await {
        scene.history().was_released(account, organization, start);
        scene.history().is_now(account, Owner::Nobody);
    }
}

/// What the owner of an account does with it.
pub(super) async fn administrate(scene: Arc<Scene>, account: usize) {
    let random = &mut world::random(scene.world.seed, &format!("admin {account}"));
    let owner = scene.world.accounts[account].owner;
    match scene.world.accounts[account].fate {
        Fate::Stays => {}
        Fate::Rotates => {
            for _ in 0..random.usize(1..4) {
                pause(random, 100..700).await;
                let named = &scene.world.accounts[account];
                let body = json!({ "platform": named.platform.name(), "id": named.id });
                let key = scene.driver.simulate("key", &body).await;
                scene.set_key(account, key["apiKey"].as_str().unwrap_or_default().to_owned());
                scene.inject("provider: key revoked");
                connect(Arc::clone(&scene), account, owner).await;
            }
        }
        Fate::Pauses => {
            for _ in 0..random.usize(1..3) {
                pause(random, 100..600).await;
                disconnect(&scene, account, owner, random).await;
                forget_owners(&scene, random).await;
                pause(random, 100..500).await;
                if random.bool() {
                    // Two admins at once; whatever comes of it, one of them connects after that.
                    scene.history().may_become(account, Owner::Disconnected(owner));
                    let path = integration(&scene.world.accounts[account], "/disconnect");
                    let other = scene.api(owner, "admin", "POST", &path, None, &Value::Null);
                    tokio::join!(try_connect(&scene, account, owner), other);
                }
                connect(Arc::clone(&scene), account, owner).await;
                let path = integration(&scene.world.accounts[account], "/test");
                scene.api(owner, "admin", "POST", &path, None, &Value::Null).await;
            }
        }
        Fate::Moves => {
            let Some(rival) = scene.world.accounts[account].rival else { return };
            let (mut owner, mut rival) = (owner, rival);
            for _ in 0..random.usize(1..4) {
                pause(random, 100..600).await;
                if try_connect(&scene, account, rival).await.is_ok() {
                    scene.history().wrongs.push(format!("a second organization connected account {account}"));
                }
                scene.history().is_now(account, Owner::Connected(owner));
                delete(&scene, account, owner, random).await;
                forget_owners(&scene, random).await;
                pause(random, 0..300).await;
                let (one, other) =
                    tokio::join!(try_connect(&scene, account, owner), try_connect(&scene, account, rival));
                if one.is_ok() && other.is_ok() {
                    scene.history().wrongs.push(format!("two organizations connected account {account} at once"));
                }
                if other.is_ok() {
                    (owner, rival) = (rival, owner);
                }
                // Whoever has it connects once more, so that it is certain.
                while !connect(Arc::clone(&scene), account, owner).await {
                    (owner, rival) = (rival, owner);
                    pause(random, 20..100).await;
                }
            }
        }
    }
}

/// Now and then the webhook's processes end, and with them what they remember of owners.
async fn forget_owners(scene: &Scene, random: &mut Rng) {
    if random.u8(0..3) > 0 && !scene.is_calm() {
        trouble::kill(scene, "receive-webhook").await;
    }
}

/// What an operator of any organization does until there is nothing left to deliver.
pub(super) async fn operate(scene: Arc<Scene>, number: usize) {
    let random = &mut world::random(scene.world.seed, &format!("operator {number}"));
    let mut actions = scene.world.events.len() / 10;
    while actions > 0 && !scene.is_calm() {
        actions -= 1;
        let organization = random.usize(..scene.world.organizations.len());
        let seen = look(&scene, organization, random).await;
        pause(random, 0..60).await;
        if seen.is_empty() {
            continue;
        }
        let conversation = seen[random.usize(..seen.len())].clone();
        match random.u8(0..20) {
            0..=3 => drop(thread(&scene, organization, &conversation.id, random).await),
            4..=8 => sort(&scene, organization, &conversation, random).await,
            9..=11 => note(&scene, organization, &conversation, random).await,
            _ => reply(&scene, organization, &conversation, random).await,
        }
    }
}

/// A page of the inbox.
async fn look(scene: &Scene, organization: usize, random: &mut Rng) -> Vec<Seen> {
    let filters = ["", "&channel=social", "&channel=whatsapp", "&unread=true", "&status=open"];
    let path = format!("conversations?limit={}{}", random.u8(1..30), filters[random.usize(..filters.len())]);
    let answer = scene.api(organization, "operator", "GET", &path, None, &Value::Null).await;
    let items = answer.json["data"]["items"].as_array().cloned().unwrap_or_default();
    let seen = items.iter().map(|item| Seen {
        id: item["id"].as_str().unwrap_or_default().to_owned(),
        platform: platform_of(item),
        labels: item["labels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|label| Some(label.as_str()?.to_owned()))
            .collect(),
    });
    seen.collect()
}

/// The platform of a conversation in an answer.
pub(super) fn platform_of(conversation: &Value) -> Platform {
    let name = conversation["metadata"]["platform"].as_str().unwrap_or_default();
    PLATFORMS.into_iter().find(|platform| platform.name() == name).unwrap_or(Platform::Website)
}

/// A page of a thread.
async fn thread(scene: &Scene, organization: usize, conversation: &str, random: &mut Rng) -> Vec<Value> {
    let path = format!("conversations/{conversation}/messages?limit={}", random.u8(1..40));
    let answer = scene.api(organization, "operator", "GET", &path, None, &Value::Null).await;
    answer.json["data"]["items"].as_array().cloned().unwrap_or_default()
}

/// Marks as read, closes, labels.
async fn sort(scene: &Scene, organization: usize, conversation: &Seen, random: &mut Rng) {
    let own = canary(&scene.world.organizations[organization]);
    let body = match random.u8(0..5) {
        0 => json!({ "read": true }),
        1 => match thread(scene, organization, &conversation.id, random).await.first() {
            Some(newest) => json!({ "readUpTo": newest["id"] }),
            None => return,
        },
        2 => json!({ "status": "closed" }),
        3 => json!({ "status": "open", "assignedTo": format!("{own}.{}", random.u8(..)) }),
        _ => {
            let mut labels = conversation.labels.clone();
            labels.truncate(3);
            labels.push(format!("{own}.{}", random.u8(..)));
            json!({ "labels": labels })
        }
    };
    change(scene, organization, &conversation.id, body).await;
}

pub(super) async fn change(scene: &Scene, organization: usize, conversation: &str, body: Value) -> Answer {
    let start = now_ms();
    let path = format!("conversations/{conversation}");
    let answer = scene.api(organization, "operator", "PATCH", &path, None, &body).await;
    let span = Span { start, end: now_ms() };
    let conversation = conversation.to_owned();
    scene.history().patches.push(Patch { organization, conversation, body, span, status: answer.status });
    answer
}

/// Begins a message under a new key; its number in the history.
fn begin(scene: &Scene, organization: usize, conversation: &str, is_note: bool) -> usize {
    let own = canary(&scene.world.organizations[organization]);
    let mut history = scene.history();
    let number = history.sends.len();
    history.sends.push(Send {
        organization,
        conversation: conversation.to_owned(),
        key: format!("{}-{number}", scene.world.seed),
        is_note,
        texts: vec![format!("«{}.s{number}» {own} Yes, it is.", scene.world.seed)],
        told: Vec::new(),
    });
    number
}

/// Asks for a message of the history, with one of its texts.
async fn ask(scene: &Scene, number: usize, text: usize) -> Told {
    let send = scene.history().sends[number].clone();
    let kind = if send.is_note { "internal_note" } else { "message" };
    let body = json!({ "text": send.texts[text], "type": kind });
    let path = format!("conversations/{}/messages", send.conversation);
    let start = now_ms();
    let answer = scene.api(send.organization, "operator", "POST", &path, Some(&send.key), &body).await;
    let told = Told {
        span: Span { start, end: now_ms() },
        text,
        status: answer.status,
        code: answer.code().to_owned(),
        shown: answer.json["data"]["status"].as_str().unwrap_or_default().to_owned(),
    };
    scene.history().sends[number].told.push(told.clone());
    told
}

async fn note(scene: &Scene, organization: usize, conversation: &Seen, random: &mut Rng) {
    let number = begin(scene, organization, &conversation.id, true);
    let told = ask(scene, number, 0).await;
    if told.is_unclear() || random.bool() {
        ask(scene, number, 0).await;
    }
}

/// Replies; repeats with the key where the answer is unclear, and now and then where it is not; now and then two at once.
async fn reply(scene: &Scene, organization: usize, conversation: &Seen, random: &mut Rng) {
    if conversation.platform == Platform::Website {
        return;
    }
    let number = begin(scene, organization, &conversation.id, false);
    match random.u8(0..8) {
        0 | 1 => {
            tokio::join!(ask(scene, number, 0), ask(scene, number, 0));
        }
        2 => {
            let other = scene.history().sends[number].texts[0].replace("Yes, it is.", "No, it is not.");
            scene.history().sends[number].texts.push(other);
            tokio::join!(ask(scene, number, 0), ask(scene, number, 1));
        }
        3..=5 => drop(ask(scene, number, 0).await),
        _ => {
            for _ in 0..random.usize(2..4) {
                if !ask(scene, number, 0).await.is_unclear() && random.bool() {
                    break;
                }
                pause(random, 0..80).await;
            }
        }
    }
}

impl Told {
    /// Whoever asked does not know what became of it, and has to ask again with the same key.
    pub(super) fn is_unclear(&self) -> bool {
        self.status == 0 || (self.status >= 500 && self.code != "PROVIDER_UNAVAILABLE")
    }
}

/// When nothing goes wrong any more: admins put right what is broken, operators repeat what is unclear.
pub(super) async fn settle(scene: &Arc<Scene>) {
    let unclear: Vec<usize> = {
        let history = scene.history();
        let sends = history.sends.iter().enumerate();
        sends.filter(|(_, send)| send.told.last().is_some_and(Told::is_unclear)).map(|(number, _)| number).collect()
    };
    for number in unclear {
        let text = scene.history().sends[number].told.last().map_or(0, |told| told.text);
        ask(scene, number, text).await;
    }
    for (account, named) in scene.world.accounts.iter().enumerate() {
        if named.fate == Fate::Pauses && scene.history().refused.contains(&account) {
            connect(Arc::clone(scene), account, named.owner).await;
        }
    }
}

/// Once everything is settled, a reply on every connected account reaches its customer.
pub(super) async fn still_works(scene: &Arc<Scene>) {
    for (account, named) in scene.world.accounts.iter().enumerate() {
        let Some(Owner::Connected(owner)) = scene.history().owners(account).first().copied() else { continue };
        let channel = named.platform.name();
        let path = format!("conversations?limit=50&channel={channel}");
        let answer = scene.api(owner, "operator", "GET", &path, None, &Value::Null).await;
        let items = answer.json["data"]["items"].as_array().cloned().unwrap_or_default();
        let Some(open) = items.iter().find(|item| item["window"]["open"] == true) else { continue };
        let number = begin(scene, owner, open["id"].as_str().unwrap_or_default(), false);
        let told = ask(scene, number, 0).await;
        if told.status != 201 {
            let name = &scene.world.organizations[owner];
            scene.history().wrongs.push(format!(
                "{name} cannot send on {channel} although it is connected and nothing goes wrong: {told:?}"
            ));
        }
    }
}
