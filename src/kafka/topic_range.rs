//! Reads a range of a topic once, without a consumer group, so that an operator can apply it again.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::group_consumer::to_record;
use crate::kafka::query_client::ShortLivedContext;
use crate::kafka::{ClientError, Config, Record, client, query_client};
use crate::units::Timestamp;

/// Timeout of one request to a broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum duration of one poll.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Group id that is never joined and never committed to. Brokers only see it in requests.
const GROUP: &str = "forebay-replay";

/// The range to read. A missing bound is unlimited, up to the end at the time of the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Only this partition.
    pub partition: Option<i32>,
    /// The first offset.
    pub from_offset: Option<i64>,
    /// The offset behind the last record.
    pub to_offset: Option<i64>,
    /// From the first record with this time or a later one.
    pub from: Option<Timestamp>,
    /// Before the first record with this time or a later one.
    pub to: Option<Timestamp>,
}

/// Why a range cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TopicRangeError {
    /// The Kafka client rejects its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A broker did not respond, or rejected the request.
    #[error("topic {topic}: {source}")]
    Kafka {
        /// Name of the topic.
        topic: String,
        /// The error.
        source: KafkaError,
    },
    /// The topic or the partition does not exist.
    #[error("topic {topic} has no partition {partition}")]
    NoPartition {
        /// Name of the topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

/// A range that is being read.
pub struct TopicRange {
    consumer: BaseConsumer<ShortLivedContext>,
    topic: String,
    /// The end of each partition that is not read completely.
    ends: BTreeMap<i32, i64>,
}

impl TopicRange {
    /// Determines the bounds of the range. Blocks.
    pub fn open(config: &Config, bootstrap: &str, topic: &str, span: Span) -> Result<Self, TopicRangeError> {
        let mut settings = client::consumer(config, bootstrap, GROUP)?;
        settings.set("enable.partition.eof", "true");
        let consumer = query_client::consumer(&settings, ShortLivedContext).map_err(ClientError::from)?;
        let mut range = Self { consumer, topic: topic.to_owned(), ends: BTreeMap::new() };
        let mut assignment = TopicPartitionList::new();
        for partition in range.partitions(span.partition)? {
            let (low, high) =
                range.map_error(range.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT))?;
            let from = span.from_offset.or(range.offset_at(partition, span.from)?).unwrap_or(low).max(low);
            let to = span.to_offset.or(range.offset_at(partition, span.to)?).unwrap_or(high).min(high);
            if from < to {
                range.ends.insert(partition, to);
                range.map_error(assignment.add_partition_offset(topic, partition, Offset::Offset(from)))?;
            }
        }
        range.map_error(range.consumer.assign(&assignment))?;
        Ok(range)
    }

    /// The next record of the range. At the end, returns `Ok(None)` and `is_over` is true. Waits briefly at most.
    pub fn next_record(&mut self) -> Result<Option<Record>, TopicRangeError> {
        if self.is_over() {
            return Ok(None);
        }
        let found = match self.consumer.poll(POLL_TIMEOUT) {
            None => None,
            Some(Ok(message)) => Some(to_record(&message)),
            // The position is behind the last record; only transaction markers remain.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.ends.remove(&partition);
                None
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                let source = KafkaError::MessageConsumptionFatal(code);
                return Err(TopicRangeError::Kafka { topic: self.topic.clone(), source });
            }
            Some(Err(error)) => {
                super::errors::log_client_error(&error, "reading a range");
                None
            }
        };
        let Some(record) = found else { return Ok(None) };
        let Some(end) = self.ends.get(&record.partition).copied() else { return Ok(None) };
        if record.offset + 1 >= end {
            self.ends.remove(&record.partition);
        }
        Ok((record.offset < end).then_some(record))
    }

    /// Whether all records were read.
    pub fn is_over(&self) -> bool {
        self.ends.is_empty()
    }

    fn partitions(&self, only: Option<i32>) -> Result<Vec<i32>, TopicRangeError> {
        let metadata = self.map_error(self.consumer.fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let all: Vec<i32> =
            topic.iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        match only {
            None => Ok(all),
            Some(partition) if all.contains(&partition) => Ok(vec![partition]),
            Some(partition) => Err(TopicRangeError::NoPartition { topic: self.topic.clone(), partition }),
        }
    }

    /// The offset of the first record with this time or a later one; `None` without `time`.
    fn offset_at(&self, partition: i32, time: Option<Timestamp>) -> Result<Option<i64>, TopicRangeError> {
        let Some(time) = time else { return Ok(None) };
        let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
        let mut asked = TopicPartitionList::new();
        self.map_error(asked.add_partition_offset(&self.topic, partition, Offset::Offset(millis)))?;
        let found = self.map_error(self.consumer.offsets_for_times(asked, REQUEST_TIMEOUT))?;
        let offset = found.elements().first().map(|element| element.offset());
        Ok(match offset {
            Some(Offset::Offset(offset)) => Some(offset),
            // No record is that recent.
            _ => Some(i64::MAX),
        })
    }

    fn map_error<T>(&self, answer: Result<T, KafkaError>) -> Result<T, TopicRangeError> {
        answer.map_err(|source| TopicRangeError::Kafka { topic: self.topic.clone(), source })
    }
}
