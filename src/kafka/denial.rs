//! Permissions that are missing.

use rdkafka::error::RDKafkaErrorCode as Code;

/// Whether brokers know the client and forbid what it asks.
pub fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::TopicAuthorizationFailed
    )
}
