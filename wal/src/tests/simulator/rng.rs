//! Chance from a seed: the same on every machine and in every run.

use std::cell::RefCell;

/// SplitMix64: small, every state is good, and neighbouring seeds have nothing in common.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n.max(1) as u64) as usize
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.below(these.len())]
    }

    /// Bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next_u64() as u8);
    }
}

thread_local! {
    static RANDOM: RefCell<Option<SeededRng>> = const { RefCell::new(None) };
}

/// From now on the log's random numbers in this thread come from this seed; `None`: from the system.
pub fn seed_random(seed: Option<u64>) {
    RANDOM.set(seed.map(SeededRng::new));
}

/// Fills `bytes` if this thread lives a simulated life.
pub fn simulated_random(bytes: &mut [u8]) -> bool {
    RANDOM.with_borrow_mut(|dice| dice.as_mut().map(|dice| dice.fill(bytes)).is_some())
}
