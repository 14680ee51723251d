//! Reading all committed records of a topic, in order within each partition.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::wait;

/// Timeout for reading. Reading a test's records takes milliseconds; reconnecting to a restarted broker takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Time that one poll for a message blocks. `poll` uses all of it if no message arrives.
const POLL: Duration = Duration::from_millis(50);

/// A record as a consumer receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Partition of the record.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Time of production, in milliseconds.
    pub timestamp: i64,
    /// Key, if the record has one.
    pub key: Option<Vec<u8>>,
    /// Value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values of the headers in their order; a header may lack a value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The value as text; empty if the record has none.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value of the first header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(own, _)| own == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }
}

/// Reads a topic from its beginning to its current end.
pub fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut reader = Reader::open(bootstrap, topic);
    reader.read_to_end();
    reader.records
}

/// Reads a topic from its beginning until the records satisfy `suffices`. Fails the test after `within`.
pub fn read_until(
    bootstrap: &str,
    topic: &str,
    within: Duration,
    suffices: impl Fn(&[Record]) -> bool,
) -> Vec<Record> {
    let mut reader = Reader::open(bootstrap, topic);
    let deadline = Instant::now() + within;
    while !suffices(&reader.records) {
        let count = reader.records.len();
        assert!(
            Instant::now() < deadline,
            "{topic}: the awaited records did not arrive within {within:?}; {count} records"
        );
        reader.poll();
    }
    reader.records
}

/// A consumer with all partitions of a topic assigned. It has no group, so no rebalance happens and no offset is
/// committed.
struct Reader {
    consumer: BaseConsumer,
    partitions: usize,
    /// Partitions whose end was reached, without a later record.
    ended: BTreeSet<i32>,
    records: Vec<Record>,
}

impl Reader {
    fn open(bootstrap: &str, topic: &str) -> Reader {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            // Required by the library, but unused: partitions are assigned.
            .set("group.id", "forebay-tests-reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            // Reports the end, also after an aborted transaction, whose offsets contain no record.
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            // Tests stop and restart brokers: reconnect soon.
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .expect("a consumer");
        let ids = wait::until(&format!("{topic} is known"), TIMEOUT, || partitions_of(&consumer, topic));
        let mut assignment = TopicPartitionList::new();
        for id in &ids {
            assignment.add_partition_offset(topic, *id, Offset::Beginning).expect("a partition of the topic");
        }
        consumer.assign(&assignment).expect("an assignment");
        Reader { consumer, partitions: ids.len(), ended: BTreeSet::new(), records: Vec::new() }
    }

    fn read_to_end(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.ended.len() < self.partitions {
            assert!(Instant::now() < deadline, "the end was not reached within {TIMEOUT:?}");
            self.poll();
        }
    }

    /// Takes the records that have arrived, after a short wait.
    fn poll(&mut self) {
        match self.consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                self.ended.remove(&message.partition());
                self.records.push(record(&message));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.ended.insert(partition);
            }
            // For an unavailable broker or a moved leader the library continues by itself, up to the deadline.
            Some(Err(error)) => eprintln!("while reading: {error}"),
        }
    }
}

fn partitions_of(consumer: &BaseConsumer, topic: &str) -> Option<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
    let topic = metadata.topics().first().filter(|topic| topic.error().is_none())?;
    let ids: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    (!ids.is_empty()).then_some(ids)
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        let owned = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
        };
        headers.iter().map(owned).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
