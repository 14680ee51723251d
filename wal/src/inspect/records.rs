//! Iterates over the records of a log, with the state of each.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::dead_letters::{DeadEntry, Removal};
use super::super::delivery_index::{DeliveryIndex, SegmentDeliveries};
use super::super::segment::SegmentLocation;
use super::super::tail_recovery::LostRange;
use super::super::types::{Record, RecordState};
use super::frames::{FrameStep, Frames, IntactRecord};
use super::segment::SegmentInfo;
use super::{LogView, segment};
use crate::units::Lsn;

/// A record and its location.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    /// Bytes of its frame in the log.
    pub bytes: u64,
    /// Offset in its segment.
    pub offset: u64,
    /// State of the record.
    pub state: RecordState,
    /// Whether its payload is encrypted and the key is not given. The payload is then empty.
    pub locked: bool,
}

/// The readable records of a range, oldest first. `take_lost_ranges` returns the damaged ranges between them.
pub struct Records<'a> {
    view: &'a LogView,
    delivery_index: DeliveryIndex,
    /// Smallest number that the next record can have.
    next: Lsn,
    end: Lsn,
    position: Option<(&'a SegmentInfo, Frames)>,
    deliveries: Option<SegmentDeliveries>,
    damage: Vec<LostRange>,
}

impl LogView {
    /// The records from `range.start` up to, not including, `range.end`.
    pub fn records(&self, range: Range<Lsn>) -> Records<'_> {
        let delivery_index = DeliveryIndex::new(Arc::clone(&self.fs), &self.path);
        Records {
            view: self,
            delivery_index,
            next: range.start,
            end: range.end,
            position: None,
            deliveries: None,
            damage: Vec::new(),
        }
    }

    /// One record; `None` if it is no longer retained, not written yet, or damaged.
    pub fn record(&self, lsn: Lsn) -> io::Result<Option<StoredRecord>> {
        self.records(lsn..lsn.next()).next().transpose()
    }

    /// Whether a record is delivered or dead-lettered according to the checkpoint. Without one, its directory decides.
    pub(super) fn was_done(&self, segment: &SegmentInfo, lsn: Lsn) -> bool {
        match &self.checkpoint {
            Some(checkpoint) => checkpoint.was_done(lsn),
            None => segment.place == SegmentLocation::Acked,
        }
    }
}

impl Records<'_> {
    /// The damaged ranges that were skipped since the last call.
    pub fn take_lost_ranges(&mut self) -> Vec<LostRange> {
        std::mem::take(&mut self.damage)
    }

    fn advance(&mut self) -> io::Result<Option<StoredRecord>> {
        while self.next < self.end {
            if self.position.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some((segment, frames)) = &mut self.position else { return Ok(None) };
            let segment = *segment;
            match frames.next_step()? {
                FrameStep::Record(IntactRecord { offset, found, payload }) if found.meta.lsn >= self.next => {
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
                    let state = self.record_state(segment, record.lsn)?;
                    return Ok(Some(StoredRecord { record, bytes, offset, state, locked }));
                }
                FrameStep::Record(..) => {}
                FrameStep::Lost(lost) => {
                    let hit = lost.to >= self.next && lost.from < self.end;
                    self.next = self.next.max(lost.to.next());
                    self.damage.extend(hit.then_some(lost));
                }
                FrameStep::End => {
                    self.next = self.next.max(segment.next()).max(segment.first().next());
                    self.position = None;
                }
            }
        }
        Ok(None)
    }

    /// Opens the segment that holds the next record. Returns `false` if there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        let view = self.view;
        let from = view.segments.partition_point(|segment| segment.next() <= self.next);
        for segment in &view.segments[from..] {
            if let Some(file) = segment::open(&*view.fs, &view.path, segment.first())? {
                self.position = Some((segment, Frames::new(file, segment, self.next)));
                self.deliveries = self.delivery_index.open_segment(segment.first())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn record_state(&self, segment: &SegmentInfo, lsn: Lsn) -> io::Result<RecordState> {
        if let Some(dead) = &self.view.dead_letters {
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
            return Ok(RecordState::Accepted);
        }
        Ok(RecordState::Sent(
            self.deliveries.as_ref().map(|deliveries| deliveries.get(lsn)).transpose()?.flatten(),
        ))
    }
}

impl Iterator for Records<'_> {
    type Item = io::Result<StoredRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.advance().transpose();
        if matches!(found, Some(Err(_))) {
            // After an I/O error, the same iteration does not read further.
            self.end = self.next;
        }
        found
    }
}
