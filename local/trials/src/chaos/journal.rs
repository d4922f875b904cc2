//! Compares what the journal tells with what the threads show: each message once, in places that follow each other, and nothing else.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;

use super::scene::Scene;

/// Longer than the journal needs once nothing goes wrong any more.
const TOLD_WITHIN: Duration = Duration::from_mins(1);

/// Waits until the stream is read. What is wrong, where it never is.
pub(super) async fn is_told(scene: &Scene) -> Option<String> {
    let began = Instant::now();
    let mut quiet = 0;
    // What was written a moment ago is read a moment later.
    while quiet < 3 {
        quiet = if scene.driver.untold().await == 0 { quiet + 1 } else { 0 };
        if began.elapsed() > TOLD_WITHIN {
            return Some("the stream is not read although nothing goes wrong any more".to_owned());
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

/// What is wrong with an organization's journal, beside the messages that its threads show.
pub(super) async fn compare<'a>(
    scene: &Scene,
    organization: usize,
    shown: impl Iterator<Item = &'a Value>,
) -> Result<Vec<String>, String> {
    let name = &scene.world.organizations[organization];
    let events = events(scene, organization).await?;
    let mut wrong = Vec::new();
    let places: Vec<u64> = events.iter().filter_map(|event| event["sequence"].as_str()?.parse().ok()).collect();
    if places.len() != events.len() || places.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        wrong.push(format!("the journal of {name} has a hole: {places:?}"));
    }
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str()).collect();
    if ids.len() != events.len() {
        wrong.push(format!("the journal of {name} tells something twice"));
    }
    let mut told = BTreeSet::new();
    for event in &events {
        let id = event["data"]["message"]["id"].as_str().unwrap_or_default();
        match event["type"].as_str() {
            Some("message.received" | "message.sent" | "note.added") if !told.insert(id) => {
                wrong.push(format!("the journal of {name} tells of message {id} twice"));
            }
            Some("message.unsent") if event["data"]["removed"] == true => drop(told.remove(id)),
            _ => {}
        }
    }
    let shown: BTreeSet<&str> = shown.filter_map(|message| message["id"].as_str()).collect();
    for id in shown.difference(&told) {
        wrong.push(format!("the journal of {name} does not tell of message {id}"));
    }
    for id in told.difference(&shown) {
        wrong.push(format!("the journal of {name} tells of message {id}, which no thread shows"));
    }
    Ok(wrong)
}

async fn events(scene: &Scene, organization: usize) -> Result<Vec<Value>, String> {
    let mut events = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("events?limit=100{after}");
        let answer = scene.api(organization, "operator", "GET", &path, None, &Value::Null).await;
        if answer.status != 200 {
            return Err(format!("GET {path} was answered with {}: {}", answer.status, answer.text));
        }
        let data = &answer.json["data"];
        events.extend(data["items"].as_array().cloned().unwrap_or_default());
        if data["hasMore"] != true {
            return Ok(events);
        }
        after = format!("&after={}", data["next"].as_str().unwrap_or_default());
    }
}
