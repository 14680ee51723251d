//! Decides when flushed records are released to the workers.
//!
//! A small batch costs the broker and the daemon several times as much processor time per record as a large one.
//! librdkafka's own `linger` is one constant that also delays a single record. So the drain gathers records before
//! they reach the producers. Under load it releases new records every [`GATHER_TIME`]. It releases them immediately
//! after an idle period, when a client waits for the outcome, or when there are enough for full batches.

use std::time::{Duration, Instant};

use crate::kafka::Linger;

/// Time between two releases under load: the maximum of `linger = "auto"` (docs/configuration.md#kafka). Each release
/// is one request per partition and producer, and requests are the main cost of a broker. At 35,000 records/s, 16 of
/// them every 15 ms cost it 11 us per record, every 20 ms 10 us, every 30 ms 6 us.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// This many records fill the batches of a release, whatever the number of batches. Gathering longer has no benefit.
pub(super) const FULL_BATCH_RECORDS: u64 = 4096;

/// Decides when to release records. Takes the time as an argument.
pub(super) struct ReleasePacer {
    gather: Duration,
    released_at: Option<Instant>,
}

impl ReleasePacer {
    /// Creates a pacer that gathers for this long between two releases.
    pub(super) fn new(gather: Duration) -> Self {
        Self { gather, released_at: None }
    }

    /// Creates the pacer for a `linger` setting. librdkafka handles a configured duration; then the drain gathers
    /// nothing.
    pub(super) fn for_linger(linger: Linger) -> Self {
        match linger {
            Linger::Auto => Self::new(GATHER_TIME),
            Linger::For(_) => Self::new(Duration::ZERO),
        }
    }

    /// How long `waiting` records are still to be gathered; `None` releases them now. `awaited` is whether a client
    /// waits for the outcome of one of them.
    pub(super) fn gather_time(&self, waiting: u64, awaited: bool, now: Instant) -> Option<Duration> {
        if awaited || waiting >= FULL_BATCH_RECORDS {
            return None;
        }
        let left = (self.released_at? + self.gather).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Records were released.
    pub(super) fn on_released(&mut self, now: Instant) {
        self.released_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const MS: Duration = Duration::from_millis(1);

    fn busy(linger: Linger) -> (ReleasePacer, Instant) {
        let (mut pacer, now) = (ReleasePacer::for_linger(linger), Instant::now());
        pacer.on_released(now);
        (pacer, now)
    }

    #[test]
    fn the_first_record_after_an_idle_period_is_released_immediately() {
        assert_eq!(ReleasePacer::for_linger(Linger::Auto).gather_time(1, false, Instant::now()), None);
        let (pacer, now) = busy(Linger::Auto);
        assert_eq!(pacer.gather_time(1, false, now + GATHER_TIME), None);
    }

    #[test]
    fn records_after_a_release_are_gathered_until_the_interval_ends() {
        let (mut pacer, now) = busy(Linger::Auto);
        assert_eq!(pacer.gather_time(1, false, now), Some(GATHER_TIME));
        assert_eq!(
            pacer.gather_time(FULL_BATCH_RECORDS - 1, false, now + 5 * MS),
            Some(GATHER_TIME - 5 * MS)
        );
        // The time is measured between releases, not between records, so a steady stream is not delayed further.
        pacer.on_released(now + GATHER_TIME);
        assert_eq!(pacer.gather_time(1, false, now + GATHER_TIME + MS), Some(GATHER_TIME - MS));
        assert!((10 * MS..=20 * MS).contains(&GATHER_TIME), "the documented bounds");
    }

    #[test]
    fn a_record_that_a_client_waits_for_is_released_immediately() {
        let (pacer, now) = busy(Linger::Auto);
        assert_eq!(pacer.gather_time(1, true, now), None);
    }

    #[test]
    fn full_batches_are_released_immediately() {
        let (pacer, now) = busy(Linger::Auto);
        assert_eq!(pacer.gather_time(FULL_BATCH_RECORDS, false, now), None);
    }

    #[test]
    fn with_a_configured_linger_nothing_is_gathered() {
        let (pacer, now) = busy(Linger::For(Span::millis(5)));
        assert_eq!(pacer.gather_time(1, false, now), None);
    }
}
