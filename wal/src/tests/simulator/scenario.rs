//! Scenarios, generated from a seed: the machine, the options, and the steps.
//!
//! Each step has its own seed. Removing a step does not change the others, so a failed scenario can be shortened.

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

/// Action of a step.
#[derive(Clone, Debug)]
pub enum StepAction {
    /// Appends a batch of `records` records with payloads of up to `bytes` bytes.
    Append { records: usize, bytes: usize },
    /// Flushes the appended records.
    Commit,
    /// Appends and flushes a batch, like most requests.
    Write { records: usize, bytes: usize },
    /// Seals the open segment, regardless of its age.
    Seal,
    /// A worker reads and sends up to `limit` records.
    Deliver { worker: usize, limit: usize },
    /// The broker confirms some of a worker's records in flight, in any order.
    Confirm { worker: usize },
    /// The broker rejects some of a worker's records in flight.
    Refuse { worker: usize },
    /// An operator requeues a dead letter.
    Requeue,
    /// An operator drops a dead letter.
    Drop,
    /// Saves a checkpoint.
    Checkpoint,
    /// Runs maintenance: checkpoint, moves to `acked/`, retention.
    Maintain,
    /// The daemon stops in an orderly way and starts.
    Restart,
    /// The process is killed, and starts on the contents of the page cache.
    Kill,
    /// The power fails.
    Crash,
    /// The process crashes after this many more calls to the file system.
    DieAfter(u64),
    /// Plans the failure of a call.
    Fail(PlannedFault),
    /// Changes stored bytes.
    Corrupt(Corruption),
    /// Restores an older copy of the segments under a newer checkpoint.
    RestoreOldCopy,
}

/// The machine and the options of a scenario.
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
    /// The keys of the log.
    pub fn keys(&self) -> Keys {
        match self.encrypted {
            true => Keys::new(Some(master(7)), Vec::new()),
            false => Keys::default(),
        }
    }
}

/// Setup and steps of a simulated run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub setup: SimulationSetup,
    pub steps: Vec<Step>,
}

/// Kind of faults in a scenario. Many have only crashes, so that the guarantees after a crash alone are checked
/// strictly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultProfile {
    Crashes,
    Faults,
    Corruption,
    OldCopy,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let profile = match rng.below(16) {
            0..=4 => FaultProfile::Crashes,
            5..=9 => FaultProfile::Faults,
            10..=14 => FaultProfile::Corruption,
            _ => FaultProfile::OldCopy,
        };
        let small_disk = profile == FaultProfile::Faults && rng.one_in(4);
        let setup = SimulationSetup {
            name_durability: *rng.pick(&[
                NameDurability::Journal,
                NameDurability::EachDirectory,
                NameDurability::Any,
            ]),
            capacity: if small_disk { 96 << 10 } else { u64::MAX },
            reserve: if small_disk { 24 << 10 } else { 0 },
            partial_io: profile == FaultProfile::Faults || rng.one_in(2),
            segment_size: *rng.pick(&[6 << 10, 8 << 10, 16 << 10]),
            workers: 1 + rng.below(3),
            encrypted: rng.one_in(4),
            retention: Retention {
                age: Duration::from_secs(*rng.pick(&[0, 30, 1000])),
                size: *rng.pick(&[0, 10 << 10, 40 << 10]),
            },
        };
        let length = 10 + rng.below(50);
        let mut steps: Vec<_> = (0..length).map(|_| random_step(&mut rng, profile, setup.workers)).collect();
        if profile == FaultProfile::Corruption {
            // Only one corrupted place per scenario, so that its permitted effect is known.
            let at = rng.below(steps.len() + 1);
            let corruption = *rng.pick(&[
                Corruption::Flip,
                Corruption::Flip,
                Corruption::Flip,
                Corruption::Zero,
                Corruption::Misdirected,
                Corruption::Unreadable,
            ]);
            steps.insert(at, Step { act: StepAction::Corrupt(corruption), seed: rng.next_u64() });
        }
        if profile == FaultProfile::OldCopy {
            steps.push(Step { act: StepAction::RestoreOldCopy, seed: rng.next_u64() });
        }
        Self { setup, steps }
    }
}

fn random_step(rng: &mut SeededRng, profile: FaultProfile, workers: usize) -> Step {
    let worker = rng.below(workers);
    let (records, bytes) = (1 + rng.below(4), *rng.pick(&[0, 20, 100, 400, 900]));
    let act = match rng.below(64) {
        0..=4 => StepAction::Append { records, bytes },
        5..=7 => StepAction::Commit,
        8..=23 => StepAction::Write { records, bytes },
        24..=25 => StepAction::Seal,
        26..=32 => StepAction::Deliver { worker, limit: 1 + rng.below(20) },
        33..=39 => StepAction::Confirm { worker },
        40..=41 => StepAction::Refuse { worker },
        42 => StepAction::Requeue,
        43 => StepAction::Drop,
        44..=45 => StepAction::Checkpoint,
        46..=49 => StepAction::Maintain,
        50..=51 => StepAction::Restart,
        52..=53 => StepAction::Kill,
        54..=56 => StepAction::Crash,
        57..=60 => StepAction::DieAfter(rng.below(40) as u64),
        _ if profile == FaultProfile::Faults => StepAction::Fail(random_fault(rng)),
        _ => StepAction::Write { records, bytes },
    };
    Step { act, seed: rng.next_u64() }
}

fn random_fault(rng: &mut SeededRng) -> PlannedFault {
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
        call: *rng.pick(&CALLS),
        after: rng.below(8) as u64,
        sticky: rng.one_in(4),
        full: rng.one_in(4),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.act)
    }
}
