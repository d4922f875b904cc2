//! Where the emulated resources live, and what they are called there.

/// The account id that the emulated resources live in.
pub const ACCOUNT_ID: &str = "000000000000";
/// The region that the emulated resources live in.
pub const REGION: &str = "eu-central-1";
/// The emulated KMS key.
pub const KEY_ID: &str = "00000000-0000-4000-8000-00000000c0de";

/// The ARN of the emulated KMS key.
#[must_use]
pub fn key_arn() -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{KEY_ID}")
}

/// The ARN of a table.
#[must_use]
pub fn table_arn(name: &str) -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/{name}")
}

/// The ARN of a secret of the template.
#[must_use]
pub fn secret_arn(logical_id: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:{logical_id}")
}
