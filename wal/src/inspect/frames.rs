//! Iterates over the frames of one segment, and the damaged ranges between them.

use std::io;
use std::sync::Arc;

use super::super::encryption::{PayloadAccess, PayloadError};
use super::super::frame;
use super::super::frame::{ALIGN, DecodedFrame};
use super::super::fs::File;
use super::super::scanner::Scanner;
use super::super::tail_recovery::LostRange;
use super::segment::SegmentInfo;
use crate::units::Lsn;

/// Iterates over the frames of a segment.
pub struct Frames {
    /// Name of the segment.
    name: String,
    access: PayloadAccess,
    /// The decrypted payload of the last record, if the segment is encrypted.
    plain: Vec<u8>,
    scanner: Scanner,
    offset: u64,
    lsn: Lsn,
    length: u64,
    next: Lsn,
}

/// The next element of a segment.
pub enum FrameStep<'a> {
    /// A record.
    Record(IntactRecord<'a>),
    /// Records that cannot be read.
    Lost(LostRange),
    /// The end of the segment.
    End,
}

/// A valid record.
pub struct IntactRecord<'a> {
    /// Offset of the frame.
    pub offset: u64,
    /// Its frame.
    pub found: DecodedFrame<'a>,
    /// Its payload; `None` if it is encrypted and the key is not given.
    pub payload: Option<&'a [u8]>,
}

impl Frames {
    /// The frames of `segment` from the record `from` on, or from a little before it.
    pub fn new(file: Arc<dyn File>, segment: &SegmentInfo, from: Lsn) -> Self {
        let length = segment.footer.length;
        let (offset, lsn) = segment.nearest(from);
        let scanner = Scanner::new(file, segment.seed(), length);
        let access = segment.access.clone();
        Self {
            name: segment.name(),
            access,
            plain: Vec::new(),
            scanner,
            offset,
            lsn,
            length,
            next: segment.next(),
        }
    }

    /// The current offset.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame or damaged range. Errors are I/O errors.
    pub fn next_step(&mut self) -> io::Result<FrameStep<'_>> {
        let (here, lsn) = (self.offset, self.lsn);
        if here >= self.length {
            return Ok(FrameStep::End);
        }
        let found = self.scanner.frame_at(here)?;
        let right = found.ok().filter(|found| found.meta.kind == frame::RECORD && found.meta.lsn == lsn);
        let Some(len) = right.map(|found| found.len as u64) else {
            return Ok(FrameStep::Lost(self.skip_damage()?));
        };
        let forged = {
            let found = self.scanner.cached_frame(here);
            let read = found.map(|found| self.access.read(found, here, &mut self.plain).err());
            read.flatten() == Some(PayloadError::Forged)
        };
        if forged {
            return Ok(FrameStep::Lost(self.skip_damage()?));
        }
        self.offset += len;
        self.lsn = lsn.next();
        let changed = || io::Error::other(format!("the segment changed at byte {here} while it was read"));
        let found = self.scanner.cached_frame(here).ok_or_else(changed)?;
        let payload = match self.access {
            PayloadAccess::Plain => Some(found.payload),
            PayloadAccess::Key(_) => Some(&self.plain[..]),
            PayloadAccess::Locked(_) => None,
        };
        Ok(FrameStep::Record(IntactRecord { offset: here, found, payload }))
    }

    /// Continues after a damaged range.
    fn skip_damage(&mut self) -> io::Result<LostRange> {
        let (start, from) = (self.offset, self.lsn);
        let behind = self.scanner.resync(start + ALIGN as u64, self.scanner.lsn_range_from(from.next()))?;
        (self.offset, self.lsn) = match behind {
            Some((at, meta)) if meta.kind == frame::RECORD => (at, meta.lsn),
            _ => (self.length, self.next.max(from.next())),
        };
        let unreadable = self.scanner.unreadable(&(start..self.offset)).detail(&self.name);
        Ok(LostRange { from, to: Lsn(self.lsn.0 - 1), start, end: self.offset, flushed: true, unreadable })
    }
}
