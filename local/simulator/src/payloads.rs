//! What is delivered to webhooks, in Meta's shapes, and what the health check says.

use serde_json::{Value, json};

use super::{
    Account, Platform,
    control::{Health, Settings},
    messages::Sent,
};

/// Smaller timestamps are seconds, others milliseconds.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// A timestamp of either unit, in milliseconds.
pub(super) fn as_millis(timestamp: i64) -> i64 {
    if timestamp < SECONDS_BELOW { timestamp * 1000 } else { timestamp }
}

pub(super) fn seconds(millis: i64) -> String {
    (millis / 1000).to_string()
}

/// The envelope of `WhatsApp`, around `contacts` and `messages`, `statuses` or `calls`.
pub(super) fn whatsapp(account_id: &str, content: &Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": display_phone_number(account_id), "phone_number_id": account_id },
    });
    for (name, part) in content.as_object().into_iter().flatten() {
        value[name] = part.clone();
    }
    let field = if content.get("calls").is_some() { "calls" } else { "messages" };
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": format!("waba_{account_id}"), "changes": [{ "field": field, "value": value }] }],
    })
}

/// The envelope of Messenger and Instagram.
pub(super) fn messaging(platform: Platform, account_id: &str, at: i64, item: &Value) -> Value {
    let object = if platform == Platform::Instagram { "instagram" } else { "page" };
    json!({ "object": object, "entry": [{ "id": account_id, "time": at, "messaging": [item] }] })
}

/// A number that looks like one, the same for the same account.
pub(super) fn display_phone_number(account_id: &str) -> String {
    let digits: String = account_id.chars().filter(char::is_ascii_digit).collect();
    format!("1555{:0>7}", &digits[digits.len().saturating_sub(7)..])
}

/// The statuses that a platform tells of.
pub(super) fn statuses(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Whatsapp => &["sent", "delivered", "read", "failed"],
        Platform::Facebook => &["sent", "delivered", "read"],
        Platform::Instagram => &["sent", "read"],
    }
}

/// What the platform delivers when a message gets this status; `None` where it delivers nothing.
pub(super) fn status(sent: &Sent, status: &str, at: i64, errors: Option<Value>) -> Option<Value> {
    let account = &sent.account;
    let from_us = json!({ "sender": { "id": account.id }, "recipient": { "id": sent.to }, "timestamp": at });
    let from_customer = json!({ "sender": { "id": sent.to }, "recipient": { "id": account.id }, "timestamp": at });
    let (mut item, part, content) = match (account.platform, status) {
        (Platform::Whatsapp, _) => return Some(whatsapp_status(sent, status, at, errors)),
        (platform, "sent") => {
            let mut echo = json!({ "mid": sent.id, "is_echo": true });
            if let Some(text) = &sent.text {
                echo["text"] = text.as_str().into();
            }
            if let (Platform::Facebook, Some(metadata)) = (platform, &sent.callback_data) {
                echo["metadata"] = metadata.as_str().into();
                echo["app_id"] = 2_233_445_566_u64.into();
            }
            (from_us, "message", echo)
        }
        (Platform::Facebook, "delivered") => (from_customer, "delivery", json!({ "mids": [sent.id], "watermark": at })),
        (Platform::Facebook, "read") => (from_customer, "read", json!({ "watermark": at })),
        (Platform::Instagram, "read") => (from_customer, "read", json!({ "mid": sent.id })),
        _ => return None,
    };
    item[part] = content;
    Some(messaging(account.platform, &account.id, at, &item))
}

fn whatsapp_status(sent: &Sent, status: &str, at: i64, errors: Option<Value>) -> Value {
    let mut update = json!({ "id": sent.id, "status": status, "timestamp": seconds(at), "recipient_id": sent.to });
    if let Some(data) = &sent.callback_data {
        update["biz_opaque_callback_data"] = data.as_str().into();
    }
    if status == "failed" {
        update["errors"] = errors.unwrap_or_else(|| {
            json!([{
                "code": 131_026, "title": "Message undeliverable", "message": "Message undeliverable",
                "error_data": { "details": "Message Undeliverable." },
            }])
        });
        return whatsapp(&sent.account.id, &json!({ "statuses": [update] }));
    }
    if status == "sent" || status == "delivered" {
        update["pricing"] = json!({ "billable": false, "pricing_model": "PMP", "type": "free_customer_service", "category": "service" });
    }
    let contact = json!({ "profile": {}, "wa_id": sent.to });
    whatsapp(&sent.account.id, &json!({ "contacts": [contact], "statuses": [update] }))
}

/// The answer to `GET /health_status`.
pub(super) fn health(account: &Account, settings: &Settings, fields: &str) -> Value {
    let health = settings.health;
    let first = match account.platform {
        Platform::Whatsapp => "PHONE_NUMBER",
        Platform::Instagram => "INSTAGRAM_ACCOUNT",
        Platform::Facebook => "PAGE",
    };
    if account.platform != Platform::Whatsapp && !settings.names_accounts {
        return json!({ "health_status": { "can_send_message": health, "entities": [] } });
    }
    let mut entities = vec![json!({ "entity_type": first, "id": account.id, "can_send_message": health })];
    match health {
        Health::Available => {}
        Health::Limited => {
            entities[0]["additional_info"] = json!(["Your display name has not been approved yet."]);
        }
        Health::Blocked => {
            entities[0]["errors"] = json!([{
                "error_code": 141_006, "error_description": "There is an error with the payment method.",
                "possible_solution": "Please add a new payment method to the account.",
            }]);
        }
    }
    if account.platform == Platform::Whatsapp {
        let available = Health::Available;
        let waba = format!("waba_{}", account.id);
        entities.push(json!({ "entity_type": "WABA", "id": waba, "can_send_message": available }));
        entities.push(json!({ "entity_type": "BUSINESS", "id": "500100200300400", "can_send_message": available }));
        entities.push(json!({ "entity_type": "APP", "id": "300100200300499", "can_send_message": available }));
    }
    let mut answer = json!({ "health_status": { "can_send_message": health, "entities": entities } });
    if account.platform == Platform::Whatsapp {
        answer["id"] = account.id.as_str().into();
        for field in fields.split(',') {
            match field {
                "display_phone_number" => answer[field] = format!("+{}", display_phone_number(&account.id)).into(),
                "verified_name" => answer[field] = "Simulated business".into(),
                "quality_rating" => answer[field] = "GREEN".into(),
                _ => {}
            }
        }
    }
    answer
}

/// What `graph.facebook.com` says of a page's token.
pub(super) fn page(page: &Account, fields: &str) -> Value {
    let mut answer = json!({ "id": page.id });
    for field in fields.split(',') {
        match field {
            "name" => answer[field] = "Simulated page".into(),
            "instagram_business_account" => answer[field] = json!({ "id": page.id }),
            _ => {}
        }
    }
    answer
}

/// What `graph.instagram.com` says of the token of a login. `id` is known to the app alone, `user_id` is what webhooks carry.
pub(super) fn instagram_login(account: &Account, fields: &str) -> Value {
    let mut answer = json!({ "id": format!("9{}", account.id) });
    for field in fields.split(',') {
        match field {
            "user_id" => answer[field] = account.id.as_str().into(),
            "username" => answer[field] = "simulated".into(),
            _ => {}
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(platform: Platform) -> Sent {
        Sent {
            account: Account { platform, id: "1001".to_owned() },
            id: "m1".to_owned(),
            to: "73".to_owned(),
            text: Some("Hi".to_owned()),
            callback_data: Some("c.m".to_owned()),
            ..Sent::default()
        }
    }

    #[test]
    fn statuses_take_each_platforms_form() {
        let whatsapp = status(&sent(Platform::Whatsapp), "delivered", 1_767_877_200_123, None).unwrap();
        let update = &whatsapp["entry"][0]["changes"][0]["value"]["statuses"][0];
        assert_eq!(update["biz_opaque_callback_data"], "c.m");
        assert_eq!(update["status"], "delivered");

        let item = |platform, name| {
            status(&sent(platform), name, 5, None).map(|body| body["entry"][0]["messaging"][0].clone())
        };
        let echo = item(Platform::Facebook, "sent").unwrap();
        assert_eq!(echo["sender"]["id"], "1001");
        assert_eq!(echo["message"]["metadata"], "c.m");
        assert_eq!(
            item(Platform::Facebook, "delivered").unwrap()["delivery"],
            json!({ "mids": ["m1"], "watermark": 5 })
        );
        assert_eq!(item(Platform::Facebook, "read").unwrap()["read"], json!({ "watermark": 5 }));
        assert_eq!(item(Platform::Instagram, "sent").unwrap()["message"]["metadata"], Value::Null);
        assert_eq!(item(Platform::Instagram, "delivered"), None);
        for platform in [Platform::Whatsapp, Platform::Facebook, Platform::Instagram] {
            for name in ["sent", "delivered", "read", "failed"] {
                let is_told = status(&sent(platform), name, 5, None).is_some();
                assert_eq!(is_told, statuses(platform).contains(&name), "{platform:?} {name}");
            }
        }
        assert_eq!(item(Platform::Instagram, "read").unwrap()["read"], json!({ "mid": "m1" }));
    }

    #[test]
    fn health_names_the_account() {
        let account = Account { platform: Platform::Whatsapp, id: "1001".to_owned() };

        let limited = Settings { health: Health::Limited, ..Settings::default() };
        let answer = health(&account, &limited, "health_status,id,display_phone_number");

        assert_eq!(answer["id"], "1001");
        assert_eq!(answer["display_phone_number"], "+15550001001");
        let entities = &answer["health_status"]["entities"];
        assert_eq!(entities[0]["entity_type"], "PHONE_NUMBER");
        assert_eq!(entities[0]["can_send_message"], "LIMITED");
        assert_eq!(entities[1]["id"], "waba_1001");
    }
}
