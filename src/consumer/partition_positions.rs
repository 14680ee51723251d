//! Tracks up to which offset each partition is settled. Records may be settled in any order.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::{Partition, Record};

/// Every partition with records read since its assignment.
#[derive(Default)]
pub(super) struct PartitionPositions(BTreeMap<Partition, PartitionPosition>);

#[derive(Default)]
struct PartitionPosition {
    /// Offsets read and not settled.
    open: BTreeSet<i64>,
    /// The offset after the last record read.
    next: i64,
}

impl PartitionPositions {
    /// Adds a record that was read. A partition is read in order. An offset that was read before means that the broker
    /// lost the end of its log and now has other records there. The state of the old records is dropped.
    pub(super) fn on_read(&mut self, record: &Record) {
        let position = self.0.entry((record.topic.clone(), record.partition)).or_default();
        if record.offset < position.next {
            position.open.split_off(&record.offset);
        }
        position.open.insert(record.offset);
        position.next = record.offset + 1;
    }

    /// Marks records as settled. For each of their partitions, all records before the returned offset are settled.
    pub(super) fn on_settled(&mut self, records: &[Record]) -> BTreeMap<Partition, i64> {
        let mut offsets = BTreeMap::new();
        for record in records {
            let partition = (record.topic.clone(), record.partition);
            // `None`: the partition was revoked. Its next consumer reads the record again.
            let Some(position) = self.0.get_mut(&partition) else { continue };
            position.open.remove(&record.offset);
            offsets.insert(partition, position.open.first().copied().unwrap_or(position.next));
        }
        offsets
    }

    /// Maximum number of records that another consumer would read again if it took over the partition now.
    pub(super) fn unsettled_span(&self, partition: &Partition) -> u64 {
        let first = |position: &PartitionPosition| Some(position.next.abs_diff(*position.open.first()?));
        self.0.get(partition).and_then(first).unwrap_or(0)
    }

    /// Drops revoked partitions.
    pub(super) fn remove_partitions(&mut self, partitions: &[Partition]) {
        self.0.retain(|partition, _| !partitions.contains(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64) -> Record {
        Record { topic: "t".into(), partition, offset, key: None, value: None, headers: Vec::new() }
    }

    #[test]
    fn no_offset_is_committed_past_an_unsettled_record() {
        let (mut positions, partition) = (PartitionPositions::default(), (Box::<str>::from("t"), 0));
        for offset in [10, 11, 12, 20] {
            positions.on_read(&record(0, offset));
        }
        positions.on_read(&record(1, 5));
        let mut settled = |offsets: &[i64]| {
            let records: Vec<_> = offsets.iter().map(|offset| record(0, *offset)).collect();
            positions.on_settled(&records).get(&partition).copied()
        };
        assert_eq!(settled(&[11, 20]), Some(10), "the first record is not settled");
        assert_eq!(settled(&[10]), Some(12));
        assert_eq!(settled(&[12]), Some(21), "every record read is settled");
        assert_eq!(settled(&[12]), Some(21), "settled twice");
        assert_eq!(positions.unsettled_span(&partition), 0);
        positions.on_read(&record(0, 30));
        positions.on_read(&record(0, 99));
        assert_eq!(positions.unsettled_span(&partition), 70);
        positions.remove_partitions(std::slice::from_ref(&partition));
        assert!(positions.on_settled(&[record(0, 30)]).is_empty(), "the partition was revoked");
        assert_eq!(positions.on_settled(&[record(1, 5)]).into_values().collect::<Vec<_>>(), [6]);
    }

    /// After an unclean leader election the log may be shorter than before, without a rebalance.
    #[test]
    fn a_truncated_log_resets_the_position() {
        let (mut positions, partition) = (PartitionPositions::default(), (Box::<str>::from("t"), 0));
        let read = |positions: &mut PartitionPositions, offsets: &[i64]| {
            offsets.iter().for_each(|offset| positions.on_read(&record(0, *offset)));
        };
        let settled = |positions: &mut PartitionPositions, offset| {
            positions.on_settled(&[record(0, offset)])[&partition]
        };
        read(&mut positions, &[100, 101, 102, 103]);
        assert_eq!(settled(&mut positions, 100), 101);
        assert_eq!(settled(&mut positions, 103), 101, "101 and 102 are open");
        read(&mut positions, &[50, 51]);
        assert_eq!(settled(&mut positions, 50), 51);
        assert_eq!(settled(&mut positions, 51), 52, "102 no longer exists");
        assert_eq!(settled(&mut positions, 101), 52, "a record of the old end, settled late");
    }
}
