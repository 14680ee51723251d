//! Conversion of the Redis client's errors.

use redis::{ErrorKind, RedisError};

use super::super::KvError;

/// Error text for a node of a cluster with `cluster = false`.
pub(super) const IS_CLUSTER_NODE: &str = "the server is a node of a cluster: set [redis] cluster = true";

pub(super) fn no_answer() -> RedisError {
    RedisError::from((ErrorKind::Client, "no reply"))
}

/// Converts an error. The client's own text may contain keys.
pub(super) fn to_kv_error(error: &RedisError) -> KvError {
    if error.is_timeout() {
        return KvError::Timeout;
    }
    let unavailable = |text: &str| KvError::Unavailable(text.to_owned());
    match (error.kind(), error.code()) {
        _ if error.is_connection_refusal() => unavailable("connection refused"),
        _ if error.is_connection_dropped() => unavailable("connection lost"),
        (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => {
            KvError::Malformed(format!("a reply could not be parsed ({})", error.category()))
        }
        (ErrorKind::InvalidClientConfig, _) => {
            KvError::Malformed("[redis]: the settings do not allow a connection".to_owned())
        }
        (_, Some("NOPERM")) => KvError::Denied,
        (_, Some("ERR")) if error.detail().is_some_and(forbids_a_script) => KvError::Denied,
        (_, Some("WRONGTYPE")) => KvError::Malformed("a key does not contain a string value".to_owned()),
        // Only a node of a cluster redirects to another node.
        (_, Some("MOVED" | "ASK")) => KvError::WrongServerMode(IS_CLUSTER_NODE),
        (_, Some(code)) => KvError::Unavailable(format!("the server answered {code}")),
        _ => unavailable(error.category()),
    }
}

/// Whether Redis refused a command inside a script for lack of permission; the texts are those up to 7.0 and since.
fn forbids_a_script(detail: &str) -> bool {
    detail.contains("user executing the script can't") || detail.contains("ACL failure in script")
}
