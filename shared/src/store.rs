//! The table: its client, and the few calls that everything else is made of.

mod activity;
mod audit;
mod change;
mod conversation;
mod conversation_item;
mod conversation_update;
mod expression;
mod external_id;
mod inbox;
mod integration;
mod journal;
pub mod keys;
mod merge;
mod message;
mod outbound;
mod partition;
mod phone_number;
mod problem;
mod profile;
mod quarantine;
mod query;
mod status;
mod thread;
mod transaction;

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{
        AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, ReturnValue,
        ReturnValuesOnConditionCheckFailure,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::debug;

pub use activity::{Activity, LastMessage, Recorded};
pub use audit::{AuditAction, AuditEntry};
pub use change::{EMOJI_MAX_BYTES, Settled};
pub use conversation::{Conversation, ConversationStatus, ReadThrough};
pub use conversation_update::{Assignee, Changes, LABELS_MAX};
pub use external_id::ExternalId;
pub use inbox::{InboxFilter, InboxPage};
pub use integration::{
    ACCOUNT_LOST, Claim, Connection, ConnectionStatus, Credentials, Health, HealthStatus, Integration, KEY_REFUSED,
    KEY_UNREADABLE, Notice, OwnAccount, Owner, OwnerStatus, Told, WEBHOOK_ELSEWHERE,
};
pub use journal::{ENTRY_EVENTS_MAX, Journaled, Page as JournalPage};
pub use message::{Message, MessageType, ReactionEntry, ReadMark, Received, UnreadMessage};
pub use outbound::{Answer, Begun, Note, Outcome, Reply, Writing, unique_name};
pub use partition::Partition;
pub use quarantine::{Audience, Chosen, QuarantineEntry, QuarantineKind, QuarantinePage, Quarantined};
pub use status::{Change, Update};
pub use thread::{Arrival, Thread};

use self::{expression::Expression, keys::Key};
use crate::{
    aws, config,
    error::{Cause, Error, Result},
    id::ConversationId,
};

/// An item as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// How many requests a process has under way at once. A delivery of a thousand updates would otherwise open as many connections
/// as it can, and its requests would run into their time limit while they wait for each other.
const REQUESTS: usize = 32;

/// How many items one call inserts at most; a limit of `DynamoDB`.
const INSERTS: usize = 25;
/// How often an insertion is tried that the table could not do at that moment. The SDK repeats calls, not parts of one.
const INSERT_ATTEMPTS: u32 = 4;
const INSERT_BACKOFF: Duration = Duration::from_millis(50);

/// The table.
pub struct Store {
    client: Client,
    table: String,
    permits: Semaphore,
    /// Aliases that were followed: they never change, so a process follows each once.
    aliases: Mutex<HashMap<ConversationId, ConversationId>>,
    /// The partitions of the quarantine whose names are stored already: a process stores each once.
    partitions: Mutex<HashSet<String>>,
    /// The refused attempts that are in the audit trail already.
    refusals: Mutex<HashSet<String>>,
}

/// Whether a write was the first of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was.
    New,
    /// It had been written before; nothing changed.
    Duplicate,
}

/// What came of a conditional write.
enum Written {
    /// Done; the item as it is now, unless it was asked for as it was.
    Done(Item),
    /// The condition did not hold; the item as it is, when there is one.
    Refused(Option<Item>),
}

impl Store {
    /// A store on any client: the embedded engine's in tests.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
            permits: Semaphore::new(REQUESTS),
            aliases: Mutex::default(),
            partitions: Mutex::default(),
            refusals: Mutex::default(),
        }
    }

    /// The table that the environment names, with its connection opened already: that then costs the start, not the
    /// first request.
    ///
    /// # Errors
    /// When the environment is incomplete.
    pub async fn from_env() -> Result<Self, Cause> {
        let store = Self::new(aws::dynamodb(&config::Aws::from_env()?)?, config::table_name()?);
        let nothing = Key { pk: "WARM".into(), sk: "WARM".into() };
        let request = store.client.get_item().table_name(&store.table).set_key(Some(nothing.attributes()));
        if let Err(error) = request.send().await {
            debug!("the connection to the table is not open yet: {}", fault("GetItem", &error));
        }
        Ok(store)
    }

    /// A permit to ask the table, held until it has answered.
    async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        self.permits.acquire().await.map_err(Error::internal)
    }

    /// One item, as it is after every write that was answered before.
    async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        self.get_item(key).await?.map(read).transpose()
    }

    async fn get_item(&self, key: &Key) -> Result<Option<Item>> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let _permit = self.permit().await?;
        let output = request.set_key(Some(key.attributes())).send().await.map_err(|error| fault("GetItem", &error))?;
        Ok(output.item)
    }

    async fn update(&self, key: &Key, expression: Expression) -> Result<Written> {
        self.update_returning(key, expression, ReturnValue::AllNew).await
    }

    async fn update_returning(&self, key: &Key, expression: Expression, returned: ReturnValue) -> Result<Written> {
        let (update, conditions) = (expression.update(), expression.conditions());
        let (names, values) = expression.into_names_and_values();
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .set_update_expression(update)
            .set_condition_expression(conditions)
            .set_expression_attribute_names((!names.is_empty()).then_some(names))
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values(returned)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let _permit = self.permit().await?;
        match request.send().await {
            Ok(output) => Ok(Written::Done(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                    Ok(Written::Refused(failure.item.clone()))
                }
                _ => Err(fault("UpdateItem", &error)),
            },
        }
    }

    /// Writes items that are not there yet, each for itself, at most [`INSERTS`] of them in one call: whether each was absent. A
    /// call that repeats itself after its answer was lost finds its own items there.
    async fn insert(&self, items: &[Item]) -> Result<Vec<bool>> {
        let mut absent: Vec<Option<bool>> = vec![None; items.len()];
        let mut reason = String::new();
        for attempt in 0..INSERT_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(INSERT_BACKOFF * 2_u32.pow(attempt - 1)).await;
            }
            let open: Vec<usize> = (0..items.len()).filter(|index| absent[*index].is_none()).collect();
            let statements = open.iter().map(|index| insertion(&self.table, &items[*index])).collect::<Result<_>>()?;
            let request = self.client.batch_execute_statement().set_statements(Some(statements));
            let permit = self.permit().await?;
            let output = request.send().await.map_err(|error| fault("BatchExecuteStatement", &error))?;
            drop(permit);
            for (index, response) in open.into_iter().zip(output.responses.unwrap_or_default()) {
                use BatchStatementErrorCodeEnum::{AccessDenied, DuplicateItem, ResourceNotFound, ValidationError};
                match response.error.map(|error| error.code) {
                    None => absent[index] = Some(true),
                    Some(Some(DuplicateItem)) => absent[index] = Some(false),
                    Some(Some(code @ (AccessDenied | ResourceNotFound | ValidationError))) => {
                        return Err(Error::internal(format!("an insertion is refused: {code}")));
                    }
                    Some(code) => reason = code.map(|code| code.to_string()).unwrap_or_default(),
                }
            }
            if let Some(absent) = absent.iter().copied().collect() {
                return Ok(absent);
            }
        }
        Err(Error::Unavailable(format!("an insertion was not done: {reason}").into()))
    }

    /// Writes an item, whatever is there.
    async fn put(&self, item: Item) -> Result<()> {
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let _permit = self.permit().await?;
        request.send().await.map(drop).map_err(|error| fault("PutItem", &error))
    }

    /// Writes an item that is not there yet; the one that is there, when it is.
    async fn put_if_absent(&self, key: &Key, item: Item) -> Result<Option<Item>> {
        self.put_if(key, item, &Expression::default().if_item_absent()).await
    }

    /// Writes an item on a condition; the one that is there, where that does not hold.
    async fn put_if(&self, key: &Key, item: Item, condition: &Expression) -> Result<Option<Item>> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(with_key(item, key)))
            .set_condition_expression(condition.conditions())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let _permit = self.permit().await?;
        match request.send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failure)) => {
                    Ok(Some(failure.item.clone().unwrap_or_default()))
                }
                _ => Err(fault("PutItem", &error)),
            },
        }
    }
}

/// The statement that writes an item where there is none. Sorted, so that all of one kind of item are the same text.
fn insertion(table: &str, item: &Item) -> Result<BatchStatementRequest> {
    const FOR_EACH: usize = 24;
    let mut attributes: Vec<_> = item.iter().collect();
    attributes.sort_unstable_by_key(|(name, _)| *name);
    // In one piece: this is done for each message.
    let mut statement = String::with_capacity(table.len() + FOR_EACH * (attributes.len() + 1));
    statement.extend(["INSERT INTO \"", table, "\" VALUE {"]);
    let mut values = Vec::with_capacity(attributes.len());
    for (name, value) in attributes {
        statement.extend([if values.is_empty() { "'" } else { ", '" }, name, "': ?"]);
        values.push(value.clone());
    }
    statement.push('}');
    BatchStatementRequest::builder().statement(statement).set_parameters(Some(values)).build().map_err(Error::internal)
}

fn with_key(mut item: Item, key: &Key) -> Item {
    item.extend(key.attributes());
    item
}

fn read<T: DeserializeOwned>(item: Item) -> Result<T> {
    serde_dynamo::from_item(item).map_err(|error| Error::internal(Misfit::new::<T>(&error)))
}

/// An item that is not what it is read as. The error of the parser repeats what the item holds; this names the field at most.
#[derive(Debug, thiserror::Error)]
#[error("an item does not fit {entity}: {problem}")]
pub(crate) struct Misfit {
    entity: &'static str,
    problem: String,
}

impl Misfit {
    pub(crate) fn new<T>(error: &serde_dynamo::Error) -> Self {
        let text = error.to_string();
        let problem = if text.starts_with("missing field") { text } else { "a value of the wrong type".to_owned() };
        Self { entity: std::any::type_name::<T>(), problem }
    }
}

fn write<T: serde::Serialize>(entity: T) -> Result<Item> {
    serde_dynamo::to_item(entity).map_err(Error::internal)
}

/// A fault of the table as the caller of a function sees it: worth a repetition, except where the request itself is wrong.
fn fault<E: ProvideErrorMetadata>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Error {
    let is_ours =
        matches!(error.code(), Some("ValidationException" | "AccessDeniedException" | "ResourceNotFoundException"));
    let cause = aws::Fault::new(operation, error);
    if is_ours { Error::internal(cause) } else { Error::Unavailable(cause.into()) }
}
