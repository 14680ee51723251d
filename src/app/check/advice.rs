//! What an operator can do about the answer of a broker.

use crate::kafka::{ErrorCode as Code, InspectionError};

/// For a broker that does not answer, or does not let the client in.
pub(super) fn of_broker(refusal: &InspectionError) -> &'static str {
    let words = refusal.text.as_str();
    let says = |part: &str| words.contains(part);
    if says("certificate verify failed") || says("unable to get local issuer") {
        "[kafka] ssl_ca_file must hold the authority that signed the broker's certificate, which must not have expired \
         and must be for this host name"
    } else if says("certificate") && says("alert") {
        "the broker refuses the daemon's certificate, or asks for one: see [kafka] ssl_cert_file and ssl_key_file"
    } else if says("security.protocol") || says("SSL handshake") {
        "the listener speaks another protocol: see [kafka] security_protocol"
    } else if matches!(refusal.code, Code::Authentication | Code::SaslAuthenticationFailed) || says("SASL") {
        "see [kafka] sasl_mechanism, sasl_username and the file of sasl_password_file; with OAUTHBEARER, the file of \
         sasl_token_file"
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

/// For a topic.
pub(super) fn of_topic(refusal: &InspectionError, topic: &str) -> String {
    match refusal.code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            format!("create it: kafka-topics.sh --create --topic {topic}")
        }
        Code::TopicAuthorizationFailed => format!("grant the daemon's principal Describe on topic {topic}"),
        Code::LeaderNotAvailable => {
            "wait until its partitions have leaders; see the brokers' logs".to_owned()
        }
        _ => of_broker(refusal).to_owned(),
    }
}

/// For a right that the daemon needs.
pub(super) fn of_right(refusal: &InspectionError, right: &str, of: &str) -> String {
    match refusal.code {
        Code::GroupAuthorizationFailed if !of.starts_with("group") => {
            "grant the daemon's principal Read on the group of [consumer] group".to_owned()
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::ClusterAuthorizationFailed => format!("grant the daemon's principal {right} on {of}"),
        _ => of_broker(refusal).to_owned(),
    }
}
