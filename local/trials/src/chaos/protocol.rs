//! Deliveries as the provider writes them: many events and statuses of several accounts of one platform in one body.

use serde_json::{Value, json};

use super::world::{Event, Kind, Platform, World};

/// What a delivery tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// An event of the world, by index.
    Event(usize),
    /// A status of a message that the provider accepted: its index among the accepted, and its index in the plan for it.
    Status(usize, usize),
}

/// A message that the provider accepted.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) account: usize,
    /// The provider's id.
    pub(super) id: String,
    pub(super) to: String,
    pub(super) text: String,
    pub(super) callback_data: Option<String>,
    /// What its statuses will be, in the order in which they are delivered, epoch milliseconds.
    pub(super) statuses: Vec<(&'static str, i64)>,
}

/// An account that nobody has.
const NOBODYS: &str = "799999999999";

/// The body of a delivery; all items are of `platform`. What is told again may have another time.
pub(super) fn body(world: &World, accepted: &[Accepted], platform: Platform, items: &[Item], is_again: bool) -> String {
    if let [Item::Event(event)] = items
        && world.events[*event].kind == Kind::NotJson
    {
        return format!("{{ not json {}", world.events[*event].mark);
    }
    let account_of = |item: &Item| match item {
        Item::Event(event) => world.events[*event].account,
        Item::Status(message, _) => Some(accepted[*message].account),
    };
    let mut accounts: Vec<Option<usize>> = items.iter().map(account_of).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let entries: Vec<Value> = accounts
        .into_iter()
        .map(|account| {
            let id = account.map_or(NOBODYS, |account| &world.accounts[account].id);
            let items = items.iter().filter(|item| account_of(item) == account);
            match platform {
                Platform::Whatsapp | Platform::Website => whatsapp(world, accepted, id, items, is_again),
                Platform::Instagram | Platform::Facebook => meta(world, accepted, platform, id, items, is_again),
            }
        })
        .collect();
    let object = match platform {
        Platform::Whatsapp | Platform::Website => "whatsapp_business_account",
        Platform::Instagram => "instagram",
        Platform::Facebook => "page",
    };
    json!({ "object": object, "entry": entries }).to_string()
}

fn whatsapp<'a>(
    world: &World,
    accepted: &[Accepted],
    id: &str,
    items: impl Iterator<Item = &'a Item>,
    is_again: bool,
) -> Value {
    let metadata = json!({ "display_phone_number": "15550001001", "phone_number_id": id });
    let (mut contacts, mut messages, mut echoes, mut statuses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut changes = Vec::new();
    for item in items {
        let event = match item {
            Item::Status(message, status) => {
                statuses.push(whatsapp_status(&accepted[*message], *status));
                continue;
            }
            Item::Event(event) => &world.events[*event],
        };
        if event.kind == Kind::Unnamed {
            let value = json!({ "messaging_product": "whatsapp", "metadata": metadata, "surprise": event.mark });
            changes.push(json!({ "field": "messages", "value": value }));
            continue;
        }
        // A contact shows one id: together they would tell that both are one person.
        let contact = match (&event.shown.phone, &event.shown.user) {
            (Some(phone), _) => json!({ "wa_id": phone, "profile": { "name": world.customers[event.customer].name } }),
            (None, user) => json!({ "user_id": user, "profile": { "name": world.customers[event.customer].name } }),
        };
        if !event.kind.is_poison() && !contacts.contains(&contact) {
            contacts.push(contact);
        }
        match event.kind {
            Kind::Echo => echoes.push(whatsapp_message(event, "to", "to_user_id", is_again)),
            Kind::NotObject => messages.push(json!(event.mark)),
            _ => messages.push(whatsapp_message(event, "from", "from_user_id", is_again)),
        }
        if let Some(target) = anothers(world, event) {
            let mut forged = whatsapp_message(event, "from", "from_user_id", is_again);
            forged["id"] = format!("{}.forged", event.id).into();
            forged["type"] = "revoke".into();
            forged["text"].take();
            forged["revoke"] = json!({ "original_message_id": target.id });
            messages.push(forged);
        }
    }
    let mut value = json!({ "messaging_product": "whatsapp", "metadata": metadata });
    let parts = [("contacts", contacts), ("messages", messages), ("message_echoes", echoes), ("statuses", statuses)];
    for (name, items) in parts {
        if !items.is_empty() {
            value[name] = items.into();
        }
    }
    if value.as_object().is_some_and(|value| value.len() > 2) {
        changes.push(json!({ "field": "messages", "value": value }));
    }
    json!({ "id": format!("waba_{id}"), "changes": changes })
}

/// A message of another customer of the account, which somebody who writes now and then tries to take back: that must change nothing.
fn anothers<'a>(world: &'a World, event: &Event) -> Option<&'a Event> {
    const ONE_OF: usize = 8;
    let is_forger =
        event.kind == Kind::Text && event.mark.len().is_multiple_of(2) && event.text.len().is_multiple_of(ONE_OF);
    let is_anothers =
        |other: &&Event| other.account == event.account && other.customer != event.customer && !other.kind.is_poison();
    world.events.iter().filter(|_| is_forger && event.account.is_some()).find(is_anothers)
}

fn whatsapp_message(event: &Event, phone_key: &str, user_key: &str, is_again: bool) -> Value {
    let mut message = json!({ "timestamp": (event.told_at(is_again) / 1000).to_string() });
    if event.kind == Kind::WithoutId {
        message["surprise"] = event.mark.as_str().into();
    } else {
        message["id"] = event.id.as_str().into();
    }
    if let Some(phone) = &event.shown.phone {
        message[phone_key] = phone.as_str().into();
    }
    if let Some(user) = &event.shown.user {
        message[user_key] = user.as_str().into();
    }
    if event.kind == Kind::Photo {
        message["type"] = "image".into();
        message["image"] = json!({ "id": event.mark, "mime_type": "image/jpeg" });
    } else {
        message["type"] = "text".into();
        message["text"] = json!({ "body": event.text });
    }
    message
}

fn whatsapp_status(message: &Accepted, status: usize) -> Value {
    let (name, at) = message.statuses[status];
    let mut update = json!({
        "id": message.id, "status": name, "timestamp": (at / 1000).to_string(), "recipient_id": message.to,
        "biz_opaque_callback_data": message.callback_data,
    });
    if name == "failed" {
        update["errors"] = json!([{ "code": 131_026, "title": "Message undeliverable" }]);
    }
    update
}

fn meta<'a>(
    world: &World,
    accepted: &[Accepted],
    platform: Platform,
    id: &str,
    items: impl Iterator<Item = &'a Item>,
    is_again: bool,
) -> Value {
    let mut last = 0;
    let mut messaging: Vec<Value> = Vec::new();
    for item in items {
        match item {
            Item::Status(message, status) => {
                last = accepted[*message].statuses[*status].1;
                messaging.push(meta_status(&accepted[*message], platform, id, *status));
            }
            Item::Event(event) => {
                let event = &world.events[*event];
                last = event.at;
                messaging.push(meta_message(event, id, is_again));
                if let Some(target) = anothers(world, event) {
                    let mut forged = meta_message(event, id, is_again);
                    forged["message"].take();
                    forged["message_edit"] = json!({ "mid": target.id, "text": "forged", "num_edit": 1 });
                    messaging.push(forged);
                }
            }
        }
    }
    json!({ "id": id, "time": last, "messaging": messaging })
}

fn meta_message(event: &Event, account: &str, is_again: bool) -> Value {
    let customer = event.shown.user.as_deref().unwrap_or_default();
    let (from, to) = if event.kind == Kind::Echo { (account, customer) } else { (customer, account) };
    let mut item = json!({ "sender": { "id": from }, "recipient": { "id": to }, "timestamp": event.told_at(is_again) });
    match event.kind {
        Kind::NotObject => return json!(event.mark),
        Kind::Unnamed => item["surprise"] = event.mark.as_str().into(),
        Kind::WithoutId => item["message"] = json!({ "text": event.text }),
        Kind::Photo => {
            let attachment =
                json!({ "type": "image", "payload": { "url": format!("https://example.com/{}", event.mark) } });
            item["message"] = json!({ "mid": event.id, "attachments": [attachment] });
        }
        Kind::Echo => item["message"] = json!({ "mid": event.id, "text": event.text, "is_echo": true }),
        Kind::Text | Kind::NotJson => item["message"] = json!({ "mid": event.id, "text": event.text }),
    }
    item
}

fn meta_status(message: &Accepted, platform: Platform, account: &str, status: usize) -> Value {
    let (name, at) = message.statuses[status];
    let (from, to) = if name == "sent" { (account, message.to.as_str()) } else { (message.to.as_str(), account) };
    let mut item = json!({ "sender": { "id": from }, "recipient": { "id": to }, "timestamp": at });
    match (name, platform) {
        ("sent", _) => {
            item["message"] = json!({ "mid": message.id, "is_echo": true, "text": message.text });
            if platform == Platform::Facebook {
                item["message"]["metadata"] = message.callback_data.as_deref().into();
            }
        }
        ("delivered", _) => item["delivery"] = json!({ "mids": [message.id], "watermark": at }),
        (_, Platform::Instagram) => item["read"] = json!({ "mid": message.id }),
        _ => item["read"] = json!({ "watermark": at }),
    }
    item
}
