//! Whether the directory can hold a log: one owner, one file system, and a file where the log expects a file.
//!
//! Reads names and attributes only. A start checks this before anything is opened: opening a FIFO would block, and
//! files that another user writes keep the owner's next start from opening them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::fs::not_a_file;
use super::open_error::OpenError;
use super::segment::SegmentLocation;
use super::segment_header::parse_segment_name;
use super::{checkpoint, dead_letters, delivery_index, lock, preallocated_segment, quarantine};

/// Files in the directory itself.
const FILES: [&str; 3] = [lock::FILE, checkpoint::FILE, preallocated_segment::FILE];
/// Subdirectories of the log. The log renames files between them, or their files count against the same free space.
const DIRS: [&str; 5] = [
    SegmentLocation::Pending.dir(),
    SegmentLocation::Acked.dir(),
    quarantine::DIR,
    delivery_index::DIR,
    dead_letters::DIR,
];

/// User id of root, which may open every file.
const ROOT: u32 = 0;

/// A path of the log that is not of the expected type.
pub struct MisplacedFile {
    /// Path inside the log's directory.
    pub name: String,
    /// Description of what exists there.
    pub detail: String,
}

/// Fails if this process cannot use the log in `dir`. A directory that does not exist yet is usable.
pub fn check(dir: &Path) -> Result<(), OpenError> {
    check_owner(dir)?;
    check_file_types(dir)
}

/// Fails if the directory belongs to another user, or contains files that this user cannot open.
pub fn check_owner(dir: &Path) -> Result<(), OpenError> {
    check_owner_for(dir, rustix::process::geteuid().as_raw())
}

/// The same check for a process of the user `we`.
pub(super) fn check_owner_for(dir: &Path, we: u32) -> Result<(), OpenError> {
    let Some(owner) = owner(dir, dir)? else { return Ok(()) };
    let unsuitable = |path: &Path, owner: u32, remedy: String| OpenError::Unsuitable {
        path: path.to_owned(),
        detail: format!("it belongs to user {owner}, and this process runs as user {we}: {remedy}"),
    };
    if owner != we {
        let remedy =
            format!("run it as user {owner}, because that user could not open files of another user");
        return Err(unsuitable(dir, owner, remedy));
    }
    if we == ROOT {
        // Root can open every file, and the directory belongs to root.
        return Ok(());
    }
    for path in files(dir)? {
        match owner_of_link(dir, &path)? {
            Some(owner) if owner != we => {
                let remedy = format!("give everything in {} to one user with chown -R", dir.display());
                return Err(unsuitable(&path, owner, remedy));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fails if the directory spans file systems, or a path of the log is not of the expected type.
pub fn check_file_types(dir: &Path) -> Result<(), OpenError> {
    if let Some(first) = misplaced_files(dir)?.into_iter().next() {
        return Err(OpenError::Unsuitable { path: dir.join(first.name), detail: first.detail });
    }
    let Some(own) = file_system(dir, dir)? else { return Ok(()) };
    for name in DIRS {
        let path = dir.join(name);
        if file_system(dir, &path)?.is_some_and(|other| other != own) {
            let detail = format!(
                "it is on another file system than {}: the log renames files from one to the other, and measures \
                 one free space",
                dir.display()
            );
            return Err(OpenError::Unsuitable { path, detail });
        }
    }
    Ok(())
}

/// The paths of the log in `dir` that are not of the expected type.
pub fn misplaced_files(dir: &Path) -> Result<Vec<MisplacedFile>, OpenError> {
    let mut found = Vec::new();
    for name in DIRS {
        // A symbolic link to a directory is followed. Whether it leads to another file system is a separate check.
        let path = dir.join(name);
        if if_exists(dir, std::fs::metadata(&path))?.is_some_and(|there| !there.is_dir()) {
            found.push(MisplacedFile { name: name.to_owned(), detail: "it is not a directory".to_owned() });
        }
    }
    for path in files(dir)? {
        let Some(there) = if_exists(dir, std::fs::symlink_metadata(&path))? else { continue };
        if let Some(error) = not_a_file(&there) {
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            found.push(MisplacedFile { name, detail: error.to_string() });
        }
    }
    Ok(found)
}

/// The paths of the log's files, of any type.
fn files(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut files: Vec<_> = FILES.iter().map(|name| dir.join(name)).collect();
    files.push(dir.join(dead_letters::RELATIVE_PATH));
    for within in [SegmentLocation::Pending.dir(), SegmentLocation::Acked.dir(), delivery_index::DIR] {
        let within = dir.join(within);
        let listed = match std::fs::read_dir(&within) {
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => continue,
            listed => if_exists(dir, listed)?,
        };
        for entry in listed.into_iter().flatten() {
            let name =
                entry.map_err(|source| OpenError::Directory { path: within.clone(), source })?.file_name();
            if name.to_str().and_then(parse_segment_name).is_some() {
                files.push(within.join(name));
            }
        }
    }
    Ok(files)
}

fn owner(dir: &Path, path: &Path) -> Result<Option<u32>, OpenError> {
    Ok(if_exists(dir, std::fs::metadata(path))?.map(|there| there.uid()))
}

fn owner_of_link(dir: &Path, path: &Path) -> Result<Option<u32>, OpenError> {
    Ok(if_exists(dir, std::fs::symlink_metadata(path))?.map(|there| there.uid()))
}

/// Device and mount id of a path. A bind mount has the device of its file system, but files cannot be renamed into it.
fn file_system(dir: &Path, path: &Path) -> Result<Option<(u64, u64)>, OpenError> {
    let Some(there) = if_exists(dir, std::fs::metadata(path))? else { return Ok(None) };
    // Linux 5.8 and later report the mount id. If it is unknown, only the device is compared.
    let mount = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok();
    let mount = mount.filter(|there| there.stx_mask & StatxFlags::MNT_ID.bits() != 0);
    Ok(Some((there.dev(), mount.map_or(0, |there| there.stx_mnt_id))))
}

/// `None` if the path does not exist.
fn if_exists<T>(dir: &Path, asked: io::Result<T>) -> Result<Option<T>, OpenError> {
    match asked {
        Ok(there) => Ok(Some(there)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(OpenError::Directory { path: dir.to_owned(), source }),
    }
}
