//! `segments`: one line per segment.

use forebay_wal::inspect::{QuarantinedSegment, SegmentInfo};
use forebay_wal::units::Timestamp;
use forebay_wal::{Lsn, SegmentLocation};
use serde::Serialize;

use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::text_format;

/// One segment.
#[derive(Serialize)]
struct SegmentRow {
    segment: String,
    state: &'static str,
    /// First and last record. `None` if the segment is empty, or if its header cannot be read.
    first_lsn: Option<Lsn>,
    last_lsn: Option<Lsn>,
    records: u64,
    /// Size of the file in bytes.
    size: u64,
    sealed: bool,
    encrypted: bool,
    /// `ok`, `damaged`, or `set-aside`: damaged, with a copy in `quarantine/`.
    checksum: &'static str,
    first_accepted_at: Option<Timestamp>,
    last_accepted_at: Option<Timestamp>,
}

/// Returns the state of a segment: `open`, `pending` or `acked`.
pub fn state(segment: &SegmentInfo) -> &'static str {
    match (segment.place, segment.sealed) {
        (SegmentLocation::Acked, _) => "acked",
        (SegmentLocation::Pending, true) => "pending",
        (SegmentLocation::Pending, false) => "open",
    }
}

pub fn run(log: &LogContext) -> anyhow::Result<ExitOutcome> {
    let view = log.view()?;
    let bar = text_format::progress(view.bytes());
    let mut rows: Vec<_> = log.directory().quarantined_segments()?.into_iter().map(quarantined).collect();
    let mut outcome = if rows.is_empty() { ExitOutcome::Fine } else { ExitOutcome::Findings };
    for segment in &view.segments {
        let report = view.verify_segment(segment, &mut |_| None, &mut |bytes| bar.inc(bytes))?;
        let name = segment.name();
        let damaged = !report.findings.is_empty() || view.findings.iter().any(|f| f.segment == name);
        if damaged {
            outcome = ExitOutcome::Findings;
        }
        rows.push(row(
            segment,
            if damaged {
                "damaged"
            } else if report.set_aside > 0 {
                "set-aside"
            } else {
                "ok"
            },
        ));
    }
    bar.finish_and_clear();
    rows.sort_by(|a, b| a.segment.cmp(&b.segment));
    unless_closed(print(log, &rows))?;
    if outcome == ExitOutcome::Findings {
        note!("some segments are damaged or in quarantine; `wal-tools verify` reports the damage");
    }
    Ok(outcome)
}

fn row(segment: &SegmentInfo, checksum: &'static str) -> SegmentRow {
    let accepted = segment.accepted();
    let last = accepted.map(|_| Lsn(segment.next().0 - 1));
    SegmentRow {
        segment: segment.name(),
        state: state(segment),
        first_lsn: accepted.map(|_| segment.first()),
        last_lsn: last,
        records: segment.records(),
        size: segment.size,
        sealed: segment.sealed,
        encrypted: segment.encrypted(),
        checksum,
        first_accepted_at: accepted.map(|(first, _)| first),
        last_accepted_at: accepted.map(|(_, last)| last),
    }
}

fn quarantined(segment: QuarantinedSegment) -> SegmentRow {
    SegmentRow {
        segment: segment.name,
        state: "quarantined",
        first_lsn: Some(segment.first),
        last_lsn: None,
        records: 0,
        size: segment.size,
        sealed: false,
        encrypted: false,
        checksum: "damaged",
        first_accepted_at: None,
        last_accepted_at: None,
    }
}

fn print(log: &LogContext, rows: &[SegmentRow]) -> anyhow::Result<()> {
    if log.json {
        for row in rows {
            text_format::print_json(row)?;
        }
        return Ok(());
    }
    let mut shown = text_format::table(&[
        "SEGMENT", "STATE", "#FIRST", "#LAST", "#RECORDS", "#SIZE", "SEALED", "CHECKSUM",
    ]);
    let number = |lsn: Option<Lsn>| lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
    for row in rows {
        shown.add_row([
            row.segment.clone(),
            row.state.to_owned(),
            number(row.first_lsn),
            number(row.last_lsn),
            row.records.to_string(),
            text_format::size(row.size),
            if row.sealed { "yes" } else { "no" }.to_owned(),
            row.checksum.to_owned(),
        ]);
    }
    Ok(text_format::print(&shown)?)
}
