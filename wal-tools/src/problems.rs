//! Problems of a log that its files show. A running daemon knows more problems, and its list replaces this one.
//!
//! The codes are a subset of the daemon's (docs/runbook.md). A poisoned log is not reported here, because the next
//! start determines its contents.

use std::io;
use std::io::Write;

use forebay_wal::dead_letters::DeadEntry;
use forebay_wal::inspect::LogView;
use forebay_wal::units::Timestamp;
use forebay_wal::{FindingKind, Lsn};
use serde::Serialize;
use serde_json::Value;

use crate::text_format;

const DEAD_LETTERS: &str = "dead_letters";
const LOG_DAMAGED: &str = "log_damaged";

/// One entry of the list.
#[derive(Serialize)]
pub struct Problem {
    code: &'static str,
    since: Timestamp,
    detail: String,
    pub last_error: Option<String>,
    runbook: String,
}

impl Problem {
    fn new(code: &'static str, since: Timestamp, detail: String) -> Self {
        Self { code, since, detail, last_error: None, runbook: format!("docs/runbook.md#{code}") }
    }
}

/// Returns the problems of a log. Reads at most two dead letters.
pub fn from_files(view: &LogView) -> io::Result<Vec<Problem>> {
    let mut problems = damage(view);
    problems.extend(letters(view)?);
    Ok(problems)
}

fn damage(view: &LogView) -> Vec<Problem> {
    let is_loss = |kind| matches!(kind, FindingKind::Damaged | FindingKind::Missing);
    let found = view.findings.iter().find(|finding| is_loss(finding.kind));
    let detail = match found {
        Some(finding) => format!("{}: {}", finding.segment, finding.detail),
        None if view.dead_letters.as_ref().is_some_and(|dead| dead.damaged_records() > 0) => {
            "records were lost to damage; see `wal-tools dead list`".to_owned()
        }
        None => return Vec::new(),
    };
    vec![Problem::new(LOG_DAMAGED, Timestamp::now(), detail)]
}

fn letters(view: &LogView) -> io::Result<Option<Problem>> {
    let Some((store, (first, last))) =
        view.dead_letters.as_ref().and_then(|dead| Some((dead, dead.first_and_last()?)))
    else {
        return Ok(None);
    };
    let entry = |lsn: Lsn| -> io::Result<(Timestamp, Option<String>)> {
        Ok(match store.get(lsn)? {
            Some(DeadEntry::Letter(letter)) => (letter.died_at, Some(letter.reason)),
            Some(DeadEntry::Sealed(letter)) => (letter.died_at, None),
            Some(DeadEntry::Damage(damage)) => (damage.found_at, Some(damage.reason)),
            None => (Timestamp::now(), None),
        })
    };
    let (first, last) = (entry(first)?, entry(last)?);
    let detail = format!("dead letters stored: {}; requeue or drop them with `wal-tools dead`", store.len());
    let problem = Problem::new(DEAD_LETTERS, first.0.min(last.0), detail);
    Ok(Some(Problem { last_error: last.1, ..problem }))
}

/// Prints the problems of a status document as a table. Prints nothing if none exist.
pub fn print(document: &Value) -> io::Result<()> {
    let Some(problems) = document["problems"].as_array().filter(|problems| !problems.is_empty()) else {
        return Ok(());
    };
    let mut shown = text_format::table(&["PROBLEM", "SINCE", "DETAIL", "LAST ERROR"]);
    for problem in problems {
        let text =
            |name: &str| problem[name].as_str().map_or("-".to_owned(), text_format::without_control_chars);
        let since = problem["since"].as_str().and_then(|since| since.parse().ok());
        let since = since.map_or("-".to_owned(), text_format::ago);
        shown.add_row([text("code"), since, text("detail"), text("last_error")]);
    }
    writeln!(io::stdout())?;
    text_format::print(&shown)
}
