//! `rekey`: a new master key for what is there. First the plan, and with `--apply` the deed.

use std::io;
use std::io::Write;

use anyhow::Context;
use forebay_wal::fs::RealFs;
use forebay_wal::rekey::{Item, Wrapping};
use forebay_wal::{KeyId, Lock, layout, rekey};
use serde::Serialize;

use crate::cli::Rekey;
use crate::open::Log;
use crate::output::{Outcome, note, unless_closed};
use crate::table;

/// One file and what is, or was, done with its key.
#[derive(Serialize)]
struct Row {
    file: String,
    wrapping: &'static str,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub fn run(log: &Log, args: &Rekey) -> anyhow::Result<Outcome> {
    let master = log.keys.current().context("name the file of the new key with --key-file")?;
    // A daemon would go on wrapping new segments with the key of before.
    if args.apply {
        layout::check(&log.dir)?;
    }
    let _lock = args.apply.then(|| Lock::take(&log.dir)).transpose().context("stop the daemon first")?;
    let items = rekey::plan(&RealFs, &log.dir, &log.keys)?;
    let mut failed = Ok(());
    let mut rows = Vec::new();
    for item in &items {
        let mut row = Row::of(item);
        if args.apply && failed.is_ok() && item.wrapping == Wrapping::Due {
            failed = rekey::apply(&RealFs, &log.dir, item, &log.keys);
            row.action = if failed.is_ok() { "wrapped anew" } else { "failed" };
        }
        rows.push(row);
    }
    unless_closed(print(log, &rows))?;
    failed
        .context("the rest was left as it is; both keys open the log, and rekey goes on where it stopped")?;
    let due = items.iter().any(|item| item.wrapping == Wrapping::Due);
    if due && !args.apply {
        note!("nothing was changed: --apply does it, with the daemon stopped");
    }
    let elsewhere =
        items.iter().filter(|item| matches!(item.wrapping, Wrapping::Locked(_) | Wrapping::Damaged));
    match elsewhere.count() {
        0 if args.apply => {
            note!("everything encrypted is under the key {}: no other is needed any more", master.id());
            Ok(Outcome::Fine)
        }
        0 => Ok(Outcome::Fine),
        count => {
            note!(
                "{count} files stay under another key, which --old-key-file must name, or their key is damaged: see the \
                 table"
            );
            Ok(Outcome::Findings)
        }
    }
}

impl Row {
    fn of(item: &Item) -> Self {
        let (wrapping, action, detail) = match &item.wrapping {
            Wrapping::Plain => ("not encrypted", "none", None),
            Wrapping::Current => ("new key", "none", None),
            Wrapping::Due => ("old key", "wrap anew", None),
            Wrapping::Locked(needs) => ("another key", "none", Some(list(needs))),
            Wrapping::Shredded => ("shredded", "none", None),
            Wrapping::Damaged => ("damaged", "none", None),
        };
        Self { file: item.path.display().to_string(), wrapping, action, detail }
    }
}

fn list(needs: &[KeyId]) -> String {
    let ids: Vec<_> = needs.iter().map(KeyId::to_string).collect();
    format!("opens with {}", ids.join(" or "))
}

fn print(log: &Log, rows: &[Row]) -> anyhow::Result<()> {
    if log.json {
        return Ok(rows.iter().try_for_each(table::print_json)?);
    }
    let mut shown = table::table(&["FILE", "KEY", "ACTION"]);
    for row in rows {
        let key = row
            .detail
            .as_ref()
            .map_or(row.wrapping.to_owned(), |detail| format!("{}: {detail}", row.wrapping));
        shown.add_row([table::plain(&row.file), key, row.action.to_owned()]);
    }
    table::print(&shown)?;
    Ok(io::stdout().flush()?)
}
