//! Kafka as the drain needs it: settings, one producer a worker, what each error means, and a broker for those
//! who have none.

mod client;
mod compacted;
mod config;
mod embedded;
mod errors;
mod producer;
mod properties;
mod transaction;
mod values;

pub use client::ClientError;
pub use compacted::Compacted;
pub use compacted::CompactedError;
pub use config::Config;
pub use embedded::EmbeddedBroker;
pub use errors::Fault;
pub use errors::TOO_LARGE;
pub use errors::classify;
pub use producer::Answer;
pub use producer::Delivery;
pub use producer::ENTRY;
pub use producer::Guarantee;
pub use producer::Message;
pub use producer::Producer;
pub use properties::Properties;
pub use rdkafka::error::RDKafkaErrorCode as ErrorCode;
pub use transaction::Next;
pub use transaction::TransactionError;
pub use values::Acks;
pub use values::Brokers;
pub use values::Compression;
pub use values::SaslMechanism;
pub use values::SecurityProtocol;
