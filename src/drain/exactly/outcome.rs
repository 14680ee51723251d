//! What came back, and what follows from it.

use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use super::core::Core;
use super::persist::persist;
use super::positions::Positions;
use super::run::Run;
use crate::drain::court::Returned;
use crate::drain::flight::Flight;
use crate::drain::place::Place;
use crate::kafka::ENTRY;
use crate::kafka::ErrorCode;
use crate::kafka::Fault;
use crate::kafka::classify;
use crate::planted::Fault as Planted;
use crate::planted::planted;
use crate::planted::strikes;
use crate::units::Timestamp;
use crate::wal::Confirmation;
use crate::wal::Lsn;

/// Transactions of one topic each, after one of several was refused because of some topic. If none of these is, the
/// cause is gone.
const HUNT: u32 = 64;
/// How long an abort may take before the producer goes instead: the next one aborts too.
const ABORT: Duration = Duration::from_secs(5);

impl Core {
    /// Takes in all results so far.
    pub(super) fn collect(&mut self, now: Instant) {
        let Some(producer) = self.sender.producer() else { return };
        producer.take_results(&mut self.results);
        self.has_failed |= producer.has_failed();
        let results = std::mem::take(&mut self.results);
        let at = Timestamp::now();
        for result in &results {
            let Some(run) = &mut self.run else { continue };
            let lsn = Lsn(result.tag);
            match (result.error, result.tag) {
                (None, ENTRY) => run.is_noted = true,
                (None, _) => {
                    let Some(flight) = self.window.remove(lsn) else { continue };
                    self.window.progress(flight.place, now);
                    let (bytes, partition) = (flight.log_bytes, result.partition);
                    let offset = result.offset.max(-1);
                    let confirmation = Confirmation { lsn, bytes, partition, offset, at };
                    if planted(Planted::SentBeforeCommit) {
                        self.parts.log.confirm(&[confirmation]);
                    }
                    run.arrived.push((flight, confirmation));
                    self.arrived(&flight, lsn);
                }
                (Some(code), ENTRY) => {
                    tracing::warn!(kafka.error = ?code, "the positions were refused");
                    self.has_failed = true;
                }
                (Some(code), _) => self.failures.push((lsn, code)),
            }
        }
        if !results.is_empty() {
            self.arrived_at = now;
        }
        self.results = results;
        self.results.clear();
    }

    /// Kafka took a record; whether it stays, the commit decides, but its topic and partition are well.
    fn arrived(&mut self, flight: &Flight, lsn: Lsn) {
        self.held.arrived(flight.place);
        self.court.arrived(flight, lsn);
    }

    /// Commits what has arrived whole. Blocks, calling `tick`.
    pub(super) fn commit(&mut self, now: Instant, tick: &mut dyn FnMut() -> bool) {
        let (Some(run), Some(producer)) = (&mut self.run, self.sender.producer()) else { return };
        run.is_committing = true;
        let outcome = persist(tick, |slice| producer.commit_transaction(slice));
        let loses = strikes(Planted::LoseCommitAnswer) || strikes(Planted::GuessCommit);
        match outcome {
            Ok(()) if loses => self.sender.close(now),
            Ok(()) => {
                self.hunt = self.hunt.saturating_sub(1);
                self.sender.works();
                self.committed();
            }
            Err(error) => {
                tracing::warn!(%error, "the outcome of a commit is not known; Kafka is asked");
                self.sender.close(now);
            }
        }
    }

    /// The open transaction is committed: its records are sent.
    fn committed(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.committed = run.positions;
        let confirmations: Vec<Confirmation> = run.arrived.iter().map(|(_, note)| *note).collect();
        self.parts.log.confirm(&confirmations);
        let lsns: Vec<Lsn> = confirmations.iter().map(|note| note.lsn).collect();
        self.parts.statuses.finished(&lsns);
        lsns.iter().for_each(|lsn| self.sealed.settled(*lsn));
        let latency = self.parts.metrics.drain_latency.local();
        for (Flight { place, at, .. }, note) in &run.arrived {
            self.court.topics.get(place.topic).sent.inc();
            latency.observe(note.at.since(*at).as_secs_f64());
            self.court.settle(*place, note.lsn);
        }
    }

    /// A new producer found these positions: was the transaction of the old one committed?
    pub(super) fn resolve(&mut self, found: &Positions) {
        let Some(run) = &self.run else { return };
        if run.is_committing && run.positions == *found {
            tracing::info!("the commit had succeeded");
            self.sender.works();
            self.committed();
        } else {
            self.discard();
        }
    }

    /// Ends a transaction that cannot be committed, and finds out who is to blame; says whether somebody is, so that
    /// the others need not wait. Blocks, calling `tick`.
    pub(super) fn fail(&mut self, now: Instant, tick: &mut dyn FnMut() -> bool) -> bool {
        self.has_failed = false;
        let end = now + ABORT;
        let is_open = self.run.as_ref().is_some_and(|run| !run.is_committing);
        if is_open && self.refused.is_none() {
            self.must_abort();
        }
        let aborted = match self.sender.producer() {
            Some(producer) if is_open => {
                let aborted = persist(&mut || tick() && Instant::now() < end, |slice| {
                    producer.abort_transaction(slice)
                });
                // What else was in it has come back by now: with the reason, or as purged.
                let mut rest = Vec::new();
                producer.take_results(&mut rest);
                let failed = rest.iter().filter(|result| result.tag != ENTRY);
                self.failures.extend(failed.filter_map(|result| Some((Lsn(result.tag), result.error?))));
                aborted.inspect_err(|error| tracing::warn!(%error, "a transaction was not aborted")).is_ok()
            }
            _ => false,
        };
        if !aborted {
            self.sender.close(now);
        }
        let mut is_known = self.blame_topic(now);
        if is_known {
            // The topic has its own delays; the producer did nothing wrong.
            self.sender.hurry(now);
        }
        let failures = std::mem::take(&mut self.failures);
        self.judge(&failures, aborted, now);
        if self.run.as_ref().is_some_and(|run| !run.is_committing) {
            self.discard();
        }
        is_known |= !self.court.grave.is_empty() || !self.court.suspects.is_empty();
        is_known
    }

    /// Whether the open transaction can only be aborted; remembers why.
    pub(super) fn must_abort(&mut self) -> bool {
        let Some(error) = self.sender.producer().and_then(|producer| producer.must_abort()) else {
            return false;
        };
        tracing::warn!(%error, "a transaction can only be aborted");
        self.refused = Some(error.code);
        true
    }

    /// The transaction was refused as a whole because of some topic: that of a transaction that proves one, else each
    /// is proved in turn. Says whether it was a topic.
    fn blame_topic(&mut self, now: Instant) -> bool {
        let Some(code) = self.refused.take() else { return false };
        let fault = classify(code);
        let Some(run) = self.run.as_ref().filter(|_| matches!(fault, Fault::Topic(_) | Fault::Stale)) else {
            return false;
        };
        match run.only {
            Some(topic) if !run.is_closed => {
                self.hunt = 0;
                self.court.blame(topic, fault, now);
            }
            _ => self.hunt = HUNT,
        }
        true
    }

    /// Nothing of the transaction is in Kafka: all of it is sent again.
    fn discard(&mut self) {
        if let Some(Run { from, arrived, .. }) = self.run.take() {
            for (flight, note) in arrived {
                self.court.attempts.insert(note.lsn, flight.attempts);
            }
            self.reread = Some(self.reread.map_or(from, |first| first.min(from)));
        }
        for lsn in self.window.of(false).into_iter().chain(self.window.of(true)) {
            if let Some(flight) = self.window.remove(lsn) {
                self.court.came_back(lsn, &flight);
            }
        }
    }

    /// `whole`: whether all results are in. Batches are refused whole, so a record refused by itself was alone.
    fn judge(&mut self, failures: &[(Lsn, ErrorCode)], whole: bool, now: Instant) {
        let come_back = |(lsn, code): &(Lsn, ErrorCode)| {
            let flight = self.window.remove(*lsn)?;
            self.court.came_back(*lsn, &flight);
            Some(Returned::new(*lsn, &flight, *code, flight.solo))
        };
        let mut returned: Vec<Returned> = failures.iter().filter_map(come_back).collect();
        let mut refused: HashMap<Place, u32> = HashMap::new();
        for record in returned.iter().filter(|record| matches!(record.fault, Fault::Record(_))) {
            *refused.entry(record.place).or_default() += 1;
        }
        for record in returned.iter_mut().filter(|record| whole && refused.get(&record.place) == Some(&1)) {
            record.alone = true;
        }
        self.court.judge(returned, now);
    }
}
