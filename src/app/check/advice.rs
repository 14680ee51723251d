//! Advice for an operator about the response of a broker.

use crate::app::problems::{Cluster, ConfiguredFiles};
use crate::config::Config;
use crate::kafka::{BrokerFailure, ClusterInspector, ErrorCode as Code, InspectionError, is_denial};
use crate::units::Timestamp;

/// Advice for one configuration. The code of the running daemon distinguishes the causes.
pub(super) struct Advice {
    cluster: Cluster,
    /// The end of the daemon's own certificate, if it has expired.
    expired: Option<Timestamp>,
}

impl Advice {
    /// Reads the certificates that the configuration names. Blocks on disk I/O.
    pub(super) fn of(config: &Config) -> Self {
        let now = Timestamp::now();
        let end = ConfiguredFiles::of(config).end_of("kafka.ssl_cert_file", now);
        Self { cluster: Cluster::of(&config.kafka), expired: end.filter(|end| *end <= now) }
    }

    /// Advice for a broker that does not answer or rejects the client. Blocks for a few seconds at most if the broker's
    /// certificate must be checked.
    pub(super) fn of_broker(&self, inquiry: &ClusterInspector, refusal: &InspectionError) -> String {
        let error = inquiry.broker_error(refusal);
        let is_other_protocol = error.failure == BrokerFailure::Tls
            && error.certificate.is_none()
            && !refusal.text.contains("certificate verify failed");
        match error.failure {
            BrokerFailure::Tls if is_other_protocol => OTHER_PROTOCOL.to_owned(),
            BrokerFailure::Unreachable => of_connection(refusal).to_owned(),
            _ => self.cluster.advice(&error, self.expired),
        }
    }

    /// Advice for a topic.
    pub(super) fn of_topic(
        &self,
        inquiry: &ClusterInspector,
        refusal: &InspectionError,
        topic: &str,
    ) -> String {
        match refusal.code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                format!("create it: kafka-topics.sh --bootstrap-server BROKER --create --topic {topic}")
            }
            Code::TopicAuthorizationFailed => {
                format!("grant the daemon's principal Describe on topic {topic}")
            }
            Code::LeaderNotAvailable => {
                "wait until its partitions have leaders; see the brokers' logs".to_owned()
            }
            _ => self.of_broker(inquiry, refusal),
        }
    }

    /// Advice for a permission that the daemon needs.
    pub(super) fn of_right(
        &self,
        inquiry: &ClusterInspector,
        refusal: &InspectionError,
        right: &str,
        of: &str,
    ) -> String {
        match refusal.code {
            Code::GroupAuthorizationFailed if !of.starts_with("group") => {
                "grant the daemon's principal Read on the group of [consumer] group".to_owned()
            }
            code if is_denial(code) => format!("grant the daemon's principal {right} on {of}"),
            _ => self.of_broker(inquiry, refusal),
        }
    }
}

const OTHER_PROTOCOL: &str = "the listener speaks another protocol: see [kafka] security_protocol";

/// Advice for a broker that cannot be connected to, or that does not answer.
fn of_connection(refusal: &InspectionError) -> &'static str {
    let words = refusal.text.as_str();
    let says = |part: &str| words.contains(part);
    if says("security.protocol") || says("SSL handshake") {
        OTHER_PROTOCOL
    } else if refusal.code == Code::Resolve || says("Failed to resolve") {
        "no such host name: see [kafka] brokers, and the name server of this machine"
    } else if says("Connection refused") {
        "nothing listens there: start the broker, or correct the address in [kafka] brokers"
    } else if refusal.code == Code::BrokerTransportFailure {
        "the broker closes the connection: its listener may speak another protocol (see [kafka] security_protocol), or \
         see the broker's log"
    } else if refusal.code == Code::InvalidArgument {
        "correct the file or the key that it names"
    } else {
        "see [kafka] brokers, the firewall between the machines, and the broker's log"
    }
}
