//! What the tests are about: an account, its customers, and what the provider delivers.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::{
    clock,
    content::Content,
    delivery::{Delivery, Owners},
    dialog360::webhook::Place,
    event::{Customer, Echo, Event, EventKind, IncomingMessage, StatusChange},
    id::{AccountId, ConversationId, MessageId, OrganizationId},
    identity::Identity,
    inbound::{Counts, Inbound, Misfits},
    message::{Sender, Status},
    platform::{Channel, Platform},
    store::{
        AuditEntry, Chosen, Claim, ConnectionStatus, Conversation, ConversationStatus, Credentials, ExternalId,
        InboxFilter, Integration, Message, OwnAccount, QuarantineEntry, Store,
    },
    vault::SealedKey,
    webhook_token::Proof,
};

const BEGINNING_MS: i64 = 1_767_877_200_000;
/// How much later than the messages the deliveries come.
pub const DELAY_SECS: i64 = 100_000;

/// The time of a message, epoch milliseconds.
pub fn at(second: i64) -> i64 {
    BEGINNING_MS + second * 1000
}

/// The time of a delivery, epoch microseconds.
pub fn delivery(second: i64) -> i64 {
    at(second + DELAY_SECS) * 1000
}

/// A text that nobody else has.
pub fn unique() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    hex::encode(random)
}

/// A connected account of an organization of its own.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its organization.
    pub organization: OrganizationId,
    /// Its platform.
    pub platform: Platform,
    /// Its id there.
    pub id: AccountId,
}

impl Account {
    /// An account that nobody else has.
    pub fn new(platform: Platform) -> Self {
        let organization = format!("org-{}", unique()).parse().unwrap();
        Self { organization, platform, id: unique().parse().unwrap() }
    }

    /// The account of most tests.
    pub fn whatsapp() -> Self {
        Self::new(Platform::Whatsapp)
    }

    /// What a delivery does.
    pub async fn deliver(&self, store: &Store, now_us: i64, events: Vec<Event>) -> Counts {
        let Self { organization, platform, id: account } = self;
        let misfits = &Misfits::of_delivery(&Proof::Global, 0);
        Inbound { store, organization, platform: *platform, account, now_us, misfits }.apply(events).await
    }

    /// Delivers a part of the story that has to be stored.
    pub async fn receives(&self, store: &Store, second: i64, events: Vec<Event>) -> Counts {
        let counts = Box::pin(self.deliver(store, delivery(second), events)).await;
        assert_eq!(counts.failed, 0, "{counts:?}");
        counts
    }

    /// A customer has just written, and is the conversation that comes of it.
    pub async fn hears(&self, store: &Store, customer: &Customer, external_id: &str) -> Conversation {
        let now_us = clock::now_us();
        let second = (now_us / 1000 - BEGINNING_MS) / 1000;
        let counts = Box::pin(self.deliver(store, now_us, vec![inbound(customer, external_id, second)])).await;
        assert_eq!(counts.failed, 0, "{counts:?}");
        self.conversation(store, customer).await
    }

    /// What the webhook token of this account proves.
    pub fn proof(&self) -> Proof {
        let Self { organization, platform, id } = self.clone();
        Proof::Account { platform, account: id, organization }
    }

    /// The integration that connecting it leaves, since that second.
    pub fn integration(&self, sealed_key: SealedKey, second: i64) -> Integration {
        Integration {
            organization_id: self.organization.clone(),
            platform: self.platform,
            status: ConnectionStatus::Connected,
            noted_claim: Some(Claim::Proven),
            credentials: Credentials {
                account: self.id.clone(),
                waba_id: Some("waba".into()),
                display_phone_number: None,
                sealed_key,
                is_page_token: false,
            },
            webhook_verified: true,
            webhook_was_ours: true,
            repair_webhook: false,
            last_synced_at: Some(at(second)),
            error_message: None,
            health: None,
            notices: Vec::new(),
            quiet_since: None,
            noted_connected_at: Some(at(second)),
            created_at: at(second),
            updated_at: at(second),
        }
    }

    /// Connects it: as the first one, or in the place of what was connected.
    pub async fn connected(&self, store: &Store, sealed_key: SealedKey, second: i64) -> Integration {
        let integration = self.integration(sealed_key, second);
        self.connected_as(store, integration).await
    }

    /// Connects it like that.
    pub async fn connected_as(&self, store: &Store, integration: Integration) -> Integration {
        let Self { organization, platform, id } = self;
        let (claim, now_ms) = (integration.claim(), integration.updated_at);
        store.claim_account(organization, *platform, id, claim, now_ms).await.unwrap();
        let previous = store.integration(organization, *platform).await.unwrap();
        store.put_integration(&integration, previous.as_ref(), "ann").await.unwrap();
        integration
    }

    /// What waits on it in quarantine for its organization, newest first.
    pub async fn quarantine(&self, store: &Store) -> Vec<QuarantineEntry> {
        let owner = store.owner_of_account(self.platform, &self.id).await.unwrap();
        let proven = owner.is_none_or(|owner| owner.is_proven(self.platform));
        let accounts = [OwnAccount { platform: self.platform, id: self.id.clone(), proven }];
        let page = store.quarantine_of_accounts(&self.organization, &accounts, None, 1000).await.unwrap();
        assert_eq!(page.next, None);
        page.entries
    }

    /// What its organization's audit trail tells, newest first.
    pub async fn audit(&self, store: &Store) -> Vec<AuditEntry> {
        let (entries, next) = store.audit_trail(&self.organization, None, 1000).await.unwrap();
        assert_eq!(next, None);
        entries
    }

    /// The id of what comes with these ids of a customer.
    pub fn conversation_id(&self, customer: &Customer) -> ConversationId {
        self.identity(customer).conversation
    }

    /// What the provider calls one of its messages.
    pub fn external_id(&self, id: &str) -> ExternalId {
        ExternalId { channel: self.platform.into(), account: self.id.clone(), id: id.into() }
    }

    /// All of the customer's ids.
    pub fn identity(&self, customer: &Customer) -> Identity {
        Identity::of(&self.organization, self.platform.into(), &self.id, customer).unwrap()
    }

    /// The customer's conversation.
    pub async fn conversation(&self, store: &Store, customer: &Customer) -> Conversation {
        store.conversation(&self.organization, &self.conversation_id(customer)).await.unwrap().unwrap()
    }

    /// The conversation of an id; one in which nothing has been written yet, where there is none.
    pub async fn addressed(&self, store: &Store, id: &ConversationId) -> Conversation {
        let known = store.conversation(&self.organization, id).await.unwrap();
        known.unwrap_or_else(|| Conversation {
            id: id.clone(),
            channel: Channel::from(self.platform),
            account_id: self.id.clone(),
            status: ConversationStatus::Open,
            customer_name: None,
            customer_phone: None,
            customer_user_id: None,
            customer_username: None,
            last_message_key: MessageId::of(at(0), "nothing"),
            last_message_id: None,
            last_message_text: String::new(),
            last_message_sender: Sender::Customer,
            last_inbound_at: None,
            last_received_at: None,
            unread_from: None,
            read_at: None,
            read_through: None,
            delivered_up_to: None,
            read_up_to: None,
            assigned_to: None,
            labels: BTreeSet::new(),
            members: BTreeSet::new(),
            holders: BTreeSet::new(),
            created_at: at(0),
            updated_at: at(0),
        })
    }

    /// The whole inbox of the channel, newest first.
    pub async fn inbox(&self, store: &Store) -> Vec<Conversation> {
        let filter = InboxFilter { channels: vec![Channel::from(self.platform)], ..InboxFilter::default() };
        let page = store.inbox(&self.organization, &filter, None, 1000).await.unwrap();
        assert_eq!(page.next, None);
        page.conversations
    }

    /// The only conversation.
    pub async fn only(&self, store: &Store) -> Conversation {
        let mut inbox = self.inbox(store).await;
        assert_eq!(inbox.len(), 1, "{inbox:#?}");
        inbox.remove(0)
    }

    /// All of a conversation's messages, oldest first.
    pub async fn thread(&self, store: &Store, conversation: &Conversation) -> Vec<Message> {
        let partitions = conversation.partitions();
        let (mut messages, next) = store.messages(&self.organization, &partitions, None, 10_000).await.unwrap();
        assert_eq!(next, None);
        messages.reverse();
        messages
    }

    /// The provider's ids of a conversation's messages, oldest first.
    pub async fn external_ids(&self, store: &Store, conversation: &Conversation) -> Vec<String> {
        self.thread(store, conversation).await.into_iter().filter_map(|message| message.external_id).collect()
    }

    /// How many messages are unread, as far as they are counted.
    pub async fn unread(&self, store: &Store, conversation: &Conversation) -> usize {
        let Some(from) = &conversation.unread_from else { return 0 };
        let (partitions, mark) = (conversation.partitions(), conversation.read_mark());
        store.unread_messages(&self.organization, &partitions, from, None, mark, 1000).await.unwrap().len()
    }
}

/// A customer who is known by a phone number.
pub fn phone(number: &str) -> Customer {
    Customer { phone: Some(number.into()), ..Customer::default() }
}

/// A customer who is known by the platform's user id.
pub fn user(id: &str) -> Customer {
    Customer { user_id: Some(id.into()), ..Customer::default() }
}

/// A customer who is known by both.
pub fn both(number: &str, id: &str) -> Customer {
    Customer { user_id: Some(id.into()), ..phone(number) }
}

/// A sealed key that does not open.
pub fn sealed(ciphertext: &str) -> SealedKey {
    SealedKey {
        version: 1,
        wrapped_key: "d3JhcHBlZA==".into(),
        iv: "aXY=".into(),
        ciphertext: ciphertext.into(),
        tag: "dGFn".into(),
    }
}

/// The customer of most tests.
pub fn anna() -> Customer {
    Customer { name: Some("Anna".into()), ..phone("491713920012") }
}

/// A text of a customer, whose text is its id.
pub fn text(customer: &Customer, external_id: &str, second: i64) -> IncomingMessage {
    IncomingMessage {
        customer: customer.clone(),
        external_id: external_id.into(),
        timestamp: Some(at(second)),
        content: Content::text(external_id),
        reply_to: None,
        from_customer: true,
        opens_window: true,
        also_known_as: None,
    }
}

/// An event of the account that is delivered to.
pub fn event(kind: EventKind) -> Event {
    Event { platform: Platform::Whatsapp, account: None, kind, raw: Value::Null, place: Place::default() }
}

/// A message arrives.
pub fn message(message: IncomingMessage) -> Event {
    event(EventKind::Message(message))
}

/// A text of a customer arrives.
pub fn inbound(customer: &Customer, external_id: &str, second: i64) -> Event {
    message(text(customer, external_id, second))
}

/// A text that the business wrote on its telephone.
pub fn echo(customer: &Customer, external_id: &str, second: i64) -> Event {
    let message = IncomingMessage { from_customer: false, opens_window: false, ..text(customer, external_id, second) };
    event(EventKind::Echo(Echo { message, callback_data: None }))
}

/// A line of the platform.
pub fn system_line(customer: &Customer, external_id: &str, second: i64) -> Event {
    message(IncomingMessage { from_customer: false, opens_window: false, ..text(customer, external_id, second) })
}

/// A message of ours came that far.
pub fn status(external_id: &str, status: Status, second: i64) -> StatusChange {
    StatusChange {
        external_id: external_id.into(),
        callback_data: None,
        status,
        timestamp: Some(at(second)),
        error: None,
    }
}

/// A delivery to a WhatsApp number, as the provider sends it: a text of a customer, whose text is its id.
pub fn text_delivery(account: &AccountId, external_id: &str) -> String {
    text_delivery_at(account, external_id, 0)
}

/// The same, written at that second.
pub fn text_delivery_at(account: &AccountId, external_id: &str, second: i64) -> String {
    let message = json!({
        "from": "491713920012", "id": external_id, "timestamp": (at(second) / 1000).to_string(),
        "type": "text", "text": { "body": external_id },
    });
    whatsapp_delivery(account, "messages", &message)
}

/// A delivery to a WhatsApp number that nobody understands: the status that it tells is not known.
pub fn unknown_delivery(account: &AccountId, external_id: &str) -> String {
    let status = json!({ "id": external_id, "status": "pondered", "recipient_id": "491713920012" });
    whatsapp_delivery(account, "statuses", &status)
}

fn whatsapp_delivery(account: &AccountId, items: &str, item: &Value) -> String {
    let value = json!({ "metadata": { "phone_number_id": account.as_str() }, items: [item] });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

/// A delivery comes at that time, and proves that. What has no place is in quarantine then.
pub async fn arrives(store: &Store, proof: &Proof, body: &str, now_ms: i64) {
    let (owners, misfits) = (&Owners::default(), &Misfits::of_delivery(proof, body.len()));
    let delivery = Delivery { store, owners, proof, now_us: now_ms * 1000, misfits, only_for: None };
    let received = delivery.receive(body.as_bytes(), now_ms).await;
    assert_eq!(received.counts.failed, 0, "{received:?}");
}

/// All that came on that day and is in quarantine for that reason.
pub async fn kept_on(store: &Store, day: &str, reason: &str) -> Vec<QuarantineEntry> {
    let chosen = Chosen { reason: Some(reason), account: None };
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = store.quarantine_of_day(day, chosen, after.as_deref(), 100).await.unwrap();
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}
