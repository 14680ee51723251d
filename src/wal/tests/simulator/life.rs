//! Lives a story on the real log, and holds the log to what it promised at every step.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::super::AppendError;
use super::super::super::Confirmation;
use super::super::super::Cursor;
use super::super::super::Entry;
use super::super::super::Letter;
use super::super::super::Log;
use super::super::super::Lsn;
use super::super::super::OpenError;
use super::super::super::Opened;
use super::super::super::Options;
use super::super::super::dead::Dead;
use super::super::super::dead::Removal;
use super::super::super::header::parse_segment_name;
use super::super::super::open;
use super::super::support::dir;
use super::dice::Dice;
use super::dice::seed_random;
use super::disk::Disk;
use super::known::Batch;
use super::known::Known;
use super::known::Spoilt;
use super::known::Truth;
use super::known::Verdict;
use super::known::ensure;
use super::story::Act;
use super::story::Step;
use super::story::Story;
use super::story::World;
use crate::units::Timestamp;

/// Starts that die on their way, at most, before one gets through.
const DEAD_STARTS: usize = 3;

/// A worker of the drain: reads its lanes in order, and has many records in flight.
struct Worker {
    cursor: Cursor,
    from: u64,
    read: BTreeSet<u64>,
    /// Bytes in the log.
    in_flight: BTreeMap<u64, u32>,
}

/// What the broker has.
#[derive(Default)]
struct Broker {
    /// First occurrences.
    records: BTreeMap<u64, Vec<u8>>,
    /// The last first occurrence of each lane.
    last: BTreeMap<u8, u64>,
}

pub struct Life {
    world: World,
    disk: Disk,
    opened: Option<Opened>,
    known: Known,
    workers: Vec<Worker>,
    broker: Broker,
    dice: Dice,
    /// Records appended so far: each has a payload of its own.
    appended: u64,
    clock: u64,
    old_copy: Option<(Disk, u64)>,
    /// The log rightly refuses to start: the story ends here.
    refused: bool,
    /// What happened.
    pub trace: Vec<String>,
}

impl Life {
    pub fn new(world: &World) -> Self {
        Self {
            disk: Disk::new(world.names, world.capacity, world.pieces),
            world: world.clone(),
            opened: None,
            known: Known::default(),
            workers: Vec::new(),
            broker: Broker::default(),
            dice: Dice::new(0),
            appended: 0,
            clock: 1_000,
            old_copy: None,
            refused: false,
            trace: Vec::new(),
        }
    }

    /// The whole story, and then a quiet end in which everything must arrive.
    pub fn live(&mut self, story: &Story) -> Verdict {
        self.begin(1);
        self.start()?;
        for (index, step) in story.steps.iter().enumerate() {
            self.begin(step.seed);
            self.trace.push(format!("{index}: {step}"));
            self.step(step)?;
            if self.refused {
                return Ok(());
            }
            let figures = self.opened.as_ref().map(|opened| opened.log.figures());
            let line = format!("   {figures:?}, {} calls", self.disk.calls());
            self.trace.push(line);
        }
        self.begin(2);
        self.trace.push("the end".into());
        self.finish()
    }

    fn begin(&mut self, seed: u64) {
        self.disk.begin(seed);
        seed_random(Some(seed ^ 0x5eed));
        self.dice = Dice::new(!seed);
        self.clock += 1_000;
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock)
    }

    fn log(&self) -> Arc<Log> {
        Arc::clone(&self.opened.as_ref().unwrap().log)
    }

    fn step(&mut self, step: &Step) -> Verdict {
        if self.old_copy.is_none() && self.known.checkpointed {
            self.old_copy = Some((self.disk.copy(), self.log().end().0));
        }
        match step.act {
            Act::Append { records, bytes } => self.append(records, bytes)?,
            Act::Commit => self.commit()?,
            Act::Write { records, bytes } => {
                self.append(records, bytes)?;
                self.commit()?;
            }
            Act::Seal => self.seal()?,
            Act::Deliver { worker, most } => self.deliver(worker, most)?,
            Act::Confirm { worker } => self.confirm(worker, false)?,
            Act::Refuse { worker } => self.refuse(worker)?,
            Act::Requeue => self.requeue()?,
            Act::Drop => self.remove_letter(Removal::Dropped)?,
            Act::Checkpoint => self.checkpoint()?,
            Act::KeepHouse => self.keep_house()?,
            Act::Restart => self.restart(|_| ())?,
            Act::Kill => self.restart(Disk::kill)?,
            Act::Crash => self.restart(Disk::crash)?,
            Act::DieAfter(calls) => self.disk.die_after(calls),
            Act::Fail(trouble) => self.disk.plan(trouble),
            Act::Spoil(rot) => {
                if let Some((path, at)) = self.disk.rot(rot) {
                    self.trace.push(format!("   {} at {at}", path.display()));
                    self.known.spoilt = Some(Spoilt { rot, path });
                }
            }
            Act::PutBack => return self.put_back(),
        }
        self.known.troubled |= self.disk.fired().is_some();
        let poisoned = self.opened.as_ref().is_some_and(|opened| opened.log.poisoned().is_some());
        if !self.refused && (self.disk.died() || (poisoned && self.dice.once_in(2))) {
            let end = if self.dice.once_in(2) { Disk::kill } else { Disk::crash };
            self.trace.push(format!("   the process dies, poisoned: {poisoned}"));
            self.restart(end)?;
        }
        Ok(())
    }

    /// Whether an operation may fail in this step.
    fn excused(&self) -> bool {
        self.disk.died()
            || self.disk.fired().is_some()
            || self.world.capacity != u64::MAX
            || self.known.spoilt.is_some()
    }

    fn entries(&mut self, records: usize, bytes: usize) -> Vec<(u8, Vec<u8>)> {
        (0..records)
            .map(|_| {
                self.appended += 1;
                let mut payload = self.appended.to_le_bytes().to_vec();
                payload.resize(8 + self.dice.below(bytes + 1), self.appended as u8);
                (self.dice.below(7) as u8, payload)
            })
            .collect()
    }

    fn append(&mut self, records: usize, bytes: usize) -> Verdict {
        let records = self.entries(records, bytes);
        self.append_these(records).map(drop)
    }

    /// Appends a batch; the number of its first record if it was taken.
    fn append_these(&mut self, records: Vec<(u8, Vec<u8>)>) -> Result<Option<u64>, String> {
        let (now, excused) = (self.now(), self.excused());
        let Some(opened) = &mut self.opened else { return Ok(None) };
        if opened.log.spare_wanted(Duration::ZERO) {
            opened.log.fill_spare(self.world.segment_size, self.world.reserve);
        }
        let poisoned = opened.log.poisoned().is_some();
        let first = opened.writer.next_lsn();
        let entries: Vec<_> =
            records.iter().map(|(lane, payload)| Entry { lane: *lane, label: "test", payload }).collect();
        let appended = opened.writer.append(&entries, now);
        let log = Arc::clone(&opened.log);
        // Making room for it may have flushed what came before.
        self.known.flushed(&log);
        match appended {
            Ok(lsns) => {
                ensure!(!poisoned, "a poisoned log takes a batch");
                ensure!(lsns.start == first, "the batch got {} instead of {first}", lsns.start);
                self.known.possible.push(Batch { first: first.0, records });
                Ok(Some(first.0))
            }
            Err(AppendError::Poisoned(_)) => {
                ensure!(log.poisoned().is_some(), "a log that is not poisoned says so");
                ensure!(poisoned || excused || self.excused(), "the log is poisoned without a reason");
                Ok(None)
            }
            Err(AppendError::NoRoom) => {
                ensure!(self.excused() || log.has_no_room(), "no room on an empty disk");
                Ok(None)
            }
            Err(AppendError::TooLarge { .. }) => Ok(None),
        }
    }

    fn commit(&mut self) -> Verdict {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let poisoned = opened.log.poisoned().is_some();
        let committed = opened.writer.commit();
        let log = Arc::clone(&opened.log);
        if let Err(cause) = committed {
            ensure!(log.poisoned().is_some(), "a commit fails and the log goes on: {cause}");
            ensure!(opened.writer.commit().is_err(), "a failure is final");
            ensure!(poisoned || self.excused(), "a commit fails without a reason: {cause}");
            return Ok(());
        }
        ensure!(!poisoned, "a poisoned log acknowledges");
        ensure!(log.end() == opened.writer.next_lsn(), "a commit leaves records unflushed");
        self.known.flushed(&log);
        self.known.check_figures(&log)
    }

    fn seal(&mut self) -> Verdict {
        let now = self.now();
        let Some(opened) = &mut self.opened else { return Ok(()) };
        if opened.log.spare_wanted(Duration::ZERO) {
            opened.log.fill_spare(self.world.segment_size, self.world.reserve);
        }
        let sealed = opened.writer.seal_if_older(Duration::ZERO, now);
        let log = Arc::clone(&opened.log);
        self.known.flushed(&log);
        let poisoned = log.poisoned().is_some();
        ensure!(sealed.is_ok() || poisoned || log.has_no_room(), "no seal: {sealed:?}");
        ensure!(!poisoned || sealed.is_err() || self.excused(), "a seal fails in silence");
        Ok(())
    }

    fn deliver(&mut self, worker: usize, most: usize) -> Verdict {
        let workers = self.workers.len();
        for _ in 0..most {
            let excused = self.excused();
            let at = &mut self.workers[worker];
            let frame = match at.cursor.next(|_, lane| usize::from(lane) % workers == worker) {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.nothing_left(worker),
                Err(error) => {
                    ensure!(excused || self.excused(), "cannot read: {error}");
                    return Ok(());
                }
            };
            let (lsn, lane, payload) = (frame.lsn.0, frame.lane, frame.payload);
            self.known.shown(lsn, lane, payload)?;
            let last = self.broker.last.entry(lane).or_default();
            match self.broker.records.get(&lsn) {
                Some(had) => ensure!(*had == payload, "record {lsn} was another one before"),
                None => {
                    ensure!(*last < lsn, "record {lsn} of lane {lane} behind {last}");
                    *last = lsn;
                    self.broker.records.insert(lsn, payload.to_vec());
                }
            }
            at.in_flight.insert(lsn, frame.bytes);
            at.read.insert(lsn);
        }
        Ok(())
    }

    /// The reader says it is at the end: then it has given everything that waits.
    fn nothing_left(&mut self, worker: usize) -> Verdict {
        self.note_damage();
        let (at, workers) = (&self.workers[worker], self.workers.len());
        for (lsn, record) in self.known.acknowledged.range(at.from..) {
            let mine = usize::from(record.lane) % workers == worker;
            ensure!(!mine || record.over() || at.read.contains(lsn), "the reader passes record {lsn}");
        }
        Ok(())
    }

    /// What a reader found damaged is a dead letter from now on.
    fn note_damage(&mut self) {
        if self.known.spoilt.is_none() {
            return;
        }
        let log = self.log();
        for lsn in log.dead().lsns() {
            if let Ok(Some(Dead::Damage(damage))) = log.dead().get(lsn) {
                let range = damage.lsn_from..=damage.lsn_to;
                let lost =
                    self.known.acknowledged.range_mut(range).filter(|(lsn, _)| log.is_done(Lsn(**lsn)));
                lost.filter(|(_, record)| !record.over()).for_each(|(_, record)| record.damaged = true);
            }
        }
    }

    fn confirm(&mut self, worker: usize, all: bool) -> Verdict {
        let log = self.log();
        let at = self.now();
        let mut confirmations = Vec::new();
        for (&lsn, &bytes) in &self.workers[worker].in_flight {
            let refused = self.known.acknowledged.get(&lsn).is_none_or(|record| record.dead != Truth::No);
            if !refused && (all || !self.dice.once_in(3)) {
                let offset = self.dice.below(1 << 20) as i64;
                confirmations.push(Confirmation { lsn: Lsn(lsn), bytes, partition: 3, offset, at });
            }
        }
        // They come back in any order.
        for index in (1..confirmations.len()).rev() {
            confirmations.swap(index, self.dice.below(index + 1));
        }
        log.confirm(&confirmations);
        for confirmation in confirmations {
            self.workers[worker].in_flight.remove(&confirmation.lsn.0);
            if let Some(record) = self.known.acknowledged.get_mut(&confirmation.lsn.0) {
                record.confirmed.push(confirmation);
                record.done = true;
            }
        }
        self.known.check_figures(&log)
    }

    fn refuse(&mut self, worker: usize) -> Verdict {
        let log = self.log();
        let count = 1 + self.dice.below(3);
        let these: Vec<_> = self.workers[worker].in_flight.keys().copied().take(count).collect();
        let letters: Vec<_> = these
            .iter()
            .filter_map(|lsn| {
                let payload = self.known.acknowledged.get(lsn)?.payload.clone();
                let (lsn, reason) = (Lsn(*lsn), "too large".to_owned());
                let (accepted_at, died_at) = (Timestamp(1), Timestamp(2));
                Some(Letter { lsn, accepted_at, died_at, reason, attempts: 1, payload })
            })
            .collect();
        let buried = log.bury(&letters);
        ensure!(buried.is_ok() || self.excused() || self.known.troubled, "no grave: {buried:?}");
        for letter in letters {
            let dead = if buried.is_ok() { Truth::Yes } else { Truth::Maybe };
            if dead == Truth::Yes {
                self.workers[worker].in_flight.remove(&letter.lsn.0);
            }
            if let Some(record) = self.known.acknowledged.get_mut(&letter.lsn.0) {
                record.dead = dead;
            }
        }
        self.known.check_figures(&log)
    }

    fn dead_letter(&mut self) -> Option<(u64, u8, Vec<u8>)> {
        let dead = |record: &&super::known::Record| record.dead == Truth::Yes && record.removed == Truth::No;
        let all: Vec<_> =
            self.known.acknowledged.iter().filter(|(_, record)| dead(record)).map(|(lsn, _)| *lsn).collect();
        let lsn = *all.get(self.dice.below(all.len()))?;
        let record = &self.known.acknowledged[&lsn];
        Some((lsn, record.lane, record.payload.clone()))
    }

    /// Appended again under a new number, flushed, and only then removed.
    fn requeue(&mut self) -> Verdict {
        let Some((_, lane, payload)) = self.dead_letter() else { return Ok(()) };
        let before = self.dice.clone();
        let Some(new) = self.append_these(vec![(lane, payload)])? else { return Ok(()) };
        self.commit()?;
        self.dice = before;
        match self.known.acknowledged.contains_key(&new) {
            true => self.remove_letter(Removal::Requeued(Lsn(new))),
            false => Ok(()),
        }
    }

    fn remove_letter(&mut self, removal: Removal) -> Verdict {
        let Some((lsn, ..)) = self.dead_letter() else { return Ok(()) };
        let removed = self.log().dead().remove(Lsn(lsn), removal);
        let excused = self.excused() || self.known.troubled;
        ensure!(removed.as_ref().is_ok_and(|there| *there) || excused, "dead letter {lsn}: {removed:?}");
        if let Some(record) = self.known.acknowledged.get_mut(&lsn) {
            record.removed = if removed.is_ok() { Truth::Yes } else { Truth::Maybe };
            record.removal = Some(removal);
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Verdict {
        let (log, end) = (self.log(), self.log().end());
        match log.checkpoint(self.now()) {
            Ok(_) => self.known.saved(end),
            Err(error) => ensure!(self.excused(), "no checkpoint: {error}"),
        }
        Ok(())
    }

    fn keep_house(&mut self) -> Verdict {
        let (log, end) = (self.log(), self.log().end());
        match log.keep_house(self.world.keep, self.now()) {
            Ok(()) => self.known.saved(end),
            Err(error) => ensure!(self.excused(), "the house is not kept: {error}"),
        }
        self.known.check_figures(&log)
    }

    /// The log as it was some time ago, under a checkpoint that has seen more: a start must refuse it.
    fn put_back(&mut self) -> Verdict {
        let Some((copy, end)) = self.old_copy.take() else { return Ok(()) };
        self.disk.kill();
        self.restart(|_| ())?;
        self.checkpoint()?;
        if self.known.promised <= end {
            return Ok(());
        }
        self.forget();
        self.disk.kill();
        self.disk.put_back(&copy, &[&dir().join("pending"), &dir().join("acked")]);
        match self.open() {
            Err(OpenError::Lost { .. }) => {
                self.refused = true;
                Ok(())
            }
            Err(error) => Err(format!("an older copy is refused for the wrong reason: {error}")),
            Ok(_) => Err(format!("an older copy, which ends at {end}, is taken for the log")),
        }
    }

    fn forget(&mut self) {
        self.workers.clear();
        self.opened = None;
    }

    fn restart(&mut self, end: impl Fn(&Disk)) -> Verdict {
        self.forget();
        end(&self.disk);
        self.start()
    }

    fn open(&self) -> Result<Opened, OpenError> {
        let options = Options {
            segment_size: self.world.segment_size,
            reserve_space: self.world.reserve,
            redeliver: false,
            keys: self.world.keys(),
            label: |_| Some("test".into()),
            observer: Arc::new(|_| ()),
        };
        open(Arc::new(self.disk.clone()), &dir(), &options, self.now())
    }

    /// Starts until a start gets through; some die on their way.
    fn start(&mut self) -> Verdict {
        for attempt in 0..DEAD_STARTS + 4 {
            if attempt < DEAD_STARTS && self.dice.once_in(3) {
                self.disk.die_after(self.dice.below(40) as u64);
            }
            match self.open() {
                Ok(opened) => return self.started(opened),
                Err(error) => self.excuse(&error)?,
            }
            if self.refused {
                return Ok(());
            }
            self.trace.push("   a start fails".into());
            if self.dice.once_in(2) {
                self.disk.kill()
            } else {
                self.disk.crash()
            }
            self.disk.begin(self.dice.number());
        }
        Err("no start gets through".into())
    }

    /// Whether a start may fail so.
    fn excuse(&mut self, error: &OpenError) -> Verdict {
        if self.disk.died() || self.disk.fired().is_some() {
            self.known.troubled = true;
            return Ok(());
        }
        match error {
            // Somebody makes room.
            OpenError::Io { .. } if self.disk.was_full() => self.disk.set_capacity(u64::MAX),
            // Somebody replaces the bad sector.
            OpenError::Io { .. } if self.disk.heal() => {}
            OpenError::Lost { .. } if self.known.spoilt.is_some() => self.refused = true,
            error => return Err(format!("no start: {error}")),
        }
        Ok(())
    }

    fn started(&mut self, opened: Opened) -> Verdict {
        let torn = self.disk.paths().into_iter().filter_map(|path| torn_segment(&path)).collect();
        let disk = self.disk.clone();
        let known = &mut self.known;
        let watched = disk.undisturbed(|| known.opened(&opened, torn));
        // A sector that cannot be read is not this start's fault, and no end of the log either.
        match watched {
            Err(_) if disk.heal() => disk.undisturbed(|| self.known.opened(&opened, Vec::new()))?,
            watched => watched?,
        }
        self.broker.forget_lost(&self.known);
        let from = opened.log.watermark();
        let worker = |_| Worker {
            cursor: opened.log.cursor(from),
            from: from.0,
            read: BTreeSet::new(),
            in_flight: BTreeMap::new(),
        };
        self.workers = (0..self.world.workers).map(worker).collect();
        self.opened = Some(opened);
        Ok(())
    }

    /// All faults are over: everything acknowledged arrives, and nothing is left.
    fn finish(&mut self) -> Verdict {
        self.disk.heal();
        self.disk.set_capacity(u64::MAX);
        let end = if self.dice.once_in(2) { Disk::kill } else { Disk::crash };
        self.restart(end)?;
        if self.refused {
            return Ok(());
        }
        self.disk.die_after(u64::MAX);
        for worker in 0..self.world.workers {
            self.deliver(worker, usize::MAX)?;
            self.confirm(worker, true)?;
        }
        self.keep_house()?;
        let left = self.log().figures().backlog;
        ensure!(left == 0, "{left} records are never delivered");
        for (lsn, record) in &self.known.acknowledged {
            let elsewhere = record.damaged || record.dead == Truth::Yes || record.removed == Truth::Yes;
            let arrived = self.broker.records.get(lsn) == Some(&record.payload);
            let letter_lost = record.dead != Truth::No && self.known.letters_reported;
            ensure!(arrived || elsewhere || letter_lost, "record {lsn} never arrived");
        }
        self.restart(Disk::crash)?;
        let again = self.opened.as_ref().map_or(0, |opened| opened.log.figures().backlog);
        ensure!(again == 0, "{again} records come again");
        Ok(())
    }
}

impl Broker {
    /// Records that were cut, and reported, may have a successor under their number.
    fn forget_lost(&mut self, known: &Known) {
        if known.spoilt.is_some() {
            self.records.retain(|lsn, _| known.acknowledged.contains_key(lsn));
            for last in self.last.values_mut() {
                *last = (*last).min(self.records.keys().next_back().copied().unwrap_or(0));
            }
        }
    }
}

fn torn_segment(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".torn")?;
    let (first, _) = name.split_once('-')?;
    parse_segment_name(&format!("{first}.wal")).map(|first| first.0)
}
