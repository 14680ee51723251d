//! What came back from the producers, and what follows from it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

use crate::drain::blame;
use crate::drain::desk::Desk;
use crate::drain::gates::Place;
use crate::drain::window::Flight;
use crate::kafka::Delivery;
use crate::kafka::ErrorCode;
use crate::kafka::Fault;
use crate::kafka::TOO_LARGE;
use crate::kafka::classify;
use crate::units::Timestamp;
use crate::wal::Confirmation;
use crate::wal::Lsn;

/// How long a failed producer may still bring in what brokers have already written: each such result saves a
/// repeat. With the half second a producer may need to end, below the heartbeat's second.
const SETTLE: Duration = Duration::from_millis(300);

type Failures = Vec<(Lsn, ErrorCode)>;

impl Desk {
    /// Takes in all results so far.
    pub(super) fn collect(&mut self, now: Instant) {
        if let Some(producer) = self.main.producer() {
            producer.take_results(&mut self.results);
        }
        let mut failures = self.take_in(now);
        if self.has_failed() {
            self.replace(&mut failures, now);
        }
        self.collect_solo(now);
    }

    /// Confirms what arrived and returns what did not.
    fn take_in(&mut self, now: Instant) -> Failures {
        if self.results.is_empty() {
            return Failures::new();
        }
        let results = std::mem::take(&mut self.results);
        let failures = results.iter().filter_map(|result| Some((Lsn(result.tag), result.error?))).collect();
        self.confirm(&results, now);
        self.results = results;
        self.results.clear();
        failures
    }

    fn confirm(&mut self, results: &[Delivery], now: Instant) {
        let at = Timestamp::now();
        let arrived = results.iter().filter(|result| result.error.is_none());
        let confirmation = |result: &Delivery| {
            let lsn = Lsn(result.tag);
            let bytes = self.window.get(lsn)?.log_bytes;
            // librdkafka has several negative numbers for "not known".
            Some(Confirmation { lsn, bytes, partition: result.partition, offset: result.offset.max(-1), at })
        };
        let confirmations: Vec<_> = arrived.filter_map(confirmation).collect();
        if confirmations.is_empty() {
            return;
        }
        self.parts.log.confirm(&confirmations);
        let lsns: Vec<Lsn> = confirmations.iter().map(|confirmation| confirmation.lsn).collect();
        self.parts.statuses.finished(&lsns);
        for lsn in lsns {
            self.arrived(lsn, at, now);
        }
        self.arrived_at = now;
    }

    fn arrived(&mut self, lsn: Lsn, at: Timestamp, now: Instant) {
        let Some(flight) = self.window.remove(lsn) else { return };
        self.window.progress(flight.place, now);
        self.attempts.remove(&lsn);
        let outlet = if flight.solo { &mut self.solo } else { &mut self.main };
        outlet.works();
        let topic = self.topics.get(flight.place.topic);
        if topic.arrived() {
            tracing::info!(kafka.topic = &*topic.name, "topic is well again");
        }
        topic.sent.inc();
        self.parts.metrics.drain_latency.observe(at.since(flight.at).as_secs_f64());
        self.settle_suspect(flight.place, lsn);
    }

    /// A record of this partition is confirmed or dead.
    pub(super) fn settle_suspect(&mut self, place: Place, lsn: Lsn) {
        blame::settle(&mut self.suspects, &mut self.topics, place, lsn);
    }

    /// The main producer failed, or a record did: nothing more may leave through it, because successors of a failed
    /// record would overtake it.
    fn replace(&mut self, failures: &mut Failures, now: Instant) {
        self.broken = false;
        let Some(producer) = self.main.take(now) else { return };
        producer.purge_queue();
        let deadline = now + SETTLE;
        loop {
            producer.take_results(&mut self.results);
            failures.extend(self.take_in(now));
            let left = deadline.saturating_duration_since(Instant::now());
            if self.window.len_of(false) <= failures.len() || left.is_zero() {
                break;
            }
            self.main.wait(left);
        }
        drop(producer);
        self.add_silent(failures, false);
        self.judge(failures, now);
    }

    /// What a producer that is gone will say nothing about any more.
    fn add_silent(&self, failures: &mut Failures, solo: bool) {
        let known: HashSet<Lsn> = failures.iter().map(|(lsn, _)| *lsn).collect();
        let silent = self.window.of(solo).into_iter().filter(|lsn| !known.contains(lsn));
        failures.extend(silent.map(|lsn| (lsn, ErrorCode::PurgeInflight)));
    }

    /// All failures of a producer that is gone: their records go on from the first one of each partition.
    fn judge(&mut self, failures: &Failures, now: Instant) {
        let mut refused: HashMap<Place, Vec<(Lsn, u64, Fault)>> = HashMap::new();
        for (lsn, code) in failures {
            let Some(flight) = self.come_back(*lsn) else { continue };
            match classify(*code) {
                fault @ Fault::Record(_) => {
                    refused.entry(flight.place).or_default().push((*lsn, flight.bytes, fault));
                }
                fault => self.blame(flight.place.topic, fault, now),
            }
        }
        for (place, records) in refused {
            let [(lsn, bytes, fault), ..] = records[..] else { continue };
            if let ([_], Fault::Record(reason)) = (&records[..], fault) {
                // Batches are refused whole: it was alone in its.
                self.condemn(place, lsn, bytes, reason);
                continue;
            }
            blame::accuse(&mut self.suspects, &self.topics, place, &records);
        }
    }

    /// A record is no longer in flight and not delivered: its partition goes on from here.
    fn come_back(&mut self, lsn: Lsn) -> Option<Flight> {
        let flight = self.window.remove(lsn)?;
        self.attempts.insert(lsn, flight.attempts);
        self.gates.hold(flight.place, lsn);
        Some(flight)
    }

    fn blame(&mut self, topic: usize, fault: Fault, now: Instant) {
        blame::blame(self.topics.get(topic), fault, now, self.grace);
    }

    fn collect_solo(&mut self, now: Instant) {
        let Some(producer) = self.solo.producer() else { return };
        producer.take_results(&mut self.results);
        let fatal = producer.fatal().is_some();
        let mut failures = self.take_in(now);
        if fatal {
            self.solo.take(now);
            self.add_silent(&mut failures, true);
        }
        for (lsn, code) in failures {
            let Some(flight) = self.come_back(lsn) else { continue };
            let place = flight.place;
            match classify(code) {
                Fault::Record(reason) => self.condemn(place, lsn, flight.bytes, reason),
                fault => self.blame(place.topic, fault, now),
            }
            self.topics.get(place.topic).trial_lost(lsn);
        }
    }

    /// A record was refused alone.
    fn condemn(&mut self, place: Place, lsn: Lsn, bytes: u64, reason: &'static str) {
        let record = match self.parts.log.read(lsn) {
            Ok(Some(record)) => record,
            // Its gate is closed from here: it will be sent, and refused, again.
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, wal.lsn = lsn.0, "cannot read a refused record");
                return;
            }
        };
        let attempts = self.attempts.remove(&lsn).unwrap_or(1);
        self.grave.add(record, reason, None, attempts);
        if reason == TOO_LARGE {
            self.topics.get(place.topic).shrink(bytes);
        }
        self.suspects.convict(place);
        self.settle_suspect(place, lsn);
    }
}
