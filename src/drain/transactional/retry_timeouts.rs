//! Calls into the Kafka client that block.

use std::time::Duration;

use crate::kafka::{TransactionError, TransactionErrorAction};

/// How long one call into the Kafka client may block. Twice a heartbeat's second.
pub(super) const MAX_BLOCKING: Duration = Duration::from_millis(400);

/// Calls again what ran out of time, as long as `tick` wants.
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
                // Some errors that pass come at once.
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}
