//! How long the oldest records have waited.

use std::sync::Arc;
use std::time::Duration;

use crate::units::Timestamp;
use crate::wal::{BacklogStats, Log, Lsn};

/// Age of the oldest record that is neither confirmed nor dead; zero when there is none.
pub(super) fn oldest_age(log: &Arc<Log>, figures: &BacklogStats) -> Duration {
    if figures.backlog == 0 { Duration::ZERO } else { age_of(log, figures.watermark) }
}

/// Age of one record. Reads the log: blocks for the disk.
pub(super) fn age_of(log: &Arc<Log>, lsn: Lsn) -> Duration {
    match log.accepted_at(lsn) {
        Ok(at) => at.map_or(Duration::ZERO, |at| Timestamp::now().since(at)),
        // Too large rather than unknown: an alert on it must fire.
        Err(error) => {
            tracing::warn!(event = "wal.oldest_age_unknown", %error, "oldest record could not be read; the age of its segment is shown");
            log.segment_created_at(lsn).map_or(Duration::ZERO, |at| Timestamp::now().since(at))
        }
    }
}
