//! Priority prefixes for log lines if standard error is the journal, so that `journalctl -p warning` works.
//!
//! Each line begins with its priority in the form of sd-daemon(3), which journald removes. The journal's own protocol
//! (crate `tracing-journald`) would send from the thread that logs, which would then wait for a slow journald. A line
//! with a prefix uses the same queue as any other, and is the same JSON object.

use std::io;

use rustix::fs::fstat;
use tracing::Level;

/// Whether standard error is connected to the journal. `JOURNAL_STREAM` holds the device and inode that the service
/// manager connected. They are compared, because a shell in between may have redirected standard error.
pub(super) fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// The prefix for a level.
pub(super) fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Adds the prefix to each line of `text`, because journald evaluates it per line.
pub(super) fn prefixed(prefix: &str, text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [prefix.as_bytes(), line].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_text_has_a_priority() {
        let panic = prefixed(priority(Level::ERROR), b"panic: a bug\n  at main.rs\n");
        assert_eq!(String::from_utf8(panic).unwrap(), "<3>panic: a bug\n<3>  at main.rs\n");
        assert_eq!(prefixed("<6>", b"no line end"), b"<6>no line end");
    }
}
