//! Rewrites unreadable footers, from the records and the next segment's header.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::checkpoint::Checkpoint;
use super::super::directory_scan::ScannedSegment;
use super::super::event::{Finding, FindingKind};
use super::super::footer::Footer;
use super::super::frame::{ALIGN, ChecksumSeed};
use super::super::fs::{File, Fs, OpenMode};
use super::super::open_error::OpenError;
use super::super::options::Options;
use super::super::scanner::Scanner;
use super::super::segment::segment_path;
use super::super::segment_header::{HEADER_LEN, SegmentHeader, SegmentSeal, segment_name};
use super::super::{directory_scan, footer, frame, quarantine, salvage};

type Label = fn(&[u8]) -> Option<String>;

/// Rewrites damaged footers of segments whose end is known.
pub fn rewrite_footers(
    fs: &dyn Fs,
    dir: &Path,
    options: &Options,
    findings: &mut Vec<Finding>,
) -> Result<(), OpenError> {
    let known = Checkpoint::load(fs, dir).ok().map(|checkpoint| checkpoint.log_id);
    // The start finds and reports all other problems again.
    let seen = directory_scan::scan_read_only(fs, dir, known, &options.keys, &mut Vec::new())?;
    for pair in seen.segments.windows(2) {
        let (found, seal) = (&pair[0], pair[1].header.predecessor);
        if found.footer.is_some() || seal.first != found.header.first {
            continue;
        }
        let path = segment_path(dir, found.place, found.header.first);
        let failed = |source| OpenError::Io { path: path.clone(), source };
        let file = fs.open(&path, OpenMode::Write).map_err(failed)?;
        if let Some(footer) = rebuild(&file, found, seal, options.label).map_err(failed)? {
            write(fs, dir, &*file, &found.header, &footer).map_err(failed)?;
            findings.push(Finding {
                segment: segment_name(found.header.first),
                offset: seal.length,
                kind: FindingKind::Damaged,
                detail: "the segment's footer is damaged".to_owned(),
            });
        }
    }
    Ok(())
}

/// The footer computed from the records; `None` if the next segment's header does not match it.
fn rebuild(
    file: &Arc<dyn File>,
    of: &ScannedSegment,
    seal: SegmentSeal,
    label: Label,
) -> io::Result<Option<Footer>> {
    let ScannedSegment { header, access, .. } = of;
    let mut plain = Vec::new();
    let mut scanner = Scanner::new(Arc::clone(file), ChecksumSeed::new(&header.salt), seal.length);
    let mut footer = Footer { next: header.first, length: HEADER_LEN, ..Footer::default() };
    let (mut offset, mut lost_ranges) = (HEADER_LEN, 0);
    while offset < seal.length && footer.next < seal.next {
        if let Ok(found) = scanner.frame_at(offset)?
            && (found.meta.kind, found.meta.lsn) == (frame::RECORD, footer.next)
        {
            let payload = access.read(found, offset, &mut plain).ok();
            let label = payload.and_then(label).unwrap_or_else(|| "unreadable".to_owned());
            let (at, crc, len) = (found.meta.at, found.crc, found.len as u64);
            footer.add(&label, at, offset, crc);
            offset += len;
            continue;
        }
        lost_ranges += 1;
        let behind = scanner.resync(offset + ALIGN as u64, scanner.lsn_range_from(footer.next.next()))?;
        let behind = behind.filter(|(_, meta)| meta.kind == frame::RECORD && meta.lsn < seal.next);
        let (end, next) = behind.map_or((seal.length, seal.next), |(at, meta)| (at, meta.lsn));
        footer.skip(next.0 - footer.next.0, offset);
        offset = end;
    }
    footer.length = offset;
    if lost_ranges > 0 {
        // The chain cannot be computed over unreadable records.
        footer.chain = seal.chain;
    }
    let made =
        SegmentSeal { first: header.first, next: footer.next, length: footer.length, chain: footer.chain };
    Ok((made == seal).then_some(footer))
}

fn write(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    header: &SegmentHeader,
    footer: &Footer,
) -> io::Result<()> {
    let end = footer.length;
    quarantine::copy_range(fs, dir, file, header.first, end..file.size()?.max(end), "footer")?;
    let footer = footer.encode(&ChecksumSeed::new(&header.salt), end as u32);
    salvage::make_writable(file, &(end..end + footer.len() as u64))?;
    footer::seal_file(file, end, &footer)
}
