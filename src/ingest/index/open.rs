//! Opens the index at start and validates its parts.

use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::metrics::Metrics;
use super::part::{EXTENSION, name_of};
use super::view::{IndexView, MemTable};
use super::{
    DIR, FILTER_BYTES, FilterBudget, IndexPart, IndexState, MAX_RECENT, REBUILD_CAUSES, RequestDigests,
};
use crate::sync::RwLock;
use crate::wal::{Log, Lsn};

/// A start reads at most this many records itself (0.1 s); more are read in the background. It is above the number of
/// records that are in no part when the process is killed.
const MAX_RECORDS_AT_START: u64 = 100_000;

impl IndexState {
    /// Reads the header of each part, checks the newest part against the log, and reads the records after it.
    pub fn open(log: Arc<Log>, metrics: Arc<Metrics>) -> Self {
        let end = log.end();
        let inner = Self {
            dir: log.dir().join(DIR),
            digests: RequestDigests::new(&log.identity().secret),
            metrics,
            budget: Arc::new(FilterBudget::new(FILTER_BYTES)),
            max_recent: MAX_RECENT,
            view: RwLock::new(IndexView {
                parts: Vec::new(),
                frozen: None,
                recent: MemTable::empty(end),
                ready: false,
            }),
            log,
        };
        REBUILD_CAUSES
            .iter()
            .for_each(|cause| inner.metrics.index_rebuilds.with_label_values(&[*cause]).inc_by(0));
        remove_sled(&inner.dir);
        let parts = inner.open_parts();
        inner.write().parts = parts;
        inner.remove_stale_files();
        inner.load_recent();
        inner
    }

    fn open_parts(&self) -> Vec<Arc<IndexPart>> {
        let mut parts: Vec<_> = self.names().iter().filter_map(|name| self.open_part(name)).collect();
        // A merged part sorts before its inputs, which a crash may have left behind.
        parts.sort_by_key(|part| (part.from(), Reverse(part.to())));
        let mut behind = Lsn(0);
        parts.retain(|part| {
            let apart = part.from() >= behind;
            behind = behind.max(part.to());
            apart
        });
        while let Some(newest) = parts.pop_if(|newest| self.is_foreign(newest)) {
            self.count_rebuild("ahead_of_log");
            tracing::warn!(
                event = "index.ahead_of_log",
                lsn.from = newest.from().0,
                lsn.to = newest.to().0,
                "a part of the idempotency index does not match the log and is dropped; the log was probably restored without \
                 its index"
            );
        }
        parts
    }

    fn open_part(&self, name: &str) -> Option<Arc<IndexPart>> {
        let path = self.dir.join(name);
        (path.extension()?.to_str()? == EXTENSION).then_some(())?;
        let opened = IndexPart::open(&**self.log.fs(), &path, &self.budget).and_then(|part| {
            let is_same_log = part.header.range.log_id == self.log.identity().log_id;
            if is_same_log { Ok(part) } else { Err(io::Error::other("the part belongs to another log")) }
        });
        match opened {
            Ok(part) => Some(Arc::new(part)),
            Err(error) => {
                self.count_rebuild("unreadable");
                tracing::warn!(
                    event = "index.part_dropped", path = %path.display(), %error,
                    "a part of the idempotency index is dropped and rebuilt from the log"
                );
                None
            }
        }
    }

    /// Whether the part covers records that this log does not have.
    fn is_foreign(&self, part: &IndexPart) -> bool {
        // Zero: the record could not be read, at that time or now. Each hit is checked anyway.
        let (then, now) = (part.header.anchor, self.anchor(part.to()));
        let differs = then != now && ![then, now].contains(&[0; 16]);
        part.to() > self.log.end() || differs
    }

    /// Reads the records that are in no part into memory, if they are few.
    fn load_recent(&self) {
        let mut view = self.write();
        let end = view.recent.to;
        let from =
            view.parts.last().map_or(Lsn(0), |part| part.to()).max(self.log.oldest_retained()).min(end);
        if end.0 - from.0 <= MAX_RECORDS_AT_START {
            match self.read_log(from, end, &|| false) {
                Ok(Some(run)) if run.to == end => view.recent = run,
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    event = "index.log_unreadable", %error,
                    "the idempotency index cannot read the log; requests with a key are rejected until it can"
                ),
            }
        }
        view.ready = view.gap(&self.log).is_none();
    }

    /// The file names in the index's directory. Creates the directory if it is missing.
    fn names(&self) -> Vec<String> {
        let fs = self.log.fs();
        fs.create_dir_all(&self.dir).and_then(|()| fs.list(&self.dir)).unwrap_or_else(|error| {
            tracing::warn!(
                event = "index.directory_unusable", path = %self.dir.display(), %error,
                "the directory of the idempotency index cannot be used; requests with a key may be rejected until it can"
            );
            Vec::new()
        })
    }

    /// Removes files that are not part of the index. If a removal fails, the next start tries again.
    pub fn remove_stale_files(&self) {
        let view = self.write();
        let current: Vec<_> = view.parts.iter().map(|part| name_of(&part.header.range)).collect();
        drop(view);
        for name in self.names().iter().filter(|name| !current.contains(name)) {
            self.remove_file(name);
        }
    }

    pub fn remove_file(&self, name: &str) {
        let path = self.dir.join(name);
        if let Err(error) = self.log.fs().remove(&path) {
            tracing::debug!(event = "index.file_not_removed", path = %path.display(), %error, "file of the idempotency index not removed; retrying later");
        }
    }
}

/// Removes the sled database of versions before 0.2. The index is rebuilt from the log.
fn remove_sled(dir: &Path) {
    let moved_aside = dir.with_extension("broken");
    for old in [dir, &moved_aside] {
        if !old.join("conf").exists() && !old.join("db").exists() {
            continue;
        }
        match std::fs::remove_dir_all(old) {
            Ok(()) => tracing::info!(
                event = "index.converted", path = %old.display(),
                "the idempotency index of an earlier version is replaced by a new one, rebuilt from the log"
            ),
            Err(error) => tracing::warn!(
                event = "index.not_converted", path = %old.display(), %error,
                "the idempotency index of an earlier version cannot be removed; it is not used"
            ),
        }
    }
}
