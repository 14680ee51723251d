//! What only the disk can tell: looked at by a thread, every `[alerts] interval`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alerts;
use crate::sync::Mutex;
use crate::task::{Alarm, OnFailure, Thread};
use crate::units::{Span, Timestamp};
use crate::wal::dead::Dead;
use crate::wal::{Log, Lsn};

use super::files;
use super::files::{FileTrouble, Files};
use crate::app::age::oldest_age;

/// Files of keys and certificates change every few weeks.
const FILES_EVERY: Duration = Duration::from_secs(60);

/// What the last look found. Clones share it.
#[derive(Clone, Default)]
pub(in crate::app) struct Watched(Arc<Mutex<Snapshot>>);

/// What one look found.
#[derive(Clone, Default)]
pub(in crate::app) struct Snapshot {
    /// The threshold, while at least so many records wait.
    pub(super) backlog_above: Option<u64>,
    /// The threshold, while the oldest record has waited for at least so long.
    pub(super) age_above: Option<Span>,
    pub(super) letters: Option<Letters>,
    /// The first of them that is about damage.
    pub(super) damage: Option<Letters>,
    pub(super) files: Vec<FileTrouble>,
}

/// The dead letters, as far as an operator is to be told.
#[derive(Clone, Debug)]
pub(super) struct Letters {
    pub(super) first_at: Timestamp,
    pub(super) last_reason: String,
}

impl Snapshot {
    /// When the certificate of this key ends, if that is near or over.
    pub(in crate::app) fn end_of(&self, key: &str) -> Option<Timestamp> {
        files::end_of(&self.files, key)
    }
}

impl Watched {
    pub(in crate::app) fn last(&self) -> Snapshot {
        self.0.lock().clone()
    }
}

/// Starts the thread.
pub(in crate::app) fn watch(
    log: Arc<Log>,
    files: Files,
    config: &alerts::Config,
    watched: Watched,
    alarm: Alarm,
) -> io::Result<Thread> {
    let config = config.clone();
    Thread::spawn("watch", OnFailure::Raise(alarm), move |stop| {
        let mut looked_at_files: Option<Instant> = None;
        loop {
            let figures = log.figures();
            let (most, oldest) = (config.backlog_threshold, config.oldest_age_threshold);
            let backlog_above = (figures.backlog >= most).then_some(most);
            let age_above = (oldest_age(&log, &figures) >= oldest.0).then_some(oldest);
            let (letters, damage) = (letters(&log), damage(&log));
            let are_due = looked_at_files.is_none_or(|at| at.elapsed() >= FILES_EVERY);
            let troubles = are_due.then(|| files.look(Timestamp::now()));
            looked_at_files = looked_at_files.filter(|_| !are_due).or_else(|| Some(Instant::now()));
            let mut snapshot = watched.0.lock();
            (snapshot.backlog_above, snapshot.age_above) = (backlog_above, age_above);
            (snapshot.letters, snapshot.damage) = (letters, damage);
            snapshot.files = troubles.unwrap_or_else(|| std::mem::take(&mut snapshot.files));
            drop(snapshot);
            if stop.within(config.interval.0) {
                return Ok(());
            }
        }
    })
}

/// Two entries are read, however many there are: the first and the last.
fn letters(log: &Log) -> Option<Letters> {
    let (first, last) = log.dead().ends()?;
    let (first, last) = (letter(log, first)?, letter(log, last)?);
    Some(Letters { first_at: first.0.min(last.0), last_reason: last.1 })
}

/// One more is read.
fn damage(log: &Log) -> Option<Letters> {
    let (first_at, last_reason) = letter(log, log.dead().first_damage()?)?;
    Some(Letters { first_at, last_reason })
}

fn letter(log: &Log, lsn: Lsn) -> Option<(Timestamp, String)> {
    match log.dead().get(lsn) {
        Ok(Some(Dead::Letter(letter))) => Some((letter.died_at, letter.reason)),
        Ok(Some(Dead::Sealed(letter))) => Some((letter.died_at, "the letter is encrypted".to_owned())),
        Ok(Some(Dead::Damage(damage))) => {
            Some((damage.found_at, format!("{}: {}", damage.segment, damage.reason)))
        }
        Ok(None) => None,
        Err(error) => Some((Timestamp::now(), format!("the dead letter cannot be read: {error}"))),
    }
}
