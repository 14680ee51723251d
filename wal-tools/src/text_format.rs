//! Output formats: tables, sizes and ages for people, JSON lines for programs.

use std::io;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use forebay_wal::units::{Span, Timestamp};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

/// Creates an empty table of names and values.
pub fn members() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Creates an empty table with these headings. A heading that begins with `#` marks a column of numbers.
pub fn table(headings: &[&str]) -> Table {
    let mut table = members();
    table.set_header(headings.iter().map(|heading| heading.trim_start_matches('#')));
    for (index, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(index).filter(|_| heading.starts_with('#')) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints a table to stdout.
pub fn print(table: &Table) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints one line of JSON to stdout.
pub fn print_json(document: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}

/// Returns the JSON name of an enum value.
pub fn serialized_name(word: impl Serialize) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Formats a number of bytes with a unit.
pub fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Formats a duration to the second; below ten seconds to the millisecond.
pub fn age(age: Duration) -> String {
    let whole = match age.as_secs() {
        0..10 => Duration::from_millis(age.as_millis() as u64),
        secs => Duration::from_secs(secs),
    };
    Span(whole).to_string()
}

/// Formats the time since an instant to the second; below one second to the millisecond.
pub fn ago(at: Timestamp) -> String {
    let since = Timestamp::now().since(at);
    let whole = match since.as_secs() {
        0 => since,
        secs => Duration::from_secs(secs),
    };
    format!("{} ago", age(whole))
}

/// Escapes control characters, which could change the state of the terminal. For text from outside.
pub fn without_control_chars(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Creates a progress bar on stderr for a scan of `bytes` bytes. It is hidden if stderr is not a terminal.
pub fn progress(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
