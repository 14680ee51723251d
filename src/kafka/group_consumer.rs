//! Reads records as a member of a consumer group.
//!
//! All methods are called from one thread, and changes of the group are processed only while that thread polls. So a
//! batch that is being applied is never revoked in the middle. A member that gets its partitions meanwhile applies
//! the batch too, and the table of outcomes decides. The caller commits offsets, after the database has committed.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{ClientContext, Message as _, Offset, Statistics, TopicPartitionList};

use crate::kafka::{ClientError, Config, Record, client, is_denial, oauth};
use crate::sync::Mutex;

/// A killed member is detected after this time. Not below the brokers' own `group.min.session.timeout.ms`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// A third of the session timeout, as Kafka recommends.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// A member that does not poll for this long is removed. Far longer than the longest transaction.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);
/// A topic that is created later is detected after this time.
const METADATA_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which the lag is computed.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(5);
/// Prefetched records of all partitions together, in KiB.
const PREFETCH_KIB: u64 = 16 * 1024;
/// Prefetched records per partition.
const PREFETCH_RECORDS: u32 = 10_000;

/// A poll error that was not repeated for this long has ended. Attempts follow the refresh of metadata.
const ERROR_EXPIRES_AFTER: Duration = Duration::from_secs(30);

/// Errors that a client reports while no broker is available.
const UNAVAILABLE: [RDKafkaErrorCode; 5] = [
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::Resolve,
];

/// A topic and one of its partitions.
pub type Partition = (Box<str>, i32);

/// The result of a poll.
pub enum PollOutcome {
    /// No record arrived in time; at most an event of the group.
    Nothing,
    /// A record.
    Record(Record),
    /// The client is unusable and must be replaced.
    Broken(String),
}

/// A member of a consumer group.
pub struct GroupConsumer {
    consumer: BaseConsumer<Context>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    revoked: Mutex<Vec<Partition>>,
    lag: AtomicI64,
    /// The last error of a poll, in the client's words; `None` since a record arrived.
    read_error: Mutex<Option<(ReadError, Instant)>>,
}

/// An error that prevents reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Error text of the Kafka client.
    pub text: String,
    /// Whether the brokers deny the request.
    pub is_denied: bool,
}

impl Shared {
    /// An unavailable broker is not a read error, because the problem list shows it separately.
    fn record_error(&self, error: &KafkaError) {
        let Some(code) = error.rdkafka_error_code().filter(|code| !UNAVAILABLE.contains(code)) else {
            return;
        };
        let error = ReadError { text: code.to_string(), is_denied: is_denial(code) };
        *self.read_error.lock() = Some((error, Instant::now()));
    }
}

impl GroupConsumer {
    /// Joins `group` for `topics`. Does not wait for a broker.
    pub fn new(config: &Config, bootstrap: &str, group: &str, topics: &[&str]) -> Result<Self, ClientError> {
        let mut settings = client::consumer(config, bootstrap, group)?;
        let millis = |span: Duration| span.as_millis().to_string();
        settings
            .set("session.timeout.ms", millis(SESSION_TIMEOUT))
            .set("heartbeat.interval.ms", millis(HEARTBEAT_INTERVAL))
            .set("max.poll.interval.ms", millis(MAX_POLL_INTERVAL))
            .set("topic.metadata.refresh.interval.ms", millis(METADATA_INTERVAL))
            .set("statistics.interval.ms", millis(STATISTICS_INTERVAL))
            .set("enable.partition.eof", "false")
            // The embedded broker does not support the cooperative strategy.
            .set("partition.assignment.strategy", "range")
            .set("queued.min.messages", PREFETCH_RECORDS.to_string())
            .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string());
        let shared = Arc::<Shared>::default();
        let consumer: BaseConsumer<Context> =
            settings.create_with_context(Context { shared: Arc::clone(&shared) })?;
        consumer.subscribe(topics)?;
        Ok(Self { consumer, shared })
    }

    /// The next record, after at most `timeout`. Events of the group are processed only here.
    pub fn poll(&self, timeout: Duration) -> PollOutcome {
        match self.consumer.poll(timeout) {
            None => PollOutcome::Nothing,
            Some(Ok(message)) => {
                self.shared.read_error.lock().take();
                PollOutcome::Record(to_record(&message))
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => PollOutcome::Broken(code.to_string()),
            Some(Err(error)) => {
                // librdkafka retries by itself.
                super::errors::log_client_error(&error, "consuming");
                self.shared.record_error(&error);
                PollOutcome::Nothing
            }
        }
    }

    /// The partitions revoked since the last call, in the order of events.
    pub fn take_revoked(&self) -> Vec<Partition> {
        std::mem::take(&mut *self.shared.revoked.lock())
    }

    /// Commits these offsets: all records before them are done. Does not wait, except when the consumer is dropped.
    /// If a commit is lost, its records are repeated.
    pub fn commit(&self, offsets: &BTreeMap<Partition, i64>) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            // Fails only for invalid offsets, which do not occur here.
            let _ = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "offsets not committed; their records may be delivered again");
        }
    }

    /// Pauses all partitions assigned at this moment. Polling keeps the membership alive.
    pub fn pause_all(&self) {
        if let Ok(assigned) = self.consumer.assignment() {
            let _ = self.consumer.pause(&assigned);
        }
    }

    /// Resumes all partitions except these.
    pub fn resume_except<'a>(&self, held: impl Iterator<Item = &'a Partition> + Clone) {
        let Ok(assigned) = self.consumer.assignment() else { return };
        let mut list = TopicPartitionList::new();
        for element in assigned.elements() {
            let own =
                |(topic, number): &Partition| **topic == *element.topic() && *number == element.partition();
            if !held.clone().any(own) {
                list.add_partition(element.topic(), element.partition());
            }
        }
        let _ = self.consumer.resume(&list);
    }

    /// Pauses this partition.
    pub fn pause(&self, partition: &Partition) {
        let _ = self.consumer.pause(&single_partition(partition));
    }

    /// Resumes this partition at the first record that was not returned.
    pub fn resume(&self, partition: &Partition) {
        let _ = self.consumer.resume(&single_partition(partition));
    }

    /// The error that prevents reading, such as an unknown topic or a denied group. The client repeats it with every
    /// attempt.
    pub fn read_error(&self) -> Option<ReadError> {
        let last = self.shared.read_error.lock();
        last.as_ref().filter(|(_, at)| at.elapsed() < ERROR_EXPIRES_AFTER).map(|(error, _)| error.clone())
    }

    /// Uncommitted records of the assigned partitions, as of a few seconds ago.
    pub fn lag(&self) -> i64 {
        self.shared.lag.load(Ordering::Relaxed)
    }
}

fn single_partition((topic, partition): &Partition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, *partition);
    list
}

/// An owned copy of the record.
pub(super) fn to_record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|one| (one.key.into(), one.value.unwrap_or_default().to_vec())).collect()
    });
    Record {
        topic: message.topic().into(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

struct Context {
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, path: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::token(path)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        super::errors::log_client_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let lag = partitions.map(|partition| partition.consumer_lag.max(0)).sum();
        self.shared.lag.store(lag, Ordering::Relaxed);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                // librdkafka keeps the application's pauses for the next assignment, where nothing would end them.
                let _ = consumer.resume(list);
                let mut revoked = self.shared.revoked.lock();
                revoked.extend(list.elements().iter().map(|one| (one.topic().into(), one.partition())));
            }
            Rebalance::Assign(list) => {
                // The group accepted the client, so the earlier error has ended.
                self.shared.read_error.lock().take();
                tracing::info!(
                    event = "consumer.partitions_assigned",
                    consumer.partitions = list.count(),
                    "partitions assigned"
                );
            }
            Rebalance::Error(error) => {
                tracing::warn!(event = "consumer.rebalance_failed", %error, "consumer group not rebalanced");
            }
        }
    }
}
