//! How far users' commands may be ahead of the consumer, where the broker forgets.
//!
//! The embedded broker keeps 5 MiB of a partition. What falls out before it is applied would be applied only after the
//! next start, when everything is delivered again; so the drain waits for the consumer.

use std::collections::{HashMap, VecDeque};

use crate::command::USER_TOPIC;
use crate::sync::{Mutex, MutexGuard};

/// Of all partitions together: less than half of what one keeps.
const MOST_AHEAD: u64 = 2 << 20;

/// Says up to which offset a partition of the topic is settled.
type Settled = dyn Fn(i32) -> i64 + Send + Sync;

/// What was sent to the topic and is not yet applied, by all workers.
pub struct Lead {
    settled: Box<Settled>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: u64,
    arrived: HashMap<i32, VecDeque<(i64, u64)>>,
}

impl Lead {
    /// Nothing is ahead yet.
    pub fn new(settled: impl Fn(i32) -> i64 + Send + Sync + 'static) -> Self {
        Self { settled: Box::new(settled), state: Mutex::default() }
    }

    /// Whether a record to `topic` has to wait.
    pub(super) fn is_far(&self, topic: &str) -> bool {
        topic == USER_TOPIC && self.state().ahead(&*self.settled) >= MOST_AHEAD
    }

    /// A record was sent.
    pub(super) fn sent(&self, topic: &str, bytes: u64) {
        if topic == USER_TOPIC {
            self.state().in_flight += bytes;
        }
    }

    /// It is there.
    pub(super) fn arrived(&self, topic: &str, bytes: u64, partition: i32, offset: i64) {
        if topic == USER_TOPIC {
            let mut state = self.state();
            state.in_flight = state.in_flight.saturating_sub(bytes);
            state.arrived.entry(partition).or_default().push_back((offset, bytes));
        }
    }

    /// It is not, and will be sent again.
    pub(super) fn came_back(&self, topic: &str, bytes: u64) {
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
    fn ahead(&mut self, settled: &Settled) -> u64 {
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
        let lead = Lead::new(move |_| its.load(Ordering::Relaxed));
        lead.sent(USER_TOPIC, MOST_AHEAD / 2);
        lead.sent("orders.v1", MOST_AHEAD);
        assert!(!lead.is_far(USER_TOPIC));
        lead.sent(USER_TOPIC, MOST_AHEAD / 2);
        assert!(lead.is_far(USER_TOPIC) && !lead.is_far("orders.v1"));
        lead.arrived(USER_TOPIC, MOST_AHEAD / 2, 3, 0);
        assert!(lead.is_far(USER_TOPIC));
        settled.store(1, Ordering::Relaxed);
        assert!(!lead.is_far(USER_TOPIC));
        lead.came_back(USER_TOPIC, MOST_AHEAD / 2);
        assert_eq!(lead.state().ahead(&|_| 1), 0);
    }
}
