//! One conversation: its thread, its row in the inbox, and what operators made of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        agents::platform_of,
        history::{History, Patch, now_ms},
        protocol::Item,
        world::{self, Kind, Platform, World},
    },
    Report,
    events::story,
    shown::{Conversation, clock, event_of, millis, rfc3339},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Unread messages are counted up to here.
const UNREAD_MAX: usize = 99;

/// A conversation, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) world: &'a World,
    pub(super) history: &'a History,
    pub(super) organization: usize,
    pub(super) conversation: &'a Conversation,
    /// The ids of all conversations of the organization: others have become part of one of them.
    pub(super) listed: &'a BTreeSet<&'a str>,
}

impl<'a> Of<'a> {
    /// A thread is in order, and each message is what was delivered.
    pub(super) fn thread(self, report: &mut Report) {
        let Self { world, history, organization, conversation, .. } = self;
        let name = format!("conversation {} of {}", conversation.id(), world.organizations[organization]);
        let messages = &conversation.messages;
        let timestamp = |message: &Value| millis(&message["timestamp"]);
        let arrival = |message: &Value| millis(&message["receivedAt"]);
        if let Some(two) = messages.windows(2).find(|two| timestamp(&two[0]) < timestamp(&two[1])) {
            report.add(
                format!("{name} is not in the order of the provider's time"),
                vec![two[0].to_string(), two[1].to_string()],
            );
        }
        // More of one moment than a page has are only sorted within their pages.
        let of_one_moment =
            messages.chunk_by(|a, b| timestamp(a) == timestamp(b)).filter(|moment| moment.len() <= conversation.page);
        for moment in of_one_moment {
            if let Some(two) = moment.windows(2).find(|two| arrival(&two[0]) < arrival(&two[1])) {
                report.add(
                    format!("{name} is not in the order of arrival"),
                    vec![two[0].to_string(), two[1].to_string()],
                );
            }
        }
        for message in messages {
            let Some(index) = event_of(world, message) else { continue };
            let event = &world.events[index];
            let (direction, sender, content) = match event.kind {
                Kind::Echo => ("outbound", "operator", "text"),
                Kind::Photo => ("inbound", "customer", "image"),
                _ => ("inbound", "customer", "text"),
            };
            let text = if event.kind == Kind::Photo { Value::Null } else { event.text.as_str().into() };
            let is_as_told = message["direction"] == direction
                && message["sender"] == sender
                && message["contentType"] == content
                && message["text"] == text
                && timestamp(message).is_some_and(|at| at == event.at || Some(at) == event.also_at);
            if !is_as_told || event.kind.is_poison() {
                report.add(
                    format!("{name}: {} is not what was delivered: {message}", event.mark),
                    story(world, history, Item::Event(index)),
                );
            }
        }
    }

    /// The conversation's line in the inbox is what its messages make it.
    pub(super) fn summary(self, report: &mut Report) {
        let Self { world, history, organization, conversation, .. } = self;
        let json = &conversation.json;
        let events: Vec<(usize, &Value)> =
            conversation.messages.iter().filter_map(|message| Some((event_of(world, message)?, message))).collect();
        if !events.iter().all(|(event, _)| history.settled_at(world, *event, organization).is_some()) {
            report.in_doubt += 1;
            return;
        }
        let name = format!("conversation {} of {}", conversation.id(), world.organizations[organization]);
        let newest = conversation.newest();
        let newest_messages = conversation.messages.iter().take(4).map(|message| {
            format!(
                "{} received {} {} {}",
                message["timestamp"], message["receivedAt"], message["sender"], message["text"]
            )
        });
        let context = || -> Vec<String> {
            let mut context = vec![json.to_string(), "newest messages:".to_owned()];
            context.extend(newest_messages.clone());
            context
        };
        if newest.is_empty() {
            report.add(format!("{name} has no message"), context());
            return;
        }
        let preview = |message: &Value| match event_of(world, message) {
            Some(event) => world.events[event].preview(),
            None => world::preview(Kind::Text, message["text"].as_str().unwrap_or_default()),
        };
        let last = &json["lastMessage"];
        let is_shown = |message: &&&Value| {
            last["text"] == preview(message).as_str()
                && last["sender"] == message["sender"]
                && last["timestamp"] == message["timestamp"]
        };
        if newest.iter().find(is_shown).is_none() {
            let mut context = context();
            for message in &newest {
                if let Some(event) = event_of(world, message) {
                    context.extend(story(world, history, Item::Event(event)));
                } else {
                    let text = message["text"].as_str().unwrap_or_default();
                    let sends = history.sends.iter().filter(|send| send.texts.iter().any(|sent| sent == text));
                    context.extend(sends.map(|send| format!("{send:?}")));
                }
            }
            let previews: Vec<String> = newest.iter().map(|message| preview(message)).collect();
            report.add(format!("{name} does not preview its newest message, which is {previews:?}"), context);
        }
        let inbound = events.iter().filter(|(event, _)| world.events[*event].kind.is_from_customer());
        // Of the times that are told of one message, the first one stored counts; where they meet, another one may.
        let has_window = platform_of(json) != Platform::Website;
        let closes_at = |last: Option<i64>| last.filter(|_| has_window).map(|at| at + DAY_MS);
        let told = inbound.clone().map(|(event, _)| world.events[*event].told_at(true)).max();
        let last_inbound = inbound.clone().filter_map(|(_, message)| millis(&message["timestamp"])).max();
        let shown = millis(&json["window"]["closesAt"]);
        let (earliest, closes_at) = (closes_at(last_inbound), closes_at(told.max(last_inbound)));
        if !(earliest..=closes_at).contains(&shown) || json["window"]["open"] != shown.is_some_and(|at| at > now_ms()) {
            report.add(
                format!(
                    "{name}: the window is not a day from the customer's last message: {:?}",
                    closes_at.map(rfc3339)
                ),
                context(),
            );
        }
        if let Some((event, _)) = events
            .iter()
            .find(|(event, _)| world.events[*event].shown.phone.is_some() || world.events[*event].shown.user.is_some())
        {
            let customer = &world.customers[world.events[*event].customer];
            let phone = json["customer"]["phone"].as_str();
            // Messenger and Instagram tell no names.
            let named = match platform_of(json) {
                Platform::Whatsapp | Platform::Website => json["customer"]["name"] == customer.name.as_str(),
                Platform::Instagram | Platform::Facebook => true,
            };
            if !named || phone.is_some_and(|phone| !customer.phones.iter().any(|known| known == phone)) {
                report.add(format!("{name} shows another customer than {customer:?}"), context());
            }
        }
        let inbound: Vec<(usize, &Value)> = inbound.copied().collect();
        self.unread(&inbound, &name, report);
        self.closed(&inbound, &name, report);
    }

    /// The unread count is the number of the customer's messages since somebody read.
    fn unread(self, inbound: &[(usize, &Value)], name: &str, report: &mut Report) {
        let Self { world, history, organization, conversation, .. } = self;
        let has_several_ids = self.has_several_ids(inbound);
        let patches = self.patches(has_several_ids);
        let reads: Vec<&Patch> = patches
            .into_iter()
            .filter(|patch| patch.body["read"] == true || patch.body["readUpTo"].is_string())
            .collect();
        // Where a message stands in the thread.
        let place = |message: &Value| (millis(&message["timestamp"]), millis(&message["receivedAt"]));
        let shown = |patch: &Patch| {
            conversation.messages.iter().find(|message| message["id"] == patch.body["readUpTo"]).map(place)
        };
        // What came late above a place that was read before is read only with that place: only the furthest is certain.
        let furthest = reads.iter().filter_map(|patch| shown(patch)).max();
        let (mut at_least, mut at_most) = (0, 0);
        for (event, message) in inbound {
            let arrival = millis(&message["receivedAt"]).unwrap_or_default();
            let settled = history.settled_at(world, *event, organization).unwrap_or(i64::MAX);
            let is_read = reads.iter().any(|patch| {
                let stood_there = if patch.body["read"] == true {
                    arrival < patch.span.start
                } else {
                    shown(patch).is_some_and(|shown| {
                        let is_shown = message["id"] == patch.body["readUpTo"];
                        Some(shown) == furthest && (is_shown || place(message) < shown)
                    })
                };
                patch.status == 200 && settled < patch.span.start && stood_there
            });
            let may_be_read = reads
                .iter()
                .any(|patch| arrival <= patch.span.end && shown(patch).is_none_or(|shown| place(message) <= shown));
            at_most += usize::from(!is_read);
            at_least += usize::from(!may_be_read);
        }
        // Known: what was read in one of two conversations that became one may count again.
        if has_several_ids {
            at_most = inbound.len();
        }
        let count = conversation.json["unreadCount"]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(usize::MAX);
        let expected = at_least.min(UNREAD_MAX)..=at_most.min(UNREAD_MAX);
        if !expected.contains(&count) || conversation.json["unread"] != (count > 0) {
            let mut context = vec![conversation.json.to_string()];
            context.extend(reads.iter().map(|patch| {
                format!(
                    "{}–{} {} answered with {}",
                    clock(patch.span.start),
                    clock(patch.span.end),
                    patch.body,
                    patch.status
                )
            }));
            context.extend(inbound.iter().map(|(event, message)| {
                let settled = history.settled_at(world, *event, organization).map(clock);
                format!(
                    "{} received {} first answered with 200 {settled:?}",
                    world.events[*event].mark, message["receivedAt"]
                )
            }));
            report.add(format!("{name} counts {count} unread, and has {expected:?}"), context);
        }
    }

    /// What operators changed of the conversation; where its customer has several ids, also under ids that have become part of it (or
    /// of another one).
    fn patches(self, has_several_ids: bool) -> Vec<&'a Patch> {
        let is_about = |patch: &&Patch| {
            patch.organization == self.organization
                && (patch.conversation == self.conversation.id()
                    || has_several_ids && !self.listed.contains(patch.conversation.as_str()))
        };
        self.history.patches.iter().filter(is_about).collect()
    }

    /// Whether the customer has several ids, so that two conversations may have become one.
    fn has_several_ids(self, inbound: &[(usize, &Value)]) -> bool {
        inbound.iter().any(|(event, _)| {
            let customer = &self.world.customers[self.world.events[*event].customer];
            !customer.phones.is_empty() && customer.user.is_some()
        })
    }

    /// What was closed is open again when the customer writes, and not before.
    fn closed(self, inbound: &[(usize, &Value)], name: &str, report: &mut Report) {
        let Self { world, history, organization, conversation, .. } = self;
        if self.has_several_ids(inbound) {
            return;
        }
        let patches = self.patches(false).into_iter().filter(|patch| !patch.body["status"].is_null());
        let patches: Vec<&Patch> = patches.collect();
        let Some(last) = patches.iter().max_by_key(|patch| patch.span.start) else { return };
        let is_certain = patches.iter().all(|patch| patch.span == last.span || patch.span.end < last.span.start);
        if last.status != 200 || !is_certain {
            return;
        }
        let arrived = |message: &Value| millis(&message["receivedAt"]).unwrap_or_default();
        let wrote_since = inbound.iter().any(|(_, message)| arrived(message) > last.span.end);
        let all_before = inbound
            .iter()
            .all(|(event, _)| history.settled_at(world, *event, organization).is_some_and(|at| at < last.span.start));
        let expected = match (last.body["status"].as_str(), wrote_since, all_before) {
            (Some("closed"), false, true) => "closed",
            (Some("closed"), false, false) => return,
            _ => "open",
        };
        if conversation.json["status"] != expected {
            let context = vec![conversation.json.to_string(), format!("{last:?}")];
            report.add(format!("{name} is {}, and has to be {expected}", conversation.json["status"]), context);
        }
    }

    /// Labels and assignee are what was set last, as far as that is certain.
    pub(super) fn sorted(self, report: &mut Report) {
        let Self { history, organization, conversation, .. } = self;
        for field in ["labels", "assignedTo"] {
            let patches = history.patches.iter().filter(|patch| {
                patch.organization == organization
                    && patch.conversation == conversation.id()
                    && !patch.body[field].is_null()
            });
            let patches: Vec<&Patch> = patches.collect();
            let is_overwritten =
                |one: &&&Patch| patches.iter().any(|other| other.status == 200 && other.span.start > one.span.end);
            let mut possible: Vec<Value> =
                patches.iter().filter(|patch| !is_overwritten(patch)).map(|patch| patch.body[field].clone()).collect();
            let is_certain = patches.iter().any(|patch| patch.status == 200);
            if !is_certain {
                continue;
            }
            let found = &conversation.json[field];
            for value in &mut possible {
                if let Some(labels) = value.as_array_mut() {
                    labels.sort_by_key(Value::to_string);
                    labels.dedup();
                }
            }
            // Labels of a conversation that became part of this one are added.
            let is_possible = possible.iter().any(|value| match (value.as_array(), found.as_array()) {
                (Some(expected), Some(found)) => expected.iter().all(|label| found.contains(label)),
                _ => value == found,
            });
            if !is_possible {
                let context = patches.iter().map(|patch| format!("{patch:?}")).collect();
                report.add(
                    format!("{field} of conversation {} is {found}, and was set to {possible:?}", conversation.id()),
                    context,
                );
            }
        }
    }
}
