//! Recovers the end of the last segment after a crash: finds surviving, torn and damaged bytes, and seals the segment.
//! The log never appends to a segment of an earlier run.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::DurablePosition;
use super::encryption::{PayloadAccess, PayloadError};
use super::event::{Finding, FindingKind};
use super::footer::Footer;
use super::frame::{ALIGN, ChecksumSeed};
use super::fs::{File, Fs, OpenMode};
use super::scanner::Scanner;
use super::segment_header::{HEADER_LEN, SegmentHeader, SegmentSeal, segment_name};
use super::tail_class::{Evidence, TailClass};
use super::{footer, frame, quarantine, salvage, tail_class};
use crate::failpoint::Failpoint;
use crate::units::Lsn;

/// Surviving records are rewritten in chunks of this size.
const CHUNK: usize = 1 << 20;

/// Returns the last record of the damage that an earlier start listed at a record; `None` if it listed none.
pub type ListedDamage<'a> = &'a dyn Fn(Lsn) -> Option<Lsn>;

/// A range of flushed records that can no longer be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// First record.
    pub from: Lsn,
    /// Last record.
    pub to: Lsn,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
    /// Whether the records are known to have been flushed. If not, it is unknown whether they existed.
    pub flushed: bool,
    /// Description of the sectors that the disk cannot read.
    pub unreadable: Option<String>,
}

impl LostRange {
    /// Description of the range.
    pub fn detail(&self) -> String {
        let Self { from, to, start, end, flushed, unreadable } = self;
        let known = if *flushed { "were flushed and cannot be read" } else { "may have been flushed" };
        let detail = format!("bytes {start} to {end}: records {from} to {to} {known}");
        unreadable.as_ref().map_or(detail.clone(), |unreadable| format!("{detail}; {unreadable}"))
    }
}

/// The result of examining a tail.
pub struct RecoveredTail {
    /// Header of the segment.
    pub header: SegmentHeader,
    file: Arc<dyn File>,
    /// Damaged ranges, in order.
    pub lost_ranges: Vec<LostRange>,
    /// Offsets of the torn tail, if there is one.
    torn: Option<(u64, u64)>,
    /// Whether the file was truncated by another process. A crash of the daemon cannot truncate it.
    truncated: bool,
    /// Surviving records above this offset may never have reached the disk.
    durable_offset: u64,
    footer: Footer,
}

/// Reads the open segment of an earlier run, to seal it. `label` as in `Options`.
pub fn recover(
    fs: &dyn Fs,
    path: &Path,
    header: &SegmentHeader,
    access: &PayloadAccess,
    durable: DurablePosition,
    listed: ListedDamage<'_>,
    label: fn(&[u8]) -> Option<String>,
) -> io::Result<RecoveredTail> {
    let file = fs.open(path, OpenMode::Write)?;
    examine(file, header, access, durable, listed, label)
}

/// Reads an open segment and changes nothing. Its writer may be running.
pub fn examine(
    file: Arc<dyn File>,
    header: &SegmentHeader,
    access: &PayloadAccess,
    durable: DurablePosition,
    listed: ListedDamage<'_>,
    label: fn(&[u8]) -> Option<String>,
) -> io::Result<RecoveredTail> {
    let scanner = Scanner::new(Arc::clone(&file), ChecksumSeed::new(&header.salt), file.size()?);
    let durable = if durable.segment == header.first { durable } else { DurablePosition::default() };
    let mut scan = TailScan {
        scanner,
        first: header.first,
        truncated: file.size()? < header.capacity,
        durable,
        durable_offset: durable.length,
        listed,
        offset: HEADER_LEN,
        lsn: header.first,
        committed: (HEADER_LEN, header.first),
        lost_ranges: Vec::new(),
    };
    scan.run()?;
    let (end, next) = scan.committed;
    let written = scan.scanner.last_written(end)?;
    let torn = (written > end && !scan.ends_in_footer(end)?).then_some((end, written));
    let footer = scan.footer(header.first, next, access, label)?;
    let cut = scan.truncated && !scan.ends_in_footer(end)?;
    Ok(RecoveredTail {
        header: header.clone(),
        file,
        lost_ranges: scan.lost_ranges,
        torn,
        truncated: cut,
        durable_offset: durable.length,
        footer,
    })
}

impl RecoveredTail {
    /// The number after the last record that survived, or that was flushed and damaged.
    pub fn next(&self) -> Lsn {
        self.footer.next
    }

    /// The footer that the segment would have if it were sealed now.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Findings for the operator. With `live`, the writer is running, so its unfinished end is not reported.
    pub fn findings(&self, live: bool) -> impl Iterator<Item = Finding> {
        let segment = segment_name(self.header.first);
        let damaged = self.lost_ranges.iter().map(|lost| (lost.start, FindingKind::Damaged, lost.detail()));
        let torn = self.torn.map(|(start, end)| {
            let detail =
                format!("{} bytes of a write that a crash interrupted; none was acknowledged", end - start);
            (start, FindingKind::TornTail, detail)
        });
        let cut = self.truncated.then(|| {
            let detail =
                "the file is shorter than it was created: the content after its end is unknown".to_owned();
            (self.footer.length, FindingKind::Damaged, detail)
        });
        let end = torn.into_iter().chain(cut).filter(|_| !live);
        let all: Vec<_> = damaged.chain(end).collect();
        all.into_iter().map(move |(offset, kind, detail)| Finding {
            segment: segment.clone(),
            offset,
            kind,
            detail,
        })
    }

    /// Copies a damaged range to quarantine, durably.
    pub fn quarantine_range(&self, fs: &dyn Fs, dir: &Path, lost: &LostRange) -> io::Result<()> {
        quarantine::copy_range(
            fs,
            dir,
            &*self.file,
            self.header.first,
            lost.start..lost.end,
            quarantine::DAMAGED,
        )
    }

    /// Copies the torn tail to quarantine, makes the surviving records durable, truncates the file, and writes the
    /// footer. `None` if no record survived: the segment is not needed.
    ///
    /// Surviving records are *rewritten*. After a failed flush, Linux marks pages as clean that never reached the disk,
    /// so a flush of bytes that were only read would prove nothing.
    pub fn seal(&self, fs: &dyn Fs, dir: &Path) -> io::Result<Option<SegmentSeal>> {
        if let Some((start, end)) = self.torn {
            quarantine::copy_range(fs, dir, &*self.file, self.header.first, start..end, "torn")?;
        }
        if self.footer.records == 0 {
            return Ok(None);
        }
        let end = self.footer.length;
        self.rewrite_survivors()?;
        // One flush covers the footer and the rewritten records. The footer's durable offset must exclude them, because
        // the footer may reach the disk first.
        let durable_offset =
            if Failpoint::FooterPromisesSurvivors.is_set() { end } else { self.durable_offset.min(end) };
        let footer = self.footer.encode(&ChecksumSeed::new(&self.header.salt), durable_offset as u32);
        salvage::make_writable(&*self.file, &(end..end + footer.len() as u64))?;
        footer::seal_file(&*self.file, end, &footer)?;
        let Footer { next, length, chain, .. } = self.footer;
        Ok(Some(SegmentSeal { first: self.header.first, next, length, chain }))
    }

    /// Rewrites the bytes between the durable offset and the end, except damaged ranges.
    fn rewrite_survivors(&self) -> io::Result<()> {
        let end = self.footer.length;
        let mut at = self.durable_offset.clamp(HEADER_LEN, end);
        let mut piece = vec![0; CHUNK];
        while at < end {
            if let Some(lost) = self.lost_ranges.iter().find(|lost| (lost.start..lost.end).contains(&at)) {
                at = lost.end;
                continue;
            }
            let until =
                self.lost_ranges.iter().map(|lost| lost.start).find(|&start| start > at).unwrap_or(end);
            let want = CHUNK.min((until.min(end) - at) as usize);
            let got = salvage::read_with_retries(&*self.file, &mut piece[..want], at)?;
            if got < want {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the segment became shorter while it was read",
                ));
            }
            self.file.write_all_at(&piece[..got], at)?;
            at += got as u64;
        }
        Ok(())
    }
}

/// Reads the frames, and classifies each offset without a valid frame.
struct TailScan<'a> {
    scanner: Scanner,
    first: Lsn,
    /// Whether the file is shorter than its preallocated size.
    truncated: bool,
    durable: DurablePosition,
    /// The largest durable offset known so far.
    durable_offset: u64,
    listed: ListedDamage<'a>,
    offset: u64,
    lsn: Lsn,
    /// Position after the last complete batch, or after the last damaged range.
    committed: (u64, Lsn),
    lost_ranges: Vec<LostRange>,
}

impl TailScan<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            match self.scanner.frame_at(self.offset)? {
                Ok(found) if found.meta.kind == frame::RECORD && found.meta.lsn == self.lsn => {
                    self.offset += found.len as u64;
                    self.lsn = self.lsn.next();
                    self.durable_offset = self.durable_offset.max(found.meta.flushed.into());
                    if found.meta.ends_batch || Failpoint::HalfBatchAccepted.is_set() {
                        self.committed = (self.offset, self.lsn);
                    }
                    continue;
                }
                // Sealed, but the crash came before the file was truncated after the footer.
                Ok(found) if found.meta.kind == frame::FOOTER && found.meta.lsn == self.lsn => return Ok(()),
                _ => {}
            }
            let bad = self.offset;
            let unreadable = self.scanner.unreadable_at(bad);
            let blank = self.scanner.last_written(bad)? == bad;
            let rest_zero = self.truncated || blank;
            let listed =
                if blank || Failpoint::ListingForgotten.is_set() { None } else { (self.listed)(self.lsn) };
            let (later, durable_offset) = if blank { (None, 0) } else { self.find_valid_after(bad)? };
            self.durable_offset = self.durable_offset.max(durable_offset);
            let evidence = Evidence {
                unreadable: !unreadable.is_empty(),
                listed_as_damaged: listed.is_some(),
                rest_zero,
                known_durable: self.durable_offset > bad,
                valid_frame_follows: later.is_some(),
            };
            let (end, next) = match (tail_class::classify_tail(evidence), later) {
                (TailClass::DamageBeforeFrame, Some(later)) => later,
                (TailClass::DamageToDurableEnd, _) if evidence.known_durable => {
                    (self.durable.length, self.durable.next)
                }
                (TailClass::DamageToDurableEnd, _) => match (unreadable.end(), listed) {
                    (None, Some(last)) => self.end_of_written(last)?,
                    (end, _) => self.end_of_unreadable(end.unwrap_or(bad)),
                },
                // `OlderThanCheckpoint` is detected by the log's last number, once the whole log is known.
                _ => return Ok(()),
            };
            if next <= self.lsn {
                // A checkpoint of forebay never covers bytes without records.
                return Ok(());
            }
            // Next to a running writer, the bytes may have been read just before they were written.
            self.scanner.refresh();
            if self.is_record(bad)? {
                continue;
            }
            let (from, to, flushed) = (self.lsn, Lsn(next.0 - 1), evidence.known_durable);
            let unreadable = self.scanner.unreadable(&(bad..end)).detail(&segment_name(self.first));
            self.lost_ranges.push(LostRange { from, to, start: bad, end, flushed, unreadable });
            (self.offset, self.lsn) = (end, next);
            self.committed = (end, next);
        }
    }

    /// The end of unreadable bytes that no other evidence covers, and the first number that none of their records can
    /// have: each record takes at least a frame header.
    fn end_of_unreadable(&self, end: u64) -> (u64, Lsn) {
        let most = (end - self.offset).div_ceil(frame::FRAME_HEADER as u64).max(1);
        (end, self.lsn.plus(most))
    }

    /// The end of all written bytes, and the number after the last listed record.
    fn end_of_written(&mut self, last: Lsn) -> io::Result<(u64, Lsn)> {
        let end = self.scanner.last_written(self.offset)?;
        Ok((end.next_multiple_of(ALIGN as u64), last.next()))
    }

    fn is_record(&mut self, at: u64) -> io::Result<bool> {
        let lsn = self.lsn;
        let found = self.scanner.frame_at(at)?;
        Ok(found.is_ok_and(|found| found.meta.kind == frame::RECORD && found.meta.lsn == lsn))
    }

    /// The next valid frame after `bad`, and the largest durable offset of all valid frames there.
    fn find_valid_after(&mut self, bad: u64) -> io::Result<(Option<(u64, Lsn)>, u64)> {
        let mut first = None;
        let mut durable_offset = 0;
        let mut from = bad + ALIGN as u64;
        let mut least = self.lsn.next();
        while let Some((at, meta)) = self.scanner.resync(from, self.scanner.lsn_range_from(least))? {
            if !Failpoint::PromiseBehindIgnored.is_set() {
                durable_offset = durable_offset.max(u64::from(meta.flushed));
            }
            first.get_or_insert((at, meta.lsn));
            from = at + self.scanner.frame_at(at)?.map_or(ALIGN, |found| found.len) as u64;
            least = meta.lsn.next();
        }
        Ok((first, durable_offset))
    }

    fn ends_in_footer(&mut self, end: u64) -> io::Result<bool> {
        Ok(self.scanner.frame_at(end)?.is_ok_and(|found| found.meta.kind == frame::FOOTER))
    }

    /// The footer of the surviving records, from a second pass.
    fn footer(
        &mut self,
        first: Lsn,
        next: Lsn,
        access: &PayloadAccess,
        label: fn(&[u8]) -> Option<String>,
    ) -> io::Result<Footer> {
        let mut plain = Vec::new();
        let mut footer = Footer { next: first, length: HEADER_LEN, ..Footer::default() };
        let mut lost_ranges = self.lost_ranges.iter();
        let mut lost = lost_ranges.next();
        let mut offset = HEADER_LEN;
        while footer.next < next {
            if let Some(here) = lost.filter(|lost| lost.start == offset) {
                footer.skip(here.to.0 + 1 - here.from.0, here.start);
                offset = here.end;
                lost = lost_ranges.next();
                continue;
            }
            let found = self.scanner.frame_at(offset)?;
            let found = found.map_err(|_| io::Error::other("the segment changed while it was recovered"))?;
            let label = match access.read(found, offset, &mut plain) {
                Ok(payload) => label(payload),
                Err(PayloadError::Locked) => Some("encrypted".to_owned()),
                // A reader will find the damage when it reaches the record.
                Err(PayloadError::Forged) => None,
            };
            let label = label.unwrap_or_else(|| "unreadable".to_owned());
            let (at, crc, len) = (found.meta.at, found.crc, found.len as u64);
            footer.add(&label, at, offset, crc);
            offset += len;
        }
        footer.length = offset;
        Ok(footer)
    }
}
