//! Reading a segment while its writer appends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::checkpoint::DurablePosition;
use super::super::encryption::PayloadAccess;
use super::super::fs::File;
use super::super::segment_header::SegmentHeader;
use super::super::{NewRecord, Options, open, tail_recovery};
use super::sim_fs::SimFs;
use super::support::*;
use crate::units::Timestamp;

/// A file that its writer changes after the first read.
struct ChangingFile {
    before: Vec<u8>,
    after: Vec<u8>,
    read: AtomicBool,
}

impl File for ChangingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let now = if self.read.swap(true, Ordering::Relaxed) { &self.after } else { &self.before };
        let from = &now[(offset as usize).min(now.len())..];
        let len = buf.len().min(from.len());
        buf[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("an inspection writes nothing")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("an inspection writes nothing")
    }

    fn sync_all(&self) -> io::Result<()> {
        unreachable!("an inspection writes nothing")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("an inspection writes nothing")
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.after.len() as u64)
    }
}

#[test]
fn a_read_during_a_write_is_not_damage() {
    let fs = SimFs::new();
    let options = Options { segment_size: 2 << 20, ..options(&Events::default()) };
    let mut opened = open(Arc::new(fs.clone()), &dir(), &options, Timestamp(1)).unwrap();
    let mut commit = |payload: Vec<u8>| {
        opened
            .writer
            .append(&[NewRecord { lane: 0, label: "test", payload: &payload }], Timestamp(2))
            .unwrap();
        opened.writer.commit().unwrap();
        fs.read(&last_segment(&fs))
    };
    let before = commit(payload(1));
    // Larger than the read-ahead. Frames after it are read later, and record it as flushed.
    commit(vec![7; 300 << 10]);
    let after = commit(payload(3));
    let header = SegmentHeader::decode(&after[..4096]).unwrap();
    let file = Arc::new(ChangingFile { before, after, read: AtomicBool::new(false) });
    let tail = tail_recovery::examine(
        file,
        &header,
        &PayloadAccess::Plain,
        DurablePosition::default(),
        &|_| None,
        |_| None,
    )
    .unwrap();
    assert_eq!(tail.lost_ranges, []);
    assert_eq!(tail.next(), opened.writer.next_lsn());
}
