//! Requeues, drops and replays without a daemon. The log is opened under its lock, as the daemon opens it at a start.

use std::time::Duration;

use anyhow::{Context, bail};
use forebay_wal as wal;
use forebay_wal::command::requeued_record;
use forebay_wal::control::RecordOutcome;
use forebay_wal::dead_letters::{DeadEntry, Removal};
use forebay_wal::inspect::LogView;
use forebay_wal::units::Timestamp;
use forebay_wal::{AppendError, Cursor, Lock, Lsn, NewRecord, OpenedLog};

use crate::log_context::LogContext;
use crate::output::note;

/// Bytes of replayed records that are written and flushed together.
const GROUP_BYTES: usize = 4 << 20;

/// A log that is open for changes.
pub struct OfflineLog {
    opened: OpenedLog,
    segment_size: u64,
    _lock: Lock,
}

impl OfflineLog {
    /// Takes the lock and opens the log.
    pub fn open(log: &LogContext, view: &LogView) -> anyhow::Result<Self> {
        let options = log.options(view);
        // The daemon's configuration decides whether the log is encrypted. Without a current key, opening the log
        // would also rewrite the dead letters unencrypted.
        if log.keys.current().is_none() && !log.keys.is_empty() {
            bail!(
                "with --old-key-file alone, new records would not be encrypted: give the log's key with --key-file"
            );
        }
        let (lock, opened) = wal::open_locked(&log.dir, &options, Timestamp::now())?;
        for finding in &opened.recovery.findings {
            note!("{}: {}", finding.segment, finding.detail);
        }
        Ok(Self { opened, segment_size: options.segment_size, _lock: lock })
    }

    /// Appends the record of a dead letter under the same command id, flushes it, then removes the dead letter from
    /// the store. After a crash in between, a requeue appends the record a second time.
    pub fn requeue(&mut self, lsn: Lsn) -> anyhow::Result<Lsn> {
        let letter =
            match self.opened.log.dead_letters().get(lsn)?.context("it is no longer a dead letter")? {
                DeadEntry::Letter(letter) => letter,
                DeadEntry::Sealed(_) => bail!("it is encrypted: give the log's key with --key-file"),
                DeadEntry::Damage(_) => bail!("a damaged range holds no record"),
            };
        let appended = self.append(&letter.payload, lsn)?;
        let (log, writer) = (&self.opened.log, &mut self.opened.writer);
        writer.commit().map_err(|poisoned| anyhow::anyhow!("{poisoned}"))?;
        log.remove_dead_letter(lsn, Removal::Requeued(appended))?;
        Ok(appended)
    }

    /// Appends delivered records again, in this order and under their own command ids, and flushes them. Stops at the
    /// first failure.
    pub fn replay(&mut self, lsns: &[Lsn]) -> Vec<RecordOutcome> {
        let mut cursor = self.opened.log.cursor(lsns.first().copied().unwrap_or_default());
        let (mut done, mut buffered) = (Vec::new(), Vec::new());
        let mut failure = None;
        for &lsn in lsns {
            let again = read_at(&mut cursor, lsn).and_then(|payload| self.append(&payload, lsn));
            match again {
                Ok(now) => buffered.push(RecordOutcome { lsn, requeued_as: Some(now), error: None }),
                Err(error) => failure = Some((lsn, error)),
            }
            if failure.is_some() || self.opened.writer.buffered_bytes() >= GROUP_BYTES {
                failure = failure.or(self.commit(&mut buffered, &mut done).err().map(|error| (lsn, error)));
            }
            if failure.is_some() {
                break;
            }
        }
        if let Err(error) = self.commit(&mut buffered, &mut done) {
            failure.get_or_insert((lsns.last().copied().unwrap_or_default(), error));
        }
        let failed = failure.map(|(lsn, error)| (lsn, format!("{error:#}")));
        done.extend(failed.map(|(lsn, error)| RecordOutcome { lsn, requeued_as: None, error: Some(error) }));
        done
    }

    /// Flushes the appended records, and moves them from `buffered` to `done`.
    fn commit(
        &mut self,
        buffered: &mut Vec<RecordOutcome>,
        done: &mut Vec<RecordOutcome>,
    ) -> anyhow::Result<()> {
        self.opened.writer.commit().map_err(|poisoned| anyhow::anyhow!("{poisoned}"))?;
        done.append(buffered);
        Ok(())
    }

    fn append(&mut self, payload: &[u8], from: Lsn) -> anyhow::Result<Lsn> {
        let (log, writer) = (&self.opened.log, &mut self.opened.writer);
        if log.wait_for_preallocation_request(Duration::ZERO) {
            log.preallocate_segment(self.segment_size, 0);
        }
        let again = requeued_record(payload, from, writer.next_lsn());
        if again.sealed && !log.is_encrypting() {
            bail!(
                "it contains a password that is not hashed yet, and the log is not encrypted: give the log's key with --key-file"
            );
        }
        let entry = NewRecord { lane: again.lane, label: &again.label, payload: &again.payload };
        match writer.append(&[entry], Timestamp::now()) {
            Ok(lsns) => Ok(lsns.start),
            Err(error @ AppendError::NoRoom) => bail!("{error}: free space on the log's file system"),
            Err(error) => bail!("{error}"),
        }
    }

    /// Free bytes of the log's file system.
    pub fn free_space(&self) -> anyhow::Result<u64> {
        Ok(self.opened.log.free_space()?)
    }

    /// Removes a dead letter from the store, and flushes the removal.
    pub fn drop_letter(&mut self, lsn: Lsn) -> anyhow::Result<()> {
        let existed = self.opened.log.remove_dead_letter(lsn, Removal::Dropped)?;
        if existed { Ok(()) } else { bail!("it is no longer a dead letter") }
    }

    /// Saves the checkpoint and compacts the dead-letter store.
    pub fn close(self) -> anyhow::Result<()> {
        self.opened.log.checkpoint(Timestamp::now()).context("the checkpoint could not be saved")?;
        self.opened.log.dead_letters().maintain().context("the dead-letter store could not be rewritten")?;
        Ok(())
    }
}

/// Returns the payload of record `lsn`. The cursor must be at this record or before it.
fn read_at(cursor: &mut Cursor, lsn: Lsn) -> anyhow::Result<Vec<u8>> {
    while let Some(frame) = cursor.next_retained()? {
        if frame.lsn == lsn {
            return Ok(frame.payload.to_vec());
        }
        if frame.lsn > lsn {
            break;
        }
    }
    bail!("it is damaged, or no longer retained")
}
