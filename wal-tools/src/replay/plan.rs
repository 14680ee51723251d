//! Chooses the records of a range that are delivered again, and counts the others by reason.

use std::collections::BTreeMap;
use std::ops::Range;

use forebay_wal::command::Envelope;
use forebay_wal::dead_letters::Removal;
use forebay_wal::inspect::{LogView, LostRange, StoredRecord};
use forebay_wal::{Lsn, RecordState};
use serde::Serialize;

/// Plan for the replay of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayPlan {
    /// First and last record of the range.
    pub from: Lsn,
    pub to: Lsn,
    /// Oldest retained record of the log.
    pub oldest_kept: Lsn,
    /// Records to deliver again, their bytes, and their number per kind.
    pub records: u64,
    pub bytes: u64,
    pub kinds: BTreeMap<String, u64>,
    /// Records that are not delivered yet. The daemon delivers them in any case.
    pub waiting: u64,
    /// Dead letters, including dropped ones.
    pub dead: u64,
    /// Records that were appended again under another number, and copies of other records of this range.
    pub copies: u64,
    /// Records that cannot be read.
    pub damaged: u64,
}

/// Decision about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Replay,
    Waiting,
    Dead,
    Copy,
}

/// Decides about one record, so that each command is delivered again only once. A copy from an earlier replay is
/// chosen only if its source is not in the range. Of a requeued dead letter, the requeued record is chosen.
pub fn choose(view: &LogView, range: &Range<Lsn>, stored: &StoredRecord) -> Choice {
    match stored.state {
        RecordState::Accepted | RecordState::Unknown => return Choice::Waiting,
        RecordState::Dead { .. } | RecordState::Dropped => return Choice::Dead,
        RecordState::Requeued(_) => return Choice::Copy,
        RecordState::Sent(_) => {}
    }
    let source = Envelope::decode(&stored.record.payload).ok().and_then(|envelope| envelope.requeued_from);
    let Some(source) = source.filter(|source| range.contains(source)) else { return Choice::Replay };
    let removal = view.dead_letters.as_ref().and_then(|dead| dead.removal(source));
    if removal == Some(Removal::Requeued(stored.record.lsn)) { Choice::Replay } else { Choice::Copy }
}

impl ReplayPlan {
    /// Makes the plan. Reads the whole range once.
    pub fn of(view: &LogView, range: &Range<Lsn>, progress: &mut dyn FnMut(u64)) -> anyhow::Result<Self> {
        let oldest_kept = view.segments.first().map_or(view.next(), |segment| segment.first());
        let to = Lsn(range.end.0.saturating_sub(1));
        let mut plan = Self { from: range.start, to, oldest_kept, ..Self::default() };
        let mut records = view.records(range.clone());
        while let Some(stored) = records.next() {
            let stored = stored?;
            plan.add(choose(view, range, &stored), &stored);
            plan.damaged += records.take_lost_ranges().iter().map(lost_records).sum::<u64>();
            progress(stored.bytes);
        }
        plan.damaged += records.take_lost_ranges().iter().map(lost_records).sum::<u64>();
        Ok(plan)
    }

    fn add(&mut self, choice: Choice, stored: &StoredRecord) {
        match choice {
            Choice::Waiting => self.waiting += 1,
            Choice::Dead => self.dead += 1,
            Choice::Copy => self.copies += 1,
            Choice::Replay => {
                self.records += 1;
                self.bytes += stored.bytes;
                let kind = forebay_wal::command::kind_of(&stored.record.payload);
                *self.kinds.entry(kind.unwrap_or_else(|| "unreadable".to_owned())).or_default() += 1;
            }
        }
    }
}

fn lost_records(range: &LostRange) -> u64 {
    range.to.0 + 1 - range.from.0
}
