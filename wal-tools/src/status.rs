//! `status`: what waits for delivery.

use std::collections::BTreeMap;
use std::io;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use forebay_wal::control::{Answer, AskError, Request};
use forebay_wal::inspect::View;
use forebay_wal::units::Timestamp;
use forebay_wal::{Lsn, control};
use serde::Serialize;
use serde_json::Value;

use crate::open::Log;
use crate::output::{Outcome, note};
use crate::problems::Problem;
use crate::{cli, problems, segments, table};

/// How often `--watch` looks again.
const WATCH: Duration = Duration::from_secs(2);
/// Segments a person is shown: the ones that wait longest.
const SHOWN: usize = 20;

/// What a look at the files says. What a daemon answers stands in place of the members it names.
#[derive(Serialize)]
struct Document {
    backlog: u64,
    /// 0 when nothing waits.
    oldest_age_seconds: f64,
    backlog_bytes: u64,
    dead: u64,
    poisoned: bool,
    watermark_lsn: Lsn,
    segments: u64,
    last_error: Option<String>,
    problems: Vec<Problem>,
    /// Whether a daemon, or another writer, has the log.
    running: bool,
    /// Where the figures come from: `daemon` (exact) or `checkpoint`.
    source: &'static str,
    checkpoint_age_seconds: Option<f64>,
    /// Segments whose payloads are encrypted; the others among `segments` are not.
    encrypted_segments: u64,
    kinds: BTreeMap<String, u64>,
    waiting_segments: Vec<Waiting>,
}

/// A segment with records that wait.
#[derive(Serialize)]
struct Waiting {
    segment: String,
    state: &'static str,
    first_lsn: Lsn,
    last_lsn: Lsn,
    backlog: u64,
    records: u64,
}

pub fn run(log: &Log, args: &cli::Status) -> anyhow::Result<Outcome> {
    loop {
        // Asked first: a daemon takes a checkpoint before it answers, and what is read afterwards agrees with it.
        let asked = control::ask(&log.dir, &Request::Status);
        let view = log.look()?;
        let document = complete(asked, &view)?;
        if args.watch && !log.json && io::stdout().is_terminal() {
            write!(io::stdout(), "\x1b[H\x1b[2J")?;
        }
        match log.json {
            true => table::print_json(&document)?,
            false => print(&document)?,
        }
        for finding in &view.findings {
            note!("{}: {}", finding.segment, finding.detail);
        }
        if !args.watch {
            return Ok(Outcome::Fine);
        }
        std::thread::sleep(WATCH);
    }
}

/// What the files say, with the daemon's own figures where one answers.
fn complete(asked: Result<Answer, AskError>, view: &View) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(document(view)?)?;
    match asked {
        Ok(Answer::Status(Value::Object(exact))) => {
            if let Some(members) = document.as_object_mut() {
                members.extend(exact);
                members.insert("source".to_owned(), "daemon".into());
            }
        }
        Ok(other) => note!("the daemon did not answer with its status: {other:?}"),
        Err(error) if view.live => note!("{error}; figures are as of the last checkpoint"),
        Err(_) => {}
    }
    Ok(document)
}

fn document(view: &View) -> io::Result<Document> {
    let now = Timestamp::now();
    let seconds = |at: Timestamp| now.since(at).as_secs_f64();
    let (backlog, problems) = (view.backlog()?, problems::of_files(view)?);
    let waiting = backlog.segments.iter().filter_map(|&(first, count)| {
        let segment = view.holding(first)?;
        Some(Waiting {
            segment: segment.name(),
            state: segments::state(segment),
            first_lsn: first,
            last_lsn: Lsn(segment.next().0 - 1),
            backlog: count,
            records: segment.records(),
        })
    });
    Ok(Document {
        backlog: backlog.records,
        oldest_age_seconds: backlog.oldest.map_or(0.0, seconds),
        backlog_bytes: backlog.bytes,
        dead: view.dead.as_ref().map_or(0, |dead| dead.len()),
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

fn print(document: &Value) -> anyhow::Result<()> {
    let number = |name: &str| document[name].as_u64().unwrap_or_default();
    let age =
        |name: &str| document[name].as_f64().map(|secs| table::age(Duration::from_secs_f64(secs.max(0.0))));
    let checkpoint = age("checkpoint_age_seconds").map_or("none".to_owned(), |age| format!("{age} old"));
    let exact = document["source"] == "daemon";
    let mut shown = table::members();
    shown.add_row(["backlog", &format!("{} records", number("backlog"))]);
    shown.add_row([
        "oldest",
        &age("oldest_age_seconds").filter(|_| number("backlog") > 0).unwrap_or("-".into()),
    ]);
    shown.add_row(["size", &table::size(number("backlog_bytes"))]);
    shown.add_row(["dead letters", &number("dead").to_string()]);
    shown.add_row(["watermark", &format!("everything below record {} is done", number("watermark_lsn"))]);
    shown.add_row(["segments", &segments(number("segments"), number("encrypted_segments"))]);
    shown.add_row([
        "poisoned",
        if document["poisoned"] == true { "YES: the log takes nothing more" } else { "no" },
    ]);
    if let Some(error) = document["last_error"].as_str() {
        shown.add_row(["last error", &table::plain(error)]);
    }
    shown.add_row(["daemon", if document["running"] == true { "running" } else { "not running" }]);
    shown.add_row(["figures", if exact { "the daemon's own, exact" } else { "as of the last checkpoint" }]);
    shown.add_row(["checkpoint", &checkpoint]);
    table::print(&shown)?;
    problems::print(document)?;
    print_kinds(document)?;
    print_segments(document)
}

fn segments(all: u64, encrypted: u64) -> String {
    match encrypted {
        0 => format!("{all}"),
        _ if encrypted == all => format!("{all}, encrypted"),
        _ => format!("{all}, {encrypted} of them encrypted, the others from before"),
    }
}

fn print_kinds(document: &Value) -> anyhow::Result<()> {
    let Some(kinds) = document["kinds"].as_object().filter(|kinds| !kinds.is_empty()) else { return Ok(()) };
    let mut shown = table::table(&["KIND", "#WAITING"]);
    for (kind, count) in kinds {
        shown.add_row([table::plain(kind), count.to_string()]);
    }
    writeln!(io::stdout())?;
    Ok(table::print(&shown)?)
}

fn print_segments(document: &Value) -> anyhow::Result<()> {
    let Some(waiting) = document["waiting_segments"].as_array().filter(|waiting| !waiting.is_empty()) else {
        return Ok(());
    };
    let mut shown = table::table(&["SEGMENT", "STATE", "#FIRST", "#LAST", "#WAITING", "#RECORDS"]);
    for segment in waiting.iter().take(SHOWN) {
        let text = |name: &str| match &segment[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        shown.add_row(["segment", "state", "first_lsn", "last_lsn", "backlog", "records"].map(text));
    }
    writeln!(io::stdout())?;
    table::print(&shown)?;
    if waiting.len() > SHOWN {
        writeln!(io::stdout(), "and {} more segments", waiting.len() - SHOWN)?;
    }
    Ok(())
}
