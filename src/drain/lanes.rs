//! Which lanes are a worker's.

/// Which lanes are a worker's.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub(super) index: usize,
    pub(super) workers: usize,
}

impl Lanes {
    pub(super) fn has(self, lane: u8) -> bool {
        usize::from(lane) % self.workers == self.index
    }
}
