//! The lanes of a worker.

/// The lanes of a worker.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub(super) index: usize,
    pub(super) workers: usize,
}

impl Lanes {
    /// The lanes of one of `workers` workers.
    pub(super) fn new(index: usize, workers: usize) -> Self {
        Self { index, workers }
    }

    pub(super) fn contains(self, lane: u8) -> bool {
        usize::from(lane) % self.workers == self.index
    }
}
