//! The table's stream as Lambda reads it for a function: filtered, in batches, again from where the function says or in halves where
//! it fails, and in order for each partition key.
//!
//! The engine has one shard; four pollers share its records by the hash of the partition key, as those of four shards would: one
//! alone would hide what happens between two. What has been taken is removed from the engine's file, so that whatever is left
//! there after a restart comes (again).
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use dynoxide::{
    Database,
    actions::{
        describe_stream::DescribeStreamRequest, get_records::GetRecordsRequest,
        get_shard_iterator::GetShardIteratorRequest,
    },
};
use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{mpsc as channel, watch},
    time::{sleep, timeout},
};

use crate::{
    arn::table_arn,
    cloudwatch::CloudWatch,
    error::{Error, Result},
    lambda::Lambda,
};

/// How many pollers share the records.
const POLLERS: usize = 4;
/// How long the reader rests when there was nothing; Lambda looks four times a second, and each shard for itself.
const REST: Duration = Duration::from_millis(30);
/// How many records are read at once.
const READ: usize = 1000;
/// No more is read while so many wait for their function.
const WAITING_MAX: usize = 20_000;
/// Longer than the reader looks.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// How long a poller rests after a failure: longer each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// What a function wants of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// `BatchSize`.
    pub batch: usize,
    /// The patterns of `FilterCriteria`: a record passes that fits one; every one, where there is none.
    pub filters: Vec<Value>,
    /// `BisectBatchOnFunctionError`.
    pub bisects: bool,
    /// Whether `FunctionResponseTypes` has `ReportBatchItemFailures`.
    pub reports: bool,
}

impl Source {
    fn takes(&self, record: &Value) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|pattern| fits(pattern, record))
    }
}

/// Whether a pattern is understood here: objects, and at their ends lists of texts and prefixes.
#[must_use]
pub fn is_understood(pattern: &Value) -> bool {
    match pattern {
        Value::Object(members) => members.values().all(is_understood),
        Value::Array(matchers) => matchers.iter().all(|matcher| {
            matcher.is_string()
                || matcher
                    .as_object()
                    .is_some_and(|rule| rule.len() == 1 && rule.get("prefix").is_some_and(Value::is_string))
        }),
        _ => false,
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
fn fits(pattern: &Value, value: &Value) -> bool {
    match pattern {
        Value::Object(members) => members.iter().all(|(name, pattern)| fits(pattern, &value[name])),
        Value::Array(matchers) => matchers.iter().any(|matcher| match matcher["prefix"].as_str() {
            Some(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            None => matcher == value,
        }),
        _ => false,
    }
}

/// What can be ordered to happen to the next batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// What the function answers is lost: the batch comes again.
    Repeat,
    /// The batch comes in two halves.
    Split,
}

impl Fault {
    const ALL: [Self; 2] = [Self::Repeat, Self::Split];

    fn name(self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::Split => "split",
        }
    }
}

/// The reading of the stream; clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Stream(Arc<State>);

#[derive(Debug, Default)]
struct State {
    has_stopped: AtomicBool,
    /// Read, and not taken by the function yet.
    waiting: AtomicUsize,
    /// How often the reader has looked.
    rounds: watch::Sender<u64>,
    orders: Mutex<BTreeMap<Fault, u64>>,
}

/// A record on its way to the function.
#[derive(Debug)]
struct Record {
    /// As Lambda hands it over.
    event: Value,
    sequence: String,
    /// By the clock of the metrics.
    read_at: Duration,
}

/// What a poller works with.
struct Poller {
    stream: Stream,
    function: String,
    source: Source,
    lambda: Arc<Lambda>,
    cloudwatch: CloudWatch,
    taken: mpsc::Sender<Vec<String>>,
}

impl Stream {
    /// Begins to read the stream of a table in the engine's file for a function.
    ///
    /// # Errors
    /// When the table has no stream, or the file cannot be opened a second time.
    pub fn read(
        &self,
        (database, file): (Database, PathBuf),
        table: &str,
        (function, source): (&str, &Source),
        lambda: &Arc<Lambda>,
        cloudwatch: &CloudWatch,
    ) -> Result<()> {
        let reader = Reader::open(database, &file, table, self.clone())?;
        let (taken, has_taken) = mpsc::channel();
        let mut pollers = Vec::new();
        for _ in 0..POLLERS {
            let (sender, receiver) = channel::unbounded_channel();
            let poller = Poller {
                stream: self.clone(),
                function: function.to_owned(),
                source: source.clone(),
                lambda: Arc::clone(lambda),
                cloudwatch: cloudwatch.clone(),
                taken: taken.clone(),
            };
            tokio::spawn(poller.run(receiver));
            pollers.push(sender);
        }
        let (source, cloudwatch) = (source.clone(), cloudwatch.clone());
        thread::spawn(move || {
            if let Err(error) = reader.run(&source, &cloudwatch, &pollers, &has_taken) {
                eprintln!("the table's stream is not read any more: {error}");
            }
        });
        Ok(())
    }

    /// Reads no more.
    pub fn stop(&self) {
        self.0.has_stopped.store(true, Ordering::SeqCst);
    }

    /// How many records wait for their function, of all that was written before this was asked.
    pub async fn waiting(&self) -> usize {
        /// The round under way may have looked before; the next one has not.
        const ROUNDS: u64 = 2;
        let mut rounds = self.0.rounds.subscribe();
        let begun = *rounds.borrow();
        // A reader that has ended looks no more.
        let looked = timeout(LONGEST_LOOK, rounds.wait_for(|rounds| *rounds >= begun + ROUNDS)).await;
        drop(looked);
        self.0.waiting.load(Ordering::SeqCst)
    }

    fn has_room(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) < WAITING_MAX
    }

    /// This happens to the next batches; 0 takes an earlier order back.
    ///
    /// # Errors
    /// When there is no such fault: the names of those that there are.
    pub fn order(&self, name: &str, batches: u64) -> std::result::Result<(), Vec<&'static str>> {
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        let fault = fault.ok_or_else(|| Fault::ALL.map(Fault::name).to_vec())?;
        self.orders().insert(fault, batches);
        Ok(())
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, BTreeMap<Fault, u64>> {
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this was ordered for a batch; it is one less then.
    fn draw(&self, fault: Fault) -> bool {
        match self.orders().get_mut(&fault) {
            Some(batches) if *batches > 0 => {
                *batches -= 1;
                true
            }
            _ => false,
        }
    }

    fn has_stopped(&self) -> bool {
        self.0.has_stopped.load(Ordering::SeqCst)
    }
}

/// Reads what the engine keeps, and removes what was taken.
struct Reader {
    stream: Stream,
    database: Database,
    file: Connection,
    table: String,
    stream_arn: String,
    iterator: String,
}

impl Reader {
    fn open(database: Database, file: &Path, table: &str, stream: Stream) -> Result<Self> {
        let failed = |action| move |source| Error::Table { action, source };
        let arn = table_arn(table);
        // The engine looks at the name of the table alone.
        let stream_arn = format!("{arn}/stream/0");
        let request = DescribeStreamRequest { stream_arn: stream_arn.clone(), ..DescribeStreamRequest::default() };
        let described = database.describe_stream(request).map_err(failed("describe its stream"))?;
        let shard_id = described.stream_description.shards.into_iter().map(|shard| shard.shard_id).next();
        let iterator = database.get_shard_iterator(GetShardIteratorRequest {
            stream_arn: stream_arn.clone(),
            shard_id: shard_id.unwrap_or_default(),
            shard_iterator_type: "TRIM_HORIZON".to_owned(),
            sequence_number: None,
        });
        let iterator = iterator.map_err(failed("read its stream"))?.shard_iterator.unwrap_or_default();
        let connection = Connection::open(file).and_then(|connection| {
            // For each write the engine looks for the latest record: without this, at all of them.
            let index = "CREATE INDEX IF NOT EXISTS _stream_records_by_sequence \
                         ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
            connection.execute(index, [])?;
            Ok(connection)
        });
        let connection = connection.map_err(|source| Error::Stream { source })?;
        Ok(Self { stream, database, file: connection, table: table.to_owned(), stream_arn, iterator })
    }

    fn run(
        mut self,
        source: &Source,
        cloudwatch: &CloudWatch,
        pollers: &[channel::UnboundedSender<Record>],
        taken: &mpsc::Receiver<Vec<String>>,
    ) -> Result<()> {
        while !self.stream.has_stopped() {
            for sequences in taken.try_iter() {
                self.remove(&sequences)?;
            }
            let records = if self.stream.has_room() { self.next()? } else { Vec::new() };
            if records.is_empty() {
                thread::sleep(REST);
            }
            let mut left_out = Vec::new();
            for event in records {
                let sequence = text(&event["dynamodb"]["SequenceNumber"]).to_owned();
                if !source.takes(&event) {
                    left_out.push(sequence);
                    continue;
                }
                let poller = poller_of(&event["dynamodb"]["Keys"]);
                self.stream.0.waiting.fetch_add(1, Ordering::SeqCst);
                let record = Record { event, sequence, read_at: cloudwatch.now() };
                if pollers[poller].send(record).is_err() {
                    return Ok(());
                }
            }
            self.remove(&left_out)?;
            self.stream.0.rounds.send_modify(|rounds| *rounds += 1);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Vec<Value>> {
        let request = GetRecordsRequest { shard_iterator: self.iterator.clone(), limit: Some(READ) };
        let answer = self.database.get_records(request);
        let answer = answer.map_err(|source| Error::Table { action: "read its stream", source })?;
        self.iterator = answer.next_shard_iterator.unwrap_or_default();
        let records = answer.records.into_iter().map(|record| {
            let mut event = json!(record);
            event["eventSourceARN"] = json!(self.stream_arn);
            event
        });
        Ok(records.collect())
    }

    /// What has been taken does not come again.
    fn remove(&self, sequences: &[String]) -> Result<()> {
        /// What the engine adds to what it stores: <https://docs.rs/dynoxide-rs/3.2.0/src/dynoxide/streams.rs.html>
        const OFFSET: u128 = 100_000_000_000_000_000_000;
        if sequences.is_empty() {
            return Ok(());
        }
        let removed = self.file.unchecked_transaction().and_then(|transaction| {
            let mut delete = transaction.prepare_cached(
                "DELETE FROM _stream_records WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) = ?2",
            )?;
            for sequence in sequences {
                let stored = sequence.parse::<u128>().ok().and_then(|sequence| sequence.checked_sub(OFFSET));
                let stored = stored.and_then(|stored| i64::try_from(stored).ok()).unwrap_or_default();
                delete.execute(params![self.table, stored])?;
            }
            drop(delete);
            transaction.commit()
        });
        removed.map_err(|source| Error::Stream { source })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn poller_of(keys: &Value) -> usize {
    let mut hasher = DefaultHasher::new();
    text(&keys["pk"]["S"]).hash(&mut hasher);
    usize::try_from(hasher.finish() % POLLERS as u64).unwrap_or(0)
}

impl Poller {
    async fn run(self, mut records: channel::UnboundedReceiver<Record>) {
        while let Some(first) = records.recv().await {
            let mut batch = VecDeque::from([first]);
            while batch.len() < self.source.batch
                && let Ok(record) = records.try_recv()
            {
                batch.push_back(record);
            }
            self.deliver(batch).await;
            if self.stream.has_stopped() {
                return;
            }
        }
    }

    /// Gives the records to the function until it has taken all of them.
    async fn deliver(&self, mut rest: VecDeque<Record>) {
        let mut size = if self.stream.draw(Fault::Split) { rest.len().div_ceil(2) } else { rest.len() };
        let mut backoff = FIRST_BACKOFF;
        while !rest.is_empty() && !self.stream.has_stopped() {
            size = size.min(rest.len());
            let given: Vec<&Record> = rest.iter().take(size).collect();
            let event = json!({ "Records": given.iter().map(|record| &record.event).collect::<Vec<_>>() });
            let age = given.last().map_or(Duration::ZERO, |last| self.cloudwatch.now().saturating_sub(last.read_at));
            let answer = self.lambda.invoke(&self.function, event.to_string().into_bytes()).await;
            self.cloudwatch.put_of_function(&self.function, "IteratorAge", age.as_secs_f64() * 1000.0);
            let taken = match &answer {
                Ok(answer) => self.taken(answer, &given),
                Err(_) => 0,
            };
            if answer.is_ok() && self.stream.draw(Fault::Repeat) {
                continue;
            }
            let sequences: Vec<String> = rest.drain(..taken).map(|record| record.sequence).collect();
            self.stream.0.waiting.fetch_sub(sequences.len(), Ordering::SeqCst);
            // The reader has ended where this fails: then nothing is removed any more.
            drop(self.taken.send(sequences));
            if taken == size {
                (size, backoff) = (rest.len(), FIRST_BACKOFF);
                continue;
            }
            if answer.is_err() && self.source.bisects {
                size = size.div_ceil(2);
            } else {
                size -= taken;
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// How many of the records were taken, by what the function says.
    fn taken(&self, answer: &[u8], given: &[&Record]) -> usize {
        let answer: Map<String, Value> = match serde_json::from_slice(answer) {
            Ok(Value::Object(answer)) if self.source.reports => answer,
            _ => return given.len(),
        };
        let failures = answer.get("batchItemFailures").and_then(Value::as_array);
        let positions = failures.into_iter().flatten().map(|failure| {
            let sequence = text(&failure["itemIdentifier"]);
            // Of what was not given, nothing is known: then all of it comes again.
            given.iter().position(|record| record.sequence == sequence).unwrap_or(0)
        });
        positions.min().unwrap_or(given.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sk: &str) -> Value {
        json!({ "dynamodb": { "Keys": { "pk": { "S": "p" }, "sk": { "S": sk } } } })
    }

    #[test]
    fn a_record_passes_that_fits_one_of_the_patterns() {
        let of = |matcher: Value| json!({ "dynamodb": { "Keys": { "sk": { "S": [matcher] } } } });
        let filters = vec![of(json!("CONVERSATION")), of(json!({ "prefix": "MESSAGE#" }))];
        let source = Source { batch: 1, filters, bisects: true, reports: true };

        assert!(source.takes(&record("CONVERSATION")) && source.takes(&record("MESSAGE#1")));
        assert!(!source.takes(&record("CONVERSATION#")) && !source.takes(&record("MESSAGE")));
        assert!(Source { filters: Vec::new(), ..source }.takes(&record("anything")));
    }

    #[test]
    fn other_patterns_are_not_understood() {
        assert!(is_understood(&json!({ "a": { "b": ["x", { "prefix": "y" }] } })));
        for pattern in [json!({ "a": [{ "exists": true }] }), json!({ "a": "x" }), json!({ "a": [1] })] {
            assert!(!is_understood(&pattern), "{pattern}");
        }
    }

    #[test]
    fn faults_are_ordered_by_name() {
        let stream = Stream::default();

        stream.order("repeat", 1).unwrap();

        assert!(!stream.draw(Fault::Split));
        assert!(stream.draw(Fault::Repeat) && !stream.draw(Fault::Repeat));
        assert_eq!(stream.order("lost", 1), Err(vec!["repeat", "split"]));
    }
}
