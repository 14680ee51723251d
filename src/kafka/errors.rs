//! A table that maps each error of a broker or of librdkafka to the fault it implies for the record.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::kafka::broker_errors;
use crate::kafka::topic_admin::{INVALID_NAME, NOT_AUTHORISED};
use crate::sync::Mutex;

/// What is at fault when a record was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryFault {
    /// A temporary condition: an unavailable broker, a timeout, authentication, TLS, authorisation in the cluster.
    /// The record is retried indefinitely.
    Transient,
    /// The client's metadata of the topic is stale. New metadata decides.
    StaleMetadata,
    /// The topic. Its records are parked, and become dead letters only after a grace time.
    Topic(&'static str),
    /// The record, or another one of its batch.
    Record(&'static str),
    /// The producer must be replaced.
    Producer,
}

/// Records an error that arrived without a record. Only the first error per cause is logged, because an unavailable
/// broker repeats it with every attempt to connect, in every producer. The problem list shows how long it lasts.
pub(super) fn log_client_error(error: &KafkaError, reason: &str) {
    static LAST: Mutex<Vec<(Code, Instant)>> = Mutex::new(Vec::new());
    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
    broker_errors::record(code, reason);
    let mut last = LAST.lock();
    last.retain(|(_, at)| at.elapsed() < REPEAT_INTERVAL);
    let known = last.iter_mut().find(|(known, _)| *known == code);
    let is_repeated = known.is_some();
    match known {
        Some((_, at)) => *at = Instant::now(),
        None => last.push((code, Instant::now())),
    }
    drop(last);
    match is_repeated {
        true => tracing::debug!(kafka.error = %code, kafka.reason = reason, "Kafka client error"),
        false => tracing::warn!(
            event = "kafka.client_error",
            kafka.error = %code,
            kafka.reason = reason,
            "Kafka client error"
        ),
    }
}

/// A cause that was not repeated for this long is logged again. librdkafka suppresses identical errors for 30 s.
const REPEAT_INTERVAL: Duration = Duration::from_secs(120);

/// Reason of records larger than the topic, the broker or the client accepts.
pub const TOO_LARGE: &str = "record: too large";
/// Reason of a record that breaks a rule of its topic, for example a record without a key in a compacted topic.
pub const INVALID: &str = "record: invalid";

/// The errors that are not `Transient`, which is the default, because an unforeseen error must not cost a record.
/// `InvalidTimestamp` has no row. Records get their timestamp when they are sent, so this machine's clock is at
/// fault. A clock that is an hour ahead must not turn a backlog into dead letters.
const TABLE: [(Code, DeliveryFault); 26] = [
    (Code::UnknownTopicOrPartition, DeliveryFault::StaleMetadata),
    (Code::UnknownTopic, DeliveryFault::StaleMetadata),
    (Code::UnknownPartition, DeliveryFault::StaleMetadata),
    (Code::UnknownTopicId, DeliveryFault::StaleMetadata),
    // Records in flight to a broker that the client has removed since.
    (Code::BrokerDestroy, DeliveryFault::StaleMetadata),
    (Code::TopicAuthorizationFailed, DeliveryFault::Topic(NOT_AUTHORISED)),
    (Code::InvalidTopic, DeliveryFault::Topic(INVALID_NAME)),
    (Code::MessageSizeTooLarge, DeliveryFault::Record(TOO_LARGE)),
    (Code::MessageBatchTooLarge, DeliveryFault::Record(TOO_LARGE)),
    (Code::InvalidMessageSize, DeliveryFault::Record(TOO_LARGE)),
    (Code::InvalidRecord, DeliveryFault::Record(INVALID)),
    (Code::PolicyViolation, DeliveryFault::Record("record: against the broker's policy")),
    (Code::UnsupportedForMessageFormat, DeliveryFault::Record("record: format not supported by the topic")),
    (Code::BadMessage, DeliveryFault::Record(INVALID)),
    (Code::OutOfOrderSequenceNumber, DeliveryFault::Producer),
    (Code::DuplicateSequenceNumber, DeliveryFault::Producer),
    (Code::UnknownProducerId, DeliveryFault::Producer),
    (Code::InvalidProducerEpoch, DeliveryFault::Producer),
    (Code::InvalidProducerIdMapping, DeliveryFault::Producer),
    (Code::ProducerFenced, DeliveryFault::Producer),
    (Code::Fenced, DeliveryFault::Producer),
    (Code::Fatal, DeliveryFault::Producer),
    (Code::Inconsistent, DeliveryFault::Producer),
    (Code::GaplessGuarantee, DeliveryFault::Producer),
    (Code::PurgeQueue, DeliveryFault::Producer),
    (Code::PurgeInflight, DeliveryFault::Producer),
];

/// The fault that this error implies for its record.
pub fn classify(code: Code) -> DeliveryFault {
    TABLE.iter().find(|(known, _)| *known == code).map_or(DeliveryFault::Transient, |(_, fault)| *fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected fault of each row, repeated by kind, so that a mistake in the table is detected.
    #[test]
    fn every_row_of_the_table_has_the_expected_fault() {
        for (code, fault) in TABLE {
            assert_eq!(classify(code), fault);
            let name = format!("{code:?}");
            match fault {
                DeliveryFault::Topic(reason) => {
                    assert!(name.contains("Topic") && reason.starts_with("topic: "), "{name}");
                }
                DeliveryFault::Record(reason) => assert!(reason.starts_with("record: "), "{name}"),
                DeliveryFault::StaleMetadata => {
                    assert!(name.starts_with("Unknown") || name == "BrokerDestroy", "{name}")
                }
                DeliveryFault::Producer => {
                    assert!(!name.contains("Topic") && !name.contains("Message"), "{name}")
                }
                DeliveryFault::Transient => panic!("{name} is the default and needs no row"),
            }
        }
    }

    #[test]
    fn a_transient_error_never_costs_a_record() {
        for code in [
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::OperationTimedOut,
            Code::MessageTimedOut,
            Code::TimedOutQueue,
            Code::RequestTimedOut,
            Code::NetworkException,
            Code::Resolve,
            Code::SSL,
            Code::Authentication,
            Code::SaslAuthenticationFailed,
            Code::UnsupportedSASLMechanism,
            Code::IllegalSASLState,
            Code::ClusterAuthorizationFailed,
            Code::NotLeaderForPartition,
            Code::LeaderNotAvailable,
            Code::BrokerNotAvailable,
            Code::ReplicaNotAvailable,
            Code::FencedLeaderEpoch,
            Code::UnknownLeaderEpoch,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::KafkaStorageError,
            Code::InvalidMessage,
            Code::InvalidTimestamp,
            Code::ThrottlingQuotaExceeded,
            Code::QueueFull,
            Code::Retry,
            Code::Unknown,
            Code::UnsupportedVersion,
            Code::UnsupportedCompressionType,
            Code::InvalidRequiredAcks,
            Code::InvalidConfig,
            Code::InvalidRequest,
        ] {
            assert_eq!(classify(code), DeliveryFault::Transient, "{code:?}");
        }
    }
}
