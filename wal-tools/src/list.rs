//! `list`: records without their payload, newest last.

use std::collections::VecDeque;

use forebay_wal::Lsn;
use forebay_wal::inspect::LogView;

use crate::cli::List;
use crate::log_context::LogContext;
use crate::output::ExitOutcome;
use crate::record::RecordRow;
use crate::text_format;

/// Rows per table. The column widths fit these rows, and memory does not grow with the backlog.
const PAGE: usize = 1_000;

pub fn run(log: &LogContext, args: &List) -> anyhow::Result<ExitOutcome> {
    let view = log.readable_view()?;
    let mut printer = Printer::new(log.json);
    match args.limit {
        Some(limit) => {
            for row in newest(&view, limit, |row| wanted(row, args))? {
                printer.add(row)?;
            }
        }
        None => {
            for stored in view.records(Lsn(0)..view.next()) {
                let row = RecordRow::of(&stored?);
                if wanted(&row, args) {
                    printer.add(row)?;
                }
            }
        }
    }
    printer.flush()?;
    Ok(ExitOutcome::Fine)
}

/// Returns the newest `limit` rows that match `wanted`, oldest first. Reads as few segments as possible.
pub fn newest(
    view: &LogView,
    limit: usize,
    wanted: impl Fn(&RecordRow) -> bool,
) -> anyhow::Result<VecDeque<RecordRow>> {
    let mut newest: VecDeque<RecordRow> = VecDeque::new();
    for segment in view.segments.iter().rev() {
        let room = limit - newest.len();
        let mut here = VecDeque::new();
        for stored in view.records(segment.first()..segment.next()) {
            let row = RecordRow::of(&stored?);
            if room > 0 && wanted(&row) {
                here.push_back(row);
                if here.len() > room {
                    here.pop_front();
                }
            }
        }
        here.append(&mut newest);
        newest = here;
        if newest.len() >= limit {
            break;
        }
    }
    Ok(newest)
}

/// Whether a record matches the filters.
pub fn wanted(row: &RecordRow, args: &List) -> bool {
    args.kind.as_ref().is_none_or(|kind| row.kind == *kind)
        && args.key.as_ref().is_none_or(|key| row.key.as_ref() == Some(key))
        && args.since.is_none_or(|since| row.accepted_at >= since.0)
        && args.until.is_none_or(|until| row.accepted_at < until.0)
        && args.state.is_none_or(|state| row.state == state)
}

/// Prints rows page by page.
pub struct Printer {
    json: bool,
    page: Vec<RecordRow>,
}

impl Printer {
    /// Creates a printer of tables, or of one JSON object per line.
    pub fn new(json: bool) -> Self {
        Self { json, page: Vec::new() }
    }

    /// Adds one row.
    pub fn add(&mut self, row: RecordRow) -> anyhow::Result<()> {
        if self.json {
            return Ok(text_format::print_json(&row)?);
        }
        self.page.push(row);
        if self.page.len() >= PAGE { self.flush() } else { Ok(()) }
    }

    /// Prints the rows added since the last page.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        let mut shown = text_format::table(&RecordRow::HEADINGS);
        shown.add_rows(self.page.drain(..).map(|row| row.cells()));
        Ok(text_format::print(&shown)?)
    }
}
