//! Reads due records from Kafka in batches, and drops the records of revoked partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::command::USER_RETRY_TOPIC;
use crate::kafka::{GroupConsumer, Partition, PollOutcome, ReadError, Record};
use crate::units::Timestamp;

use super::held_retries::HeldRetries;
use super::partition_positions::PartitionPositions;
use super::pending_batch::is_of;

/// Maximum duration of one poll, because the thread has other work.
const POLL_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum bytes of a batch.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How many records of a partition are read past a delayed one. After a rebalance, the partition's next consumer reads
/// them again.
const MAX_READ_PAST: u64 = 1_000;

/// Reads due records.
pub(super) struct Intake {
    consumer: GroupConsumer,
    /// Records read while a batch was in progress.
    inbox: VecDeque<Record>,
    /// Delayed retries, and later records of the same names.
    held_retries: HeldRetries,
    /// Records that are read and not settled.
    positions: PartitionPositions,
    /// Partitions paused until fewer records are held.
    paused_partitions: BTreeSet<Partition>,
    /// Partitions revoked while a batch was in progress.
    revoked: Vec<Partition>,
    paused: bool,
    broken: Option<String>,
}

impl Intake {
    pub(super) fn new(source: GroupConsumer) -> Self {
        Self {
            consumer: source,
            inbox: VecDeque::new(),
            held_retries: HeldRetries::default(),
            positions: PartitionPositions::default(),
            paused_partitions: BTreeSet::new(),
            revoked: Vec::new(),
            paused: false,
            broken: None,
        }
    }

    /// Up to `most` due records. Waits shortly for the first, and until `wait` has passed for more.
    pub(super) fn gather(&mut self, most: usize, wait: Duration) -> Vec<Record> {
        self.resume();
        let mut batch = Vec::new();
        self.take_due(&mut batch);
        for record in std::mem::take(&mut self.inbox) {
            self.admit(record, &mut batch);
        }
        let idle_until = Instant::now() + self.until_due().min(POLL_TIMEOUT);
        let mut complete = (!batch.is_empty()).then(|| Instant::now() + wait);
        let mut bytes: usize = batch.iter().map(Record::bytes).sum();
        while batch.len() < most && bytes < MAX_BATCH_BYTES && self.broken.is_none() {
            let until = complete.unwrap_or(idle_until);
            let left = until.saturating_duration_since(Instant::now());
            match self.poll(left, &mut batch) {
                Some(record) => {
                    bytes += record.bytes();
                    self.admit(record, &mut batch);
                    if complete.is_none() && !batch.is_empty() {
                        complete = Some(Instant::now() + wait);
                    }
                }
                None if left.is_zero() => break,
                None => {}
            }
        }
        batch
    }

    /// Processes group events while a batch is in progress. Records that arrive meanwhile are queued.
    pub(super) fn poll_group(&mut self, timeout: Duration) {
        if let Some(record) = self.poll(timeout, &mut Vec::new()) {
            self.inbox.push_back(record);
            self.pause();
        }
    }

    /// Pauses all partitions until the next batch is gathered.
    pub(super) fn pause(&mut self) {
        self.consumer.pause_all();
        self.paused = true;
    }

    /// The partitions revoked since the previous call.
    pub(super) fn take_revoked(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.revoked)
    }

    /// Marks the records as settled. Commits the offsets before the first unsettled record.
    pub(super) fn on_settled(&mut self, records: &[Record]) -> BTreeMap<Partition, i64> {
        let offsets = self.positions.on_settled(records);
        self.consumer.commit(&offsets);
        offsets
    }

    /// Why no more records will arrive, if the client has failed.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// See [`GroupConsumer::read_error`].
    pub(super) fn read_error(&self) -> Option<ReadError> {
        self.consumer.read_error()
    }

    /// See [`GroupConsumer::lag`].
    pub(super) fn lag(&self) -> i64 {
        self.consumer.lag()
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.consumer.resume_except(self.paused_partitions.iter());
        }
    }

    /// Reads one record. Before that, records of revoked partitions are dropped, here and from `batch`.
    fn poll(&mut self, timeout: Duration, batch: &mut Vec<Record>) -> Option<Record> {
        let polled = self.consumer.poll(timeout);
        let revoked = self.consumer.take_revoked();
        if !revoked.is_empty() {
            tracing::info!(
                event = "consumer.partitions_revoked",
                consumer.partitions = revoked.len(),
                "partitions revoked"
            );
            batch.retain(|record| !is_of(record, &revoked));
            self.inbox.retain(|record| !is_of(record, &revoked));
            self.held_retries.remove_partitions(&revoked);
            self.positions.remove_partitions(&revoked);
            // The pause of a partition ends with its assignment.
            self.paused_partitions.retain(|partition| !revoked.contains(partition));
            self.revoked.extend(revoked);
        }
        match polled {
            PollOutcome::Nothing => None,
            PollOutcome::Record(record) => {
                self.positions.on_read(&record);
                Some(record)
            }
            PollOutcome::Broken(why) => {
                self.broken = Some(why);
                None
            }
        }
    }

    fn admit(&mut self, record: Record, batch: &mut Vec<Record>) {
        if *record.topic != *USER_RETRY_TOPIC {
            return batch.push(record);
        }
        let partition = (record.topic.clone(), record.partition);
        let is_due =
            self.held_retries.admit(record, Timestamp::now()).map(|record| batch.push(record)).is_some();
        if (!is_due && self.held_retries.is_full()) || self.reads_too_far(&partition) {
            self.consumer.pause(&partition);
            self.paused_partitions.insert(partition);
        }
    }

    /// Moves due records into the batch.
    fn take_due(&mut self, batch: &mut Vec<Record>) {
        batch.append(&mut self.held_retries.take_due(Timestamp::now()));
        let waits = |partition: &Partition| {
            self.held_retries.contains(partition)
                && (!self.held_retries.has_room() || self.reads_too_far(partition))
        };
        let (stopped, free): (BTreeSet<_>, BTreeSet<_>) =
            self.paused_partitions.iter().cloned().partition(waits);
        for partition in &free {
            self.consumer.resume(partition);
        }
        self.paused_partitions = stopped;
    }

    fn reads_too_far(&self, partition: &Partition) -> bool {
        self.held_retries.contains(partition) && self.positions.unsettled_span(partition) > MAX_READ_PAST
    }

    fn until_due(&self) -> Duration {
        self.held_retries.until_due(Timestamp::now())
    }
}
