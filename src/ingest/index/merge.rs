//! Merges parts, so that few parts exist and they hold few expired keys.

use std::collections::VecDeque;
use std::sync::Arc;
use std::{io, ops};

use super::layout::{MAX_SPAN, PartRange};
use super::part::IndexPart;
use super::writer::PartWriter;
use super::{IndexState, ScopeDigest};
use crate::wal::Lsn;

/// Number of adjacent parts of one tier that are merged into one part of the next tier.
const FANOUT: usize = 4;
/// Maximum entries of a part of the lowest tier. Each tier has `FANOUT` times as many.
const LOWEST_TIER: u64 = 1 << 16;
/// Above this number of parts, the two smallest adjacent parts are merged whatever their tiers. This bounds the reads
/// of a look-up.
const MAX_PARTS: usize = 24;

/// The properties of a part that select it for a merge.
#[derive(Clone, Copy, Debug)]
pub struct PartWeight {
    pub entries: u64,
    /// Retained LSNs in its range when it was written, and now.
    pub kept_then: u64,
    pub kept_now: u64,
    /// Number of LSNs in its range.
    pub span: u64,
}

/// Selects adjacent parts to merge into one.
pub fn choose_merge(parts: &[PartWeight]) -> Option<ops::Range<usize>> {
    let outdated = |part: &PartWeight| part.entries > 0 && part.kept_now < part.kept_then / 2;
    if let Some(at) = parts.iter().position(outdated) {
        return Some(at..at + 1);
    }
    let highest = parts.iter().map(tier).max()?;
    if let Some(run) = (0..=highest).find_map(|limit| find_run(parts, limit)) {
        return Some(run);
    }
    let smallest = || {
        let pairs = parts.windows(2).enumerate().filter(|(_, pair)| fits(pair));
        let (at, _) = pairs.min_by_key(|(_, pair)| pair[0].entries + pair[1].entries)?;
        Some(at..at + 2)
    };
    if parts.len() > MAX_PARTS { smallest() } else { None }
}

/// The first run of at least `FANOUT` adjacent parts of at most this tier.
fn find_run(parts: &[PartWeight], limit: u32) -> Option<ops::Range<usize>> {
    let mut begin = 0;
    for run in parts.chunk_by(|a, b| tier(a) <= limit && tier(b) <= limit) {
        let of_tier = run.iter().filter(|part| tier(part) == limit).count();
        if of_tier >= FANOUT && fits(run) {
            return Some(begin..begin + run.len());
        }
        begin += run.len();
    }
    None
}

fn tier(part: &PartWeight) -> u32 {
    (part.entries / LOWEST_TIER).max(1).ilog(FANOUT as u64)
}

fn fits(run: &[PartWeight]) -> bool {
    run.iter().map(|part| part.span).sum::<u64>() <= MAX_SPAN
}

impl IndexState {
    pub fn weight(&self, part: &IndexPart) -> PartWeight {
        PartWeight {
            entries: part.header.entries,
            kept_then: part.header.kept,
            kept_now: self.log.count_retained(part.from(), part.to()),
            span: part.to().0 - part.from().0,
        }
    }

    /// Merges adjacent parts into one, without expired records. An error is a write error. `None`: stopped, or a part
    /// could not be read and was dropped.
    pub fn merge(
        &self,
        inputs: &[Arc<IndexPart>],
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Option<Arc<IndexPart>>> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(None) };
        let range = PartRange { log_id: first.header.range.log_id, from: first.from(), to: last.to() };
        let kept = self.log.count_retained(range.from, range.to);
        let keys = inputs.iter().map(|part| part.header.entries).sum();
        let mut writer = PartWriter::new(&**self.log.fs(), &self.dir, range, keys)?;
        let mut streams: Vec<_> = inputs.iter().map(PartStream::new).collect();
        for n in 0_u64.. {
            if n.is_multiple_of(4096) && stop() {
                return Ok(None);
            }
            let Ok(entry) = self.next(&mut streams) else { return Ok(None) };
            match entry {
                Some((scope, Some(lsn))) => writer.push(&scope, lsn)?,
                Some((_, None)) => {}
                None => break,
            }
        }
        writer.finish(kept, last.header.anchor, &self.budget).map(|part| Some(Arc::new(part)))
    }

    /// Takes the lowest scope of all streams, and its newest retained record.
    fn next(
        &self,
        streams: &mut [PartStream<'_>],
    ) -> Result<Option<(ScopeDigest, Option<Lsn>)>, PartDropped> {
        let mut lowest = None;
        for stream in &mut *streams {
            let scope = stream.peek().map_err(|error| self.drop_unreadable(stream.part, &error))?;
            lowest = scope.into_iter().chain(lowest).min();
        }
        let Some(scope) = lowest else { return Ok(None) };
        let newest_first = streams.iter_mut().rev();
        let mut records = Vec::with_capacity(1);
        records.extend(newest_first.filter_map(|stream| stream.take(&scope)));
        Ok(Some((scope, records.into_iter().find(|lsn| self.log.is_retained(*lsn)))))
    }

    fn drop_unreadable(&self, part: &Arc<IndexPart>, error: &io::Error) -> PartDropped {
        self.drop_part(part, error);
        PartDropped
    }
}

/// A part could not be read and was dropped.
struct PartDropped;

/// The entries of one part, in order.
struct PartStream<'a> {
    part: &'a Arc<IndexPart>,
    next_block: u64,
    entries: VecDeque<(ScopeDigest, Lsn)>,
}

impl<'a> PartStream<'a> {
    fn new(part: &'a Arc<IndexPart>) -> Self {
        Self { part, next_block: 0, entries: VecDeque::new() }
    }

    fn peek(&mut self) -> io::Result<Option<ScopeDigest>> {
        if self.entries.is_empty() && self.next_block < self.part.header.blocks() {
            let (entries, next_block) = self.part.entries_from(self.next_block)?;
            (self.entries, self.next_block) = (entries.into(), next_block);
        }
        Ok(self.entries.front().map(|(scope, _)| *scope))
    }

    /// The record of the next entry, if the entry has this scope.
    fn take(&mut self, scope: &ScopeDigest) -> Option<Lsn> {
        self.entries.pop_front_if(|(next, _)| next == scope).map(|(_, lsn)| lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(entries: u64) -> PartWeight {
        PartWeight { entries, kept_then: entries, kept_now: entries, span: entries }
    }

    #[test]
    fn four_adjacent_parts_of_a_tier_are_merged() {
        let small = part(LOWEST_TIER);
        let large = part(LOWEST_TIER * 4);
        assert_eq!(choose_merge(&[small; 3]), None);
        assert_eq!(choose_merge(&[large, small, small, small, small]), Some(1..5));
        assert_eq!(choose_merge(&[small, small, large, small, small]), None);
        assert_eq!(
            choose_merge(&[large, large, small, large, large]),
            Some(0..5),
            "a small part is merged with its tier"
        );
        assert_eq!(choose_merge(&[]), None);
    }

    #[test]
    fn a_part_is_rewritten_when_half_its_records_have_expired() {
        let half = PartWeight { kept_now: 499, ..part(1000) };
        assert_eq!(choose_merge(&[part(1000), half]), Some(1..2));
        assert_eq!(choose_merge(&[part(1000), PartWeight { kept_now: 500, ..half }]), None);
        assert_eq!(choose_merge(&[PartWeight { entries: 0, ..half }]), None, "no record to drop");
    }

    #[test]
    fn merging_thousands_of_parts_writes_each_key_few_times() {
        let (mut parts, mut written) = (Vec::new(), 0);
        for _ in 0..5000 {
            parts.push(part(LOWEST_TIER));
            while let Some(range) = choose_merge(&parts) {
                let entries = parts[range.clone()].iter().map(|part| part.entries).sum();
                written += entries;
                parts.splice(range, [part(entries)]);
            }
            assert!(parts.len() <= MAX_PARTS, "{}", parts.len());
        }
        assert!(written / LOWEST_TIER < 5000 * 7, "{written}");
    }

    #[test]
    fn any_sequence_of_part_sizes_leaves_few_parts() {
        let mut parts = Vec::new();
        for n in 0..200_u32 {
            parts.push(part(LOWEST_TIER * 4_u64.pow(n * 7 % 5)));
            while let Some(range) = choose_merge(&parts) {
                let entries = parts[range.clone()].iter().map(|part| part.entries).sum();
                parts.splice(range, [part(entries)]);
            }
            assert!(parts.len() <= MAX_PARTS, "{}", parts.len());
        }
    }
}
