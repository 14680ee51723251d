//! Producing records from a test, and the broker's reply to each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message};

use super::wait;

/// Time that one poll for outcomes blocks.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);

/// Partition and offset, or the error.
pub type Outcome = Result<(i32, i64), RDKafkaErrorCode>;

/// Sends records, given as key and value, and returns the outcome of each, in order. A record that is not confirmed
/// within `within` has failed with `MessageTimedOut`. `config` contains librdkafka's options; an idempotent producer is
/// the base.
pub fn produce(
    bootstrap: &str,
    topic: &str,
    records: &[(&str, &str)],
    within: Duration,
    config: &[(&str, &str)],
) -> Vec<Outcome> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    // A write must not create a topic that neither the test nor the daemon has created.
    settings.set("allow.auto.create.topics", "false");
    settings.set("message.timeout.ms", within.as_millis().to_string());
    // Tests stop and restart brokers: reconnect soon.
    settings.set("reconnect.backoff.max.ms", "500");
    for (key, value) in config {
        settings.set(*key, *value);
    }
    let outcomes = Outcomes(Mutex::new(vec![None; records.len()]));
    let producer: BaseProducer<Outcomes> = settings.create_with_context(outcomes).expect("a producer");
    for (number, (key, value)) in records.iter().enumerate() {
        let record = BaseRecord::with_opaque_to(topic, number).key(*key).payload(*value);
        producer.send(record).map_err(|(error, _)| error).expect("space in the producer's queue");
    }
    // The library's own timeout ends every record. This one guards against a library that does not.
    wait::until_true("every record has an outcome", within + Duration::from_secs(30), || {
        producer.poll(POLL_TIMEOUT);
        producer.in_flight_count() == 0
    });
    let outcomes = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
    outcomes.iter().map(|outcome| outcome.expect("every record has an outcome")).collect()
}

/// Produces records, all of which must be confirmed.
pub fn produce_ok(bootstrap: &str, topic: &str, records: &[(&str, &str)]) {
    /// An election after a lost broker takes some seconds.
    const TIMEOUT: Duration = Duration::from_secs(60);
    for (outcome, record) in produce(bootstrap, topic, records, TIMEOUT, &[]).iter().zip(records) {
        assert!(outcome.is_ok(), "{record:?} to {topic}: {outcome:?}");
    }
}

/// One slot per record.
struct Outcomes(Mutex<Vec<Option<Outcome>>>);

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(outcome);
    }
}
