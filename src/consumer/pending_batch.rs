//! Records that are read and not yet settled, in order.

use crate::kafka::{Partition, Record};

use super::command::Command;
use super::retry_records;

/// Records and their commands, at equal indexes.
#[derive(Default)]
pub(super) struct PendingBatch {
    pub(super) records: Vec<Record>,
    pub(super) commands: Vec<Command>,
}

impl PendingBatch {
    /// Appends a record.
    pub(super) fn push(&mut self, record: Record) {
        let mut command = Command::read(&record);
        if command.from_retry {
            command.lost_predecessor = retry_records::lost_predecessor(&record);
        }
        self.commands.push(command);
        self.records.push(record);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Removes and returns the first `count` records.
    pub(super) fn take(&mut self, count: usize) -> Self {
        let records = self.records.drain(..count).collect();
        Self { records, commands: self.commands.drain(..count).collect() }
    }

    /// Puts a record back at the front.
    pub(super) fn put_back(&mut self, record: Record, command: Command) {
        self.records.insert(0, record);
        self.commands.insert(0, command);
    }

    /// Drops the records of revoked partitions.
    pub(super) fn remove_partitions(&mut self, partitions: &[Partition]) {
        let lost = |record: &Record| is_of(record, partitions);
        let mut keep = self.records.iter().map(|record| !lost(record)).collect::<Vec<_>>().into_iter();
        self.commands.retain(|_| keep.next().unwrap_or(true));
        self.records.retain(|record| !lost(record));
    }
}

/// Whether the record is in one of these partitions.
pub(super) fn is_of(record: &Record, partitions: &[Partition]) -> bool {
    partitions.iter().any(|(topic, partition)| (&**topic, *partition) == record.topic_partition())
}
