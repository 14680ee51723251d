//! Loads a new certificate while the daemon runs.
//!
//! A change is applied when two successive checks find the same contents. Otherwise files that are replaced one after
//! the other, or written in place, would be loaded half-written. The previous certificate stays in use until chain and
//! key match again.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::acceptor::Tls;
use super::files::{FileContents, Fingerprint};
use crate::config_error::ConfigError;
use crate::task::Task;

/// Interval of the checks. Certificates change every few weeks, and reading two small files is cheap.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Result of one check: the fingerprint of the contents, or the read errors.
type ReadResult = Result<Fingerprint, Vec<ConfigError>>;

impl Tls {
    /// Loads the files again whenever they change, until the returned `Task` is dropped.
    pub fn watch(&self) -> Task {
        Task::spawn("tls-files", watch(self.clone()))
    }
}

async fn watch(tls: Tls) {
    let mut changes = ChangeDetector::since(Ok(tls.first));
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let files = tls.files.clone();
        // If the blocking task fails, the next check tries again.
        let Ok(read) = spawn_blocking(move || files.read()).await else { continue };
        if changes.is_stable_change(read.as_ref().map(FileContents::fingerprint).map_err(Clone::clone)) {
            apply(&tls, read);
        }
    }
}

fn apply(tls: &Tls, read: Result<FileContents, Vec<ConfigError>>) {
    match read.and_then(|contents| tls.files.load(&contents)) {
        Ok(fitted) => {
            tls.replace(fitted);
            tracing::info!(event = "tls.reloaded", "certificate reloaded; new connections use it");
        }
        Err(errors) => {
            let reason: Vec<_> = errors.iter().map(ConfigError::to_string).collect();
            let reason = reason.join("; ");
            // The reason is in the list of problems.
            tracing::warn!(
                event = "tls.not_reloaded",
                "changed certificate rejected; the previous one stays in use"
            );
            tls.set_file_error(reason);
        }
    }
}

/// Distinguishes a complete change from a change in progress.
struct ChangeDetector {
    /// The last result that was applied.
    known: ReadResult,
    /// The result of the previous check.
    last: ReadResult,
}

impl ChangeDetector {
    fn since(known: ReadResult) -> Self {
        Self { last: known.clone(), known }
    }

    /// Whether `found` differs from the applied result and equals the result of the previous check. Returns `true` once
    /// per change.
    fn is_stable_change(&mut self, found: ReadResult) -> bool {
        let stands_still = found == self.last;
        self.last = found;
        if !stands_still || self.last == self.known {
            return false;
        }
        self.known = self.last.clone();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_applied_once_after_two_equal_checks() {
        let gone = || Err(vec![ConfigError::new("server", "tls_cert_file", "gone", "a file")]);
        let mut changes = ChangeDetector::since(Ok([1; 32]));
        let looks = [
            (Ok([1; 32]), false, "nothing changed"),
            (Ok([2; 32]), false, "one of two files is new"),
            (Ok([3; 32]), false, "and the other"),
            (Ok([3; 32]), true, "the same twice"),
            (Ok([3; 32]), false, "already applied"),
            (gone(), false, "being replaced"),
            (Ok([3; 32]), false, "as before"),
            (gone(), false, "gone"),
            (gone(), true, "gone twice"),
            (gone(), false, "already reported"),
            (gone(), false, "still reported"),
            (Ok([3; 32]), false, "back"),
            (Ok([3; 32]), true, "back twice"),
        ];
        for (found, acted_upon, what) in looks {
            assert_eq!(changes.is_stable_change(found), acted_upon, "{what}");
        }
    }
}
