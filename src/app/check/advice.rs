//! What an operator can do about the answer of a broker.

use crate::app::problems::{Cluster, Files};
use crate::config::Config;
use crate::kafka::{BrokerFailure, ErrorCode as Code, Inquiry, Refusal, is_denial};
use crate::units::Timestamp;

/// Advice for one configuration. What brokers refuse is told apart by the code that does so in the running daemon.
pub(super) struct Advice {
    cluster: Cluster,
    /// The end of the daemon's own certificate, if that is over.
    expired: Option<Timestamp>,
}

impl Advice {
    /// Reads the certificates that the configuration names. Blocks for the disk.
    pub(super) fn of(config: &Config) -> Self {
        let now = Timestamp::now();
        let end = Files::of(config).end_of("kafka.ssl_cert_file", now);
        Self { cluster: Cluster::of(&config.kafka), expired: end.filter(|end| *end <= now) }
    }

    /// For a broker that does not answer, or does not let the client in. Blocks for a few seconds at most where its
    /// certificate must be looked at.
    pub(super) fn of_broker(&self, inquiry: &Inquiry, refusal: &Refusal) -> String {
        let error = inquiry.broker_error(refusal);
        let is_other_protocol = error.failure == BrokerFailure::Tls
            && error.certificate.is_none()
            && !refusal.words.contains("certificate verify failed");
        match error.failure {
            BrokerFailure::Tls if is_other_protocol => OTHER_PROTOCOL.to_owned(),
            BrokerFailure::Unreachable => of_connection(refusal).to_owned(),
            _ => self.cluster.advice(&error, self.expired),
        }
    }

    /// For a topic.
    pub(super) fn of_topic(&self, inquiry: &Inquiry, refusal: &Refusal, topic: &str) -> String {
        match refusal.code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                format!("create it: kafka-topics.sh --create --topic {topic}")
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

    /// For a right that the daemon needs.
    pub(super) fn of_right(&self, inquiry: &Inquiry, refusal: &Refusal, right: &str, of: &str) -> String {
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

/// For a broker to which there is no connection, or that does not answer.
fn of_connection(refusal: &Refusal) -> &'static str {
    let words = refusal.words.as_str();
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
