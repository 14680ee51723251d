//! Requeues and drops without a daemon: the log is opened under its lock, as a start would open it.

use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use forebay::command::requeued;
use forebay::units::Timestamp;
use forebay::wal;
use forebay::wal::Entry;
use forebay::wal::Lock;
use forebay::wal::Lsn;
use forebay::wal::Opened;
use forebay::wal::dead::Dead;
use forebay::wal::dead::Removal;
use forebay::wal::inspect::View;

use crate::open::Log;

/// A log that is open to change.
pub struct Store {
    opened: Opened,
    segment_size: u64,
    _lock: Lock,
}

impl Store {
    /// Takes the lock and opens the log.
    pub fn open(log: &Log, view: &View) -> anyhow::Result<Self> {
        let options = log.options(view);
        log.check_owner()?;
        let (lock, opened) = wal::open_locked(&log.dir, &options, Timestamp::now())?;
        for finding in &opened.recovery.findings {
            eprintln!("{}: {}", finding.segment, finding.detail);
        }
        Ok(Self { opened, segment_size: options.segment_size, _lock: lock })
    }

    /// Appends the letter's record under the same command id, durably, then takes the letter out of the store. A
    /// crash in between costs a repeat.
    pub fn requeue(&mut self, lsn: Lsn) -> anyhow::Result<Lsn> {
        let (log, writer) = (&self.opened.log, &mut self.opened.writer);
        let letter = match log.dead().get(lsn)?.context("it is not among the dead letters any more")? {
            Dead::Letter(letter) => letter,
            Dead::Damage(_) => bail!("a damaged range holds no record"),
        };
        if log.spare_wanted(Duration::ZERO) {
            log.fill_spare(self.segment_size, 0);
        }
        let again = requeued(&letter.payload, lsn, writer.next_lsn());
        let entry = Entry { lane: again.lane, label: &again.label, payload: &again.payload };
        let appended = match writer.append(&[entry], Timestamp::now()) {
            Ok(lsns) => lsns.start,
            Err(error) => bail!("the log does not take it: {error:?}"),
        };
        writer.commit().map_err(|poisoned| anyhow::anyhow!("{poisoned}"))?;
        log.dead().remove(lsn, Removal::Requeued(appended))?;
        Ok(appended)
    }

    /// Removes a letter from the store, durably.
    pub fn drop_letter(&mut self, lsn: Lsn) -> anyhow::Result<()> {
        let there = self.opened.log.dead().remove(lsn, Removal::Dropped)?;
        if there { Ok(()) } else { bail!("it is not among the dead letters any more") }
    }

    /// Saves what is done.
    pub fn close(self) -> anyhow::Result<()> {
        self.opened.log.checkpoint(Timestamp::now()).context("the checkpoint could not be saved")?;
        Ok(())
    }
}
