//! Holds delayed retries. Later retries of other names pass them; later ones of the same name wait behind them. At most
//! 1,000 records or 8 MiB are held; the rest stays in the topic.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use crate::kafka::{Partition, Record};
use crate::units::Timestamp;

use super::retry_records;

/// Maximum number of held records. Normally only commands of a few users are delayed. If more are, the cause affects
/// all commands, and reading further gains nothing.
const MAX_RECORDS: usize = 1_000;
/// Maximum bytes of the held records.
const MAX_BYTES: usize = 8 << 20;

/// By partition, in the topic's order.
#[derive(Default)]
pub(super) struct HeldRetries {
    partitions: BTreeMap<Partition, VecDeque<Record>>,
    count: usize,
    bytes: usize,
    /// When the next retry is due; `None` if none is held.
    next: Option<Timestamp>,
}

impl HeldRetries {
    /// Returns the record if it is due. Holds it if its delay has not expired, or if an earlier one of its name is
    /// held.
    pub(super) fn admit(&mut self, record: Record, now: Timestamp) -> Option<Record> {
        let partition = (record.topic.clone(), record.partition);
        let earlier = self.partitions.get(&partition);
        let is_behind =
            earlier.is_some_and(|held| held.iter().any(|earlier| has_same_name(earlier, &record)));
        let due = retry_records::due(&record);
        if due <= now && !is_behind {
            return Some(record);
        }
        if !is_behind {
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        self.count += 1;
        self.bytes += record.bytes();
        self.partitions.entry(partition).or_default().push_back(record);
        None
    }

    /// Removes and returns the due records, in order, with those that waited behind them.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<Record> {
        let mut due = Vec::new();
        if self.next.is_none_or(|next| next > now) {
            return due;
        }
        self.next = None;
        for held in self.partitions.values_mut() {
            let mut names = HashSet::new();
            for record in std::mem::take(held) {
                let is_behind = record.key.as_ref().is_some_and(|name| names.contains(name));
                let at = retry_records::due(&record);
                if at <= now && !is_behind {
                    self.count -= 1;
                    self.bytes = self.bytes.saturating_sub(record.bytes());
                    due.push(record);
                    continue;
                }
                if !is_behind {
                    self.next = Some(self.next.map_or(at, |next| next.min(at)));
                }
                names.extend(record.key.clone());
                held.push_back(record);
            }
        }
        self.partitions.retain(|_, held| !held.is_empty());
        due
    }

    /// Time until the next retry is due.
    pub(super) fn until_due(&self, now: Timestamp) -> Duration {
        self.next.map_or(Duration::MAX, |next| next.since(now))
    }

    /// Whether a record of this partition is held.
    pub(super) fn contains(&self, partition: &Partition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// Whether the limit is reached.
    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_RECORDS || self.bytes >= MAX_BYTES
    }

    /// Whether much of the limit is free again, so that partitions are not paused and resumed for each record.
    pub(super) fn has_room(&self) -> bool {
        self.count <= MAX_RECORDS / 2 && self.bytes <= MAX_BYTES / 2
    }

    /// Drops the records of revoked partitions.
    pub(super) fn remove_partitions(&mut self, partitions: &[Partition]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        let left = || self.partitions.values().flatten();
        (self.count, self.bytes) = (left().count(), left().map(Record::bytes).sum());
        // At worst too early for the remaining records.
        self.next = left().map(retry_records::due).min();
    }
}

/// Whether both records have the same user name.
fn has_same_name(earlier: &Record, record: &Record) -> bool {
    record.key.is_some() && earlier.key == record.key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::USER_RETRY_TOPIC;
    use crate::consumer::command;

    fn retry(partition: i32, offset: i64, name: &str, due: u64) -> Record {
        Record {
            topic: USER_RETRY_TOPIC.into(),
            partition,
            offset,
            key: Some(name.into()),
            value: Some(Vec::new()),
            headers: vec![(command::NOT_BEFORE.into(), Timestamp(due).to_string().into_bytes())],
        }
    }

    fn offsets(records: &[Record]) -> Vec<i64> {
        records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn a_delayed_retry_blocks_only_its_own_name() {
        let (mut held, now) = (HeldRetries::default(), Timestamp(1_000));
        assert!(held.admit(retry(0, 1, "ada", 3_600_000), now).is_none());
        assert!(held.admit(retry(0, 2, "bob", 500), now).is_some(), "another name passes");
        assert!(held.admit(retry(0, 3, "ada", 500), now).is_none(), "the same name waits behind");
        assert!(held.admit(retry(0, 4, "bob", 2_000), now).is_none());
        assert_eq!(held.until_due(now), Duration::from_secs(1));
        assert_eq!(offsets(&held.take_due(Timestamp(2_000))), [4]);
        assert_eq!(held.until_due(Timestamp(2_000)), Duration::from_secs(3_598));
        assert!(held.take_due(Timestamp(3_599_999)).is_empty());
        assert_eq!(offsets(&held.take_due(Timestamp(3_600_000))), [1, 3], "in order");
        assert_eq!((held.count, held.bytes, held.next), (0, 0, None));
        assert!(!held.contains(&(USER_RETRY_TOPIC.into(), 0)));
    }

    #[test]
    fn held_retries_are_bounded_and_free_their_space() {
        let (mut held, now) = (HeldRetries::default(), Timestamp(0));
        for offset in 0..MAX_RECORDS as i64 {
            assert!(!held.is_full());
            let partition = (offset % 2) as i32;
            assert!(held.admit(retry(partition, offset, &offset.to_string(), 1_000), now).is_none());
        }
        assert!(held.is_full() && !held.has_room());
        held.remove_partitions(&[(USER_RETRY_TOPIC.into(), 0)]);
        assert!(held.has_room() && held.contains(&(USER_RETRY_TOPIC.into(), 1)));
        assert_eq!(held.take_due(Timestamp(1_000)).len(), MAX_RECORDS / 2);
        assert_eq!((held.count, held.bytes), (0, 0));
    }
}
