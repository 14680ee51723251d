//! A small table in Kafka: a compacted topic whose partition 0 is read completely.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::kafka::compacted_topic::{CompactedTopicError, REQUEST_TIMEOUT, partitions_of};
use crate::kafka::query_client::ShortLivedContext;
use crate::kafka::{ClientError, Config, client, compacted_topic, query_client};

/// Maximum duration of one poll.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns whether to continue waiting. Called often.
pub type KeepWaiting<'a> = &'a mut dyn FnMut() -> bool;

/// Keys and their values.
pub type TableEntries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A table in a compacted topic.
pub struct CompactedTable {
    settings: ClientConfig,
    topic: String,
}

impl CompactedTable {
    /// Creates a table in this topic. Does not contact a broker yet.
    pub fn new(config: &Config, bootstrap: &str, topic: &str) -> Result<Self, ClientError> {
        let mut settings = client::base(config, bootstrap)?;
        // librdkafka requires a group id. It is never used, because the partition is assigned.
        settings.set("group.id", &config.client_id).set("enable.auto.commit", "false");
        Ok(Self { settings, topic: topic.to_owned() })
    }

    /// Creates the topic if it is missing, and checks its policy. Blocks for a few seconds at most.
    pub fn ensure(&self) -> Result<(), CompactedTopicError> {
        compacted_topic::ensure(&self.settings, &self.topic)
    }

    /// The last committed value of every wanted key. Includes everything committed before the call. Keys without a
    /// value are left out. Waits for open transactions of other producers, because they hide the records behind them.
    /// Returns `None` if the topic does not exist.
    pub fn read(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        tick: KeepWaiting<'_>,
    ) -> Result<Option<TableEntries>, CompactedTopicError> {
        let Some(end) = self.end(tick)? else { return Ok(None) };
        let committed = self.committed_consumer()?;
        self.check_wait(tick)?;
        while committed
            .fetch_watermarks(&self.topic, 0, REQUEST_TIMEOUT)
            .map_err(|error| self.failed(error))?
            .1
            < end
        {
            self.check_wait(tick)?;
            std::thread::sleep(POLL_INTERVAL);
        }
        self.read_until(&committed, end, wanted, tick).map(Some)
    }

    /// Like [`Self::read`] for an existing topic, but without waiting. Records behind an open transaction are not
    /// included.
    pub fn read_committed(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        tick: KeepWaiting<'_>,
    ) -> Result<TableEntries, CompactedTopicError> {
        let committed = self.committed_consumer()?;
        let (_, end) = committed
            .fetch_watermarks(&self.topic, 0, REQUEST_TIMEOUT)
            .map_err(|error| self.failed(error))?;
        self.read_until(&committed, end, wanted, tick)
    }

    /// The offset behind the last record, committed or not; `None` if the topic does not exist.
    fn end(&self, tick: KeepWaiting<'_>) -> Result<Option<i64>, CompactedTopicError> {
        let mut settings = self.settings.clone();
        settings.set("isolation.level", "read_uncommitted");
        let all = self.client(&settings)?;
        let metadata =
            all.fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT).map_err(|error| self.failed(error))?;
        let known = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        if partitions_of(known).map_err(|error| self.failed(error))?.is_none() {
            return Ok(None);
        }
        self.check_wait(tick)?;
        let (_, end) =
            all.fetch_watermarks(&self.topic, 0, REQUEST_TIMEOUT).map_err(|error| self.failed(error))?;
        Ok(Some(end))
    }

    /// A client that reads only committed records.
    fn committed_consumer(&self) -> Result<BaseConsumer<ShortLivedContext>, CompactedTopicError> {
        let mut settings = self.settings.clone();
        settings.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        self.client(&settings)
    }

    /// Reads from the beginning to `end`. Other producers write continuously, so a reader that waits for the end of
    /// the topic may never reach it. The offsets before `end` may be transaction markers, which are not returned as
    /// records.
    fn read_until(
        &self,
        consumer: &BaseConsumer<ShortLivedContext>,
        end: i64,
        wanted: impl Fn(&[u8]) -> bool,
        tick: KeepWaiting<'_>,
    ) -> Result<TableEntries, CompactedTopicError> {
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&self.topic, 0, Offset::Beginning)
            .and_then(|()| consumer.assign(&assignment))
            .map_err(|error| self.failed(error))?;
        let mut table = BTreeMap::new();
        loop {
            self.check_wait(tick)?;
            match consumer.poll(POLL_INTERVAL) {
                None => {}
                Some(Ok(message)) => {
                    match (message.key().filter(|key| wanted(key)), message.payload()) {
                        (None, _) => {}
                        (Some(key), Some(value)) => drop(table.insert(key.to_owned(), value.to_owned())),
                        (Some(key), None) => drop(table.remove(key)),
                    }
                    if message.offset() + 1 >= end {
                        return Ok(table);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(table),
                Some(Err(error)) if is_transient(&error) => {}
                Some(Err(error)) => return Err(self.failed(error)),
            }
        }
    }

    fn check_wait(&self, tick: KeepWaiting<'_>) -> Result<(), CompactedTopicError> {
        if tick() { Ok(()) } else { Err(CompactedTopicError::Interrupted) }
    }

    fn client(
        &self,
        settings: &ClientConfig,
    ) -> Result<BaseConsumer<ShortLivedContext>, CompactedTopicError> {
        Ok(query_client::consumer(settings, ShortLivedContext).map_err(ClientError::from)?)
    }

    fn failed(&self, source: KafkaError) -> CompactedTopicError {
        CompactedTopicError::Kafka { topic: self.topic.clone(), source }
    }
}

/// librdkafka retries these errors itself, until the caller stops waiting.
fn is_transient(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
                // Concerns the consumer group, which is not used.
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}
