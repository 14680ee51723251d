//! Which log, and how it is looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use forebay_wal::command::kind_of;
use forebay_wal::inspect::{LogDirectory, LogView, SegmentInfo};
use forebay_wal::{Event, Keys, Options};

use crate::cli::Cli;
use crate::output::note;

/// Where the log lies when nobody says it: embedded mode's place, then the packaged daemon's.
const DEFAULT_DIRS: [&str; 2] = ["./forebay-data/wal", "/var/lib/forebay/wal"];

/// The smallest segment the configuration allows; a log whose disk was full at its last start may show less.
const MIN_SEGMENT: u64 = 1 << 20;

/// The log a command is about.
pub struct LogContext {
    /// Where it lies.
    pub dir: PathBuf,
    /// Whether answers are JSON.
    pub json: bool,
    /// The master keys that were given.
    pub keys: Keys,
    directory: LogDirectory,
}

impl LogContext {
    /// The log in the directory that was named, else in the first usual place that exists.
    pub fn find(cli: &Cli) -> anyhow::Result<Self> {
        let dir = directory(cli.dir.as_deref())?;
        let keys = Keys::read(cli.key_file.as_deref(), &cli.old_key_file)?;
        let directory = LogDirectory::open(&dir)?.with_keys(keys.clone());
        Ok(Self { dir, json: cli.json, keys, directory })
    }

    /// The directory itself.
    pub fn directory(&self) -> &LogDirectory {
        &self.directory
    }

    /// How it is opened to be changed: with segments as large as the largest there is, and without a reserve.
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

    /// What it holds now.
    pub fn view(&self) -> anyhow::Result<LogView> {
        Ok(self.directory.snapshot(kind_of)?)
    }

    /// What it holds now, to be shown; says if part of it cannot be, for want of the key.
    pub fn readable_view(&self) -> anyhow::Result<LogView> {
        let view = self.view()?;
        if let Some(hint) = missing_key_message(&view) {
            note!("encrypted: {hint}");
        }
        Ok(view)
    }
}

/// Which key would show what this view cannot; `None` when it shows everything.
pub fn missing_key_message(view: &LogView) -> Option<String> {
    let needs: Vec<_> = view.missing_keys().iter().map(ToString::to_string).collect();
    (!needs.is_empty()).then(|| {
        format!(
            "kinds, keys, ids and payloads show only with the master key {} (--key-file)",
            needs.join(", ")
        )
    })
}

/// The directory that was named, else the first usual place that exists.
pub fn directory(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let there = || DEFAULT_DIRS.iter().map(PathBuf::from).find(|place| place.exists());
    let found = named.map(Path::to_owned).or_else(there);
    found.with_context(|| format!("no log in {}: say where with --dir", DEFAULT_DIRS.join(" or ")))
}

/// What the log reports while a command changes it.
fn report_event(event: &Event) {
    match event {
        // What comes of requests and deliveries: the tools have neither.
        Event::Flushed { .. } | Event::Rotated { .. } | Event::PositionsDropped { .. } => {}
        Event::OutOfSpace { reason } => note!("{reason}"),
        Event::RetentionShortened { first } => note!("delivered segment {first} made room"),
        Event::Damaged(finding) => note!("{}: {}", finding.segment, finding.detail),
        Event::Poisoned { cause } => note!("{cause}"),
        Event::TransientError { what, error } => note!("could not {what}: {error}"),
    }
}
