//! Moves files to quarantine that are no longer needed: temporary files of an interrupted change, and delivery
//! positions of deleted segments.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::super::event::{Finding, FindingKind};
use super::super::fs::Fs;
use super::super::segment::SegmentLocation;
use super::super::segment_header::parse_segment_name;
use super::super::{dead_letters, delivery_index, quarantine};

/// Moves temporary files to quarantine, before another change uses their names.
pub fn move_temporary(fs: &dyn Fs, dir: &Path, findings: &mut Vec<Finding>) -> io::Result<()> {
    for within in ["", dead_letters::DIR] {
        let names = list(fs, &dir.join(within))?;
        for name in names.into_iter().filter(|name| name.ends_with(".tmp")) {
            quarantine_file(
                fs,
                dir,
                &Path::new(within).join(name),
                "a leftover of an interrupted change",
                findings,
            )?;
        }
    }
    Ok(())
}

/// Moves delivery positions to quarantine whose segment was deleted or is in quarantine.
pub fn move_notes(fs: &dyn Fs, dir: &Path, findings: &mut Vec<Finding>) -> io::Result<()> {
    let mut segments = BTreeSet::new();
    for place in [SegmentLocation::Pending, SegmentLocation::Acked] {
        segments.extend(list(fs, &dir.join(place.dir()))?);
    }
    for name in list(fs, &dir.join(delivery_index::DIR))? {
        if parse_segment_name(&name).is_some() && !segments.contains(&name) {
            quarantine_file(
                fs,
                dir,
                &Path::new(delivery_index::DIR).join(name),
                "its segment does not exist",
                findings,
            )?;
        }
    }
    Ok(())
}

fn quarantine_file(
    fs: &dyn Fs,
    dir: &Path,
    path: &Path,
    why: &str,
    findings: &mut Vec<Finding>,
) -> io::Result<()> {
    fs.create_dir_all(&dir.join(quarantine::DIR))?;
    let path = path.to_string_lossy().into_owned();
    quarantine::move_file(fs, dir, &path)?;
    findings.push(Finding { segment: path, offset: 0, kind: FindingKind::Leftover, detail: why.to_owned() });
    Ok(())
}

fn list(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<String>> {
    match fs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map(|mut names| {
            names.sort();
            names
        }),
    }
}
