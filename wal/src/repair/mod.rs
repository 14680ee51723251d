//! Repairs a log whose daemon is stopped: first a plan, then the repair. Changed files are copied to `quarantine/`
//! before.
//!
//! A repair runs a start, so both decide in the same way. The plan is a start on a file system that never writes its
//! changes to disk (`overlay_fs`). In addition to a start, a repair reads every record, rewrites damaged footers,
//! cleans the dead-letter store, and moves leftovers away. An interrupted repair is run again from the beginning.

mod footers;
mod leftovers;
mod overlay_fs;
mod verify;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::event::{Finding, FindingKind};
use super::fs::Fs;
use super::lock::Lock;
use super::open_error::OpenError;
use super::options::Options;
use super::recovery::open;
use super::{checkpoint, fs, lock, quarantine};
use crate::units::Timestamp;

use overlay_fs::OverlayFs;

pub use verify::Progress;

/// The findings in a log, and the planned or finished repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Problems that were found.
    pub findings: Vec<Finding>,
    /// Files that are, or were, added to `quarantine/`.
    pub backups: Vec<String>,
    /// Problems that a start would still find afterwards.
    pub remaining: Vec<Finding>,
}

impl RepairReport {
    /// Whether there is something to repair. Unknown files are reported and left unchanged, and so are remaining
    /// problems.
    pub fn has_work(&self) -> bool {
        let ours =
            |finding: &&Finding| finding.kind != FindingKind::Unknown && !self.remaining.contains(finding);
        self.findings.iter().any(|finding| ours(&finding))
    }
}

/// Returns what `apply` would find and do. Changes nothing.
pub fn plan(
    dir: &Path,
    options: &Options,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<RepairReport, OpenError> {
    // If the lock cannot be checked, a plan does no harm. `apply` acquires the lock.
    if let Ok(Some(held)) = lock::check_held(dir) {
        return Err(held.into());
    }
    plan_on(Arc::new(fs::RealFs), dir, options, now, progress)
}

/// Repairs the log. Changes nothing if there is nothing to repair.
pub fn apply(
    dir: &Path,
    options: &Options,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<RepairReport, OpenError> {
    let _lock = Lock::acquire(dir)?;
    apply_on(&(Arc::new(fs::RealFs) as Arc<dyn Fs>), dir, options, now, progress)
}

pub(super) fn plan_on(
    fs: Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<RepairReport, OpenError> {
    repair_all(&(Arc::new(OverlayFs::new(fs)) as Arc<dyn Fs>), dir, options, now, progress)
}

pub(super) fn apply_on(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<RepairReport, OpenError> {
    let planned = plan_on(Arc::clone(fs), dir, options, now, progress)?;
    match planned.has_work() {
        true => repair_all(fs, dir, options, now, &mut |_| {}),
        false => Ok(planned),
    }
}

/// The repair itself, on the real file system or on an overlay.
fn repair_all(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<RepairReport, OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let before = quarantined_files(&**fs, dir).map_err(failed)?;
    let mut findings = Vec::new();
    leftovers::move_temporary(&**fs, dir, &mut findings).map_err(failed)?;
    footers::rewrite_footers(&**fs, dir, options, &mut findings)?;
    // All dead letters are read, and unreadable ones are not copied.
    super::dead_letters::remove_saved_index(&**fs, dir).map_err(failed)?;
    quarantine::copy_file(&**fs, dir, checkpoint::FILE).map_err(failed)?;
    let opened = open(Arc::clone(fs), dir, options, now)?;
    findings.extend(opened.recovery.findings);
    if findings.iter().any(|finding| finding.segment == super::dead_letters::RELATIVE_PATH) {
        quarantine::copy_file(&**fs, dir, super::dead_letters::RELATIVE_PATH).map_err(failed)?;
        opened.log.dead_letters().compact().map_err(failed)?;
    }
    findings.extend(verify::verify_segments(&opened.log, progress)?);
    opened.log.checkpoint(now).map_err(failed)?;
    leftovers::move_notes(&**fs, dir, &mut findings).map_err(failed)?;
    drop(opened.writer);
    let after = quarantined_files(&**fs, dir).map_err(failed)?;
    let backups = after.difference(&before).cloned().collect();
    let report = RepairReport { findings, backups, remaining: remaining_findings(fs, dir, options, now)? };
    // Without anything to repair this was a plan, and nothing will be copied.
    Ok(if report.has_work() { report } else { RepairReport { backups: Vec::new(), ..report } })
}

/// Findings of the next start.
fn remaining_findings(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    now: Timestamp,
) -> Result<Vec<Finding>, OpenError> {
    let opened = open(Arc::new(OverlayFs::new(Arc::clone(fs))), dir, options, now)?;
    let findings = opened.recovery.findings.into_iter();
    Ok(findings.filter(|finding| finding.kind != FindingKind::Unknown).collect())
}

/// The files in `quarantine/`.
fn quarantined_files(fs: &dyn Fs, dir: &Path) -> io::Result<BTreeSet<String>> {
    match fs.list(&dir.join(quarantine::DIR)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        listed => Ok(listed?.into_iter().filter(|name| !name.ends_with(".tmp")).collect()),
    }
}
