//! Locks and recovers the log, and forwards its events to log lines, metrics and problems.

use std::path::Path;
use std::sync::Arc;

use crate::command::{Envelope, kind_of};
use crate::config::ConfigErrors;
use crate::config_error::ConfigError;
use crate::ingest::Config;
use crate::task::FatalSignal;
use crate::units::Timestamp;
use crate::wal;
use crate::wal::dead_letters::DeadEntry;
use crate::wal::inspect::LogDirectory;
use crate::wal::{Event, Keys, Lock, Lsn, MasterKey, OpenError, OpenedLog, Options};

use super::Failure;
use super::log_metrics::LogMetrics;
use super::problems::FirstDamage;

/// Locks the directory, recovers the log and logs the findings. `redeliver`: see `wal::Options`.
pub(super) fn open(
    config: &Config,
    redeliver: bool,
    metrics: &Arc<LogMetrics>,
    fatal: &FatalSignal,
    damage: &Arc<FirstDamage>,
) -> Result<(Lock, OpenedLog), Failure> {
    // Before the directory is touched: without the key nothing may change.
    let keys = keys(config)?;
    let encrypted = keys.current().map(MasterKey::id);
    if encrypted.is_none() && !keys.is_empty() {
        check_no_plaintext_passwords(&config.dir, &keys)?;
    }
    let (metrics, fatal, first_damage) = (Arc::clone(metrics), fatal.clone(), Arc::clone(damage));
    let options = Options {
        segment_size: config.segment_size.0,
        reserve_space: config.reserve_space.0,
        redeliver,
        keys,
        label: kind_of,
        observer: Arc::new(move |event| {
            first_damage.record_event(event);
            observe(event, &metrics, &fatal);
        }),
    };
    let (lock, opened) = wal::open_locked(&config.dir, &options, Timestamp::now()).map_err(failure)?;
    for finding in &opened.recovery.findings {
        tracing::warn!(
            event = "wal.recovery_finding",
            wal.file = finding.segment,
            wal.offset = finding.offset,
            wal.finding = %finding.kind,
            detail = finding.detail,
            "recovery found damage"
        );
        damage.record(finding);
    }
    let (backlog, next) = (opened.recovery.backlog, opened.recovery.next.0);
    tracing::info!(event = "wal.recovered", wal.backlog = backlog, wal.next_lsn = next, "log recovered");
    if let Some(key) = encrypted {
        let plain = opened.recovery.plain_segments;
        tracing::info!(
            event = "wal.encryption_on",
            wal.key = %key,
            wal.plain_segments = plain,
            "new segments are encrypted"
        );
        if plain > 0 {
            tracing::warn!(
                event = "wal.plain_segments_remain",
                wal.plain_segments = plain,
                "unencrypted segments remain on disk until they are delivered and expire"
            );
        }
    }
    Ok((lock, opened))
}

/// The master keys named in the configuration.
pub(super) fn keys(config: &Config) -> Result<Keys, Failure> {
    config.keys().map_err(|error| Failure::Damaged(format!("{error}. Nothing was changed")))
}

/// Refuses to turn encryption off while a dead letter holds a password. Without encryption the dead letters are
/// rewritten in plain text, and no password may be in them. Segments are not rewritten.
fn check_no_plaintext_passwords(dir: &Path, keys: &Keys) -> Result<(), Failure> {
    // Opening the directory reports errors better than this check.
    let Ok(directory) = LogDirectory::open(dir) else { return Ok(()) };
    let Ok(view) = directory.with_keys(keys.clone()).snapshot(kind_of) else { return Ok(()) };
    let Some(store) = &view.dead_letters else { return Ok(()) };
    let holds_password = |lsn: &Lsn| match store.get(*lsn) {
        Ok(Some(DeadEntry::Letter(letter))) => Envelope::decode(&letter.payload).is_ok_and(|it| it.sealed),
        _ => false,
    };
    let Some(lsn) = store.lsns().into_iter().find(holds_password) else { return Ok(()) };
    let allowed = format!(
        "the previous key, until `wal-tools dead` has requeued or dropped dead letter {lsn} and all others that hold a \
                 password to be hashed"
    );
    let mistake = ConfigError::new("wal", "encryption_key_file", "none", allowed);
    Err(ConfigErrors::from(vec![mistake]).into())
}

/// Maps errors to exit codes. An unsupported version and a loss need an operator; a held lock and a failing disk may be
/// temporary.
fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::Lock(_)
        | OpenError::Directory { .. }
        | OpenError::Unsuitable { .. }
        | OpenError::Absent { .. } => Failure::Directory(error.to_string()),
        // Not the disk's failure: the resource may be available at the next start.
        OpenError::Io { source, .. } if wal::fs::is_resource_shortage(&source) => {
            Failure::System { what: "opening the log", source }
        }
        OpenError::Io { .. } => Failure::Poisoned(error.to_string()),
        OpenError::Version { .. } | OpenError::Lost { .. } | OpenError::Key { .. } => {
            Failure::Damaged(error.to_string())
        }
    }
}

fn observe(event: &Event, metrics: &LogMetrics, fatal: &FatalSignal) {
    match event {
        Event::Flushed { records, bytes, flush } => {
            metrics.appended.inc_by(*records);
            metrics.appended_bytes.inc_by(*bytes);
            metrics.commit_records.observe(*records as f64);
            metrics.flush_seconds.observe(flush.as_secs_f64());
        }
        Event::Rotated { first, records } => {
            tracing::debug!(wal.segment = first.0, wal.records = records, "segment sealed");
        }
        Event::OutOfSpace { reason } => {
            metrics.disk_hit.inc();
            tracing::warn!(
                event = "wal.no_space",
                reason,
                "no space for another segment; commands are refused until space is free"
            );
        }
        Event::RetentionShortened { first } => {
            metrics.retention_yielded.inc();
            tracing::warn!(
                event = "wal.retention_yielded",
                wal.segment = first.0,
                "delivered segment deleted early to free space"
            );
        }
        Event::Damaged(finding) => tracing::error!(
            event = "wal.damaged",
            wal.file = finding.segment,
            wal.offset = finding.offset,
            wal.finding = %finding.kind,
            detail = finding.detail,
            "damaged bytes moved to quarantine"
        ),
        Event::Poisoned { cause } => {
            fatal.raise("log", cause);
        }
        Event::PositionsDropped { count } => {
            metrics.sent_notes_hit.inc_by(*count as u64);
        }
        Event::TransientError { what, error } => tracing::warn!(
            event = "wal.maintenance_failed",
            what,
            error,
            "step of the log's maintenance failed; it will be retried"
        ),
    }
}
