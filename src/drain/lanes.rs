//! Which lanes are a worker's.

/// Which lanes are a worker's.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub(super) index: usize,
    pub(super) workers: usize,
}

impl Lanes {
    /// Those of one of so many workers.
    pub(super) fn new(index: usize, workers: usize) -> Self {
        Self { index, workers }
    }

    pub(super) fn contains(self, lane: u8) -> bool {
        usize::from(lane) % self.workers == self.index
    }
}
