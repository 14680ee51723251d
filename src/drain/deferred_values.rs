//! Records whose value is not final yet: a password in it waits to be hashed.
//!
//! The value is made elsewhere (`ValueResolver`); its arrival notifies the worker. A worker asks for a bounded number ahead; what
//! it was given it keeps until the record is delivered, so that a record that goes again costs no second hash. Nothing else of the drain can make a [`FinalValue`] of a sealed record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::command::Envelope;
use crate::drain::context::Context;
use crate::drain::notify::Notify;
use crate::drain::value_resolver::{CompletionInbox, ResolvedValue, ValueCompletion, ValueResolver};
use crate::wal::{Log, Lsn};

/// Values a worker asks for ahead: a second's work of many threads at the lowest cost anyone should use.
const MAX_REQUESTED: usize = 256;
/// Values a worker keeps, in flight included: at most a few hundred bytes each.
const MAX_KEPT: usize = 4096;
/// Why a value is refused that is what it was before.
const UNCHANGED: &str = "sealed: not hashed";

/// What is known of a sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueLookup {
    /// Its value is here.
    Ready,
    /// Not yet: it is being made, or there is no room to ask for it.
    Pending,
    /// It is a dead letter, with this reason.
    DeadLetter(&'static str),
}

/// A value that may go to Kafka.
#[derive(Clone, Copy)]
pub(super) struct FinalValue<'a>(&'a [u8]);

impl<'a> FinalValue<'a> {
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The sealed records of one worker.
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

    /// The value of a record that may go to Kafka, if there is one by now.
    pub(super) fn value<'a>(&'a self, lsn: Lsn, envelope: &Envelope<'a>) -> Option<FinalValue<'a>> {
        if !envelope.sealed {
            return Some(FinalValue(envelope.value));
        }
        match self.resolved.get(&lsn) {
            Some(ResolvedValue::Value(value)) if value != envelope.value => Some(FinalValue(value)),
            _ => None,
        }
    }

    /// Looks for the value of a sealed record, and asks for it where there is room.
    pub(super) fn look_up(&mut self, lsn: Lsn, envelope: &Envelope<'_>) -> ValueLookup {
        match self.resolved.get(&lsn) {
            Some(ResolvedValue::Value(value)) if value == envelope.value => {
                ValueLookup::DeadLetter(UNCHANGED)
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

    /// How many more may be asked for.
    pub(super) fn free_requests(&self) -> usize {
        MAX_REQUESTED.saturating_sub(self.requested.len()).min(MAX_KEPT.saturating_sub(self.resolved.len()))
    }

    /// Whether it is worth a pass to ask for more.
    pub(super) fn has_room_for_many(&self) -> bool {
        self.free_requests() >= MAX_REQUESTED / 2
    }

    /// Whether this record could go on now: there is news of it, or room to ask.
    pub(super) fn may_proceed(&self, lsn: Lsn) -> bool {
        self.resolved.contains_key(&lsn) || (!self.requested.contains(&lsn) && self.free_requests() > 0)
    }

    /// Whether there is news of this record.
    pub(super) fn is_resolved(&self, lsn: Lsn) -> bool {
        self.resolved.contains_key(&lsn)
    }

    /// Whether its value is being made.
    pub(super) fn is_requested(&self, lsn: Lsn) -> bool {
        self.requested.contains(&lsn)
    }

    /// Takes in what was made; says whether there was anything.
    pub(super) fn take_completions(&mut self) -> bool {
        if self.requested.is_empty() {
            return false;
        }
        let news = self.inbox.take();
        for (lsn, made) in &news {
            self.requested.remove(lsn);
            if made.is_none() {
                tracing::debug!(wal.lsn = lsn.0, "value not resolved; tried again");
            }
        }
        let any = !news.is_empty();
        self.resolved.extend(news.into_iter().filter_map(|(lsn, made)| Some((lsn, made?))));
        if self.resolved.len() >= MAX_KEPT {
            // Dead letters, and records that an operator dropped.
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

/// When the log may be read again for the sake of values that came in: such a pass looks at everything since the first
/// record held, so it takes at most a third of the time.
#[derive(Debug, Default)]
pub(super) struct RescanPacer {
    began: Option<Instant>,
    not_before: Option<Instant>,
}

impl RescanPacer {
    /// However long a pass took.
    const MAX_REST: Duration = Duration::from_secs(5);

    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.began.is_none() && self.not_before.is_none_or(|at| now >= at)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// Everything since the first record held was looked at.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            self.not_before = Some(now + (now.saturating_duration_since(began) * 2).min(Self::MAX_REST));
        }
    }
}
