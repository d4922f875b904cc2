//! Where in its delivery something stood: enough to deliver it again, alone, as quarantine keeps it.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

use super::json;

/// An object of a delivery without the arrays that hold its events, and the object around it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Surroundings {
    fields: Map<String, Value>,
    outer: Option<Outer>,
}

#[derive(Debug, PartialEq)]
struct Outer {
    object: Arc<Surroundings>,
    key: &'static str,
    in_array: bool,
}

impl Surroundings {
    /// The delivery itself.
    pub(super) fn root(fields: Map<String, Value>) -> Arc<Self> {
        Arc::new(Self { fields, outer: None })
    }

    /// An item of the array under `key`.
    pub(super) fn item(fields: Map<String, Value>, object: &Arc<Self>, key: &'static str) -> Arc<Self> {
        Arc::new(Self { fields, outer: Some(Outer { object: Arc::clone(object), key, in_array: true }) })
    }

    /// The object under `key`.
    pub(super) fn member(fields: Map<String, Value>, object: &Arc<Self>, key: &'static str) -> Arc<Self> {
        Arc::new(Self { fields, outer: Some(Outer { object: Arc::clone(object), key, in_array: false }) })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }
}

/// Where an event stood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    pub(super) object: Arc<Surroundings>,
    /// The array that it was an item of; `None` where it is the object itself, or a part of it.
    pub(super) key: Option<&'static str>,
}

impl Place {
    /// Whether the event was one of many in an array, so that its own JSON alone tells it from all others.
    #[must_use]
    pub fn is_item(&self) -> bool {
        self.key.is_some()
    }

    /// A delivery of the event alone, whose own JSON is `raw`.
    #[must_use]
    pub fn delivery_of(&self, raw: &Value) -> Value {
        let mut fields = self.object.fields.clone();
        match (self.key, raw) {
            (Some(key), raw) => {
                // A delivery of many people's messages: what is kept of one tells nothing of the others.
                if let Some(Value::Array(contacts)) = fields.get_mut("contacts") {
                    retain_contacts_of(contacts, raw);
                }
                fields.insert(key.to_owned(), Value::Array(vec![raw.clone()]));
            }
            (None, Value::Object(raw)) => fields.extend(raw.clone()),
            (None, raw) => return raw.clone(),
        }
        let mut value = Value::Object(fields);
        let mut outer = &self.object.outer;
        while let Some(Outer { object, key, in_array }) = outer {
            let mut fields = object.fields.clone();
            fields.insert((*key).to_owned(), if *in_array { Value::Array(vec![value]) } else { value });
            value = Value::Object(fields);
            outer = &object.outer;
        }
        value
    }
}

/// Drops the contacts that have no id of the item; the only contact goes with whatever is there.
fn retain_contacts_of(contacts: &mut Vec<Value>, item: &Value) {
    if contacts.len() > 1 {
        let ids = ["from", "from_user_id", "to", "to_user_id"].iter().filter_map(|key| json::id(item, key));
        let previous = item.get("system").and_then(|system| json::id(system, "previous_user_id"));
        let ids: Vec<Cow<'_, str>> = ids.chain(previous).collect();
        contacts.retain(|contact| {
            ["wa_id", "user_id"].iter().any(|key| json::id(contact, key).is_some_and(|id| ids.contains(&id)))
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{
        parse,
        tests::{NOW_MS, fixtures},
    };
    use crate::event::EventKind;

    #[test]
    fn an_event_that_is_delivered_again_alone_is_the_same_event() {
        for (name, body) in fixtures() {
            for event in parse(&body, NOW_MS).unwrap() {
                let alone = event.place.delivery_of(&event.raw).to_string();
                let again = parse(alone.as_bytes(), NOW_MS).unwrap();
                let (same, others): (Vec<_>, Vec<_>) = again.iter().partition(|again| {
                    (&again.kind, &again.account, &again.raw) == (&event.kind, &event.account, &event.raw)
                });
                assert_eq!(same.len(), 1, "{name}: {alone}");
                // What tells why a content is missing goes with it.
                let is_why = |kind: &EventKind| matches!(kind, EventKind::Notice { what } if what == "value_error");
                assert!(others.iter().all(|other| is_why(&other.kind)), "{name}: {others:?}");
                assert_eq!(same[0].place.delivery_of(&same[0].raw).to_string(), alone, "{name}");
            }
        }
    }

    #[test]
    fn what_has_the_wrong_type_is_delivered_again_as_it_came() {
        for body in [
            json!({"object": "page", "entry": {"id": "1"}}),
            json!({"object": "page", "entry": [{"id": "1", "messaging": 7}]}),
            json!({"object": "page", "entry": [7]}),
            json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages"}]}]}),
            json!({"statuses": 1}),
        ] {
            let event = parse(body.to_string().as_bytes(), NOW_MS).unwrap().remove(0);
            assert_eq!(event.place.delivery_of(&event.raw), body);
        }
    }

    #[test]
    fn what_is_kept_of_one_customer_tells_nothing_of_another() {
        let contact = |id: &str, name: &str| json!({"wa_id": id, "profile": {"name": name}});
        let message =
            |from: &str| json!({"id": format!("wamid.{from}"), "from": from, "type": "text", "text": {"body": "x"}});
        let body = json!({
            "contacts": [contact("491", "Anna"), contact("492", "Bert")], "messages": [message("491"), message("492")],
        });
        let events = parse(body.to_string().as_bytes(), NOW_MS).unwrap();
        let alone = events[1].place.delivery_of(&events[1].raw);
        assert_eq!(alone, json!({"contacts": [contact("492", "Bert")], "messages": [message("492")]}));
    }
}
