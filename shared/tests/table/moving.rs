//! An account that changes hands again and again: each message reaches whose time it is of, and nobody else.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};
use shared::{
    platform::Platform,
    replay,
    store::{Claim, Store},
    webhook_token::Proof,
};

use crate::{
    converge::check,
    engine::Table,
    given::{Account, arrives, at, sealed, text_delivery_at},
    integrations::of,
};

const ORGANIZATIONS: usize = 3;
/// From one step to the next.
const STEP_SECS: i64 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Connects the account where nobody has it.
    Connect(usize),
    /// Claims it where nobody has it, and fails then.
    TryInVain(usize),
    /// Whoever has it deletes the integration.
    Delete,
    /// The provider tells what was written after that step, or an earlier one.
    Deliver { steps_ago: usize, with_token: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let organization = 0..ORGANIZATIONS;
    prop_oneof![
        3 => organization.clone().prop_map(Step::Connect),
        1 => organization.prop_map(Step::TryInVain),
        2 => Just(Step::Delete),
        6 => (0..12_usize, any::<bool>())
            .prop_map(|(steps_ago, with_token)| Step::Deliver { steps_ago, with_token }),
    ]
}

/// A message, and the steps at which it was written and delivered.
struct Message {
    id: String,
    written: usize,
    delivered: usize,
}

/// What happened to the account.
#[derive(Default)]
struct Course {
    /// Who has it after each step.
    owners: Vec<Option<usize>>,
    /// Who gave it away at which step.
    releases: Vec<(usize, usize)>,
    /// Who connected it at which step.
    connections: Vec<(usize, usize)>,
    messages: Vec<Message>,
}

impl Course {
    /// Who may receive a message, one after the other, and when: whoever has the account, or else whoever connects it later.
    fn receivers(&self, message: &Message) -> Vec<(usize, usize)> {
        match self.owners[message.delivered] {
            Some(owner) => vec![(owner, message.delivered)],
            None => self.connections.iter().copied().filter(|(_, step)| *step > message.delivered).collect(),
        }
    }

    /// Those who gave the account away between the steps.
    fn released(&self, after: usize, until: usize) -> impl Iterator<Item = usize> {
        let between = self.releases.iter().filter(move |(_, step)| (after + 1..=until).contains(step));
        between.map(|(owner, _)| *owner)
    }

    fn may_have(&self, organization: usize, message: &Message) -> bool {
        let mut turns = self.receivers(message).into_iter().filter(|(receiver, _)| *receiver == organization);
        turns.any(|(_, step)| self.released(message.written, step).all(|owner| owner == organization))
    }

    fn must_have(&self, organization: usize, message: &Message) -> bool {
        let first = self.receivers(message).first().copied();
        first.is_some_and(|(receiver, step)| {
            receiver == organization && self.released(message.written, step).next().is_none()
        })
    }
}

async fn ids(store: &Store, account: &Account) -> BTreeSet<String> {
    match account.inbox(store).await.first() {
        Some(conversation) => account.external_ids(store, conversation).await.into_iter().collect(),
        None => BTreeSet::new(),
    }
}

async fn plays(table: &Table, steps: Vec<Step>) {
    let store = table.store();
    let account = Account::whatsapp();
    let organizations: [_; ORGANIZATIONS] = std::array::from_fn(|_| of(&Account::whatsapp().organization, &account.id));
    let mut course = Course::default();
    let mut owner = None;
    for (number, step) in steps.into_iter().enumerate() {
        let second = i64::try_from(number).unwrap() * STEP_SECS;
        match (step, owner) {
            (Step::Connect(next), None) => {
                let connected = organizations[next].connected(&store, sealed("Y2lwaGVy"), second).await;
                replay::replay_before_connecting(&store, &connected, 100, at(second) * 1000).await.unwrap();
                owner = Some(next);
                course.connections.push((next, number));
            }
            (Step::TryInVain(next), None) => {
                let organization = &organizations[next].organization;
                store
                    .claim_account(organization, Platform::Whatsapp, &account.id, Claim::Proven, at(second))
                    .await
                    .unwrap();
                store.release_claim(organization, Platform::Whatsapp, &account.id, at(second) + 1).await.unwrap();
            }
            (Step::Connect(other) | Step::TryInVain(other), Some(owner)) if other != owner => {
                let organization = &organizations[other].organization;
                let claim =
                    store.claim_account(organization, Platform::Whatsapp, &account.id, Claim::Proven, at(second)).await;
                assert!(claim.is_err(), "{claim:?}");
            }
            (Step::Delete, Some(former)) => {
                let organization = &organizations[former].organization;
                store.delete_integration(organization, Platform::Whatsapp, "ann", at(second)).await.unwrap();
                owner = None;
                course.releases.push((former, number));
            }
            (Step::Deliver { steps_ago, with_token }, owner) => {
                let written = number.saturating_sub(1 + steps_ago);
                let message = Message { id: format!("wamid.{number}"), written, delivered: number };
                let proof = owner.filter(|_| with_token).map_or(Proof::Global, |owner| organizations[owner].proof());
                let written = i64::try_from(written).unwrap() * STEP_SECS + STEP_SECS / 2;
                let body = text_delivery_at(&account.id, &message.id, written);
                arrives(&store, &proof, &body, at(second)).await;
                course.messages.push(message);
            }
            (Step::Connect(_) | Step::TryInVain(_), Some(_)) | (Step::Delete, None) => {}
        }
        course.owners.push(owner);
    }
    for (number, organization) in organizations.iter().enumerate() {
        let found = ids(&store, organization).await;
        for message in &course.messages {
            let Message { id, written, delivered } = message;
            let what = format!("{id} of step {written}, delivered at {delivered}, and organization {number}");
            assert!(!found.contains(id) || course.may_have(number, message), "foreign: {what}");
            assert!(found.contains(id) || !course.must_have(number, message), "lost: {what}");
        }
    }
}

#[test]
fn each_message_reaches_whose_time_it_is_of_and_nobody_else() {
    check(30, &vec(step(), 1..40), &async |table: &Table, steps| plays(table, steps).await);
}
