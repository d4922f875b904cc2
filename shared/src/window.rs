//! The messaging window: what a platform lets a business send, by what the customer did last.

use serde::Serialize;

use crate::{
    clock::rfc3339,
    platform::{Channel, Platform},
};

/// How long after the customer's last message free text may be sent, on every platform.
const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// What may be sent now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Free text may be sent.
    pub open: bool,
    /// When that ends, or ended; `None` when the customer never wrote.
    pub closes_at: Option<String>,
    /// The kinds of message that the platform takes.
    pub allowed: &'static [&'static str],
}

/// The window of a conversation whose customer last wrote at `last_inbound_at` (epoch milliseconds).
#[must_use]
pub fn window(channel: Channel, last_inbound_at: Option<i64>, now_ms: i64) -> Window {
    let closes_at = last_inbound_at.map(|at| at + WINDOW_MS).filter(|_| channel.platform().is_some());
    let open = closes_at.is_some_and(|closes_at| now_ms < closes_at);
    let allowed: &[&str] = match (channel, open) {
        (Channel::Whatsapp, true) => &["text", "template"],
        (Channel::Whatsapp, false) => &["template"],
        (Channel::Instagram | Channel::Facebook, true) => &["text"],
        (Channel::Instagram | Channel::Facebook, false) | (Channel::Website | Channel::Phone, _) => &[],
    };
    Window { open, closes_at: closes_at.map(rfc3339), allowed }
}

/// Whether a customer's reaction opens the window: Messenger and Instagram say so, `WhatsApp` does not.
#[must_use]
pub fn reaction_opens_it(platform: Platform) -> bool {
    match platform {
        Platform::Instagram | Platform::Facebook => true,
        Platform::Whatsapp => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_a_day_after_the_customers_last_message() {
        let last = 1_767_877_200_000;
        assert!(window(Channel::Whatsapp, Some(last), last + WINDOW_MS - 1).open);
        let closed = window(Channel::Whatsapp, Some(last), last + WINDOW_MS);
        assert_eq!((closed.open, closed.allowed), (false, &["template"][..]));
    }

    #[test]
    fn nothing_may_be_sent_where_the_platform_answers_itself_or_the_customer_never_wrote() {
        assert_eq!(window(Channel::Website, Some(0), 1), Window { open: false, closes_at: None, allowed: &[] });
        assert_eq!(window(Channel::Facebook, None, 1), Window { open: false, closes_at: None, allowed: &[] });
    }
}
