//! Model test of a worker's way through its lanes, at random and without Kafka. Scopes become blocked and unblocked,
//! transactions are committed and aborted, the process crashes. The loop is a small version of the worker's.
//! [`HeldLanes`], [`Transaction`] and [`LanePositions`] are the real ones.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::held_lanes::HeldLanes;
use super::lane_positions::LanePositions;
use super::transaction::Transaction;
use crate::backoff::Backoff;
use crate::drain::scope::TopicPartition;
use crate::units::Lsn;

const LANES: u8 = 3;
const PARTITIONS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// So many records are processed.
    Read(u64),
    /// This place accepts no records.
    Block(usize),
    /// It accepts records again.
    Unblock(usize),
    Commit,
    /// A record of the transaction was rejected because of this place.
    Refuse(usize),
    Abort,
    /// A restart after a crash, with Kafka's positions and without a checkpoint.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..8u64).prop_map(Op::Read),
        2 => (0..PARTITIONS).prop_map(Op::Block),
        2 => (0..PARTITIONS).prop_map(Op::Unblock),
        3 => Just(Op::Commit),
        2 => (0..PARTITIONS).prop_map(Op::Refuse),
        1 => Just(Op::Abort),
        1 => Just(Op::Crash),
    ]
}

fn place(index: usize) -> TopicPartition {
    TopicPartition { topic: index, partition: 0 }
}

struct ModelWorker {
    /// Lane and place of each record. The first record has LSN 1.
    records: Vec<(u8, usize)>,
    held: HeldLanes,
    blocked: [bool; PARTITIONS],
    /// The next record to read.
    next: u64,
    reread: Option<Lsn>,
    transaction: Option<(Transaction, Vec<u64>)>,
    committed: LanePositions,
    /// Whether each record is done in the log.
    done: Vec<bool>,
    /// The records in Kafka, in its order.
    topic: Vec<u64>,
}

impl ModelWorker {
    fn new(records: Vec<(u8, usize)>) -> Self {
        let done = vec![false; records.len()];
        Self {
            records,
            held: nothing_held(),
            blocked: [false; PARTITIONS],
            next: 1,
            reread: None,
            transaction: None,
            committed: LanePositions::default(),
            done,
            topic: Vec::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Read(count) => self.read(count),
            Op::Block(index) => self.blocked[index] = true,
            Op::Unblock(index) => self.blocked[index] = false,
            Op::Commit => self.commit(),
            Op::Refuse(index) => {
                self.blocked[index] = true;
                self.abort();
            }
            Op::Abort => self.abort(),
            Op::Crash => self.crash(),
        }
    }

    fn read(&mut self, count: u64) {
        if self.transaction.is_none() {
            let released = self.held.release(|scope, _| !self.blocked[scope.topic()]);
            if let Some(first) = released.into_iter().chain(self.reread.take()).min() {
                self.next = self.next.min(first.0);
            }
        }
        for _ in 0..count {
            let from = Lsn(self.next);
            let Some(&(lane, its)) = self.records.get(self.next as usize - 1) else { return };
            self.next += 1;
            if self.done[from.0 as usize - 1] || self.held.blocks(lane, from) {
                continue;
            }
            if self.blocked[its] {
                self.held.hold(lane, from, place(its));
                continue;
            }
            let begin = || (Transaction::new(from, None, self.committed.clone(), Instant::now()), Vec::new());
            let (run, sent) = self.transaction.get_or_insert_with(begin);
            run.add(lane, from, 1);
            sent.push(from.0);
        }
    }

    fn commit(&mut self) {
        let Some((run, sent)) = self.transaction.take() else { return };
        self.committed = run.positions;
        for lsn in sent {
            assert!(!self.done[lsn as usize - 1], "record {lsn} is repeated");
            self.done[lsn as usize - 1] = true;
            self.topic.push(lsn);
        }
        for (lsn, (lane, _)) in (1..).zip(&self.records) {
            let is_passed = Lsn(lsn) < self.committed.get(*lane);
            assert!(!is_passed || self.done[lsn as usize - 1], "record {lsn} is passed and was never sent");
        }
    }

    fn abort(&mut self) {
        if let Some((run, _)) = self.transaction.take() {
            self.reread = self.reread.into_iter().chain([run.from]).min();
        }
    }

    fn crash(&mut self) {
        (self.transaction, self.reread, self.held, self.next) = (None, None, nothing_held(), 1);
        for (lsn, (lane, _)) in (1..).zip(&self.records) {
            self.done[lsn as usize - 1] = Lsn(lsn) < self.committed.get(*lane);
        }
    }

    /// All places accept records, and all waiting records are sent.
    fn deliver_all(&mut self) {
        self.blocked = [false; PARTITIONS];
        for _ in 0..3 {
            self.commit();
            self.read(self.records.len() as u64);
        }
    }
}

fn nothing_held() -> HeldLanes {
    HeldLanes::new(Backoff::new(Duration::from_millis(1), Duration::from_millis(1)))
}

proptest! {
    // A failing case prints its operations, shrunk, and the seed that repeats it.
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn holds_and_aborts_cause_no_loss_repeat_or_reordering(
        records in vec((0..LANES, 0..PARTITIONS), 1..24),
        ops in vec(op(), 1..40),
    ) {
        let mut worker = ModelWorker::new(records);
        ops.iter().for_each(|op| worker.apply(op));
        worker.deliver_all();
        prop_assert!(worker.done.iter().all(|done| *done), "all are sent in the end: {:?}", worker.done);
        for lane in 0..LANES {
            let its: Vec<u64> =
                worker.topic.iter().copied().filter(|lsn| worker.records[*lsn as usize - 1].0 == lane).collect();
            prop_assert!(its.is_sorted(), "lane {lane}: {its:?}");
        }
    }
}
