//! Compares what the API says with what happened. Everything is recomputed from the messages; only quarantine is read from the table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    history::{Attempt, History, Outcome, Owner, Patch, Send, Told, now_ms},
    people::{self, platform_of},
    scene::Scene,
    wire::Item,
    world::{self, Kind, Platform, World},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Unread messages are counted up to here.
const UNREAD_MAX: usize = 99;
/// The largest page.
const PAGE_MAX: usize = 100;

/// Something that is not as it has to be.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// What, in a sentence.
    pub(super) what: String,
    /// How it came to that.
    pub(super) history: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) conversations: u64,
    /// Conversations with messages of which nobody knows whether they were answered with 200 while the account was connected.
    pub(super) in_doubt: u64,
}

/// Everything that an organization can see.
struct Shown {
    conversations: Vec<Conversation>,
}

struct Conversation {
    json: Value,
    /// Newest first.
    messages: Vec<Value>,
    /// How many a page of the messages had.
    page: usize,
}

impl Conversation {
    fn id(&self) -> &str {
        self.json["id"].as_str().unwrap_or_default()
    }

    /// The newest message that is no note: of one moment, the one that arrived last. Several only where they arrived within one
    /// millisecond and stand on several pages, which are sorted each for itself.
    fn newest(&self) -> Vec<&Value> {
        let messages: Vec<&Value> = self.messages.iter().filter(|message| message["type"] != "internal_note").collect();
        let moment = |message: &Value| (millis(&message["timestamp"]), millis(&message["receivedAt"]));
        let last = messages.iter().map(|message| moment(message)).max();
        let mut newest: Vec<&Value> =
            messages.iter().filter(|message| Some(moment(message)) == last).copied().collect();
        let of_one_time =
            messages.iter().filter(|message| Some(moment(message).0) == last.map(|(time, _)| time)).count();
        if of_one_time <= self.page {
            newest.truncate(1);
        }
        newest
    }
}

/// Where an event was found.
#[derive(Default)]
struct Places {
    /// Organization and conversation, once for each time it was found.
    threads: Vec<(usize, String)>,
    in_quarantine: bool,
}

pub(super) async fn run(scene: &Arc<Scene>, began: i64) -> Report {
    let mut report = Report::default();
    let world = &scene.world;
    let random = &mut world::random(world.seed, "check");
    let mut shown = Vec::new();
    for organization in 0..world.organizations.len() {
        match read(scene, organization, random, &mut report).await {
            Ok(everything) => shown.push(everything),
            Err(problem) => {
                report.add(format!("{} cannot be read: {problem}", world.organizations[organization]), Vec::new());
                return report;
            }
        }
    }
    let mut days = BTreeSet::from([day(began), day(now_ms())]);
    days.insert(day(now_ms() - 1000));
    let mut quarantined = BTreeSet::new();
    for day in days {
        for (_, raw) in scene.driver.quarantine(&day).await {
            quarantined.extend(marks(&String::from_utf8_lossy(&raw)));
        }
    }
    {
        let history = scene.history();
        for wrong in &history.wrongs {
            report.add(wrong.clone(), Vec::new());
        }
        let places = places(world, &shown, &quarantined, &mut report);
        events(world, &history, &places, &mut report);
        groups(world, &places, &mut report);
        for (organization, shown) in shown.iter().enumerate() {
            let listed: BTreeSet<&str> = shown.conversations.iter().map(Conversation::id).collect();
            for conversation in &shown.conversations {
                let of = Of { world, history: &history, organization, conversation, listed: &listed };
                of.thread(&mut report);
                of.summary(&mut report);
                of.sorted(&mut report);
            }
        }
        sends(world, &history, &shown, &mut report);
    }
    integrations(scene, &mut report).await;
    reading(scene, &shown, random, &mut report).await;
    // The smallest first.
    report.findings.sort_by_key(|finding| finding.what.len() + finding.history.iter().map(String::len).sum::<usize>());
    report
}

impl Report {
    fn add(&mut self, what: String, history: Vec<String>) {
        self.findings.push(Finding { what, history });
    }
}

fn day(at: i64) -> String {
    rfc3339(at).chars().take(10).collect()
}

fn rfc3339(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Epoch milliseconds of a time in an answer.
fn millis(value: &Value) -> Option<i64> {
    let at = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The marks in a text, as they are.
fn marks(text: &str) -> Vec<String> {
    let begins = text.match_indices('«').filter_map(|(at, _)| {
        let end = text[at..].find('»')?;
        Some(text[at..at + end + '»'.len_utf8()].to_owned())
    });
    begins.collect()
}

/// The event that a message shows.
fn event_of(world: &World, message: &Value) -> Option<usize> {
    // The text, or the id or URL of a photo.
    let shows = [&message["text"], &message["content"]["id"], &message["content"]["url"]];
    let mark = shows.into_iter().find_map(|text| marks(text.as_str()?).into_iter().next())?;
    let (seed, number) = mark.trim_matches(['«', '»']).split_once('.')?;
    if seed != world.seed.to_string() {
        return None;
    }
    let number = number.parse().ok()?;
    (number < world.events.len()).then_some(number)
}

/// All pages of a list.
async fn list(scene: &Scene, organization: usize, path: &str, limit: usize) -> Result<Vec<Value>, String> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = format!("{path}{separator}limit={limit}{cursor}");
        let answer = scene.api(organization, "operator", "GET", &page, None, &Value::Null).await;
        if answer.status != 200 {
            return Err(format!("GET {page} was answered with {}: {}", answer.status, answer.text));
        }
        let data = &answer.json["data"];
        let found = data["items"].as_array().cloned().unwrap_or_default();
        items.extend(found);
        match data["pagination"]["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
        if items.len() > 100_000 {
            return Err(format!("GET {path} has no end"));
        }
    }
}

/// What a filter of the inbox lets through.
type Matches = fn(&Value) -> bool;

/// Reads everything of an organization, and compares its lists with each other.
async fn read(
    scene: &Scene,
    organization: usize,
    random: &mut fastrand::Rng,
    report: &mut Report,
) -> Result<Shown, String> {
    let all = list(scene, organization, "conversations", random.usize(1..=PAGE_MAX)).await?;
    let name = &scene.world.organizations[organization];
    let position = |item: &Value| (millis(&item["lastMessage"]["timestamp"]), item["id"].as_str().map(str::to_owned));
    if !all.is_sorted_by(|a, b| position(a) > position(b)) {
        let positions: Vec<_> = all.iter().map(position).collect();
        report.add(
            format!("the inbox of {name} is not sorted, or shows something twice"),
            vec![format!("{positions:?}")],
        );
    }
    let filters: [(&str, Matches); 8] = [
        ("channel=whatsapp", |item| platform_of(item) == Platform::Whatsapp),
        ("channel=instagram", |item| platform_of(item) == Platform::Instagram),
        ("channel=facebook", |item| platform_of(item) == Platform::Facebook),
        ("channel=social", |item| matches!(platform_of(item), Platform::Instagram | Platform::Facebook)),
        ("channel=website", |item| platform_of(item) == Platform::Website),
        ("unread=true", |item| item["unread"] == true),
        ("status=open", |item| item["status"] == "open"),
        ("status=closed", |item| item["status"] == "closed"),
    ];
    let id = |item: &Value| item["id"].as_str().unwrap_or_default().to_owned();
    for (filter, matches) in filters {
        let filtered =
            list(scene, organization, &format!("conversations?{filter}"), random.usize(1..=PAGE_MAX)).await?;
        let expected: Vec<String> = all.iter().filter(|item| matches(item)).map(id).collect();
        let found: Vec<String> = filtered.iter().map(id).collect();
        if found != expected {
            report.add(
                format!("the inbox of {name} with {filter} is not what the whole inbox has of it"),
                vec![format!("expected {expected:?}"), format!("found {found:?}")],
            );
        }
    }
    let mut conversations = Vec::new();
    for json in all {
        if random.u8(0..4) == 0 {
            let path = format!("conversations/{}", id(&json));
            let alone = scene.api(organization, "operator", "GET", &path, None, &Value::Null).await;
            if alone.json["data"] != json {
                let both = vec![alone.text, json.to_string()];
                report.add(format!("conversation {} of {name} is another alone than in the inbox", id(&json)), both);
            }
        }
        let page = random.usize(1..=PAGE_MAX);
        let messages = list(scene, organization, &format!("conversations/{}/messages", id(&json)), page).await?;
        conversations.push(Conversation { json, messages, page });
        report.conversations += 1;
    }
    Ok(Shown { conversations })
}

/// Where each event is.
fn places(world: &World, shown: &[Shown], quarantined: &BTreeSet<String>, report: &mut Report) -> Vec<Places> {
    let mut places: Vec<Places> = world.events.iter().map(|_| Places::default()).collect();
    for (event, places) in world.events.iter().zip(&mut places) {
        places.in_quarantine = quarantined.contains(&event.mark);
    }
    for (organization, shown) in shown.iter().enumerate() {
        for conversation in &shown.conversations {
            let mut ids = BTreeSet::new();
            for message in &conversation.messages {
                if !ids.insert(message["id"].as_str()) {
                    report.add(format!("a thread shows a message twice: {message}"), Vec::new());
                }
                if let Some(event) = event_of(world, message) {
                    places[event].threads.push((organization, conversation.id().to_owned()));
                }
            }
        }
    }
    places
}

/// What happened to an item, for people.
fn story(world: &World, history: &History, item: Item) -> Vec<String> {
    let attempts = history.attempts_at(world, item).into_iter().map(|(attempt, outcomes)| {
        let Attempt { proof, span, status } = attempt;
        format!(
            "{}–{} delivered with {proof:?}, answered with {status}: may be {outcomes:?}",
            clock(span.start),
            clock(span.end)
        )
    });
    let mut story: Vec<String> = attempts.collect();
    if let Item::Event(event) = item {
        story.insert(0, format!("{:?}", world.events[event]));
    }
    story
}

/// The time of day, to the millisecond.
fn clock(at: i64) -> String {
    rfc3339(at).chars().skip(11).take(12).collect()
}

/// Every event that was answered with 200 is where it has to be, once, and nowhere else.
fn events(world: &World, history: &History, places: &[Places], report: &mut Report) {
    for (index, (event, places)) in world.events.iter().zip(places).enumerate() {
        let attempts = history.attempts_at(world, Item::Event(index));
        let mut add = |what: String| report.add(what, story(world, history, Item::Event(index)));
        let is_at = |outcome: &Outcome| match outcome {
            Outcome::Stored(organization) => places.threads.iter().any(|(found, _)| found == organization),
            Outcome::Quarantined => places.in_quarantine,
            Outcome::Ignored => true,
        };
        for (attempt, outcomes) in &attempts {
            if attempt.is_taken() && !outcomes.iter().any(is_at) {
                add(format!("lost: {} was answered with 200 and is not where it has to be: {outcomes:?}", event.mark));
                break;
            }
        }
        let mut organizations: Vec<usize> = places.threads.iter().map(|(organization, _)| *organization).collect();
        organizations.sort_unstable();
        if organizations.windows(2).any(|two| two[0] == two[1]) {
            add(format!("doubled: {} is there more than once: {:?}", event.mark, places.threads));
        }
        for organization in organizations {
            let may = attempts.iter().any(|(_, outcomes)| outcomes.contains(&Outcome::Stored(organization)));
            if !may {
                add(format!("foreign: {} is in {} and cannot be", event.mark, world.organizations[organization]));
            }
        }
        if places.in_quarantine && !attempts.iter().any(|(_, outcomes)| outcomes.contains(&Outcome::Quarantined)) {
            add(format!("{} is in quarantine although nothing was wrong with it", event.mark));
        }
    }
}

/// The ids of a customer, each with its account.
type Ids = BTreeSet<(usize, String)>;

/// One conversation for each customer: ids that were shown together once are one customer.
fn groups(world: &World, places: &[Places], report: &mut Report) {
    for organization in 0..world.organizations.len() {
        let mut groups: Vec<(Ids, Vec<usize>)> = Vec::new();
        for (index, (event, places)) in world.events.iter().zip(places).enumerate() {
            let Some(account) = event.account else { continue };
            if !places.threads.iter().any(|(found, _)| *found == organization) {
                continue;
            }
            // One number has several spellings.
            let phone = event.shown.phone.as_ref().map(|_| world.customers[event.customer].phones[0].clone());
            let ids = phone.into_iter().chain(event.shown.user.clone()).map(|id| (account, id));
            let mut united = (ids.collect::<Ids>(), vec![index]);
            let (same, others) = groups.into_iter().partition(|(ids, _)| !ids.is_disjoint(&united.0));
            groups = others;
            for (ids, indexes) in same {
                united.0.extend(ids);
                united.1.extend(indexes);
            }
            groups.push(united);
        }
        let conversations_of = |indexes: &[usize]| -> BTreeSet<String> {
            let threads = indexes.iter().flat_map(|index| &places[*index].threads);
            threads.filter(|(found, _)| *found == organization).map(|(_, conversation)| conversation.clone()).collect()
        };
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for (group, (ids, indexes)) in groups.iter().enumerate() {
            let conversations = conversations_of(indexes);
            if conversations.len() != 1 {
                report.add(
                    format!("one customer of {} has several conversations", world.organizations[organization]),
                    vec![format!("ids {ids:?}"), format!("conversations {conversations:?}")],
                );
            }
            for conversation in conversations {
                if let Some(other) = taken.insert(conversation.clone(), group) {
                    report.add(
                        format!("two customers of {} share a conversation", world.organizations[organization]),
                        vec![conversation, format!("{ids:?}"), format!("{:?}", groups[other].0)],
                    );
                }
            }
        }
    }
}

/// A conversation, and what is known of it.
#[derive(Clone, Copy)]
struct Of<'a> {
    world: &'a World,
    history: &'a History,
    organization: usize,
    conversation: &'a Conversation,
    /// The ids of all conversations of the organization: others have become part of one of them.
    listed: &'a BTreeSet<&'a str>,
}

impl<'a> Of<'a> {
    /// A thread is in order, and each message is what was delivered.
    fn thread(self, report: &mut Report) {
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
    fn summary(self, report: &mut Report) {
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
    fn sorted(self, report: &mut Report) {
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

/// Every message that operators asked for was sent at most once, and its stored state is true.
fn sends(world: &World, history: &History, shown: &[Shown], report: &mut Report) {
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

/// Integrations are what their admins made them, and an account has one owner.
async fn integrations(scene: &Scene, report: &mut Report) {
    for (index, account) in scene.world.accounts.iter().enumerate() {
        if account.platform == Platform::Website {
            continue;
        }
        let owners = scene.history().owners(index);
        let [owner] = owners.as_slice() else {
            report.add(format!("nobody knows who has account {index}: {owners:?}"), Vec::new());
            continue;
        };
        for organization in [Some(account.owner), account.rival].into_iter().flatten() {
            let path = format!("social-integrations/{}", account.platform);
            let answer = scene.api(organization, "admin", "GET", &path, None, &Value::Null).await;
            let found = answer.json["data"]["status"].as_str().unwrap_or("none").to_owned();
            let expected = match owner {
                Owner::Connected(owner) if *owner == organization => "connected",
                Owner::Disconnected(owner) if *owner == organization => "disconnected",
                _ => "none",
            };
            if found != expected {
                let name = &scene.world.organizations[organization];
                report.add(
                    format!("{} of {name} is {found}, and its admins made it {expected}", account.platform),
                    vec![answer.text, format!("{account:?}")],
                );
            }
        }
    }
}

/// What operators read now is read, and stays unread otherwise.
async fn reading(scene: &Scene, shown: &[Shown], random: &mut fastrand::Rng, report: &mut Report) {
    for (organization, shown) in shown.iter().enumerate() {
        for conversation in shown.conversations.iter().filter(|_| random.u8(0..4) == 0).take(3) {
            let answer =
                people::change(scene, organization, conversation.id(), serde_json::json!({ "read": true })).await;
            let data = &answer.json["data"];
            if answer.status != 200 || data["unreadCount"] != 0 || data["unread"] != false {
                report.add(format!("conversation {} stays unread", conversation.id()), vec![answer.text]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_any_text() {
        assert_eq!(marks("«1.2» and {\"id\":\"«1.s3»\"} «"), ["«1.2»", "«1.s3»"]);
        assert_eq!(marks("nothing"), Vec::<String>::new());
    }
}
