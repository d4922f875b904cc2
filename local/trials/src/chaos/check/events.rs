//! Every event is where it has to be, and every customer has one conversation.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        history::{Attempt, History, Outcome},
        protocol::Item,
        world::World,
    },
    Report,
    shown::{Places, clock},
};

/// What happened to an item, for people.
pub(super) fn story(world: &World, history: &History, item: Item) -> Vec<String> {
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

/// Every event that was answered with 200 is where it has to be, once, and nowhere else.
pub(super) fn events(world: &World, history: &History, places: &[Places], report: &mut Report) {
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
pub(super) fn groups(world: &World, places: &[Places], report: &mut Report) {
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
