//! A compacted topic of one partition, made when it is missing and read as a whole: a small table in Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::ClientError;
use crate::kafka::Config;
use crate::kafka::client;

/// One request to a broker by a client just made: connection, handshake and answer. Below the watchdog's patience.
const ASK: Duration = Duration::from_secs(3);
/// Making a topic takes a broker longer than answering about one.
const MAKE: Duration = Duration::from_secs(10);
/// One look for records.
const POLL: Duration = Duration::from_millis(100);
const POLICY: &str = "cleanup.policy";
/// What is read at a start is about two segments, so they are small.
const SEGMENT_BYTES: &str = "16777216";
/// Keys are few and written often: clean early.
const DIRTY: &str = "0.1";

/// Why the table is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum CompactedError {
    /// The client refuses its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Somebody made it another way, and records in it would be lost or not be found.
    #[error(
        "topic {topic}: {found}; needed is one partition with cleanup.policy=compact. Remove the topic, or change it"
    )]
    Unfit {
        /// Its name.
        topic: String,
        /// What is wrong.
        found: String,
    },
    /// No answer, or a refusal.
    #[error("topic {topic}: {source}")]
    Kafka {
        /// Its name.
        topic: String,
        /// What was said.
        source: KafkaError,
    },
    /// The caller did not want to wait any longer.
    #[error("interrupted")]
    Interrupted,
}

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

    /// Makes the topic if it is missing, and looks at how it was made. Blocks for up to `MAKE`.
    pub fn ensure(&self) -> Result<(), CompactedError> {
        let admin: AdminClient<DefaultClientContext> = self.client(&self.settings)?;
        let waiting = tokio::runtime::Builder::new_current_thread().build();
        let waiting = waiting.map_err(|error| self.failed(KafkaError::AdminOpCreation(error.to_string())))?;
        let metadata = admin.inner().fetch_metadata(Some(&self.topic), ASK).map_err(|e| self.failed(e))?;
        let known = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let missing = known.is_none_or(|topic| {
            topic.error().map(RDKafkaErrorCode::from) == Some(RDKafkaErrorCode::UnknownTopicOrPartition)
        });
        let options = AdminOptions::new().operation_timeout(Some(MAKE)).request_timeout(Some(MAKE));
        if missing {
            // −1: as many replicas as the cluster gives by default.
            let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1))
                .set(POLICY, "compact")
                .set("segment.bytes", SEGMENT_BYTES)
                .set("min.cleanable.dirty.ratio", DIRTY);
            let made = waiting.block_on(admin.create_topics([&topic], &options));
            for result in made.map_err(|error| self.failed(error))? {
                match result {
                    Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                    Err((_, code)) => return Err(self.failed(KafkaError::AdminOp(code))),
                }
            }
        } else if let Some(partitions) =
            known.map(|topic| topic.partitions().len()).filter(|count| *count > 1)
        {
            return Err(self.unfit(format!("it has {partitions} partitions")));
        }
        let asked =
            waiting.block_on(admin.describe_configs([&ResourceSpecifier::Topic(&self.topic)], &options));
        for described in asked.map_err(|error| self.failed(error))? {
            let described = described.map_err(|code| self.failed(KafkaError::AdminOp(code)))?;
            let policy = described.get(POLICY).and_then(|entry| entry.value.clone()).unwrap_or_default();
            if policy != "compact" {
                return Err(self.unfit(format!("its cleanup.policy is {policy:?}")));
            }
        }
        Ok(())
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
        let all: BaseConsumer = self.client(&settings)?;
        let metadata = all.fetch_metadata(Some(&self.topic), ASK).map_err(|error| self.failed(error))?;
        let known = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        match known.map(|topic| topic.error().map(RDKafkaErrorCode::from)) {
            Some(None) => {}
            None | Some(Some(RDKafkaErrorCode::UnknownTopicOrPartition)) => return Ok(None),
            Some(Some(code)) => return Err(self.failed(KafkaError::MetadataFetch(code))),
        }
        self.go_on(tick)?;
        let (_, end) = all.fetch_watermarks(&self.topic, 0, ASK).map_err(|error| self.failed(error))?;
        Ok(Some(end))
    }

    /// A client that sees what is committed.
    fn committed(&self) -> Result<BaseConsumer, CompactedError> {
        let mut settings = self.settings.clone();
        settings.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        self.client(&settings)
    }

    /// Reads from the beginning to `end`. Others write all the time: whoever waits for the end of the topic may never
    /// see it. But the offsets before `end` may be markers of transactions, which are not shown.
    fn gather(
        &self,
        consumer: &BaseConsumer,
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

    fn client<T: rdkafka::config::FromClientConfig>(
        &self,
        settings: &ClientConfig,
    ) -> Result<T, CompactedError> {
        Ok(settings.create().map_err(ClientError::from)?)
    }

    fn failed(&self, source: KafkaError) -> CompactedError {
        CompactedError::Kafka { topic: self.topic.clone(), source }
    }

    fn unfit(&self, found: String) -> CompactedError {
        CompactedError::Unfit { topic: self.topic.clone(), found }
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
