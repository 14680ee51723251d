//! A refusal by a rate limit.

use std::time::Duration;

use crate::units::Span;

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; the next one in {}", Span(*retry_after))]
pub struct Limited {
    /// When to come again.
    pub retry_after: Duration,
    /// More at once than the limit: such a request never passes.
    pub is_too_large: bool,
}

impl Limited {
    pub(super) fn after(retry_after: Duration) -> Self {
        Self { retry_after, is_too_large: false }
    }
}
