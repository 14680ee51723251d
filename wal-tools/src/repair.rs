//! `repair`: finds damage in the log of a stopped daemon, and repairs it with `--apply`.

use std::io;
use std::io::Write;

use forebay_wal::repair::RepairReport;
use forebay_wal::units::Timestamp;
use forebay_wal::{Finding, FindingKind, OpenError, layout, repair};
use serde::Serialize;

use crate::cli::Repair;
use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::text_format;

#[derive(Serialize)]
struct Document<'a> {
    applied: bool,
    findings: Vec<FindingRow<'a>>,
    /// Files in `quarantine/`.
    backups: &'a [String],
    /// Findings that remain at the next start.
    left: &'a [Finding],
}

#[derive(Serialize)]
struct FindingRow<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    remedy: &'static str,
}

pub fn run(log: &LogContext, args: &Repair) -> anyhow::Result<ExitOutcome> {
    let view = log.view()?;
    let (options, bar) = (log.options(&view), text_format::progress(view.bytes()));
    let mut progress = |bytes| bar.inc(bytes);
    let now = Timestamp::now();
    let report = match args.apply {
        true => {
            layout::check(&log.dir)?;
            repair::apply(&log.dir, &options, now, &mut progress)
        }
        false => repair::plan(&log.dir, &options, now, &mut progress),
    };
    bar.finish_and_clear();
    let report = match report {
        // Only an operator knows whether a newer copy of the log exists.
        Err(error @ OpenError::Lost { .. }) => {
            note!("wal-tools: cannot be repaired: {error}");
            return Ok(ExitOutcome::Findings);
        }
        report => report?,
    };
    let applied = args.apply && report.has_work();
    unless_closed(print(log.json, &report, applied))?;
    for finding in &report.remaining {
        note!("cannot be repaired: {}: {}", finding.segment, finding.detail);
    }
    if report.has_work() && !args.apply {
        note!("nothing was changed; use --apply to carry out the plan");
        return Ok(ExitOutcome::Findings);
    }
    Ok(if report.remaining.is_empty() { ExitOutcome::Fine } else { ExitOutcome::Findings })
}

fn remedy(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::TornTail => "cut off",
        FindingKind::Damaged => "copied to quarantine/; undelivered records become a dead letter",
        FindingKind::Missing => "becomes a dead letter",
        FindingKind::Checkpoint => "recreated; everything in pending/ is delivered again",
        FindingKind::Foreign | FindingKind::Leftover => "moved to quarantine/",
        FindingKind::Misplaced => "moved back to pending/",
        FindingKind::Unknown => "none",
    }
}

fn print(json: bool, report: &RepairReport, applied: bool) -> anyhow::Result<()> {
    let rows = report.findings.iter().map(|finding| FindingRow { finding, remedy: remedy(finding.kind) });
    if json {
        let (backups, left) = (&report.backups[..], &report.remaining[..]);
        return Ok(text_format::print_json(&Document { applied, findings: rows.collect(), backups, left })?);
    }
    if report.findings.is_empty() {
        writeln!(io::stdout(), "nothing to repair")?;
        return Ok(());
    }
    let mut shown = text_format::table(&["SEGMENT", "#OFFSET", "KIND", "DETAIL", "REMEDY"]);
    for FindingRow { finding, remedy } in rows {
        shown.add_row([
            text_format::without_control_chars(&finding.segment),
            finding.offset.to_string(),
            text_format::serialized_name(finding.kind),
            text_format::without_control_chars(&finding.detail),
            remedy.to_owned(),
        ]);
    }
    text_format::print(&shown)?;
    let verb = if applied { "was kept" } else { "will be kept" };
    for name in &report.backups {
        writeln!(io::stdout(), "a copy {verb} in quarantine/{}", text_format::without_control_chars(name))?;
    }
    Ok(())
}
