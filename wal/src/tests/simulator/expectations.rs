//! What is owed to whom: every record acknowledged, possible or never, and what a start may make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::super::dead_letters::{DeadEntry, Removal};
use super::super::super::segment_header::parse_segment_name;
use super::super::super::{Confirmation, FindingKind, Log, Lsn, OpenedLog, RecordState};
use super::disk::{Call, Corruption};

/// Says what was promised and not kept.
pub type CheckResult = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(super) use ensure;

/// Whether something is so on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certainty {
    #[default]
    No,
    /// The call failed: either way.
    Maybe,
    Yes,
}

/// An acknowledged record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub lane: u8,
    pub payload: Vec<u8>,
    /// Where the broker said it was put, each time.
    pub confirmed: Vec<Confirmation>,
    /// Confirmed in this life, or found done by a start.
    pub done: bool,
    /// Confirmed before a checkpoint that was saved: must not come again.
    pub checkpointed: bool,
    pub dead: Certainty,
    pub removal: Option<Removal>,
    pub removed: Certainty,
    /// Listed as a dead letter of kind `damaged`.
    pub damaged: bool,
}

impl Record {
    /// Whether the log counts it as done, as far as this life knows.
    pub fn is_done(&self) -> bool {
        self.done || self.damaged || self.dead == Certainty::Yes || self.removed == Certainty::Yes
    }
}

/// A batch that was appended and not acknowledged.
#[derive(Clone, Debug)]
pub struct Batch {
    pub first: u64,
    /// Lane and payload.
    pub records: Vec<(u8, Vec<u8>)>,
}

/// Bytes that were spoilt.
#[derive(Clone, Debug)]
pub struct CorruptedBytes {
    pub rot: Corruption,
    pub path: PathBuf,
}

#[derive(Default)]
pub struct Expectations {
    pub acknowledged: BTreeMap<u64, Record>,
    pub possible: Vec<Batch>,
    /// The first record of the last group that was flushed into each segment.
    pub last_group: BTreeMap<u64, u64>,
    /// A checkpoint that was saved says that everything below was flushed.
    pub durable_end: u64,
    pub checkpointed: bool,
    pub corrupted: Option<CorruptedBytes>,
    /// A call failed in this life of the disk.
    pub had_fault: bool,
    /// A flush did: notes of where records were put may be missing.
    pub flush_failed: bool,
    /// A start said that dead letters cannot be read.
    pub letters_reported: bool,
}

/// What an opened log shows.
struct ObservedLog {
    kept: BTreeMap<u64, (u8, Vec<u8>)>,
    waiting: BTreeSet<u64>,
    damaged: Vec<(u64, u64)>,
    /// First LSN of segments with a torn tail in quarantine.
    torn: Vec<u64>,
}

impl Expectations {
    /// A call failed, or none did.
    pub fn record_fault(&mut self, call: Option<Call>) {
        self.had_fault |= call.is_some();
        self.flush_failed |= matches!(call, Some(Call::Flush | Call::FlushDir));
    }

    pub fn is_corrupt_in(&self, dir: &str) -> bool {
        let holds = |spoilt: &CorruptedBytes| spoilt.path.iter().any(|part| part == dir);
        self.corrupted.as_ref().is_some_and(holds)
    }

    /// The first LSN of the segment that was spoilt.
    fn corrupt_segment(&self) -> Option<u64> {
        let spoilt = self
            .corrupted
            .as_ref()
            .filter(|_| self.is_corrupt_in("pending") || self.is_corrupt_in("acked"))?;
        parse_segment_name(spoilt.path.file_name()?.to_str()?).map(|first| first.0)
    }

    /// Everything appended before `end` is flushed now.
    pub fn record_flushed(&mut self, log: &Log) {
        let end = log.end().0;
        let (flushed, possible) = self.possible.drain(..).partition(|batch| batch.first < end);
        self.possible = possible;
        let flushed: Vec<Batch> = flushed;
        let Some(first) = flushed.first().map(|batch| batch.first) else { return };
        if let Some(segment) = log.segments().iter().rfind(|segment| segment.first.0 <= first) {
            self.last_group.insert(segment.first.0, first);
        }
        flushed.into_iter().for_each(|batch| self.acknowledge(batch));
    }

    fn acknowledge(&mut self, batch: Batch) {
        for (lsn, (lane, payload)) in (batch.first..).zip(batch.records) {
            self.acknowledged.insert(lsn, Record { lane, payload, ..Record::default() });
        }
    }

    /// A checkpoint was saved that saw everything below `end` flushed.
    pub fn record_checkpoint(&mut self, end: Lsn) {
        self.checkpointed = true;
        self.durable_end = end.0;
        self.acknowledged
            .values_mut()
            .filter(|record| record.done)
            .for_each(|record| record.checkpointed = true);
    }

    /// A record that a reader was given.
    pub fn check_shown(&self, lsn: u64, lane: u8, payload: &[u8]) -> CheckResult {
        let Some(record) = self.acknowledged.get(&lsn) else {
            return Err(format!("record {lsn} is shown, and was never acknowledged"));
        };
        ensure!(record.payload == payload, "record {lsn} is another one");
        ensure!(record.lane == lane, "record {lsn} is in lane {lane} instead of {}", record.lane);
        Ok(())
    }

    /// Holds the figures of a log at work against what is known.
    pub fn check_backlog_stats(&self, log: &Log) -> CheckResult {
        let figures = log.backlog_stats();
        let open = self.acknowledged.iter().filter(|(_, record)| !record.is_done());
        let (count, first) = (open.clone().count() as u64, open.map(|(lsn, _)| *lsn).next());
        if self.corrupted.is_none() {
            ensure!(figures.backlog == count, "the backlog is {count}, not {}", figures.backlog);
            let passed = first.filter(|first| *first < figures.watermark.0);
            ensure!(passed.is_none(), "the watermark {} passes record {passed:?}", figures.watermark);
        }
        Ok(())
    }

    /// Holds a log that was just opened against what is known; what was possible is certain afterwards.
    ///
    /// `torn` and `letters_aside`: what lies in quarantine.
    pub fn check_opened(&mut self, opened: &OpenedLog, torn: Vec<u64>, letters_aside: bool) -> CheckResult {
        self.check_findings(opened)?;
        self.letters_reported |= letters_aside;
        let shown = self.observe(opened, torn)?;
        for batch in std::mem::take(&mut self.possible) {
            self.check_batch(batch, &shown)?;
        }
        for lsn in shown.kept.keys() {
            ensure!(self.acknowledged.contains_key(lsn), "record {lsn} was never appended");
        }
        let mut lost = Vec::new();
        for lsn in self.acknowledged.keys().copied().collect::<Vec<_>>() {
            if !self.check_record(lsn, opened, &shown)? {
                lost.push(lsn);
            }
        }
        lost.iter().for_each(|lsn| drop(self.acknowledged.remove(lsn)));
        let last = self.acknowledged.keys().next_back().copied().unwrap_or(0);
        let next = opened.writer.next_lsn();
        ensure!(next.0 > last, "number {next} would be given twice");
        self.check_backlog_stats(&opened.log)?;
        let backlog = opened.log.backlog_stats().backlog;
        ensure!(backlog == shown.waiting.len() as u64, "{backlog} waiting, {} shown", shown.waiting.len());
        Ok(())
    }

    fn check_findings(&mut self, opened: &OpenedLog) -> CheckResult {
        for finding in &opened.recovery.findings {
            self.letters_reported |= finding.segment == "dead/letters";
            let harmless = match finding.kind {
                FindingKind::TornTail => true,
                FindingKind::Checkpoint => !self.checkpointed,
                _ => false,
            };
            ensure!(harmless || self.corrupted.is_some(), "no crash is damage: {finding:?}");
            if finding.kind == FindingKind::Checkpoint && self.corrupted.is_some() {
                // Everything in pending/ is delivered again, and nothing is known to be promised.
                self.acknowledged.values_mut().for_each(|record| record.checkpointed = false);
                self.durable_end = 0;
            }
        }
        Ok(())
    }

    fn observe(&self, opened: &OpenedLog, torn: Vec<u64>) -> Result<ObservedLog, String> {
        let log = &opened.log;
        let cannot = |error| format!("cannot read what was opened: {error}");
        let mut kept = BTreeMap::new();
        let mut last = 0;
        let mut cursor = log.cursor(Lsn(0));
        while let Some(frame) = cursor.next_retained().map_err(cannot)? {
            ensure!(frame.lsn.0 > last, "record {} behind {last}", frame.lsn);
            last = frame.lsn.0;
            kept.insert(last, (frame.lane, frame.payload.to_vec()));
        }
        let mut waiting = BTreeSet::new();
        let mut cursor = log.cursor(Lsn(0));
        while let Some(frame) = cursor.next(|_, _| true).map_err(cannot)? {
            waiting.insert(frame.lsn.0);
        }
        let mut damaged = Vec::new();
        for lsn in log.dead_letters().lsns() {
            match log.dead_letters().get(lsn) {
                Ok(Some(DeadEntry::Damage(damage))) => damaged.push((damage.lsn_from, damage.lsn_to)),
                Ok(_) => {}
                Err(_) if self.is_corrupt_in("dead") => {}
                Err(error) => return Err(format!("dead letter {lsn}: {error}")),
            }
        }
        Ok(ObservedLog { kept, waiting, damaged, torn })
    }

    /// A batch that was not acknowledged is there whole or not at all, and behind a lost one there is none.
    fn check_batch(&mut self, batch: Batch, shown: &ObservedLog) -> CheckResult {
        let numbers = batch.first..batch.first + batch.records.len() as u64;
        let there = numbers.clone().filter(|lsn| shown.kept.contains_key(lsn)).count();
        let whole = there == batch.records.len();
        let spoilt = self.corrupt_segment().is_some_and(|first| first <= batch.first);
        ensure!(there == 0 || whole || spoilt, "half of the batch at {}", batch.first);
        if there > 0 {
            self.acknowledge(batch);
        }
        Ok(())
    }

    /// What became of one acknowledged record. False: it is gone, and that it may be was reported.
    fn check_record(&mut self, lsn: u64, opened: &OpenedLog, shown: &ObservedLog) -> Result<bool, String> {
        let log = &opened.log;
        let dead = match log.dead_letters().get(Lsn(lsn)) {
            Ok(Some(DeadEntry::Letter(letter))) => Some(letter),
            _ => None,
        };
        let removal = log.dead_letters().removal(Lsn(lsn));
        let in_store = log.dead_letters().contains(Lsn(lsn));
        let letters_spoilt = self.is_corrupt_in("dead");
        let cut = self.may_be_cut(lsn, shown);
        let listed = shown.damaged.iter().any(|(from, to)| (*from..=*to).contains(&lsn));
        let may_be_damaged = self.corrupt_segment().is_some_and(|first| first <= lsn)
            || self.corrupted.as_ref().is_some_and(|spoilt| spoilt.path.ends_with("checkpoint"));
        let notes_spoilt = self.flush_failed || self.is_corrupt_in("sent");
        let reported = self.letters_reported;
        let Some(record) = self.acknowledged.get_mut(&lsn) else { return Ok(true) };
        if let Some((lane, payload)) = shown.kept.get(&lsn) {
            ensure!(*payload == record.payload, "record {lsn} is another one");
            ensure!(*lane == record.lane, "record {lsn} is in lane {lane} instead of {}", record.lane);
        }
        if cut && Lsn(lsn) >= opened.writer.next_lsn() {
            // Its number may be given again; if it was confirmed, that is not known any more.
            return Ok(false);
        }
        if shown.waiting.contains(&lsn) {
            ensure!(!in_store && removal.is_none(), "dead letter {lsn} would be sent");
            ensure!(!record.checkpointed, "record {lsn} came again");
            let died = record.dead == Certainty::Yes || record.removed == Certainty::Yes;
            ensure!(!died || (letters_spoilt && reported), "dead letter {lsn} is lost, and sent");
            (record.done, record.dead, record.removed, record.removal) =
                (false, Certainty::No, Certainty::No, None);
        } else if let Some(letter) = dead {
            ensure!(record.dead != Certainty::No, "record {lsn} is a dead letter, and was never refused");
            ensure!(record.removed != Certainty::Yes || letters_spoilt, "dead letter {lsn} is back");
            ensure!(letter.payload == record.payload, "dead letter {lsn} is another one");
            (record.dead, record.removed, record.removal) = (Certainty::Yes, Certainty::No, None);
        } else if let Some(removal) = removal {
            ensure!(record.removal == Some(removal), "dead letter {lsn} left as {removal:?}");
            record.removed = Certainty::Yes;
        } else if record.done {
            record.dead = Certainty::No;
            record.removed = Certainty::No;
            if let Ok(RecordState::Sent(note)) = log.record_state(Lsn(lsn)) {
                let told = |note: Confirmation| record.confirmed.iter().any(|c| same_position(c, &note));
                ensure!(note.is_none_or(told), "record {lsn} was not put at {note:?}");
                let owed = record.checkpointed && !notes_spoilt && !listed;
                ensure!(note.is_some() || !owed, "where record {lsn} was put is forgotten");
            }
        } else if listed {
            ensure!(may_be_damaged, "record {lsn} is called damaged, and nothing was spoilt there");
            let fate = log.record_state(Lsn(lsn));
            let gone = !log.is_retained(Lsn(lsn));
            // It was confirmed before the last crash, and its note survived: it is there, and damaged here.
            let told = |note: &Confirmation| record.confirmed.iter().any(|c| same_position(c, note));
            let right = match &fate {
                Ok(RecordState::Dead { .. }) => true,
                Ok(RecordState::Sent(Some(note))) => told(note),
                _ => false,
            };
            ensure!(gone || right, "damaged record {lsn}: {fate:?}");
            record.damaged = true;
        } else if record.removed != Certainty::No && !log.is_retained(Lsn(lsn)) {
            // Its segment was let go of: nobody can ask for it, and the store may forget how it left.
            record.removed = Certainty::Yes;
        } else if record.dead != Certainty::No {
            ensure!(letters_spoilt && reported, "dead letter {lsn} is lost");
        } else if !record.damaged {
            ensure!(cut, "acknowledged record {lsn} is lost");
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a record that is not there may have been cut as a torn tail: the segment was spoilt, nothing behind
    /// the place said that it had been flushed, a copy lies in quarantine. Zeros leave nothing to copy.
    fn may_be_cut(&self, lsn: u64, shown: &ObservedLog) -> bool {
        let Some(first) = self.corrupt_segment() else { return false };
        let is = |rot| self.corrupted.as_ref().is_some_and(|spoilt| spoilt.rot == rot);
        if is(Corruption::Unreadable) {
            // Whatever lay in such a sector is listed: nobody can tell what a crash has to do with it.
            return false;
        }
        let flip = is(Corruption::Flip);
        let last_group = self.last_group.get(&first).is_some_and(|group| *group <= lsn);
        (shown.torn.contains(&first) || !flip)
            && first <= lsn
            && lsn >= self.durable_end
            && (last_group || !flip)
    }
}

fn same_position(a: &Confirmation, b: &Confirmation) -> bool {
    (a.partition, a.offset, a.at) == (b.partition, b.offset, b.at)
}
