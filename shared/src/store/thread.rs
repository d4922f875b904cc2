//! A conversation receives messages: each put and the conversation told of them, side by side.

use futures_util::{StreamExt, stream};

use super::{Activity, LastMessage, Message, Received, Recorded, Store, Stored};
use crate::{
    error::Result,
    event::Customer,
    id::{AccountId, OrganizationId},
    identity::Identity,
    message::{Direction, Sender},
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
    /// The customer, with what is newly known.
    pub customer: Customer,
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

/// How many puts of one thread are under way at once.
const PUTS: usize = 32;

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
        let Some(told) = activity(thread, arrivals, None) else { return Ok(Vec::new()) };
        let puts =
            stream::iter(0..arrivals.len()).map(|index| self.put_message(organization, &arrivals[index].message));
        let puts = puts.buffered(PUTS).collect::<Vec<Result<Received>>>();
        let recorded = self.record_activity(organization, &told, now_ms);
        let (received, recorded) = futures_util::future::join(puts, recorded).await;
        let recorded = recorded?;
        // Also where a put failed, what was known before must not stand there as news: the repetition could not tell any more.
        if let Some(activity) = activity(thread, arrivals, Some(&received))
            && (matches!(recorded, Recorded::Done(_)) || received.iter().all(Result::is_ok))
        {
            self.settle_activity(organization, &told, recorded, &activity, now_ms).await?;
        }
        received.into_iter().collect()
    }
}

/// What the messages change on their conversation; with `received`, messages that had come before count with their first arrival.
fn activity(thread: &Thread, arrivals: &[Arrival], received: Option<&[Result<Received>]>) -> Option<Activity> {
    let arrived_at = |index: usize| match received.and_then(|received| received.get(index)) {
        Some(Ok(Received { stored: Stored::Duplicate, received_at })) => *received_at,
        _ => arrivals[index].message.received_at,
    };
    let newest =
        (0..arrivals.len()).max_by_key(|index| (arrivals[*index].message.id.epoch_ms(), arrived_at(*index)))?;
    let highest = arrivals.iter().map(|arrival| &arrival.message.id).max()?;
    let inbound: Vec<usize> = (0..arrivals.len())
        .filter(|index| {
            let message = &arrivals[*index].message;
            message.direction == Direction::Inbound && message.sender == Sender::Customer
        })
        .collect();
    let last_received = inbound.iter().copied().max_by_key(|index| arrived_at(*index));
    let last = &arrivals[newest];
    Some(Activity {
        conversation: thread.identity.conversation.clone(),
        also: thread.identity.also.clone(),
        channel: thread.channel,
        account: thread.account.clone(),
        customer: thread.customer.clone(),
        last: LastMessage {
            // Of one millisecond, the highest id is the one that a repetition is compared with.
            id: highest.clone(),
            text: last.preview.clone(),
            sender: last.message.sender,
            received_at: arrived_at(newest),
        },
        last_inbound_at: arrivals
            .iter()
            .filter(|arrival| arrival.opens_window)
            .map(|arrival| arrival.message.id.epoch_ms())
            .max(),
        last_received_at: last_received.map(arrived_at),
        last_received: last_received.map(|index| arrivals[index].message.id.clone()),
        first_inbound: inbound.iter().map(|index| arrivals[*index].message.id.clone()).min(),
    })
}
