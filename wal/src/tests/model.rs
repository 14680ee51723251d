//! Property test: random operations on the real log over the simulated disk, compared with a model of the permitted
//! results. `Reopen` and `Crash` are operations like any other.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{AppendError, Confirmation, Lsn, OpenedLog, Retention};
use super::sim_fs::SimFs;
use super::support::*;
use crate::units::Timestamp;

#[derive(Clone, Debug)]
enum Op {
    /// Appends a batch of this many records.
    Append(u8),
    Commit,
    /// Confirms the waiting records for which `lsn % n == 0`.
    Complete(u8),
    Rotate,
    Maintain,
    /// The process crashes.
    Reopen,
    /// The power fails. These choices decide which unflushed data survives.
    Crash(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..6).prop_map(Op::Append),
        6 => Just(Op::Commit),
        3 => (1u8..4).prop_map(Op::Complete),
        2 => Just(Op::Rotate),
        2 => Just(Op::Maintain),
        1 => Just(Op::Reopen),
        3 => vec(any::<u8>(), 1..40).prop_map(Op::Crash),
    ]
}

/// Records that must exist, and records that may exist.
#[derive(Default)]
struct Model {
    /// Payload numbers of flushed records.
    committed: BTreeMap<u64, u64>,
    /// Batches appended and not flushed: first LSN and payload numbers.
    pending: Vec<(u64, Vec<u64>)>,
    done: BTreeSet<u64>,
    /// Done in a durable checkpoint; these must not be delivered again.
    checkpointed: BTreeSet<u64>,
    appended: u64,
}

struct ModelRun {
    fs: SimFs,
    opened: OpenedLog,
    model: Model,
}

impl ModelRun {
    fn new() -> Self {
        let fs = SimFs::new();
        Self { opened: reopen(&fs), fs, model: Model::default() }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Append(size) => self.append(*size),
            Op::Commit => self.commit(),
            Op::Complete(n) => self.complete(u64::from(*n)),
            Op::Rotate => {
                preallocate(&self.opened.log);
                // A rotation flushes appended records.
                match self.opened.writer.seal_if_older(std::time::Duration::ZERO, Timestamp(3_000)) {
                    Ok(()) | Err(AppendError::NoRoom | AppendError::Filling) => {}
                    Err(error) => panic!("{error:?}"),
                }
                self.record_flushed();
            }
            Op::Maintain => {
                let keep = Retention { age: std::time::Duration::from_secs(9), size: 20 << 10 };
                self.opened.log.run_maintenance(keep, Timestamp(2_500)).unwrap();
                self.model.checkpointed = self.model.done.clone();
            }
            Op::Reopen => self.reopen(),
            Op::Crash(choices) => {
                let mut choices = choices.iter().cycle();
                self.fs.crash(&mut |n| usize::from(*choices.next().unwrap()) % n);
                self.reopen();
            }
        }
    }

    fn append(&mut self, size: u8) {
        let numbers: Vec<_> = (0..u64::from(size)).map(|n| self.model.appended + n + 1).collect();
        self.model.appended += u64::from(size);
        let payloads: Vec<_> = numbers.iter().map(|&n| payload(n)).collect();
        let first = append(&mut self.opened.writer, &payloads);
        // A rotation for this batch may have flushed earlier batches.
        self.record_flushed();
        self.model.pending.push((first.0, numbers));
    }

    fn commit(&mut self) {
        self.opened.writer.commit().unwrap();
        self.record_flushed();
        assert!(self.model.pending.is_empty());
    }

    fn record_flushed(&mut self) {
        let end = self.opened.log.end().0;
        let (flushed, pending) = self.model.pending.drain(..).partition(|(first, _)| *first < end);
        self.model.pending = pending;
        let flushed: Vec<(u64, Vec<u64>)> = flushed;
        for (first, numbers) in flushed {
            self.model.committed.extend(numbers.iter().enumerate().map(|(i, &n)| (first + i as u64, n)));
        }
    }

    fn complete(&mut self, n: u64) {
        let these: Vec<_> = waiting(&self.opened.log)
            .into_iter()
            .filter(|(lsn, _)| lsn.0 % n == 0)
            .map(|(lsn, bytes)| (lsn, bytes.len()))
            .collect();
        let confirmations: Vec<_> = these
            .iter()
            .map(|&(lsn, len)| Confirmation {
                lsn,
                bytes: ((32 + len) as u32).next_multiple_of(8),
                partition: 0,
                offset: lsn.0 as i64,
                at: Timestamp(1),
            })
            .collect();
        self.opened.log.confirm(&confirmations);
        self.model.done.extend(these.iter().map(|(lsn, _)| lsn.0));
        let stats = self.opened.log.backlog_stats();
        assert_eq!(stats.backlog, (self.model.committed.len() - self.model.done.len()) as u64);
    }

    /// Opens the log again and checks it against the model.
    fn reopen(&mut self) {
        self.opened = reopen(&self.fs);
        let read = waiting(&self.opened.log);
        let seen: BTreeMap<u64, Vec<u8>> = read.iter().map(|(lsn, bytes)| (lsn.0, bytes.clone())).collect();
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0), "order");
        for (lsn, number) in &self.model.committed {
            match seen.get(lsn) {
                Some(bytes) => assert_eq!(*bytes, payload(*number), "record {lsn} has another payload"),
                None => assert!(self.model.done.contains(lsn), "acknowledged record {lsn} is lost"),
            }
            assert!(
                !(seen.contains_key(lsn) && self.model.checkpointed.contains(lsn)),
                "{lsn} is delivered again"
            );
        }
        // Unflushed records may exist, as whole batches, in order, without a gap.
        let mut lost = false;
        for (first, numbers) in std::mem::take(&mut self.model.pending) {
            let found: Vec<_> =
                (0..numbers.len() as u64).filter(|i| seen.contains_key(&(first + i))).collect();
            assert!(found.is_empty() || found.len() == numbers.len(), "a part of the batch at {first}");
            assert!(!lost || found.is_empty(), "a batch after a lost one");
            lost |= found.is_empty();
            for i in found {
                assert_eq!(seen[&(first + i)], payload(numbers[i as usize]));
                self.model.committed.insert(first + i, numbers[i as usize]);
            }
        }
        assert!(
            seen.keys().all(|lsn| self.model.committed.contains_key(lsn)),
            "a record that was never appended"
        );
        assert!(
            self.opened.writer.next_lsn()
                > self.model.committed.keys().next_back().map_or(Lsn(0), |&lsn| Lsn(lsn))
        );
        // Confirmations since the last checkpoint are lost: records are repeated, not lost.
        self.model.done.retain(|lsn| !seen.contains_key(lsn));
        self.model.checkpointed = self.model.done.clone();
        assert_eq!(self.opened.log.backlog_stats().backlog, seen.len() as u64);
    }
}

proptest! {
    // A failing case prints its operations, shrunk, and the seed that repeats it.
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_retains_acknowledged_records_and_invents_none(ops in vec(op(), 1..60)) {
        run_ops(&ops);
    }

    #[test]
    fn an_encrypted_log_retains_acknowledged_records_and_invents_none(ops in vec(op(), 1..60)) {
        encrypt();
        run_ops(&ops);
    }
}

fn run_ops(ops: &[Op]) {
    let mut run = ModelRun::new();
    for op in ops {
        run.step(op);
    }
    run.step(&Op::Crash(vec![1]));
}
