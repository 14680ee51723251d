//! Which idempotency keys were used and which claims were accepted: a bounded view of the log, never more true than it.
//!
//! A *scope*, the keyed digest of a key or claim, leads to the LSN of its first record. Everything else, the body's
//! digest included, stands in that record: every hit is checked against it.
//!
//! *Parts* (`layout.rs`) are immutable files of sorted scopes, each for a range of LSNs. What is committed goes into a
//! map in memory first; [`maintenance`] writes the map as a part when it has grown, merges parts so that there are few, and
//! removes what is no longer kept. A start reads the parts' headers and the records behind the newest part.
//!
//! A part that is damaged, of another log, or ahead of this one is dropped, and its range read from the log again. While
//! kept records are in no part and no map, nothing can be told of a key: [`IndexError`].

mod filter;
mod layout;
mod maintenance;
mod merge;
mod open;
mod part;
mod rebuild;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::metrics::Metrics;
use super::request::RequestDigests;
use crate::command::Envelope;
use crate::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::task::{FatalSignal, OnFailure, Thread};
use crate::wal::{Log, Lsn};
pub(super) use layout::{IndexEntry, ScopeDigest};
use part::{FilterBudget, IndexPart};
use view::View;

const DIR: &str = "index";
/// What filters may take in memory together: some 50 million keys. Parts without one are read at each look-up.
const FILTER_BYTES: usize = 64 << 20;
/// Keys in one map, about 30 MiB. Normally a sixteenth of it: reached only when parts cannot be written.
const MAX_RECENT: usize = 1 << 19;

/// Why a part is rebuilt: labels of the metric.
const REBUILD_CAUSES: [&str; 4] = ["unreadable", "ahead_of_log", "mismatch", "memory_full"];

/// The index cannot say whether a key was used.
#[derive(Debug, thiserror::Error)]
#[error("the index of idempotency keys is being rebuilt")]
pub struct IndexError;

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexLookup {
    /// The first record of the scope.
    Found(Lsn),
    /// None that is kept; none at all below `since`.
    Unused { since: Lsn },
}

/// What the way into the log asks of an index.
pub(super) trait IdempotencyIndex: Send + Sync {
    /// If it is certain, from memory alone, that the scope was not used: the LSN below which it was not. `None`: ask
    /// [`IdempotencyIndex::find`].
    fn unused(&self, scope: &ScopeDigest) -> Result<Option<Lsn>, IndexError>;
    /// The first record of the scope, if it is kept and not below `since`. What is not below the `since` of an earlier
    /// look-up is in memory, but for what was written as a part in between.
    fn find(&self, scope: &ScopeDigest, since: Lsn) -> Result<IndexLookup, IndexError>;
    /// Adds what was just flushed. Everything below `end` is in the index then.
    fn add(&self, entries: &[IndexEntry], end: Lsn);
    /// A hit led to a record of something else: the index is not of this log, and is rebuilt.
    fn report_mismatch(&self, scope: &ScopeDigest, first: Lsn);
    /// Ends what it does in the background, and writes down what is in memory. Waits at most so long.
    fn stop(&self, within: Duration);
}

/// The index of a log.
pub(super) struct DiskIndex {
    inner: Arc<IndexState>,
    maintenance: Mutex<Option<Thread>>,
}

/// What look-ups and the upkeep share.
struct IndexState {
    log: Arc<Log>,
    dir: PathBuf,
    digests: RequestDigests,
    metrics: Arc<Metrics>,
    budget: Arc<FilterBudget>,
    max_recent: usize,
    view: RwLock<View>,
}

impl DiskIndex {
    /// Opens the index of the log, and keeps it in the background from now on.
    pub fn open(log: Arc<Log>, metrics: Arc<Metrics>, alarm: &FatalSignal) -> std::io::Result<Self> {
        let inner = Arc::new(IndexState::open(log, metrics));
        let its = Arc::clone(&inner);
        let upkeep = Thread::spawn("index", OnFailure::Raise(alarm.clone()), move |stop| {
            its.run_maintenance(stop);
            Ok(())
        })?;
        Ok(Self { inner, maintenance: Mutex::new(Some(upkeep)) })
    }
}

impl IdempotencyIndex for DiskIndex {
    fn unused(&self, scope: &ScopeDigest) -> Result<Option<Lsn>, IndexError> {
        let view = self.inner.read()?;
        let may_hold = view.in_memory(scope).is_some() || view.parts.iter().any(|part| part.may_hold(scope));
        Ok((!may_hold).then(|| view.memory_start()))
    }

    fn find(&self, scope: &ScopeDigest, since: Lsn) -> Result<IndexLookup, IndexError> {
        self.inner.find(scope, since)
    }

    fn add(&self, entries: &[IndexEntry], end: Lsn) {
        self.inner.add(entries, end);
    }

    fn report_mismatch(&self, scope: &ScopeDigest, first: Lsn) {
        self.inner.distrust(scope, first);
    }

    fn stop(&self, within: Duration) {
        let upkeep = self.maintenance.lock().take();
        if let Some(Err(late)) = upkeep.map(|thread| thread.stop(within)) {
            tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
        }
    }
}

impl IndexState {
    fn find(&self, scope: &ScopeDigest, since: Lsn) -> Result<IndexLookup, IndexError> {
        let valid = |lsn: &Lsn| *lsn >= since && self.log.is_retained(*lsn);
        let view = self.read()?;
        if let Some(first) = view.in_memory(scope).filter(valid) {
            return Ok(IndexLookup::Found(first));
        }
        let settled = view.memory_start();
        let newest_first = view.parts.iter().rev();
        let parts: Vec<_> =
            newest_first.filter(|part| part.to() > since && part.may_hold(scope)).cloned().collect();
        drop(view);
        for part in parts {
            let found = part.find(scope).map_err(|error| {
                self.drop_part(&part, &error);
                IndexError
            })?;
            if let Some(first) = found.filter(valid) {
                return Ok(IndexLookup::Found(first));
            }
        }
        Ok(IndexLookup::Unused { since: settled })
    }

    fn add(&self, entries: &[IndexEntry], end: Lsn) {
        let mut view = self.write();
        view.recent.to = end;
        let (keys, span) = (view.recent.keys.len() + entries.len(), end.0 - view.recent.from.0);
        if keys <= self.max_recent && span <= layout::MAX_SPAN {
            view.recent.keys.extend(entries.iter().copied());
            return;
        }
        // What was just flushed is left out with the rest: it is read from the log again.
        view.clear_recent();
        self.metrics.index_keys_hit.inc();
        self.count_rebuild("memory_full");
        tracing::error!(
            event = "index.memory_full",
            keys,
            "the idempotency index cannot be written to disk and has reached its bound in memory; keyed requests are \
             refused until it is rebuilt"
        );
    }

    /// Drops a part that cannot be read: its range is read from the log again.
    fn drop_part(&self, part: &Arc<IndexPart>, error: &std::io::Error) {
        let mut view = self.write();
        if view.remove(part) {
            view.ready = false;
            self.count_rebuild("unreadable");
            let (from, to) = (part.from().0, part.to().0);
            tracing::error!(
                event = "index.part_unreadable", lsn.from = from, lsn.to = to, %error,
                "a part of the idempotency index cannot be read and is rebuilt; keyed requests are refused meanwhile"
            );
        }
    }

    fn distrust(&self, scope: &ScopeDigest, first: Lsn) {
        // Another request may have found the same before, and the index may be right again.
        if !matches!(self.find(scope, Lsn(0)), Ok(IndexLookup::Found(found)) if found == first) {
            return;
        }
        self.write().clear();
        self.count_rebuild("mismatch");
        tracing::error!(
            event = "index.mismatch",
            lsn = first.0,
            "the idempotency index led to a record with another key: it is not of this log and is rebuilt; keyed \
             requests are refused meanwhile"
        );
    }

    fn count_rebuild(&self, cause: &str) {
        self.metrics.index_rebuilds.with_label_values(&[cause]).inc();
    }

    /// The view, if a miss in it can be believed.
    fn read(&self) -> Result<RwLockReadGuard<'_, View>, IndexError> {
        let view = self.view.read();
        if view.ready { Ok(view) } else { Err(IndexError) }
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write()
    }

    /// Keyed digest of the last record below `to`, by which a part knows the log that it was made of; zero if it cannot
    /// be read.
    fn anchor(&self, to: Lsn) -> [u8; 16] {
        let record = self.log.read(Lsn(to.0.saturating_sub(1))).ok().flatten();
        record.map(|record| self.digests.record_digest(&record.payload)).unwrap_or_default()
    }
}

/// The scopes that lead to a record with this envelope.
fn scopes(envelope: &Envelope<'_>, digests: &RequestDigests) -> impl Iterator<Item = ScopeDigest> {
    let key = envelope.idempotency.as_ref().map(|repeat| repeat.scope);
    let claim = envelope.claim.map(|claim| digests.claim_digest(&claim));
    key.into_iter().chain(claim)
}
