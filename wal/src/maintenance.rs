//! Maintenance of a log outside the commit path: checkpoints, the move of delivered segments to `acked/`, their expiry,
//! and the preallocation of the next segment.

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

/// Limits for the retention of delivered segments, which can be replayed. The limit reached first applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Maximum age of a segment's last record.
    pub age: Duration,
    /// Maximum size in bytes of all delivered segments.
    pub size: u64,
}

impl Log {
    /// Saves a checkpoint if the state has changed, then moves delivered segments to `acked/` and deletes expired ones.
    /// An error causes duplicate deliveries or delays freeing space, but loses no record; call it again.
    pub fn run_maintenance(&self, retention: Retention, now: Timestamp) -> io::Result<()> {
        let complete = self.checkpoint_if(now, |saved, next| !next.is_equivalent(saved))?;
        for segment in self.segments() {
            if complete.contains(&segment.first) && segment.state().location == SegmentLocation::Pending {
                self.move_to_acked(&segment)?;
            }
        }
        self.expire_segments(&complete, retention, now)?;
        // Freeing the space of removed dead letters is less urgent than a checkpoint.
        if let Err(e) = self.poison_on_error(self.dead_letters.maintain()) {
            self.report(Event::TransientError { what: "rewrite the dead letters", error: e.to_string() });
        }
        Ok(())
    }

    /// Makes durable which records are done. Returns the segments that are complete in it.
    pub fn checkpoint(&self, now: Timestamp) -> io::Result<Vec<Lsn>> {
        self.checkpoint_if(now, |_, _| true)
    }

    /// The same, unless `is_due` returns `false` for the last checkpoint of this run and the current state.
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
            let tracker = self.lock_acks();
            for segment in &segments {
                if tracker.is_complete(segment.first) || Failpoint::IncompleteRetired.is_set() {
                    complete.push(segment.first);
                }
                open = Some(segment);
            }
            Checkpoint {
                log_id: self.identity.log_id,
                written_at: now,
                watermark: tracker.watermark(),
                durable: open.map_or_else(DurablePosition::default, |segment| durable_position(segment)),
                segments: tracker
                    .segments_above_watermark()
                    .map(|(first, acks)| (first, acks.clone()))
                    .collect(),
                transactions: self.transactions(),
            }
        };
        // Delivery positions must be durable before the checkpoint marks their records as done.
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

    /// Deletes a delivered segment. Only called for segments that are complete in a durable checkpoint.
    fn delete_acked(&self, segment: &Segment) -> io::Result<()> {
        self.shred_key(segment)?;
        self.segments.remove(segment.first);
        self.fs.remove(&segment_path(&self.dir, SegmentLocation::Acked, segment.first))?;
        // Before its delivery positions are removed: after a power failure the segment must not exist without them.
        self.fs.sync_dir(&self.dir.join(SegmentLocation::Acked.dir()))?;
        self.delivery_index.remove(segment.first)
    }

    /// Destroys the key of an encrypted segment, durably, before its file is deleted. Blocks that remain on the disk
    /// can then no longer be decrypted. A start that finds such a segment deletes it.
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

    /// Preallocates the next segment if one is requested. If space is short, deletes delivered segments, oldest first,
    /// before they expire: new records have priority over retention. Returns whether a segment is ready.
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

    /// Blocks until a preallocated segment is requested or `timeout` has passed. Returns whether one is requested.
    pub fn wait_for_preallocation_request(&self, timeout: Duration) -> bool {
        self.preallocated.wait_for_request(timeout)
    }

    /// Blocks while the next segment is being preallocated, for at most `timeout`. Returns whether it is ready.
    pub fn wait_while_preallocating(&self, timeout: Duration) -> bool {
        self.preallocated.wait_while_filling(timeout)
    }

    /// Why no next segment is available; `None` if one is.
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
