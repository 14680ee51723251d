//! Takes a new certificate over while the daemon runs.
//!
//! A change counts once it stands still: files that are replaced one after the other, or written in place, are not
//! looked at half-way. Until chain and key fit together again, the old ones stay in use.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::acceptor::Tls;
use super::files::{FileContents, Fingerprint};
use crate::config_error::ConfigError;
use crate::task::Task;

/// Certificates change every few weeks; two small files are read so often.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What a look found: the contents' fingerprint, or why there is none.
type ReadResult = Result<Fingerprint, Vec<ConfigError>>;

impl Tls {
    /// Takes over what changes in the files, as long as the task is held.
    pub fn watch(&self) -> Task {
        Task::spawn("tls-files", watch(self.clone()))
    }
}

async fn watch(tls: Tls) {
    let mut changes = ChangeDetector::since(Ok(tls.first));
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let files = tls.files.clone();
        // A look that failed altogether is followed by another.
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
            tracing::info!(
                event = "tls.reloaded",
                "new connections use the certificate that is in the files now"
            );
        }
        Err(mistakes) => {
            let reason: Vec<_> = mistakes.iter().map(ConfigError::to_string).collect();
            let reason = reason.join("; ");
            // The list of problems gives the reason.
            tracing::warn!(
                event = "tls.not_reloaded",
                "changed certificate rejected; the previous one stays in use"
            );
            tls.set_file_error(reason);
        }
    }
}

/// Tells a change that stands still from one under way.
struct ChangeDetector {
    /// What was acted upon.
    known: ReadResult,
    /// What the last look found.
    last: ReadResult,
}

impl ChangeDetector {
    fn since(known: ReadResult) -> Self {
        Self { last: known.clone(), known }
    }

    /// Whether this is new, and the same as at the last look; once for each change.
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
    fn a_change_is_acted_upon_once_and_only_when_it_stands_still() {
        let gone = || Err(vec![ConfigError::new("server", "tls_cert_file", "gone", "a file")]);
        let mut changes = ChangeDetector::since(Ok([1; 32]));
        let looks = [
            (Ok([1; 32]), false, "nothing changed"),
            (Ok([2; 32]), false, "one of two files is new"),
            (Ok([3; 32]), false, "and the other"),
            (Ok([3; 32]), true, "it stands still"),
            (Ok([3; 32]), false, "known"),
            (gone(), false, "being replaced"),
            (Ok([3; 32]), false, "as before"),
            (gone(), false, "gone"),
            (gone(), true, "and not coming back"),
            (gone(), false, "said"),
            (gone(), false, "said, whatever the number of looks"),
            (Ok([3; 32]), false, "back"),
            (Ok([3; 32]), true, "to stay"),
        ];
        for (found, acted_upon, what) in looks {
            assert_eq!(changes.is_stable_change(found), acted_upon, "{what}");
        }
    }
}
