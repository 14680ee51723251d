//! What the socket of a connection and the requests on it tell each other.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// The rest of a head, or the first head.
    Head,
    /// The next request.
    Idle,
    /// The rest of a body.
    Body,
    /// Us.
    Busy,
}

/// What the socket and the requests on it tell each other. Both run in one task; atomics only satisfy `Send`.
pub struct ConnState {
    /// The phase in the lowest two bits; above them a count, so that entering a phase again is noticed.
    phase: AtomicU32,
    ambiguous: AtomicBool,
}

impl ConnState {
    pub fn new() -> Self {
        Self { phase: AtomicU32::new(Phase::Head as u32), ambiguous: AtomicBool::new(false) }
    }

    pub fn enter(&self, phase: Phase) {
        let count = (self.phase.load(Relaxed) & !3).wrapping_add(4);
        self.phase.store(count | phase as u32, Relaxed);
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) & 3 {
            0 => Phase::Head,
            1 => Phase::Idle,
            2 => Phase::Body,
            _ => Phase::Busy,
        }
    }

    /// Differs whenever a phase was entered, the same one included.
    pub fn phase_count(&self) -> u32 {
        self.phase.load(Relaxed)
    }

    /// Whether a request was begun.
    pub fn has_begun(&self) -> bool {
        self.phase_count() != Phase::Head as u32
    }

    /// Notes that a head was ambiguous about its body's length.
    pub fn set_ambiguous(&self) {
        self.ambiguous.store(true, Relaxed);
    }

    /// Whether a head on this connection was ambiguous about its body's length.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }
}
