//! Follows the end of a log while the daemon writes to it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::encryption::{Keys, PayloadAccess, PayloadError};
use super::super::frame::ChecksumSeed;
use super::super::fs::{File, Fs};
use super::super::scanner::Scanner;
use super::super::segment::SegmentLocation;
use super::super::segment_header::{HEADER_LEN, SegmentHeader, parse_segment_name};
use super::super::types::{Record, RecordState};
use super::super::{directory_scan, frame, salvage};
use super::records::StoredRecord;
use super::{LogView, segment};
use crate::units::Lsn;

/// Reads records as they are written.
pub struct Follower {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    keys: Keys,
    next: Lsn,
    position: Option<FollowPosition>,
    /// Records of complete batches that were read and not returned yet.
    ready: VecDeque<StoredRecord>,
}

/// The position of the follower.
struct FollowPosition {
    first: Lsn,
    access: PayloadAccess,
    scanner: Scanner,
    file: Arc<dyn File>,
    offset: u64,
}

impl LogView {
    /// Follows the log from the end of this view on.
    pub fn follow(&self) -> Follower {
        let (fs, dir) = (Arc::clone(&self.fs), self.path.clone());
        let keys = self.keys.clone();
        let mut follower =
            Follower { fs, dir, keys, next: self.next(), position: None, ready: VecDeque::new() };
        if let Some(last) = self.segments.last().filter(|last| !last.sealed)
            && let Ok(Some(file)) = segment::open(&*self.fs, &self.path, last.first())
        {
            let scanner = Scanner::new(Arc::clone(&file), last.seed(), 0);
            let (first, offset) = (last.first(), last.footer.length);
            follower.position =
                Some(FollowPosition { first, access: last.access.clone(), scanner, file, offset });
        }
        follower
    }
}

impl Follower {
    /// The next record; `None` if none is written yet.
    pub fn poll(&mut self) -> io::Result<Option<StoredRecord>> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                return Ok(Some(stored));
            }
            if self.position.is_none() && !self.open_next_segment()? {
                return Ok(None);
            }
            let Some(position) = &mut self.position else { return Ok(None) };
            position.scanner.set_limit(position.file.size()?);
            position.scanner.refresh();
            if let Some((batch, end)) = position.read_batch(self.next)? {
                position.offset = end;
                self.next = self.next.plus(batch.len() as u64);
                self.ready.extend(batch);
                continue;
            }
            // No complete batch here: the current end of the log, or the end of this segment if a later one exists.
            let here = position.first;
            match self.next_segment_after(here)? {
                Some(_) => self.position = None,
                None => return Ok(None),
            }
        }
    }

    /// Moves to the beginning of the first segment that has, or will have, the next record.
    fn open_next_segment(&mut self) -> io::Result<bool> {
        let Some(first) = self.next_segment_after(Lsn(self.next.0 - 1))? else { return Ok(false) };
        let Some(file) = segment::open(&*self.fs, &self.dir, first)? else { return Ok(false) };
        let mut block = vec![0; HEADER_LEN as usize];
        let read = salvage::read(&*file, &mut block, 0)?;
        let mut header =
            SegmentHeader::decode(&block[..read.len]).map_err(|e| io::Error::other(e.to_string()))?;
        // Without the key of a delivered segment that is being deleted, nothing in it can be followed.
        let access = directory_scan::segment_access(&block, &mut header, &self.keys)
            .unwrap_or(PayloadAccess::Locked(Vec::new()));
        let scanner = Scanner::new(Arc::clone(&file), ChecksumSeed::new(&header.salt), 0);
        self.next = first;
        self.position = Some(FollowPosition { first, access, scanner, file, offset: HEADER_LEN });
        Ok(true)
    }

    fn next_segment_after(&self, first: Lsn) -> io::Result<Option<Lsn>> {
        let mut later: Vec<Lsn> = Vec::new();
        for place in [SegmentLocation::Pending, SegmentLocation::Acked] {
            let names = self.fs.list(&self.dir.join(place.dir()))?;
            later.extend(names.iter().filter_map(|name| parse_segment_name(name)));
        }
        Ok(later.into_iter().filter(|&other| other > first).min())
    }
}

impl FollowPosition {
    /// The batch that begins with the record `first`, and its end offset; `None` while it is incomplete.
    fn read_batch(&mut self, first: Lsn) -> io::Result<Option<(Vec<StoredRecord>, u64)>> {
        let (mut batch, mut plain) = (Vec::new(), Vec::new());
        let mut offset = self.offset;
        loop {
            let lsn = first.plus(batch.len() as u64);
            let found = match self.scanner.frame_at(offset)? {
                Ok(found) if found.meta.kind == frame::RECORD && found.meta.lsn == lsn => found,
                _ => return Ok(None),
            };
            let payload = match self.access.read(found, offset, &mut plain) {
                Err(PayloadError::Forged) => return Ok(None),
                read => read.ok(),
            };
            let frame = found.frame(payload.unwrap_or_default());
            batch.push(StoredRecord {
                record: Record { lsn, at: frame.at, lane: frame.lane, payload: frame.payload.to_vec() },
                bytes: frame.bytes.into(),
                offset,
                state: RecordState::Accepted,
                locked: payload.is_none(),
            });
            offset += found.len as u64;
            if found.meta.ends_batch {
                return Ok(Some((batch, offset)));
            }
        }
    }
}
