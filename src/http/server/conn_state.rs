//! State that the socket of a connection and its requests share.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// What the connection is waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// The rest of a request head, or the first head.
    Head,
    /// The next request.
    Idle,
    /// The rest of a body.
    Body,
    /// The daemon's response.
    Busy,
}

/// State that the socket and its requests share. Both run in one task: the atomics are needed only to satisfy `Send`.
pub struct ConnState {
    /// The phase in the lowest two bits, and a count of phase changes above them. The count makes it visible when the
    /// same phase is entered again.
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

    /// A number that changes each time a phase is entered, also if the phase is the same.
    pub fn phase_count(&self) -> u32 {
        self.phase.load(Relaxed)
    }

    /// Whether the first request has begun.
    pub fn has_begun(&self) -> bool {
        self.phase_count() != Phase::Head as u32
    }

    /// Records that a head gave two lengths for its body.
    pub fn set_ambiguous(&self) {
        self.ambiguous.store(true, Relaxed);
    }

    /// Whether a head on this connection gave two lengths for its body.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }
}
