//! What goes wrong beside the table and KMS: functions are killed, and the provider fails.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::sleep;

use super::{
    scene::Scene,
    world::{self, Fate},
};

/// Functions that are killed, the ones that write more often.
const KILLABLE: [&str; 16] = [
    "receive-webhook",
    "receive-webhook",
    "receive-webhook",
    "receive-webhook",
    "write-journal",
    "write-journal",
    "send-message",
    "send-message",
    "send-message",
    "record-message",
    "update-conversation",
    "connect-integration",
    "disconnect-integration",
    "delete-integration",
    "list-conversations",
    "list-messages",
];

/// How many events the provider has to tell for each time that something is killed or the provider fails.
const EVENTS_PER_TROUBLE: usize = 6;

/// How many calls of a thousand go wrong in a seed: some seeds are rougher than others.
pub(super) fn rate(seed: u64) -> u32 {
    [5, 15, 30, 60][usize::try_from(seed % 4).unwrap_or(0)]
}

/// Makes trouble until it has to be calm.
pub(super) async fn inject_faults(scene: Arc<Scene>) {
    let random = &mut world::random(scene.world.seed, "trouble");
    // So much in all, however long it takes: a busy machine must not be kept busy by starting what was killed.
    let mut left = scene.world.events.len() / EVENTS_PER_TROUBLE;
    while left > 0 && !scene.is_calm() {
        left -= 1;
        if random.bool() {
            kill(&scene, KILLABLE[random.usize(..KILLABLE.len())]).await;
            let fault = ["repeat", "split"][random.usize(..2)];
            scene.driver.order_of_the_stream(fault).await;
            scene.inject(&format!("stream: {fault}"));
        } else {
            let account = random.usize(..scene.world.accounts.len());
            let fault = match random.u16(0..100) {
                0..=9 => "rate_limit",
                10..=19 => "rate_limit_400",
                20..=34 => "server_error",
                35..=54 => "slow_answer",
                55..=63 => "reject:131026",
                // The key is refused although it is right: only where nobody else expects it to work.
                64..=72 if scene.world.accounts[account].fate == Fate::Pauses => "unauthorized",
                // It takes ten seconds until a send gives up.
                73 if scene.world.seed.is_multiple_of(5) => "timeout",
                _ => "drop_after_accept",
            };
            let mut body = json!({ "fault": fault, "calls": 1, "accountId": scene.world.accounts[account].id });
            if fault != "server_error" || random.bool() {
                body["path"] = "messages".into();
            }
            if fault == "unauthorized" {
                scene.history().refused.insert(account);
            }
            scene.driver.simulate("fault", &body).await;
            scene.inject(&format!("provider: {}", fault.split(':').next().unwrap_or(fault)));
        }
        sleep(Duration::from_millis(random.u64(40..250))).await;
    }
}

/// Kills every process of a function.
pub(super) async fn kill(scene: &Scene, function: &str) {
    if scene.driver.kill(function).await > 0 {
        scene.inject(&format!("killed: {function}"));
    }
    if function == "receive-webhook" {
        scene.history().webhook_was_killed();
    }
}
