//! Delivery reports of the plain producers, and the reaction to them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::plain_sender::PlainSender;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::dispatcher::Dispatcher;
use crate::kafka::{DeliveryFault, ErrorCode, classify};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// How long a failed producer may still collect confirmations of records that brokers have already written. Each
/// one saves a repeated record. Together with the half second that a producer may need to close, this stays below the
/// heartbeat's second.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

type Failures = Vec<(Lsn, ErrorCode)>;

impl Dispatcher<PlainSender> {
    /// Processes all delivery reports so far.
    pub(super) fn collect(&mut self, now: Instant) {
        if let Some(producer) = self.sender.main.producer() {
            // The order matters: a failure that arrives in between is seen in the next turn.
            producer.clear_failures();
            producer.take_results(&mut self.state.results);
        }
        let mut failures = self.take_results(now);
        // When a topic was deleted, the client fails all its records that are not in flight. The topic is parked from
        // now on, and no record of another topic has failed.
        let only_topics = failures.iter().all(|(_, code)| classify(*code) == DeliveryFault::StaleMetadata);
        if self.must_replace_producer() || !only_topics {
            self.replace_producer(&mut failures, now);
        } else {
            self.return_failures(&failures, now);
        }
        self.collect_solo(now);
    }

    /// Confirms in the log the records that Kafka confirmed. Returns the failed ones.
    fn take_results(&mut self, now: Instant) -> Failures {
        let Self { state, sender } = self;
        let results = std::mem::take(&mut state.results);
        let (at, mut arrived, mut failures) = (Timestamp::now(), Vec::new(), Failures::new());
        for result in &results {
            if let Some(code) = result.error {
                failures.push((Lsn(result.tag), code));
            } else if let Some((flight, note)) = state.on_confirmed(result, at, now) {
                sender.on_confirmed(&flight, now);
                arrived.push((flight, note));
            }
        }
        if !arrived.is_empty() {
            state.confirm(&arrived);
            state.confirmed_at = now;
        }
        state.results = results;
        state.results.clear();
        failures
    }

    /// The main producer failed, or one of its records did. No more records may be sent through it, because
    /// successors of a failed record would overtake it.
    fn replace_producer(&mut self, failures: &mut Failures, now: Instant) {
        self.state.must_replace_producer = false;
        let Some(producer) = self.sender.main.take_failed(now) else { return };
        self.sender.primed.clear();
        producer.purge_queue();
        let deadline = now + FLUSH_TIMEOUT;
        loop {
            producer.take_results(&mut self.state.results);
            failures.extend(self.take_results(now));
            let left = deadline.saturating_duration_since(Instant::now());
            if self.state.in_flight.count_of(false) <= failures.len() || left.is_zero() {
                break;
            }
            self.sender.main.wait(left);
        }
        drop(producer);
        add_unreported(&self.state, failures, false);
        self.return_failures(failures, now);
    }

    /// Handles failures of a producer: in each partition, delivery continues from the first failed record. Only the
    /// solo producer sends each record in its own request, so a record rejected there is itself at fault.
    fn return_failures(&mut self, failures: &Failures, now: Instant) {
        let returned = self.state.on_failed(failures);
        for record in self.state.policy.handle_failures(returned, now) {
            self.sender.parked.hold(record.topic_partition, record.lsn);
        }
    }

    fn collect_solo(&mut self, now: Instant) {
        let Some(producer) = self.sender.solo.producer() else { return };
        producer.take_results(&mut self.state.results);
        let fatal = producer.fatal().is_some();
        let mut failures = self.take_results(now);
        if fatal {
            self.sender.solo.take_failed(now);
            add_unreported(&self.state, &mut failures, true);
        }
        self.return_failures(&failures, now);
    }
}

/// Adds the records whose result a closed producer will never report.
fn add_unreported(state: &DispatchState, failures: &mut Failures, solo: bool) {
    let known: HashSet<Lsn> = failures.iter().map(|(lsn, _)| *lsn).collect();
    let unreported = state.in_flight.lsns_of(solo).into_iter().filter(|lsn| !known.contains(lsn));
    failures.extend(unreported.map(|lsn| (lsn, ErrorCode::PurgeInflight)));
}
