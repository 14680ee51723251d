//! `[wal]`. (Placeholder until the configuration is merged.)
use crate::units::*;
/// `[wal]`
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Config {
    pub segment_size: ByteSize,
    pub max_backlog_size: Option<ByteSize>,
    pub reserve_space: ByteSize,
    pub segment_max_age: Span,
    pub retain_acked_age: Span,
    pub retain_acked_size: ByteSize,
    pub commit_queue_requests: usize,
    pub commit_queue_bytes: ByteSize,
}
