//! Kafka as drain and consumer need it: settings, one producer a worker, a member of a group, what each error means,
//! and a broker for those who have none.

mod asking;
mod broker_errors;
mod certificate_check;
mod client;
mod compacted;
mod compacted_topic;
mod config;
mod denial;
mod embedded;
mod errors;
mod inquiry;
mod oauth;
mod outbox;
mod poller;
mod probe;
mod producer;
mod properties;
mod range;
mod record;
mod source;
mod topics;
mod transaction;
mod values;

pub use broker_errors::{BrokerError, BrokerFailure, TOKEN, broker_errors};
pub use certificate_check::CertificateFault;
pub use client::{ClientError, Guarantee};
pub use compacted::Compacted;
pub use compacted_topic::CompactedError;
pub use config::Config;
pub use denial::is_denial;
pub use embedded::EmbeddedBroker;
pub use errors::{Fault, INVALID, TOO_LARGE, classify};
pub use inquiry::{Inquiry, Refusal, TopicFound, TopicSettings};
pub use outbox::{Interrupted, Letter, Outbox};
pub use probe::{ClusterHealth, Probe};
pub use producer::{Delivery, ENTRY, Message, Producer};
pub use properties::Properties;
pub use range::{Range, RangeError, Span as OffsetSpan};
pub use rdkafka::error::RDKafkaErrorCode as ErrorCode;
pub use record::Record;
pub use source::{Partition, Polled, ReadError, Source};
pub use topics::{Answer, Topics, TopicsError, refusal_in_kafkas_words};
pub use transaction::{Next, TransactionError};
pub use values::{Acks, Brokers, Compression, Linger, SaslMechanism, SecurityProtocol};
