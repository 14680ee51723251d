//! `tail`: the last records, and new ones with `-f`.

use std::io;
use std::io::Write;
use std::time::Duration;

use crate::cli::Tail;
use crate::list::newest;
use crate::log_context::LogContext;
use crate::output::ExitOutcome;
use crate::record::RecordRow;
use crate::text_format;

/// Interval between checks for new records, short enough for an operator who watches.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Headings with fixed column widths, because later rows are not known yet.
const HEADINGS: &str =
    "       LSN  ACCEPTED                  STATE         SIZE  KIND                  KEY  ID";

pub fn run(log: &LogContext, args: &Tail) -> anyhow::Result<ExitOutcome> {
    let view = log.readable_view()?;
    if !log.json {
        writeln!(io::stdout(), "{HEADINGS}")?;
    }
    for row in newest(&view, args.lines, |_| true)? {
        print(&row, log.json)?;
    }
    if !args.follow {
        return Ok(ExitOutcome::Fine);
    }
    let mut follower = view.follow();
    loop {
        while let Some(stored) = follower.poll()? {
            print(&RecordRow::of(&stored), log.json)?;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn print(row: &RecordRow, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(text_format::print_json(row)?);
    }
    let [lsn, at, state, size, kind, key, id] = row.cells();
    writeln!(io::stdout(), "{lsn:>10}  {at:<24}  {state:<8}  {size:>8}  {kind:<20}  {key}  {id}")?;
    Ok(())
}
