//! What a worker decides with: everything it knows but its way through the log.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use super::held::Held;
use super::positions::Positions;
use super::run::Run;
use super::sender::Sender;
use crate::drain::board::Parts;
use crate::drain::court::Court;
use crate::drain::desk::ASK;
use crate::drain::load::Load;
use crate::drain::sealed::Pass;
use crate::drain::sealed::Sealed;
use crate::drain::topics::Verdict;
use crate::drain::window::Window;
use crate::kafka::Answer;
use crate::kafka::Delivery;
use crate::kafka::ErrorCode;
use crate::wal::Lsn;

/// A partition that confirms nothing for this long, while brokers answer, is taken out of the transaction. Above
/// `STALL`: here it costs everybody's repetition.
const JAM: Duration = Duration::from_secs(3);

/// No result for this long: time to ask whether the transaction can still be committed.
const SILENCE: Duration = Duration::from_millis(100);

pub(super) struct Core {
    pub(super) parts: Parts,
    pub(super) incarnation: [u8; 16],
    pub(super) sender: Sender,
    pub(super) court: Court,
    pub(super) held: Held,
    pub(super) sealed: Sealed,
    pub(super) pass: Pass,
    /// What is sent and has not arrived.
    pub(super) window: Window,
    pub(super) run: Option<Run>,
    /// Records and bytes of one transaction.
    pub(super) limit: Load,
    /// Where Kafka's positions are.
    pub(super) committed: Positions,
    pub(super) results: Vec<Delivery>,
    pub(super) failures: Vec<(Lsn, ErrorCode)>,
    /// The transaction, or the producer, is of no more use.
    pub(super) has_failed: bool,
    /// Why the transaction was refused as a whole.
    pub(super) refused: Option<ErrorCode>,
    /// Transactions to come that take one topic each, to find one at fault.
    pub(super) hunt: u32,
    /// The transaction took no more.
    pub(super) is_full: bool,
    /// From where the log is to be read again.
    pub(super) reread: Option<Lsn>,
    pub(super) arrived_at: Instant,
}

impl Core {
    /// Asks the brokers about a topic. A topic that a record waits for is created where they allow it.
    pub(super) fn ask(&mut self, topic: usize, waits: bool, now: Instant) -> Option<Answer> {
        let (producer, name) = (self.sender.producer()?, self.court.topics.name(topic));
        let answer = if waits { producer.ask_or_create(name, ASK) } else { producer.ask(name, ASK) };
        self.court.answered(topic, answer, now);
        if self.court.topics.get(topic).refuses_keyless() && matches!(answer, Answer::Partitions(_)) {
            let is_compacted = producer.is_compacted(self.court.topics.name(topic), ASK);
            self.court.topics.get(topic).compacted(is_compacted == Some(true));
        }
        Some(answer)
    }

    pub(super) fn tend(&mut self, now: Instant) {
        for topic in self.court.topics.due(now) {
            // The rest in the next turn, after a heartbeat.
            let waits = self.held.waiting().any(|(held, records)| held == topic && records > 0);
            if self.ask(topic, waits, now) == Some(Answer::Away) || now.elapsed() > ASK / 8 {
                break;
            }
        }
    }

    /// Whether all that the open transaction holds has arrived, its dead letters are stored, and it is closed.
    pub(super) fn is_whole(&self) -> bool {
        let closed = self.run.as_ref().is_some_and(|run| run.is_closed && run.is_noted);
        closed && !self.has_failed && self.window.len() == 0 && self.court.grave.is_empty()
    }

    /// A transaction that waits too long: it may be beyond help without a word, or a partition takes nothing while
    /// brokers answer. When no broker answers, waiting is right.
    pub(super) fn look_for_jams(&mut self, now: Instant) {
        let waits = now.saturating_duration_since(self.arrived_at) >= SILENCE;
        let stalled = self.window.stalled_for(JAM, now);
        let open = self.run.as_ref().is_some_and(|run| !run.is_committing);
        if !open || (!waits && stalled.is_empty()) {
            return;
        }
        if self.must_abort() {
            self.has_failed = true;
            return;
        }
        let Some(first) = stalled.first() else { return };
        if let Some(Answer::Partitions(_)) = self.ask(first.topic, false, now) {
            for place in stalled {
                let delay = self.held.jam(place, now).as_millis() as u64;
                let topic = &**self.court.topics.name(place.topic);
                let partition = place.partition;
                tracing::warn!(
                    kafka.topic = topic,
                    kafka.partition = partition,
                    drain.delay_ms = delay,
                    "a partition takes nothing; its lanes wait"
                );
            }
            self.has_failed = true;
        }
    }

    /// Lets lanes go whose reason is gone; the first record among them.
    pub(super) fn release(&mut self, now: Instant) -> Option<Lsn> {
        if self.held.is_empty() {
            return None;
        }
        self.held.retry(now);
        let free: HashMap<usize, bool> = (0..self.court.topics.len())
            .map(|topic| {
                let verdict = self.court.topics.get(topic).verdict();
                (topic, matches!(verdict, Verdict::Send { .. } | Verdict::Bury(_)))
            })
            .collect();
        let jammed: Vec<_> = self.held.jammed();
        let (sealed, may_begin) = (&self.sealed, self.pass.may_begin(now));
        let mut begins = false;
        let first = self.held.release(|place, first| match place {
            _ if place.is_whole() => free.get(&place.topic).copied().unwrap_or(true),
            _ if place.is_sealed() => {
                let goes = may_begin && sealed.is_worth_a_look(first);
                begins |= goes;
                goes
            }
            _ => !jammed.contains(&place),
        });
        if begins {
            self.pass.begin(now);
        }
        first
    }

    pub(super) fn count_parked(&self, counts: &mut BTreeMap<String, u64>) {
        counts.values_mut().for_each(|count| *count = 0);
        for (topic, waiting) in self.held.waiting() {
            *counts.entry(self.court.topics.name(topic).to_string()).or_default() += waiting;
        }
    }
}
