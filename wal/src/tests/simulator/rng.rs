//! A seeded random generator, with the same sequence on every machine and in every run.

use std::cell::RefCell;

/// SplitMix64: small, valid in every state, and without correlation between neighbouring seeds.
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

    /// Returns a number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n.max(1) as u64) as usize
    }

    /// Returns `true` with probability 1/`n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Returns one of the elements.
    pub fn pick<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.below(these.len())]
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next_u64() as u8);
    }
}

thread_local! {
    static RANDOM: RefCell<Option<SeededRng>> = const { RefCell::new(None) };
}

/// Sets the source of the log's random numbers in this thread: this seed, or the system if `None`.
pub fn seed_random(seed: Option<u64>) {
    RANDOM.set(seed.map(SeededRng::new));
}

/// Fills `bytes` if this thread runs a simulation. Returns whether it does.
pub fn simulated_random(bytes: &mut [u8]) -> bool {
    RANDOM.with_borrow_mut(|rng| rng.as_mut().map(|rng| rng.fill(bytes)).is_some())
}
