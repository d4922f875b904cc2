//! The whole system on one machine, brought up from template.yaml: the real function binaries behind emulations of API
//! Gateway, Lambda, `DynamoDB` and KMS, and a simulator of the provider.

pub mod alarms;
pub mod authorizer;
pub mod bench;
pub mod chaos;
pub mod client;
pub mod cloudwatch;
mod connection;
pub mod console;
pub mod developer;
pub mod error;
pub mod event;
pub mod faults;
mod forward;
pub mod function_url;
pub mod functions;
pub mod gateway;
pub mod iam;
pub mod issuer;
pub mod kms;
pub mod meter;
pub mod metrics;
pub mod replay;
pub mod runtime;
pub mod secrets;
pub mod simulator;
pub mod start;
pub mod state;
pub mod table;
pub mod template;
mod watchdog;
