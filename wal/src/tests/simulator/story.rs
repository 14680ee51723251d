//! What happens in a life, from its seed: the machine, the options, and the steps.
//!
//! Each step has a seed of its own, so that a step left out changes nothing about the others: a story that fails can
//! be shortened.

use std::fmt;
use std::time::Duration;

use super::super::super::{Keys, Retention};
use super::super::support::master;
use super::dice::Dice;
use super::disk::{Call, Names, Rot, Trouble};

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    pub act: Act,
    pub seed: u64,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Act {
    /// A batch of so many records; their payloads have up to so many bytes.
    Append { records: usize, bytes: usize },
    /// Flush what was appended.
    Commit,
    /// A batch and its flush: what most requests are.
    Write { records: usize, bytes: usize },
    /// Seal the open segment, old or not.
    Seal,
    /// A worker reads and sends up to so many records.
    Deliver { worker: usize, most: usize },
    /// The broker confirms some of what a worker has in flight, in any order.
    Confirm { worker: usize },
    /// The broker refuses some of what a worker has in flight.
    Refuse { worker: usize },
    /// An operator takes a dead letter up again.
    Requeue,
    /// An operator gives a dead letter up.
    Drop,
    /// What confirmations since are worth.
    Checkpoint,
    /// Checkpoint, retirement, retention.
    KeepHouse,
    /// The daemon stops and starts in good order.
    Restart,
    /// The process dies and starts on what the kernel still shows.
    Kill,
    /// The power fails.
    Crash,
    /// The process dies after so many more calls to the file system.
    DieAfter(u64),
    /// A call will fail.
    Fail(Trouble),
    /// Bytes at rest change.
    Spoil(Rot),
    /// The segments are put back as they were some time ago, under a checkpoint that is newer.
    PutBack,
}

/// The machine and the options of a life.
#[derive(Clone, Debug)]
pub struct World {
    pub names: Names,
    pub capacity: u64,
    pub reserve: u64,
    pub pieces: bool,
    pub segment_size: u64,
    pub workers: usize,
    pub encrypted: bool,
    pub keep: Retention,
}

impl World {
    /// The keys of its log.
    pub fn keys(&self) -> Keys {
        match self.encrypted {
            true => Keys::new(Some(master(7)), Vec::new()),
            false => Keys::default(),
        }
    }
}

/// A life.
#[derive(Clone, Debug)]
pub struct Story {
    pub world: World,
    pub steps: Vec<Step>,
}

/// What kind of bad luck a life has; most have only crashes, so that what is owed to a crash alone is strict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Luck {
    Crashes,
    Faults,
    Rot,
    OldCopy,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let luck = match dice.below(16) {
            0..=4 => Luck::Crashes,
            5..=9 => Luck::Faults,
            10..=14 => Luck::Rot,
            _ => Luck::OldCopy,
        };
        let small_disk = luck == Luck::Faults && dice.once_in(4);
        let world = World {
            names: *dice.pick(&[Names::Journal, Names::EachDirectory, Names::Any]),
            capacity: if small_disk { 96 << 10 } else { u64::MAX },
            reserve: if small_disk { 24 << 10 } else { 0 },
            pieces: luck == Luck::Faults || dice.once_in(2),
            segment_size: *dice.pick(&[6 << 10, 8 << 10, 16 << 10]),
            workers: 1 + dice.below(3),
            encrypted: dice.once_in(4),
            keep: Retention {
                age: Duration::from_secs(*dice.pick(&[0, 30, 1000])),
                size: *dice.pick(&[0, 10 << 10, 40 << 10]),
            },
        };
        let length = 10 + dice.below(50);
        let mut steps: Vec<_> = (0..length).map(|_| step(&mut dice, luck, world.workers)).collect();
        if luck == Luck::Rot {
            // One bad place in a life: what it may cost is known then.
            let at = dice.below(steps.len() + 1);
            let rot =
                *dice.pick(&[Rot::Flip, Rot::Flip, Rot::Flip, Rot::Zero, Rot::Misdirected, Rot::Unreadable]);
            steps.insert(at, Step { act: Act::Spoil(rot), seed: dice.number() });
        }
        if luck == Luck::OldCopy {
            steps.push(Step { act: Act::PutBack, seed: dice.number() });
        }
        Self { world, steps }
    }
}

fn step(dice: &mut Dice, luck: Luck, workers: usize) -> Step {
    let worker = dice.below(workers);
    let (records, bytes) = (1 + dice.below(4), *dice.pick(&[0, 20, 100, 400, 900]));
    let act = match dice.below(64) {
        0..=4 => Act::Append { records, bytes },
        5..=7 => Act::Commit,
        8..=23 => Act::Write { records, bytes },
        24..=25 => Act::Seal,
        26..=32 => Act::Deliver { worker, most: 1 + dice.below(20) },
        33..=39 => Act::Confirm { worker },
        40..=41 => Act::Refuse { worker },
        42 => Act::Requeue,
        43 => Act::Drop,
        44..=45 => Act::Checkpoint,
        46..=49 => Act::KeepHouse,
        50..=51 => Act::Restart,
        52..=53 => Act::Kill,
        54..=56 => Act::Crash,
        57..=60 => Act::DieAfter(dice.below(40) as u64),
        _ if luck == Luck::Faults => Act::Fail(trouble(dice)),
        _ => Act::Write { records, bytes },
    };
    Step { act, seed: dice.number() }
}

fn trouble(dice: &mut Dice) -> Trouble {
    const CALLS: [Call; 12] = [
        Call::Read,
        Call::Read,
        Call::Write,
        Call::Write,
        Call::Flush,
        Call::Flush,
        Call::Flush,
        Call::FlushDir,
        Call::Create,
        Call::Rename,
        Call::Remove,
        Call::SetLen,
    ];
    Trouble {
        call: *dice.pick(&CALLS),
        after: dice.below(8) as u64,
        sticky: dice.once_in(4),
        full: dice.once_in(4),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.act)
    }
}
