//! The error of a request refused by a rate limit.

use std::time::Duration;

use crate::units::Span;

/// A refusal by a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; retry in {}", Span(*retry_after))]
pub struct Limited {
    /// Time until a retry may succeed.
    pub retry_after: Duration,
    /// Whether the request needs more permits than the limit. Such a request never passes.
    pub is_too_large: bool,
}

impl Limited {
    pub(super) fn after(retry_after: Duration) -> Self {
        Self { retry_after, is_too_large: false }
    }
}
