//! What the tests of the functions and of the library stand on: table, vault and provider in one process, and data to
//! begin with.
#![expect(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    reason = "only tests use it, and what is not as expected fails them"
)]

pub mod call;
pub mod engine;
pub mod given;
pub mod provider;
pub mod secrets;
pub mod vault;
