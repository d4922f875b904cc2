//! What customers' phones show: both sides of their conversations with an account, as far as they went through this simulator. In
//! memory only.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Account, messages::Sent};

/// The conversations, by account and customer.
#[derive(Debug, Default)]
pub(super) struct Threads(BTreeMap<(Account, String), Thread>);

#[derive(Debug, Default)]
struct Thread {
    name: Option<String>,
    messages: Vec<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Party {
    Customer,
    Business,
}

/// A bubble.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) id: String,
    /// Epoch milliseconds.
    pub(super) at: i64,
    pub(super) by: Party,
    /// The type of `POST /simulate/inbound`, or for the business's messages that of the send.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) text: Option<String>,
    /// What its type is about, in the platform's words.
    pub(super) content: Value,
    pub(super) reply_to: Option<String>,
    /// The customer's.
    pub(super) reaction: Option<String>,
    pub(super) edits: u64,
    pub(super) unsent: bool,
    /// When the platform told, or will tell, which status; of the business's messages.
    #[serde(skip)]
    pub(super) statuses: Vec<(i64, String)>,
}

/// What a customer did.
#[derive(Debug)]
pub(super) enum Change {
    Message(Message),
    Reaction { target: String, emoji: Option<String> },
    Edit { target: String, text: String },
    Unsend { target: String },
}

/// What a customer did, as the phone shows it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) customer: String,
    pub(super) name: Option<String>,
    pub(super) change: Change,
}

impl Message {
    pub(super) fn new(id: String, at: i64, by: Party, kind: String) -> Self {
        Self {
            id,
            at,
            by,
            kind,
            text: None,
            content: Value::Null,
            reply_to: None,
            reaction: None,
            edits: 0,
            unsent: false,
            statuses: Vec::new(),
        }
    }

    /// As the phone shows it at `now`; `waiting` says whether the business has not been told yet.
    fn listed(&self, now: i64, waiting: bool) -> Value {
        let told = self.statuses.iter().filter(|(at, _)| *at <= now);
        let status = told.max_by_key(|(at, _)| *at).map(|(_, status)| status);
        let mut listed = json!(self);
        listed["status"] = json!(status);
        listed["waiting"] = waiting.into();
        listed
    }
}

impl Threads {
    /// Notes what a customer did.
    pub(super) fn note(&mut self, account: &Account, shown: Shown) {
        let thread = self.0.entry((account.clone(), shown.customer)).or_default();
        thread.name = shown.name.or(thread.name.take());
        let find = |messages: &'_ mut Vec<Message>, id: &str| messages.iter().position(|message| message.id == id);
        match shown.change {
            Change::Message(message) => {
                // The same message written twice is delivered twice, and shown once.
                if find(&mut thread.messages, &message.id).is_none() {
                    thread.messages.push(message);
                }
            }
            Change::Reaction { target, emoji } => {
                if let Some(index) = find(&mut thread.messages, &target) {
                    thread.messages[index].reaction = emoji;
                }
            }
            Change::Edit { target, text } => {
                if let Some(index) = find(&mut thread.messages, &target) {
                    let message = &mut thread.messages[index];
                    message.text = Some(text);
                    message.edits += 1;
                }
            }
            Change::Unsend { target } => {
                if let Some(index) = find(&mut thread.messages, &target) {
                    thread.messages[index].unsent = true;
                }
            }
        }
    }

    /// Notes what the business sent at `at`.
    pub(super) fn receive(&mut self, sent: &Sent, at: i64) {
        let body = &sent.body;
        let kind = body["type"].as_str().unwrap_or("text");
        let quoted = body["context"]["message_id"].as_str().or(body["reply_to"]["mid"].as_str());
        let message = Message {
            text: sent.text.clone(),
            content: if body[kind].is_object() { body[kind].clone() } else { body["message"]["attachment"].clone() },
            reply_to: quoted.map(str::to_owned),
            ..Message::new(sent.id.clone(), at, Party::Business, kind.to_owned())
        };
        self.0.entry((sent.account.clone(), sent.to.clone())).or_default().messages.push(message);
    }

    /// Notes that the platform tells a status of a message at `at`, maybe later.
    pub(super) fn tell(&mut self, sent: &Sent, status: &str, at: i64) {
        let Some(thread) = self.0.get_mut(&(sent.account.clone(), sent.to.clone())) else { return };
        if let Some(message) = thread.messages.iter_mut().rev().find(|message| message.id == sent.id) {
            message.statuses.push((at, status.to_owned()));
        }
    }

    /// How often a message was edited.
    pub(super) fn edits(&self, account: &Account, id: &str) -> u64 {
        let threads = self.0.iter().filter(|((of, _), _)| of == account);
        let mut messages = threads.flat_map(|(_, thread)| &thread.messages);
        messages.find(|message| message.id == id).map_or(0, |message| message.edits)
    }

    /// Accounts that something was written to or from.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.0.keys().map(|(account, _)| account)
    }

    /// The customers of an account: `id`, `name`, how many `messages`, when the last one was.
    pub(super) fn customers(&self, account: &Account) -> Vec<Value> {
        let threads = self.0.iter().filter(|((of, _), _)| of == account);
        threads
            .map(|((_, id), thread)| {
                let last = thread.messages.last().map(|message| message.at);
                json!({ "id": id, "name": thread.name, "messages": thread.messages.len(), "lastAt": last })
            })
            .collect()
    }

    /// The last `limit` messages of a conversation, oldest first.
    pub(super) fn messages(
        &self,
        account: &Account,
        customer: &str,
        limit: usize,
        now: i64,
        is_waiting: impl Fn(&str) -> bool,
    ) -> Vec<Value> {
        let thread = self.0.get(&(account.clone(), customer.to_owned()));
        let messages = thread.map_or(&[][..], |thread| &thread.messages);
        let last = &messages[messages.len().saturating_sub(limit)..];
        last.iter().map(|message| message.listed(now, is_waiting(&message.id))).collect()
    }
}
