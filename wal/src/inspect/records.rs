//! The records of a log with what became of each.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::dead_letters::{DeadEntry, Removal};
use super::super::delivery_index::{DeliveryIndex, SegmentDeliveries};
use super::super::segment::SegmentLocation;
use super::super::tail_recovery::LostRange;
use super::super::types::{Record, RecordState};
use super::frames::{Frames, Step, Whole};
use super::segment::Segment;
use super::{View, segment};
use crate::units::Lsn;

/// A record where it lies.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Bytes it takes in the log.
    pub bytes: u64,
    /// Where it lies in its segment.
    pub offset: u64,
    /// What became of it.
    pub fate: RecordState,
    /// Whether its payload is encrypted and the key not given: then it is empty here.
    pub locked: bool,
}

/// The readable records of a range, oldest first. What damage took between them is told by `take_damage`.
pub struct Records<'a> {
    view: &'a View,
    sent: DeliveryIndex,
    /// The number the next record has at least.
    next: Lsn,
    end: Lsn,
    spot: Option<(&'a Segment, Frames)>,
    notes: Option<SegmentDeliveries>,
    damage: Vec<LostRange>,
}

impl View {
    /// The records from `range.start` up to, not including, `range.end`.
    pub fn records(&self, range: Range<Lsn>) -> Records<'_> {
        let sent = DeliveryIndex::new(Arc::clone(&self.fs), &self.path);
        Records {
            view: self,
            sent,
            next: range.start,
            end: range.end,
            spot: None,
            notes: None,
            damage: Vec::new(),
        }
    }

    /// One record; `None` when it is not kept, not written yet, or damaged.
    pub fn record(&self, lsn: Lsn) -> io::Result<Option<Stored>> {
        self.records(lsn..lsn.next()).next().transpose()
    }

    /// Whether the checkpoint says that it is delivered or dead; without one, the record's place.
    pub(super) fn was_done(&self, segment: &Segment, lsn: Lsn) -> bool {
        match &self.checkpoint {
            Some(checkpoint) => checkpoint.was_done(lsn),
            None => segment.place == SegmentLocation::Acked,
        }
    }
}

impl Records<'_> {
    /// The damage that was passed since this was last called.
    pub fn take_damage(&mut self) -> Vec<LostRange> {
        std::mem::take(&mut self.damage)
    }

    fn advance(&mut self) -> io::Result<Option<Stored>> {
        while self.next < self.end {
            if self.spot.is_none() && !self.locate()? {
                return Ok(None);
            }
            let Some((segment, frames)) = &mut self.spot else { return Ok(None) };
            let segment = *segment;
            match frames.step()? {
                Step::Record(Whole { offset, found, payload }) if found.meta.lsn >= self.next => {
                    if found.meta.lsn >= self.end {
                        return Ok(None);
                    }
                    let locked = payload.is_none();
                    let frame = found.frame(payload.unwrap_or_default());
                    let record = Record {
                        lsn: frame.lsn,
                        at: frame.at,
                        lane: frame.lane,
                        payload: frame.payload.to_vec(),
                    };
                    let bytes = frame.bytes.into();
                    self.next = record.lsn.next();
                    let fate = self.fate(segment, record.lsn)?;
                    return Ok(Some(Stored { record, bytes, offset, fate, locked }));
                }
                Step::Record(..) => {}
                Step::Hole(hole) => {
                    let hit = hole.to >= self.next && hole.from < self.end;
                    self.next = self.next.max(hole.to.next());
                    self.damage.extend(hit.then_some(hole));
                }
                Step::End => {
                    self.next = self.next.max(segment.next()).max(segment.first().next());
                    self.spot = None;
                }
            }
        }
        Ok(None)
    }

    /// Opens the segment that holds the next record; false when there is none.
    fn locate(&mut self) -> io::Result<bool> {
        let view = self.view;
        let from = view.segments.partition_point(|segment| segment.next() <= self.next);
        for segment in &view.segments[from..] {
            if let Some(file) = segment::open(&*view.fs, &view.path, segment.first())? {
                self.spot = Some((segment, Frames::new(file, segment, self.next)));
                self.notes = self.sent.open_segment(segment.first())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fate(&self, segment: &Segment, lsn: Lsn) -> io::Result<RecordState> {
        if let Some(dead) = &self.view.dead {
            match dead.get(lsn)? {
                Some(DeadEntry::Letter(letter)) => {
                    return Ok(RecordState::Dead { reason: letter.reason, at: letter.died_at });
                }
                Some(DeadEntry::Damage(damage)) => {
                    return Ok(RecordState::Dead { reason: damage.reason, at: damage.found_at });
                }
                Some(DeadEntry::Sealed(letter)) => return Ok(letter.record_state()),
                None => {}
            }
            match dead.removal(lsn) {
                Some(Removal::Requeued(as_lsn)) => return Ok(RecordState::Requeued(as_lsn)),
                Some(Removal::Dropped) => return Ok(RecordState::Dropped),
                None => {}
            }
        }
        if !self.view.was_done(segment, lsn) {
            return Ok(RecordState::Waiting);
        }
        Ok(RecordState::Sent(self.notes.as_ref().map(|notes| notes.get(lsn)).transpose()?.flatten()))
    }
}

impl Iterator for Records<'_> {
    type Item = io::Result<Stored>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.advance().transpose();
        if matches!(found, Some(Err(_))) {
            // What the disk refused once is not asked for again in the same walk.
            self.end = self.next;
        }
        found
    }
}
