//! What came back from the producers, and what follows from it.

use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

use crate::drain::court::Returned;
use crate::drain::desk::Desk;
use crate::drain::flight::Flight;
use crate::kafka::Delivery;
use crate::kafka::ErrorCode;
use crate::kafka::Fault;
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
            // In this order: a failure that comes in between is seen in the next turn.
            producer.forget_failures();
            producer.take_results(&mut self.results);
        }
        let mut failures = self.take_in(now);
        // A topic that is gone fails in the client, all of it that is not on its way. It is held from now on, and nothing
        // of other topics failed.
        let only_topics = failures.iter().all(|(_, code)| classify(*code) == Fault::Stale);
        if self.has_failed() || !only_topics {
            self.replace(&mut failures, now);
        } else {
            self.judge(&failures, now);
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
        let mut flights = Vec::with_capacity(results.len());
        let mut confirmations = Vec::with_capacity(results.len());
        for result in results.iter().filter(|result| result.error.is_none()) {
            let lsn = Lsn(result.tag);
            let Some(flight) = self.window.remove(lsn) else { continue };
            // librdkafka has several negative numbers for "not known".
            let (partition, offset) = (result.partition, result.offset.max(-1));
            if let Some(lead) = &self.parts.lead {
                lead.arrived(self.court.topics.name(flight.place.topic), flight.bytes, partition, offset);
            }
            confirmations.push(Confirmation { lsn, bytes: flight.log_bytes, partition, offset, at });
            flights.push((lsn, flight));
        }
        if confirmations.is_empty() {
            return;
        }
        self.parts.log.confirm(&confirmations);
        let lsns: Vec<Lsn> = flights.iter().map(|(lsn, _)| *lsn).collect();
        self.parts.statuses.finished(&lsns);
        // Summed up here and added once, when it is dropped: thousands may be confirmed at a time.
        let latency = self.parts.metrics.drain_latency.local();
        for (lsn, flight) in &flights {
            latency.observe(at.since(flight.at).as_secs_f64());
            self.arrived(*lsn, flight, now);
            self.sealed.settled(*lsn);
        }
        self.arrived_at = now;
    }

    fn arrived(&mut self, lsn: Lsn, flight: &Flight, now: Instant) {
        self.window.progress(flight.place, now);
        let outlet = if flight.solo { &mut self.solo } else { &mut self.main };
        outlet.works();
        if !flight.solo {
            self.introductions.confirmed(flight.place, now);
        }
        self.court.arrived(flight, lsn);
        self.court.topics.get(flight.place.topic).sent.inc();
        self.court.settle(flight.place, lsn);
    }

    /// The main producer failed, or a record did: nothing more may leave through it, because successors of a failed
    /// record would overtake it.
    fn replace(&mut self, failures: &mut Failures, now: Instant) {
        self.broken = false;
        let Some(producer) = self.main.take(now) else { return };
        self.introductions.forget();
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

    /// Failures of a producer: their records go on from the first one of each partition. Only the solo producer sends
    /// each record in a request of its own, so what is refused there is to blame itself.
    fn judge(&mut self, failures: &Failures, now: Instant) {
        let come_back = |(lsn, code): &(Lsn, ErrorCode)| {
            let flight = self.window.remove(*lsn)?;
            if let Some(lead) = &self.parts.lead {
                lead.came_back(self.court.topics.name(flight.place.topic), flight.bytes);
            }
            self.court.came_back(*lsn, &flight);
            Some(Returned::new(*lsn, &flight, *code, flight.solo))
        };
        let returned: Vec<Returned> = failures.iter().filter_map(come_back).collect();
        for Returned { place, lsn, .. } in self.court.judge(returned, now) {
            self.gates.hold(place, lsn);
        }
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
        self.judge(&failures, now);
    }
}
