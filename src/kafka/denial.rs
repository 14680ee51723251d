//! Missing permissions.

use rdkafka::error::RDKafkaErrorCode as Code;

/// Whether the brokers know the client and deny the request.
pub fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::TopicAuthorizationFailed
    )
}
