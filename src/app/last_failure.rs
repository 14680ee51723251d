//! When the log failed last. The process that sees it ends within seconds, most often between two scrapes, so it leaves a
//! note beside the log, which the next start shows as a metric. The log itself does not read it.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::units::Timestamp;
use crate::wal::Log;

/// Its name in the log's directory. One line: the time and the cause.
const FILE: &str = "last-failure";
/// The most that a stop waits for the note.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes the note, as well as a disk that just failed allows. Blocks for the disk.
fn write_record(dir: &Path, at: Timestamp, cause: &str) -> io::Result<()> {
    let mut file = File::create(dir.join(FILE))?;
    writeln!(file, "{at} {}", cause.replace('\n', " "))?;
    file.sync_all()
}

/// Leaves a note where the log has failed; says whether it has. Its disk may hang: not waited for beyond a second.
pub(super) async fn record_failure(log: &Log) -> bool {
    let Some(cause) = log.poisoned().map(str::to_owned) else { return false };
    let dir = log.dir().to_owned();
    let noting = tokio::task::spawn_blocking(move || write_record(&dir, Timestamp::now(), &cause));
    if let Ok(Ok(Err(error))) = tokio::time::timeout(WRITE_TIMEOUT, noting).await {
        tracing::warn!(
            event = "daemon.failure_not_noted",
            %error,
            "the failure of the log cannot be noted beside it"
        );
    }
    true
}

/// The time in the note; `None` where there is no note, or none that can be read.
pub(super) fn last_failure(dir: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_counts_and_a_torn_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_failure(dir.path()), None);
        write_record(dir.path(), Timestamp(1_000), "fdatasync: Input/output error").unwrap();
        write_record(dir.path(), Timestamp(61_000), "fdatasync:\nagain").unwrap();
        assert_eq!(last_failure(dir.path()), Some(Timestamp(61_000)));
        fs::write(dir.path().join(FILE), "1970-01-").unwrap();
        assert_eq!(last_failure(dir.path()), None);
    }
}
