//! Sends records for a consumer and waits until the brokers confirm them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::kafka::{
    ClientError, Config, DeliveryFault, DeliveryReport, ErrorCode, GapPolicy, Producer, ProducerRecord,
    TopicMetadata, classify,
};

/// Timeout of one metadata request. Below the watchdog's timeout.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one wait for confirmations lasts between two ticks.
const TICK: Duration = Duration::from_millis(20);
/// Delays between attempts while brokers are unavailable or reject the topic.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A record to send.
pub struct OutboxRecord {
    /// Destination topic.
    pub topic: &'static str,
    /// Key of the record. Records with one key are sent to one partition.
    pub key: Option<Vec<u8>>,
    /// Headers of the record.
    pub headers: Vec<(String, String)>,
    /// Value of the record.
    pub value: Vec<u8>,
}

/// The caller stopped waiting. Some of the records may have been sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted before all records were confirmed")]
pub struct Interrupted;

/// Sends records and waits for the brokers' confirmation of each.
pub struct Outbox {
    config: Config,
    bootstrap: String,
    sender: Option<OutboxSender>,
}

struct OutboxSender {
    producer: Producer,
    results: mpsc::Receiver<()>,
    partitions: HashMap<&'static str, i32>,
}

impl Outbox {
    /// Creates an outbox for the brokers at `bootstrap`. Does not contact them yet.
    pub fn new(config: &Config, bootstrap: &str) -> Self {
        Self { config: config.clone(), bootstrap: bootstrap.to_owned(), sender: None }
    }

    /// Sends all records. Returns when each is confirmed or permanently rejected (then with the reason). Retries
    /// indefinitely while brokers are unavailable. `tick` is called continuously and returns whether to continue.
    pub fn send(
        &mut self,
        records: &[OutboxRecord],
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Option<ErrorCode>>, Interrupted> {
        let mut outcomes: Vec<Option<Option<ErrorCode>>> = vec![None; records.len()];
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut is_logged = false;
        while outcomes.iter().any(Option::is_none) {
            match self.round(records, &mut outcomes, tick)? {
                SendRound::Complete => {}
                SendRound::Retry(reason) => {
                    if !is_logged {
                        tracing::warn!(
                            event = "kafka.records_not_sent",
                            reason,
                            "records to the retry or dead-letter topic not sent; will retry"
                        );
                        is_logged = true;
                    }
                    self.sender = None;
                    wait(backoff.delay(), tick)?;
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Sends the records without a result once.
    fn round(
        &mut self,
        records: &[OutboxRecord],
        outcomes: &mut [Option<Option<ErrorCode>>],
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<SendRound, Interrupted> {
        let sender = match &mut self.sender {
            Some(sender) if !sender.producer.has_failed() => sender,
            other => match OutboxSender::new(&self.config, &self.bootstrap) {
                Ok(sender) => other.insert(sender),
                Err(error) => return Ok(SendRound::Retry(error.to_string())),
            },
        };
        let mut open = 0;
        let mut failure = None;
        let unsent: Vec<usize> = (0..records.len()).filter(|number| outcomes[*number].is_none()).collect();
        for number in unsent {
            let record = &records[number];
            match sender.enqueue(number, record) {
                Ok(()) => open += 1,
                Err(SendFailure::Record(code)) => outcomes[number] = Some(Some(code)),
                Err(SendFailure::Topic(reason)) => {
                    failure = Some(format!("{}: {reason}", record.topic));
                    break;
                }
            }
        }
        let mut results: Vec<DeliveryReport> = Vec::new();
        while open > 0 {
            // Some may have been sent. Records without a result are sent again, and a consumer that reads one twice
            // knows its id.
            if !tick() {
                self.sender = None;
                return Err(Interrupted);
            }
            let _ = sender.results.recv_timeout(TICK);
            sender.producer.take_results(&mut results);
            for result in results.drain(..) {
                open -= 1;
                let number = usize::try_from(result.tag - FIRST_TAG).unwrap_or(usize::MAX);
                match result.error {
                    None => outcomes[number] = Some(None),
                    Some(code) if matches!(classify(code), DeliveryFault::Record(_)) => {
                        outcomes[number] = Some(Some(code));
                    }
                    Some(code) => failure = Some(code.to_string()),
                }
            }
            if let Some((code, reason)) = sender.producer.fatal() {
                return Ok(SendRound::Retry(format!("{code}: {reason}")));
            }
        }
        Ok(failure.map_or(SendRound::Complete, SendRound::Retry))
    }
}

enum SendRound {
    Complete,
    Retry(String),
}

enum SendFailure {
    Record(ErrorCode),
    Topic(String),
}

/// Tag 0 belongs to a table entry.
const FIRST_TAG: u64 = 1;

impl OutboxSender {
    fn new(config: &Config, bootstrap: &str) -> Result<Self, ClientError> {
        let (notify, results) = mpsc::sync_channel(1);
        let producer = Producer::new(config, bootstrap, GapPolicy::AllowGaps, move || {
            // A full channel means that a notification is already pending.
            let _ = notify.try_send(());
        })?;
        Ok(Self { producer, results, partitions: HashMap::new() })
    }

    fn enqueue(&mut self, number: usize, record: &OutboxRecord) -> Result<(), SendFailure> {
        let partitions = match self.partitions.get(record.topic) {
            Some(count) => *count,
            None => match self.producer.fetch_or_create_topic(record.topic, METADATA_TIMEOUT) {
                TopicMetadata::Partitions(count) => *self.partitions.entry(record.topic).or_insert(count),
                TopicMetadata::Pending => {
                    return Err(SendFailure::Topic("the topic is being created".to_owned()));
                }
                TopicMetadata::Refused(reason) => return Err(SendFailure::Topic(reason.to_owned())),
                TopicMetadata::Unavailable => return Err(SendFailure::Topic("no broker answers".to_owned())),
            },
        };
        let key = record.key.as_deref();
        let spread = crc32fast::hash(key.unwrap_or_default()) % partitions.max(1).cast_unsigned();
        let headers: Vec<(&str, Cow<'_, str>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().into())).collect();
        let message = ProducerRecord {
            tag: number as u64 + FIRST_TAG,
            topic: record.topic,
            partition: spread.cast_signed(),
            key,
            headers: &headers,
            value: Some(&record.value),
        };
        self.producer.send(&message).map_err(|code| match classify(code) {
            DeliveryFault::Record(_) => SendFailure::Record(code),
            _ => SendFailure::Topic(code.to_string()),
        })
    }
}

fn wait(delay: Duration, tick: &mut dyn FnMut() -> bool) -> Result<(), Interrupted> {
    let until = std::time::Instant::now() + delay;
    while std::time::Instant::now() < until {
        if !tick() {
            return Err(Interrupted);
        }
        std::thread::sleep(TICK.min(until.saturating_duration_since(std::time::Instant::now())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Brokers, EmbeddedBroker};

    fn record(key: &str) -> OutboxRecord {
        OutboxRecord {
            topic: "t",
            key: Some(key.into()),
            headers: vec![("a".to_owned(), "b".to_owned())],
            value: b"{}".to_vec(),
        }
    }

    #[test]
    fn all_records_are_confirmed_and_the_wait_can_be_interrupted() {
        let broker = EmbeddedBroker::start().unwrap();
        let config = Config::default();
        let mut outbox = Outbox::new(&config, broker.bootstrap());
        let outcomes = outbox.send(&[record("x"), record("y"), record("x")], &mut || true).unwrap();
        assert_eq!(outcomes, [None, None, None]);
        let config = Config { brokers: Brokers::List("127.0.0.1:1".into()), ..config };
        let mut unreachable = Outbox::new(&config, "127.0.0.1:1");
        assert_eq!(unreachable.send(&[record("x")], &mut || false), Err(Interrupted));
    }
}
