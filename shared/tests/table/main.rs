//! The table, black box: conditions, transactions and queries really behave as the store needs it, on the embedded
//! `DynamoDB` engine, or on another one that `DYNAMODB_ENDPOINT` names.
#![expect(clippy::unwrap_used, reason = "in tests")]

mod audit;
mod changes;
mod claims;
mod converge;
mod faults;
mod identity;
mod inbox;
mod integrations;
mod journal;
mod moving;
mod news;
mod numbers;
mod one_message;
mod problems;
mod quarantine;
mod receiving;
mod sending;
mod statuses;
mod tenants;

use testbed::{engine, given};
