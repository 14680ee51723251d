//! Backpressure on users' commands, for a broker with small retention.
//!
//! The embedded broker retains 5 MiB per partition. A record that it drops before the consumer applies it would be
//! applied only after the next start, when everything is delivered again. So the drain waits for the consumer.

use std::collections::{HashMap, VecDeque};

use crate::command::USER_TOPIC;
use crate::sync::{Mutex, MutexGuard};

/// Limit of all partitions together: less than half of what the broker retains per partition.
const MAX_UNAPPLIED_BYTES: u64 = 2 << 20;

/// Returns the offset below which all records of a partition of the topic are settled.
type SettledOffset = dyn Fn(i32) -> i64 + Send + Sync;

/// Bytes of all workers that were sent to the topic and are not yet applied.
pub struct Backpressure {
    settled: Box<SettledOffset>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: u64,
    confirmed: HashMap<i32, VecDeque<(i64, u64)>>,
}

impl Backpressure {
    /// Starts with no unapplied bytes.
    pub fn new(settled: impl Fn(i32) -> i64 + Send + Sync + 'static) -> Self {
        Self { settled: Box::new(settled), state: Mutex::default() }
    }

    /// Whether a record to `topic` must wait for the consumer.
    pub(super) fn is_over_limit(&self, topic: &str) -> bool {
        topic == USER_TOPIC && self.state().unapplied_bytes(&*self.settled) >= MAX_UNAPPLIED_BYTES
    }

    /// A record was sent.
    pub(super) fn on_sent(&self, topic: &str, bytes: u64) {
        if topic == USER_TOPIC {
            self.state().in_flight += bytes;
        }
    }

    /// Kafka confirmed a record.
    pub(super) fn on_confirmed(&self, topic: &str, bytes: u64, partition: i32, offset: i64) {
        if topic == USER_TOPIC {
            let mut state = self.state();
            state.in_flight = state.in_flight.saturating_sub(bytes);
            state.confirmed.entry(partition).or_default().push_back((offset, bytes));
        }
    }

    /// The producer returned a record; it will be sent again.
    pub(super) fn on_returned(&self, topic: &str, bytes: u64) {
        if topic == USER_TOPIC {
            let mut state = self.state();
            state.in_flight = state.in_flight.saturating_sub(bytes);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn unapplied_bytes(&mut self, settled: &SettledOffset) -> u64 {
        let mut ahead = self.in_flight;
        for (partition, waiting) in &mut self.confirmed {
            let settled = settled(*partition);
            waiting.retain(|(offset, _)| *offset >= settled);
            ahead += waiting.iter().map(|(_, bytes)| bytes).sum::<u64>();
        }
        ahead
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn backpressure_lasts_until_sent_records_are_settled() {
        let settled = Arc::new(AtomicI64::new(0));
        let its = Arc::clone(&settled);
        let backpressure = Backpressure::new(move |_| its.load(Ordering::Relaxed));
        backpressure.on_sent(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2);
        backpressure.on_sent("orders.v1", MAX_UNAPPLIED_BYTES);
        assert!(!backpressure.is_over_limit(USER_TOPIC));
        backpressure.on_sent(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2);
        assert!(backpressure.is_over_limit(USER_TOPIC) && !backpressure.is_over_limit("orders.v1"));
        backpressure.on_confirmed(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2, 3, 0);
        assert!(backpressure.is_over_limit(USER_TOPIC));
        settled.store(1, Ordering::Relaxed);
        assert!(!backpressure.is_over_limit(USER_TOPIC));
        backpressure.on_returned(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2);
        assert_eq!(backpressure.state().unapplied_bytes(&|_| 1), 0);
    }
}
