//! Contents of a log's directory: segments in the wrong directory, and files of the wrong type.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::fs::{Fs, OpenMode};
use super::super::inspect::LogDirectory;
use super::super::segment::segment_path;
use super::super::{Confirmation, FindingKind, Lsn, OpenError, SegmentLocation, layout, open_locked};
use super::basics::confirmation;
use super::sim_fs::SimFs;
use super::support::*;
use crate::units::Timestamp;

/// Makes a log of at least three segments. A checkpoint marks the records of the first as delivered. Returns the first
/// number of each segment, and the last number.
fn half_delivered(fs: &SimFs) -> (Vec<Lsn>, u64) {
    let mut opened = reopen(fs);
    let mut end = 0;
    while opened.log.segments().len() < 4 {
        end += 1;
        append(&mut opened.writer, &[payload(end)]);
        opened.writer.commit().unwrap();
    }
    let firsts: Vec<_> = opened.log.segments().iter().map(|segment| segment.first).collect();
    let delivered: Vec<Confirmation> = (1..firsts[1].0).map(confirmation).collect();
    opened.log.confirm(&delivered);
    opened.log.checkpoint(Timestamp(9)).unwrap();
    (firsts, end)
}

fn path(place: SegmentLocation, first: Lsn) -> PathBuf {
    segment_path(&dir(), place, first)
}

fn numbers(from: Lsn, end: u64) -> Vec<(Lsn, Vec<u8>)> {
    (from.0..=end).map(|n| (Lsn(n), payload(n))).collect()
}

#[test]
fn an_undelivered_segment_in_acked_is_delivered() {
    let fs = SimFs::new();
    let (firsts, end) = half_delivered(&fs);
    // The delivered segment, an undelivered one, and the open one.
    for first in [firsts[0], firsts[1], firsts[3]] {
        fs.rename(&path(SegmentLocation::Pending, first), &path(SegmentLocation::Acked, first)).unwrap();
    }
    let view = LogDirectory::with_fs(Arc::new(fs.deep_copy()), &dir(), keys()).snapshot(|_| None).unwrap();
    let of = |kind| view.findings.iter().filter(move |finding| finding.kind == kind);
    assert_eq!(of(FindingKind::Misplaced).count(), 2, "{:?}", view.findings);
    let opened = reopen(&fs);
    assert_eq!(waiting(&opened.log), numbers(firsts[1], end));
    let found = &opened.recovery.findings;
    assert_eq!(found.iter().filter(|finding| finding.kind == FindingKind::Misplaced).count(), 2, "{found:?}");
    let places: Vec<_> =
        opened.log.segments().iter().take(3).map(|segment| segment.state().location).collect();
    assert_eq!(places, [SegmentLocation::Acked, SegmentLocation::Pending, SegmentLocation::Pending]);
}

#[test]
fn of_two_copies_of_a_segment_pending_wins() {
    let fs = SimFs::new();
    let (firsts, end) = half_delivered(&fs);
    // A copy from a time before its last records were written.
    let bytes = fs.read(&path(SegmentLocation::Pending, firsts[3]));
    let copy = fs.open(&path(SegmentLocation::Acked, firsts[3]), OpenMode::Create).unwrap();
    copy.write_all_at(&bytes[..4096], 0).unwrap();
    let opened = reopen(&fs);
    assert_eq!(waiting(&opened.log), numbers(firsts[1], end));
    assert_eq!(opened.recovery.findings, []);
}

#[test]
fn without_a_checkpoint_segments_in_acked_count_as_delivered() {
    let fs = SimFs::new();
    let (firsts, end) = half_delivered(&fs);
    fs.rename(&path(SegmentLocation::Pending, firsts[0]), &path(SegmentLocation::Acked, firsts[0])).unwrap();
    fs.remove(&dir().join("checkpoint")).unwrap();
    let opened = reopen(&fs);
    assert_eq!(waiting(&opened.log), numbers(firsts[1], end));
}

/// Found by fuzzing: the newest segment was in `acked/` without a footer, so it counted as empty. Its numbers were
/// reused in a new segment of the same name, and the next start reported the previous segment as lost.
#[test]
fn numbers_of_a_newest_segment_in_acked_are_not_reused() {
    let fs = SimFs::new();
    let (firsts, end) = half_delivered(&fs);
    // The previous segment has lost its footer too. Only the header of the newest one records where it ends.
    let before = path(SegmentLocation::Pending, firsts[2]);
    let bytes = fs.read(&before);
    fs.put(&before, bytes[..bytes.len() - 8].to_vec());
    for first in &firsts[2..] {
        fs.rename(&path(SegmentLocation::Pending, *first), &path(SegmentLocation::Acked, *first)).unwrap();
    }
    fs.remove(&dir().join("checkpoint")).unwrap();
    for _ in 0..2 {
        let opened = reopen(&fs);
        assert_eq!(opened.writer.next_lsn(), Lsn(end + 1));
        assert_eq!(opened.log.read(Lsn(end)).unwrap().unwrap().payload, payload(end));
        assert_eq!(waiting(&opened.log), numbers(firsts[0], firsts[2].0 - 1));
        assert!(opened.log.dead_letters().is_empty());
    }
}

fn log(dir: &Path) -> Lsn {
    let (_lock, mut opened) = open_locked(dir, &options(&Events::default()), Timestamp(1)).unwrap();
    append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    opened.log.checkpoint(Timestamp(1)).unwrap();
    opened.log.segments()[0].first
}

fn refused_path(dir: &Path) -> PathBuf {
    match open_locked(dir, &options(&Events::default()), Timestamp(1)).map(drop).unwrap_err() {
        OpenError::Unsuitable { path, .. } => path,
        error => panic!("{error}"),
    }
}

/// Creates a file of some type at a path.
type MakeFile = fn(&Path);

#[test]
fn a_file_of_the_wrong_type_is_refused_and_reported() {
    let kinds: [(&str, MakeFile); 4] = [
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("FIFO", |path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("symbolic link", |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap()),
    ];
    for (kind, make) in kinds {
        for name in ["LOCK", "checkpoint", "spare", "dead/letters", "pending/", "acked/", "sent/"] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            let first = log(dir);
            let name = match name.ends_with('/') {
                true => format!("{name}{}", super::super::segment_header::segment_name(first)),
                false => name.to_owned(),
            };
            let path = dir.join(&name);
            let _ = fs::remove_file(&path);
            make(&path);
            assert_eq!(refused_path(dir), path, "{kind}");
            let view = LogDirectory::open(dir).unwrap().snapshot(|_| None).unwrap();
            let reported =
                view.findings.iter().any(|finding| finding.segment == name && finding.detail.contains(kind));
            assert!(reported, "{kind} {name}: {:?}", view.findings);
            view.verify(&mut |_| None, &mut |_| {}).unwrap();
        }
    }
}

#[test]
fn a_file_in_place_of_a_directory_is_refused() {
    for name in ["pending", "acked", "quarantine", "sent", "dead"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), "").unwrap();
        assert_eq!(refused_path(dir.path()), dir.path().join(name));
    }
}

#[test]
fn a_directory_that_spans_file_systems_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let acked = dir.path().join("acked");
    fs::remove_dir(&acked).unwrap();
    // `/proc` is a separate file system on every machine.
    std::os::unix::fs::symlink("/proc", &acked).unwrap();
    assert_eq!(refused_path(dir.path()), acked);
    assert!(layout::check_file_types(dir.path()).unwrap_err().to_string().contains("another file system"));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let uid = fs::metadata(dir.path()).unwrap().uid();
    layout::check_owner_for(dir.path(), uid).unwrap();
    let error = layout::check_owner_for(dir.path(), uid + 1).unwrap_err().to_string();
    assert!(error.contains(&format!("belongs to user {uid}")), "{error}");
}

/// A start as root leaves such files in a service user's directory. The test needs root, because only root can change
/// the owner of a file.
#[test]
fn a_file_of_another_user_in_the_directory_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    std::os::unix::fs::chown(dir.path(), Some(1000), None).unwrap();
    let error = layout::check_owner_for(dir.path(), 1000).unwrap_err().to_string();
    assert!(error.contains("LOCK: it belongs to user 0"), "{error}");
    let as_root = open_locked(dir.path(), &options(&Events::default()), Timestamp(1)).map(drop);
    assert!(as_root.unwrap_err().to_string().contains("belongs to user 1000"));
}
