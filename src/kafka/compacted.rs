//! A compacted topic, of which partition 0 is read as a whole: a small table in Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::kafka::asking::Asking;
use crate::kafka::compacted_topic::{ASK, CompactedError, partitions_of};
use crate::kafka::{ClientError, Config, asking, client, compacted_topic};

/// One look for records.
const POLL: Duration = Duration::from_millis(100);

/// Whether to go on waiting; called often.
pub type Tick<'a> = &'a mut dyn FnMut() -> bool;

/// Keys and their values.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The table.
pub struct Compacted {
    settings: ClientConfig,
    topic: String,
}

impl Compacted {
    /// A table in this topic. No broker is asked yet.
    pub fn new(config: &Config, bootstrap: &str, topic: &str) -> Result<Self, ClientError> {
        let mut settings = client::base(config, bootstrap)?;
        // Wanted by the library, used by nobody: the partition is assigned.
        settings.set("group.id", &config.client_id).set("enable.auto.commit", "false");
        Ok(Self { settings, topic: topic.to_owned() })
    }

    /// Creates the topic if it is missing, and checks its policy. Blocks for some seconds at most.
    pub fn ensure(&self) -> Result<(), CompactedError> {
        compacted_topic::ensure(&self.settings, &self.topic)
    }

    /// The last committed value of every wanted key, as of a moment after the call. A key without a value is left out.
    /// Waits for open transactions of others, which hide what is behind them. `None`: there is no such topic.
    pub fn read(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        tick: Tick<'_>,
    ) -> Result<Option<Entries>, CompactedError> {
        let Some(end) = self.end(tick)? else { return Ok(None) };
        let committed = self.committed()?;
        self.go_on(tick)?;
        while committed.fetch_watermarks(&self.topic, 0, ASK).map_err(|error| self.failed(error))?.1 < end {
            self.go_on(tick)?;
            std::thread::sleep(POLL);
        }
        self.gather(&committed, end, wanted, tick).map(Some)
    }

    /// The same of a topic that is there, without waiting for anybody: what is behind an open transaction is not seen.
    pub fn peek(&self, wanted: impl Fn(&[u8]) -> bool, tick: Tick<'_>) -> Result<Entries, CompactedError> {
        let committed = self.committed()?;
        let (_, end) = committed.fetch_watermarks(&self.topic, 0, ASK).map_err(|error| self.failed(error))?;
        self.gather(&committed, end, wanted, tick)
    }

    /// Behind the last record, committed or not; `None` when there is no such topic.
    fn end(&self, tick: Tick<'_>) -> Result<Option<i64>, CompactedError> {
        let mut settings = self.settings.clone();
        settings.set("isolation.level", "read_uncommitted");
        let all = self.client(&settings)?;
        let metadata = all.fetch_metadata(Some(&self.topic), ASK).map_err(|error| self.failed(error))?;
        let known = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        if partitions_of(known).map_err(|error| self.failed(error))?.is_none() {
            return Ok(None);
        }
        self.go_on(tick)?;
        let (_, end) = all.fetch_watermarks(&self.topic, 0, ASK).map_err(|error| self.failed(error))?;
        Ok(Some(end))
    }

    /// A client that sees what is committed.
    fn committed(&self) -> Result<BaseConsumer<Asking>, CompactedError> {
        let mut settings = self.settings.clone();
        settings.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        self.client(&settings)
    }

    /// Reads from the beginning to `end`. Others write all the time: whoever waits for the end of the topic may never
    /// see it. But the offsets before `end` may be markers of transactions, which are not shown.
    fn gather(
        &self,
        consumer: &BaseConsumer<Asking>,
        end: i64,
        wanted: impl Fn(&[u8]) -> bool,
        tick: Tick<'_>,
    ) -> Result<Entries, CompactedError> {
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&self.topic, 0, Offset::Beginning)
            .and_then(|()| consumer.assign(&assignment))
            .map_err(|error| self.failed(error))?;
        let mut table = BTreeMap::new();
        loop {
            self.go_on(tick)?;
            match consumer.poll(POLL) {
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
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(self.failed(error)),
            }
        }
    }

    fn go_on(&self, tick: Tick<'_>) -> Result<(), CompactedError> {
        if tick() { Ok(()) } else { Err(CompactedError::Interrupted) }
    }

    fn client(&self, settings: &ClientConfig) -> Result<BaseConsumer<Asking>, CompactedError> {
        Ok(asking::consumer(settings, Asking).map_err(ClientError::from)?)
    }

    fn failed(&self, source: KafkaError) -> CompactedError {
        CompactedError::Kafka { topic: self.topic.clone(), source }
    }
}

/// librdkafka goes on by itself; the caller's patience ends it.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
                // Of the group nobody uses.
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}
