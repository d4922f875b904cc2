//! Every message that operators asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        history::{History, Outcome, Send, Told},
        protocol::Item,
        world::{Platform, World},
    },
    Report,
    events::story,
    shown::{Conversation, Shown, clock, event_of},
};

/// Every message that operators asked for was sent at most once, and its stored state is true.
pub(super) fn sends(world: &World, history: &History, shown: &[Shown], report: &mut Report) {
    for send in &history.sends {
        let accepted: Vec<usize> =
            (0..history.accepted.len()).filter(|index| send.texts.contains(&history.accepted[*index].text)).collect();
        let stored: Vec<(&Conversation, &Value)> = shown[send.organization]
            .conversations
            .iter()
            .flat_map(|conversation| conversation.messages.iter().map(move |message| (conversation, message)))
            .filter(|(_, message)| send.texts.iter().any(|text| message["text"] == text.as_str()))
            .collect();
        let mut context: Vec<String> = vec![format!("{} {} in {}", send.key, send.texts[0], send.conversation)];
        context.extend(send.told.iter().map(|told| {
            let Told { span, text, status, code, shown } = told;
            format!(
                "{}–{} asked with text {text}, answered with {status} {code} {shown}",
                clock(span.start),
                clock(span.end)
            )
        }));
        for index in &accepted {
            let message = &history.accepted[*index];
            context.push(format!("accepted as {} to {} for {:?}", message.id, message.to, message.callback_data));
            for (status, (name, _)) in message.statuses.iter().enumerate() {
                context.extend(
                    story(world, history, Item::Status(*index, status))
                        .into_iter()
                        .map(|line| format!("status {name}: {line}")),
                );
            }
        }
        context.extend(stored.iter().map(|(_, message)| format!("stored as {message}")));
        if let Some(what) = send_is_wrong(world, history, send, &accepted, &stored) {
            report.add(what, context);
        }
    }
}

fn send_is_wrong(
    world: &World,
    history: &History,
    send: &Send,
    accepted: &[usize],
    stored: &[(&Conversation, &Value)],
) -> Option<String> {
    let key = &send.key;
    let answered = |status: u16| send.told.iter().any(|told| told.status == status);
    if accepted.len() > 1 {
        return Some(format!("the provider accepted {} messages for one key, {key}", accepted.len()));
    }
    if stored.len() > 1 {
        return Some(format!("{} messages are stored for one key, {key}", stored.len()));
    }
    if send.is_note {
        return if !accepted.is_empty() {
            Some(format!("the internal note {key} left the house"))
        } else if answered(201) && stored.is_empty() {
            Some(format!("the internal note {key} is lost"))
        } else {
            None
        };
    }
    let Some((conversation, message)) = stored.first() else {
        return if !accepted.is_empty() {
            Some(format!("{key} was sent and is not in the thread"))
        } else if answered(201)
            || answered(202)
            || answered(422) && send.told.iter().any(|told| told.code == "PROVIDER_REJECTED")
        {
            Some(format!("{key} was answered, and is not in the thread"))
        } else {
            None
        };
    };
    let status = message["status"].as_str().unwrap_or_default();
    let rank = |status: &str| {
        ["sending", "unknown", "accepted", "sent", "failed", "delivered", "read"]
            .iter()
            .position(|name| *name == status)
    };
    let said_failed =
        send.told.iter().any(|told| matches!(told.code.as_str(), "PROVIDER_REJECTED" | "PROVIDER_UNAVAILABLE"));
    let Some(index) = accepted.first() else {
        if answered(201) {
            return Some(format!("{key} was answered with 201, and the provider never accepted it"));
        }
        return match status {
            "failed" => None,
            // A function that ended before it asked the provider, or before it knew the answer.
            "sending" | "unknown" if !said_failed => None,
            _ => Some(format!("{key} is {status}, and the provider never accepted it")),
        };
    };
    let taken = &history.accepted[*index];
    if said_failed {
        return Some(format!("{key} was answered as certainly not sent, and the provider accepted it"));
    }
    let platform = world.accounts[taken.account].platform;
    let to_customer = conversation
        .messages
        .iter()
        .find_map(|message| event_of(world, message))
        .map(|event| &world.customers[world.events[event].customer]);
    if let Some(customer) = to_customer
        && !customer.phones.contains(&taken.to)
        && customer.user.as_ref() != Some(&taken.to)
    {
        return Some(format!("{key} went to {} and not to {customer:?}", taken.to));
    }
    // Statuses that came while the organization had the account.
    let stored = BTreeSet::from([Outcome::Stored(send.organization)]);
    let came = |index: usize| {
        let attempts = history.attempts_at(world, Item::Status(accepted[0], index));
        attempts.iter().any(|(attempt, outcomes)| attempt.is_taken() && *outcomes == stored)
    };
    let statuses = taken.statuses.iter().enumerate();
    let came: Vec<&str> = statuses.filter(|(index, _)| came(*index)).map(|(_, (name, _))| *name).collect();
    let mut least = if answered(201) { "accepted" } else { "sending" };
    let is_named = platform == Platform::Whatsapp || answered(201) || came.contains(&"sent");
    for name in &came {
        // Messenger and Instagram tell how far the customer has read, which says nothing of a message of which nobody knows.
        if (is_named || *name == "sent") && rank(name) > rank(least) {
            least = name;
        }
    }
    if rank(status) < rank(least) {
        return Some(format!("{key} is {status}, and {came:?} came: at least {least}"));
    }
    let most = taken
        .statuses
        .iter()
        .map(|(name, _)| *name)
        .chain(["accepted"])
        .max_by_key(|name| rank(name))
        .unwrap_or_default();
    if platform == Platform::Whatsapp && rank(status) > rank(most) {
        return Some(format!("{key} is {status}, and no more than {most} was ever reported"));
    }
    if status == "failed" && !taken.statuses.iter().any(|(name, _)| *name == "failed") {
        return Some(format!("{key} is failed, and the provider accepted it"));
    }
    None
}
