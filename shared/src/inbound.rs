//! What the events of an account do: each to its place in the organization's table, side by side, harmless to repeat.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, OnceLock},
};

use futures_util::{StreamExt, stream};
use tracing::{info, warn};

use crate::{
    error::{Error, Result},
    event::{
        Customer, Echo, Edit, Event, EventKind, IncomingMessage, MessageChange, News, Party, Profile, Reaction,
        StatusChange, Unsend, UpTo, Watermark,
    },
    id::{AccountId, ConversationId, MessageId, OrganizationId},
    identity::Identity,
    message::{Direction, Sender, Status},
    platform::{Channel, Platform},
    store::{
        Arrival, Change, EMOJI_MAX_BYTES, ExternalId, Message, QuarantineKind, Quarantined, Settled, Store, Stored,
        Thread, Told, Update,
    },
    webhook_token::Proof,
    window,
};

/// How many things are under way at the table at once.
const CONCURRENCY: usize = 32;
/// How far back an echo looks for a message that waits for the provider's answer.
const ECHO_LOOK_BACK: usize = 100;

/// How many events came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored for the first time.
    pub stored: usize,
    /// Known before.
    pub duplicates: usize,
    /// Kept in quarantine.
    pub quarantined: usize,
    /// Of those, how many were about an account of nobody, or of another organization than the token's.
    pub unroutable: usize,
    /// Understood, and nothing to keep.
    pub ignored: usize,
    /// Not stored: the provider has to deliver again.
    pub failed: usize,
    /// Of those stored, how many tell that a message of the business could not be delivered.
    pub undelivered: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.quarantined += other.quarantined;
        self.unroutable += other.unroutable;
        self.ignored += other.ignored;
        self.failed += other.failed;
        self.undelivered += other.undelivered;
    }
}

/// Whose events they are, and when they came.
#[derive(Clone, Copy)]
pub struct Inbound<'a> {
    /// The table.
    pub store: &'a Store,
    /// The organization that owns the account.
    pub organization: &'a OrganizationId,
    /// The platform.
    pub platform: Platform,
    /// The account.
    pub account: &'a AccountId,
    /// When the delivery came, epoch microseconds.
    pub now_us: i64,
    /// What becomes of what has no place.
    pub misfits: &'a Misfits<'a>,
}

/// What becomes of what has no place.
#[derive(Debug)]
pub enum Misfits<'a> {
    /// It goes into quarantine, with what its delivery proved.
    Quarantine(&'a Proof, Mutex<Room>),
    /// It is there already, and stays: the first reason is told.
    Stay(OnceLock<&'static str>),
}

/// How much more of one delivery goes into quarantine item by item.
#[derive(Debug)]
pub struct Room {
    items: usize,
    /// What they take beyond themselves and [`SURROUNDINGS_BYTES`].
    bytes: usize,
    /// How many items found no room.
    over: usize,
}

/// The most items of one delivery that are kept by themselves: as many as the provider sends at once.
const ITEMS_MAX: usize = 1000;
/// What stands around an item in the provider's deliveries, and more.
const SURROUNDINGS_BYTES: usize = 512;
/// Why a delivery is kept whole.
const TOO_MUCH: &str = "too much for the quarantine of single items";

/// Something that has no place.
#[derive(Clone, Copy, Debug)]
pub struct Misfit<'a> {
    /// Why, in fixed words.
    pub reason: &'static str,
    /// What it is.
    pub event: &'a Event,
    /// The account, where it is known.
    pub account: Option<&'a AccountId>,
    /// Who owns the account.
    pub owner: Option<&'a OrganizationId>,
}

impl<'a> Misfits<'a> {
    /// Of a delivery of that size, which proves that.
    #[must_use]
    pub fn of_delivery(proof: &'a Proof, size_bytes: usize) -> Self {
        Self::Quarantine(proof, Mutex::new(Room { items: ITEMS_MAX, bytes: size_bytes, over: 0 }))
    }

    /// Keeps an event that has no place: as a delivery of its own. What stands around it comes with each, so that a delivery might
    /// become many times as large: when there is no room left, it is for [`Self::keep_rest`].
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn keep(&self, store: &Store, misfit: Misfit<'_>, now_ms: i64) -> Result<Counts> {
        let Misfit { reason, event, account, owner } = misfit;
        if self.is_over() {
            return Ok(Counts::default());
        }
        let (delivery, raw) = match self {
            Self::Stay(_) => Default::default(),
            Self::Quarantine(..) => (event.place.delivery_of(&event.raw).to_string(), event.raw.to_string()),
        };
        if !self.takes(delivery.len().saturating_sub(raw.len() + SURROUNDINGS_BYTES)) {
            return Ok(Counts::default());
        }
        // The same event comes in other company when the provider repeats it.
        let identity = if event.place.is_item() { raw.as_bytes() } else { delivery.as_bytes() };
        let (kind, platform) = (kind(&event.kind), Some(event.platform));
        let delivery = delivery.as_bytes();
        self.keep_delivery(store, Kept { reason, kind, platform, account, owner, identity, delivery }, now_ms).await
    }

    /// Keeps the delivery whole where not everything in it that has no place was kept by itself. What has found its place meets
    /// itself when the delivery is replayed. Counts the items that found no room.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn keep_rest(&self, store: &Store, delivery: &[u8], now_ms: i64) -> Result<Counts> {
        let over = match self {
            Self::Quarantine(_, room) => room.lock().map_or(0, |room| room.over),
            Self::Stay(_) => 0,
        };
        if over == 0 {
            return Ok(Counts::default());
        }
        let Counts { quarantined, duplicates, .. } = self.keep_whole(store, TOO_MUCH, delivery, now_ms).await?;
        Ok(Counts { quarantined: quarantined * over, duplicates: duplicates * over, ..Counts::default() })
    }

    /// Whether another item finds no room, whatever it takes.
    fn is_over(&self) -> bool {
        let Self::Quarantine(_, room) = self else { return false };
        let Ok(mut room) = room.lock() else { return false };
        room.over += usize::from(room.over > 0);
        room.over > 0
    }

    /// Whether there is room for another item, with so much beyond itself.
    fn takes(&self, bytes: usize) -> bool {
        let Self::Quarantine(_, room) = self else { return true };
        let Ok(mut room) = room.lock() else { return true };
        match (room.items.checked_sub(1), room.bytes.checked_sub(bytes)) {
            (Some(items), Some(bytes)) if room.over == 0 => (room.items, room.bytes) = (items, bytes),
            _ => room.over += 1,
        }
        room.over == 0
    }

    /// Keeps a whole delivery that cannot be taken apart; a token tells whose it is.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn keep_whole(
        &self,
        store: &Store,
        reason: &'static str,
        delivery: &[u8],
        now_ms: i64,
    ) -> Result<Counts> {
        let (platform, account) = match self {
            Self::Quarantine(Proof::Account { platform, account, .. }, _) => (Some(*platform), Some(account)),
            Self::Quarantine(Proof::Global, _) | Self::Stay(_) => (None, None),
        };
        let kind = QuarantineKind::Delivery;
        let kept = Kept { reason, kind, platform, account, owner: None, identity: delivery, delivery };
        self.keep_delivery(store, kept, now_ms).await
    }

    async fn keep_delivery(&self, store: &Store, kept: Kept<'_>, now_ms: i64) -> Result<Counts> {
        let Kept { reason, kind, platform, account, owner, identity, delivery } = kept;
        let proof = match self {
            Self::Quarantine(proof, _) => proof,
            Self::Stay(first) => {
                first.get_or_init(|| reason);
                return Ok(Counts { quarantined: 1, ..Counts::default() });
            }
        };
        let quarantined = Quarantined { reason, kind, platform, account, proof, owner, identity, delivery };
        let stored = store.quarantine(&quarantined, now_ms).await?;
        let platform = platform.map(Platform::as_str);
        warn!(reason, platform, "kept in quarantine: {reason}");
        Ok(match stored {
            Stored::New => Counts { quarantined: 1, ..Counts::default() },
            Stored::Duplicate => Counts { duplicates: 1, ..Counts::default() },
        })
    }
}

struct Kept<'a> {
    reason: &'static str,
    kind: QuarantineKind,
    platform: Option<Platform>,
    account: Option<&'a AccountId>,
    owner: Option<&'a OrganizationId>,
    identity: &'a [u8],
    delivery: &'a [u8],
}

fn kind(kind: &EventKind) -> QuarantineKind {
    match kind {
        EventKind::Message(_) => QuarantineKind::Message,
        EventKind::Echo(_) => QuarantineKind::Echo,
        EventKind::Status(_) => QuarantineKind::Status,
        EventKind::Watermark(_) => QuarantineKind::Watermark,
        EventKind::Reaction(_) => QuarantineKind::Reaction,
        EventKind::Edit(_) => QuarantineKind::Edit,
        EventKind::Unsend(_) => QuarantineKind::Unsend,
        EventKind::Notice { .. } | EventKind::News(_) => QuarantineKind::Notice,
        EventKind::Unknown { .. } => QuarantineKind::Unknown,
    }
}

/// A message on its way into its thread, with the ids before and after a change that it may tell of.
struct Placed {
    thread: Thread,
    arrival: Arrival,
    changed_ids: Option<(Customer, Customer)>,
}

impl Inbound<'_> {
    /// Stores the events. Messages first, then what happens to messages, so that a delivery may hold both.
    pub async fn apply(&self, events: Vec<Event>) -> Counts {
        let mut counts = Counts::default();
        let mut messages = Vec::new();
        let mut others = Vec::new();
        let mut changes: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        // What is about the account itself: all of it is one write.
        let (mut told, mut refusals) = (Vec::new(), Vec::new());
        let mut ids = BTreeSet::new();
        for (place, event) in events.into_iter().enumerate() {
            // A microsecond apart: within one second, WhatsApp's resolution, a thread is ordered by arrival.
            let received_at = self.now_us + i64::try_from(place).unwrap_or(0);
            match &event.kind {
                // A delivery may tell a message twice: to its receiver, and to whoever stands by.
                EventKind::Message(IncomingMessage { external_id, .. })
                | EventKind::Echo(Echo { message: IncomingMessage { external_id, .. }, .. }) => {
                    if ids.insert(external_id.clone()) {
                        messages.push((event, received_at));
                    } else {
                        counts.duplicates += 1;
                    }
                }
                // All of one message together: each alone would lose the races against the others.
                EventKind::Reaction(Reaction { target, .. })
                | EventKind::Edit(Edit { target, .. })
                | EventKind::Unsend(Unsend { target, .. }) => {
                    changes.entry(target.clone()).or_default().push(event);
                }
                EventKind::News(news) => told.push(self.news_of_account(news)),
                _ => {
                    refusals.extend(self.refusal_of_account(&event));
                    others.push(event);
                }
            }
        }
        counts += self.apply_messages(messages).await;
        let mut outcomes = stream::iter(others).map(|event| self.apply_other(event)).buffer_unordered(CONCURRENCY);
        while let Some(outcome) = outcomes.next().await {
            counts += counted(outcome);
        }
        let mut outcomes =
            stream::iter(changes).map(|(target, events)| self.change(target, events)).buffer_unordered(CONCURRENCY);
        while let Some(outcome) = outcomes.next().await {
            counts += outcome;
        }
        counts += self.tell(told, refusals).await;
        counts
    }

    /// Tells the account's admin. Each of the news is an event of its own; a refusal is the status that it came with.
    async fn tell(&self, mut told: Vec<Told>, refusals: Vec<Told>) -> Counts {
        let news = told.len();
        told.extend(refusals);
        if told.is_empty() {
            return Counts::default();
        }
        match self.store.tell(self.organization, self.platform, self.account, &told).await {
            Ok(()) => Counts { stored: news, ..Counts::default() },
            Err(error) => Counts { failed: news.max(1), ..counted(Err(error)) },
        }
    }

    fn news_of_account(&self, news: &News) -> Told {
        let News { what, message, health, phone, timestamp } = news.clone();
        info!(what, platform = %self.platform, "noticed {what}");
        Told { at: timestamp.unwrap_or(self.now_ms()), kind: Some(what), message, health, phone, refused_a_send: false }
    }

    /// What a status says of the whole account, where it does.
    fn refusal_of_account(&self, event: &Event) -> Option<Told> {
        let EventKind::Status(StatusChange { error: Some(error), timestamp, .. }) = &event.kind else { return None };
        Told::refusal(error, timestamp.unwrap_or(self.now_ms()))
    }

    fn channel(&self) -> Channel {
        self.platform.into()
    }

    fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    fn external_id(&self, id: &str) -> ExternalId {
        ExternalId { channel: self.channel(), account: self.account.clone(), id: id.to_owned() }
    }

    async fn message_by_external_id(&self, id: &str) -> Result<Option<(ConversationId, MessageId)>> {
        self.store.message_by_external_id(self.organization, &self.external_id(id)).await
    }

    fn identity(&self, customer: &Customer) -> Result<Identity> {
        Identity::of(self.organization, self.channel(), self.account, customer)
            .ok_or_else(|| Error::internal("an event without any id of a customer"))
    }

    async fn apply_messages(&self, events: Vec<(Event, i64)>) -> Counts {
        let mut counts = Counts::default();
        let mut placed = Vec::new();
        let mut outcomes =
            stream::iter(events).map(|(event, received_at)| self.place(event, received_at)).buffered(CONCURRENCY);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(Ok(message)) => placed.push(message),
                Ok(Err(done)) => counts += done,
                Err(error) => counts += counted(Err(error)),
            }
        }
        let mut threads: BTreeMap<Identity, Vec<Placed>> = BTreeMap::new();
        for message in placed {
            threads.entry(message.thread.identity.clone()).or_default().push(message);
        }
        let mut outcomes =
            stream::iter(threads.into_values()).map(|messages| self.receive(messages)).buffer_unordered(CONCURRENCY);
        while let Some(outcome) = outcomes.next().await {
            counts += outcome;
        }
        counts
    }

    async fn receive(&self, messages: Vec<Placed>) -> Counts {
        let count = messages.len();
        match self.receive_thread(messages).await {
            Ok(counts) => counts,
            Err(error) => Counts { failed: count, ..counted(Err(error)) },
        }
    }

    async fn receive_thread(&self, messages: Vec<Placed>) -> Result<Counts> {
        let Some(first) = messages.first() else { return Ok(Counts::default()) };
        // What the delivery tells of the customer, all of it: names may come with one message and not with the other.
        let mut thread = first.thread.clone();
        for Placed { thread: of_message, .. } in &messages[1..] {
            thread.customer = thread.customer.and(of_message.customer.clone());
        }
        let arrivals: Vec<Arrival> = messages.iter().map(|message| message.arrival.clone()).collect();
        for Placed { thread, arrival, changed_ids } in &messages {
            if let Some((old_ids, new_ids)) = changed_ids {
                let (ids, at) = ((old_ids, new_ids), arrival.message.id.epoch_ms());
                Box::pin(self.store.change_identity(self.organization, thread, ids, at, self.now_ms())).await?;
            }
        }
        let received = self.store.receive(self.organization, &thread, &arrivals, self.now_ms()).await?;
        let new = received.iter().filter(|received| received.stored == Stored::New).count();
        Ok(Counts { stored: new, duplicates: received.len() - new, ..Counts::default() })
    }

    /// Where a message or an echo goes; `Err` counts what was done already.
    async fn place(&self, event: Event, received_at: i64) -> Result<Result<Placed, Counts>> {
        if let EventKind::Message(message) = &event.kind
            && !Message::fits(&message.content)
        {
            self.keep(&event, "too large for a message").await?;
        }
        match event.kind {
            EventKind::Message(message) => {
                let direction = Direction::Inbound;
                let sender = if message.from_customer { Sender::Customer } else { Sender::System };
                let (thread, stored) = self.message(&message, direction, sender, received_at).await?;
                let arrival =
                    Arrival { message: stored, preview: message.content.preview(), opens_window: message.opens_window };
                let changed_ids = message.also_known_as.map(|new_ids| (message.customer, new_ids));
                Ok(Ok(Placed { thread, arrival, changed_ids }))
            }
            EventKind::Echo(echo) => self.echo(echo, received_at).await,
            _ => Ok(Err(Counts::default())),
        }
    }

    async fn message(
        &self,
        incoming: &IncomingMessage,
        direction: Direction,
        sender: Sender,
        received_at: i64,
    ) -> Result<(Thread, Message)> {
        let identity = self.identity(&incoming.customer)?;
        let timestamp = self.timestamp(&identity.conversation, incoming.timestamp, &incoming.external_id).await?;
        let id = MessageId::of(timestamp, &incoming.external_id);
        let message = Message {
            external_id: Some(incoming.external_id.clone()),
            reply_to_external: incoming.reply_to.clone(),
            ..Message::new(id, identity.partition().clone(), direction, sender, &incoming.content, received_at)
        };
        let account = self.account.clone();
        let customer = match incoming.also_known_as.clone() {
            None => Profile::told(incoming.customer.clone(), timestamp),
            // Who changes an id is reached by the new one from then on.
            Some(new_ids) => {
                Profile::told(incoming.customer.clone(), timestamp - 1).and(Profile::told(new_ids, timestamp))
            }
        };
        Ok((Thread { identity, channel: self.channel(), account, customer }, message))
    }

    /// A usable time: the provider's, or where that is none, when the event came for the first time.
    async fn timestamp(&self, conversation: &ConversationId, told: Option<i64>, external_id: &str) -> Result<i64> {
        match told {
            Some(timestamp) => Ok(timestamp),
            None => self.store.first_seen(self.organization, conversation, external_id, self.now_ms()).await,
        }
    }

    /// A message of the business: ours coming back, or one that was written elsewhere.
    async fn echo(&self, echo: Echo, received_at: i64) -> Result<Result<Placed, Counts>> {
        let message = echo.message;
        let update = Update {
            status: Status::Sent,
            at: message.timestamp.unwrap_or(self.now_ms()),
            external_id: Some(self.external_id(&message.external_id)),
            error: None,
        };
        if let Some((conversation, id)) = echo.callback_data.as_deref().and_then(parse_callback_data) {
            let change = self.store.raise_status(self.organization, &conversation, &id, &update).await?;
            if change != Change::NoMessage {
                return Ok(Err(counts_of(change)));
            }
        }
        if self.platform != Platform::Whatsapp
            && let Some(own) = self.own_message(&message).await?
        {
            let change = self.store.raise_status(self.organization, &own.conversation_id, &own.id, &update).await?;
            return Ok(Err(counts_of(change)));
        }
        let (thread, stored) = self.message(&message, Direction::Outbound, Sender::Operator, received_at).await?;
        let sent_at = stored.id.epoch_ms();
        let arrival = Arrival {
            message: stored.with_status(Status::Sent, sent_at),
            preview: message.content.preview(),
            opens_window: false,
        };
        Ok(Ok(Placed { thread, arrival, changed_ids: None }))
    }

    /// The message of ours that an echo without our callback data is the echo of: known by the provider's id, or still waiting for
    /// the provider's answer with the same text.
    async fn own_message(&self, echo: &IncomingMessage) -> Result<Option<Message>> {
        let identity = self.identity(&echo.customer)?;
        let Some(conversation) = self.store.conversation(self.organization, identity.partition()).await? else {
            return Ok(None);
        };
        let partitions = conversation.partitions();
        let (recent, _) = self.store.messages(self.organization, &partitions, None, ECHO_LOOK_BACK).await?;
        let is_known = |message: &&Message| message.external_id.as_deref() == Some(echo.external_id.as_str());
        if let Some(known) = recent.iter().filter(|message| message.operator_id.is_some()).find(is_known) {
            return Ok(Some(known.clone()));
        }
        // The echo may come when much has been written since.
        if let Some((conversation, id)) = self.message_by_external_id(&echo.external_id).await?
            && let Some(known) = self.store.message(self.organization, &conversation, &id).await?
        {
            return Ok(known.operator_id.is_some().then_some(known));
        }
        let waiting = recent.into_iter().rev().find(|message| {
            // Also one whose id the provider has answered, and that could not be stored.
            matches!(message.status, Some(Status::Sending | Status::Unknown | Status::Accepted))
                && message.external_id.is_none()
                && message.text == echo.content.text
        });
        Ok(waiting)
    }

    async fn apply_other(&self, event: Event) -> Result<Counts> {
        if let EventKind::Unknown { reason } = event.kind {
            return self.keep(&event, reason).await;
        }
        match event.kind {
            EventKind::Status(change) => self.status(change).await,
            EventKind::Watermark(watermark) => self.watermark(watermark).await,
            EventKind::Notice { what } => {
                info!(what, platform = %self.platform, "noticed {what}");
                Ok(Counts { ignored: 1, ..Counts::default() })
            }
            EventKind::Message(_)
            | EventKind::Echo(_)
            | EventKind::News(_)
            | EventKind::Reaction(_)
            | EventKind::Edit(_)
            | EventKind::Unsend(_)
            | EventKind::Unknown { .. } => Ok(Counts::default()),
        }
    }

    async fn keep(&self, event: &Event, reason: &'static str) -> Result<Counts> {
        let misfit = Misfit { reason, event, account: Some(self.account), owner: Some(self.organization) };
        self.misfits.keep(self.store, misfit, self.now_ms()).await
    }

    async fn status(&self, change: StatusChange) -> Result<Counts> {
        if change.status == Status::Failed {
            let code = change.error.as_ref().map_or("none", |error| error.code.as_str());
            warn!(platform = %self.platform, provider.code = code, "the provider could not deliver a message");
        }
        if let Some((conversation, id)) = change.callback_data.as_deref().and_then(parse_callback_data) {
            let update = Update {
                status: change.status,
                at: change.timestamp.unwrap_or(self.now_ms()),
                external_id: Some(self.external_id(&change.external_id)),
                error: change.error.clone(),
            };
            let raised = self.store.raise_status(self.organization, &conversation, &id, &update).await?;
            if raised != Change::NoMessage {
                return Ok(counts_of_status(change.status, counts_of(raised)));
            }
        }
        let (id, status) = (change.external_id.clone(), change.status);
        let counts = self.told(&id, vec![MessageChange::Status(change)]).await?;
        Ok(counts_of_status(status, counts))
    }

    async fn watermark(&self, watermark: Watermark) -> Result<Counts> {
        let identity = self.identity(&watermark.customer)?;
        let up_to = match &watermark.up_to {
            UpTo::Time(up_to) => *up_to,
            UpTo::Message(external_id) => {
                let id = external_id.clone();
                return self.told(&id, vec![MessageChange::Watermark(watermark)]).await;
            }
        };
        self.store.raise_watermark(self.organization, identity.partition(), watermark.status, up_to).await?;
        Ok(Counts { stored: 1, ..Counts::default() })
    }

    /// What happened to a message that was there before, or will be.
    async fn change(&self, target: String, events: Vec<Event>) -> Counts {
        let count = events.len();
        let outcome = async {
            let mut changes = Vec::with_capacity(count);
            for event in events {
                changes.extend(self.timed(event).await?);
            }
            let reacted = changes.iter().filter_map(reaction_of_customer).max_by_key(|(_, at)| *at);
            let reacted = reacted.map(|(customer, at)| (customer.clone(), at));
            let counts = self.told(&target, changes).await?;
            if let Some((customer, at)) = reacted
                && counts.ignored == 0
                && window::reaction_opens_it(self.platform)
            {
                let identity = self.identity(&customer)?;
                self.store.open_window(self.organization, identity.partition(), at).await?;
            }
            Ok(counts)
        };
        outcome.await.unwrap_or_else(|error| Counts { failed: count, ..counted(Err(error)) })
    }

    /// A change with a usable time.
    async fn timed(&self, event: Event) -> Result<Option<MessageChange>> {
        let too_large = match &event.kind {
            EventKind::Edit(edit) => !Message::fits(&edit.content),
            EventKind::Reaction(reaction) => reaction.emoji.as_ref().is_some_and(|emoji| emoji.len() > EMOJI_MAX_BYTES),
            _ => false,
        };
        if too_large {
            self.keep(&event, "too large for a message").await?;
        }
        let at = async |customer: &Customer, told, id: &str| {
            self.timestamp(&self.identity(customer)?.conversation, told, id).await.map(Some)
        };
        Ok(match event.kind {
            EventKind::Reaction(mut reaction) => {
                reaction.timestamp = at(&reaction.customer, reaction.timestamp, &reaction.external_id).await?;
                Some(MessageChange::Reaction(reaction))
            }
            EventKind::Edit(mut edit) => {
                edit.timestamp = at(&edit.customer, edit.timestamp, &edit.external_id).await?;
                Some(MessageChange::Edit(edit))
            }
            EventKind::Unsend(mut unsend) => {
                unsend.timestamp = at(&unsend.customer, unsend.timestamp, &unsend.external_id).await?;
                Some(MessageChange::Unsend(unsend))
            }
            _ => None,
        })
    }

    /// What is told of a message by its external id.
    async fn told(&self, id: &str, changes: Vec<MessageChange>) -> Result<Counts> {
        let external_id = self.external_id(id);
        let settled = self.store.change_message(self.organization, &external_id, changes, self.now_ms()).await?;
        let mut counts = Counts::default();
        for settled in settled {
            match settled {
                Settled::Applied(Stored::New) | Settled::Pending => counts.stored += 1,
                Settled::Applied(Stored::Duplicate) => counts.duplicates += 1,
                Settled::Refused => counts.ignored += 1,
            }
        }
        Ok(counts)
    }
}

/// Who reacted when, where that was the customer.
fn reaction_of_customer(change: &MessageChange) -> Option<(&Customer, i64)> {
    match change {
        MessageChange::Reaction(Reaction { by: Party::Customer, emoji: Some(_), customer, timestamp, .. }) => {
            Some((customer, (*timestamp)?))
        }
        _ => None,
    }
}

/// Our own name of a message, as it travels with a send and comes back with its statuses.
#[must_use]
pub fn callback_data(conversation: &ConversationId, id: &MessageId) -> String {
    format!("{conversation}.{id}")
}

fn parse_callback_data(text: &str) -> Option<(ConversationId, MessageId)> {
    let (conversation, id) = text.split_once('.')?;
    Some((conversation.parse().ok()?, id.parse().ok()?))
}

fn counted(outcome: Result<Counts>) -> Counts {
    outcome.unwrap_or_else(|error| {
        tracing::error!("an event was not stored: {}", crate::http::causes(&error));
        Counts { failed: 1, ..Counts::default() }
    })
}

fn counts_of(change: Change) -> Counts {
    match change {
        Change::Raised => Counts { stored: 1, ..Counts::default() },
        Change::Unchanged | Change::NoMessage => Counts { duplicates: 1, ..Counts::default() },
    }
}

fn counts_of_status(status: Status, counts: Counts) -> Counts {
    Counts { undelivered: if status == Status::Failed { counts.stored } else { 0 }, ..counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callback_data_is_read_back() {
        let conversation: ConversationId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let id = MessageId::of(1_767_877_200_000, "x");
        let text = callback_data(&conversation, &id);
        assert!(text.len() <= 256, "the platform keeps no more");
        assert_eq!(parse_callback_data(&text), Some((conversation, id)));
        assert_eq!(parse_callback_data("msg_01JH"), None);
    }
}
