//! Up to where each partition is settled, whatever order its records are settled in.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::kafka::Partition;
use crate::kafka::Record;

/// Every partition of which something was read since it was assigned.
#[derive(Default)]
pub(super) struct Positions(BTreeMap<Partition, Position>);

#[derive(Default)]
struct Position {
    /// Read and not settled.
    open: BTreeSet<i64>,
    /// After the last one read.
    next: i64,
}

impl Positions {
    /// This record was read.
    pub(super) fn read(&mut self, record: &Record) {
        let position = self.0.entry((record.topic.clone(), record.partition)).or_default();
        position.open.insert(record.offset);
        position.next = position.next.max(record.offset + 1);
    }

    /// These records are settled. For each of their partitions: everything before this offset is.
    pub(super) fn settled(&mut self, records: &[Record]) -> BTreeMap<Partition, i64> {
        let mut offsets = BTreeMap::new();
        for record in records {
            let partition = (record.topic.clone(), record.partition);
            // None: it is somebody else's now, who reads the record again.
            let Some(position) = self.0.get_mut(&partition) else { continue };
            position.open.remove(&record.offset);
            offsets.insert(partition, position.open.first().copied().unwrap_or(position.next));
        }
        offsets
    }

    /// How many records another consumer would read again if it took the partition over now, at most.
    pub(super) fn span(&self, partition: &Partition) -> u64 {
        let first = |position: &Position| Some(position.next.abs_diff(*position.open.first()?));
        self.0.get(partition).and_then(first).unwrap_or(0)
    }

    /// These partitions are somebody else's now.
    pub(super) fn forget(&mut self, partitions: &[Partition]) {
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
    fn nothing_is_committed_past_a_record_that_is_not_settled() {
        let (mut positions, partition) = (Positions::default(), (Box::<str>::from("t"), 0));
        for offset in [10, 11, 12, 20] {
            positions.read(&record(0, offset));
        }
        positions.read(&record(1, 5));
        let mut settled = |offsets: &[i64]| {
            let records: Vec<_> = offsets.iter().map(|offset| record(0, *offset)).collect();
            positions.settled(&records).get(&partition).copied()
        };
        assert_eq!(settled(&[11, 20]), Some(10), "the first one is held");
        assert_eq!(settled(&[10]), Some(12));
        assert_eq!(settled(&[12]), Some(21), "everything that was read");
        assert_eq!(settled(&[12]), Some(21), "settled twice");
        assert_eq!(positions.span(&partition), 0);
        positions.read(&record(0, 30));
        positions.read(&record(0, 99));
        assert_eq!(positions.span(&partition), 70);
        positions.forget(std::slice::from_ref(&partition));
        assert!(positions.settled(&[record(0, 30)]).is_empty(), "it is somebody else's");
        assert_eq!(positions.settled(&[record(1, 5)]).into_values().collect::<Vec<_>>(), [6]);
    }
}
