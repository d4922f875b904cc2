//! What a failure means: for each code of the provider one sentence of ours for the operator, and the one thing to do; where it is
//! not about one message, also what it says of the whole account, and to its admin.
//!
//! The codes and their meaning are documented, the classes are our reading of them:
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>,
//! <https://developers.facebook.com/documentation/business-messaging/messenger-platform/error-codes>,
//! <https://docs.360dialog.com/docs/api/api-error-message-list>.

use serde::Serialize;

use crate::{event::ProviderError, store::HealthStatus};

/// The one right thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Send it again.
    Retry,
    /// Send it again, but not soon.
    Later,
    /// Only a template opens the conversation again.
    Template,
    /// Change what is sent, then send it again.
    FixContent,
    /// An admin connects the integration again, then it can be sent again.
    Reconnect,
    /// An admin settles it with the provider: payment, verification, a lock.
    Account,
    /// Nothing: it does not reach this customer.
    None,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What happened, in our words.
    pub message: &'static str,
    /// What to do.
    pub action: Action,
}

/// What a failure says of the whole account: it can send nothing, or little, until somebody does something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfAccount {
    /// Whether anything can be sent.
    pub health: HealthStatus,
    /// What happened, for the operator.
    pub message: &'static str,
    /// What happened, and what the account's admin has to do.
    pub to_admin: &'static str,
}

/// What stands for a code that is not known.
const UNKNOWN: Advice =
    Advice { message: "The provider refused the message; its own words say why.", action: Action::None };

/// What a failure says of the whole account; `None` where it is about the message or the customer.
#[must_use]
pub fn of_account(error: &ProviderError) -> Option<OfAccount> {
    use HealthStatus::{Blocked, Limited};
    let says = |text: &str| error.title.to_lowercase().contains(text);
    let (health, message, to_admin) = match error.code.as_str() {
        "131031" => (
            Blocked,
            "The account is locked.",
            "WhatsApp has locked this account for a violation of its policies. Appeal in the WhatsApp Manager.",
        ),
        "131042" | "131044" => (
            Blocked,
            PAYMENT,
            "WhatsApp sends nothing because of a problem with the payment method. Settle it in the WhatsApp Manager or the 360dialog hub.",
        ),
        "134011" => {
            (Blocked, PAYMENT, "WhatsApp's terms of payment are not accepted. Accept them in the WhatsApp Manager.")
        }
        "131045" | "133010" => {
            (Blocked, UNREGISTERED, "The number is not registered with WhatsApp. Register it in the 360dialog hub.")
        }
        "33" => (Blocked, UNREGISTERED, "WhatsApp does not know the number any more. Connect a number that exists."),
        "131037" => (
            Blocked,
            "The number's display name is not approved yet.",
            "WhatsApp has not approved the display name. Change it in the WhatsApp Manager.",
        ),
        "368" => (
            Blocked,
            "Meta has blocked the account for a breach of its policies.",
            "Meta has blocked this account for a while for a violation of its policies. See its Account Quality page.",
        ),
        "131048" => (
            Limited,
            UNWANTED,
            "WhatsApp limits this number because customers have blocked or reported it. Fewer messages, and wanted ones, lift it.",
        ),
        "131064" => {
            (Limited, UNWANTED, "WhatsApp limits this account because templates were misused, for a week at least.")
        }
        _ if says("has been disabled") => (
            Blocked,
            "The provider has blocked this channel.",
            "360dialog says that this account has been disabled. Ask 360dialog.",
        ),
        _ if says("lack of payment") => {
            (Blocked, PAYMENT, "360dialog sends nothing because a payment is missing. Settle it in the 360dialog hub.")
        }
        _ => return None,
    };
    Some(OfAccount { health, message, to_admin })
}

const PAYMENT: &str = "The provider takes no message before the account's payment is settled.";
const UNREGISTERED: &str = "The number is not registered with WhatsApp.";
const UNWANTED: &str = "WhatsApp has limited this number, because too many recipients blocked or reported it.";

/// What a failure means.
#[must_use]
pub fn advice(error: &ProviderError) -> Advice {
    if let Some(OfAccount { message, .. }) = of_account(error) {
        return Advice { message, action: Action::Account };
    }
    let subcode = error.subcode.as_deref().unwrap_or_default();
    let (message, action) = match (error.code.as_str(), subcode) {
        // The window.
        ("131047", _) | ("10", "2018278" | "2018065" | "2534022") => (
            "The customer's last message is more than 24 hours old: free text is not taken any more.",
            Action::Template,
        ),
        // Credentials and permissions.
        ("0" | "190" | "401", _) => ("The API key of this channel is no longer valid.", Action::Reconnect),
        ("10", "1893063") => ("Meta has restricted the page for a while.", Action::Account),
        ("200", "1545041" | "2018108") => ("The customer cannot receive messages or has blocked them.", Action::None),
        ("3" | "10" | "131005" | "200" | "230", _) => {
            ("The connection of this channel lacks the permission to send messages.", Action::Reconnect)
        }
        // The account.
        ("403", _) => ("The provider has blocked this channel.", Action::Account),
        ("135000", _) => ("WhatsApp holds back the messages of this business.", Action::Account),
        // Too much at once.
        ("4" | "17" | "32" | "429" | "613" | "80006" | "80007" | "130429" | "131056", _) | ("9", "2018352") => {
            ("Too many messages were sent at once.", Action::Retry)
        }
        // Passing faults.
        ("-1" | "1" | "2" | "1200" | "131000" | "131016" | "131057" | "133004", _) => {
            ("The platform had a passing fault.", Action::Retry)
        }
        ("500" | "502" | "503" | "504" | "UNAVAILABLE", _) => ("The provider was out of order.", Action::Retry),
        ("UNREACHABLE", _) => ("The provider could not be reached.", Action::Retry),
        // The recipient.
        ("131026", _) => (
            "It cannot be delivered: the number is not on WhatsApp, uses an old version, or has blocked the business.",
            Action::None,
        ),
        ("131021", _) => ("The recipient is the business's own number.", Action::None),
        ("130403", _) => ("The business has blocked this customer.", Action::None),
        ("131030", _) => ("A test number reaches only the recipients on its list.", Action::Account),
        ("130497", _) => ("The business may not send messages to the customer's country.", Action::None),
        ("130472", _) => ("The customer is part of an experiment of Meta and gets no such message.", Action::None),
        ("131050", _) => ("The customer does not want marketing messages of this business.", Action::None),
        ("137000", _) => ("The customer's identity has changed: ask them to write again.", Action::None),
        ("131062", _) => ("This message needs the customer's phone number, which is not known.", Action::None),
        ("130501", _) => ("Messages of this kind cannot be sent to this recipient.", Action::None),
        ("551", _) | ("100", "2018001") => {
            ("The customer cannot be reached: they blocked the page, or left.", Action::None)
        }
        ("NO_ADDRESS", _) => ("The customer has no address on this platform.", Action::None),
        ("131049", _) => (
            "WhatsApp holds it back: the customer gets many such messages. Try again tomorrow at the earliest.",
            Action::Later,
        ),
        ("131070", _) => ("Another system has taken over this conversation and answers it.", Action::None),
        // What was sent.
        ("131052" | "131053", _) | ("100", "2018007" | "2018008" | "2018047" | "2018074" | "2018294") => {
            ("The attachment could not be loaded or is of a kind that is not taken.", Action::FixContent)
        }
        ("100", "2018034") => ("The message is empty.", Action::FixContent),
        ("100" | "131008" | "131009" | "131051", _) => {
            ("The platform does not take the message as it is.", Action::FixContent)
        }
        ("2022" | "10900" | "10903" | "10904", _) => {
            ("The platform's conditions for such a message are not met.", Action::None)
        }
        // Templates.
        ("132000" | "132005" | "132008" | "132012" | "132018" | "134103", _) => {
            ("The template was filled in otherwise than it is defined.", Action::FixContent)
        }
        ("132001", _) => ("There is no approved template of this name and language.", Action::FixContent),
        ("132007", _) => ("The template's content breaches a policy of WhatsApp.", Action::FixContent),
        ("132015" | "132016", _) => ("The template is paused or disabled.", Action::Later),
        ("132068" | "132069", _) => ("The template's form is blocked or slowed down.", Action::Later),
        ("134101", _) => ("The template is not ready yet.", Action::Later),
        ("131055" | "131061" | "131063" | "131065" | "134100" | "134102", _) => {
            ("The template cannot be sent in this way.", Action::FixContent)
        }
        _ => return UNKNOWN,
    };
    Advice { message, action }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code that the documentation of both APIs names for a message that was sent.
    const DOCUMENTED: [&str; 88] = [
        "-1",
        "0",
        "1",
        "2",
        "3",
        "4",
        "9/2018352",
        "10",
        "10/1893063",
        "10/2018065",
        "10/2018278",
        "10/2534022",
        "17",
        "32",
        "33",
        "100",
        "100/2018001",
        "100/2018007",
        "100/2018008",
        "100/2018034",
        "100/2018047",
        "100/2018074",
        "100/2018294",
        "190",
        "190/460",
        "190/463",
        "190/467",
        "200",
        "200/1545041",
        "200/2018108",
        "230",
        "368",
        "401",
        "403",
        "429",
        "500",
        "502",
        "503",
        "504",
        "551/1545041",
        "613",
        "1200",
        "2022",
        "10900",
        "10903",
        "10904",
        "80006",
        "80007",
        "130403",
        "130429",
        "130472",
        "130497",
        "130501",
        "131000",
        "131005",
        "131008",
        "131009",
        "131016",
        "131021",
        "131026",
        "131030",
        "131031",
        "131037",
        "131042",
        "131044",
        "131045",
        "131047",
        "131048",
        "131049",
        "131050",
        "131051",
        "131052",
        "131053",
        "131056",
        "131057",
        "131062",
        "131064",
        "131070",
        "132000",
        "132001",
        "132005",
        "132007",
        "132012",
        "132015",
        "132016",
        "133004",
        "133010",
        "137000",
    ];
    /// Of templates and of what runs beside messages.
    const OF_TEMPLATES: [&str; 14] = [
        "131055", "131061", "131063", "131065", "132008", "132018", "132068", "132069", "134011", "134100", "134101",
        "134102", "134103", "135000",
    ];

    fn error(code: &str) -> ProviderError {
        let (code, subcode) = code.split_once('/').map_or((code, None), |(code, subcode)| (code, Some(subcode.into())));
        ProviderError { code: code.into(), subcode, ..ProviderError::default() }
    }

    #[test]
    fn every_documented_code_has_a_sentence() {
        let ours = ["NO_ADDRESS", "UNAVAILABLE", "UNREACHABLE"];
        for code in DOCUMENTED.iter().chain(&OF_TEMPLATES).chain(&ours) {
            assert_ne!(advice(&error(code)), UNKNOWN, "{code}");
        }
    }

    #[test]
    fn unknown_code_has_a_sentence_too() {
        assert_eq!(advice(&error("999999")), UNKNOWN);
        assert_eq!(advice(&ProviderError::default()), UNKNOWN);
    }

    #[test]
    fn what_is_of_the_account_is_its_admins_to_settle() {
        let codes = DOCUMENTED.iter().chain(&OF_TEMPLATES);
        let of_account: Vec<_> = codes.filter(|code| of_account(&error(code)).is_some()).copied().collect();
        let expected =
            ["33", "368", "131031", "131037", "131042", "131044", "131045", "131048", "131064", "133010", "134011"];
        assert_eq!(of_account, expected);
        for code in of_account {
            assert_eq!(advice(&error(code)).action, Action::Account, "{code}");
        }
        let of_360dialog = |title: &str| advice(&ProviderError { title: title.into(), ..error("400") });
        assert_eq!(of_360dialog("Your account has been disabled").action, Action::Account);
        assert_eq!(of_360dialog("Sending stopped: lack of payment").message, PAYMENT);
        assert_eq!(of_360dialog("Something else"), UNKNOWN);
    }

    #[test]
    fn only_what_can_work_is_sent_again() {
        let final_ones = ["131026", "130472", "131050", "551/1545041", "200/1545041", "100/2018001"];
        for code in final_ones {
            assert_eq!(advice(&error(code)).action, Action::None, "{code}");
        }
        assert_eq!(advice(&error("10/2018278")).action, Action::Template);
        assert_eq!(advice(&error("10")).action, Action::Reconnect);
        assert_eq!(advice(&error("131056")).action, Action::Retry);
    }
}
