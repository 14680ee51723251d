//! Translates the `[kafka]` settings into those of librdkafka.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::kafka::{Acks, Config};

/// Why a client could not be created.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A secret could not be read.
    #[error("cannot read {path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The system could not start a thread.
    #[error("cannot start a thread for a Kafka client: {0}")]
    Thread(std::io::Error),
    /// librdkafka rejects the settings.
    #[error("Kafka client: {0}")]
    Refused(#[from] rdkafka::error::KafkaError),
}

/// Behaviour after an error that is permanent for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// The producer stops permanently, before a successor in the same partition can pass.
    Gapless,
    /// The producer continues. Each record is sent in its own request. Their order is kept only while at most one
    /// record per partition is in flight.
    AllowGaps,
}

/// The settings of every client. `bootstrap` lists the bootstrap brokers.
///
/// No request creates a topic as a side effect. Topics are only created deliberately (`topic_admin`,
/// `compacted_topic`).
pub(super) fn base(config: &Config, bootstrap: &str) -> Result<ClientConfig, ClientError> {
    let mut client = ClientConfig::new();
    for (name, value) in config.properties.iter() {
        client.set(name, value);
    }
    client
        .set("bootstrap.servers", bootstrap)
        .set("client.id", &config.client_id)
        .set(AUTO_CREATE, "false")
        .set("security.protocol", config.security_protocol.as_str());
    if let Some(mechanism) = config.sasl_mechanism {
        client.set("sasl.mechanism", mechanism.as_str());
    }
    if let Some(name) = &config.sasl_username {
        client.set("sasl.username", name);
    }
    if let Some(path) = &config.sasl_password_file {
        let password = std::fs::read_to_string(path)
            .map_err(|source| ClientError::Secret { path: path.clone(), source })?;
        client.set("sasl.password", password.trim_end_matches(['\r', '\n']));
    }
    if let Some(path) = config.sasl_token_file.as_ref().filter(|_| config.has_token()) {
        // librdkafka passes this back with each request for a token (`oauth`).
        client.set("sasl.oauthbearer.config", path.to_string_lossy());
    }
    let files = [
        ("ssl.ca.location", &config.ssl_ca_file),
        ("ssl.certificate.location", &config.ssl_cert_file),
        ("ssl.key.location", &config.ssl_key_file),
    ];
    for (name, path) in files {
        if let Some(path) = path {
            client.set(name, path.to_string_lossy());
        }
    }
    Ok(client)
}

/// Whether a metadata request asks the broker to create the topics it names. librdkafka's default is `true` for
/// producers and admin clients.
const AUTO_CREATE: &str = "allow.auto.create.topics";

/// The settings of a client whose metadata requests create the named topics, if the brokers'
/// `auto.create.topics.enable` allows it.
pub(super) fn topic_creating(config: &Config, bootstrap: &str) -> Result<ClientConfig, ClientError> {
    let mut client = base(config, bootstrap)?;
    client.set(AUTO_CREATE, "true");
    Ok(client)
}

/// The settings of a consumer that reads only committed records, and commits offsets only on request.
pub(super) fn consumer(config: &Config, bootstrap: &str, group: &str) -> Result<ClientConfig, ClientError> {
    // A record of the maximum size must fit into one response, whatever other limits apply.
    let fetch = config.message_max.0.clamp(FETCH_BYTES, 1_000_000_000);
    let mut client = base(config, bootstrap)?;
    client
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("check.crcs", "true")
        .set("message.max.bytes", config.message_max.0.to_string())
        .set("max.partition.fetch.bytes", config.message_max.0.to_string())
        .set("fetch.max.bytes", fetch.to_string())
        .set("receive.message.max.bytes", (fetch + RESPONSE_OVERHEAD).to_string());
    Ok(client)
}

/// Maximum record bytes per response of a broker.
const FETCH_BYTES: u64 = 8 << 20;
/// Generous estimate of the bytes in a response other than its records.
const RESPONSE_OVERHEAD: u64 = 1 << 20;

/// Logs a message of librdkafka. Important conditions also arrive as an error or a delivery report; the rest is
/// repeated with every attempt to connect.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(
                event = "kafka.client_critical",
                kafka.facility = facility,
                kafka.reason = message,
                "Kafka client reports a critical condition"
            );
        }
        _ => tracing::debug!(kafka.facility = facility, "{message}"),
    }
}

/// The settings of a producer that keeps the order, and repeats no record during its lifetime. It never gives up on a
/// record by itself, because the record's successors would overtake it.
pub(super) fn producer(
    config: &Config,
    bootstrap: &str,
    guarantee: GapPolicy,
) -> Result<ClientConfig, ClientError> {
    let idempotent = config.acks == Acks::All;
    // A permanent error must stop the producer before the failed records' successors pass.
    let gapless = idempotent && guarantee == GapPolicy::Gapless;
    let mut client = base(config, bootstrap)?;
    client.set("message.timeout.ms", "0").set("enable.gapless.guarantee", gapless.to_string());
    // If a topic was deleted, its queued records fail immediately, and the drain parks the rest. With the default,
    // requests are retried until the topic exists again, several at a time. The first could then be rejected and the
    // second accepted.
    client.set("topic.metadata.propagation.max.ms", "0");
    if guarantee == GapPolicy::AllowGaps {
        // A rejected record must have been alone in its batch.
        client.set("batch.num.messages", "1");
    }
    set_producer_options(&mut client, config, idempotent);
    Ok(client)
}

/// The settings of a producer of transactions. If a record is not confirmed within the transaction timeout, it fails
/// and so does the transaction. The whole transaction is then sent again, in order.
pub(super) fn transactional(config: &Config, bootstrap: &str, id: &str) -> Result<ClientConfig, ClientError> {
    let mut client = base(config, bootstrap)?;
    client.set("transactional.id", id);
    if client.get(TRANSACTION_TIMEOUT).is_none() {
        client.set(TRANSACTION_TIMEOUT, DEFAULT_TRANSACTION_TIMEOUT);
    }
    set_producer_options(&mut client, config, true);
    Ok(client)
}

/// The only transaction setting allowed in `[kafka.properties]`. It changes when the transaction of a frozen process
/// is aborted, but not the guarantees.
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// Transactions last milliseconds. The value is long enough for a broker that is briefly unavailable. It is
/// acceptable for consumers that wait behind the transaction of a daemon that does not return.
const DEFAULT_TRANSACTION_TIMEOUT: &str = "30000";

/// Sets the options that all producers share.
fn set_producer_options(client: &mut ClientConfig, config: &Config, idempotent: bool) {
    // For an idempotent producer, a broker remembers five requests. Without idempotence, a second request could
    // overtake the retry of the first.
    let in_flight = if idempotent { "5" } else { "1" };
    client
        .set("acks", config.acks.as_str())
        .set("enable.idempotence", idempotent.to_string())
        .set("max.in.flight.requests.per.connection", in_flight)
        .set("message.send.max.retries", i32::MAX.to_string())
        .set("compression.type", config.compression.as_str())
        .set("linger.ms", config.linger.of_producer().0.as_millis().to_string())
        .set("batch.size", config.batch_size.0.to_string())
        .set("message.max.bytes", config.message_max.0.to_string())
        // The drain's in-flight limit is far below these values.
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", "1048576");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_creates_topics_as_a_side_effect() {
        let (config, at) = (Config::default(), "127.0.0.1:1");
        let all = [
            base(&config, at),
            consumer(&config, at, "group"),
            producer(&config, at, GapPolicy::Gapless),
            producer(&config, at, GapPolicy::AllowGaps),
            transactional(&config, at, "id"),
        ];
        for settings in all {
            assert_eq!(settings.unwrap().get(AUTO_CREATE), Some("false"));
        }
    }
}
