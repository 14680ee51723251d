//! What a log remembers of its transactions with Kafka: under how many ids it may have opened one, and in which of its
//! lives. Kafka's positions are believed only for lives this log has lived: they tell a log from an older copy of it.

use std::fmt;

use crate::units::Lsn;

/// One start of the log that may have opened a transaction, and the records it accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its incarnation.
    pub incarnation: [u8; 16],
    /// The first number it could give.
    pub from: Lsn,
    /// The number after its last one; [`Epoch::OPEN`] while it lives.
    pub to: Lsn,
}

impl Epoch {
    /// The end of a life that is not over.
    pub const OPEN: Lsn = Lsn(u64::MAX);
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}: {} to {}", u128::from_be_bytes(self.incarnation), self.from, self.to)
    }
}

/// All of it. Part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// Transactional ids below this number may have been used; `None` when that is not known any more.
    pub ids: Option<u64>,
    /// Oldest first.
    pub epochs: Vec<Epoch>,
}

impl Transactions {
    /// Of a log that never opened one.
    pub(super) fn empty() -> Self {
        Self { ids: Some(0), epochs: Vec::new() }
    }

    /// Of a log whose checkpoint is lost: the headers of its segments, first number and incarnation each, tell
    /// some of its lives.
    pub(super) fn from_headers(segments: &[(Lsn, [u8; 16])]) -> Self {
        let mut found = Self { ids: if segments.is_empty() { Some(0) } else { None }, epochs: Vec::new() };
        for &(first, incarnation) in segments {
            if found.epochs.last().is_none_or(|life| life.incarnation != incarnation) {
                found.close_last(first);
                found.add(Epoch { incarnation, from: first, to: Epoch::OPEN });
            }
        }
        found
    }

    /// The last life is over: it ended where the next one's first segment begins, or at the end of the log. Looked up
    /// in the headers, because that next life may have left no checkpoint.
    pub(super) fn close(&mut self, segments: &[(Lsn, [u8; 16])], end: Lsn) {
        let Some(last) = self.epochs.last().copied() else { return };
        let later = |(first, of): &&(Lsn, [u8; 16])| *first >= last.from && *of != last.incarnation;
        self.close_last(segments.iter().find(later).map_or(end, |(first, _)| *first));
    }

    fn close_last(&mut self, end: Lsn) {
        if let Some(last) = self.epochs.last_mut() {
            last.to = last.to.min(end);
        }
    }

    fn add(&mut self, life: Epoch) {
        if self.epochs.iter().all(|known| known.incarnation != life.incarnation) {
            self.epochs.push(life);
        }
    }

    /// Keeps the lives that Kafka still names, and adds one that Kafka may name from now on. That bounds them: a start
    /// that dies before Kafka has heard of it is forgotten by the next one.
    pub(super) fn begin_epoch(&mut self, life: Epoch, named: &[[u8; 16]]) {
        self.epochs.retain(|known| named.contains(&known.incarnation));
        self.add(life);
    }

    /// The life of this incarnation opens transactions of its own.
    pub(super) fn open(&mut self, incarnation: &[u8; 16]) {
        if let Some(life) = self.epochs.iter_mut().find(|life| life.incarnation == *incarnation) {
            life.to = Epoch::OPEN;
        }
    }

    /// The life with this incarnation.
    pub fn epoch(&self, incarnation: &[u8; 16]) -> Option<&Epoch> {
        self.epochs.iter().find(|life| life.incarnation == *incarnation)
    }

    /// Whether a transaction may ever have been opened.
    pub fn has_any(&self) -> bool {
        self.ids != Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(n: u8, from: u64) -> Epoch {
        Epoch { incarnation: [n; 16], from: Lsn(from), to: Epoch::OPEN }
    }

    #[test]
    fn a_life_ends_where_the_next_ones_segments_begin_even_if_that_left_no_checkpoint() {
        let mut known = Transactions { ids: Some(2), epochs: vec![life(1, 100)] };
        let headers = [(Lsn(50), [9; 16]), (Lsn(100), [1; 16]), (Lsn(180), [1; 16]), (Lsn(200), [2; 16])];
        known.close(&headers, Lsn(300));
        assert_eq!(known.epochs[0].to, Lsn(200));
        known.close(&[], Lsn(400));
        assert_eq!(known.epochs[0].to, Lsn(200), "an end stays where it was found");
    }

    #[test]
    fn a_life_without_successors_ends_with_the_log() {
        let mut known = Transactions { ids: Some(2), epochs: vec![life(1, 100)] };
        known.close(&[(Lsn(50), [9; 16]), (Lsn(100), [1; 16])], Lsn(300));
        assert_eq!(known.epochs[0].to, Lsn(300));
    }

    /// After 64 such starts the life that Kafka named was forgotten, and the log looked like a restored copy.
    #[test]
    fn starts_that_die_in_the_take_over_do_not_displace_the_life_that_kafka_names() {
        let mut known = Transactions::empty();
        known.begin_epoch(life(1, 1), &[]);
        for n in 2..=200 {
            known.begin_epoch(life(n, 1), &[[1; 16]]);
            assert!(known.epoch(&[1; 16]).is_some() && known.epoch(&[n; 16]).is_some(), "start {n}");
            assert_eq!(known.epochs.len(), 2, "lives are bounded");
        }
    }
}
