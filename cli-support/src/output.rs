//! Standard output and standard error. A failed write is never a panic.

use std::io::Write;
use std::{fmt, io};

/// Writes a line to stderr, best effort: there is no place to report that it could not be written.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::output::note_line(format_args!($($text)*)) };
}

/// What [`note!`](crate::note!) does.
pub fn note_line(text: fmt::Arguments<'_>) {
    // One write for the line: lines of several processes that share a terminal stay whole.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout and flushes them.
pub fn all(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The result of printing, without the error of a reader that has closed the pipe.
pub fn unless_closed(printed: io::Result<()>) -> io::Result<()> {
    printed.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) })
}

/// Whether the reader of stdout has closed the pipe.
pub fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
