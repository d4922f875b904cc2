//! What can go wrong, in the service's own words, and the one table of status and code.

use lambda_http::http::StatusCode;
use serde_json::{Value, json};

/// A result of this service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of a fault: it reaches the log, never the caller.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The text reaches the caller and says what to do; a `source` reaches only the log.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Error {
    #[error("{message}")]
    InvalidBody { message: String, field: Option<&'static str> },
    #[error("{message}")]
    InvalidParameter { message: String, parameter: &'static str },
    #[error("this cursor belongs to another list: start again without `cursor`")]
    InvalidCursor,
    #[error(
        "an `Idempotency-Key` header has 1 to 64 visible ASCII characters: send such a one, and the same when you repeat the request"
    )]
    InvalidIdempotencyKey,
    #[error("360dialog refuses this API key: copy it again from the 360dialog hub, or generate a new one")]
    InvalidCredentials,
    #[error("this API key speaks for another account: check the id, or use the key of this account")]
    AccountMismatch,
    #[error(
        "the provider does not say that this API key speaks for this account, and anybody could claim it: ask who runs the service to speak to Meta directly for this platform, or to vouch for its partner channel (`TrustPartnerChannel`)"
    )]
    AccountNotProven,
    #[error("the token names no organization: sign in again, or ask who runs the service to add the claim")]
    NoOrganization,
    #[error("your role may not do this: ask an admin of your organization")]
    Forbidden,
    #[error("nothing is connected on this platform: connect it first")]
    IntegrationNotFound,
    #[error("there is no such conversation")]
    ConversationNotFound,
    #[error("there is no such message in this conversation")]
    MessageNotFound,
    #[error("there is no such entry in the quarantine of your accounts")]
    QuarantineEntryNotFound,
    #[error("this account is connected by another organization: disconnect and delete it there first")]
    AccountInUse,
    #[error("the integration is not connected: connect it in Settings > Socials, then send again")]
    NotConnected,
    #[error(
        "this conversation is with an account that another one has replaced: connect that account again in Settings > Socials to answer here, or wait until the customer writes to the new one"
    )]
    AccountReplaced,
    #[error("this `Idempotency-Key` was used with another body: use a new key for a new message")]
    IdempotencyKeyReused,
    #[error("somebody else cares for this conversation: ask them, or take it over knowingly")]
    AlreadyAssigned { assigned_to: Option<String>, conversation: Option<Value> },
    #[error("only what failed or is unconfirmed can be sent again, and only once: read the message again")]
    NotResendable { message_id: String },
    #[error("this was changed by somebody else at the same moment: read it again, then repeat")]
    Conflict,
    #[error(
        "what came after this sequence is not kept any more, or it was never given: read the lists, then go on with `after=latest`"
    )]
    CursorExpired,
    #[error("the body is longer than {limit_bytes} bytes")]
    BodyTooLarge { limit_bytes: usize },
    #[error("send JSON with `Content-Type: application/json`")]
    UnsupportedMediaType,
    #[error("the customer's last message is too long ago: the platform takes no free text now")]
    WindowClosed { allowed: &'static [&'static str], closed_at: Option<String> },
    #[error(
        "this channel is answered by the platform's own chatbot or telephony: only internal notes can be written here"
    )]
    ChannelNotSendable,
    #[error("the text is too long for this platform: at most {limit} {unit}")]
    TextTooLong { limit: usize, unit: &'static str },
    #[error("the provider refused: {title}")]
    ProviderRejected { message_id: Option<String>, code: String, title: String },
    #[error("the provider cannot be reached or is too busy: try again in a moment")]
    ProviderUnavailable { message_id: Option<String>, code: Option<String>, title: Option<String> },
    #[error("the service cannot answer now: try again in a moment")]
    Unavailable(#[source] Cause),
    #[error("something went wrong on our side: try again, and tell support the time if it stays")]
    Internal(#[source] Cause),
}

impl Error {
    /// A body that cannot be taken, with the field that it concerns.
    pub fn invalid_body(message: impl Into<String>, field: &'static str) -> Self {
        Self::InvalidBody { message: message.into(), field: Some(field) }
    }

    /// A value in path, query or header that cannot be taken.
    pub fn invalid_parameter(message: impl Into<String>, parameter: &'static str) -> Self {
        Self::InvalidParameter { message: message.into(), parameter }
    }

    /// A fault that is ours, with its cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// The status and the stable code of each error.
    #[must_use]
    pub fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidBody { .. } => (StatusCode::BAD_REQUEST, "INVALID_BODY"),
            Self::InvalidParameter { .. } => (StatusCode::BAD_REQUEST, "INVALID_PARAMETER"),
            Self::InvalidCursor => (StatusCode::BAD_REQUEST, "INVALID_CURSOR"),
            Self::InvalidIdempotencyKey => (StatusCode::BAD_REQUEST, "INVALID_IDEMPOTENCY_KEY"),
            Self::InvalidCredentials => (StatusCode::BAD_REQUEST, "INVALID_CREDENTIALS"),
            Self::AccountMismatch => (StatusCode::BAD_REQUEST, "ACCOUNT_MISMATCH"),
            Self::AccountNotProven => (StatusCode::BAD_REQUEST, "ACCOUNT_NOT_PROVEN"),
            Self::NoOrganization => (StatusCode::FORBIDDEN, "NO_ORGANIZATION"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::IntegrationNotFound => (StatusCode::NOT_FOUND, "INTEGRATION_NOT_FOUND"),
            Self::ConversationNotFound => (StatusCode::NOT_FOUND, "CONVERSATION_NOT_FOUND"),
            Self::MessageNotFound => (StatusCode::NOT_FOUND, "MESSAGE_NOT_FOUND"),
            Self::QuarantineEntryNotFound => (StatusCode::NOT_FOUND, "QUARANTINE_ENTRY_NOT_FOUND"),
            Self::AccountInUse => (StatusCode::CONFLICT, "ACCOUNT_IN_USE"),
            Self::NotConnected => (StatusCode::CONFLICT, "NOT_CONNECTED"),
            Self::AccountReplaced => (StatusCode::CONFLICT, "ACCOUNT_REPLACED"),
            Self::IdempotencyKeyReused => (StatusCode::CONFLICT, "IDEMPOTENCY_KEY_REUSED"),
            Self::AlreadyAssigned { .. } => (StatusCode::CONFLICT, "ALREADY_ASSIGNED"),
            Self::NotResendable { .. } => (StatusCode::CONFLICT, "NOT_RESENDABLE"),
            Self::Conflict => (StatusCode::CONFLICT, "CONFLICT"),
            Self::CursorExpired => (StatusCode::GONE, "CURSOR_EXPIRED"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE"),
            Self::WindowClosed { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "WINDOW_CLOSED"),
            Self::ChannelNotSendable => (StatusCode::UNPROCESSABLE_ENTITY, "CHANNEL_NOT_SENDABLE"),
            Self::TextTooLong { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "TEXT_TOO_LONG"),
            Self::ProviderRejected { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "PROVIDER_REJECTED"),
            Self::ProviderUnavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        }
    }

    /// What a program can use beside the code; `null` where there is nothing.
    #[must_use]
    pub fn details(&self) -> Value {
        match self {
            Self::InvalidBody { field: Some(field), .. } => json!({ "field": field }),
            Self::InvalidParameter { parameter, .. } => json!({ "parameter": parameter }),
            Self::BodyTooLarge { limit_bytes } => json!({ "limitBytes": limit_bytes }),
            Self::WindowClosed { allowed, closed_at } => json!({ "allowed": allowed, "closedAt": closed_at }),
            Self::AlreadyAssigned { assigned_to, conversation } => {
                json!({ "assignedTo": assigned_to, "conversation": conversation })
            }
            Self::NotResendable { message_id } => json!({ "messageId": message_id }),
            Self::TextTooLong { limit, unit } => json!({ "limit": limit, "unit": unit }),
            Self::ProviderRejected { message_id, code, title } => {
                json!({ "messageId": message_id, "code": code, "title": title })
            }
            Self::ProviderUnavailable { message_id, code, title } => {
                json!({ "messageId": message_id, "code": code, "title": title })
            }
            Self::InvalidBody { field: None, .. }
            | Self::InvalidCursor
            | Self::InvalidIdempotencyKey
            | Self::InvalidCredentials
            | Self::AccountMismatch
            | Self::AccountNotProven
            | Self::NoOrganization
            | Self::Forbidden
            | Self::IntegrationNotFound
            | Self::ConversationNotFound
            | Self::MessageNotFound
            | Self::QuarantineEntryNotFound
            | Self::AccountInUse
            | Self::NotConnected
            | Self::AccountReplaced
            | Self::IdempotencyKeyReused
            | Self::Conflict
            | Self::CursorExpired
            | Self::UnsupportedMediaType
            | Self::ChannelNotSendable
            | Self::Unavailable(_)
            | Self::Internal(_) => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_never_told_to_the_caller() {
        let error = Error::internal("the password is 1234");
        assert!(!error.to_string().contains("1234"));
        assert_eq!(error.details(), Value::Null);
        assert_eq!(error.status_and_code(), (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"));
    }
}
