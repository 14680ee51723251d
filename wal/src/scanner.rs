//! Reads the frames of one file through a bounded buffer.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::frame::{ALIGN, ChecksumSeed, DecodedFrame, FRAME_HEADER, FrameError};
use super::fs::File;
use super::salvage::UnreadableRanges;
use super::{frame, salvage};
use crate::units::Lsn;

/// Size of a read in bytes: large enough for a low cost per record, small enough for one buffer in each of 128 workers.
const CHUNK: usize = 256 << 10;

/// Reads frames at given offsets.
pub struct Scanner {
    file: Arc<dyn File>,
    seed: ChecksumSeed,
    /// Frames must end at or before this offset.
    limit: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// Unreadable ranges among the bytes read so far.
    unreadable: UnreadableRanges,
    /// Number of bytes that the last check of a frame depended on.
    examined: usize,
}

impl Scanner {
    /// A scanner of the frames below `limit`.
    pub fn new(file: Arc<dyn File>, seed: ChecksumSeed, limit: u64) -> Self {
        let unreadable = UnreadableRanges::default();
        Self { file, seed, limit, buffer: Vec::new(), buffer_at: 0, unreadable, examined: 0 }
    }

    /// Sets a new limit.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Drops read-ahead bytes, which may be outdated while a writer is active.
    pub fn refresh(&mut self) {
        self.buffer.clear();
    }

    /// The frame at `offset`. The outer error is an I/O error, never the end of the log.
    pub fn frame_at(&mut self, offset: u64) -> io::Result<Result<DecodedFrame<'_>, FrameError>> {
        let room = self.limit.saturating_sub(offset);
        let mut needed = FRAME_HEADER;
        let found = loop {
            self.fill_buffer(offset, needed)?;
            // The read-ahead may contain the whole frame already, so the length comes from its header.
            self.examined = frame::claimed_len(self.buffered(offset), room).unwrap_or(FRAME_HEADER);
            match frame::check(self.buffered(offset), &self.seed, offset, room) {
                Err(FrameError::Incomplete(more)) if more > needed => needed = more,
                Err(FrameError::Incomplete(_)) => return Ok(Err(FrameError::Invalid)),
                other => break other,
            }
        };
        Ok(found.map(|found| found.with(self.buffered(offset))))
    }

    /// The frame that `frame_at` just found at this offset, without another check.
    pub fn cached_frame(&self, offset: u64) -> Option<DecodedFrame<'_>> {
        frame::decode_trusted(self.buffered(offset))
    }

    /// Unreadable ranges of the frame expected at `offset`, after `frame_at` found none: of its header, and of the
    /// bytes that its length field covers.
    pub fn unreadable_at(&self, offset: u64) -> UnreadableRanges {
        self.unreadable.overlapping(&(offset..offset + self.examined as u64))
    }

    /// Unreadable ranges in this range, as far as it was read.
    pub fn unreadable(&self, range: &Range<u64>) -> UnreadableRanges {
        self.unreadable.overlapping(range)
    }

    /// The first valid frame at or after `offset` with one of these numbers. Used after damage.
    ///
    /// The number is checked before the checksum. Otherwise a payload that looks like many long frames would cost a
    /// checksum over the rest of the file every eight bytes.
    pub fn resync(
        &mut self,
        offset: u64,
        numbers: RangeInclusive<u64>,
    ) -> io::Result<Option<(u64, frame::FrameMeta)>> {
        let mut offset = offset.next_multiple_of(ALIGN as u64);
        // A truncated file is shorter than its limit. After its end, every step would cost an empty read.
        let end = self.limit.min(self.file.size()?);
        while offset + FRAME_HEADER as u64 <= end {
            self.fill_buffer(offset, FRAME_HEADER)?;
            let likely =
                frame::claimed_lsn(self.buffered(offset)).is_some_and(|number| numbers.contains(&number));
            if likely && let Ok(found) = self.frame_at(offset)? {
                return Ok(Some((offset, found.meta)));
            }
            offset += ALIGN as u64;
        }
        Ok(None)
    }

    /// The numbers that a frame of this segment can have, beginning with `least`: n bytes cannot contain more than n/32
    /// records.
    pub fn lsn_range_from(&self, least: Lsn) -> RangeInclusive<u64> {
        least.0..=least.0.saturating_add(self.limit / FRAME_HEADER as u64)
    }

    /// The offset after the last byte below the limit that is not zero; `from` if all are zero. Unreadable bytes count
    /// as zero.
    pub fn last_written(&mut self, from: u64) -> io::Result<u64> {
        let mut last = from;
        let mut at = from;
        let mut chunk = vec![0; CHUNK];
        while at < self.limit {
            let want = CHUNK.min((self.limit - at) as usize);
            let got = self.read(at, &mut chunk[..want])?;
            for range in self.unreadable.overlapping(&(at..at + got as u64)).iter() {
                let (start, end) = (range.start.max(at) - at, range.end.min(at + got as u64) - at);
                chunk[start as usize..end as usize].fill(0);
            }
            if let Some(index) = chunk[..got].iter().rposition(|&byte| byte != 0) {
                last = at + index as u64 + 1;
            }
            if got < want {
                break;
            }
            at += got as u64;
        }
        Ok(last)
    }

    fn buffered(&self, offset: u64) -> &[u8] {
        let from = offset.checked_sub(self.buffer_at).map_or(self.buffer.len(), |n| n as usize);
        &self.buffer[from.min(self.buffer.len())..]
    }

    fn fill_buffer(&mut self, offset: u64, needed: usize) -> io::Result<()> {
        let room = self.limit.saturating_sub(offset) as usize;
        let needed = needed.min(room);
        if offset >= self.buffer_at && self.buffered(offset).len() >= needed {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(needed.max(CHUNK.min(room)), 0);
        let got = self.read(offset, &mut buffer)?;
        buffer.truncate(got);
        (self.buffer, self.buffer_at) = (buffer, offset);
        Ok(())
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let salvage::SalvagedRead { len, unreadable } = salvage::read(&*self.file, buf, at)?;
        self.unreadable.replace(&(at..at + len as u64), &unreadable);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fs::{Fs, OpenMode};
    use super::super::memory_fs::MemoryFs;
    use super::*;

    /// Found by fuzzing: after the end of a truncated file, every eight bytes up to its recorded length cost a read. A
    /// segment of 64 MiB took minutes; one whose footer recorded a huge length never finished.
    #[test]
    fn resync_stops_at_the_end_of_the_file() {
        let fs = MemoryFs::default();
        fs.put(Path::new("/cut"), &[1; 4096]);
        let file = fs.open(Path::new("/cut"), OpenMode::Read).unwrap();
        let mut scanner = Scanner::new(file, ChecksumSeed::new(&[1; 16]), 1 << 60);
        assert_eq!(scanner.resync(0, 0..=u64::MAX).unwrap(), None);
    }
}
