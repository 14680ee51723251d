//! From our settings to librdkafka's.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::kafka::{Acks, Config};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A secret could not be read.
    #[error("cannot read {path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("no thread for a Kafka client: {0}")]
    Thread(std::io::Error),
    /// librdkafka refuses the settings.
    #[error("Kafka client: {0}")]
    Refused(#[from] rdkafka::error::KafkaError),
}

/// What happens after an error that is permanent for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// The producer stops for good, before a successor in the same partition can pass.
    Gapless,
    /// It goes on. Each record has a request of its own; their order is kept only while at most one of a partition is
    /// in flight.
    AllowGaps,
}

/// The settings of every client. `bootstrap`: the brokers to ask first.
///
/// No request creates a topic as a side effect: a topic is created on purpose only (`topics`, `compacted_topic`).
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
        // Handed back with each question for a token (`oauth`).
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

/// Whether a metadata request asks the broker to create the topics it names. librdkafka's default for producers and
/// admin clients is `true`.
const AUTO_CREATE: &str = "allow.auto.create.topics";

/// The settings of a client whose metadata requests create the topics they name, where the brokers' own
/// `auto.create.topics.enable` allows it.
pub(super) fn topic_creating(config: &Config, bootstrap: &str) -> Result<ClientConfig, ClientError> {
    let mut client = base(config, bootstrap)?;
    client.set(AUTO_CREATE, "true");
    Ok(client)
}

/// The settings of a consumer that sees only what is committed, and commits offsets only when told to.
pub(super) fn consumer(config: &Config, bootstrap: &str, group: &str) -> Result<ClientConfig, ClientError> {
    // A record of the largest size must fit into one answer, whatever else does.
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

/// Records of one answer of a broker.
const FETCH_BYTES: u64 = 8 << 20;
/// What an answer has beside its records, generously.
const RESPONSE_OVERHEAD: u64 = 1 << 20;

/// What librdkafka says for itself. What matters comes as an error or a result too; the rest repeats with every attempt
/// to connect.
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

/// The settings of a producer that keeps order, repeats nothing while it lives, and never gives up on a record by
/// itself: a record given up would be overtaken by its successors.
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
    // A topic that is gone fails at once what waits for it, and the drain holds the rest. Else requests are tried again
    // until it is there again, several at a time: the first may still be refused and the second not.
    client.set("topic.metadata.propagation.max.ms", "0");
    if guarantee == GapPolicy::AllowGaps {
        // What is refused was alone in its batch.
        client.set("batch.num.messages", "1");
    }
    set_producer_options(&mut client, config, idempotent);
    Ok(client)
}

/// The settings of a producer of transactions. A record not confirmed within the transaction's time fails, and with it
/// the transaction: all of it is sent again, in its order.
pub(super) fn transactional(config: &Config, bootstrap: &str, id: &str) -> Result<ClientConfig, ClientError> {
    let mut client = base(config, bootstrap)?;
    client.set("transactional.id", id);
    if client.get(TRANSACTION_TIMEOUT).is_none() {
        client.set(TRANSACTION_TIMEOUT, DEFAULT_TRANSACTION_TIMEOUT);
    }
    set_producer_options(&mut client, config, true);
    Ok(client)
}

/// The one setting of transactions that `[kafka.properties]` may have: it moves when a frozen transaction is aborted,
/// not what is promised.
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// Transactions last milliseconds. For a broker that is away for a moment, long; for consumers that wait behind the
/// transaction of a daemon that will not come back, bearable.
const DEFAULT_TRANSACTION_TIMEOUT: &str = "30000";

/// What is the same for all producers.
fn set_producer_options(client: &mut ClientConfig, config: &Config, idempotent: bool) {
    // Five requests are what a broker remembers for an idempotent producer; without idempotence a second request
    // could overtake the first one's repetition.
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
        // The drain's window is far below these.
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
