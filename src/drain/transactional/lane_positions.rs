//! Delivery positions of the lanes.

use crate::units::Lsn;

/// A lane is one byte.
pub(super) const LANE_COUNT: usize = 256;

/// One LSN per lane. All records of the lane below it are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LanePositions(Box<[Lsn; LANE_COUNT]>);

impl Default for LanePositions {
    fn default() -> Self {
        Self(Box::new([Lsn(0); LANE_COUNT]))
    }
}

impl LanePositions {
    /// Builds the positions from a list with exactly one number per lane.
    pub(super) fn from_list(list: &[u64]) -> Option<Self> {
        let lanes: [u64; LANE_COUNT] = list.try_into().ok()?;
        Some(Self(Box::new(lanes.map(Lsn))))
    }

    /// The positions as a list.
    pub(super) fn to_list(&self) -> Vec<u64> {
        self.0.iter().map(|lsn| lsn.0).collect()
    }

    /// The position of this lane.
    pub(super) fn get(&self, lane: u8) -> Lsn {
        self.0[usize::from(lane)]
    }

    /// Marks this record of the lane as done, and all before it.
    pub(super) fn advance(&mut self, lane: u8, lsn: Lsn) {
        let position = &mut self.0[usize::from(lane)];
        *position = (*position).max(lsn.next());
    }

    /// Advances each lane to the higher of both positions, at most to `bound`.
    pub(super) fn merge(&mut self, other: &Self, bound: Lsn) {
        for (own, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *own = (*own).max((*theirs).min(bound));
        }
    }

    /// The highest position of all lanes.
    pub(super) fn highest(&self) -> Lsn {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_takes_the_higher_position_within_the_bound() {
        let (mut a, mut b) = (LanePositions::default(), LanePositions::default());
        a.advance(1, Lsn(10));
        a.advance(2, Lsn(10));
        b.advance(2, Lsn(20));
        b.advance(3, Lsn(99));
        a.merge(&b, Lsn(50));
        assert_eq!([0, 1, 2, 3].map(|lane| a.get(lane).0), [0, 11, 21, 50]);
        assert_eq!(a.highest(), Lsn(50));
        a.advance(2, Lsn(5));
        assert_eq!(a.get(2), Lsn(21), "never back");
    }
}
