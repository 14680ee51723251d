//! What comes from Kafka: a batch at a time, retries when they are due, nothing of what was taken away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::command::USER_RETRY_TOPIC;
use crate::kafka::{GroupConsumer, Partition, PollOutcome, ReadError, Record};
use crate::units::Timestamp;

use super::held::Held;
use super::pending::is_of;
use super::positions::Positions;

/// A look for records lasts no longer: there is other work.
const IDLE: Duration = Duration::from_millis(250);
/// Bytes of a batch.
const MOST_BYTES: usize = 8 << 20;
/// Records of a partition that are read past one that is not due. A consumer that takes the partition over reads them
/// again.
const MOST_PASSING: u64 = 1_000;

/// Reads what is due.
pub(super) struct Intake {
    source: GroupConsumer,
    /// Read while a batch was under way.
    inbox: VecDeque<Record>,
    /// Retries that are not due, and those of the same names behind them.
    held: Held,
    /// What was read and is not settled.
    positions: Positions,
    /// Partitions of which nothing more is read until there is room for it.
    stopped: BTreeSet<Partition>,
    /// Taken away while a batch was under way.
    revoked: Vec<Partition>,
    paused: bool,
    broken: Option<String>,
}

impl Intake {
    pub(super) fn new(source: GroupConsumer) -> Self {
        Self {
            source,
            inbox: VecDeque::new(),
            held: Held::default(),
            positions: Positions::default(),
            stopped: BTreeSet::new(),
            revoked: Vec::new(),
            paused: false,
            broken: None,
        }
    }

    /// Up to `most` records that are due. Waits for the first for a moment, for more until `wait` is over.
    pub(super) fn gather(&mut self, most: usize, wait: Duration) -> Vec<Record> {
        self.go_on();
        let mut batch = Vec::new();
        self.due(&mut batch);
        for record in std::mem::take(&mut self.inbox) {
            self.admit(record, &mut batch);
        }
        let idle_until = Instant::now() + self.until_due().min(IDLE);
        let mut complete = (!batch.is_empty()).then(|| Instant::now() + wait);
        let mut bytes: usize = batch.iter().map(Record::bytes).sum();
        while batch.len() < most && bytes < MOST_BYTES && self.broken.is_none() {
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

    /// Hears what the group decides, while a batch is under way. What comes meanwhile waits its turn.
    pub(super) fn listen(&mut self, timeout: Duration) {
        if let Some(record) = self.poll(timeout, &mut Vec::new()) {
            self.inbox.push_back(record);
            self.pause();
        }
    }

    /// Nothing more comes until the next batch is gathered.
    pub(super) fn pause(&mut self) {
        self.source.pause_all();
        self.paused = true;
    }

    /// What was taken away since this was asked last.
    pub(super) fn take_revoked(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.revoked)
    }

    /// These are settled. Commits what lies before the first that is not.
    pub(super) fn settled(&mut self, records: &[Record]) -> BTreeMap<Partition, i64> {
        let offsets = self.positions.settled(records);
        self.source.commit(&offsets);
        offsets
    }

    /// Why nothing will come any more, if so.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// See [`GroupConsumer::read_error`].
    pub(super) fn read_error(&self) -> Option<ReadError> {
        self.source.read_error()
    }

    /// See [`GroupConsumer::lag`].
    pub(super) fn lag(&self) -> i64 {
        self.source.lag()
    }

    fn go_on(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.source.resume_except(self.stopped.iter());
        }
    }

    /// One record; what was taken away meanwhile is forgotten first, here and in `batch`.
    fn poll(&mut self, timeout: Duration, batch: &mut Vec<Record>) -> Option<Record> {
        let polled = self.source.poll(timeout);
        let revoked = self.source.take_revoked();
        if !revoked.is_empty() {
            tracing::info!(
                event = "consumer.partitions_revoked",
                consumer.partitions = revoked.len(),
                "partitions revoked"
            );
            batch.retain(|record| !is_of(record, &revoked));
            self.inbox.retain(|record| !is_of(record, &revoked));
            self.held.forget(&revoked);
            self.positions.forget(&revoked);
            // Their pauses ended with their assignment.
            self.stopped.retain(|partition| !revoked.contains(partition));
            self.revoked.extend(revoked);
        }
        match polled {
            PollOutcome::Nothing => None,
            PollOutcome::Record(record) => {
                self.positions.read(&record);
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
        let is_due = self.held.admit(record, Timestamp::now()).map(|record| batch.push(record)).is_some();
        if (!is_due && self.held.is_full()) || self.passes_too_many(&partition) {
            self.source.pause(&partition);
            self.stopped.insert(partition);
        }
    }

    /// Moves what is due by now into the batch.
    fn due(&mut self, batch: &mut Vec<Record>) {
        batch.append(&mut self.held.take_due(Timestamp::now()));
        let waits = |partition: &Partition| {
            self.held.has(partition) && (!self.held.has_room() || self.passes_too_many(partition))
        };
        let (stopped, free): (BTreeSet<_>, BTreeSet<_>) = self.stopped.iter().cloned().partition(waits);
        for partition in &free {
            self.source.resume(partition);
        }
        self.stopped = stopped;
    }

    fn passes_too_many(&self, partition: &Partition) -> bool {
        self.held.has(partition) && self.positions.span(partition) > MOST_PASSING
    }

    fn until_due(&self) -> Duration {
        self.held.until_due(Timestamp::now())
    }
}
