//! A conversation receives messages: each put and the conversation told of them, side by side.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Activity, ExternalId, INSERTS, LastMessage, Message, Received, Recorded, Store, Stored, external_id, keys,
    merge::Home, with_key,
};
use crate::{
    error::{Error, Result},
    event::Profile,
    id::{AccountId, MessageId, OrganizationId},
    identity::Identity,
    platform::Channel,
};

/// Whose conversation it is.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Where its customer's ids lead.
    pub identity: Identity,
    /// The channel.
    pub channel: Channel,
    /// The account.
    pub account: AccountId,
    /// What is told of the customer.
    pub customer: Profile,
}

/// A message that arrives in a thread.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The message.
    pub message: Message,
    /// What the inbox shows of it.
    pub preview: String,
    /// It opens the messaging window.
    pub opens_window: bool,
}

/// How many calls that store messages of one thread are under way at once.
const CALLS: usize = 8;
/// How many messages one call stores: each is two items.
const MESSAGES_PER_CALL: usize = INSERTS / 2;
/// How many messages that had come before are looked at at once.
const LOOK_UPS: usize = 32;

impl Thread {
    fn external_id(&self, message: &Message) -> Option<ExternalId> {
        let id = message.external_id.as_ref()?;
        // Who records messages names them within a conversation; a platform's ids are unique on the account.
        let id = match self.channel.platform() {
            Some(_) => id.clone(),
            None => format!("{}#{id}", message.conversation_id),
        };
        Some(ExternalId { channel: self.channel, account: self.account.clone(), id })
    }
}

impl Store {
    /// Stores messages of one conversation. Harmless to repeat, free of order.
    ///
    /// # Errors
    /// When the table does not answer; then the whole call has to be repeated.
    pub async fn receive(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        arrivals: &[Arrival],
        now_ms: i64,
    ) -> Result<Vec<Received>> {
        let Some((told, _)) = activity(thread, arrivals, &[]) else { return Ok(Vec::new()) };
        let calls: Vec<_> =
            arrivals.chunks(MESSAGES_PER_CALL).map(|some| self.store(organization, thread, some)).collect();
        let calls = stream::iter(calls).buffered(CALLS).collect::<Vec<_>>();
        let recorded = self.record_activity(organization, &told, now_ms);
        let (calls, recorded) = futures_util::future::join(calls, recorded).await;
        let mut recorded = recorded?;
        let mut failure = None;
        let mut received: Vec<Option<Received>> = Vec::new();
        for (stored, some) in calls.into_iter().zip(arrivals.chunks(MESSAGES_PER_CALL)) {
            match stored {
                Ok(stored) => received.extend(stored.into_iter().map(Some)),
                Err(error) => {
                    received.extend(some.iter().map(|_| None));
                    failure = Some(error);
                }
            }
        }
        let untrue: Vec<&MessageId> = arrivals
            .iter()
            .zip(&received)
            .filter(|(arrival, received)| received.as_ref().is_some_and(|received| !received.is(&arrival.message)))
            .map(|(arrival, _)| &arrival.message.id)
            .collect();
        if !untrue.is_empty() {
            Box::pin(self.withdraw_activity(organization, &told, &recorded, &untrue)).await?;
            recorded = Recorded::Behind(None);
        }
        // Also where a put failed, what was known before must not stand there as news: the repetition could not tell any more.
        if let Some((mut activity, newest)) = activity(thread, arrivals, &received)
            && (matches!(recorded, Recorded::Done(_)) || failure.is_none())
        {
            if !self.is_settled(organization, &told, &recorded, &activity) {
                self.show_as_it_is(organization, &mut activity, received.get(newest)).await?;
            }
            if !self.settle_activity(organization, &told, recorded, &activity, now_ms).await? {
                Box::pin(self.settle_by_identity(organization, thread, arrivals, &received, now_ms)).await?;
            }
        }
        let received_now = arrivals.iter().zip(&received);
        for (Arrival { message, .. }, received) in received_now {
            if let Some(Received { has_pending: true, conversation, id, .. }) = received
                && let Some(external_id) = thread.external_id(message)
            {
                let place = (conversation.clone(), id.clone());
                Box::pin(self.apply_pending(organization, &external_id, &place)).await?;
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(received.into_iter().flatten().collect()),
        }
    }

    /// Tells each conversation of its messages: whose they are depends on their time where a number has changed hands.
    async fn settle_by_identity(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        arrivals: &[Arrival],
        received: &[Option<Received>],
        now_ms: i64,
    ) -> Result<()> {
        const RACES: usize = 8;
        for _ in 0..RACES {
            let mut homes: Vec<(Home, Vec<Arrival>, Vec<Option<Received>>)> = Vec::new();
            for (index, arrival) in arrivals.iter().enumerate() {
                let received = received.get(index).cloned().flatten();
                let at = received.as_ref().map_or(&arrival.message.id, |received| &received.id).epoch_ms();
                let known = homes.iter_mut().find(|(home, ..)| thread.identity.user.is_none() && home.covers(at));
                if let Some((_, arrivals, all_received)) = known {
                    arrivals.push(arrival.clone());
                    all_received.push(received);
                    continue;
                }
                let home = self.resolve_identity(organization, thread, at, now_ms).await?;
                homes.push((home, vec![arrival.clone()], vec![received]));
            }
            let mut is_settled = true;
            for (home, arrivals, received) in homes {
                let Some((mut activity, newest)) = activity(thread, &arrivals, &received) else { continue };
                self.show_as_it_is(organization, &mut activity, received.get(newest)).await?;
                is_settled &= self.reconcile(organization, home, &activity, now_ms).await?;
            }
            if is_settled {
                return Ok(());
            }
        }
        Err(Error::Unavailable("a customer's ids changed faster than they could be followed".into()))
    }

    /// What had come before may have been edited or taken back since.
    async fn show_as_it_is(
        &self,
        organization: &OrganizationId,
        activity: &mut Activity,
        received: Option<&Option<Received>>,
    ) -> Result<()> {
        if let Some(Some(Received { stored: Stored::Duplicate, conversation, id, .. })) = received
            && let Some(known) = self.message(organization, conversation, id).await?
        {
            activity.last.text = known.preview();
        }
        Ok(())
    }

    /// Stores messages, each with what names it, in one call where all are new.
    async fn store(
        &self,
        organization: &OrganizationId,
        thread: &Thread,
        arrivals: &[Arrival],
    ) -> Result<Vec<Received>> {
        let external_ids: Vec<_> = arrivals.iter().map(|arrival| thread.external_id(&arrival.message)).collect();
        let mut items = Vec::with_capacity(2 * arrivals.len());
        for (Arrival { message, .. }, external_id) in arrivals.iter().zip(&external_ids) {
            let key = keys::message(organization, &message.conversation_id, &message.id);
            items.push(with_key(message.to_item()?, &key));
            items.extend(external_id.as_ref().map(|id| external_id::naming(organization, id, message)));
        }
        let mut absent = self.insert(&items).await?.into_iter();
        let mut settled = Vec::with_capacity(arrivals.len());
        for (Arrival { message, .. }, external_id) in arrivals.iter().zip(&external_ids) {
            let is_new = absent.next().unwrap_or_default();
            let is_named = external_id.is_none() || absent.next().unwrap_or_default();
            settled.push(async move {
                match external_id {
                    Some(id) if !is_named => Box::pin(self.settle_external_id(organization, id, message, is_new)).await,
                    _ => self.received(organization, message, is_new).await,
                }
            });
        }
        stream::iter(settled).buffered(LOOK_UPS).try_collect().await
    }

    /// What became of a message that has its external id.
    async fn received(&self, organization: &OrganizationId, message: &Message, is_new: bool) -> Result<Received> {
        let (stored, received_at) = if is_new {
            (Stored::New, message.received_at)
        } else {
            let known = self.message(organization, &message.conversation_id, &message.id).await?;
            (Stored::Duplicate, known.map_or(message.received_at, |known| known.received_at))
        };
        let (conversation, id) = (message.conversation_id.clone(), message.id.clone());
        Ok(Received { stored, conversation, id, received_at, has_pending: false })
    }
}

/// What the messages change on their conversation; with `received`, messages that had come before count with their first
/// arrival and time, and not at all where they belong elsewhere. With the place of the newest; `None` where nothing is left.
fn activity(thread: &Thread, arrivals: &[Arrival], received: &[Option<Received>]) -> Option<(Activity, usize)> {
    struct Arrived<'a> {
        index: usize,
        arrival: &'a Arrival,
        id: &'a MessageId,
        at: i64,
    }
    let arrived: Vec<_> = (0..arrivals.len())
        .filter_map(|index| {
            let arrival = &arrivals[index];
            Some(match received.get(index).and_then(Option::as_ref) {
                None => Arrived { index, arrival, id: &arrival.message.id, at: arrival.message.received_at },
                Some(first) if first.conversation == arrival.message.conversation_id => {
                    Arrived { index, arrival, id: &first.id, at: first.received_at }
                }
                Some(_) => return None,
            })
        })
        .collect();
    let newest = arrived.iter().max_by_key(|arrived| (arrived.id.epoch_ms(), arrived.at))?;
    let highest = arrived.iter().map(|arrived| arrived.id).max()?;
    let inbound = || arrived.iter().filter(|arrived| arrived.arrival.message.is_from_customer());
    let last_received = inbound().max_by_key(|arrived| arrived.at);
    let opening = arrived.iter().filter(|arrived| arrived.arrival.opens_window);
    let activity = Activity {
        conversation: thread.identity.conversation.clone(),
        also: thread.identity.user.iter().cloned().collect(),
        channel: thread.channel,
        account: thread.account.clone(),
        customer: thread.customer.clone(),
        last: LastMessage {
            // Of one millisecond, the highest id is the one that a repetition is compared with.
            id: highest.clone(),
            shown: newest.id.clone(),
            text: newest.arrival.preview.clone(),
            sender: newest.arrival.message.sender,
            received_at: newest.at,
        },
        last_inbound_at: opening.map(|arrived| arrived.id.epoch_ms()).max(),
        last_received_at: last_received.map(|arrived| arrived.at),
        last_received: last_received.map(|arrived| arrived.id.clone()),
        first_inbound: inbound().map(|arrived| arrived.id.clone()).min(),
        is_addressed: false,
    };
    Some((activity, newest.index))
}
