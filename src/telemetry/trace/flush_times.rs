//! Flush times of the records of sampled requests. At its flush, a record's time in the queue begins.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::SystemTime;

use crate::sync::Mutex;
use crate::units::Lsn;

/// Maximum number of stored groups. A record sent after this many further groups was accepted long before, so its own
/// timestamp, in milliseconds, is precise enough.
const MAX_GROUPS: usize = 1024;

/// The most recent groups that contain a sampled request.
#[derive(Debug, Default)]
pub(super) struct FlushTimes(Mutex<VecDeque<(Range<Lsn>, SystemTime)>>);

impl FlushTimes {
    /// Stores the flush time of these records.
    pub(super) fn record(&self, records: Range<Lsn>, at: SystemTime) {
        let mut groups = self.0.lock();
        if groups.len() == MAX_GROUPS {
            groups.pop_front();
        }
        groups.push_back((records, at));
    }

    /// Flush time of a record, if its group is still stored.
    pub(super) fn flushed_at(&self, lsn: Lsn) -> Option<SystemTime> {
        let groups = self.0.lock();
        let place = groups.partition_point(|(records, _)| records.end <= lsn);
        groups.get(place).filter(|(records, _)| records.contains(&lsn)).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_record_is_found_in_its_group_until_it_expires() {
        let (flushes, begin) = (FlushTimes::default(), SystemTime::UNIX_EPOCH);
        let group = |n: u64| (Lsn(n * 10)..Lsn(n * 10 + 5), begin + Duration::from_secs(n));
        for n in 0..=MAX_GROUPS as u64 {
            let (records, at) = group(n);
            flushes.record(records, at);
        }
        assert_eq!(flushes.flushed_at(Lsn(4)), None, "the oldest group");
        for n in [1, 500, MAX_GROUPS as u64] {
            let (records, at) = group(n);
            assert_eq!(flushes.flushed_at(records.start), Some(at));
            assert_eq!(flushes.flushed_at(Lsn(records.end.0 - 1)), Some(at));
            assert_eq!(flushes.flushed_at(records.end), None);
        }
    }
}
