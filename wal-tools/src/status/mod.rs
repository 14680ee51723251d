//! `status`: the backlog of the log.
//!
//! - `document`: the figures
//! - `watch`: samples the figures repeatedly (`--watch`)
//! - `rates`: rates and trend from several samples
//! - `watch_view`: prints one sample

mod document;
mod rates;
mod watch;
mod watch_view;

use std::io;
use std::io::Write;
use std::time::Duration;

use forebay_wal::control;
use forebay_wal::control::{ControlResponse, Request};
use serde_json::Value;

use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note};
use crate::{cli, problems, text_format};

/// Maximum segments in the table: those with the oldest undelivered records.
const MAX_SEGMENTS_SHOWN: usize = 20;

pub fn run(log: &LogContext, args: &cli::Status) -> anyhow::Result<ExitOutcome> {
    if args.watch {
        return watch::run(log, args.interval);
    }
    // The request comes first. The daemon saves a checkpoint before it responds, so the files agree with its response.
    let response = control::send_request(&log.dir, &Request::Status);
    let view = log.view()?;
    let mut document = document::from_files(&view)?;
    match response {
        Ok(ControlResponse::Status(Value::Object(exact))) => {
            document::merge_daemon_status(&mut document, exact)
        }
        Ok(other) => note!("{}; the figures are as of the last checkpoint", document::not_a_status(&other)),
        Err(error) if view.live => note!("{error}; the figures are as of the last checkpoint"),
        Err(_) => {}
    }
    match log.json {
        true => text_format::print_json(&document)?,
        false => print(&document)?,
    }
    for finding in &view.findings {
        note!("{}: {}", finding.segment, finding.detail);
    }
    Ok(ExitOutcome::Fine)
}

fn print(document: &Value) -> anyhow::Result<()> {
    let number = |name: &str| document[name].as_u64().unwrap_or_default();
    let age = |name: &str| {
        document[name].as_f64().map(|secs| text_format::age(Duration::from_secs_f64(secs.max(0.0))))
    };
    let checkpoint = age("checkpoint_age_seconds").map_or("none".to_owned(), |age| format!("{age} old"));
    let exact = document["source"] == "daemon";
    let mut shown = text_format::members();
    shown.add_row(["backlog", &format!("{} records", number("backlog"))]);
    shown.add_row([
        "oldest",
        &age("oldest_age_seconds").filter(|_| number("backlog") > 0).unwrap_or("-".into()),
    ]);
    shown.add_row(["size", &text_format::size(number("backlog_bytes"))]);
    shown.add_row(["dead letters", &number("dead").to_string()]);
    shown.add_row(["watermark", &format!("all records below {} are done", number("watermark_lsn"))]);
    shown.add_row(["segments", &segments(number("segments"), number("encrypted_segments"))]);
    shown.add_row([
        "poisoned",
        if document["poisoned"] == true { "YES: the log accepts no records" } else { "no" },
    ]);
    if let Some(error) = document["last_error"].as_str() {
        shown.add_row(["last error", &text_format::without_control_chars(error)]);
    }
    shown.add_row(["daemon", if document["running"] == true { "running" } else { "not running" }]);
    shown.add_row(["figures", if exact { "from the daemon, exact" } else { "as of the last checkpoint" }]);
    shown.add_row(["checkpoint", &checkpoint]);
    text_format::print(&shown)?;
    problems::print(document)?;
    print_kinds(document)?;
    print_segments(document)
}

fn segments(all: u64, encrypted: u64) -> String {
    match encrypted {
        0 => format!("{all}"),
        _ if encrypted == all => format!("{all}, encrypted"),
        _ => format!("{all}, {encrypted} of them encrypted, the older ones not"),
    }
}

fn print_kinds(document: &Value) -> anyhow::Result<()> {
    let Some(kinds) = document["kinds"].as_object().filter(|kinds| !kinds.is_empty()) else { return Ok(()) };
    let mut shown = text_format::table(&["KIND", "#WAITING"]);
    for (kind, count) in kinds {
        shown.add_row([text_format::without_control_chars(kind), count.to_string()]);
    }
    writeln!(io::stdout())?;
    Ok(text_format::print(&shown)?)
}

fn print_segments(document: &Value) -> anyhow::Result<()> {
    let Some(waiting) = document["waiting_segments"].as_array().filter(|waiting| !waiting.is_empty()) else {
        return Ok(());
    };
    let mut shown = text_format::table(&["SEGMENT", "STATE", "#FIRST", "#LAST", "#WAITING", "#RECORDS"]);
    for segment in waiting.iter().take(MAX_SEGMENTS_SHOWN) {
        let text = |name: &str| match &segment[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        shown.add_row(["segment", "state", "first_lsn", "last_lsn", "backlog", "records"].map(text));
    }
    writeln!(io::stdout())?;
    text_format::print(&shown)?;
    if waiting.len() > MAX_SEGMENTS_SHOWN {
        writeln!(io::stdout(), "and {} more segments", waiting.len() - MAX_SEGMENTS_SHOWN)?;
    }
    Ok(())
}
