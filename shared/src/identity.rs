//! Which conversation a customer's ids lead to.

use crate::{
    event::Customer,
    id::{AccountId, ConversationId, OrganizationId},
    phone::canonical_phone,
    platform::Channel,
};

/// The conversation of each id of a customer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Of the phone number where there is one, else of the user id.
    pub conversation: ConversationId,
    /// Of the user id, where both came together.
    pub user: Option<ConversationId>,
}

impl Identity {
    /// The identity of a customer on an account; `None` without any id.
    #[must_use]
    pub fn of(
        organization: &OrganizationId,
        channel: Channel,
        account: &AccountId,
        customer: &Customer,
    ) -> Option<Self> {
        let id =
            |kind: &str, value: &str| ConversationId::of(organization, channel, account, &format!("{kind}:{value}"));
        let phone = customer.phone.as_deref().map(|phone| id("phone", &canonical_phone(phone)));
        let user = customer.user_id.as_deref().map(|user| id("user", user));
        match (phone, user) {
            (Some(phone), user) => Some(Self { conversation: phone, user }),
            (None, Some(user)) => Some(Self { conversation: user, user: None }),
            (None, None) => None,
        }
    }

    /// Whose partition holds what comes with these ids: a user id is one person's for ever, a phone number is not.
    #[must_use]
    pub fn partition(&self) -> &ConversationId {
        self.user.as_ref().unwrap_or(&self.conversation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(phone: Option<&str>, user_id: Option<&str>) -> Option<Identity> {
        let customer =
            Customer { phone: phone.map(Into::into), user_id: user_id.map(Into::into), ..Customer::default() };
        Identity::of(&"acme".parse().unwrap(), Channel::Whatsapp, &"7001".parse().unwrap(), &customer)
    }

    #[test]
    fn both_spellings_of_a_brazilian_number_are_one_customer() {
        assert_eq!(identity(Some("5511987654321"), None), identity(Some("551187654321"), None));
    }

    #[test]
    fn a_user_id_seen_with_a_phone_number_leads_to_the_same_conversation() {
        let both = identity(Some("491713920012"), Some("DE.8")).unwrap();
        assert_eq!(both.conversation, identity(Some("491713920012"), None).unwrap().conversation);
        assert_eq!(both.user, Some(identity(None, Some("DE.8")).unwrap().conversation));
        assert_eq!(both.partition(), identity(None, Some("DE.8")).unwrap().partition());
        assert_eq!(identity(None, None), None);
    }
}
