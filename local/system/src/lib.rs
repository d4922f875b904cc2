//! The whole system on one machine, brought up from template.yaml: the real function binaries behind emulations of AWS, a
//! simulator of the provider, the console, and an issuer of tokens.

pub mod console;
pub mod control;
pub mod error;
pub mod functions;
pub mod issuer;
mod listen;
pub mod replay;
pub mod start;
pub mod state;
