//! Checks that the given keys open the log, before anything is changed.

use std::io;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::encryption::{Keys, PayloadAccess};
use super::fs::Fs;
use super::open_error::OpenError;
use super::segment::{SegmentLocation, segment_path};
use super::{dead_letters, directory_scan};

/// Fails if a segment of this log, or its dead letters, are encrypted and no given key opens them. Read-only.
pub fn check(fs: &dyn Fs, dir: &Path, keys: &Keys) -> Result<(), OpenError> {
    for place in [SegmentLocation::Pending, SegmentLocation::Acked] {
        match fs.list(&dir.join(place.dir())) {
            // The log does not exist yet.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The code that needs this directory reports the error.
            Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
    let known = Checkpoint::load(fs, dir).ok().map(|checkpoint| checkpoint.log_id);
    for found in directory_scan::scan_read_only(fs, dir, known, keys, &mut Vec::new())?.segments {
        if let PayloadAccess::Locked(needs) = &found.access {
            let path = segment_path(dir, found.place, found.header.first);
            return Err(OpenError::key(path, needs, keys));
        }
    }
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    match dead_letters::missing_keys(fs, dir, keys).map_err(failed)? {
        Some(needs) => {
            Err(OpenError::key(dir.join(dead_letters::DIR).join(dead_letters::FILE), &needs, keys))
        }
        None => Ok(()),
    }
}
