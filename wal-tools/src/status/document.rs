//! The status document: built from the files, and completed with the response of a daemon.

use std::collections::BTreeMap;
use std::io;

use forebay_wal::Lsn;
use forebay_wal::control::ControlResponse;
use forebay_wal::inspect::LogView;
use forebay_wal::units::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::problems::Problem;
use crate::{problems, segments};

/// The message for a response that is not a status.
pub fn not_a_status(response: &ControlResponse) -> String {
    match response {
        ControlResponse::Error(error) => format!("the daemon refused to send its status: {error}"),
        _ => {
            "the daemon sent a response to another request: use the wal-tools of the same package".to_owned()
        }
    }
}

/// Status of the log according to its files. Members in a daemon's response replace those with the same name.
#[derive(Serialize)]
struct FileStatus {
    backlog: u64,
    /// 0 if no record waits.
    oldest_age_seconds: f64,
    backlog_bytes: u64,
    dead: u64,
    poisoned: bool,
    watermark_lsn: Lsn,
    segments: u64,
    last_error: Option<String>,
    problems: Vec<Problem>,
    /// Whether a daemon or another writer holds the lock of the log.
    running: bool,
    /// Source of the figures: `daemon` (exact) or `checkpoint`.
    source: &'static str,
    checkpoint_age_seconds: Option<f64>,
    /// Segments whose payloads are encrypted. `segments` minus this number are not.
    encrypted_segments: u64,
    kinds: BTreeMap<String, u64>,
    waiting_segments: Vec<WaitingSegment>,
}

/// A segment with undelivered records.
#[derive(Serialize)]
struct WaitingSegment {
    segment: String,
    state: &'static str,
    first_lsn: Lsn,
    last_lsn: Lsn,
    backlog: u64,
    records: u64,
}

/// Builds the document from the files.
pub fn from_files(view: &LogView) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(document(view)?)?)
}

/// Replaces members of the document with those of a daemon's response.
pub fn merge_daemon_status(document: &mut Value, exact: serde_json::Map<String, Value>) {
    if let Some(members) = document.as_object_mut() {
        members.extend(exact);
        members.insert("source".to_owned(), "daemon".into());
    }
}

fn document(view: &LogView) -> io::Result<FileStatus> {
    let now = Timestamp::now();
    let seconds = |at: Timestamp| now.since(at).as_secs_f64();
    let (backlog, problems) = (view.backlog()?, problems::from_files(view)?);
    let waiting = backlog.segments.iter().filter_map(|&(first, count)| {
        let segment = view.segment_containing(first)?;
        Some(WaitingSegment {
            segment: segment.name(),
            state: segments::state(segment),
            first_lsn: first,
            last_lsn: Lsn(segment.next().0 - 1),
            backlog: count,
            records: segment.records(),
        })
    });
    Ok(FileStatus {
        backlog: backlog.records,
        oldest_age_seconds: backlog.oldest.map_or(0.0, seconds),
        backlog_bytes: backlog.bytes,
        dead: view.dead_letters.as_ref().map_or(0, |dead| dead.len()),
        poisoned: false,
        watermark_lsn: backlog.watermark,
        segments: view.segments.len() as u64,
        last_error: problems.iter().find_map(|problem| problem.last_error.clone()),
        problems,
        running: view.live,
        source: "checkpoint",
        checkpoint_age_seconds: view.checkpoint.as_ref().map(|checkpoint| seconds(checkpoint.written_at)),
        encrypted_segments: view.segments.iter().filter(|segment| segment.encrypted()).count() as u64,
        kinds: backlog.labels,
        waiting_segments: waiting.collect(),
    })
}
