//! Reads one delivery as often as its argument says: what `local instructions` counts.

use std::hint::black_box;

use serde_json::Value;
use shared::dialog360::webhook::parse;

fn main() {
    let times: usize = std::env::args().nth(1).and_then(|times| times.parse().ok()).unwrap_or(1);
    let event: Value = serde_json::from_str(include_str!("../../../events/receive-webhook.json")).unwrap_or_default();
    let body = event["body"].as_str().unwrap_or_default();
    for _ in 0..times {
        let events = parse(black_box(body.as_bytes()), 1_795_428_000_000);
        assert_eq!(events.map(|events| events.len()), Ok(1), "the example event is one message");
    }
}
