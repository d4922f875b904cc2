//! The life of a message: directions, senders, and the status that only ever rises.

use serde::{Deserialize, Serialize};

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the customer.
    Inbound,
    /// From the business.
    Outbound,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// The customer.
    Customer,
    /// A person of the business.
    Operator,
    /// The business's chatbot or voice agent.
    Ai,
    /// The platform.
    System,
}

/// Where an outbound message stands. Ordered: a status only ever rises, whatever order the provider reports in.
///
/// `Failed` lies between `Sent` and `Delivered`: a late `sent` does not revive a failed message, `delivered` and `read` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Stored, on its way to the provider.
    Sending,
    /// The connection broke after the request may have left: not known yet.
    Unknown,
    /// The provider took it.
    Accepted,
    /// The platform took it.
    Sent,
    /// It will not arrive.
    Failed,
    /// It reached the customer's device.
    Delivered,
    /// The customer read it.
    Read,
}

impl Status {
    /// Its name in the table and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }

    /// Its height: a status is replaced by a higher one only.
    #[must_use]
    pub fn rank(self) -> u8 {
        self as u8
    }
}

/// Where an outbound message stands as it is shown: some of it follows from the time that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the provider told, or as it is being sent.
    Told(Status),
    /// Nobody has heard of it for too long to wait on: it may have arrived or not.
    Unconfirmed,
    /// An operator says that it arrived.
    Assumed,
}

impl Standing {
    /// Its name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Told(status) => status.as_str(),
            Self::Unconfirmed => "unconfirmed",
            Self::Assumed => "assumed",
        }
    }

    /// It failed, or may not have arrived: somebody has to look.
    #[must_use]
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Told(Status::Failed | Status::Unknown) | Self::Unconfirmed)
    }

    /// It may be sent again: it will not arrive, or nobody will tell any more.
    #[must_use]
    pub fn is_resendable(self) -> bool {
        matches!(self, Self::Told(Status::Failed) | Self::Unconfirmed)
    }
}

/// An operator's word that a message arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumed {
    /// The operator.
    pub by: String,
    /// When, epoch milliseconds.
    pub at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_sent_does_not_revive_a_failed_message_but_delivered_does() {
        assert!(Status::Sent < Status::Failed);
        assert!(Status::Failed < Status::Delivered);
        assert!(Status::Delivered < Status::Read);
        assert!(Status::Sending < Status::Unknown && Status::Unknown < Status::Accepted);
    }
}
