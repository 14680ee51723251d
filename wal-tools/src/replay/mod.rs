//! `replay`: delivers a range of delivered records again, under the same command ids.

mod execute;
mod plan;

use std::io;
use std::io::Write;
use std::ops::Range;

use anyhow::bail;
use cli_support::Interrupt;
use forebay_wal::control::Request;
use forebay_wal::inspect::LogView;
use forebay_wal::{Lsn, control};
use serde::Serialize;

use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::{cli, range, text_format};

use execute::{CHUNK, Executor, ReplayProgress};
use plan::{Choice, ReplayPlan};

#[derive(Serialize)]
struct Document<'a> {
    applied: bool,
    #[serde(flatten)]
    plan: &'a ReplayPlan,
    #[serde(flatten)]
    done: Option<&'a ReplayProgress>,
}

pub fn run(log: &LogContext, args: &cli::Replay) -> anyhow::Result<ExitOutcome> {
    // The daemon saves a checkpoint before it responds. A snapshot taken afterwards knows all deliveries so far.
    let _ = control::send_request(&log.dir, &Request::Status);
    let view = log.readable_view()?;
    let range = range::resolve(&view, Some(args.from), args.to)?;
    let bar = text_format::progress(bytes(&view, &range));
    let plan = ReplayPlan::of(&view, &range, &mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    explain(&plan, &range);
    let done = match args.apply && plan.records > 0 {
        true => Some(apply(log, &view, &range, &plan)?),
        false => None,
    };
    unless_closed(print(log.json, &plan, done.as_ref()))?;
    if !args.apply && plan.records > 0 {
        note!("nothing was changed; use --apply to carry out the plan");
    }
    if let Some(ReplayProgress { replayed, last_done, error: Some(error), .. }) = &done {
        let next = last_done.map_or(range.start, Lsn::next);
        bail!(
            "{replayed} of {} records were appended again; continue with --from {next}: {error}",
            plan.records
        );
    }
    Ok(if plan.damaged > 0 { ExitOutcome::Findings } else { ExitOutcome::Fine })
}

fn apply(
    log: &LogContext,
    view: &LogView,
    range: &Range<Lsn>,
    plan: &ReplayPlan,
) -> anyhow::Result<ReplayProgress> {
    let interrupt = Interrupt::listen()?;
    let mut executor = Executor::begin(log, view, plan)?;
    let mut done = ReplayProgress::default();
    let bar = text_format::progress(plan.bytes);
    let mut chunk = Vec::new();
    for stored in view.records(range.clone()) {
        let stored = stored?;
        if plan::choose(view, range, &stored) != Choice::Replay {
            continue;
        }
        chunk.push(stored.record.lsn);
        bar.inc(stored.bytes);
        if chunk.len() < CHUNK {
            continue;
        }
        if !executor.replay_chunk(&chunk, &mut done) {
            break;
        }
        chunk.clear();
        if interrupt.was_received() {
            done.error = Some("interrupted".to_owned());
            break;
        }
    }
    if done.error.is_none() {
        executor.replay_chunk(&chunk, &mut done);
    }
    bar.finish_and_clear();
    executor.end()?;
    if done.error.is_none() && done.replayed < plan.records {
        done.error = Some("the other records expired in the meantime".to_owned());
    }
    Ok(done)
}

/// Bytes of the segments that will be read.
fn bytes(view: &LogView, range: &Range<Lsn>) -> u64 {
    let hit =
        view.segments.iter().filter(|segment| segment.first() < range.end && range.start < segment.next());
    hit.map(|segment| segment.bytes()).sum()
}

/// Prints notes about the plan for the operator.
fn explain(plan: &ReplayPlan, range: &Range<Lsn>) {
    if range.start < plan.oldest_kept && !range.is_empty() {
        note!("the oldest retained record is {}; earlier records have expired", plan.oldest_kept);
    }
    if plan.records > 0 {
        note!(
            "consumers receive a replayed record after later records of its key, and recognise it by its command id"
        );
    }
    for (count, what) in [
        (plan.waiting, "are skipped: they are not delivered yet"),
        (plan.dead, "are skipped: they are dead letters, see `wal-tools dead`"),
        (plan.copies, "are skipped: another record of the same command is delivered"),
        (plan.damaged, "are skipped: they cannot be read, see `wal-tools verify`"),
    ] {
        if count > 0 {
            note!("{count} records {what}");
        }
    }
}

fn print(json: bool, plan: &ReplayPlan, done: Option<&ReplayProgress>) -> anyhow::Result<()> {
    if json {
        return Ok(text_format::print_json(&Document { applied: done.is_some(), plan, done })?);
    }
    let ReplayPlan { from, to, records, bytes, .. } = plan;
    let mut out = io::stdout().lock();
    match done {
        None => writeln!(
            out,
            "to deliver again: {records} records of {from} to {to}, {}",
            text_format::size(*bytes)
        )?,
        Some(ReplayProgress { replayed, last_as, .. }) => {
            let last = last_as.map_or_else(String::new, |lsn| format!(", the last one as record {lsn}"));
            writeln!(out, "appended again: {replayed} of {records} records{last}")?;
        }
    }
    for (kind, count) in &plan.kinds {
        writeln!(out, "  {count:>10}  {}", text_format::without_control_chars(kind))?;
    }
    Ok(())
}
