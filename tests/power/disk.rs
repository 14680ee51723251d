//! A disk with a volatile cache, and its contents after a power cut.
//!
//! It behaves like a real disk. A write completes when it is in the cache. A flush completes when all earlier writes
//! are durable. After a cut, flushed writes survive; of the others, each sector survives or not, in any order. The
//! disk also records all writes and flushes in order, so a power cut can be simulated afterwards at any instant.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rng::SeededRng;

/// Bytes that a disk writes atomically.
const SECTOR: usize = 512;

/// End of ext4's superblock, in bytes. It is never torn here: its checksum is in another sector than its beginning,
/// and ext4 does not mount with a part of it.
const SUPERBLOCK: usize = 4096;

/// Block size of the file system, in bytes.
const BLOCK: usize = 4096;
/// First bytes of a segment of the log.
const SEGMENT: &[u8] = b"forebay\n";

/// Writes and flushes after which the first records of a segment are acknowledged, and the next segment is
/// preallocated.
const AFTER_SEGMENT: usize = 20;

/// A disk that has power.
pub struct VolatileDisk(Mutex<State>);

struct State {
    /// Content for readers: durable and cached writes.
    visible: Vec<u8>,
    journal: WriteJournal,
    power: bool,
}

/// All writes and flushes of a disk since power-on.
pub struct WriteJournal {
    begin: Vec<u8>,
    events: Vec<Event>,
}

enum Event {
    Write { at: usize, data: Vec<u8> },
    Flush,
}

/// Unflushed writes that survive a power cut.
#[derive(Clone, Copy, Debug)]
enum SurvivingWrites {
    Nothing,
    Everything,
    /// The first sectors; a write may be torn.
    Prefix,
    /// Any sectors.
    AnySectors,
}

impl VolatileDisk {
    /// Creates a disk with this content.
    pub fn new(content: Vec<u8>) -> Self {
        let journal = WriteJournal { begin: content.clone(), events: Vec::new() };
        Self(Mutex::new(State { visible: content, journal, power: true }))
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.state().visible.len()
    }

    /// Reads `into` from offset `at`. This and the next functions return `None` if the power is off or the range is
    /// invalid.
    pub fn read(&self, at: usize, into: &mut [u8]) -> Option<()> {
        let state = self.state();
        let end = at.checked_add(into.len())?;
        into.copy_from_slice(state.visible.get(at..end).filter(|_| state.power)?);
        Some(())
    }

    /// Writes `data` to the cache.
    pub fn write(&self, at: usize, data: Vec<u8>) -> Option<()> {
        let mut state = self.state();
        let (end, power) = (at.checked_add(data.len())?, state.power);
        state.visible.get_mut(at..end).filter(|_| power)?.copy_from_slice(&data);
        state.journal.events.push(Event::Write { at, data });
        Some(())
    }

    /// Makes all writes so far durable.
    pub fn flush(&self) -> Option<()> {
        let mut state = self.state();
        if !state.power {
            return None;
        }
        state.journal.events.push(Event::Flush);
        Some(())
    }

    /// The number of writes and flushes so far, which is an instant in the journal. Without power, an instant after
    /// the end of any journal.
    pub fn instant(&self) -> usize {
        let state = self.state();
        if state.power { state.journal.events.len() } else { usize::MAX }
    }

    /// Cuts the power: later calls return `None`. Returns the journal.
    pub fn cut(&self) -> WriteJournal {
        let mut state = self.state();
        state.power = false;
        let nothing = WriteJournal { begin: Vec::new(), events: Vec::new() };
        std::mem::replace(&mut state.journal, nothing)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteJournal {
    /// The instant after the last event.
    pub fn end(&self) -> usize {
        self.events.len()
    }

    /// A random instant before the end of the journal, preferably one at which a log could lose records.
    pub fn choose(&self, answered: &[usize], random: &mut SeededRng) -> usize {
        let any = random.below(self.end() + 1);
        match random.below(4) {
            0 => any,
            // Before a flush: the cache is as full as possible.
            1 => self.events[any..].iter().position(Event::is_flush).map_or(self.end(), |more| any + more),
            // Just after an acknowledgement.
            2 if !answered.is_empty() => answered[random.below(answered.len())],
            _ => {
                let begun: Vec<_> = (0..self.end()).filter(|at| self.events[*at].begins_segment()).collect();
                let begun = if begun.is_empty() { any } else { begun[random.below(begun.len())] };
                self.end().min(begun + 1 + random.below(AFTER_SEGMENT))
            }
        }
    }

    /// Returns the content of the disk after a power cut at `instant`, and a description of the cut.
    pub fn content_at(&self, instant: usize, random: &mut SeededRng) -> (Vec<u8>, String) {
        let happened = &self.events[..instant];
        let flushed = happened.iter().rposition(|event| matches!(event, Event::Flush)).map_or(0, |at| at + 1);
        let mut platter = self.begin.clone();
        for (at, data) in happened[..flushed].iter().filter_map(Event::write) {
            platter[at..at + data.len()].copy_from_slice(data);
        }
        let cached: Vec<_> = happened[flushed..].iter().filter_map(Event::write).collect();
        let modes = [
            SurvivingWrites::Nothing,
            SurvivingWrites::Everything,
            SurvivingWrites::Prefix,
            SurvivingWrites::AnySectors,
        ];
        let survivors = modes[random.below(modes.len())];
        let sectors: Vec<_> = cached.iter().flat_map(|(at, data)| sectors(*at, data)).collect();
        let first = random.below(sectors.len() + 1);
        let mut kept = 0;
        for (number, (at, data)) in sectors.iter().enumerate() {
            let survives = match survivors {
                SurvivingWrites::Nothing => false,
                SurvivingWrites::Everything => true,
                SurvivingWrites::Prefix => number < first,
                SurvivingWrites::AnySectors => random.below(2) == 0,
            };
            if survives {
                platter[*at..*at + data.len()].copy_from_slice(data);
                kept += 1;
            }
        }
        let how = format!(
            "cut at {instant} of {} writes and flushes, {kept} of {} unflushed sectors survive ({survivors:?})",
            self.end(),
            sectors.len()
        );
        (platter, how)
    }
}

impl Event {
    fn is_flush(&self) -> bool {
        matches!(self, Event::Flush)
    }

    /// Whether it writes the header of a segment.
    fn begins_segment(&self) -> bool {
        self.write().is_some_and(|(_, data)| data.chunks(BLOCK).any(|block| block.starts_with(SEGMENT)))
    }

    fn write(&self) -> Option<(usize, &[u8])> {
        match self {
            Event::Write { at, data } => Some((*at, data)),
            Event::Flush => None,
        }
    }
}

fn sectors(at: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let whole = SUPERBLOCK.saturating_sub(at).min(data.len());
    let (whole, torn) = data.split_at(whole);
    let torn = torn.chunks(SECTOR).enumerate();
    let torn = torn.map(move |(number, sector)| (at + whole.len() + number * SECTOR, sector));
    std::iter::once((at, whole)).filter(|(_, whole)| !whole.is_empty()).chain(torn)
}

#[test]
fn flushed_writes_survive_every_power_cut() {
    const SECTORS: usize = 64;
    let mut random = SeededRng::new(1);
    let disk = VolatileDisk::new(vec![0; SECTORS * SECTOR]);
    // The value of each sector after each event, and its flushed value.
    let (mut now, mut flushed) = (vec![0_u8; SECTORS], vec![0_u8; SECTORS]);
    let mut history = vec![(now.clone(), flushed.clone())];
    for value in 1..=200 {
        if random.below(5) == 0 {
            disk.flush().unwrap();
            flushed.clone_from(&now);
        } else {
            let (first, count) = (random.below(SECTORS - 4), 1 + random.below(4));
            disk.write(first * SECTOR, vec![value; count * SECTOR]).unwrap();
            now[first..first + count].fill(value);
        }
        history.push((now.clone(), flushed.clone()));
    }
    let journal = disk.cut();
    assert!(disk.write(0, vec![1]).is_none() && disk.flush().is_none(), "no call succeeds without power");
    let mut lost = 0;
    for (instant, (now, flushed)) in history.iter().enumerate() {
        let (platter, how) = journal.content_at(instant, &mut random);
        for (number, sector) in platter.chunks(SECTOR).enumerate() {
            let value = sector[0];
            assert!(sector.iter().all(|byte| *byte == value), "{how}: sector {number} is torn");
            // The value is not older than the last flush, and not newer than the cut.
            assert!((flushed[number]..=now[number]).contains(&value), "{how}: sector {number} holds {value}");
            lost += usize::from(value != now[number]);
        }
    }
    assert!(lost > 0, "the cuts lose nothing");
}
