//! Time of the log's last failure. After a failure the process ends within seconds, usually between two scrapes. It
//! therefore writes the time to a file next to the log, and the next start exposes it as a metric. The log itself does
//! not read the file.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::units::Timestamp;
use crate::wal::Log;

/// Name of the file in the log's directory. Its single line holds the time and the cause.
const FILE: &str = "last-failure";
/// Maximum time that a stop waits for the file.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes the file, as far as a disk that just failed allows. Blocks on disk I/O.
fn write_record(dir: &Path, at: Timestamp, cause: &str) -> io::Result<()> {
    let mut file = File::create(dir.join(FILE))?;
    writeln!(file, "{at} {}", cause.replace('\n', " "))?;
    file.sync_all()
}

/// Writes the file if the log has failed, and returns whether it has. Waits at most one second, because the disk may
/// hang.
pub(super) async fn record_failure(log: &Log) -> bool {
    let Some(cause) = log.poisoned().map(str::to_owned) else { return false };
    let dir = log.dir().to_owned();
    let noting = tokio::task::spawn_blocking(move || write_record(&dir, Timestamp::now(), &cause));
    if let Ok(Ok(Err(error))) = tokio::time::timeout(WRITE_TIMEOUT, noting).await {
        tracing::warn!(
            event = "daemon.failure_not_noted",
            %error,
            "time of the log's failure could not be written next to the log"
        );
    }
    true
}

/// The time in the file. `None` if the file is missing or invalid.
pub(super) fn last_failure(dir: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_counts_and_a_torn_one_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_failure(dir.path()), None);
        write_record(dir.path(), Timestamp(1_000), "fdatasync: Input/output error").unwrap();
        write_record(dir.path(), Timestamp(61_000), "fdatasync:\nagain").unwrap();
        assert_eq!(last_failure(dir.path()), Some(Timestamp(61_000)));
        fs::write(dir.path().join(FILE), "1970-01-").unwrap();
        assert_eq!(last_failure(dir.path()), None);
    }
}
