//! Lives a story on the real log, and holds the log to what it promised at every step.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::dead_letters::Removal;
use super::super::super::{AppendError, Log, NewRecord, OpenedLog};
use super::dice::{Dice, seed_random};
use super::disk::Disk;
use super::drain::{Broker, Worker};
use super::known::{Batch, Known, Spoilt, Verdict, ensure};
use super::story::{Act, Step, Story, World};
use crate::units::Timestamp;

pub struct Life {
    pub world: World,
    pub disk: Disk,
    pub opened: Option<OpenedLog>,
    pub known: Known,
    pub workers: Vec<Worker>,
    pub broker: Broker,
    pub dice: Dice,
    /// Records appended so far: each has a payload of its own.
    pub appended: u64,
    pub clock: u64,
    pub old_copy: Option<(Disk, u64)>,
    /// The log rightly refuses to start: the story ends here.
    pub refused: bool,
    /// What happened.
    pub trace: Vec<String>,
}

impl Life {
    pub fn new(world: &World) -> Self {
        Self {
            disk: Disk::new(world.names, world.capacity, world.pieces),
            world: world.clone(),
            opened: None,
            known: Known::default(),
            workers: Vec::new(),
            broker: Broker::default(),
            dice: Dice::new(0),
            appended: 0,
            clock: 1_000,
            old_copy: None,
            refused: false,
            trace: Vec::new(),
        }
    }

    /// The whole story, and then a quiet end in which everything must arrive.
    pub fn live(&mut self, story: &Story) -> Verdict {
        self.begin(1);
        self.start()?;
        for (index, step) in story.steps.iter().enumerate() {
            self.begin(step.seed);
            self.trace.push(format!("{index}: {step}"));
            self.step(step)?;
            if self.refused {
                return Ok(());
            }
            let figures = self.opened.as_ref().map(|opened| opened.log.backlog_stats());
            let line = format!("   {figures:?}, {} calls", self.disk.calls());
            self.trace.push(line);
        }
        self.begin(2);
        self.trace.push("the end".into());
        self.finish()
    }

    pub fn begin(&mut self, seed: u64) {
        self.disk.begin(seed);
        seed_random(Some(seed ^ 0x5eed));
        self.dice = Dice::new(!seed);
        self.clock += 1_000;
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock)
    }

    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.opened.as_ref().unwrap().log)
    }

    pub fn step(&mut self, step: &Step) -> Verdict {
        if self.old_copy.is_none() && self.known.checkpointed {
            self.old_copy = Some((self.disk.copy(), self.log().end().0));
        }
        match step.act {
            Act::Append { records, bytes } => self.append(records, bytes)?,
            Act::Commit => self.commit()?,
            Act::Write { records, bytes } => {
                self.append(records, bytes)?;
                self.commit()?;
            }
            Act::Seal => self.seal()?,
            Act::Deliver { worker, most } => self.deliver(worker, most)?,
            Act::Confirm { worker } => self.confirm(worker, false)?,
            Act::Refuse { worker } => self.refuse(worker)?,
            Act::Requeue => self.requeue()?,
            Act::Drop => self.remove_letter(Removal::Dropped)?,
            Act::Checkpoint => self.checkpoint()?,
            Act::KeepHouse => self.keep_house()?,
            Act::Restart => self.restart(|_| ())?,
            Act::Kill => self.restart(Disk::kill)?,
            Act::Crash => self.restart(Disk::crash)?,
            Act::DieAfter(calls) => self.disk.die_after(calls),
            Act::Fail(trouble) => self.disk.plan(trouble),
            Act::Spoil(rot) => {
                if let Some((path, at)) = self.disk.rot(rot) {
                    self.trace.push(format!("   {} at {at}", path.display()));
                    self.known.spoilt = Some(Spoilt { rot, path });
                }
            }
            Act::PutBack => return self.put_back(),
        }
        self.known.trouble(self.disk.fired());
        let poisoned = self.opened.as_ref().is_some_and(|opened| opened.log.poisoned().is_some());
        if !self.refused && (self.disk.died() || (poisoned && self.dice.once_in(2))) {
            let end = if self.dice.once_in(2) { Disk::kill } else { Disk::crash };
            self.trace.push(format!("   the process dies, poisoned: {poisoned}"));
            self.restart(end)?;
        }
        Ok(())
    }

    /// Whether an operation may fail in this step.
    pub fn excused(&self) -> bool {
        self.disk.died()
            || self.disk.fired().is_some()
            || self.world.capacity != u64::MAX
            || self.known.spoilt.is_some()
    }

    pub fn entries(&mut self, records: usize, bytes: usize) -> Vec<(u8, Vec<u8>)> {
        (0..records)
            .map(|_| {
                self.appended += 1;
                let mut payload = self.appended.to_le_bytes().to_vec();
                payload.resize(8 + self.dice.below(bytes + 1), self.appended as u8);
                (self.dice.below(7) as u8, payload)
            })
            .collect()
    }

    pub fn append(&mut self, records: usize, bytes: usize) -> Verdict {
        let records = self.entries(records, bytes);
        self.append_these(records).map(drop)
    }

    /// Appends a batch; the number of its first record if it was taken.
    pub fn append_these(&mut self, records: Vec<(u8, Vec<u8>)>) -> Result<Option<u64>, String> {
        let (now, excused) = (self.now(), self.excused());
        let Some(opened) = &mut self.opened else { return Ok(None) };
        if opened.log.wait_for_preallocation_request(Duration::ZERO) {
            opened.log.preallocate_segment(self.world.segment_size, self.world.reserve);
        }
        let poisoned = opened.log.poisoned().is_some();
        let first = opened.writer.next_lsn();
        let entries: Vec<_> =
            records.iter().map(|(lane, payload)| NewRecord { lane: *lane, label: "test", payload }).collect();
        let appended = opened.writer.append(&entries, now);
        let log = Arc::clone(&opened.log);
        // Making room for it may have flushed what came before.
        self.known.flushed(&log);
        match appended {
            Ok(lsns) => {
                ensure!(!poisoned, "a poisoned log takes a batch");
                ensure!(lsns.start == first, "the batch got {} instead of {first}", lsns.start);
                self.known.possible.push(Batch { first: first.0, records });
                Ok(Some(first.0))
            }
            Err(AppendError::Poisoned(_)) => {
                ensure!(log.poisoned().is_some(), "a log that is not poisoned says so");
                ensure!(poisoned || excused || self.excused(), "the log is poisoned without a reason");
                Ok(None)
            }
            Err(AppendError::NoRoom | AppendError::Filling) => {
                ensure!(
                    self.excused() || log.next_segment_unavailable().is_some(),
                    "no room on an empty disk"
                );
                Ok(None)
            }
            Err(AppendError::TooLarge { .. }) => Ok(None),
        }
    }

    pub fn commit(&mut self) -> Verdict {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let poisoned = opened.log.poisoned().is_some();
        let committed = opened.writer.commit();
        let log = Arc::clone(&opened.log);
        if let Err(cause) = committed {
            ensure!(log.poisoned().is_some(), "a commit fails and the log goes on: {cause}");
            ensure!(opened.writer.commit().is_err(), "a failure is final");
            ensure!(poisoned || self.excused(), "a commit fails without a reason: {cause}");
            return Ok(());
        }
        ensure!(!poisoned, "a poisoned log acknowledges");
        ensure!(log.end() == opened.writer.next_lsn(), "a commit leaves records unflushed");
        self.known.flushed(&log);
        self.known.check_figures(&log)
    }

    pub fn seal(&mut self) -> Verdict {
        let now = self.now();
        let Some(opened) = &mut self.opened else { return Ok(()) };
        if opened.log.wait_for_preallocation_request(Duration::ZERO) {
            opened.log.preallocate_segment(self.world.segment_size, self.world.reserve);
        }
        let sealed = opened.writer.seal_if_older(Duration::ZERO, now);
        let log = Arc::clone(&opened.log);
        self.known.flushed(&log);
        let poisoned = log.poisoned().is_some();
        ensure!(
            sealed.is_ok() || poisoned || log.next_segment_unavailable().is_some(),
            "no seal: {sealed:?}"
        );
        ensure!(!poisoned || sealed.is_err() || self.excused(), "a seal fails in silence");
        Ok(())
    }

    pub fn checkpoint(&mut self) -> Verdict {
        let (log, end) = (self.log(), self.log().end());
        match log.checkpoint(self.now()) {
            Ok(_) => self.known.saved(end),
            Err(error) => ensure!(self.excused(), "no checkpoint: {error}"),
        }
        Ok(())
    }

    pub fn keep_house(&mut self) -> Verdict {
        let (log, end) = (self.log(), self.log().end());
        match log.run_maintenance(self.world.keep, self.now()) {
            Ok(()) => self.known.saved(end),
            Err(error) => ensure!(self.excused(), "the house is not kept: {error}"),
        }
        self.known.check_figures(&log)
    }
}
