//! When the records of sampled requests were flushed: there the time in the queue begins.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::SystemTime;

use crate::sync::Mutex;
use crate::units::Lsn;

/// Groups that are remembered. A record that is sent later than so many groups was accepted long before; its own
/// timestamp, in milliseconds, is exact enough then.
const MAX_GROUPS: usize = 1024;

/// The last groups with a sampled request in them.
#[derive(Debug, Default)]
pub(super) struct FlushTimes(Mutex<VecDeque<(Range<Lsn>, SystemTime)>>);

impl FlushTimes {
    /// These records were flushed.
    pub(super) fn record(&self, records: Range<Lsn>, at: SystemTime) {
        let mut groups = self.0.lock();
        if groups.len() == MAX_GROUPS {
            groups.pop_front();
        }
        groups.push_back((records, at));
    }

    /// When this record was flushed, if its group is remembered.
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
