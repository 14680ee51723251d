//! The faults and their times: two schedules that a seed reproduces, one for the daemon and one for Kafka, so that
//! their faults overlap.

mod daemon;
mod kafka;

use std::time::{Duration, Instant};

use crate::rng::Rng;

pub use daemon::{DaemonFaults, DaemonSchedule};
pub use kafka::{KafkaFaults, KafkaSchedule};

/// A random order in which every element occurs once before any occurs again.
struct ShuffledBag<T: 'static> {
    all: &'static [T],
    left: Vec<T>,
}

impl<T: Copy> ShuffledBag<T> {
    fn new(all: &'static [T]) -> Self {
        Self { all, left: Vec::new() }
    }

    fn draw(&mut self, rng: &mut Rng) -> T {
        if self.left.is_empty() {
            self.left = self.all.to_vec();
            rng.shuffle(&mut self.left);
        }
        self.left.pop().expect("a bag that was just filled")
    }
}

/// A schedule: the next fault, and how long the calm before it lasts.
pub struct FaultSchedule<T: 'static> {
    rng: Rng,
    bag: ShuffledBag<T>,
}

impl<T: Copy> FaultSchedule<T> {
    fn new(seed: u64, of: u64, all: &'static [T]) -> Self {
        Self { rng: Rng::new(seed, of), bag: ShuffledBag::new(all) }
    }

    fn next(&mut self, until: Instant) -> Option<(Duration, T)> {
        let calm = self.rng.millis(300, 4_000);
        (Instant::now() < until).then(|| (calm, self.bag.draw(&mut self.rng)))
    }
}
