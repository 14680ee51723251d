//! The log as everyone but its writer sees it: what is flushed, what is done, what lies where.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use zeroize::Zeroizing;

use super::checkpoint::Checkpoint;
use super::crypt::Keys;
use super::cursor::Cursor;
use super::dead::Damage;
use super::dead::Dead;
use super::dead::DeadLetters;
use super::dead::Removal;
use super::event::Event;
use super::event::Observer;
use super::fs::Dir;
use super::fs::Fs;
use super::ledger::Ledger;
use super::segment::Segment;
use super::segment::Segments;
use super::sent::Sent;
use super::spare::SpareSlot;
use super::tail::Block;
use super::tail::Tail;
use super::transactions::Transactions;
use super::types::Confirmation;
use super::types::Identity;
use super::types::Letter;
use super::types::Record;
use crate::planted::Fault;
use crate::planted::planted;
use crate::planted::unless;
use crate::sync::Condvar;
use crate::sync::Mutex;
use crate::sync::MutexGuard;
use crate::sync::OnceLock;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering;
use crate::units::Lsn;
use crate::units::Timestamp;

/// One log, opened. Shared by readers, the drain and the status look-up; only the `Writer` adds to it.
pub struct Log {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    /// `pending/`, open for life: a rotation needs no descriptor.
    pub(super) pending: Arc<dyn Dir>,
    pub(super) identity: Identity,
    pub(super) keys: Keys,
    pub(super) segments: Segments,
    pub(super) tail: Tail,
    pub(super) sent: Sent,
    pub(super) dead: DeadLetters,
    pub(super) spare: SpareSlot,
    pub(super) observer: Observer,
    /// The first number of this life.
    pub(super) began: Lsn,
    transactions: Mutex<Transactions>,
    ledger: Mutex<Ledger>,
    /// One checkpoint at a time, marks and file together: an older one must never replace a newer one. The last one that
    /// was saved in this life.
    pub(super) checkpointing: Mutex<Option<Checkpoint>>,
    /// Highest LSN ever marked done: above it nobody need ask the ledger.
    highest_done: AtomicU64,
    end: AtomicU64,
    readers: Mutex<Readers>,
    wake: Condvar,
    poison: OnceLock<String>,
}

/// The readers that wait for new records.
#[derive(Default)]
struct Readers {
    /// The lowest number that one of them waits for; `None` if none waits.
    lowest: Option<Lsn>,
    /// Calls of `Log::wake_readers`.
    interrupts: u64,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Flushed, not yet confirmed.
    Waiting,
    /// Confirmed by the broker.
    Sent(Option<Confirmation>),
    /// In the dead-letter store.
    Dead {
        /// Why.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
    /// A dead letter an operator gave up.
    Dropped,
    /// A dead letter taken up again under another number.
    Requeued(Lsn),
    /// Not flushed yet, or no longer kept.
    Unknown,
}

/// The state of the backlog, exact at the moment of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records accepted and neither confirmed nor dead.
    pub backlog: u64,
    /// Their bytes in the log.
    pub backlog_bytes: u64,
    /// Everything below is confirmed or dead.
    pub watermark: Lsn,
    /// The first number not flushed yet.
    pub end: Lsn,
    /// Dead letters in the store.
    pub dead: u64,
}

/// Why a record could not be read. Damage is not here: a cursor quarantines it, reports it and goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk did not answer. Never the end of the log.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Damage was found and could not be put into quarantine; until it can, nothing behind it is delivered.
    #[error("cannot quarantine damage in {path}: {source}")]
    Quarantine {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What recovery hands over.
pub(super) struct Parts {
    pub fs: Arc<dyn Fs>,
    pub dir: PathBuf,
    pub pending: Arc<dyn Dir>,
    pub identity: Identity,
    pub keys: Keys,
    pub segments: Segments,
    pub ledger: Ledger,
    pub end: Lsn,
    pub dead: DeadLetters,
    pub observer: Observer,
    pub transactions: Transactions,
}

impl Log {
    pub(super) fn new(parts: Parts) -> Self {
        let sent = Sent::new(Arc::clone(&parts.fs), &parts.dir);
        Self {
            fs: parts.fs,
            dir: parts.dir,
            pending: parts.pending,
            identity: parts.identity,
            keys: parts.keys,
            segments: parts.segments,
            tail: Tail::default(),
            sent,
            dead: parts.dead,
            spare: SpareSlot::default(),
            observer: parts.observer,
            began: parts.end,
            transactions: Mutex::new(parts.transactions),
            ledger: Mutex::new(parts.ledger),
            checkpointing: Mutex::default(),
            // What was done in earlier lives lies below the end of then.
            highest_done: AtomicU64::new(parts.end.0),
            end: AtomicU64::new(parts.end.0),
            readers: Mutex::default(),
            wake: Condvar::new(),
            poison: OnceLock::new(),
        }
    }

    /// Who this log is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first number not flushed yet: everything below is on stable storage.
    pub fn end(&self) -> Lsn {
        Lsn(self.end.load(Ordering::Acquire))
    }

    /// Blocks until `end() > lsn`, `wake_readers` is called or `timeout` is over. Returns whether `end() > lsn`.
    pub fn wait_for(&self, lsn: Lsn, timeout: Duration) -> bool {
        self.wait_for_or(lsn, timeout, || false)
    }

    /// As [`Self::wait_for`], and ends when `interrupted` holds. A thread that makes it hold calls `wake_readers`
    /// afterwards; `interrupted` is called under that function's lock, so no such call is missed.
    pub fn wait_for_or(&self, lsn: Lsn, timeout: Duration, interrupted: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut readers = self.readers();
        let before = readers.interrupts;
        while self.end() <= lsn && readers.interrupts == before && !interrupted() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            readers.lowest = Some(readers.lowest.map_or(lsn, |lowest| lowest.min(lsn)));
            readers = self.wake.wait_timeout(readers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.end() > lsn
    }

    /// Wakes the readers if one of them waits for a record that is flushed by now. `Writer::commit` leaves this to
    /// its caller, which has more urgent work directly after the flush: the answers to the clients.
    pub fn wake_satisfied_readers(&self) {
        if planted(Fault::WakeWithoutLock) {
            return self.wake.notify_all();
        }
        let mut readers = self.readers();
        if readers.lowest.is_some_and(|lowest| self.end() > lowest) {
            // Readers that must go on waiting enter their number again.
            readers.lowest = None;
            drop(readers);
            self.wake.notify_all();
        }
    }

    /// Ends every `wait_for` now.
    pub fn wake_readers(&self) {
        let mut readers = self.readers();
        readers.interrupts += 1;
        readers.lowest = None;
        drop(readers);
        self.wake.notify_all();
    }

    /// Whether a reader waits for this record.
    #[cfg(test)]
    pub fn is_awaited(&self, lsn: Lsn) -> bool {
        self.readers().lowest == Some(lsn)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything below is confirmed or dead.
    pub fn watermark(&self) -> Lsn {
        self.ledger().watermark()
    }

    /// Whether this record is confirmed, dead or otherwise over.
    pub fn is_done(&self, lsn: Lsn) -> bool {
        lsn.0 <= self.highest_done.load(Ordering::Acquire) && self.ledger().is_done(lsn)
    }

    /// A reader of flushed records from `from` on (or from the oldest kept one).
    pub fn cursor(self: &Arc<Self>, from: Lsn) -> Cursor {
        Cursor::new(Arc::clone(self), from)
    }

    /// One flushed record; `None` when it is not flushed yet, no longer kept, or damaged.
    pub fn read(self: &Arc<Self>, lsn: Lsn) -> Result<Option<Record>, ReadError> {
        if lsn >= self.end() || self.segments.holding(lsn).is_none() {
            return Ok(None);
        }
        let mut cursor = self.cursor(lsn);
        let found = cursor.next_kept()?.filter(|frame| frame.lsn == lsn);
        Ok(found.map(|f| Record { lsn, at: f.at, lane: f.lane, payload: f.payload.to_vec() }))
    }

    /// The same, and for a record whose segment was deleted what a stored dead letter has of it: its own, or the one of
    /// the record that took it up again.
    pub fn read_or_dead(self: &Arc<Self>, mut lsn: Lsn) -> Result<Option<Record>, ReadError> {
        let failed = |source| ReadError::Io { path: self.dir.join(super::dead::NAME), source };
        loop {
            if let Some(record) = self.read(lsn)? {
                return Ok(Some(record));
            }
            if let Some(Dead::Letter(letter)) = self.dead.get(lsn).map_err(failed)? {
                let Letter { lsn, accepted_at: at, payload, .. } = letter;
                return Ok(Some(Record { lsn, at, lane: 0, payload }));
            }
            match self.dead.removal(lsn) {
                // Each has a larger number than the one before.
                Some(Removal::Requeued(next)) if next > lsn => lsn = next,
                _ => return Ok(None),
            }
        }
    }

    /// Notes where the broker put these records and counts them as done. Not durable before the next checkpoint:
    /// a crash costs a repeat.
    pub fn confirm(&self, confirmations: &[Confirmation]) {
        let mut sorted = confirmations.to_vec();
        sorted.sort_unstable_by_key(|confirmation| confirmation.lsn);
        let mut rest = &sorted[..];
        while let Some(first) = rest.first() {
            let Some(segment) = self.segments.holding(first.lsn) else {
                rest = &rest[1..];
                continue;
            };
            let next = segment.flushed().0;
            let (these, others) = rest.split_at(rest.partition_point(|c| c.lsn < next).max(1));
            if let Err(e) = self.sent.note(segment.first, these) {
                self.report(Event::Trouble { what: "note where records were put", error: e.to_string() });
            }
            rest = others;
        }
        match self.sent.trim() {
            0 => {}
            notes => self.report(Event::NotesForgotten { notes }),
        }
        let done = sorted.iter().map(|confirmation| (confirmation.lsn, u64::from(confirmation.bytes)));
        self.mark_done(done);
    }

    /// Stores these records as dead letters, durably, and then counts them as done. On an error none of them is:
    /// they stay in the log and hold their lane.
    pub fn bury(&self, letters: &[Letter]) -> io::Result<()> {
        self.stored(unless(Fault::LettersNotStored, || self.dead.add(letters)))?;
        self.mark_done(letters.iter().map(|letter| (letter.lsn, self.bytes_of(letter))));
        Ok(())
    }

    /// Lists records that cannot be read, durably.
    pub(super) fn add_damage(&self, damage: Damage) -> io::Result<()> {
        self.stored(self.dead.add_damage(damage))
    }

    /// Removes a dead letter from the store, durably. Says whether it was there.
    pub fn remove_letter(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        self.stored(self.dead.remove(lsn, removal))
    }

    /// A failed write or flush of the dead-letter store is final for the log too: it could store no dead letter any
    /// more, and each would hold its lane until a restart.
    pub(super) fn stored<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && self.dead.is_broken()
        {
            let path = self.dir.join(super::dead::NAME);
            self.poison(format!("could not write or flush {}: {error}", path.display()));
        }
        outcome
    }

    /// Bytes the letter's record takes in the log; 0 when it is no longer kept.
    fn bytes_of(&self, letter: &Letter) -> u64 {
        self.segments.holding(letter.lsn).map_or(0, |segment| segment.frame_len(letter.payload.len()))
    }

    /// What became of a record.
    pub fn fate(&self, lsn: Lsn) -> io::Result<Fate> {
        if lsn >= self.end() {
            return Ok(Fate::Unknown);
        }
        match self.dead.get(lsn)? {
            Some(Dead::Letter(letter)) => {
                return Ok(Fate::Dead { reason: letter.reason, at: letter.died_at });
            }
            Some(Dead::Damage(damage)) => {
                return Ok(Fate::Dead { reason: damage.reason, at: damage.found_at });
            }
            Some(Dead::Sealed(letter)) => return Ok(letter.fate()),
            None => {}
        }
        match self.dead.removal(lsn) {
            Some(Removal::Requeued(as_lsn)) => return Ok(Fate::Requeued(as_lsn)),
            Some(Removal::Dropped) => return Ok(Fate::Dropped),
            None => {}
        }
        let Some(segment) = self.segments.holding(lsn) else { return Ok(Fate::Unknown) };
        if !self.is_done(lsn) {
            return Ok(Fate::Waiting);
        }
        let note = self.sent.get(segment.first, lsn)?;
        // Done, and nobody noted where to: it may be one of many that were lost together.
        match if note.is_none() { self.dead.damage_over(lsn)? } else { None } {
            Some(damage) => Ok(Fate::Dead { reason: damage.reason, at: damage.found_at }),
            None => Ok(Fate::Sent(note)),
        }
    }

    /// Whether what is written in this life is encrypted.
    pub fn encrypts(&self) -> bool {
        self.keys.current().is_some()
    }

    /// A key for what lies beside the log, made of the master key and this purpose; none if nothing is encrypted.
    pub fn derived_key(&self, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.keys.current().map(|master| master.derive(purpose))
    }

    /// The dead-letter store.
    pub fn dead(&self) -> &DeadLetters {
        &self.dead
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.all()
    }

    /// The state of the backlog.
    pub fn figures(&self) -> Figures {
        let dead = self.dead.len();
        let ledger = self.ledger();
        Figures {
            backlog: ledger.backlog(),
            backlog_bytes: ledger.backlog_bytes(),
            watermark: ledger.watermark(),
            end: self.end(),
            dead,
        }
    }

    /// Bytes of the records that are not done.
    pub fn backlog_bytes(&self) -> u64 {
        self.ledger().backlog_bytes()
    }

    /// Whether the record is still kept, delivered or not.
    pub fn keeps(&self, lsn: Lsn) -> bool {
        lsn < self.end() && self.segments.holding(lsn).is_some()
    }

    /// How many numbers from `from` up to `to` lie in segments that are kept.
    pub fn kept_within(&self, from: Lsn, to: Lsn) -> u64 {
        self.segments.kept_within(from, to)
    }

    /// The file system that holds the log, for files beside it that can be rebuilt from it.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// When the record at or after `lsn` was accepted, for ages; `None` when there is none.
    pub fn accepted_at(self: &Arc<Self>, lsn: Lsn) -> Result<Option<Timestamp>, ReadError> {
        if lsn >= self.end() {
            return Ok(None);
        }
        Ok(self.cursor(lsn).next_kept()?.map(|frame| frame.at))
    }

    /// When the segment began that holds `lsn`, or the next one: not later than its record, where that cannot be read.
    pub fn began_at(&self, lsn: Lsn) -> Option<Timestamp> {
        let holder = self.segments.holding(lsn).or_else(|| self.segments.from(lsn));
        holder.map(|segment| segment.created)
    }

    /// Bytes free on the log's file system.
    pub fn free_space(&self) -> io::Result<u64> {
        self.fs.free_space(&self.dir)
    }

    /// The oldest record still kept, delivered or not; `end()` when there is none.
    pub fn oldest_kept(&self) -> Lsn {
        self.segments.from(Lsn(0)).map_or(self.end(), |segment| segment.first)
    }

    /// Why the log takes nothing more, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Takes nothing more from now on: the log's user has found that it cannot. Returns the first cause.
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

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_transactions(&self) -> MutexGuard<'_, Transactions> {
        self.transactions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark_done(&self, records: impl Iterator<Item = (Lsn, u64)>) {
        let mut ledger = self.ledger();
        for (lsn, bytes) in records {
            // Before the mark, so that whoever sees the mark's effects also asks the ledger.
            self.highest_done.fetch_max(lsn.0, Ordering::AcqRel);
            ledger.mark(lsn, bytes);
        }
    }

    /// Makes a flushed group visible: readers see it from now on. Wakes none of them.
    pub(super) fn publish(
        &self,
        segment: &Segment,
        block: Block,
        records: u64,
        at: Timestamp,
        index: &[u32],
    ) {
        let bytes = block.bytes.len() as u64;
        self.ledger().extend(segment.first, records, bytes);
        self.tail.push(block);
        let end = segment.update(|state| {
            state.next = state.next.plus(records);
            state.length += bytes;
            state.last_at = at;
            state.index.extend_from_slice(index);
            state.next
        });
        self.end.store(end.0, Ordering::Release);
    }
}
