//! `rekey`: wraps the data keys of existing files with a new master key. Prints the plan, or carries it out with
//! `--apply`.

use std::io;
use std::io::Write;

use anyhow::Context;
use forebay_wal::fs::RealFs;
use forebay_wal::rekey::{KeyStatus, RekeyItem};
use forebay_wal::{KeyId, Lock, layout, rekey};
use serde::Serialize;

use crate::cli::Rekey;
use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::text_format;

/// Planned or completed action on the key of one file.
#[derive(Serialize)]
struct KeyRow {
    file: String,
    wrapping: &'static str,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub fn run(log: &LogContext, args: &Rekey) -> anyhow::Result<ExitOutcome> {
    let master = log.keys.current().context("give the file of the new key with --key-file")?;
    // A running daemon would wrap the keys of new segments with the previous master key.
    if args.apply {
        layout::check(&log.dir)?;
    }
    let _lock = args.apply.then(|| Lock::acquire(&log.dir)).transpose().context("stop the daemon first")?;
    let items = rekey::plan(&RealFs, &log.dir, &log.keys)?;
    let mut failed = Ok(());
    let mut rows = Vec::new();
    for item in &items {
        let mut row = KeyRow::of(item);
        if args.apply && failed.is_ok() && item.status == KeyStatus::NeedsRekey {
            failed = rekey::apply(&RealFs, &log.dir, item, &log.keys);
            row.action = if failed.is_ok() { "re-wrapped" } else { "failed" };
        }
        rows.push(row);
    }
    unless_closed(print(log, &rows))?;
    failed.context("the other files were not changed; keep both keys, and run rekey again to continue")?;
    let due = items.iter().any(|item| item.status == KeyStatus::NeedsRekey);
    if due && !args.apply {
        note!("nothing was changed; stop the daemon, then use --apply to carry out the plan");
    }
    let not_rekeyed =
        items.iter().filter(|item| matches!(item.status, KeyStatus::Locked(_) | KeyStatus::Damaged));
    match not_rekeyed.count() {
        0 if args.apply => {
            note!("all encrypted files are under the key {}; no other key is needed", master.id());
            Ok(ExitOutcome::Fine)
        }
        0 => Ok(ExitOutcome::Fine),
        count => {
            note!(
                "{count} files remain under another key, which --old-key-file must name, or their key is damaged: see the \
                 table"
            );
            Ok(ExitOutcome::Findings)
        }
    }
}

impl KeyRow {
    fn of(item: &RekeyItem) -> Self {
        let (wrapping, action, detail) = match &item.status {
            KeyStatus::Plain => ("not encrypted", "none", None),
            KeyStatus::Current => ("new key", "none", None),
            KeyStatus::NeedsRekey => ("old key", "re-wrap", None),
            KeyStatus::Locked(needs) => ("another key", "none", Some(list(needs))),
            KeyStatus::Shredded => ("shredded", "none", None),
            KeyStatus::Damaged => ("damaged", "none", None),
        };
        Self { file: item.path.display().to_string(), wrapping, action, detail }
    }
}

fn list(needs: &[KeyId]) -> String {
    let ids: Vec<_> = needs.iter().map(KeyId::to_string).collect();
    format!("opens with {}", ids.join(" or "))
}

fn print(log: &LogContext, rows: &[KeyRow]) -> anyhow::Result<()> {
    if log.json {
        return Ok(rows.iter().try_for_each(text_format::print_json)?);
    }
    let mut shown = text_format::table(&["FILE", "KEY", "ACTION"]);
    for row in rows {
        let key = row
            .detail
            .as_ref()
            .map_or(row.wrapping.to_owned(), |detail| format!("{}: {detail}", row.wrapping));
        shown.add_row([text_format::without_control_chars(&row.file), key, row.action.to_owned()]);
    }
    text_format::print(&shown)?;
    Ok(io::stdout().flush()?)
}
