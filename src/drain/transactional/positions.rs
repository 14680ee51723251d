//! How far each lane has come.

use crate::units::Lsn;

/// A lane is one byte.
pub(super) const LANES: usize = 256;

/// A number a lane: all of the lane's records below it are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Positions(Box<[Lsn; LANES]>);

impl Default for Positions {
    fn default() -> Self {
        Self(Box::new([Lsn(0); LANES]))
    }
}

impl Positions {
    /// From a list of exactly as many as there are lanes.
    pub(super) fn from_list(list: &[u64]) -> Option<Self> {
        let lanes: [u64; LANES] = list.try_into().ok()?;
        Some(Self(Box::new(lanes.map(Lsn))))
    }

    /// The list.
    pub(super) fn list(&self) -> Vec<u64> {
        self.0.iter().map(|lsn| lsn.0).collect()
    }

    /// Where this lane is.
    pub(super) fn of(&self, lane: u8) -> Lsn {
        self.0[usize::from(lane)]
    }

    /// This record of the lane is done, and all before it.
    pub(super) fn pass(&mut self, lane: u8, lsn: Lsn) {
        let position = &mut self.0[usize::from(lane)];
        *position = (*position).max(lsn.next());
    }

    /// The further one of both in each lane, as far as `bound` goes.
    pub(super) fn raise(&mut self, other: &Self, bound: Lsn) {
        for (own, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *own = (*own).max((*theirs).min(bound));
        }
    }

    /// The furthest of all.
    pub(super) fn highest(&self) -> Lsn {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_further_position_of_each_lane_wins_and_none_passes_the_bound() {
        let (mut a, mut b) = (Positions::default(), Positions::default());
        a.pass(1, Lsn(10));
        a.pass(2, Lsn(10));
        b.pass(2, Lsn(20));
        b.pass(3, Lsn(99));
        a.raise(&b, Lsn(50));
        assert_eq!([0, 1, 2, 3].map(|lane| a.of(lane).0), [0, 11, 21, 50]);
        assert_eq!(a.highest(), Lsn(50));
        a.pass(2, Lsn(5));
        assert_eq!(a.of(2), Lsn(21), "never back");
    }
}
