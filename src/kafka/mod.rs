//! Kafka for the drain and the consumer: settings, one producer per worker, a member of a consumer group, the meaning
//! of each error, and a broker for installations without Kafka.

mod broker_errors;
mod certificate_check;
mod client;
mod cluster_inspector;
mod cluster_probe;
mod compacted_table;
mod compacted_topic;
mod config;
mod denial;
mod embedded;
mod errors;
mod group_consumer;
mod oauth;
mod outbox;
mod polled_producer;
mod producer;
mod properties;
mod query_client;
mod record;
mod topic_admin;
mod topic_range;
mod transaction;
mod values;

pub use broker_errors::{BrokerError, BrokerFailure, TOKEN, broker_errors};
pub use certificate_check::CertificateFault;
pub use client::{ClientError, GapPolicy};
pub use cluster_inspector::{ClusterInspector, InspectionError, TopicDescription, TopicSettings};
pub use cluster_probe::{ClusterHealth, ClusterProbe};
pub use compacted_table::CompactedTable;
pub use compacted_topic::CompactedTopicError;
pub use config::Config;
pub use denial::is_denial;
pub use embedded::EmbeddedBroker;
pub use errors::{DeliveryFault, INVALID, TOO_LARGE, classify};
pub use group_consumer::{GroupConsumer, Partition, PollOutcome, ReadError};
pub use outbox::{Interrupted, Outbox, OutboxRecord};
pub use producer::{DeliveryReport, Producer, ProducerRecord, TABLE_ENTRY_TAG};
pub use properties::Properties;
pub use rdkafka::error::RDKafkaErrorCode as ErrorCode;
pub use record::Record;
pub use topic_admin::{TopicAdmin, TopicAdminError, TopicMetadata, kafka_error_name};
pub use topic_range::{Span as OffsetSpan, TopicRange, TopicRangeError};
pub use transaction::{TransactionError, TransactionErrorAction};
pub use values::{Acks, Brokers, Compression, Linger, SaslMechanism, SecurityProtocol};
