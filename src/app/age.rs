//! Age of undelivered records.

use std::sync::Arc;
use std::time::Duration;

use crate::units::Timestamp;
use crate::wal::{BacklogStats, Log, Lsn};

/// Age of the oldest record that is neither confirmed nor dead-lettered. Zero if no such record exists.
pub(super) fn oldest_age(log: &Arc<Log>, stats: &BacklogStats) -> Duration {
    if stats.backlog == 0 { Duration::ZERO } else { age_of(log, stats.watermark) }
}

/// Age of one record. Blocks on disk I/O.
pub(super) fn age_of(log: &Arc<Log>, lsn: Lsn) -> Duration {
    match log.accepted_at(lsn) {
        Ok(at) => at.map_or(Duration::ZERO, |at| Timestamp::now().since(at)),
        // Report too high an age rather than none, so that an alert on it fires.
        Err(error) => {
            tracing::warn!(
                event = "wal.oldest_age_unknown",
                %error,
                "oldest record could not be read; the age of its segment is reported instead"
            );
            log.segment_created_at(lsn).map_or(Duration::ZERO, |at| Timestamp::now().since(at))
        }
    }
}
