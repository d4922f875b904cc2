//! Appends what the stream tells of to the journal of each organization, in the order in which it happened. A batch that comes again,
//! whole or in parts, appends what is not there yet.

use std::collections::HashMap;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use shared::{
    Result,
    changes::{self, Record},
    clock,
    http::causes,
    id::OrganizationId,
    metrics,
    store::{Conversation, Partition, Store, keys::Subject},
};
use tracing::{error, warn};

/// How many journals are written at once.
const CONCURRENCY: usize = 8;

/// From where on Lambda has to give the batch again; nothing where all is written.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriteJournalResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

pub(crate) async fn handle(store: &Store, event: &Value) -> WriteJournalResponse {
    let records: &[Value] = event["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut by_organization: HashMap<OrganizationId, Vec<(usize, Record)>> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        match Record::read(record) {
            Ok(record) => {
                if let Some(subject) = record.subject() {
                    by_organization.entry(subject.organization().clone()).or_default().push((index, record));
                }
            }
            // It would be no other when it comes again, and hold up all that follows.
            Err(error) => error!("a record of the stream is left out: {}", causes(&error)),
        }
    }
    let now_ms = clock::now_ms();
    let written = by_organization.into_iter().map(|(organization, records)| async move {
        let first = records.first().map(|(index, _)| *index);
        let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
        match append(store, &organization, &records, now_ms).await {
            Ok(appended) => {
                metrics::journaled(appended);
                None
            }
            Err(error) => {
                warn!(organization.id = %organization, "a journal is written later: {}", causes(&error));
                first
            }
        }
    });
    let failed: Vec<Option<usize>> = stream::iter(written).buffer_unordered(CONCURRENCY).collect().await;
    let failed = failed.into_iter().flatten().min().and_then(|index| records.get(index));
    let failed = failed.and_then(|record| record["dynamodb"]["SequenceNumber"].as_str());
    let failure = failed.map(|sequence| BatchItemFailure { item_identifier: sequence.to_owned() });
    WriteJournalResponse { batch_item_failures: failure.into_iter().collect() }
}

async fn append(store: &Store, organization: &OrganizationId, records: &[Record], now_ms: i64) -> Result<usize> {
    let mut conversations: Vec<(Partition, Option<Conversation>)> = Vec::new();
    let mut made = Vec::new();
    for record in records {
        let conversation = match record.subject() {
            Some(Subject::Message(_, id, message)) => {
                let at = message.epoch_ms();
                let is_its = |part: &Partition| part.id == id && part.contains(at);
                if !conversations.iter().any(|(part, _)| is_its(part)) {
                    conversations.push(store.conversation_at(organization, &id, at).await?);
                }
                conversations.iter().find(|(part, _)| is_its(part)).and_then(|(_, conversation)| conversation.as_ref())
            }
            _ => None,
        };
        match changes::of(record, conversation) {
            Ok(changes) => made.extend(changes),
            Err(error) => {
                error!(organization.id = %organization, "a change is not in the journal: {}", causes(&error));
            }
        }
    }
    let since_ms = records.iter().map(Record::at).min().unwrap_or(now_ms);
    store.append_to_journal(organization, &made, since_ms, now_ms).await
}
