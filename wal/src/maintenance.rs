//! What keeps a log going beside the commit path: the checkpoint, the way of delivered segments from `pending/` to
//! `acked/` and out, and the next segment's file.

use std::io;
use std::time::Duration;

use super::checkpoint::{Checkpoint, DurablePosition};
use super::encryption::{PayloadAccess, key_slots};
use super::event::Event;
use super::fs::OpenMode;
use super::log::Log;
use super::preallocated_segment;
use super::preallocated_segment::SegmentUnavailable;
use super::segment::{Segment, SegmentLocation, segment_path};
use crate::failpoint::Failpoint;
use crate::units::{Lsn, Timestamp};

/// How long delivered segments are kept, so that a range can be replayed. Whichever limit is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Since their last record.
    pub age: Duration,
    /// Bytes of all of them.
    pub size: u64,
}

impl Log {
    /// Saves a checkpoint if there is something new to save, then moves what it calls delivered to `acked/` and lets go
    /// of what was kept long enough. An error costs repeats and room, no record; call it again.
    pub fn run_maintenance(&self, retention: Retention, now: Timestamp) -> io::Result<()> {
        let complete = self.checkpoint_if(now, |saved, next| !next.is_equivalent(saved))?;
        for segment in self.segments() {
            if complete.contains(&segment.first) && segment.state().location == SegmentLocation::Pending {
                self.move_to_acked(&segment)?;
            }
        }
        self.expire_segments(&complete, retention, now)?;
        // The room of removed letters can wait; a checkpoint cannot.
        if let Err(e) = self.poison_on_error(self.dead_letters.maintain()) {
            self.report(Event::TransientError { what: "write the dead letters anew", error: e.to_string() });
        }
        Ok(())
    }

    /// Makes the present marks durable. Returns the segments that are complete by them.
    pub fn checkpoint(&self, now: Timestamp) -> io::Result<Vec<Lsn>> {
        self.checkpoint_if(now, |_, _| true)
    }

    /// The same, unless `is_due` compares the last checkpoint of this life with the present state and says no.
    fn checkpoint_if(
        &self,
        now: Timestamp,
        is_due: impl FnOnce(&Checkpoint, &Checkpoint) -> bool,
    ) -> io::Result<Vec<Lsn>> {
        let mut saved = self.checkpointing.lock();
        let mut open = None;
        let mut complete = Vec::new();
        let segments = self.segments();
        let checkpoint = {
            let ledger = self.lock_acks();
            for segment in &segments {
                if ledger.is_complete(segment.first) || Failpoint::IncompleteRetired.is_set() {
                    complete.push(segment.first);
                }
                open = Some(segment);
            }
            Checkpoint {
                log_id: self.identity.log_id,
                written_at: now,
                watermark: ledger.watermark(),
                durable: open.map_or_else(DurablePosition::default, |segment| durable_position(segment)),
                segments: ledger
                    .segments_above_watermark()
                    .map(|(first, marks)| (first, marks.clone()))
                    .collect(),
                transactions: self.transactions(),
            }
        };
        // A record that the checkpoint calls done must be able to say where it went.
        if !Failpoint::CheckpointBeforeNotes.is_set() {
            self.delivery_index.sync()?;
        }
        if saved.as_ref().is_none_or(|saved| is_due(saved, &checkpoint)) {
            checkpoint.save(&*self.fs, &self.dir)?;
            *saved = Some(checkpoint);
        }
        Ok(complete)
    }

    fn move_to_acked(&self, segment: &Segment) -> io::Result<()> {
        let from = segment_path(&self.dir, SegmentLocation::Pending, segment.first);
        let to = segment_path(&self.dir, SegmentLocation::Acked, segment.first);
        self.fs.rename(&from, &to)?;
        segment.update(|state| state.location = SegmentLocation::Acked);
        self.fs.sync_dir(&self.dir.join(SegmentLocation::Acked.dir()))?;
        self.fs.sync_dir(&self.dir.join(SegmentLocation::Pending.dir()))
    }

    fn expire_segments(&self, complete: &[Lsn], retention: Retention, now: Timestamp) -> io::Result<()> {
        let gone = |segment: &Segment| {
            complete.contains(&segment.first) && segment.state().location == SegmentLocation::Acked
        };
        let acked: Vec<_> = self.segments().into_iter().filter(|segment| gone(segment)).collect();
        let mut kept: u64 = acked.iter().map(|segment| segment.state().length).sum();
        for segment in acked {
            let state = segment.state();
            if kept <= retention.size && now.since(state.last_at) < retention.age {
                break;
            }
            kept -= state.length;
            self.delete_acked(&segment)?;
        }
        self.lock_acks().drop_completed_segments();
        self.dead_letters.drop_removed_below(self.oldest_retained());
        Ok(())
    }

    /// Removes a delivered segment. Only called for segments that a durable checkpoint calls complete.
    fn delete_acked(&self, segment: &Segment) -> io::Result<()> {
        self.shred_key(segment)?;
        self.segments.remove(segment.first);
        self.fs.remove(&segment_path(&self.dir, SegmentLocation::Acked, segment.first))?;
        // Before its notes go: after a power failure it must not be back without them.
        self.fs.sync_dir(&self.dir.join(SegmentLocation::Acked.dir()))?;
        self.delivery_index.remove(segment.first)
    }

    /// Destroys the key of an encrypted segment, durably, before its file is unlinked: whatever of its blocks stays on
    /// the disk can no longer be read. A start that finds it so removes it.
    fn shred_key(&self, segment: &Segment) -> io::Result<()> {
        if matches!(segment.access, PayloadAccess::Plain) {
            return Ok(());
        }
        let file =
            self.fs.open(&segment_path(&self.dir, SegmentLocation::Acked, segment.first), OpenMode::Write)?;
        for at in key_slots::SLOT_OFFSETS {
            file.write_all_at(&key_slots::shredded_slot(), at as u64)?;
        }
        file.sync_data()
    }

    /// Fills the next segment's file if one is wanted. Where there is no room, delivered segments go first, oldest
    /// first, whatever their age: retention yields to acceptance. Says whether a file is ready.
    pub fn preallocate_segment(&self, segment_size: u64, reserve: u64) -> bool {
        loop {
            match preallocated_segment::prepare(&*self.fs, &self.dir, segment_size, reserve) {
                Ok(file) => {
                    self.preallocated.put(file);
                    return true;
                }
                Err(error) => {
                    if error.is_out_of_space() && self.expire_oldest_acked() {
                        continue;
                    }
                    if self.preallocated.unavailable() != Some(SegmentUnavailable::OutOfSpace) {
                        self.report(Event::OutOfSpace { reason: error.to_string() });
                    }
                    self.preallocated.set_out_of_space();
                    return false;
                }
            }
        }
    }

    /// Blocks until a spare file is wanted or `timeout` is over. Says whether one is.
    pub fn wait_for_preallocation_request(&self, timeout: Duration) -> bool {
        self.preallocated.wait_for_request(timeout)
    }

    /// Blocks while the next segment is being filled, for `patience` at most. Says whether it is ready.
    pub fn wait_while_preallocating(&self, patience: Duration) -> bool {
        self.preallocated.wait_while_filling(patience)
    }

    /// Why there is no next segment now; `None` if there is one.
    pub fn next_segment_unavailable(&self) -> Option<SegmentUnavailable> {
        self.preallocated.unavailable()
    }

    fn expire_oldest_acked(&self) -> bool {
        let delivered = |s: &Segment| {
            s.state().location == SegmentLocation::Acked && self.lock_acks().is_complete(s.first)
        };
        let Some(oldest) = self.segments().into_iter().find(|segment| delivered(segment)) else {
            return false;
        };
        match self.delete_acked(&oldest) {
            Ok(()) => {
                self.report(Event::RetentionShortened { first: oldest.first });
                true
            }
            Err(e) => {
                self.report(Event::TransientError {
                    what: "remove a delivered segment",
                    error: e.to_string(),
                });
                false
            }
        }
    }
}

fn durable_position(segment: &Segment) -> DurablePosition {
    let (next, length) = segment.flushed();
    DurablePosition { segment: segment.first, length, next }
}
