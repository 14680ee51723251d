//! Reads every record and checks it.

use std::io;
use std::sync::Arc;

use super::super::event::{Finding, FindingKind};
use super::super::types::RecordRef;
use super::super::{frame, quarantine};
use super::frames::{FrameStep, Frames, IntactRecord};
use super::segment::SegmentInfo;
use super::{LogView, segment};

/// What was read, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Records that are as they were written.
    pub records: u64,
    /// Their bytes in the log.
    pub bytes: u64,
    /// How many of them are encrypted, without the key: only their checksums were looked at.
    pub locked: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Damaged ranges that were found before: copies lie in quarantine, and what was owed is a dead letter.
    pub set_aside: u64,
}

/// A further check of each record, by someone who understands its payload: what is wrong with it, if anything.
pub type RecordCheck<'a> = &'a mut dyn FnMut(&RecordRef<'_>) -> Option<String>;

impl LogView {
    /// Bytes `verify` will read.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(SegmentInfo::bytes).sum()
    }

    /// Reads and checks all records; `progress` is told how many bytes were read since it was last called.
    pub fn verify(&self, check: RecordCheck<'_>, progress: &mut dyn FnMut(u64)) -> io::Result<VerifyReport> {
        let mut report = VerifyReport { findings: self.findings.clone(), ..VerifyReport::default() };
        for segment in &self.segments {
            let one = self.verify_segment(segment, check, progress)?;
            report.records += one.records;
            report.bytes += one.bytes;
            report.set_aside += one.set_aside;
            report.locked += one.locked;
            report.findings.extend(one.findings);
        }
        report.findings.sort_by(|a, b| (&a.segment, a.offset).cmp(&(&b.segment, b.offset)));
        // The end of the log was judged when it was looked at; the same hole is met again here.
        report.findings.dedup_by(|a, b| (&a.segment, a.offset, a.kind) == (&b.segment, b.offset, b.kind));
        Ok(report)
    }

    /// The same for one segment, without what was found before.
    pub fn verify_segment(
        &self,
        segment: &SegmentInfo,
        check: RecordCheck<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let find =
            |offset, detail| Finding { segment: segment.name(), offset, kind: FindingKind::Damaged, detail };
        // Delivered and let go of in the meantime: nothing is owed any more.
        let Some(file) = segment::open(&*self.fs, &self.path, segment.first())? else { return Ok(report) };
        let mut frames = Frames::new(Arc::clone(&file), segment, segment.first());
        let (mut chain, mut holes, mut next) = (0, 0, segment.first());
        loop {
            let before = frames.offset();
            match frames.next_step()? {
                FrameStep::Record(IntactRecord { offset, found, payload }) => {
                    chain = frame::extend_chain(chain, found.crc);
                    next = found.meta.lsn.next();
                    report.records += 1;
                    report.bytes += found.len as u64;
                    let wrong = payload.and_then(|payload| check(&found.frame(payload)));
                    report.locked += u64::from(payload.is_none());
                    report.findings.extend(wrong.map(|detail| find(offset, detail)));
                }
                FrameStep::Lost(hole) => {
                    holes += 1;
                    next = hole.to.next();
                    let range = hole.start..hole.end;
                    match quarantine::is_quarantined(&*self.fs, &self.path, &*file, segment.first(), range)? {
                        true => report.set_aside += 1,
                        false => report.findings.push(find(hole.start, hole.detail())),
                    }
                }
                FrameStep::End => break,
            }
            progress(frames.offset() - before);
        }
        let footer = &segment.footer;
        if segment.sealed && holes == 0 && (chain, next) != (footer.chain, footer.next) {
            let detail = format!(
                "the footer speaks of records up to {} and another order of checksums than is there",
                footer.next.0 - 1
            );
            report.findings.push(find(footer.length, detail));
        }
        Ok(report)
    }
}
