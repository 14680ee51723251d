//! What came back from the producers, and what follows from it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::plain_sender::PlainSender;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::dispatcher::Dispatcher;
use crate::kafka::{DeliveryFault, ErrorCode, classify};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// How long a failed producer may still bring in what brokers have already written: each such result saves a
/// repeat. With the half second a producer may need to end, below the heartbeat's second.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

type Failures = Vec<(Lsn, ErrorCode)>;

impl Dispatcher<PlainSender> {
    /// Takes in all results so far.
    pub(super) fn collect(&mut self, now: Instant) {
        if let Some(producer) = self.sender.main.producer() {
            // In this order: a failure that comes in between is seen in the next turn.
            producer.clear_failures();
            producer.take_results(&mut self.state.results);
        }
        let mut failures = self.take_results(now);
        // A topic that is gone fails in the client, all of it that is not on its way. It is held from now on, and nothing
        // of other topics failed.
        let only_topics = failures.iter().all(|(_, code)| classify(*code) == DeliveryFault::StaleMetadata);
        if self.must_replace_producer() || !only_topics {
            self.replace_producer(&mut failures, now);
        } else {
            self.return_failures(&failures, now);
        }
        self.collect_solo(now);
    }

    /// Confirms what arrived and returns what did not.
    fn take_results(&mut self, now: Instant) -> Failures {
        let Self { state, sender } = self;
        let results = std::mem::take(&mut state.results);
        let (at, mut arrived, mut failures) = (Timestamp::now(), Vec::new(), Failures::new());
        for result in &results {
            if let Some(code) = result.error {
                failures.push((Lsn(result.tag), code));
            } else if let Some((flight, note)) = state.on_acknowledged(result, at, now) {
                sender.on_acknowledged(&flight, now);
                arrived.push((flight, note));
            }
        }
        if !arrived.is_empty() {
            state.confirm(&arrived);
            state.acknowledged_at = now;
        }
        state.results = results;
        state.results.clear();
        failures
    }

    /// The main producer failed, or a record did: nothing more may leave through it, because successors of a failed
    /// record would overtake it.
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

    /// Failures of a producer: their records go on from the first one of each partition. Only the solo producer sends
    /// each record in a request of its own, so what is refused there is to blame itself.
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

/// What a producer that is gone will say nothing about any more.
fn add_unreported(state: &DispatchState, failures: &mut Failures, solo: bool) {
    let known: HashSet<Lsn> = failures.iter().map(|(lsn, _)| *lsn).collect();
    let silent = state.in_flight.lsns_of(solo).into_iter().filter(|lsn| !known.contains(lsn));
    failures.extend(silent.map(|lsn| (lsn, ErrorCode::PurgeInflight)));
}
