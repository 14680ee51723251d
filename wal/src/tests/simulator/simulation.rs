//! Runs a scenario on the real log, and checks the log's guarantees after every step.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::dead_letters::Removal;
use super::super::super::{AppendError, Log, NewRecord, OpenedLog};
use super::disk::Disk;
use super::drain::{Broker, Worker};
use super::expectations::{Batch, CheckResult, CorruptedBytes, Expectations, ensure};
use super::rng::{SeededRng, seed_random};
use super::scenario::{Scenario, SimulationSetup, Step, StepAction};
use crate::units::Timestamp;

pub struct Simulation {
    pub setup: SimulationSetup,
    pub disk: Disk,
    pub opened: Option<OpenedLog>,
    pub expected: Expectations,
    pub workers: Vec<Worker>,
    pub broker: Broker,
    pub rng: SeededRng,
    /// Records appended so far. Each has a different payload.
    pub appended: u64,
    pub clock: u64,
    pub old_copy: Option<(Disk, u64)>,
    /// The log correctly refuses to start, which ends the run.
    pub refused: bool,
    /// The steps so far, for a report.
    pub trace: Vec<String>,
}

impl Simulation {
    pub fn new(setup: &SimulationSetup) -> Self {
        Self {
            disk: Disk::new(setup.name_durability, setup.capacity, setup.partial_io),
            setup: setup.clone(),
            opened: None,
            expected: Expectations::default(),
            workers: Vec::new(),
            broker: Broker::default(),
            rng: SeededRng::new(0),
            appended: 0,
            clock: 1_000,
            old_copy: None,
            refused: false,
            trace: Vec::new(),
        }
    }

    /// Runs all steps, and then an end without faults in which every record must be delivered.
    pub fn run(&mut self, scenario: &Scenario) -> CheckResult {
        self.begin(1);
        self.start()?;
        for (index, step) in scenario.steps.iter().enumerate() {
            self.begin(step.seed);
            self.trace.push(format!("{index}: {step}"));
            self.step(step)?;
            if self.refused {
                return Ok(());
            }
            let stats = self.opened.as_ref().map(|opened| opened.log.backlog_stats());
            let line = format!("   {stats:?}, {} calls", self.disk.calls());
            self.trace.push(line);
        }
        self.begin(2);
        self.trace.push("the end".into());
        self.finish()
    }

    pub fn begin(&mut self, seed: u64) {
        self.disk.begin(seed);
        seed_random(Some(seed ^ 0x5eed));
        self.rng = SeededRng::new(!seed);
        self.clock += 1_000;
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock)
    }

    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.opened.as_ref().unwrap().log)
    }

    pub fn step(&mut self, step: &Step) -> CheckResult {
        if self.old_copy.is_none() && self.expected.checkpointed {
            self.old_copy = Some((self.disk.copy(), self.log().end().0));
        }
        match step.act {
            StepAction::Append { records, bytes } => self.append(records, bytes)?,
            StepAction::Commit => self.commit()?,
            StepAction::Write { records, bytes } => {
                self.append(records, bytes)?;
                self.commit()?;
            }
            StepAction::Seal => self.seal()?,
            StepAction::Deliver { worker, limit } => self.deliver(worker, limit)?,
            StepAction::Confirm { worker } => self.confirm(worker, false)?,
            StepAction::Refuse { worker } => self.refuse(worker)?,
            StepAction::Requeue => self.requeue()?,
            StepAction::Drop => self.remove_dead_letter(Removal::Dropped)?,
            StepAction::Checkpoint => self.checkpoint()?,
            StepAction::Maintain => self.maintain()?,
            StepAction::Restart => self.restart(|_| ())?,
            StepAction::Kill => self.restart(Disk::kill)?,
            StepAction::Crash => self.restart(Disk::crash)?,
            StepAction::DieAfter(calls) => self.disk.stop_after(calls),
            StepAction::Fail(fault) => self.disk.plan_fault(fault),
            StepAction::Corrupt(corruption) => {
                if let Some((path, at)) = self.disk.corrupt(corruption) {
                    self.trace.push(format!("   {} at {at}", path.display()));
                    self.expected.corrupted = Some(CorruptedBytes { corruption, path });
                }
            }
            StepAction::RestoreOldCopy => return self.restore_old_copy(),
        }
        self.expected.record_fault(self.disk.fired());
        let poisoned = self.opened.as_ref().is_some_and(|opened| opened.log.poisoned().is_some());
        if !self.refused && (self.disk.has_stopped() || (poisoned && self.rng.one_in(2))) {
            let end = if self.rng.one_in(2) { Disk::kill } else { Disk::crash };
            self.trace.push(format!("   the process crashes, poisoned: {poisoned}"));
            self.restart(end)?;
        }
        Ok(())
    }

    /// Whether an operation may fail in this step.
    pub fn may_fail(&self) -> bool {
        self.disk.has_stopped()
            || self.disk.fired().is_some()
            || self.setup.capacity != u64::MAX
            || self.expected.corrupted.is_some()
    }

    pub fn make_records(&mut self, records: usize, bytes: usize) -> Vec<(u8, Vec<u8>)> {
        (0..records)
            .map(|_| {
                self.appended += 1;
                let mut payload = self.appended.to_le_bytes().to_vec();
                payload.resize(8 + self.rng.below(bytes + 1), self.appended as u8);
                (self.rng.below(7) as u8, payload)
            })
            .collect()
    }

    pub fn append(&mut self, records: usize, bytes: usize) -> CheckResult {
        let records = self.make_records(records, bytes);
        self.append_records(records).map(drop)
    }

    /// Appends a batch. Returns the number of its first record if the log accepted it.
    pub fn append_records(&mut self, records: Vec<(u8, Vec<u8>)>) -> Result<Option<u64>, String> {
        let (now, excused) = (self.now(), self.may_fail());
        let Some(opened) = &mut self.opened else { return Ok(None) };
        if opened.log.wait_for_preallocation_request(Duration::ZERO) {
            opened.log.preallocate_segment(self.setup.segment_size, self.setup.reserve);
        }
        let poisoned = opened.log.poisoned().is_some();
        let first = opened.writer.next_lsn();
        let entries: Vec<_> =
            records.iter().map(|(lane, payload)| NewRecord { lane: *lane, label: "test", payload }).collect();
        let appended = opened.writer.append(&entries, now);
        let log = Arc::clone(&opened.log);
        // A rotation for this batch may have flushed earlier batches.
        self.expected.record_flushed(&log);
        match appended {
            Ok(lsns) => {
                ensure!(!poisoned, "a poisoned log accepts a batch");
                ensure!(lsns.start == first, "the batch got {} instead of {first}", lsns.start);
                self.expected.possible.push(Batch { first: first.0, records });
                Ok(Some(first.0))
            }
            Err(AppendError::Poisoned(_)) => {
                ensure!(log.poisoned().is_some(), "a log that is not poisoned reports that it is");
                ensure!(poisoned || excused || self.may_fail(), "the log is poisoned without a reason");
                Ok(None)
            }
            Err(AppendError::NoRoom | AppendError::Filling) => {
                ensure!(
                    self.may_fail() || log.next_segment_unavailable().is_some(),
                    "no free space on an empty disk"
                );
                Ok(None)
            }
            Err(AppendError::TooLarge { .. }) => Ok(None),
        }
    }

    pub fn commit(&mut self) -> CheckResult {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let poisoned = opened.log.poisoned().is_some();
        let committed = opened.writer.commit();
        let log = Arc::clone(&opened.log);
        if let Err(cause) = committed {
            ensure!(log.poisoned().is_some(), "a commit fails and the log continues: {cause}");
            ensure!(opened.writer.commit().is_err(), "a failure is final");
            ensure!(poisoned || self.may_fail(), "a commit fails without a reason: {cause}");
            return Ok(());
        }
        ensure!(!poisoned, "a poisoned log acknowledges");
        ensure!(log.end() == opened.writer.next_lsn(), "a commit leaves records unflushed");
        self.expected.record_flushed(&log);
        self.expected.check_backlog_stats(&log)
    }

    pub fn seal(&mut self) -> CheckResult {
        let now = self.now();
        let Some(opened) = &mut self.opened else { return Ok(()) };
        if opened.log.wait_for_preallocation_request(Duration::ZERO) {
            opened.log.preallocate_segment(self.setup.segment_size, self.setup.reserve);
        }
        let sealed = opened.writer.seal_if_older(Duration::ZERO, now);
        let log = Arc::clone(&opened.log);
        self.expected.record_flushed(&log);
        let poisoned = log.poisoned().is_some();
        ensure!(
            sealed.is_ok() || poisoned || log.next_segment_unavailable().is_some(),
            "the segment is not sealed: {sealed:?}"
        );
        ensure!(!poisoned || sealed.is_err() || self.may_fail(), "the failure of a seal is not reported");
        Ok(())
    }

    pub fn checkpoint(&mut self) -> CheckResult {
        let (log, end) = (self.log(), self.log().end());
        match log.checkpoint(self.now()) {
            Ok(_) => self.expected.record_checkpoint(end),
            Err(error) => ensure!(self.may_fail(), "the checkpoint is not saved: {error}"),
        }
        Ok(())
    }

    pub fn maintain(&mut self) -> CheckResult {
        let (log, end) = (self.log(), self.log().end());
        match log.run_maintenance(self.setup.retention, self.now()) {
            Ok(()) => self.expected.record_checkpoint(end),
            Err(error) => ensure!(self.may_fail(), "maintenance fails: {error}"),
        }
        self.expected.check_backlog_stats(&log)
    }
}
