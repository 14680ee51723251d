//! An in-process broker for installations without Kafka: librdkafka's mock cluster.
//!
//! Its topics are stored in memory (5 MiB per partition) and are lost when the process ends. It demonstrates the flow
//! and serves fast tests. It proves nothing about repeated records.

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DefaultProducerContext, Producer as _};

use crate::kafka::ClientError;
use crate::kafka::polled_producer::PolledProducer;
use crate::task::OnFailure;

/// A running embedded broker. Dropping it stops the broker.
pub struct EmbeddedBroker {
    // The client that owns the mock cluster and keeps it running.
    #[cfg_attr(not(test), expect(dead_code, reason = "held for its Drop"))]
    owner: PolledProducer<DefaultProducerContext>,
    bootstrap: String,
}

impl EmbeddedBroker {
    /// Starts a broker on a free loopback port.
    pub fn start() -> Result<Self, ClientError> {
        let mut settings = ClientConfig::new();
        settings.set("test.mock.num.brokers", "1").set("client.id", "embedded");
        // This producer's thread only discards log lines. The brokers have their own threads.
        let on_failure = OnFailure::Report(Box::new(drop));
        let owner = PolledProducer::start(&settings, DefaultProducerContext, on_failure)?;
        let bootstrap = owner
            .client()
            .mock_cluster()
            .map(|cluster| cluster.bootstrap_servers())
            .ok_or(KafkaError::MockCluster(RDKafkaErrorCode::Fail))?;
        Ok(Self { owner, bootstrap })
    }

    /// Bootstrap address `host:port` for any Kafka client.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The cluster, for fault injection.
    #[cfg(test)]
    pub(crate) fn cluster(&self) -> rdkafka::mocking::MockCluster<'_, DefaultProducerContext> {
        self.owner.client().mock_cluster().unwrap()
    }
}
