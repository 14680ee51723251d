//! Acknowledgement state of records: one bit per record, for segments that are partly done.
//!
//! A segment with no done records needs no bits, and neither does a complete one. Memory therefore depends only on the
//! segments in between, however large the backlog is and however long one stuck record holds it. Numbers that are in no
//! segment (quarantined or missing) count as done.

use std::collections::BTreeMap;

use crate::failpoint::Failpoint;
use crate::units::Lsn;

/// Acknowledgement state of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentAcks {
    /// Flushed records.
    pub count: u64,
    /// Bytes of the flushed records.
    pub bytes: u64,
    /// Done records.
    pub done: u64,
    /// Bytes of the done records.
    pub done_bytes: u64,
    /// Whether no record will be added.
    pub sealed: bool,
    /// One bit per record. Empty while no record is done, and once all are.
    pub bits: Vec<u64>,
}

impl SegmentAcks {
    pub(super) fn is_done(&self, index: u64) -> bool {
        if index >= self.count {
            return self.sealed;
        }
        match self.bits.get((index / 64) as usize) {
            Some(word) => word & (1 << (index % 64)) != 0,
            // Without bits, all records have the same state. With bits, those after the last word are not done.
            None => self.bits.is_empty() && self.done == self.count,
        }
    }

    /// Whether the counts and the bits are consistent.
    pub(super) fn is_sound(&self) -> bool {
        let set: u64 = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
        match self.bits.is_empty() {
            true => self.done == 0 || self.done == self.count,
            false => {
                self.done == set
                    && self.done <= self.count
                    && self.bits.len() as u64 <= self.count.div_ceil(64)
            }
        }
    }

    fn mark(&mut self, index: u64, bytes: u64) -> bool {
        if index >= self.count || self.is_done(index) {
            return false;
        }
        let word = (index / 64) as usize;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (index % 64);
        if Failpoint::BelowMarkedToo.is_set() {
            self.bits[word] |= (1 << (index % 64)) - 1;
        }
        self.done += 1;
        self.done_bytes += bytes;
        self.drop_redundant_bits();
        true
    }

    /// Adds records that are not done.
    pub(super) fn extend(&mut self, records: u64, bytes: u64) {
        // All records so far were done: store their bits before that stops being true for the segment.
        if self.bits.is_empty() && self.done > 0 {
            self.bits = all_bits_set(self.done);
        }
        self.count += records;
        self.bytes += bytes;
    }

    /// Marks the segment as sealed: no record will be added.
    pub(super) fn close(&mut self) {
        self.sealed = true;
        self.drop_redundant_bits();
    }

    /// A complete segment needs no bits. All its bytes count as done, also those of records that could not be read.
    fn drop_redundant_bits(&mut self) {
        if self.is_complete() {
            self.bits = Vec::new();
            self.done_bytes = self.bytes;
        }
    }

    fn is_complete(&self) -> bool {
        self.sealed && self.done == self.count
    }

    /// The first record at or after `index` that is not done.
    fn first_undone(&self, mut index: u64) -> u64 {
        while index < self.count && self.is_done(index) {
            let word = self.bits.get((index / 64) as usize);
            let whole = index.is_multiple_of(64) && word == Some(&u64::MAX);
            index += match self.bits.is_empty() {
                true => self.count - index,
                false if whole => 64,
                false => 1,
            };
        }
        index.min(self.count)
    }
}

fn all_bits_set(records: u64) -> Vec<u64> {
    let mut bits = vec![u64::MAX; (records / 64) as usize];
    if !records.is_multiple_of(64) {
        bits.push((1 << (records % 64)) - 1);
    }
    bits
}

/// Acknowledgement state of all segments.
#[derive(Clone, Debug, Default)]
pub struct AckTracker {
    segments: BTreeMap<Lsn, SegmentAcks>,
    watermark: Lsn,
    backlog: u64,
    backlog_bytes: u64,
}

impl AckTracker {
    /// An empty tracker whose first record will be `watermark`.
    pub fn new(watermark: Lsn) -> Self {
        Self { watermark, ..Self::default() }
    }

    /// Adds a segment, with the information which of its records are done.
    pub fn insert(&mut self, first: Lsn, acks: SegmentAcks) {
        self.backlog += acks.count - acks.done;
        self.backlog_bytes += acks.bytes.saturating_sub(acks.done_bytes);
        self.segments.insert(first, acks);
    }

    /// Records numbers that no file contains as done, so that later starts do not report them as missing.
    pub fn insert_gap(&mut self, from: Lsn, to: Lsn) {
        let count = to.0 - from.0;
        self.insert(from, SegmentAcks { count, done: count, sealed: true, ..SegmentAcks::default() });
    }

    /// Adds flushed records to the segment `first`.
    pub fn extend(&mut self, first: Lsn, records: u64, bytes: u64) {
        if let Some(acks) = self.segments.get_mut(&first) {
            acks.extend(records, bytes);
            self.backlog += records;
            self.backlog_bytes += bytes;
        }
    }

    /// Seals the segment `first`: no record will be added to it.
    pub fn seal(&mut self, first: Lsn) {
        if let Some(acks) = self.segments.get_mut(&first) {
            let before = acks.done_bytes;
            acks.sealed = true;
            acks.drop_redundant_bits();
            self.backlog_bytes = self.backlog_bytes.saturating_sub(acks.done_bytes.saturating_sub(before));
        }
        self.advance();
    }

    /// Removes the segments that are complete and below the watermark. Complete segments above it stay, even when their
    /// files are deleted: this distinguishes a deleted segment from a missing one.
    pub fn drop_completed_segments(&mut self) {
        let watermark = self.watermark.0;
        self.segments.retain(|first, acks| first.0 + acks.count > watermark || !acks.is_complete());
    }

    /// Marks one record, which takes `bytes` in the log, as done. Returns `false` if it was done already.
    pub fn mark_done(&mut self, lsn: Lsn, bytes: u64) -> bool {
        let Some((first, acks)) = self.segments.range_mut(..=lsn).next_back() else { return false };
        let before = acks.done_bytes;
        if !acks.mark(lsn.0 - first.0, bytes) {
            return false;
        }
        self.backlog -= 1;
        self.backlog_bytes = self.backlog_bytes.saturating_sub(acks.done_bytes.saturating_sub(before));
        if lsn == self.watermark {
            self.advance();
        }
        true
    }

    /// Marks all existing records from `from` to `to` (inclusive) as done.
    pub fn mark_range_done(&mut self, from: Lsn, to: Lsn) {
        let starts = self.segments.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let held: Vec<_> =
            self.segments.range(starts..=to).map(|(first, acks)| (first.0, acks.count)).collect();
        for (first, count) in held {
            let end = (first + count).min(to.0.saturating_add(1));
            for lsn in first.max(from.0)..end {
                self.mark_done(Lsn(lsn), 0);
            }
        }
    }

    /// Whether a record is done. Records below the watermark are, and so are numbers in no segment.
    pub fn is_done(&self, lsn: Lsn) -> bool {
        if lsn < self.watermark {
            return true;
        }
        match self.segments.range(..=lsn).next_back() {
            Some((first, acks)) => acks.is_done(lsn.0 - first.0),
            None => true,
        }
    }

    /// Acknowledgement state of the segment `first`.
    pub fn segment_acks(&self, first: Lsn) -> Option<&SegmentAcks> {
        self.segments.get(&first)
    }

    /// The watermark: all records below it are done.
    pub fn watermark(&self) -> Lsn {
        self.watermark
    }

    /// Records that are not done.
    pub fn backlog(&self) -> u64 {
        self.backlog
    }

    /// Bytes of the undone records in the log.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes
    }

    /// Whether the segment is sealed and all its records are done. Also true of a segment that is no longer tracked.
    pub fn is_complete(&self, first: Lsn) -> bool {
        self.segments.get(&first).is_none_or(SegmentAcks::is_complete)
    }

    /// The segments that a checkpoint must contain: the open one, and those that hold the watermark or are above it.
    pub fn segments_above_watermark(&self) -> impl Iterator<Item = (Lsn, &SegmentAcks)> {
        let above = |first: Lsn, acks: &SegmentAcks| !acks.sealed || first.0 + acks.count > self.watermark.0;
        self.segments
            .iter()
            .filter(move |(first, acks)| above(**first, acks))
            .map(|(first, acks)| (*first, acks))
    }

    /// Moves the watermark past all contiguous done records.
    pub fn advance(&mut self) {
        loop {
            let holder = self.segments.range(..=self.watermark).next_back();
            let Some((first, acks)) = holder.filter(|(first, acks)| self.watermark.0 - first.0 < acks.count)
            else {
                // In a gap, or after a segment's last record: the watermark moves to the next segment, if one exists.
                match self.segments.range(self.watermark..).next() {
                    Some((&next, _)) if next > self.watermark => self.watermark = next,
                    _ => return,
                }
                continue;
            };
            let undone = acks.first_undone(self.watermark.0 - first.0);
            self.watermark = first.plus(undone + u64::from(Failpoint::WatermarkTooFar.is_set()));
            if undone < acks.count || !acks.sealed {
                return;
            }
            if self.segments.range(self.watermark..).next().is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> AckTracker {
        let mut tracker = AckTracker::new(Lsn(1));
        tracker.insert(Lsn(1), SegmentAcks::default());
        tracker.extend(Lsn(1), 100, 1000);
        tracker
    }

    #[test]
    fn the_watermark_advances_over_the_contiguous_part_only() {
        let mut tracker = tracker();
        for lsn in [3, 2, 5] {
            assert!(tracker.mark_done(Lsn(lsn), 10));
        }
        assert_eq!((tracker.watermark(), tracker.backlog(), tracker.backlog_bytes()), (Lsn(1), 97, 970));
        assert!(tracker.mark_done(Lsn(1), 10));
        assert_eq!(tracker.watermark(), Lsn(4));
        assert!(!tracker.mark_done(Lsn(1), 10), "done once");
        assert_eq!(tracker.backlog(), 96);
    }

    #[test]
    fn records_flushed_after_all_before_were_done_are_not_done() {
        let mut tracker = tracker();
        (1..=100).for_each(|lsn| assert!(tracker.mark_done(Lsn(lsn), 10)));
        assert_eq!(tracker.watermark(), Lsn(101));
        tracker.extend(Lsn(1), 1, 10);
        assert!(!tracker.is_done(Lsn(101)) && tracker.is_done(Lsn(100)));
        assert!(tracker.mark_done(Lsn(101), 10));
        assert_eq!((tracker.watermark(), tracker.backlog()), (Lsn(102), 0));
    }

    #[test]
    fn a_stuck_record_pins_the_watermark_and_no_memory() {
        let mut tracker = tracker();
        tracker.seal(Lsn(1));
        (2..=100).for_each(|lsn| assert!(tracker.mark_done(Lsn(lsn), 10)));
        for n in 1..50 {
            let first = Lsn(100 * n + 1);
            tracker.insert(first, SegmentAcks::default());
            tracker.extend(first, 100, 1000);
            (0..100).for_each(|i| assert!(tracker.mark_done(first.plus(i), 10)));
            tracker.seal(first);
        }
        assert_eq!((tracker.watermark(), tracker.backlog()), (Lsn(1), 1));
        let bits: usize = tracker.segments_above_watermark().map(|(_, acks)| acks.bits.len()).sum();
        assert_eq!(bits, 2, "only the segment of the stuck record has bits");
        assert!(tracker.mark_done(Lsn(1), 10));
        assert_eq!(tracker.watermark(), Lsn(5001));
    }

    #[test]
    fn a_damaged_range_marks_only_existing_records() {
        let mut tracker = tracker();
        tracker.seal(Lsn(1));
        tracker.insert(Lsn(200), SegmentAcks { count: 10, ..SegmentAcks::default() });
        tracker.mark_range_done(Lsn(91), Lsn(u64::MAX));
        assert_eq!(
            (tracker.backlog(), tracker.is_done(Lsn(90)), tracker.is_done(Lsn(209))),
            (90, false, true)
        );
        tracker.mark_range_done(Lsn(1), Lsn(90));
        assert_eq!((tracker.backlog(), tracker.backlog_bytes()), (0, 0));
    }

    #[test]
    fn sealing_counts_the_bytes_of_unreadable_records_as_done() {
        let mut tracker = tracker();
        tracker.mark_range_done(Lsn(1), Lsn(100));
        assert_eq!(tracker.backlog_bytes(), 1000);
        tracker.seal(Lsn(1));
        assert_eq!(tracker.backlog_bytes(), 0);
    }

    #[test]
    fn numbers_that_lie_in_no_segment_count_as_done() {
        let mut tracker = AckTracker::new(Lsn(1));
        tracker.insert(Lsn(1), SegmentAcks { count: 10, sealed: true, ..SegmentAcks::default() });
        tracker.insert(Lsn(50), SegmentAcks { count: 5, ..SegmentAcks::default() });
        assert!(tracker.is_done(Lsn(30)));
        (1..=10).for_each(|lsn| assert!(tracker.mark_done(Lsn(lsn), 0)));
        assert_eq!(tracker.watermark(), Lsn(50));
        assert!(!tracker.is_done(Lsn(50)));
        assert_eq!(tracker.backlog(), 5);
    }
}
