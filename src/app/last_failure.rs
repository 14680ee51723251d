//! When the log failed last. The process that sees it ends within seconds, most often between two scrapes, so it leaves a
//! note beside the log, which the next start shows as a metric. The log itself does not read it.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;

use crate::units::Timestamp;

/// Its name in the log's directory. One line: the time and the cause.
const FILE: &str = "last-failure";

/// Writes the note, as well as a disk that just failed allows. Blocks for the disk.
pub(super) fn note(dir: &Path, at: Timestamp, cause: &str) -> io::Result<()> {
    let mut file = File::create(dir.join(FILE))?;
    writeln!(file, "{at} {}", cause.replace('\n', " "))?;
    file.sync_all()
}

/// The time in the note; `None` where there is no note, or none that can be read.
pub(super) fn last(dir: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_counts_and_a_torn_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last(dir.path()), None);
        note(dir.path(), Timestamp(1_000), "fdatasync: Input/output error").unwrap();
        note(dir.path(), Timestamp(61_000), "fdatasync:\nagain").unwrap();
        assert_eq!(last(dir.path()), Some(Timestamp(61_000)));
        fs::write(dir.path().join(FILE), "1970-01-").unwrap();
        assert_eq!(last(dir.path()), None);
    }
}
