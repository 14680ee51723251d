//! How far users' commands may be ahead of the consumer, where the broker forgets.
//!
//! The embedded broker keeps 5 MiB of a partition. What falls out before it is applied would be applied only after the
//! next start, when everything is delivered again; so the drain waits for the consumer.

use std::collections::{HashMap, VecDeque};

use crate::command::USER_TOPIC;
use crate::sync::{Mutex, MutexGuard};

/// Of all partitions together: less than half of what one keeps.
const MAX_UNAPPLIED_BYTES: u64 = 2 << 20;

/// Says up to which offset a partition of the topic is settled.
type SettledOffset = dyn Fn(i32) -> i64 + Send + Sync;

/// What was sent to the topic and is not yet applied, by all workers.
pub struct Backpressure {
    settled: Box<SettledOffset>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: u64,
    arrived: HashMap<i32, VecDeque<(i64, u64)>>,
}

impl Backpressure {
    /// Nothing is ahead yet.
    pub fn new(settled: impl Fn(i32) -> i64 + Send + Sync + 'static) -> Self {
        Self { settled: Box::new(settled), state: Mutex::default() }
    }

    /// Whether a record to `topic` has to wait.
    pub(super) fn is_over_limit(&self, topic: &str) -> bool {
        topic == USER_TOPIC && self.state().unapplied_bytes(&*self.settled) >= MAX_UNAPPLIED_BYTES
    }

    /// A record was sent.
    pub(super) fn on_sent(&self, topic: &str, bytes: u64) {
        if topic == USER_TOPIC {
            self.state().in_flight += bytes;
        }
    }

    /// It is there.
    pub(super) fn on_acknowledged(&self, topic: &str, bytes: u64, partition: i32, offset: i64) {
        if topic == USER_TOPIC {
            let mut state = self.state();
            state.in_flight = state.in_flight.saturating_sub(bytes);
            state.arrived.entry(partition).or_default().push_back((offset, bytes));
        }
    }

    /// It is not, and will be sent again.
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
        for (partition, waiting) in &mut self.arrived {
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
    fn what_is_sent_waits_until_it_is_settled() {
        let settled = Arc::new(AtomicI64::new(0));
        let its = Arc::clone(&settled);
        let lead = Backpressure::new(move |_| its.load(Ordering::Relaxed));
        lead.on_sent(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2);
        lead.on_sent("orders.v1", MAX_UNAPPLIED_BYTES);
        assert!(!lead.is_over_limit(USER_TOPIC));
        lead.on_sent(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2);
        assert!(lead.is_over_limit(USER_TOPIC) && !lead.is_over_limit("orders.v1"));
        lead.on_acknowledged(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2, 3, 0);
        assert!(lead.is_over_limit(USER_TOPIC));
        settled.store(1, Ordering::Relaxed);
        assert!(!lead.is_over_limit(USER_TOPIC));
        lead.on_returned(USER_TOPIC, MAX_UNAPPLIED_BYTES / 2);
        assert_eq!(lead.state().unapplied_bytes(&|_| 1), 0);
    }
}
