//! Writing to standard output and standard error. A failed write never panics.

use std::io::Write;
use std::{fmt, io};

/// Writes a line to stderr. A failed write is ignored, because no other place could report it.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::output::note_line(format_args!($($text)*)) };
}

/// The implementation of [`note!`](crate::note!).
pub fn note_line(text: fmt::Arguments<'_>) {
    // One write per line, so that lines of several processes on one terminal stay whole.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout and flushes them.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The result of printing, ignoring the error of a closed pipe.
pub fn unless_closed(printed: io::Result<()>) -> io::Result<()> {
    printed.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) })
}

/// Whether the reader of stdout has closed the pipe.
pub fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
