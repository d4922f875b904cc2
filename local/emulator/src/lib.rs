//! What template.yaml needs of AWS, on one machine: emulations of API Gateway, Lambda, `DynamoDB`, KMS, IAM, `CloudWatch` and
//! Secrets Manager, around the real function binaries.

pub mod alarms;
pub mod arn;
pub mod authorizer;
pub mod cloudwatch;
pub mod connection;
pub mod error;
pub mod event;
pub mod faults;
pub mod files;
pub mod forward;
pub mod function_url;
pub mod gateway;
pub mod iam;
pub mod kms;
pub mod lambda;
pub mod meter;
pub mod metrics;
pub mod secrets;
pub mod stream;
pub mod table;
pub mod template;
mod watchdog;
