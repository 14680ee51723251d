//! Standard output, where nobody may be reading any more, and the disk may be full.

use std::io::Write;
use std::{fmt, io};

use super::Failure;

/// Writes what a command was asked for. A reader that has closed the pipe has seen enough; any other error is the
/// command's failure.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    match write(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "cannot write to standard output", source: error })
        }
        _ => Ok(()),
    }
}

/// Writes a report on work whose result the exit code tells as well.
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
