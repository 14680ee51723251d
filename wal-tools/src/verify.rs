//! `verify`: reads and checks every record.

use std::io;
use std::io::Write;

use forebay_wal::command::{Envelope, IdGenerator, lane};
use forebay_wal::inspect::LogView;
use forebay_wal::{Finding, RecordRef};
use serde::Serialize;

use crate::cli::Verify;
use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::text_format;

/// Result of `verify`.
#[derive(Serialize)]
struct Document<'a> {
    records: u64,
    bytes: u64,
    /// Records with a valid checksum that were not authenticated, because the key is missing.
    not_authenticated: u64,
    findings: &'a [Finding],
    /// Damaged ranges that were found earlier, with a copy in `quarantine/`.
    set_aside: u64,
}

pub fn run(log: &LogContext, args: &Verify) -> anyhow::Result<ExitOutcome> {
    let view = log.view()?;
    let bar = text_format::progress(view.bytes());
    let mut deep = content_check(&view);
    let mut check = |frame: &RecordRef<'_>| if args.deep { deep(frame) } else { None };
    let report = view.verify(&mut check, &mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let document = Document {
        records: report.records,
        bytes: report.bytes,
        not_authenticated: report.locked,
        findings: &report.findings,
        set_aside: report.set_aside,
    };
    if report.set_aside > 0 {
        note!("damaged ranges found earlier, with copies in quarantine/: {}", report.set_aside);
    }
    let printed = match log.json {
        true => text_format::print_json(&document).map_err(Into::into),
        false => print(&document),
    };
    unless_closed(printed)?;
    if report.locked > 0 {
        let count = report.locked;
        note!(
            "of {count} encrypted records only the checksums were verified; --key-file also authenticates them"
        );
    }
    Ok(if report.findings.is_empty() { ExitOutcome::Fine } else { ExitOutcome::Findings })
}

/// Returns a check of a record's contents: its envelope can be decoded, and its lane and id match its position.
fn content_check(view: &LogView) -> impl FnMut(&RecordRef<'_>) -> Option<String> {
    let generator = view.identity().map(|identity| IdGenerator::new(&identity.log_id, &identity.secret));
    move |frame| {
        let lsn = frame.lsn;
        let envelope = match Envelope::decode(frame.payload) {
            Ok(envelope) => envelope,
            Err(error) => return Some(format!("record {lsn}: {error}")),
        };
        if frame.lane != lane(envelope.key, lsn) {
            return Some(format!("record {lsn} lies in lane {}, which is not its key's", frame.lane));
        }
        // A requeued command keeps the id of its first record.
        let known = generator.as_ref().filter(|_| envelope.requeued_from.is_none());
        match known.map(|generator| generator.lsn(&envelope.id)) {
            Some(Ok(named)) if named != lsn => Some(format!("record {lsn} has the id of record {named}")),
            Some(Err(error)) => Some(format!("record {lsn}: {error}")),
            _ => None,
        }
    }
}

fn print(document: &Document<'_>) -> anyhow::Result<()> {
    if !document.findings.is_empty() {
        let mut shown = text_format::table(&["SEGMENT", "#OFFSET", "KIND", "DETAIL"]);
        for finding in document.findings {
            shown.add_row([
                text_format::without_control_chars(&finding.segment),
                finding.offset.to_string(),
                text_format::serialized_name(finding.kind),
                text_format::without_control_chars(&finding.detail),
            ]);
        }
        text_format::print(&shown)?;
    }
    let (records, bytes) = (document.records, text_format::size(document.bytes));
    match document.findings.len() {
        0 => writeln!(io::stdout(), "{records} records, {bytes}: no findings")?,
        n => writeln!(io::stdout(), "{records} records, {bytes} readable; findings: {n}")?,
    }
    Ok(())
}
