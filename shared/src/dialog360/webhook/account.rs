//! Reads what the provider tells of an account itself: bans, restrictions, quality, templates. Its admin is told in a sentence; what a
//! sentence is not made for stays a notice for the log.
//!
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/account_update>,
//! <https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks>

use serde_json::Value;

use super::{
    json::{id, items, object, text},
    notice, time,
};
use crate::{
    clock,
    event::{EventKind, News},
    store::HealthStatus,
};

/// The most characters of the provider's words that a sentence repeats.
const MAX_WORDS_CHARS: usize = 200;
/// Restrictions that stop replies, too: reference section 9.6.
const STOPS_REPLIES: &str = "RESTRICTED_CUSTOMER_INITIATED_MESSAGING";

/// What a field of the account tells. `told_at` is when, where its surroundings say so.
pub(super) fn news(field: &str, value: &Value, told_at: Option<i64>, now_ms: i64) -> EventKind {
    let told = match field {
        "account_update" => account_update(value),
        "account_alerts" => account_alert(value),
        "account_review_update" => review(value),
        "phone_number_quality_update" => quality(value),
        "phone_number_name_update" => name(value),
        "business_capability_update" => capability(value),
        "message_template_status_update" => template_status(value),
        "message_template_quality_update" => template_quality(value),
        "template_category_update" => template_category(value),
        "business_username_update" | "business_username_updates" => username(value),
        "user_preferences" => preference(value),
        "policy_enforcement" | "policy-enforcement" => enforcement(value),
        _ => None,
    };
    let Some((message, health)) = told else { return notice(field) };
    let phone = text(value, "display_phone_number").or(text(value, "phone_number"));
    let digits = |phone: &str| phone.chars().filter(char::is_ascii_digit).collect::<String>();
    let told_at = told_at.or(time(value, "timestamp", now_ms));
    EventKind::News(News { what: what(field), message, health, phone: phone.map(digits), timestamp: told_at })
}

/// The field's name, as a notice has it.
fn what(field: &str) -> String {
    match notice(field) {
        EventKind::Notice { what } => what,
        _ => String::new(),
    }
}

type Told = Option<(String, Option<HealthStatus>)>;

/// The provider's words: on one line, and not too long.
fn words(value: &Value, key: &str) -> Option<String> {
    let words: String =
        text(value, key)?.chars().filter(|character| !character.is_control()).take(MAX_WORDS_CHARS).collect();
    Some(words.trim().to_owned()).filter(|words| !words.is_empty() && words != "NONE")
}

/// A name of the provider's for something, in readable form: `RATE_LIMITED` becomes `rate limited`.
fn readable(value: &Value, key: &str) -> Option<String> {
    words(value, key).map(|name| name.replace('_', " ").to_lowercase())
}

fn with(sentence: String, because: Option<String>) -> String {
    match because {
        Some(because) => format!("{sentence}: {because}"),
        None => sentence,
    }
}

fn account_update(value: &Value) -> Told {
    use HealthStatus::{Available, Blocked, Limited};
    Some(match text(value, "event")? {
        "DISABLED_UPDATE" => {
            let ban = object(value, "ban_info")?;
            let date = words(ban, "waba_ban_date");
            match text(ban, "waba_ban_state")? {
                "SCHEDULE_FOR_DISABLE" => {
                    let when = date.map(|date| format!(" on {date}")).unwrap_or_default();
                    (
                        format!(
                            "WhatsApp is going to disable this business account{when}. Appeal in the WhatsApp Manager."
                        ),
                        Some(Limited),
                    )
                }
                "DISABLE" => (
                    "WhatsApp has disabled this business account. Appeal in the WhatsApp Manager.".into(),
                    Some(Blocked),
                ),
                "REINSTATE" => ("WhatsApp has reinstated this business account.".into(), Some(Available)),
                _ => return None,
            }
        }
        "ACCOUNT_RESTRICTION" => {
            let restrictions = items(value, "restriction_info");
            let kinds: Vec<String> =
                restrictions.iter().filter_map(|restriction| readable(restriction, "restriction_type")).collect();
            let stops_replies =
                restrictions.iter().any(|restriction| text(restriction, "restriction_type") == Some(STOPS_REPLIES));
            let until = restrictions.iter().filter_map(|restriction| {
                // The end lies ahead: any time is taken.
                time(restriction, "expiration", i64::MAX / 2)
            });
            let until = until.max().map(|until| format!(" until {}", clock::rfc3339(until))).unwrap_or_default();
            let why = object(value, "violation_info").and_then(|violation| readable(violation, "violation_type"));
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            let sentence = format!("WhatsApp restricts this account{until}{why}");
            let health = if stops_replies { Blocked } else { Limited };
            (with(sentence, Some(kinds.join(", ")).filter(|kinds| !kinds.is_empty())), Some(health))
        }
        "ACCOUNT_VIOLATION" => {
            let why = object(value, "violation_info").and_then(|violation| readable(violation, "violation_type"));
            (with("WhatsApp has found a violation of its policies".into(), why), None)
        }
        "ACCOUNT_DELETED" => ("The WhatsApp business account was deleted.".into(), Some(Blocked)),
        "ACCOUNT_OFFBOARDED" | "PARTNER_REMOVED" | "PARTNER_APP_UNINSTALLED" => {
            let why = object(value, "disconnection_info").and_then(|info| readable(info, "reason"));
            (with("The account was disconnected from the provider. Connect it there again".into(), why), Some(Blocked))
        }
        "ACCOUNT_RECONNECTED" => ("The account was connected with the provider again.".into(), Some(Available)),
        _ => return None,
    })
}

fn account_alert(value: &Value) -> Told {
    let alert = object(value, "alert_info").unwrap_or(value);
    let about = words(alert, "alert_description").or(readable(alert, "alert_type"))?;
    let severity = readable(alert, "alert_severity").map(|severity| format!(" ({severity})")).unwrap_or_default();
    Some((format!("WhatsApp alerts{severity}: {about}"), None))
}

fn review(value: &Value) -> Told {
    Some((format!("WhatsApp has reviewed this account: {}", readable(value, "decision")?), None))
}

fn quality(value: &Value) -> Told {
    let event = readable(value, "event")?;
    let limit = words(value, "max_daily_conversations_per_business").or(words(value, "current_limit"));
    let limit = limit.map(|limit| format!(", limit {limit}")).unwrap_or_default();
    Some((format!("Quality and limits of the number: {event}{limit}"), None))
}

fn name(value: &Value) -> Told {
    let sentence = format!("The display name was reviewed: {}", readable(value, "decision")?);
    Some((with(sentence, readable(value, "rejection_reason")), None))
}

fn capability(value: &Value) -> Told {
    let limit = id(value, "max_daily_conversations_per_business")?;
    Some((format!("So many customers can be written to first in a day: {limit}"), None))
}

fn template(value: &Value) -> String {
    let name = words(value, "message_template_name").unwrap_or_default();
    match words(value, "message_template_language") {
        Some(language) => format!("Template {name} ({language})"),
        None => format!("Template {name}"),
    }
}

fn template_status(value: &Value) -> Told {
    let sentence = format!("{}: {}", template(value), readable(value, "event")?);
    Some((with(sentence, readable(value, "reason")), None))
}

fn template_quality(value: &Value) -> Told {
    Some((format!("{}: quality {}", template(value), readable(value, "new_quality_score")?), None))
}

fn template_category(value: &Value) -> Told {
    let template = template(value);
    // The first of two announces: the new category is still the present one.
    Some(match readable(value, "correct_category") {
        Some(coming) => (format!("{template}: will become {coming}"), None),
        None => (format!("{template}: has become {}", readable(value, "new_category")?), None),
    })
}

fn username(value: &Value) -> Told {
    Some((format!("The business's username: {}", readable(value, "status").or(readable(value, "event"))?), None))
}

/// Nobody is named: it is the customer's own affair who it was.
fn preference(value: &Value) -> Told {
    let preference = items(value, "user_preferences").last()?;
    let marketing = text(preference, "category").is_none_or(|category| category == "marketing_messages");
    Some(match text(preference, "value").filter(|_| marketing)? {
        "stop" => ("A customer wants no more marketing messages.".into(), None),
        "resume" | "signup" => ("A customer wants marketing messages again.".into(), None),
        _ => return None,
    })
}

fn enforcement(value: &Value) -> Told {
    let why = words(value, "reason");
    Some(match text(value, "action")? {
        "block" => (with("Meta has blocked this account from sending".into(), why), Some(HealthStatus::Blocked)),
        "unblock" => (with("Meta lets this account send again".into(), why), Some(HealthStatus::Available)),
        "warning" => (with("Meta warns this account".into(), why), None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{NOW_MS, kinds, only},
        *,
    };

    fn told(name: &str) -> News {
        match only(name).kind {
            EventKind::News(news) => news,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_news_is_a_sentence() {
        let told = |name: &str| told(&format!("whatsapp/{name}")).message;
        assert_eq!(
            told("account_update"),
            "WhatsApp restricts this account until 2026-01-15T13:00:00.000Z: restricted biz initiated messaging"
        );
        assert_eq!(told("account_alerts"), "WhatsApp alerts (warning): More information is needed.");
        assert_eq!(told("user_preferences"), "A customer wants no more marketing messages.");
        for name in [
            "message_template_status_update",
            "message_template_quality_update",
            "template_category_update",
            "phone_number_quality_update",
            "phone_number_name_update",
            "business_capability_update",
        ] {
            assert!(!told(name).is_empty());
        }
    }

    #[test]
    fn a_ban_blocks_and_its_end_does_not() {
        let update = |value: Value| match news("account_update", &value, Some(NOW_MS), NOW_MS) {
            EventKind::News(news) => (news.health, news.timestamp),
            other => panic!("{other:?}"),
        };
        let ban = |state: &str| json!({ "event": "DISABLED_UPDATE", "ban_info": { "waba_ban_state": state } });
        let restricted =
            |kind: &str| json!({ "event": "ACCOUNT_RESTRICTION", "restriction_info": [{ "restriction_type": kind }] });
        let cases = [
            (ban("SCHEDULE_FOR_DISABLE"), Some(HealthStatus::Limited)),
            (ban("DISABLE"), Some(HealthStatus::Blocked)),
            (ban("REINSTATE"), Some(HealthStatus::Available)),
            (restricted("RESTRICTED_BIZ_INITIATED_MESSAGING"), Some(HealthStatus::Limited)),
            (restricted(STOPS_REPLIES), Some(HealthStatus::Blocked)),
            (json!({ "event": "ACCOUNT_VIOLATION" }), None),
            (json!({ "event": "ACCOUNT_DELETED" }), Some(HealthStatus::Blocked)),
        ];
        for (value, health) in cases {
            assert_eq!(update(value.clone()), (health, Some(NOW_MS)), "{value}");
        }
        let unheard = json!({ "event": "MM_LITE_TERMS_SIGNED" });
        assert!(matches!(news("account_update", &unheard, None, NOW_MS), EventKind::Notice { .. }));
    }

    #[test]
    fn a_page_that_is_blocked_is_told() {
        for spelling in ["policy_enforcement", "policy-enforcement"] {
            let item = json!({ "recipient": { "id": "1" }, "timestamp": NOW_MS, spelling: { "action": "block", "reason": "Spam" } });
            let read = kinds(&json!({ "object": "page", "entry": [{ "id": "1", "messaging": [item] }] }));
            let [EventKind::News(news)] = &read[..] else { panic!("{read:?}") };
            assert_eq!(news.message, "Meta has blocked this account from sending: Spam");
            assert_eq!((news.health, news.timestamp), (Some(HealthStatus::Blocked), Some(NOW_MS)));
        }
    }
}
