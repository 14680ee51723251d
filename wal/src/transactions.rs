//! State of the log's transactions with Kafka: the number of ids that may have opened one, and the epochs, which are
//! the starts that may have. Positions in Kafka are accepted only for known epochs: this distinguishes a log from an
//! older copy of it.

use std::fmt;

use crate::units::Lsn;

/// A start of the log that may have opened transactions, and the range of its records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Incarnation of the start.
    pub incarnation: [u8; 16],
    /// The first number that it could assign.
    pub from: Lsn,
    /// The number after its last one; [`Epoch::OPEN`] while it is the current epoch.
    pub to: Lsn,
}

impl Epoch {
    /// End of the current epoch.
    pub const OPEN: Lsn = Lsn(u64::MAX);
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}: {} to {}", u128::from_be_bytes(self.incarnation), self.from, self.to)
    }
}

/// State of all transactions. Part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// Transactional ids below this number may have been used; `None` if the number is unknown.
    pub ids: Option<u64>,
    /// Known epochs, oldest first.
    pub epochs: Vec<Epoch>,
}

impl Transactions {
    /// The state of a log that never opened a transaction.
    pub(super) fn empty() -> Self {
        Self { ids: Some(0), epochs: Vec::new() }
    }

    /// The state of a log whose checkpoint is lost. The headers of its segments (first number and incarnation each)
    /// reveal some of the epochs.
    pub(super) fn from_headers(segments: &[(Lsn, [u8; 16])]) -> Self {
        let mut found = Self { ids: if segments.is_empty() { Some(0) } else { None }, epochs: Vec::new() };
        for &(first, incarnation) in segments {
            if found.epochs.last().is_none_or(|epoch| epoch.incarnation != incarnation) {
                found.close_last(first);
                found.add(Epoch { incarnation, from: first, to: Epoch::OPEN });
            }
        }
        found
    }

    /// Closes the last epoch. It ended where the first segment of the next start begins, or at the end of the log. The
    /// headers decide, because that next start may have left no checkpoint.
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

    fn add(&mut self, epoch: Epoch) {
        if self.epochs.iter().all(|known| known.incarnation != epoch.incarnation) {
            self.epochs.push(epoch);
        }
    }

    /// Retains the epochs that Kafka still names, and adds one that Kafka may name from now on. This bounds their
    /// number: the next start drops a start that crashed before Kafka stored it.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, named: &[[u8; 16]]) {
        self.epochs.retain(|known| named.contains(&known.incarnation));
        self.add(epoch);
    }

    /// Reopens the epoch of this incarnation, which may now open transactions.
    pub(super) fn open(&mut self, incarnation: &[u8; 16]) {
        if let Some(epoch) = self.epochs.iter_mut().find(|epoch| epoch.incarnation == *incarnation) {
            epoch.to = Epoch::OPEN;
        }
    }

    /// The epoch with this incarnation.
    pub fn epoch(&self, incarnation: &[u8; 16]) -> Option<&Epoch> {
        self.epochs.iter().find(|epoch| epoch.incarnation == *incarnation)
    }

    /// Whether a transaction may ever have been opened.
    pub fn has_any(&self) -> bool {
        self.ids != Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(n: u8, from: u64) -> Epoch {
        Epoch { incarnation: [n; 16], from: Lsn(from), to: Epoch::OPEN }
    }

    #[test]
    fn an_epoch_ends_where_the_next_starts_segments_begin() {
        let mut known = Transactions { ids: Some(2), epochs: vec![epoch(1, 100)] };
        let headers = [(Lsn(50), [9; 16]), (Lsn(100), [1; 16]), (Lsn(180), [1; 16]), (Lsn(200), [2; 16])];
        known.close(&headers, Lsn(300));
        assert_eq!(known.epochs[0].to, Lsn(200));
        known.close(&[], Lsn(400));
        assert_eq!(known.epochs[0].to, Lsn(200), "a known end does not change");
    }

    #[test]
    fn the_last_epoch_ends_with_the_log() {
        let mut known = Transactions { ids: Some(2), epochs: vec![epoch(1, 100)] };
        known.close(&[(Lsn(50), [9; 16]), (Lsn(100), [1; 16])], Lsn(300));
        assert_eq!(known.epochs[0].to, Lsn(300));
    }

    /// Prevents a bug: after 64 such starts the epoch that Kafka names was dropped, and the log looked like a restored
    /// copy.
    #[test]
    fn crashed_takeovers_do_not_displace_the_epoch_in_kafka() {
        let mut known = Transactions::empty();
        known.begin_epoch(epoch(1, 1), &[]);
        for n in 2..=200 {
            known.begin_epoch(epoch(n, 1), &[[1; 16]]);
            assert!(known.epoch(&[1; 16]).is_some() && known.epoch(&[n; 16]).is_some(), "start {n}");
            assert_eq!(known.epochs.len(), 2, "the number of epochs is bounded");
        }
    }
}
