//! Undelivered records, as of the last checkpoint.

use std::collections::BTreeMap;
use std::io;

use super::super::ack_tracker::AckTracker;
use super::super::checkpoint::Checkpoint;
use super::super::recovery;
use super::frames::{FrameStep, Frames};
use super::segment::SegmentInfo;
use super::{LogView, segment};
use crate::units::{Lsn, Timestamp};

/// The undelivered records of a log.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// Number of records.
    pub records: u64,
    /// Bytes of these records in the log.
    pub bytes: u64,
    /// All records below it are delivered or dead letters.
    pub watermark: Lsn,
    /// Acceptance time of the oldest of them.
    pub oldest: Option<Timestamp>,
    /// Number of records per label.
    pub labels: BTreeMap<String, u64>,
    /// Number of records in each segment with undelivered ones.
    pub segments: Vec<(Lsn, u64)>,
}

impl LogView {
    /// Counts the undelivered records. Reads only the footer of a segment that is completely delivered or undelivered.
    pub fn backlog(&self) -> io::Result<Backlog> {
        let tracker = self.acks()?;
        let mut backlog = Backlog {
            records: tracker.backlog(),
            bytes: tracker.backlog_bytes(),
            watermark: tracker.watermark(),
            ..Backlog::default()
        };
        for segment in &self.segments {
            let Some(acks) = tracker.segment_acks(segment.first()) else { continue };
            if acks.done == acks.count {
                continue;
            }
            backlog.segments.push((segment.first(), acks.count - acks.done));
            match acks.done {
                0 if !segment.labels().is_empty() => {
                    for (label, count) in segment.labels() {
                        *backlog.labels.entry(label.clone()).or_default() += count;
                    }
                }
                _ => self.count_labels(segment, &tracker, &mut backlog.labels)?,
            }
        }
        if backlog.records > 0 {
            backlog.oldest =
                self.accepted_at(backlog.watermark)?.or_else(|| self.segment_created_at(backlog.watermark));
        }
        Ok(backlog)
    }

    /// The ack tracker that a start would begin with: which records are done.
    fn acks(&self) -> io::Result<AckTracker> {
        let checkpoint = self.checkpoint.as_ref();
        let oldest = self.segments.first().map(|segment| segment.header.first);
        let mut tracker = AckTracker::new(recovery::first_watermark(checkpoint, oldest));
        for segment in &self.segments {
            let (first, count) = (segment.first(), segment.next().0 - segment.first().0);
            let mut acks = Checkpoint::current_acks(checkpoint, first, segment.place, count, segment.bytes());
            if segment.sealed {
                acks.close();
            }
            tracker.insert(first, acks);
        }
        if let Some(dead) = &self.dead_letters {
            dead.mark_done_in(&mut tracker);
        }
        tracker.advance();
        Ok(tracker)
    }

    fn count_labels(
        &self,
        segment: &SegmentInfo,
        tracker: &AckTracker,
        labels: &mut BTreeMap<String, u64>,
    ) -> io::Result<()> {
        let Some(file) = segment::open(&*self.fs, &self.path, segment.first())? else { return Ok(()) };
        let mut frames = Frames::new(file, segment, segment.first());
        loop {
            match frames.next_step()? {
                FrameStep::Record(whole) if !tracker.is_done(whole.found.meta.lsn) => {
                    let label = match whole.payload {
                        Some(payload) => (self.label)(payload).unwrap_or_else(|| "unreadable".to_owned()),
                        None => "encrypted".to_owned(),
                    };
                    *labels.entry(label).or_default() += 1;
                }
                FrameStep::Record(..) | FrameStep::Lost(_) => {}
                FrameStep::End => return Ok(()),
            }
        }
    }

    /// Creation time of the segment that holds `lsn`, for a record that cannot be read. An age computed from it is too
    /// large.
    fn segment_created_at(&self, lsn: Lsn) -> Option<Timestamp> {
        let holder = self
            .segment_containing(lsn)
            .or_else(|| self.segments.iter().find(|segment| segment.first() > lsn));
        holder.map(|segment| segment.header.created)
    }

    /// Acceptance time of the record at or after `lsn`.
    fn accepted_at(&self, lsn: Lsn) -> io::Result<Option<Timestamp>> {
        let first = self.records(lsn..self.next()).next().transpose()?;
        Ok(first.map(|stored| stored.record.at))
    }
}
