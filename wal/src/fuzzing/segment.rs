//! Fuzz target for a whole damaged log: two sealed segments, an open one and a checkpoint. The input defines edits of
//! these files. The edited log is then inspected, and opened as at a start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use super::super::ack_tracker::SegmentAcks;
use super::super::checkpoint::{Checkpoint, DurablePosition};
use super::super::dead_letters::DeadEntry;
use super::super::encryption::Keys;
use super::super::footer::Footer;
use super::super::frame::{ChecksumSeed, FrameMeta};
use super::super::inspect::LogDirectory;
use super::super::log::Log;
use super::super::memory_fs::MemoryFs;
use super::super::open_error::OpenError;
use super::super::options::Options;
use super::super::recovery::{OpenedLog, open};
use super::super::segment::{SegmentLocation, segment_path};
use super::super::segment_header::{HEADER_LEN, SegmentHeader, SegmentSeal};
use super::super::types::Identity;
use super::super::{checkpoint, frame};
use super::FORGED;
use crate::units::{Lsn, Timestamp};

/// Bit of the first byte: the log has no checkpoint.
const NO_CHECKPOINT: u8 = 2;
/// Records in each of the segments.
const RECORDS: u64 = 12;
/// Preallocated size in bytes of the open segment.
const CAPACITY: u64 = 8192;
const FIRSTS: [u64; 3] = [1, 1 + RECORDS, 1 + 2 * RECORDS];
/// Bytes of one edit: kind (1), file (1), offset (2), value (1).
const EDIT_LEN: usize = 5;

/// The log before it is damaged.
static INTACT_LOG: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(build_log);

/// Inspects, opens, reads and reopens the edited log. Every record that is read is unchanged. A record that is not read
/// is listed as damaged, or no record follows it.
pub fn segment(data: &[u8]) {
    let Some((&flags, edits)) = data.split_first() else { return };
    let mut files = INTACT_LOG.clone();
    if flags & NO_CHECKPOINT != 0 {
        files.remove(&dir().join(checkpoint::FILE));
    }
    for edit in edits.chunks_exact(EDIT_LEN).take(64) {
        apply(&mut files, edit);
    }
    let forged = flags & FORGED != 0;
    if forged {
        files.values_mut().for_each(|bytes| forge(bytes));
    }
    let fs = MemoryFs::default();
    files.iter().for_each(|(path, bytes)| fs.put(path, bytes));
    check_inspection(&fs);
    let Ok(opened) = start(&fs) else { return };
    let first = outcome(&opened);
    let end = opened.recovery.next;
    drop(opened);
    if !forged {
        check_outcome(&files, &first, end);
    }
    // A second start has the same result, whatever the first one changed.
    let again = start(&fs).unwrap_or_else(|error| panic!("a log that was opened can be opened: {error}"));
    assert_eq!(again.recovery.next, end);
    assert_eq!(outcome(&again), first);
}

/// The state of the records: those that can be read, and the ranges listed as damaged.
#[derive(Debug, PartialEq, Eq)]
struct RecordOutcomes {
    read: BTreeMap<Lsn, Vec<u8>>,
    damaged: Vec<(Lsn, Lsn)>,
}

fn dir() -> &'static Path {
    Path::new("/nowhere/log")
}

fn payload(lsn: u64) -> Vec<u8> {
    vec![lsn as u8; 5 + (lsn as usize * 7) % 40]
}

fn start(fs: &MemoryFs) -> Result<OpenedLog, OpenError> {
    let options = Options {
        segment_size: CAPACITY,
        reserve_space: 0,
        redeliver: false,
        keys: Keys::default(),
        label: |_| Some("test".to_owned()),
        observer: Arc::new(|_| {}),
    };
    open(Arc::new(fs.clone()), dir(), &options, Timestamp(9))
}

fn outcome(opened: &OpenedLog) -> RecordOutcomes {
    let log: &Arc<Log> = &opened.log;
    let mut cursor = log.cursor(Lsn(0));
    let mut read = BTreeMap::new();
    while let Some(frame) = cursor.next_retained().expect("a read from memory succeeds") {
        read.insert(frame.lsn, frame.payload.to_vec());
    }
    let dead =
        log.dead_letters().lsns().into_iter().filter_map(|lsn| log.dead_letters().get(lsn).ok().flatten());
    let damaged = dead.filter_map(|dead| match dead {
        DeadEntry::Damage(damage) => Some((Lsn(damage.lsn_from), Lsn(damage.lsn_to))),
        DeadEntry::Letter(_) | DeadEntry::Sealed(_) => None,
    });
    RecordOutcomes { damaged: damaged.collect(), read }
}

/// Checks that no record is invented, and that no record follows one that is missing and not listed.
fn check_outcome(files: &BTreeMap<PathBuf, Vec<u8>>, outcome: &RecordOutcomes, end: Lsn) {
    for (lsn, found) in &outcome.read {
        assert_eq!(*found, payload(lsn.0), "record {lsn} was altered");
    }
    // Delivered records need not be listed: damage to them affects a replay only.
    let acked =
        FIRSTS.map(|first| files.contains_key(&segment_path(dir(), SegmentLocation::Acked, Lsn(first))));
    let delivered = |lsn: Lsn| acked[((lsn.0 - 1) / RECORDS) as usize];
    let damaged = |lsn: Lsn| outcome.damaged.iter().any(|(from, to)| (*from..=*to).contains(&lsn));
    let expected = |lsn: Lsn| damaged(lsn) || delivered(lsn);
    // Without a checkpoint, records before the oldest segment may have been delivered and expired.
    let checkpoint = files.get(&dir().join(checkpoint::FILE)).and_then(|bytes| Checkpoint::decode(bytes));
    let oldest = outcome.read.keys().next().copied().unwrap_or(end);
    let from = if checkpoint.is_some() { Lsn(1) } else { oldest };
    let all = (from.0..FIRSTS[2] + RECORDS).map(Lsn);
    let Some(lost) = all.into_iter().find(|lsn| !outcome.read.contains_key(lsn) && !expected(*lsn)) else {
        return;
    };
    assert!(lost >= end, "record {lost} is missing and not listed");
    assert!(outcome.read.keys().all(|lsn| *lsn < lost));
    if let Some(checkpoint) = checkpoint {
        assert!(lost >= checkpoint.durable.next, "record {lost} was durable");
    }
}

/// An inspection changes nothing, and no query of it panics.
fn check_inspection(fs: &MemoryFs) {
    let directory = LogDirectory::with_fs(Arc::new(fs.clone()), dir(), Keys::default());
    let Ok(view) = directory.snapshot(|_| Some("test".to_owned())) else { return };
    let _ = view.verify(&mut |_| None, &mut |_| {});
    let _ = view.backlog();
    let read = view.records(Lsn(0)..Lsn(u64::MAX)).take(1000).filter(Result::is_ok).count();
    assert!(read as u64 <= 3 * (CAPACITY / frame::FRAME_HEADER as u64));
    let _ = view.record(Lsn(FIRSTS[1] + 3));
}

fn apply(files: &mut BTreeMap<PathBuf, Vec<u8>>, edit: &[u8]) {
    let [what, which, high, low, with] = *edit else { return };
    let Some(path) = files.keys().nth(usize::from(which) % files.len().max(1)).cloned() else { return };
    let Some(bytes) = files.get_mut(&path) else { return };
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len().max(1);
    match what % 8 {
        0 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte = with),
        1 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= with.max(1)),
        2 => bytes[at..].iter_mut().take(8 * usize::from(with)).for_each(|byte| *byte = 0),
        3 => bytes.truncate(at),
        4 => {
            let from = bytes[at..].iter().copied().take(64).collect::<Vec<_>>();
            let to = (usize::from(with) * 64).min(bytes.len().saturating_sub(from.len()));
            bytes[to..to + from.len()].copy_from_slice(&from);
        }
        5 => drop(files.remove(&path)),
        6 => {
            if let (Some(name), Some(bytes)) = (path.file_name(), files.get(&path)) {
                let moved = dir().join(SegmentLocation::Acked.dir()).join(name);
                let bytes = bytes.clone();
                files.remove(&path);
                files.insert(moved, bytes);
            }
        }
        _ => bytes.resize((bytes.len() + 8 * usize::from(with)).min(2 * CAPACITY as usize), with),
    }
}

/// Corrects the checksums of a segment, as far as it has frames.
fn forge(bytes: &mut [u8]) {
    let header = HEADER_LEN as usize;
    if bytes.len() < header {
        return;
    }
    let crc = crc32fast::hash(&bytes[..header - 4]);
    bytes[header - 4..header].copy_from_slice(&crc.to_le_bytes());
    let Some(salt) = bytes[80..].first_chunk() else { return };
    let seed = ChecksumSeed::new(salt);
    let mut at = header;
    while let Some(len) = frame::fix_checksum(&mut bytes[at.min(header.max(at))..], &seed, at as u64) {
        at += len;
        if at >= bytes.len() || bytes[at..].iter().take(frame::FRAME_HEADER).all(|byte| *byte == 0) {
            break;
        }
    }
}

fn build_log() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut predecessor = SegmentSeal::default();
    let mut durable = DurablePosition::default();
    for (index, first) in FIRSTS.into_iter().enumerate() {
        let header = SegmentHeader {
            identity: Identity { log_id: [1; 16], secret: [2; 32], incarnation: [3; 16] },
            first: Lsn(first),
            salt: [4 + index as u8; 16],
            created: Timestamp(5),
            predecessor,
            capacity: CAPACITY,
            encrypted: false,
        };
        let seed = ChecksumSeed::new(&header.salt);
        let mut bytes = header.encode();
        let mut footer = Footer { next: Lsn(first), length: HEADER_LEN, ..Footer::default() };
        let mut flushed = HEADER_LEN;
        for lsn in first..first + RECORDS {
            let offset = bytes.len() as u64;
            // Batches of one, two and three records; a flush after each third of the records.
            let ends_batch = lsn % 6 != 1 && lsn % 6 != 3 && lsn % 6 != 4;
            let meta = FrameMeta {
                kind: frame::RECORD,
                lsn: Lsn(lsn),
                at: Timestamp(6),
                lane: lsn as u8,
                ends_batch,
                flushed: flushed as u32,
            };
            let crc = frame::encode(&mut bytes, &seed, offset, meta, &payload(lsn));
            footer.add("test", Timestamp(6), offset, crc);
            if (lsn - first + 1).is_multiple_of(RECORDS / 3) && ends_batch {
                flushed = bytes.len() as u64;
                durable = DurablePosition { segment: Lsn(first), length: flushed, next: Lsn(lsn + 1) };
            }
        }
        footer.length = bytes.len() as u64;
        predecessor =
            SegmentSeal { first: Lsn(first), next: footer.next, length: footer.length, chain: footer.chain };
        match index < 2 {
            true => bytes.extend(footer.encode(&seed, footer.length as u32)),
            false => bytes.resize(CAPACITY as usize, 0),
        }
        files.insert(segment_path(dir(), SegmentLocation::Pending, Lsn(first)), bytes);
    }
    let acks =
        SegmentAcks { count: RECORDS, bytes: predecessor.length - HEADER_LEN, ..SegmentAcks::default() };
    let checkpoint = Checkpoint {
        log_id: [1; 16],
        written_at: Timestamp(7),
        watermark: Lsn(1),
        durable,
        transactions: Default::default(),
        segments: vec![(Lsn(FIRSTS[0]), SegmentAcks { sealed: true, ..acks })],
    };
    files.insert(dir().join(checkpoint::FILE), checkpoint.encode());
    files
}
