//! The log of a command: its directory, its keys, and how it is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use forebay_wal::command::kind_of;
use forebay_wal::inspect::{LogDirectory, LogView, SegmentInfo};
use forebay_wal::{Event, Keys, Options};

use crate::cli::Cli;
use crate::output::note;

/// Default directories: that of embedded mode, then that of the packaged daemon.
const DEFAULT_DIRS: [&str; 2] = ["./forebay-data/wal", "/var/lib/forebay/wal"];

/// The minimum segment size of the configuration, in bytes. The segments of a log may be smaller if the disk was full
/// at its last start.
const MIN_SEGMENT: u64 = 1 << 20;

/// The log that a command reads or changes.
pub struct LogContext {
    /// The directory of the log.
    pub dir: PathBuf,
    /// Whether output is JSON.
    pub json: bool,
    /// The master keys from the command line.
    pub keys: Keys,
    directory: LogDirectory,
}

impl LogContext {
    /// Opens the log in the given directory, otherwise in the first default directory that exists.
    pub fn find(cli: &Cli) -> anyhow::Result<Self> {
        let dir = directory(cli.dir.as_deref())?;
        let keys = Keys::read(cli.key_file.as_deref(), &cli.old_key_file)?;
        let directory = LogDirectory::open(&dir)?.with_keys(keys.clone());
        Ok(Self { dir, json: cli.json, keys, directory })
    }

    /// The directory, opened for reading.
    pub fn directory(&self) -> &LogDirectory {
        &self.directory
    }

    /// The options to open the log for changes: the segment size of its largest segment, and no reserved disk space.
    pub fn options(&self, view: &LogView) -> Options {
        let segment_size = view.segments.iter().map(SegmentInfo::capacity).fold(MIN_SEGMENT, u64::max);
        Options {
            segment_size,
            reserve_space: 0,
            redeliver: false,
            keys: self.keys.clone(),
            label: kind_of,
            observer: Arc::new(report_event),
        }
    }

    /// Returns a snapshot of the log.
    pub fn view(&self) -> anyhow::Result<LogView> {
        Ok(self.directory.snapshot(kind_of)?)
    }

    /// Returns a snapshot of the log for display. Prints a hint if the key for a part of it is missing.
    pub fn readable_view(&self) -> anyhow::Result<LogView> {
        let view = self.view()?;
        if let Some(hint) = missing_key_message(&view) {
            note!("encrypted: {hint}");
        }
        Ok(view)
    }
}

/// Names the keys that are missing to show the whole log. Returns `None` if no key is missing.
pub fn missing_key_message(view: &LogView) -> Option<String> {
    let needs: Vec<_> = view.missing_keys().iter().map(ToString::to_string).collect();
    (!needs.is_empty()).then(|| {
        format!(
            "kinds, keys, ids and payloads are shown only with the master key {} (--key-file)",
            needs.join(", ")
        )
    })
}

/// Returns the given directory, otherwise the first default directory that exists.
pub fn directory(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let default = || DEFAULT_DIRS.iter().map(PathBuf::from).find(|dir| dir.exists());
    let found = given.map(Path::to_owned).or_else(default);
    found.with_context(|| format!("no log in {}: give its directory with --dir", DEFAULT_DIRS.join(" or ")))
}

/// Prints what the log reports while a command changes it.
fn report_event(event: &Event) {
    match event {
        // Events of requests and deliveries. The tool has neither.
        Event::Flushed { .. } | Event::Rotated { .. } | Event::PositionsDropped { .. } => {}
        Event::OutOfSpace { reason } => note!("{reason}"),
        Event::RetentionShortened { first } => {
            note!("delivered segment {first} was deleted early to free space")
        }
        Event::Damaged(finding) => note!("{}: {}", finding.segment, finding.detail),
        Event::Poisoned { cause } => note!("{cause}"),
        Event::TransientError { what, error } => note!("could not {what}: {error}"),
    }
}
