//! Records whose value is not final yet: a password in it waits to be hashed.
//!
//! The value is made elsewhere (`Prepare`); its arrival notifies the worker. A worker asks for a bounded number ahead; what
//! it was given it keeps until the record is delivered, so that a record that goes again costs no second hash. Nothing else of the drain can make a [`FinalValue`] of a sealed record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::command::Envelope;
use crate::drain::context::Context;
use crate::drain::notify::Notify;
use crate::drain::prepare::{Answer, Inbox, Made, Prepare};
use crate::wal::{Log, Lsn};

/// Values a worker asks for ahead: a second's work of many threads at the lowest cost anyone should use.
const AHEAD: usize = 256;
/// Values a worker keeps, in flight included: at most a few hundred bytes each.
const KEPT: usize = 4096;
/// Why a value is refused that is what it was before.
const UNCHANGED: &str = "sealed: not hashed";

/// What is known of a sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Its value is here.
    Ready,
    /// Not yet: it is being made, or there is no room to ask for it.
    Later,
    /// It is a dead letter, with this reason.
    Dead(&'static str),
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
    prepare: Arc<dyn Prepare>,
    inbox: Arc<Inbox>,
    log: Arc<Log>,
    full: IntCounter,
    asked: HashSet<Lsn>,
    made: HashMap<Lsn, Made>,
}

impl DeferredValues {
    pub(super) fn new(context: &Context, notify: &Arc<Notify>) -> Self {
        Self {
            prepare: Arc::clone(&context.prepare),
            inbox: Arc::new(Inbox::new(notify)),
            log: Arc::clone(&context.log),
            full: context.metrics.hash_ahead_hit.clone(),
            asked: HashSet::new(),
            made: HashMap::new(),
        }
    }

    /// The value of a record that may go to Kafka, if there is one by now.
    pub(super) fn value<'a>(&'a self, lsn: Lsn, envelope: &Envelope<'a>) -> Option<FinalValue<'a>> {
        if !envelope.sealed {
            return Some(FinalValue(envelope.value));
        }
        match self.made.get(&lsn) {
            Some(Made::Value(value)) if value != envelope.value => Some(FinalValue(value)),
            _ => None,
        }
    }

    /// Looks for the value of a sealed record, and asks for it where there is room.
    pub(super) fn look(&mut self, lsn: Lsn, envelope: &Envelope<'_>) -> Lookup {
        match self.made.get(&lsn) {
            Some(Made::Value(value)) if value == envelope.value => Lookup::Dead(UNCHANGED),
            Some(Made::Value(_)) => Lookup::Ready,
            Some(Made::Dead(reason)) => Lookup::Dead(reason),
            None => {
                self.ask(lsn, envelope);
                Lookup::Later
            }
        }
    }

    fn ask(&mut self, lsn: Lsn, envelope: &Envelope<'_>) {
        if self.asked.contains(&lsn) {
            return;
        }
        if self.room() == 0 {
            self.full.inc();
            return;
        }
        self.asked.insert(lsn);
        self.prepare.prepare(envelope, Answer::new(lsn, &self.inbox));
    }

    /// How many more may be asked for.
    pub(super) fn room(&self) -> usize {
        AHEAD.saturating_sub(self.asked.len()).min(KEPT.saturating_sub(self.made.len()))
    }

    /// Whether it is worth a pass to ask for more.
    pub(super) fn has_much_room(&self) -> bool {
        self.room() >= AHEAD / 2
    }

    /// Whether this record could go on now: there is news of it, or room to ask.
    pub(super) fn is_worth_a_look(&self, lsn: Lsn) -> bool {
        self.made.contains_key(&lsn) || (!self.asked.contains(&lsn) && self.room() > 0)
    }

    /// Whether there is news of this record.
    pub(super) fn is_made(&self, lsn: Lsn) -> bool {
        self.made.contains_key(&lsn)
    }

    /// Whether its value is being made.
    pub(super) fn is_asked(&self, lsn: Lsn) -> bool {
        self.asked.contains(&lsn)
    }

    /// Takes in what was made; says whether there was anything.
    pub(super) fn collect(&mut self) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let news = self.inbox.take();
        for (lsn, made) in &news {
            self.asked.remove(lsn);
            if made.is_none() {
                tracing::debug!(wal.lsn = lsn.0, "value not resolved; tried again");
            }
        }
        let any = !news.is_empty();
        self.made.extend(news.into_iter().filter_map(|(lsn, made)| Some((lsn, made?))));
        if self.made.len() >= KEPT {
            // Dead letters, and records that an operator dropped.
            self.made.retain(|lsn, _| !self.log.is_done(*lsn));
        }
        any
    }

    /// The record is delivered.
    pub(super) fn settled(&mut self, lsn: Lsn) {
        if !self.made.is_empty() {
            self.made.remove(&lsn);
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
    const LONGEST_REST: Duration = Duration::from_secs(5);

    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.began.is_none() && self.not_before.is_none_or(|at| now >= at)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// Everything since the first record held was looked at.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            self.not_before = Some(now + (now.saturating_duration_since(began) * 2).min(Self::LONGEST_REST));
        }
    }
}
