//! Checks that need disk I/O. A thread runs them every `[alerts] interval`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alerts;
use crate::sync::Mutex;
use crate::task::{FatalSignal, OnFailure, Thread};
use crate::units::{Span, Timestamp};
use crate::wal::dead_letters::DeadEntry;
use crate::wal::{Log, Lsn};

use super::files;
use super::files::{ConfiguredFiles, FileProblem};
use crate::app::age::oldest_age;

/// Interval of the checks of key and certificate files, which change every few weeks.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Results of the last check. Clones share them.
#[derive(Clone, Default)]
pub(in crate::app) struct DiskChecks(Arc<Mutex<DiskCheck>>);

/// Results of one check.
#[derive(Clone, Default)]
pub(in crate::app) struct DiskCheck {
    /// The threshold, if at least that many records wait.
    pub(super) backlog_above: Option<u64>,
    /// The threshold, if the oldest record has waited at least that long.
    pub(super) age_above: Option<Span>,
    pub(super) dead_letters: Option<DeadLetterAlert>,
    /// The first dead letter that is about damage.
    pub(super) damage: Option<DeadLetterAlert>,
    pub(super) files: Vec<FileProblem>,
}

/// The facts about dead letters that a problem reports.
#[derive(Clone, Debug)]
pub(super) struct DeadLetterAlert {
    pub(super) first_at: Timestamp,
    pub(super) last_reason: String,
}

impl DiskCheck {
    /// End of the certificate of this key, if it is near or past.
    pub(in crate::app) fn end_of(&self, key: &str) -> Option<Timestamp> {
        files::end_of(&self.files, key)
    }
}

impl DiskChecks {
    pub(in crate::app) fn last(&self) -> DiskCheck {
        self.0.lock().clone()
    }
}

/// Starts the thread that runs the checks.
pub(in crate::app) fn watch(
    log: Arc<Log>,
    files: ConfiguredFiles,
    config: &alerts::Config,
    watched: DiskChecks,
    fatal: FatalSignal,
) -> io::Result<Thread> {
    let config = config.clone();
    Thread::spawn("watch", OnFailure::Raise(fatal), move |stop| {
        let mut files_checked_at: Option<Instant> = None;
        loop {
            let stats = log.backlog_stats();
            let (most, oldest) = (config.backlog_threshold, config.oldest_age_threshold);
            let backlog_above = (stats.backlog >= most).then_some(most);
            let age_above = (oldest_age(&log, &stats) >= oldest.0).then_some(oldest);
            let (dead_letter_alert, damage) = (dead_letters(&log), damage(&log));
            let are_due = files_checked_at.is_none_or(|at| at.elapsed() >= FILE_CHECK_INTERVAL);
            let file_problems = are_due.then(|| files.check(Timestamp::now()));
            files_checked_at = files_checked_at.filter(|_| !are_due).or_else(|| Some(Instant::now()));
            let mut snapshot = watched.0.lock();
            (snapshot.backlog_above, snapshot.age_above) = (backlog_above, age_above);
            (snapshot.dead_letters, snapshot.damage) = (dead_letter_alert, damage);
            snapshot.files = file_problems.unwrap_or_else(|| std::mem::take(&mut snapshot.files));
            drop(snapshot);
            if stop.wait(config.interval.0) {
                return Ok(());
            }
        }
    })
}

/// Reads only two dead letters, the first and the last, however many are stored.
fn dead_letters(log: &Log) -> Option<DeadLetterAlert> {
    let (first, last) = log.dead_letters().first_and_last()?;
    let (first, last) = (read_dead_letter(log, first)?, read_dead_letter(log, last)?);
    Some(DeadLetterAlert { first_at: first.0.min(last.0), last_reason: last.1 })
}

/// Reads one more dead letter.
fn damage(log: &Log) -> Option<DeadLetterAlert> {
    let (first_at, last_reason) = read_dead_letter(log, log.dead_letters().first_damage()?)?;
    Some(DeadLetterAlert { first_at, last_reason })
}

fn read_dead_letter(log: &Log, lsn: Lsn) -> Option<(Timestamp, String)> {
    match log.dead_letters().get(lsn) {
        Ok(Some(DeadEntry::Letter(letter))) => Some((letter.died_at, letter.reason)),
        Ok(Some(DeadEntry::Sealed(letter))) => {
            Some((letter.died_at, "the dead letter is encrypted".to_owned()))
        }
        Ok(Some(DeadEntry::Damage(damage))) => {
            Some((damage.found_at, format!("{}: {}", damage.segment, damage.reason)))
        }
        Ok(None) => None,
        Err(error) => Some((Timestamp::now(), format!("the dead letter cannot be read: {error}"))),
    }
}
