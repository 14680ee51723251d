//! The shared state of an open log: segments, and which records are flushed and done.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::ack_tracker::AckTracker;
use super::checkpoint::Checkpoint;
use super::dead_letters::DeadLetterStore;
use super::delivery_index::DeliveryIndex;
use super::durable_end::DurableEnd;
use super::encryption::Keys;
use super::event::{Event, Observer};
use super::fs::{Dir, Fs};
use super::preallocated_segment::PreallocatedSegment;
use super::recent_blocks::{RecentBlock, RecentBlocks};
use super::segment::{Segment, Segments};
use super::transactions::Transactions;
use super::types::{BacklogStats, Identity};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, OnceLock};
use crate::units::{Lsn, Timestamp};

/// An open log. Shared by readers, the drain and status queries. Only the `Writer` appends to it.
///
/// It knows the state of each record:
///
/// ```
/// # use std::sync::Arc;
/// # use forebay_wal::{Keys, Lsn, NewRecord, Options, open_locked, units::Timestamp};
/// # let home = tempfile::tempdir()?;
/// # let (keys, label, observer) = (Keys::default(), |_: &[u8]| None, Arc::new(|_: &_| {}));
/// # let options = Options { segment_size: 1 << 20, reserve_space: 0, redeliver: false, keys, label, observer };
/// # let now = Timestamp::now();
/// # let (_lock, opened) = open_locked(&home.path().join("wal"), &options, now)?;
/// # let (mut writer, log) = (opened.writer, opened.log);
/// use forebay_wal::{DeadLetter, RecordState};
///
/// let lsn = writer.append(&[NewRecord { lane: 0, label: "note", payload: b"too large" }], now)?.start;
/// assert_eq!(log.record_state(lsn)?, RecordState::Unknown);
/// writer.commit()?;
/// assert_eq!(log.record_state(lsn)?, RecordState::Accepted);
///
/// let (reason, payload) = ("the broker rejects it".to_owned(), b"too large".to_vec());
/// let letter = DeadLetter { lsn, accepted_at: now, died_at: now, reason: reason.clone(), attempts: 1, payload };
/// log.store_dead_letters(&[letter])?;
/// assert_eq!(log.record_state(lsn)?, RecordState::Dead { reason, at: now });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    /// `pending/`, opened once, so that a rotation needs no file descriptor.
    pub(super) pending: Arc<dyn Dir>,
    pub(super) identity: Identity,
    pub(super) keys: Keys,
    pub(super) segments: Segments,
    pub(super) recent_blocks: RecentBlocks,
    pub(super) delivery_index: DeliveryIndex,
    pub(super) dead_letters: DeadLetterStore,
    pub(super) preallocated: PreallocatedSegment,
    pub(super) observer: Observer,
    /// The LSN of the first record of this run.
    pub(super) start_lsn: Lsn,
    transactions: Mutex<Transactions>,
    acks: Mutex<AckTracker>,
    /// The last checkpoint saved in this run. The lock covers state and file, so an older checkpoint never replaces a
    /// newer one.
    pub(super) checkpointing: Mutex<Option<Checkpoint>>,
    /// Highest LSN ever marked as done. Records above it need no query of the ack tracker.
    highest_done: AtomicU64,
    pub(super) end: DurableEnd,
    poison: OnceLock<String>,
}

/// The state that recovery passes to the log.
pub(super) struct RecoveredLog {
    pub fs: Arc<dyn Fs>,
    pub dir: PathBuf,
    pub pending: Arc<dyn Dir>,
    pub identity: Identity,
    pub keys: Keys,
    pub segments: Segments,
    pub acks: AckTracker,
    pub end: Lsn,
    pub dead_letters: DeadLetterStore,
    pub observer: Observer,
    pub transactions: Transactions,
}

impl Log {
    pub(super) fn new(parts: RecoveredLog) -> Self {
        let delivery_index = DeliveryIndex::new(Arc::clone(&parts.fs), &parts.dir);
        Self {
            fs: parts.fs,
            dir: parts.dir,
            pending: parts.pending,
            identity: parts.identity,
            keys: parts.keys,
            segments: parts.segments,
            recent_blocks: RecentBlocks::default(),
            delivery_index,
            dead_letters: parts.dead_letters,
            preallocated: PreallocatedSegment::default(),
            observer: parts.observer,
            start_lsn: parts.end,
            transactions: Mutex::new(parts.transactions),
            acks: Mutex::new(parts.acks),
            checkpointing: Mutex::default(),
            // Records that were done in earlier runs are below the current end.
            highest_done: AtomicU64::new(parts.end.0),
            end: DurableEnd::new(parts.end),
            poison: OnceLock::new(),
        }
    }

    /// Identity of the log.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Directory of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The LSN of the first record of this run. All records below it were accepted in earlier runs.
    pub fn start_lsn(&self) -> Lsn {
        self.start_lsn
    }

    /// The first LSN that is not flushed yet. All records below it are on stable storage.
    pub fn end(&self) -> Lsn {
        self.end.get()
    }

    /// Blocks until [`Self::end`] is larger than `lsn`, [`Self::wake_readers`] is called, or `timeout` has passed.
    /// Returns whether `end() > lsn`.
    pub fn wait_for(&self, lsn: Lsn, timeout: Duration) -> bool {
        self.end.wait(lsn, timeout, || false)
    }

    /// Like [`Self::wait_for`], but also ends when `interrupted` returns `true`. The thread that changes its result
    /// must call `wake_readers` afterwards. `interrupted` is called under that function's lock, so no such call is
    /// missed.
    pub fn wait_for_or_interrupt(&self, lsn: Lsn, timeout: Duration, interrupted: impl Fn() -> bool) -> bool {
        self.end.wait(lsn, timeout, interrupted)
    }

    /// Wakes the readers if one of them waits for a record that is flushed now. `Writer::commit` leaves this to its
    /// caller, which sends the responses to the clients first.
    pub fn wake_ready_readers(&self) {
        self.end.wake_satisfied();
    }

    /// Ends every `wait_for`.
    pub fn wake_readers(&self) {
        self.end.wake_all();
    }

    /// Whether a reader waits for this record.
    #[cfg(feature = "testing")]
    pub fn is_awaited(&self, lsn: Lsn) -> bool {
        self.end.is_awaited(lsn)
    }

    /// The watermark: all records below it are delivered or dead letters.
    pub fn watermark(&self) -> Lsn {
        self.lock_acks().watermark()
    }

    /// Whether this record is done: delivered, a dead letter, or in no segment any more.
    pub fn is_done(&self, lsn: Lsn) -> bool {
        lsn.0 <= self.highest_done.load(Ordering::Acquire) && self.lock_acks().is_done(lsn)
    }

    /// Whether new records are encrypted.
    pub fn is_encrypting(&self) -> bool {
        self.keys.current().is_some()
    }

    /// Derives a key from the master key, for data outside the log. `purpose` separates the keys. `None` if the log is
    /// not encrypted.
    pub fn derived_key(&self, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.keys.current().map(|master| master.derive(purpose))
    }

    /// The dead-letter store.
    pub fn dead_letters(&self) -> &DeadLetterStore {
        &self.dead_letters
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.all()
    }

    /// Statistics of the backlog.
    pub fn backlog_stats(&self) -> BacklogStats {
        let dead = self.dead_letters.len();
        let tracker = self.lock_acks();
        BacklogStats {
            backlog: tracker.backlog(),
            backlog_bytes: tracker.backlog_bytes(),
            watermark: tracker.watermark(),
            end: self.end(),
            dead,
        }
    }

    /// Undelivered records of earlier runs per label. Only segments without any done record count, because their
    /// footers are enough.
    pub fn untouched_labels(&self) -> BTreeMap<String, u64> {
        let mut segments = self.segments();
        segments.retain(|segment| !segment.labels.is_empty());
        let tracker = self.lock_acks();
        segments.retain(|segment| tracker.segment_acks(segment.first).is_some_and(|acks| acks.done == 0));
        drop(tracker);
        let mut labels: BTreeMap<String, u64> = BTreeMap::new();
        for (label, count) in segments.iter().flat_map(|segment| &segment.labels) {
            *labels.entry(label.clone()).or_default() += count;
        }
        labels
    }

    /// Bytes of the undelivered records.
    pub fn backlog_bytes(&self) -> u64 {
        self.lock_acks().backlog_bytes()
    }

    /// Whether the record is still retained, delivered or not.
    pub fn is_retained(&self, lsn: Lsn) -> bool {
        lsn < self.end() && self.segments.containing(lsn).is_some()
    }

    /// Number of LSNs from `from` up to `to` that are in retained segments.
    pub fn count_retained(&self, from: Lsn, to: Lsn) -> u64 {
        self.segments.count_retained(from, to)
    }

    /// The file system of the log, for other files that can be rebuilt from the log.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Creation time of the segment that contains `lsn`; if none does, of the next segment. It replaces the acceptance
    /// time of a record that cannot be read. In the first case it is not later than that time.
    pub fn segment_created_at(&self, lsn: Lsn) -> Option<Timestamp> {
        let holder = self.segments.containing(lsn).or_else(|| self.segments.first_from(lsn));
        holder.map(|segment| segment.created)
    }

    /// Free bytes on the log's file system.
    pub fn free_space(&self) -> io::Result<u64> {
        self.fs.free_space(&self.dir)
    }

    /// The oldest retained record, delivered or not; [`Self::end`] if there is none.
    pub fn oldest_retained(&self) -> Lsn {
        self.segments.first_from(Lsn(0)).map_or(self.end(), |segment| segment.first)
    }

    /// The reason why the log accepts no more records, if it is poisoned.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Poisons the log: it accepts no more records. Callers use this after a failure outside the writer. Returns the
    /// first cause.
    pub fn poison(&self, cause: String) -> &str {
        let mut first = false;
        let cause = self.poison.get_or_init(|| {
            first = true;
            cause
        });
        if first {
            self.report(Event::Poisoned { cause: cause.clone() });
        }
        cause
    }

    pub(super) fn report(&self, event: Event) {
        (self.observer)(&event);
    }

    pub(super) fn lock_acks(&self) -> MutexGuard<'_, AckTracker> {
        self.acks.lock()
    }

    pub(super) fn lock_transactions(&self) -> MutexGuard<'_, Transactions> {
        self.transactions.lock()
    }

    pub(super) fn mark_done(&self, records: impl Iterator<Item = (Lsn, u64)>) {
        let mut tracker = self.lock_acks();
        for (lsn, bytes) in records {
            // Updated first, so that a thread that sees the effects of the mark also queries the tracker.
            self.highest_done.fetch_max(lsn.0, Ordering::AcqRel);
            tracker.mark_done(lsn, bytes);
        }
    }

    /// Makes a flushed group visible to readers. Does not wake them.
    pub(super) fn publish(
        &self,
        segment: &Segment,
        block: RecentBlock,
        records: u64,
        at: Timestamp,
        index: &[u32],
    ) {
        let bytes = block.bytes.len() as u64;
        self.lock_acks().extend(segment.first, records, bytes);
        self.recent_blocks.push(block);
        let end = segment.update(|state| {
            state.next = state.next.plus(records);
            state.length += bytes;
            state.last_at = at;
            state.index.extend_from_slice(index);
            state.next
        });
        self.end.set(end);
    }
}
