//! The idempotency index: which idempotency keys were used and which claims were accepted. It is a bounded view of the
//! log; the log is always the authority.
//!
//! A *scope* is the keyed digest of a key or claim. The index maps it to the LSN of its first record. All other data,
//! such as the digest of the body, is in that record. Every hit is checked against the record.
//!
//! *Parts* (`layout.rs`) are immutable files of sorted scopes, each for a range of LSNs. Committed keys first enter a
//! map in memory. [`maintenance`] flushes a grown map to a part, merges parts so that few exist, and removes expired
//! ones. A start reads the headers of the parts and the records after the newest part.
//!
//! A part is dropped if it is damaged, belongs to another log, or is ahead of this log; its range is then read from the
//! log again. While retained records are in no part and no map, every query fails with [`IndexError`].

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
use view::IndexView;

const DIR: &str = "index";
/// Maximum memory of all filters, enough for some 50 million keys. Parts without a filter are read at each look-up.
const FILTER_BYTES: usize = 64 << 20;
/// Maximum number of keys in one map, about 30 MiB. A map normally reaches a sixteenth of it; more only if parts cannot
/// be written.
const MAX_RECENT: usize = 1 << 19;

/// Causes of a rebuild: labels of the metric.
const REBUILD_CAUSES: [&str; 4] = ["unreadable", "ahead_of_log", "mismatch", "memory_full"];

/// The index cannot currently tell whether a key was used.
#[derive(Debug, thiserror::Error)]
#[error("the index of idempotency keys is being rebuilt")]
pub struct IndexError;

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexLookup {
    /// The first record of the scope.
    Found(Lsn),
    /// No retained record, and no record at all below `since`.
    Unused { since: Lsn },
}

/// The index as used by the commit path.
pub(super) trait IdempotencyIndex: Send + Sync {
    /// Returns an LSN if, from memory alone, the scope was certainly not used below it. `None`: call
    /// [`IdempotencyIndex::find`].
    fn unused(&self, scope: &ScopeDigest) -> Result<Option<Lsn>, IndexError>;
    /// The first record of the scope, if it is retained and not below `since`. Records not below the `since` of an
    /// earlier look-up are in memory, except those flushed to a part in between.
    fn find(&self, scope: &ScopeDigest, since: Lsn) -> Result<IndexLookup, IndexError>;
    /// Adds just flushed entries. The index then covers all records below `end`.
    fn add(&self, entries: &[IndexEntry], end: Lsn);
    /// Reports that a hit led to a record with another scope. The index does not belong to this log and is rebuilt.
    fn report_mismatch(&self, scope: &ScopeDigest, first: Lsn);
    /// Ends background work and flushes the map in memory. Waits for at most `within`.
    fn stop(&self, within: Duration);
}

/// The index of a log, on disk.
pub(super) struct DiskIndex {
    inner: Arc<IndexState>,
    maintenance: Mutex<Option<Thread>>,
}

/// State shared by look-ups and the maintenance thread.
struct IndexState {
    log: Arc<Log>,
    dir: PathBuf,
    digests: RequestDigests,
    metrics: Arc<Metrics>,
    budget: Arc<FilterBudget>,
    max_recent: usize,
    view: RwLock<IndexView>,
}

impl DiskIndex {
    /// Opens the index of the log and starts its maintenance thread.
    pub fn open(log: Arc<Log>, metrics: Arc<Metrics>, fatal: &FatalSignal) -> std::io::Result<Self> {
        let inner = Arc::new(IndexState::open(log, metrics));
        let its = Arc::clone(&inner);
        let upkeep = Thread::spawn("index", OnFailure::Raise(fatal.clone()), move |stop| {
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
        // The entries just flushed are dropped with the rest: all are read from the log again.
        view.clear_recent();
        self.metrics.index_keys_hit.inc();
        self.count_rebuild("memory_full");
        tracing::error!(
            event = "index.memory_full",
            keys,
            "the idempotency index cannot be written to disk and has reached its memory limit; requests with a key are \
             rejected until it is rebuilt"
        );
    }

    /// Drops an unreadable part. Its range is read from the log again.
    fn drop_part(&self, part: &Arc<IndexPart>, error: &std::io::Error) {
        let mut view = self.write();
        if view.remove(part) {
            view.ready = false;
            self.count_rebuild("unreadable");
            let (from, to) = (part.from().0, part.to().0);
            tracing::error!(
                event = "index.part_unreadable", lsn.from = from, lsn.to = to, %error,
                "a part of the idempotency index cannot be read and is being rebuilt; requests with a key are rejected meanwhile"
            );
        }
    }

    fn distrust(&self, scope: &ScopeDigest, first: Lsn) {
        // Another request may have reported the same mismatch, and the index may already be rebuilt.
        if !matches!(self.find(scope, Lsn(0)), Ok(IndexLookup::Found(found)) if found == first) {
            return;
        }
        self.write().clear();
        self.count_rebuild("mismatch");
        tracing::error!(
            event = "index.mismatch",
            lsn = first.0,
            "the idempotency index led to a record with another key, so it does not belong to this log and is being rebuilt; \
             requests with a key are rejected meanwhile"
        );
    }

    fn count_rebuild(&self, cause: &str) {
        self.metrics.index_rebuilds.with_label_values(&[cause]).inc();
    }

    /// The view, if it has no gap, so that a miss in it is reliable.
    fn read(&self) -> Result<RwLockReadGuard<'_, IndexView>, IndexError> {
        let view = self.view.read();
        if view.ready { Ok(view) } else { Err(IndexError) }
    }

    fn write(&self) -> RwLockWriteGuard<'_, IndexView> {
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
