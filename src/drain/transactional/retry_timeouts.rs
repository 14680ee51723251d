//! Retries of Kafka client calls that block.

use std::time::Duration;

use crate::kafka::{TransactionError, TransactionErrorAction};

/// How long one call into the Kafka client may block. Two calls fit into the heartbeat's second.
pub(super) const MAX_BLOCKING: Duration = Duration::from_millis(400);

/// Repeats a call that timed out, as long as `tick` returns true.
pub(super) fn retry_timeouts(
    tick: &mut dyn FnMut() -> bool,
    call: impl Fn(Duration) -> Result<(), TransactionError>,
) -> Result<(), TransactionError> {
    loop {
        match call(MAX_BLOCKING) {
            Err(error) if error.next == TransactionErrorAction::Retry => {
                if !tick() {
                    return Err(error);
                }
                // Some transient errors are returned immediately.
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}
