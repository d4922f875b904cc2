//! Builds update and condition expressions: attribute names and values are always placeholders, so no name is ever a
//! reserved word and no value is ever part of an expression.

use std::{collections::HashMap, fmt::Display};

use aws_sdk_dynamodb::types::AttributeValue;

use super::keys::{self, Key};

/// The expressions of one write, with their names and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Expression {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    delete: Vec<String>,
    condition: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// The placeholder of an attribute.
    pub(super) fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        if !self.names.contains_key(&placeholder) {
            self.names.insert(placeholder.clone(), attribute.to_owned());
        }
        placeholder
    }

    /// The placeholder of a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Sets an attribute.
    pub(super) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.set.push(format!("{name} = {value}"));
        self
    }

    /// Sets an attribute where there is a value for it.
    pub(super) fn set_some(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self,
        }
    }

    /// Sets an attribute, or removes it where there is no value for it.
    pub(super) fn set_or_remove(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Sets an attribute that is not there yet.
    pub(super) fn set_if_absent(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.set.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets an entry of a map attribute.
    pub(super) fn set_entry(mut self, attribute: &str, entry: &str, value: AttributeValue) -> Self {
        let (name, entry, value) = (self.name(attribute), self.name(entry), self.value(value));
        self.set.push(format!("{name}.{entry} = {value}"));
        self
    }

    /// Removes an attribute.
    pub(super) fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.remove.push(name);
        self
    }

    /// Adds to a string set.
    pub(super) fn add(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.add.push(format!("{name} {value}"));
        self
    }

    /// Takes out of a string set.
    pub(super) fn delete(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.delete.push(format!("{name} {value}"));
        self
    }

    /// Demands that the item is there.
    pub(super) fn if_item_exists(self) -> Self {
        self.if_exists(keys::PK)
    }

    /// Demands that the item is not there yet.
    pub(super) fn if_item_absent(self) -> Self {
        self.if_absent(keys::PK)
    }

    /// Demands that an attribute is there.
    pub(super) fn if_exists(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.condition.push(format!("attribute_exists({name})"));
        self
    }

    /// Demands that an attribute is not there.
    pub(super) fn if_absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.condition.push(format!("attribute_not_exists({name})"));
        self
    }

    /// Demands that an attribute is absent or compares so with a value.
    pub(super) fn if_absent_or(mut self, attribute: &str, comparison: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.condition.push(format!("(attribute_not_exists({name}) OR {name} {comparison} {value})"));
        self
    }

    /// Demands that a set is absent or has at most so many members.
    pub(super) fn if_at_most(mut self, attribute: &str, members: usize) -> Self {
        let (name, members) = (self.name(attribute), self.value(n(members)));
        self.condition.push(format!("(attribute_not_exists({name}) OR size({name}) <= {members})"));
        self
    }

    /// Demands that an attribute is there and compares so with a value.
    pub(super) fn if_compares(mut self, attribute: &str, comparison: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.condition.push(format!("{name} {comparison} {value}"));
        self
    }

    /// Demands a place behind a point of a thread: a later time, or of the same time a later arrival, or whatever arrived after the
    /// point was set.
    pub(super) fn if_behind(
        mut self,
        (time, same, next): (&str, AttributeValue, AttributeValue),
        (arrival, at, until): (&str, AttributeValue, AttributeValue),
    ) -> Self {
        let (time, same, next) = (self.name(time), self.value(same), self.value(next));
        let (arrival, at, until) = (self.name(arrival), self.value(at), self.value(until));
        let of_the_same = format!("({time} >= {same} AND {arrival} > {at})");
        self.condition.push(format!("({arrival} > {until} OR {time} >= {next} OR {of_the_same})"));
        self
    }

    /// Demands that an entry of a map attribute is a value.
    pub(super) fn if_entry(mut self, attribute: &str, entry: &str, value: AttributeValue) -> Self {
        let (name, entry, value) = (self.name(attribute), self.name(entry), self.value(value));
        self.condition.push(format!("{name}.{entry} = {value}"));
        self
    }

    /// Demands that an attribute is what was read: that value, or absent.
    pub(super) fn if_still(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.if_compares(attribute, "=", value),
            None => self.if_absent(attribute),
        }
    }

    /// Demands that a string set holds a value.
    pub(super) fn if_contains(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.condition.push(format!("contains({name}, {value})"));
        self
    }

    /// Demands that a string set does not hold a value, or is not there.
    pub(super) fn unless_contains(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.condition.push(format!("(attribute_not_exists({name}) OR NOT contains({name}, {value}))"));
        self
    }

    /// `SET … REMOVE … ADD … DELETE …`; `None` when nothing is changed.
    pub(super) fn update(&self) -> Option<String> {
        let clauses = [("SET", &self.set), ("REMOVE", &self.remove), ("ADD", &self.add), ("DELETE", &self.delete)];
        let clauses = clauses.iter().filter(|(_, parts)| !parts.is_empty());
        let text = clauses.map(|(verb, parts)| format!("{verb} {}", parts.join(", "))).collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }

    /// All demands, joined by `AND`; `None` when there are none.
    pub(super) fn conditions(&self) -> Option<String> {
        (!self.condition.is_empty()).then(|| self.condition.join(" AND "))
    }

    /// Names by placeholder.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// Names and values for the last request that needs them: an update is made for each message.
    pub(super) fn into_names_and_values(self) -> (HashMap<String, String>, HashMap<String, AttributeValue>) {
        (self.names, self.values)
    }

    /// Values by placeholder.
    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// A string value.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number value.
pub(super) fn n(number: impl Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

impl Key {
    /// As the SDK takes it.
    pub(super) fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([(keys::PK.to_owned(), s(&self.pk)), (keys::SK.to_owned(), s(&self.sk))])
    }
}
