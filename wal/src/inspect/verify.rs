//! Reads and checks every record.

use std::io;
use std::sync::Arc;

use super::super::event::{Finding, FindingKind};
use super::super::types::RecordRef;
use super::super::{frame, quarantine};
use super::frames::{FrameStep, Frames, IntactRecord};
use super::segment::SegmentInfo;
use super::{LogView, segment};

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Number of valid records.
    pub records: u64,
    /// Bytes of these records in the log.
    pub bytes: u64,
    /// Number of encrypted records without a key, of which only the checksums were checked.
    pub locked: u64,
    /// Problems that were found.
    pub findings: Vec<Finding>,
    /// Number of damaged ranges found earlier: they were copied to quarantine, and undelivered records were listed as
    /// dead letters.
    pub set_aside: u64,
}

/// An additional check of each record, based on its payload. Returns a description of the problem, if any.
pub type RecordCheck<'a> = &'a mut dyn FnMut(&RecordRef<'_>) -> Option<String>;

impl LogView {
    /// Bytes that `verify` will read.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(SegmentInfo::bytes).sum()
    }

    /// Reads and checks all records. `progress` receives the bytes that were read since its last call.
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
        // The end of the log was checked by the snapshot, so the same damaged range is found twice.
        report.findings.dedup_by(|a, b| (&a.segment, a.offset, a.kind) == (&b.segment, b.offset, b.kind));
        Ok(report)
    }

    /// Checks one segment, without the findings of the snapshot.
    pub fn verify_segment(
        &self,
        segment: &SegmentInfo,
        check: RecordCheck<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let find =
            |offset, detail| Finding { segment: segment.name(), offset, kind: FindingKind::Damaged, detail };
        // Delivered and deleted meanwhile: nothing needs a check any more.
        let Some(file) = segment::open(&*self.fs, &self.path, segment.first())? else { return Ok(report) };
        let mut frames = Frames::new(Arc::clone(&file), segment, segment.first());
        let (mut chain, mut lost_ranges, mut next) = (0, 0, segment.first());
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
                FrameStep::Lost(lost) => {
                    lost_ranges += 1;
                    next = lost.to.next();
                    let range = lost.start..lost.end;
                    match quarantine::is_quarantined(&*self.fs, &self.path, &*file, segment.first(), range)? {
                        true => report.set_aside += 1,
                        false => report.findings.push(find(lost.start, lost.detail())),
                    }
                }
                FrameStep::End => break,
            }
            progress(frames.offset() - before);
        }
        let footer = &segment.footer;
        if segment.sealed && lost_ranges == 0 && (chain, next) != (footer.chain, footer.next) {
            let detail = format!(
                "the footer covers records up to {}, and its checksum chain differs from that of the segment",
                footer.next.0 - 1
            );
            report.findings.push(find(footer.length, detail));
        }
        Ok(report)
    }
}
