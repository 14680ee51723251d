//! Records with a deferred value: a password in it waits to be hashed.
//!
//! A `ValueResolver` computes the value in the background and notifies the worker when it is ready. A worker requests
//! a bounded number of values in advance. It keeps a resolved value until the record is delivered, so that a second
//! attempt costs no second hash. No other code of the drain can create a [`FinalValue`] of a record with a deferred
//! value.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::command::Envelope;
use crate::drain::context::Context;
use crate::drain::notify::Notify;
use crate::drain::value_resolver::{CompletionInbox, ResolvedValue, ValueCompletion, ValueResolver};
use crate::wal::{Log, Lsn};

/// Maximum number of values that a worker requests in advance. This is one second of work for many threads at the
/// lowest recommended cost.
const MAX_REQUESTED: usize = 256;
/// Maximum number of values that a worker keeps, those in flight included. A value has at most a few hundred bytes.
const MAX_KEPT: usize = 4096;
/// Reason for rejecting a resolved value that equals the original one.
const NOT_HASHED_REASON: &str = "sealed: not hashed";

/// State of a deferred value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueLookup {
    /// The value is resolved.
    Ready,
    /// The value is not resolved yet: it is in progress, or the limit of requests is reached.
    Pending,
    /// The record is a dead letter, for this reason.
    DeadLetter(&'static str),
}

/// A value that may be sent to Kafka.
#[derive(Clone, Copy)]
pub(super) struct FinalValue<'a>(&'a [u8]);

impl<'a> FinalValue<'a> {
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The deferred values of one worker.
pub(super) struct DeferredValues {
    resolver: Arc<dyn ValueResolver>,
    inbox: Arc<CompletionInbox>,
    log: Arc<Log>,
    full: IntCounter,
    requested: HashSet<Lsn>,
    resolved: HashMap<Lsn, ResolvedValue>,
}

impl DeferredValues {
    pub(super) fn new(context: &Context, notify: &Arc<Notify>) -> Self {
        Self {
            resolver: Arc::clone(&context.resolver),
            inbox: Arc::new(CompletionInbox::new(notify)),
            log: Arc::clone(&context.log),
            full: context.metrics.hash_ahead_hit.clone(),
            requested: HashSet::new(),
            resolved: HashMap::new(),
        }
    }

    /// The final value of a record, if it is available.
    pub(super) fn value<'a>(&'a self, lsn: Lsn, envelope: &Envelope<'a>) -> Option<FinalValue<'a>> {
        if !envelope.sealed {
            return Some(FinalValue(envelope.value));
        }
        match self.resolved.get(&lsn) {
            Some(ResolvedValue::Value(value)) if value != envelope.value => Some(FinalValue(value)),
            _ => None,
        }
    }

    /// Looks up the value of a record with a deferred value. Requests it if the limit allows.
    pub(super) fn look_up(&mut self, lsn: Lsn, envelope: &Envelope<'_>) -> ValueLookup {
        match self.resolved.get(&lsn) {
            Some(ResolvedValue::Value(value)) if value == envelope.value => {
                ValueLookup::DeadLetter(NOT_HASHED_REASON)
            }
            Some(ResolvedValue::Value(_)) => ValueLookup::Ready,
            Some(ResolvedValue::Dead(reason)) => ValueLookup::DeadLetter(reason),
            None => {
                self.request(lsn, envelope);
                ValueLookup::Pending
            }
        }
    }

    fn request(&mut self, lsn: Lsn, envelope: &Envelope<'_>) {
        if self.requested.contains(&lsn) {
            return;
        }
        if self.free_requests() == 0 {
            self.full.inc();
            return;
        }
        self.requested.insert(lsn);
        self.resolver.resolve(envelope, ValueCompletion::new(lsn, &self.inbox));
    }

    /// How many more values may be requested.
    pub(super) fn free_requests(&self) -> usize {
        MAX_REQUESTED.saturating_sub(self.requested.len()).min(MAX_KEPT.saturating_sub(self.resolved.len()))
    }

    /// Whether enough requests are free to justify another pass through the log.
    pub(super) fn has_room_for_many(&self) -> bool {
        self.free_requests() >= MAX_REQUESTED / 2
    }

    /// Whether this record could proceed now: its value is resolved, or can be requested.
    pub(super) fn may_proceed(&self, lsn: Lsn) -> bool {
        self.resolved.contains_key(&lsn) || (!self.requested.contains(&lsn) && self.free_requests() > 0)
    }

    /// Whether the value of this record is resolved.
    pub(super) fn is_resolved(&self, lsn: Lsn) -> bool {
        self.resolved.contains_key(&lsn)
    }

    /// Whether the value of this record is in progress.
    pub(super) fn is_requested(&self, lsn: Lsn) -> bool {
        self.requested.contains(&lsn)
    }

    /// Takes in the resolved values. Returns whether there were any.
    pub(super) fn take_completions(&mut self) -> bool {
        if self.requested.is_empty() {
            return false;
        }
        let completions = self.inbox.take();
        for (lsn, made) in &completions {
            self.requested.remove(lsn);
            if made.is_none() {
                tracing::debug!(wal.lsn = lsn.0, "value not resolved; will retry");
            }
        }
        let any = !completions.is_empty();
        self.resolved.extend(completions.into_iter().filter_map(|(lsn, made)| Some((lsn, made?))));
        if self.resolved.len() >= MAX_KEPT {
            // These records became dead letters, or an operator dropped them.
            self.resolved.retain(|lsn, _| !self.log.is_done(*lsn));
        }
        any
    }

    /// The record is delivered.
    pub(super) fn on_delivered(&mut self, lsn: Lsn) {
        if !self.resolved.is_empty() {
            self.resolved.remove(&lsn);
        }
    }
}

/// Decides when the log may be read again because values were resolved. Such a pass reads everything since the first
/// parked record, so it may take at most a third of the time.
#[derive(Debug, Default)]
pub(super) struct RescanPacer {
    began: Option<Instant>,
    not_before: Option<Instant>,
}

impl RescanPacer {
    /// Maximum pause, however long the pass took.
    const MAX_REST: Duration = Duration::from_secs(5);

    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.began.is_none() && self.not_before.is_none_or(|at| now >= at)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// The pass has read everything since the first parked record.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            self.not_before = Some(now + (now.saturating_duration_since(began) * 2).min(Self::MAX_REST));
        }
    }
}
