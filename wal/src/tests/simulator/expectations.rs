//! The checker's knowledge: acknowledged records, possible records, and the permitted results of a start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::super::dead_letters::{DeadEntry, Removal};
use super::super::super::segment_header::parse_segment_name;
use super::super::super::{Confirmation, FindingKind, Log, Lsn, OpenedLog, RecordState};
use super::disk::{Call, Corruption};

/// The error describes a violated guarantee.
pub type CheckResult = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(super) use ensure;

/// Whether a change has reached the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certainty {
    #[default]
    No,
    /// Unknown, because the call failed.
    Maybe,
    Yes,
}

/// An acknowledged record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub lane: u8,
    pub payload: Vec<u8>,
    /// All confirmations, each with a position in Kafka.
    pub confirmed: Vec<Confirmation>,
    /// Confirmed in this run, or already done at a start.
    pub done: bool,
    /// Confirmed before a saved checkpoint; must not be delivered again.
    pub checkpointed: bool,
    pub dead: Certainty,
    pub removal: Option<Removal>,
    pub removed: Certainty,
    /// Listed as a dead letter of kind `damaged`.
    pub damaged: bool,
}

impl Record {
    /// Whether the log counts it as done in this run.
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

/// Corrupted bytes.
#[derive(Clone, Debug)]
pub struct CorruptedBytes {
    pub corruption: Corruption,
    pub path: PathBuf,
}

#[derive(Default)]
pub struct Expectations {
    pub acknowledged: BTreeMap<u64, Record>,
    pub possible: Vec<Batch>,
    /// Per segment, the first record of the last group that was flushed.
    pub last_group: BTreeMap<u64, u64>,
    /// A saved checkpoint records all records below this number as flushed.
    pub durable_end: u64,
    pub checkpointed: bool,
    pub corrupted: Option<CorruptedBytes>,
    /// Whether a call failed on this disk.
    pub had_fault: bool,
    /// Whether a flush failed. Entries of the delivery index may be missing then.
    pub flush_failed: bool,
    /// Whether a start reported unreadable dead letters.
    pub letters_reported: bool,
}

/// Contents of an opened log.
struct ObservedLog {
    kept: BTreeMap<u64, (u8, Vec<u8>)>,
    waiting: BTreeSet<u64>,
    damaged: Vec<(u64, u64)>,
    /// First LSN of segments with a torn tail in quarantine.
    torn: Vec<u64>,
}

impl Expectations {
    /// Records the result of a step: the call that failed, if any.
    pub fn record_fault(&mut self, call: Option<Call>) {
        self.had_fault |= call.is_some();
        self.flush_failed |= matches!(call, Some(Call::Flush | Call::FlushDir));
    }

    pub fn is_corrupt_in(&self, dir: &str) -> bool {
        let holds = |corrupted: &CorruptedBytes| corrupted.path.iter().any(|part| part == dir);
        self.corrupted.as_ref().is_some_and(holds)
    }

    /// The first LSN of the corrupted segment.
    fn corrupt_segment(&self) -> Option<u64> {
        let corrupted = self
            .corrupted
            .as_ref()
            .filter(|_| self.is_corrupt_in("pending") || self.is_corrupt_in("acked"))?;
        parse_segment_name(corrupted.path.file_name()?.to_str()?).map(|first| first.0)
    }

    /// Moves batches that are flushed now to the acknowledged records.
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

    /// Records that a checkpoint was saved when everything below `end` was flushed.
    pub fn record_checkpoint(&mut self, end: Lsn) {
        self.checkpointed = true;
        self.durable_end = end.0;
        self.acknowledged
            .values_mut()
            .filter(|record| record.done)
            .for_each(|record| record.checkpointed = true);
    }

    /// Checks a record that a reader returned.
    pub fn check_shown(&self, lsn: u64, lane: u8, payload: &[u8]) -> CheckResult {
        let Some(record) = self.acknowledged.get(&lsn) else {
            return Err(format!("record {lsn} is returned, but was never acknowledged"));
        };
        ensure!(record.payload == payload, "record {lsn} has another payload");
        ensure!(record.lane == lane, "record {lsn} is in lane {lane} instead of {}", record.lane);
        Ok(())
    }

    /// Checks the backlog statistics of an open log.
    pub fn check_backlog_stats(&self, log: &Log) -> CheckResult {
        let stats = log.backlog_stats();
        let open = self.acknowledged.iter().filter(|(_, record)| !record.is_done());
        let (count, first) = (open.clone().count() as u64, open.map(|(lsn, _)| *lsn).next());
        if self.corrupted.is_none() {
            ensure!(stats.backlog == count, "the backlog is {count}, not {}", stats.backlog);
            let passed = first.filter(|first| *first < stats.watermark.0);
            ensure!(passed.is_none(), "the watermark {} passes record {passed:?}", stats.watermark);
        }
        Ok(())
    }

    /// Checks a log after its start. Possible records are certain afterwards.
    ///
    /// `torn` and `letters_quarantined` describe the quarantine: the segments with a copied torn tail, and whether it
    /// has copies of dead letters.
    pub fn check_opened(
        &mut self,
        opened: &OpenedLog,
        torn: Vec<u64>,
        letters_quarantined: bool,
    ) -> CheckResult {
        self.check_findings(opened)?;
        self.letters_reported |= letters_quarantined;
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
        ensure!(next.0 > last, "number {next} would be reused");
        self.check_backlog_stats(&opened.log)?;
        let backlog = opened.log.backlog_stats().backlog;
        ensure!(
            backlog == shown.waiting.len() as u64,
            "backlog {backlog}, but {} records wait",
            shown.waiting.len()
        );
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
            ensure!(harmless || self.corrupted.is_some(), "a crash is reported as damage: {finding:?}");
            if finding.kind == FindingKind::Checkpoint && self.corrupted.is_some() {
                // Everything in pending/ is delivered again, and no durable end is known.
                self.acknowledged.values_mut().for_each(|record| record.checkpointed = false);
                self.durable_end = 0;
            }
        }
        Ok(())
    }

    fn observe(&self, opened: &OpenedLog, torn: Vec<u64>) -> Result<ObservedLog, String> {
        let log = &opened.log;
        let cannot = |error| format!("cannot read the opened log: {error}");
        let mut kept = BTreeMap::new();
        let mut last = 0;
        let mut cursor = log.cursor(Lsn(0));
        while let Some(frame) = cursor.next_retained().map_err(cannot)? {
            ensure!(frame.lsn.0 > last, "record {} after {last}", frame.lsn);
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

    /// Checks a batch that was not acknowledged: it exists completely or not at all.
    fn check_batch(&mut self, batch: Batch, shown: &ObservedLog) -> CheckResult {
        let numbers = batch.first..batch.first + batch.records.len() as u64;
        let found = numbers.clone().filter(|lsn| shown.kept.contains_key(lsn)).count();
        let whole = found == batch.records.len();
        let corrupted = self.corrupt_segment().is_some_and(|first| first <= batch.first);
        ensure!(found == 0 || whole || corrupted, "only a part of the batch at {} exists", batch.first);
        if found > 0 {
            self.acknowledge(batch);
        }
        Ok(())
    }

    /// Checks the state of one acknowledged record. Returns `false` if it is lost and the loss is permitted and
    /// reported.
    fn check_record(&mut self, lsn: u64, opened: &OpenedLog, shown: &ObservedLog) -> Result<bool, String> {
        let log = &opened.log;
        let dead = match log.dead_letters().get(Lsn(lsn)) {
            Ok(Some(DeadEntry::Letter(letter))) => Some(letter),
            _ => None,
        };
        let removal = log.dead_letters().removal(Lsn(lsn));
        let in_store = log.dead_letters().contains(Lsn(lsn));
        let letters_corrupt = self.is_corrupt_in("dead");
        let cut = self.may_be_cut(lsn, shown);
        let listed = shown.damaged.iter().any(|(from, to)| (*from..=*to).contains(&lsn));
        let may_be_damaged = self.corrupt_segment().is_some_and(|first| first <= lsn)
            || self.corrupted.as_ref().is_some_and(|corrupted| corrupted.path.ends_with("checkpoint"));
        let index_corrupt = self.flush_failed || self.is_corrupt_in("sent");
        let reported = self.letters_reported;
        let Some(record) = self.acknowledged.get_mut(&lsn) else { return Ok(true) };
        if let Some((lane, payload)) = shown.kept.get(&lsn) {
            ensure!(*payload == record.payload, "record {lsn} has another payload");
            ensure!(*lane == record.lane, "record {lsn} is in lane {lane} instead of {}", record.lane);
        }
        if cut && Lsn(lsn) >= opened.writer.next_lsn() {
            // Its number may be reused. A confirmation of it is forgotten.
            return Ok(false);
        }
        if shown.waiting.contains(&lsn) {
            ensure!(!in_store && removal.is_none(), "dead letter {lsn} would be sent");
            ensure!(!record.checkpointed, "record {lsn} is delivered again");
            let died = record.dead == Certainty::Yes || record.removed == Certainty::Yes;
            ensure!(!died || (letters_corrupt && reported), "dead letter {lsn} is lost, and sent");
            (record.done, record.dead, record.removed, record.removal) =
                (false, Certainty::No, Certainty::No, None);
        } else if let Some(letter) = dead {
            ensure!(record.dead != Certainty::No, "record {lsn} is a dead letter, but was never rejected");
            ensure!(
                record.removed != Certainty::Yes || letters_corrupt,
                "removed dead letter {lsn} exists again"
            );
            ensure!(letter.payload == record.payload, "dead letter {lsn} has another payload");
            (record.dead, record.removed, record.removal) = (Certainty::Yes, Certainty::No, None);
        } else if let Some(removal) = removal {
            ensure!(record.removal == Some(removal), "dead letter {lsn} has the removal {removal:?}");
            record.removed = Certainty::Yes;
        } else if record.done {
            record.dead = Certainty::No;
            record.removed = Certainty::No;
            if let Ok(RecordState::Sent(position)) = log.record_state(Lsn(lsn)) {
                let was_confirmed =
                    |position: Confirmation| record.confirmed.iter().any(|c| same_position(c, &position));
                ensure!(
                    position.is_none_or(was_confirmed),
                    "record {lsn} has the wrong position {position:?}"
                );
                let required = record.checkpointed && !index_corrupt && !listed;
                ensure!(position.is_some() || !required, "the position of record {lsn} is lost");
            }
        } else if listed {
            ensure!(may_be_damaged, "record {lsn} is reported as damaged, but was not corrupted");
            let state = log.record_state(Lsn(lsn));
            let gone = !log.is_retained(Lsn(lsn));
            // Confirmed before the last crash, and its position survived: Kafka has it, and the log's copy is damaged.
            let was_confirmed =
                |position: &Confirmation| record.confirmed.iter().any(|c| same_position(c, position));
            let right = match &state {
                Ok(RecordState::Dead { .. }) => true,
                Ok(RecordState::Sent(Some(position))) => was_confirmed(position),
                _ => false,
            };
            ensure!(gone || right, "damaged record {lsn}: {state:?}");
            record.damaged = true;
        } else if record.removed != Certainty::No && !log.is_retained(Lsn(lsn)) {
            // Its segment expired: no request can name it, and the store may forget the kind of removal.
            record.removed = Certainty::Yes;
        } else if record.dead != Certainty::No {
            ensure!(letters_corrupt && reported, "dead letter {lsn} is lost");
        } else if !record.damaged {
            ensure!(cut, "acknowledged record {lsn} is lost");
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a missing record may have been cut as a torn tail. This requires that the segment was corrupted, that
    /// no later frame or checkpoint records it as flushed, and that a copy is in quarantine. Zeros leave nothing to
    /// copy.
    fn may_be_cut(&self, lsn: u64, shown: &ObservedLog) -> bool {
        let Some(first) = self.corrupt_segment() else { return false };
        let is =
            |corruption| self.corrupted.as_ref().is_some_and(|corrupted| corrupted.corruption == corruption);
        if is(Corruption::Unreadable) {
            // Records in such a sector are always listed, because no program can tell whether a crash is the cause.
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
