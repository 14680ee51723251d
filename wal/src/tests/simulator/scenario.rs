//! What happens in a life, from its seed: the machine, the options, and the steps.
//!
//! Each step has a seed of its own, so that a step left out changes nothing about the others: a story that fails can
//! be shortened.

use std::fmt;
use std::time::Duration;

use super::super::super::{Keys, Retention};
use super::super::support::master;
use super::disk::{Call, Corruption, NameDurability, PlannedFault};
use super::rng::SeededRng;

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    pub act: StepAction,
    pub seed: u64,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum StepAction {
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
    Maintain,
    /// The daemon stops and starts in good order.
    Restart,
    /// The process dies and starts on what the kernel still shows.
    Kill,
    /// The power fails.
    Crash,
    /// The process dies after so many more calls to the file system.
    DieAfter(u64),
    /// A call will fail.
    Fail(PlannedFault),
    /// Bytes at rest change.
    Corrupt(Corruption),
    /// The segments are put back as they were some time ago, under a checkpoint that is newer.
    RestoreOldCopy,
}

/// The machine and the options of a life.
#[derive(Clone, Debug)]
pub struct SimulationSetup {
    pub name_durability: NameDurability,
    pub capacity: u64,
    pub reserve: u64,
    pub partial_io: bool,
    pub segment_size: u64,
    pub workers: usize,
    pub encrypted: bool,
    pub retention: Retention,
}

impl SimulationSetup {
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
pub struct Scenario {
    pub setup: SimulationSetup,
    pub steps: Vec<Step>,
}

/// What kind of bad luck a life has; most have only crashes, so that what is owed to a crash alone is strict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultProfile {
    Crashes,
    Faults,
    Corruption,
    OldCopy,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut dice = SeededRng::new(seed);
        let luck = match dice.below(16) {
            0..=4 => FaultProfile::Crashes,
            5..=9 => FaultProfile::Faults,
            10..=14 => FaultProfile::Corruption,
            _ => FaultProfile::OldCopy,
        };
        let small_disk = luck == FaultProfile::Faults && dice.one_in(4);
        let world = SimulationSetup {
            name_durability: *dice.pick(&[
                NameDurability::Journal,
                NameDurability::EachDirectory,
                NameDurability::Any,
            ]),
            capacity: if small_disk { 96 << 10 } else { u64::MAX },
            reserve: if small_disk { 24 << 10 } else { 0 },
            partial_io: luck == FaultProfile::Faults || dice.one_in(2),
            segment_size: *dice.pick(&[6 << 10, 8 << 10, 16 << 10]),
            workers: 1 + dice.below(3),
            encrypted: dice.one_in(4),
            retention: Retention {
                age: Duration::from_secs(*dice.pick(&[0, 30, 1000])),
                size: *dice.pick(&[0, 10 << 10, 40 << 10]),
            },
        };
        let length = 10 + dice.below(50);
        let mut steps: Vec<_> = (0..length).map(|_| random_step(&mut dice, luck, world.workers)).collect();
        if luck == FaultProfile::Corruption {
            // One bad place in a life: what it may cost is known then.
            let at = dice.below(steps.len() + 1);
            let rot = *dice.pick(&[
                Corruption::Flip,
                Corruption::Flip,
                Corruption::Flip,
                Corruption::Zero,
                Corruption::Misdirected,
                Corruption::Unreadable,
            ]);
            steps.insert(at, Step { act: StepAction::Corrupt(rot), seed: dice.next_u64() });
        }
        if luck == FaultProfile::OldCopy {
            steps.push(Step { act: StepAction::RestoreOldCopy, seed: dice.next_u64() });
        }
        Self { setup: world, steps }
    }
}

fn random_step(dice: &mut SeededRng, luck: FaultProfile, workers: usize) -> Step {
    let worker = dice.below(workers);
    let (records, bytes) = (1 + dice.below(4), *dice.pick(&[0, 20, 100, 400, 900]));
    let act = match dice.below(64) {
        0..=4 => StepAction::Append { records, bytes },
        5..=7 => StepAction::Commit,
        8..=23 => StepAction::Write { records, bytes },
        24..=25 => StepAction::Seal,
        26..=32 => StepAction::Deliver { worker, most: 1 + dice.below(20) },
        33..=39 => StepAction::Confirm { worker },
        40..=41 => StepAction::Refuse { worker },
        42 => StepAction::Requeue,
        43 => StepAction::Drop,
        44..=45 => StepAction::Checkpoint,
        46..=49 => StepAction::Maintain,
        50..=51 => StepAction::Restart,
        52..=53 => StepAction::Kill,
        54..=56 => StepAction::Crash,
        57..=60 => StepAction::DieAfter(dice.below(40) as u64),
        _ if luck == FaultProfile::Faults => StepAction::Fail(random_fault(dice)),
        _ => StepAction::Write { records, bytes },
    };
    Step { act, seed: dice.next_u64() }
}

fn random_fault(dice: &mut SeededRng) -> PlannedFault {
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
    PlannedFault {
        call: *dice.pick(&CALLS),
        after: dice.below(8) as u64,
        sticky: dice.one_in(4),
        full: dice.one_in(4),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.act)
    }
}
