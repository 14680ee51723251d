//! Runs a scenario under many schedules.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// Environment variable: replays one schedule, as printed.
const REPLAY: &str = "FOREBAY_SHUTTLE_REPLAY";
/// Environment variable: repeats the schedules of a run.
pub const SEED: &str = "FOREBAY_SHUTTLE_SEED";
/// Bugs that need this many steps in a certain order are found with a known probability (Burckhardt et al., "A
/// randomized scheduler with probabilistic guarantees of finding bugs"). Most bugs known in practice need fewer steps.
const DEPTH: usize = 3;
/// Stack size in words, for the deep calls of the log and of HMAC.
const STACK: usize = 0x8000;

/// How the scheduler chooses the next thread.
#[derive(Clone, Copy)]
pub enum Kind {
    /// With equal probability among the runnable threads.
    Random,
    /// By random priorities that change a few times.
    Pct,
}

/// All kinds.
pub const KINDS: [Kind; 2] = [Kind::Random, Kind::Pct];

/// Runs the scenario under this many schedules of each kind. Panics with the failing schedule.
pub fn explore(schedules: usize, scenario: fn()) {
    if let Ok(schedule) = std::env::var(REPLAY) {
        return shuttle::replay(scenario, &schedule);
    }
    let seed = seed();
    println!("{SEED}={seed}");
    KINDS.into_iter().for_each(|kind| run(kind, seed, schedules, scenario));
}

/// Runs the scenario under schedules of one kind.
pub fn run(kind: Kind, seed: u64, schedules: usize, scenario: impl Fn() + Send + Sync + 'static) {
    match kind {
        Kind::Random => Runner::new(RandomScheduler::new_from_seed(seed, schedules), config()).run(scenario),
        Kind::Pct => Runner::new(PctScheduler::new_from_seed(seed, DEPTH, schedules), config()).run(scenario),
    };
}

pub fn seed() -> u64 {
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| getrandom::u64().unwrap())
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK * size_of::<usize>();
    config
}
