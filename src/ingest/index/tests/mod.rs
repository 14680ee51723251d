//! Tests of the index on an in-memory log: size, reads, and disk faults.

mod faulty_fs;

use std::path::Path;

use super::*;
use crate::command::{CommandId, KeyedDigest, RequestDigest};
use crate::metrics::Registry;
use crate::units::Timestamp;
use crate::wal;
use crate::wal::fs::{Fs, OpenMode};
use crate::wal::{Confirmation, Retention, Writer};
use faulty_fs::FaultyFs;

const LOG: &str = "/log";
const SEGMENT: u64 = 1 << 20;

/// A log with its index, and the number of keys used so far.
struct IndexFixture {
    disk: FaultyFs,
    writer: Writer,
    index: IndexState,
    keys: u64,
}

impl IndexFixture {
    fn open(disk: &FaultyFs) -> Self {
        let options = wal::Options {
            segment_size: SEGMENT,
            reserve_space: 0,
            redeliver: false,
            keys: wal::Keys::default(),
            label: |_| None,
            observer: Arc::new(|_| {}),
        };
        let opened = wal::open(Arc::new(disk.clone()), Path::new(LOG), &options, Timestamp(1)).unwrap();
        let index = IndexState::open(
            Arc::clone(&opened.log),
            Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap()),
        );
        let keys = opened.log.end().0 - 1;
        Self { disk: disk.clone(), writer: opened.writer, index, keys }
    }

    /// Commits this many requests with keys, in groups.
    fn commit(&mut self, count: u64) {
        for group in (self.keys..self.keys + count).collect::<Vec<_>>().chunks(512) {
            let entries: Vec<_> = group.iter().map(|n| (scope(*n), Lsn(n + 1))).collect();
            // Each group is much smaller than a segment.
            if self.index.log.wait_for_preallocation_request(Duration::ZERO) {
                assert!(self.index.log.preallocate_segment(SEGMENT, 0));
            }
            for n in group {
                let payload = record(scope(*n), *n);
                let entry = wal::NewRecord { lane: 0, label: "test", payload: &payload };
                self.writer.append(&[entry], Timestamp(1)).unwrap();
            }
            self.writer.commit().unwrap();
            self.index.add(&entries, self.index.log.end());
        }
        self.keys += count;
    }

    fn turn(&self) {
        self.index.run_once(&|| false).unwrap();
    }

    /// Flushes the map in memory, as a stop does.
    fn flush(&self) {
        self.index.flush_recent(|run| run.from < run.to).unwrap();
    }

    fn find(&self, n: u64) -> Result<IndexLookup, IndexError> {
        self.index.find(&scope(n), Lsn(0))
    }

    /// Asserts that every key leads to its record, and no unused key to any. Of many keys, a sample is checked.
    fn assert_complete(&self) {
        let known = |n: &u64| matches!(self.find(*n), Ok(IndexLookup::Found(first)) if first.0 == n + 1);
        assert_eq!((0..self.keys).step_by(self.step()).find(|n| !known(n)), None);
        let mut unknown = self.keys..self.keys + 1000;
        assert!(unknown.all(|n| matches!(self.find(n), Ok(IndexLookup::Unused { .. }))));
    }

    fn step(&self) -> usize {
        (self.keys / 5_000).max(1) as usize
    }

    fn rebuilds(&self, cause: &str) -> u64 {
        self.index.metrics.index_rebuilds.with_label_values(&[cause]).get()
    }

    fn parts(&self) -> usize {
        self.index.write().parts.len()
    }

    /// Marks all records below `end` as delivered and expires them.
    fn expire_below(&self, end: u64) {
        let log = &self.index.log;
        let done: Vec<_> = (log.oldest_retained().0..end)
            .map(|lsn| Confirmation { lsn: Lsn(lsn), partition: 0, offset: 0, bytes: 0, at: Timestamp(1) })
            .collect();
        log.confirm(&done);
        log.run_maintenance(Retention { age: Duration::ZERO, size: 0 }, Timestamp(2)).unwrap();
    }
}

fn scope(n: u64) -> ScopeDigest {
    KeyedDigest::new(&[1; 32]).of(&[&n.to_le_bytes()])
}

fn record(scope: ScopeDigest, n: u64) -> Vec<u8> {
    let mut id = [0; 25];
    id[..8].copy_from_slice(&n.to_le_bytes());
    let mut envelope = Envelope::new(CommandId::from_bytes(id), "test", "test", "application/json", b"{}");
    envelope.idempotency = Some(RequestDigest { scope, body: [0; 16], count: 1 });
    let mut bytes = Vec::new();
    envelope.encode(&mut bytes);
    bytes
}

#[test]
fn a_retained_key_takes_under_64_bytes_until_it_expires() {
    const KEYS: u64 = 100_000;
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    for _ in 0..20 {
        fixture.commit(KEYS / 20);
        fixture.turn();
    }
    fixture.flush();
    fixture.turn();
    fixture.assert_complete();
    let kept = |fixture: &IndexFixture| fixture.index.log.end().0 - fixture.index.log.oldest_retained().0;
    assert_eq!(kept(&fixture), KEYS);
    assert!(fixture.disk.bytes() <= 64 * KEYS, "{} bytes", fixture.disk.bytes());
    for end in [KEYS / 4, KEYS / 2, KEYS * 3 / 4, KEYS * 9 / 10] {
        fixture.expire_below(end);
        fixture.turn();
        assert!(kept(&fixture) < KEYS + 10_000 - end, "segments have expired");
        assert!(
            fixture.disk.bytes() <= 64 * kept(&fixture),
            "{} for {}",
            fixture.disk.bytes(),
            kept(&fixture)
        );
    }
    let oldest = fixture.index.log.oldest_retained().0;
    assert!(matches!(fixture.find(oldest - 2), Ok(IndexLookup::Unused { .. })));
    assert!(
        (oldest - 1..KEYS)
            .step_by(fixture.step())
            .all(|n| fixture.find(n).unwrap() == IndexLookup::Found(Lsn(n + 1)))
    );
}

#[test]
fn a_start_reads_only_the_headers_of_the_parts() {
    let disk = FaultyFs::default();
    let mut fixture = IndexFixture::open(&disk);
    fixture.turn();
    for _ in 0..3 {
        fixture.commit(20_000);
        fixture.flush();
    }
    let parts = fixture.parts() as u64;
    assert!(parts >= 3);
    drop(fixture);
    let (fixture, reads, bytes) = disk.reads(|| IndexFixture::open(&disk));
    assert_eq!((reads, bytes), (parts, parts * 4096));
    fixture.assert_complete();
}

#[test]
fn a_lookup_in_thousands_of_parts_reads_few_blocks() {
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    for _ in 0..1000 {
        fixture.commit(3);
        fixture.flush();
        fixture.turn();
    }
    assert!(fixture.parts() <= 24, "{} parts", fixture.parts());
    fixture.assert_complete();
    let unknown = fixture.keys..fixture.keys + 1000;
    let (_, reads, _) = fixture.disk.clone().reads(|| unknown.filter(|n| fixture.find(*n).is_ok()).count());
    assert!(reads < 1000, "{reads} reads for 1000 unknown keys");
    let (_, reads, _) = fixture.disk.clone().reads(|| (0..1000).filter(|n| fixture.find(*n).is_ok()).count());
    assert!(reads < 4000, "{reads} reads for 1000 known keys");
}

#[test]
fn a_lookup_without_a_filter_needs_few_reads() {
    let disk = FaultyFs::default();
    let mut fixture = IndexFixture::open(&disk);
    fixture.turn();
    fixture.commit(60_000);
    fixture.flush();
    drop(fixture);
    let mut fixture = IndexFixture::open(&disk);
    fixture.index.budget = Arc::new(FilterBudget::new(0));
    let header = disk.files();
    let part = IndexPart::open(&disk, &header[0], &fixture.index.budget).unwrap();
    fixture.index.write().parts = vec![Arc::new(part)];
    let (_, reads, _) = disk.reads(|| fixture.assert_complete());
    assert!(reads < 6_000 * 4, "{reads} reads");
}

#[test]
fn an_unreadable_part_is_rebuilt_while_the_daemon_runs() {
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    fixture.commit(5_000);
    fixture.flush();
    fixture.commit(10);
    fixture.disk.fail_reads(true);
    assert!(fixture.find(1).is_err(), "the key may have been used");
    assert!(fixture.index.read().is_err(), "no key can be looked up");
    // The disk is readable again; the unreadable part is rebuilt regardless of its content.
    fixture.disk.fail_reads(false);
    fixture.turn();
    fixture.assert_complete();
    assert_eq!(fixture.rebuilds("unreadable"), 1);
}

#[test]
fn damaged_bytes_in_a_part_are_rebuilt_from_the_log() {
    let disk = FaultyFs::default();
    let mut fixture = IndexFixture::open(&disk);
    fixture.turn();
    fixture.commit(5_000);
    fixture.flush();
    drop(fixture);
    let path = disk.files().remove(0);
    let size = disk.memory.open(&path, OpenMode::Read).unwrap().size().unwrap();
    for offset in [0, 90, 4096, 4096 * 2 + 17, size - 1] {
        let file = disk.memory.open(&path, OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        let fixture = IndexFixture::open(&disk);
        for n in 0..5_000 {
            if fixture.find(n).is_err() {
                fixture.turn();
            }
        }
        fixture.assert_complete();
        assert_eq!(fixture.rebuilds("unreadable"), 1, "at {offset}");
        fixture.flush();
        fixture.turn();
        assert_eq!(disk.files(), std::slice::from_ref(&path), "at {offset}");
    }
}

#[test]
fn a_failed_write_loses_nothing_and_is_retried() {
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    fixture.disk.fail_writes(true);
    fixture.commit(40_000);
    assert!(fixture.index.run_once(&|| false).is_err());
    fixture.commit(40_000);
    assert!(fixture.index.run_once(&|| false).is_err());
    fixture.assert_complete();
    fixture.disk.fail_writes(false);
    fixture.turn();
    fixture.turn();
    fixture.assert_complete();
    assert_eq!((fixture.parts(), fixture.index.write().memory_start()), (2, Lsn(80_001)));
}

#[test]
fn the_index_memory_is_bounded_while_the_disk_fails() {
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    fixture.index.max_recent = 2_000;
    fixture.disk.fail_writes(true);
    fixture.commit(10_000);
    assert!(fixture.find(1).is_err());
    assert!(fixture.index.run_once(&|| false).is_err());
    fixture.commit(10_000);
    assert!(fixture.index.write().recent.keys.len() <= 2_000);
    assert_eq!(fixture.index.metrics.index_keys_hit.get(), fixture.rebuilds("memory_full"));
    fixture.disk.fail_writes(false);
    fixture.turn();
    fixture.assert_complete();
}

#[test]
fn only_parts_ahead_of_the_log_are_dropped() {
    let disk = FaultyFs::default();
    let mut fixture = IndexFixture::open(&disk);
    fixture.turn();
    fixture.commit(1_000);
    fixture.flush();
    let older = disk.copy();
    fixture.commit(1_000);
    fixture.flush();
    drop(fixture);
    for path in disk.files() {
        older.memory.put(&path, &disk.content(&path));
    }
    let mut fixture = IndexFixture::open(&older);
    assert_eq!((fixture.parts(), fixture.rebuilds("ahead_of_log"), older.files().len()), (1, 1, 1));
    fixture.assert_complete();
    fixture.commit(1_000);
    fixture.assert_complete();
}

#[test]
fn a_hit_that_contradicts_the_log_rebuilds_the_index() {
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    fixture.commit(1_000);
    // As if the index belonged to another log.
    fixture.index.add(&[(scope(u64::MAX), Lsn(7))], fixture.index.log.end());
    fixture.index.distrust(&scope(u64::MAX), Lsn(6));
    assert!(fixture.find(1).is_ok(), "another request has already reported it");
    fixture.index.distrust(&scope(u64::MAX), Lsn(7));
    assert!(fixture.find(1).is_err());
    fixture.turn();
    fixture.assert_complete();
    assert_eq!(fixture.find(u64::MAX).unwrap(), IndexLookup::Unused { since: Lsn(1_001) });
    assert_eq!(fixture.rebuilds("mismatch"), 1);
}

#[test]
fn a_crash_during_a_merge_loses_nothing() {
    let disk = FaultyFs::default();
    let mut fixture = IndexFixture::open(&disk);
    fixture.turn();
    for _ in 0..3 {
        fixture.commit(100);
        fixture.flush();
    }
    let before: Vec<_> = disk.files();
    let contents: Vec<_> = before.iter().map(|path| disk.content(path)).collect();
    fixture.commit(100);
    fixture.flush();
    fixture.turn();
    assert_eq!(fixture.parts(), 1);
    drop(fixture);
    // The inputs of the merge still exist, and a half-written file.
    before.iter().zip(&contents).for_each(|(path, bytes)| disk.memory.put(path, bytes));
    disk.memory.put(&Path::new(LOG).join(DIR).join("x.tmp"), b"half");
    let fixture = IndexFixture::open(&disk);
    assert_eq!((fixture.parts(), disk.files().len()), (1, 1));
    fixture.assert_complete();
}

#[test]
fn a_key_reused_after_expiry_leads_to_the_new_record() {
    let mut fixture = IndexFixture::open(&FaultyFs::default());
    fixture.turn();
    fixture.commit(30_000);
    fixture.flush();
    fixture.expire_below(20_000);
    let (end, again) = (fixture.index.log.end(), scope(5));
    assert!(matches!(fixture.find(5), Ok(IndexLookup::Unused { .. })));
    let payload = record(again, 5);
    fixture
        .writer
        .append(&[wal::NewRecord { lane: 0, label: "test", payload: &payload }], Timestamp(1))
        .unwrap();
    fixture.writer.commit().unwrap();
    fixture.index.add(&[(again, end)], fixture.index.log.end());
    assert_eq!(fixture.find(5).unwrap(), IndexLookup::Found(end));
    fixture.flush();
    fixture.turn();
    assert_eq!(fixture.find(5).unwrap(), IndexLookup::Found(end));
}
