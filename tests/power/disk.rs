//! A disk with a volatile cache, and what a power cut leaves of it.
//!
//! It answers as a disk does: a write is taken when it lies in the cache, a flush when everything taken before is on
//! the platter. A cut keeps what was flushed; of the rest, each sector survives or not, in no order. The disk also
//! remembers the order of everything, so that power can be cut afterwards at any instant of what happened.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rng::SeededRng;

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Where ext4 has its superblock. It is the one thing here that is never torn: its checksum lies in another sector than
/// its beginning, and ext4 does not mount with half of it.
const SUPERBLOCK: usize = 4096;

/// The unit the file system gives to files, and how a segment of the log begins.
const BLOCK: usize = 4096;
const SEGMENT: &[u8] = b"forebay\n";

/// By so many writes and flushes the first records of a segment are acknowledged and the next spare is filled.
const AFTER_SEGMENT: usize = 20;

/// A disk that has power.
pub struct VolatileDisk(Mutex<State>);

struct State {
    /// What a reader sees: platter and cache.
    visible: Vec<u8>,
    journal: WriteJournal,
    power: bool,
}

/// All that happened to a disk since it was given power.
pub struct WriteJournal {
    begin: Vec<u8>,
    events: Vec<Event>,
}

enum Event {
    Write { at: usize, data: Vec<u8> },
    Flush,
}

/// What survives of the writes no flush covered.
#[derive(Clone, Copy, Debug)]
enum SurvivingWrites {
    Nothing,
    Everything,
    /// As many as fit before the lights went out; the last is torn.
    Prefix,
    /// Any sectors, in any order.
    AnySectors,
}

impl VolatileDisk {
    /// A disk that holds `content`.
    pub fn new(content: Vec<u8>) -> Self {
        let tape = WriteJournal { begin: content.clone(), events: Vec::new() };
        Self(Mutex::new(State { visible: content, journal: tape, power: true }))
    }

    /// Bytes it holds.
    pub fn size(&self) -> usize {
        self.state().visible.len()
    }

    /// Fills `into` from `at`. `None`, here and below: the power is off, or there is no such place.
    pub fn read(&self, at: usize, into: &mut [u8]) -> Option<()> {
        let state = self.state();
        let end = at.checked_add(into.len())?;
        into.copy_from_slice(state.visible.get(at..end).filter(|_| state.power)?);
        Some(())
    }

    /// Takes `data` into the cache.
    pub fn write(&self, at: usize, data: Vec<u8>) -> Option<()> {
        let mut state = self.state();
        let (end, power) = (at.checked_add(data.len())?, state.power);
        state.visible.get_mut(at..end).filter(|_| power)?.copy_from_slice(&data);
        state.journal.events.push(Event::Write { at, data });
        Some(())
    }

    /// Brings everything taken so far to the platter.
    pub fn flush(&self) -> Option<()> {
        let mut state = self.state();
        if !state.power {
            return None;
        }
        state.journal.events.push(Event::Flush);
        Some(())
    }

    /// How many writes and flushes there were: an instant on the tape. Without power, one beyond any tape.
    pub fn instant(&self) -> usize {
        let state = self.state();
        if state.power { state.journal.events.len() } else { usize::MAX }
    }

    /// Cuts the power: from now on it answers nothing.
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

    /// An instant before this tape's end, of one of the kinds at which a log has something to lose.
    pub fn choose(&self, answered: &[usize], random: &mut SeededRng) -> usize {
        let any = random.below(self.end() + 1);
        match random.below(4) {
            0 => any,
            // The cache has never held more.
            1 => self.events[any..].iter().position(Event::is_flush).map_or(self.end(), |more| any + more),
            // Something has only just become owed.
            2 if !answered.is_empty() => answered[random.below(answered.len())],
            _ => {
                let begun: Vec<_> = (0..self.end()).filter(|at| self.events[*at].begins_segment()).collect();
                let begun = if begun.is_empty() { any } else { begun[random.below(begun.len())] };
                self.end().min(begun + 1 + random.below(AFTER_SEGMENT))
            }
        }
    }

    /// What the disk holds when power was cut at `instant`, and a word about how.
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

    /// Whether it brings the header of a segment.
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
fn what_was_flushed_survives_every_cut_and_nothing_else_has_to() {
    const SECTORS: usize = 64;
    let mut random = SeededRng::new(1);
    let disk = VolatileDisk::new(vec![0; SECTORS * SECTOR]);
    // What each sector held after each event, and what of that was flushed.
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
    let tape = disk.cut();
    assert!(disk.write(0, vec![1]).is_none() && disk.flush().is_none(), "no power, no answer");
    let mut lost = 0;
    for (instant, (now, flushed)) in history.iter().enumerate() {
        let (platter, how) = tape.content_at(instant, &mut random);
        for (number, sector) in platter.chunks(SECTOR).enumerate() {
            let value = sector[0];
            assert!(sector.iter().all(|byte| *byte == value), "{how}: sector {number} is torn");
            // Older than the last flush it cannot be, nor of the future.
            assert!((flushed[number]..=now[number]).contains(&value), "{how}: sector {number} holds {value}");
            lost += usize::from(value != now[number]);
        }
    }
    assert!(lost > 0, "a cut costs something");
}
