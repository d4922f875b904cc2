//! The whole system end to end: the real functions behind the real template, driven over HTTP only.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod alarms;
mod audit;
mod bad_input;
mod checks;
mod claims;
mod connecting;
mod contract;
mod conversations;
mod deliveries;
mod events;
mod isolation;
mod local;
mod logs;
mod metrics;
mod numbers;
mod openapi;
mod permissions;
mod quarantine;
mod receiving;
mod recovery;
mod sealed_keys;
mod sending;
mod shared;
mod webhook;
mod webhook_attacks;
