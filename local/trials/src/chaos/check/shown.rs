//! What the API shows of an organization, and where in it each event is.

use std::collections::BTreeSet;

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    super::{
        agents::platform_of,
        scene::Scene,
        world::{Platform, World},
    },
    Report,
};

/// The largest page.
const PAGE_MAX: usize = 100;

/// Everything that an organization can see.
pub(super) struct Shown {
    pub(super) conversations: Vec<Conversation>,
}

pub(super) struct Conversation {
    pub(super) json: Value,
    /// Newest first.
    pub(super) messages: Vec<Value>,
    /// How many a page of the messages had.
    pub(super) page: usize,
}

impl Conversation {
    pub(super) fn id(&self) -> &str {
        self.json["id"].as_str().unwrap_or_default()
    }

    /// The newest message that is no note: of one moment, the one that arrived last. Several only where they arrived within one
    /// millisecond and stand on several pages, which are sorted each for itself.
    pub(super) fn newest(&self) -> Vec<&Value> {
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
pub(super) struct Places {
    /// Organization and conversation, once for each time it was found.
    pub(super) threads: Vec<(usize, String)>,
    pub(super) in_quarantine: bool,
}

pub(super) fn day(at: i64) -> String {
    rfc3339(at).chars().take(10).collect()
}

pub(super) fn rfc3339(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Epoch milliseconds of a time in an answer.
pub(super) fn millis(value: &Value) -> Option<i64> {
    let at = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The marks in a text, as they are.
pub(super) fn marks(text: &str) -> Vec<String> {
    let begins = text.match_indices('«').filter_map(|(at, _)| {
        let end = text[at..].find('»')?;
        Some(text[at..at + end + '»'.len_utf8()].to_owned())
    });
    begins.collect()
}

/// The event that a message shows.
pub(super) fn event_of(world: &World, message: &Value) -> Option<usize> {
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
pub(super) async fn read(
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
            // What is shown of a message that is on its way changes with time alone: then the inbox says so, too, by now.
            let is_known_by_now = async || {
                let again = list(scene, organization, "conversations", PAGE_MAX).await?;
                Ok::<_, String>(again.contains(&alone.json["data"]))
            };
            if alone.json["data"] != json && !is_known_by_now().await? {
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
pub(super) fn places(
    world: &World,
    shown: &[Shown],
    quarantined: &BTreeSet<String>,
    report: &mut Report,
) -> Vec<Places> {
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

/// The time of day, to the millisecond.
pub(super) fn clock(at: i64) -> String {
    rfc3339(at).chars().skip(11).take(12).collect()
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
