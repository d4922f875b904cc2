//! What is told of a customer, and where a conversation keeps it: each with the time of what told it.

use super::{
    Item,
    expression::{Expression, n, s},
    message::number,
};
use crate::event::Profile;

/// The longest name and username of a customer, in bytes.
const NAME_MAX_BYTES: usize = 120;
/// What is told of a customer, and when that was told.
pub(super) const PROFILE: [[&str; 2]; 4] = [
    ["customerName", "customerNameAt"],
    ["customerPhone", "customerPhoneAt"],
    ["customerUserId", "customerUserIdAt"],
    ["customerUsername", "customerUsernameAt"],
];

/// Something that is told of a customer, and where a conversation keeps it.
pub(super) struct ToldOf<'a> {
    pub(super) attribute: &'static str,
    pub(super) text: &'a str,
    pub(super) attribute_at: &'static str,
    pub(super) at: i64,
}

pub(super) fn told_of(customer: &Profile) -> [Option<ToldOf<'_>>; 4] {
    let Profile { name, phone, user_id, username } = customer;
    let [of_name, of_phone, of_user_id, of_username] = PROFILE;
    [(of_name, name), (of_phone, phone), (of_user_id, user_id), (of_username, username)].map(
        |([attribute, attribute_at], told)| {
            told.as_ref().map(|(text, at)| ToldOf { attribute, text, attribute_at, at: *at })
        },
    )
}

/// When it was told, or that it is theirs no more: what was stored before that was kept is older than everything. `None` where it
/// was never told.
pub(super) fn told_at(item: &Item, attribute: &str, at: &str) -> Option<i64> {
    number(item, at).or_else(|| item.get(attribute).map(|_| i64::MIN))
}

/// Keeps what is told of the customer.
pub(super) fn with_told<'a>(expression: Expression, told: impl Iterator<Item = ToldOf<'a>>) -> Expression {
    told.fold(expression, |expression, ToldOf { attribute, text, attribute_at, at }| {
        let is_name = matches!(attribute, "customerName" | "customerUsername");
        let text = if is_name { s(crate::content::truncate(text, NAME_MAX_BYTES)) } else { s(text) };
        expression.set(attribute, text).set(attribute_at, n(at))
    })
}
