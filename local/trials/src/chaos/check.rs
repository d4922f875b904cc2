//! Compares what the API says with what happened. Everything is recomputed from the messages; only quarantine is read from the table.

mod conversation;
mod events;
mod sends;
mod shown;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use self::{
    conversation::Of,
    events::{events, groups},
    sends::sends,
    shown::{Conversation, Shown, day, marks, places, read},
};
use super::{
    agents,
    history::{Owner, now_ms},
    journal,
    scene::Scene,
    world::{self, Platform},
};

/// Something that is not as it has to be.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// What, in a sentence.
    pub(super) what: String,
    /// How it came to that.
    pub(super) history: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) conversations: u64,
    /// Conversations with messages of which nobody knows whether they were answered with 200 while the account was connected.
    pub(super) in_doubt: u64,
}

pub(super) async fn run(scene: &Arc<Scene>, began: i64) -> Report {
    let mut report = Report::default();
    let world = &scene.world;
    let random = &mut world::random(world.seed, "check");
    let mut shown = Vec::new();
    for organization in 0..world.organizations.len() {
        match read(scene, organization, random, &mut report).await {
            Ok(everything) => shown.push(everything),
            Err(problem) => {
                report.add(format!("{} cannot be read: {problem}", world.organizations[organization]), Vec::new());
                return report;
            }
        }
    }
    let mut days = BTreeSet::from([day(began), day(now_ms())]);
    days.insert(day(now_ms() - 1000));
    let mut quarantined = BTreeSet::new();
    for day in days {
        for (_, raw) in scene.driver.quarantine(&day).await {
            quarantined.extend(marks(&String::from_utf8_lossy(&raw)));
        }
    }
    {
        let history = scene.history();
        for wrong in &history.wrongs {
            report.add(wrong.clone(), Vec::new());
        }
        let places = places(world, &shown, &quarantined, &mut report);
        events(world, &history, &places, &mut report);
        groups(world, &places, &mut report);
        for (organization, shown) in shown.iter().enumerate() {
            let listed: BTreeSet<&str> = shown.conversations.iter().map(Conversation::id).collect();
            for conversation in &shown.conversations {
                let of = Of { world, history: &history, organization, conversation, listed: &listed };
                of.thread(&mut report);
                of.summary(&mut report);
                of.sorted(&mut report);
            }
        }
        sends(world, &history, &shown, &mut report);
    }
    told(scene, &shown, &mut report).await;
    integrations(scene, &mut report).await;
    reading(scene, &shown, random, &mut report).await;
    // The smallest first.
    report.findings.sort_by_key(|finding| finding.what.len() + finding.history.iter().map(String::len).sum::<usize>());
    report
}

/// What is stored is told.
async fn told(scene: &Scene, shown: &[Shown], report: &mut Report) {
    if let Some(problem) = journal::is_told(scene).await {
        report.add(problem, Vec::new());
    }
    for (organization, shown) in shown.iter().enumerate() {
        let messages = shown.conversations.iter().flat_map(|conversation| &conversation.messages);
        match journal::compare(scene, organization, messages).await {
            Ok(wrong) => wrong.into_iter().for_each(|what| report.add(what, Vec::new())),
            Err(problem) => report.add(problem, Vec::new()),
        }
    }
}

impl Report {
    fn add(&mut self, what: String, history: Vec<String>) {
        self.findings.push(Finding { what, history });
    }
}

/// Integrations are what their admins made them, and an account has one owner.
async fn integrations(scene: &Scene, report: &mut Report) {
    for (index, account) in scene.world.accounts.iter().enumerate() {
        if account.platform == Platform::Website {
            continue;
        }
        let owners = scene.history().owners(index);
        let [owner] = owners.as_slice() else {
            report.add(format!("nobody knows who has account {index}: {owners:?}"), Vec::new());
            continue;
        };
        for organization in [Some(account.owner), account.rival].into_iter().flatten() {
            let path = format!("social-integrations/{}", account.platform);
            let answer = scene.api(organization, "admin", "GET", &path, None, &Value::Null).await;
            let found = answer.json["data"]["status"].as_str().unwrap_or("none").to_owned();
            let expected = match owner {
                Owner::Connected(owner) if *owner == organization => "connected",
                Owner::Disconnected(owner) if *owner == organization => "disconnected",
                _ => "none",
            };
            if found != expected {
                let name = &scene.world.organizations[organization];
                report.add(
                    format!("{} of {name} is {found}, and its admins made it {expected}", account.platform),
                    vec![answer.text, format!("{account:?}")],
                );
            }
        }
    }
}

/// What operators read now is read, and stays unread otherwise.
async fn reading(scene: &Scene, shown: &[Shown], random: &mut fastrand::Rng, report: &mut Report) {
    for (organization, shown) in shown.iter().enumerate() {
        for conversation in shown.conversations.iter().filter(|_| random.u8(0..4) == 0).take(3) {
            let answer = agents::change(scene, organization, conversation.id(), json!({ "read": true })).await;
            let data = &answer.json["data"];
            if answer.status != 200 || data["unreadCount"] != 0 || data["unread"] != false {
                report.add(format!("conversation {} stays unread", conversation.id()), vec![answer.text]);
            }
        }
    }
}
