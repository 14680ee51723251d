//! Fuzz target for small files: checkpoint, header, delivery index, dead letters.

use std::path::Path;
use std::sync::Arc;

use super::super::checkpoint::Checkpoint;
use super::super::dead_letters::{DamagedRange, DeadLetterStore, Removal};
use super::super::encryption::Keys;
use super::super::frame::ChecksumSeed;
use super::super::fs::Fs;
use super::super::memory_fs::MemoryFs;
use super::super::segment::SegmentLocation;
use super::super::segment_header::{HEADER_LEN, SegmentHeader, parse_segment_name, segment_name};
use super::super::types::DeadLetter;
use super::super::{dead_letters, delivery_index, frame, segment_header};
use super::FORGED;
use crate::units::{Lsn, Timestamp};

/// The upper half of the first byte selects the file.
const FILES: [fn(&[u8], bool); 5] = [checkpoint, header, slot, letters, name];

/// Decodes arbitrary bytes as one of the files. Accepted input encodes to the same bytes, and no operation panics.
pub fn files(data: &[u8]) {
    let Some((&flags, rest)) = data.split_first() else { return };
    FILES[usize::from(flags >> 4) % FILES.len()](rest, flags & FORGED != 0);
}

fn checkpoint(data: &[u8], forged: bool) {
    let mut bytes = data.to_vec();
    if forged {
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
    }
    let Some(read) = Checkpoint::decode(&bytes) else { return };
    assert_eq!(read.encode(), bytes);
    for (first, acks) in &read.segments {
        for lsn in [*first, Lsn(first.0 + acks.count / 2), Lsn(first.0 + acks.count)] {
            read.was_done(lsn);
            Checkpoint::current_acks(
                Some(&read),
                *first,
                SegmentLocation::Pending,
                lsn.0 - first.0,
                acks.bytes,
            );
        }
        let range = *first..Lsn(first.0 + acks.count.min(100_000));
        if let Some((from, to)) = read.undone_bounds(range.clone()) {
            assert!(range.contains(&from) && range.contains(&to));
            assert!(!read.was_done(from) && !read.was_done(to));
        }
    }
}

fn header(data: &[u8], forged: bool) {
    let mut block = data.to_vec();
    if forged {
        let end = HEADER_LEN as usize - 4;
        block.resize(end, 0);
        block.extend_from_slice(&[0; 4]);
        let crc = segment_header::checksum(&block, block[12..16] != [0; 4]);
        block[end..].copy_from_slice(&crc.to_le_bytes());
    }
    let Ok(read) = SegmentHeader::decode(&block) else { return };
    if !read.encrypted {
        assert_eq!(SegmentHeader::decode(&read.encode()), Ok(read));
    }
}

fn slot(data: &[u8], forged: bool) {
    let Some((slot, _)) = data.split_first_chunk::<20>() else { return };
    let lsn = Lsn(data.len() as u64);
    let mut bytes = [0; 24];
    bytes[..20].copy_from_slice(slot);
    if forged {
        let crc = delivery_index::checksum(lsn, &bytes);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
    }
    let read = delivery_index::decode(lsn, &bytes);
    assert!(!forged || read.is_some());
    if let Some(position) = read {
        assert_eq!(delivery_index::encode(&position), bytes);
    }
}

/// A dead-letter store with arbitrary bytes opens or is refused. Once opened, it accepts a dead letter and still has it
/// after the next start. All earlier dead letters are unchanged then.
fn letters(data: &[u8], forged: bool) {
    let dir = Path::new("/log");
    let path = dir.join(dead_letters::DIR).join("letters");
    let salt = [7; 16];
    let mut bytes = b"forebayd\x01\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&salt);
    let mut at = bytes.len();
    bytes.extend_from_slice(data);
    while forged && at < bytes.len() {
        match frame::fix_checksum(&mut bytes[at..], &ChecksumSeed::new(&salt), at as u64) {
            Some(len) => at += len,
            None => break,
        }
    }
    let fs = MemoryFs::default();
    fs.put(&path, &bytes);
    let disk: Arc<dyn Fs> = Arc::new(fs);
    let Ok((store, _)) = DeadLetterStore::open(Arc::clone(&disk), dir, &Keys::default()) else { return };
    let before: Vec<_> = store.lsns().into_iter().map(|lsn| (lsn, store.get(lsn).ok().flatten())).collect();
    let lsn = Lsn(u64::MAX);
    let letter = DeadLetter {
        lsn,
        accepted_at: Timestamp(1),
        died_at: Timestamp(2),
        reason: "refused".to_owned(),
        attempts: 1,
        payload: data.to_vec(),
    };
    store.add(std::slice::from_ref(&letter)).expect("a write to memory succeeds");
    let damage = DamagedRange {
        lsn_from: lsn.0 - 1,
        lsn_to: lsn.0 - 1,
        segment: segment_name(lsn),
        reason: "lost".to_owned(),
        found_at: Timestamp(3),
    };
    store.add_damage(damage).expect("a write to memory succeeds");
    assert!(store.remove(Lsn(lsn.0 - 1), Removal::Requeued(Lsn(1))).expect("a write to memory succeeds"));
    drop(store);
    let (again, read_error) = DeadLetterStore::open(disk, dir, &Keys::default()).expect("it opened before");
    assert_eq!(
        again.get(lsn).expect("a read from memory succeeds"),
        Some(dead_letters::DeadEntry::Letter(letter))
    );
    assert_eq!(again.removal(Lsn(lsn.0 - 1)), Some(Removal::Requeued(Lsn(1))));
    for (lsn, entry) in before.into_iter().filter(|(before, _)| before.0 < lsn.0 - 1) {
        assert_eq!(again.get(lsn).ok().flatten(), entry, "{read_error:?}");
    }
}

fn name(data: &[u8], _: bool) {
    let name = String::from_utf8_lossy(data);
    if let Some(first) = parse_segment_name(&name) {
        assert_eq!(segment_name(first), name);
    }
}
