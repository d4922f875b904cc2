//! Refusals that are not about one message: the account can send nothing, or little, until somebody does something about it.
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>,
//! <https://docs.360dialog.com/docs/api/api-error-message-list>

use crate::{event::ProviderError, store::HealthStatus};

/// What a refusal says of the whole account, and what its admin has to do; `None` where it is about the message or the customer.
#[must_use]
pub fn of_account(error: &ProviderError) -> Option<(HealthStatus, &'static str)> {
    use HealthStatus::{Blocked, Limited};
    let says = |text: &str| error.title.to_lowercase().contains(text);
    Some(match error.code.as_str() {
        "131031" => (
            Blocked,
            "WhatsApp has locked this account for a violation of its policies. Appeal in the WhatsApp Manager.",
        ),
        "131042" => (
            Blocked,
            "WhatsApp sends nothing because of a problem with the payment method. Settle it in the WhatsApp Manager or the 360dialog hub.",
        ),
        "131044" | "131045" | "133010" => {
            (Blocked, "The number is not registered with WhatsApp. Register it in the 360dialog hub.")
        }
        "131037" => (Blocked, "WhatsApp has not approved the display name. Change it in the WhatsApp Manager."),
        "134011" => (Blocked, "WhatsApp's terms of payment are not accepted. Accept them in the WhatsApp Manager."),
        "33" => (Blocked, "WhatsApp does not know the number any more. Connect a number that exists."),
        "368" => (
            Blocked,
            "Meta has blocked this account for a while for a violation of its policies. See its Account Quality page.",
        ),
        "131048" => (
            Limited,
            "WhatsApp limits this number because customers have blocked or reported it. Fewer messages, and wanted ones, lift it.",
        ),
        "131064" => (Limited, "WhatsApp limits this account because templates were misused, for a week at least."),
        _ if says("has been disabled") => {
            (Blocked, "360dialog says that this account has been disabled. Ask 360dialog.")
        }
        _ if says("lack of payment") => {
            (Blocked, "360dialog sends nothing because a payment is missing. Settle it in the 360dialog hub.")
        }
        _ => return None,
    })
}
