//! The library of the functions: ids, the table, secrets, the provider, and the HTTP edge.

pub mod auth;
pub mod aws;
pub mod changes;
pub mod check;
pub mod clock;
pub mod comparison;
pub mod config;
pub mod content;
pub mod cursor;
pub mod delivery;
pub mod dialog360;
pub mod error;
pub mod event;
pub mod http;
pub mod id;
pub mod identity;
pub mod inbound;
pub mod message;
pub mod metrics;
pub mod phone;
pub mod platform;
pub mod quiet;
pub mod replay;
pub mod secrets;
pub mod store;
pub mod vault;
pub mod view;
pub mod webhook_token;
pub mod window;

pub use error::{Error, Result};
