//! Standard output, which may be closed or on a full disk.

use std::io::Write;
use std::{fmt, io};

use super::Failure;

/// Prints the requested output. A closed pipe is no error, because the reader has seen enough. Any other error is the
/// failure of the command.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    match write(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "cannot write to standard output", source: error })
        }
        _ => Ok(()),
    }
}

/// Prints a report. Errors are only logged, because the exit code also carries the result.
pub(super) fn report(text: impl fmt::Display) {
    if let Err(error) = write(text) {
        tracing::warn!(event = "output.failed", %error, "standard output not written");
    }
}

fn write(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.to_string().as_bytes())?;
    out.flush()
}
