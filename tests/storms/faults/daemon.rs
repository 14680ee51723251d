//! Faults of the daemon: its process, its disk, its clock, its configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::FaultSchedule;
use crate::daemon::{DiskSpace, SupervisedDaemon};
use crate::shared::Shared;
use support::clock::FakeClock;
use support::disk::SmallDisk;

#[derive(Clone, Copy, Debug)]
pub enum DaemonFault {
    Kill,
    KillAndWait,
    KillInRecovery,
    Terminate,
    Freeze,
    ChangeWorkers,
    DiskScarce,
    DiskFull,
    KillOnFullDisk,
    /// Offset of hours, as on a machine that boots with a wrong clock and is then corrected: forward while it runs,
    /// back with a restart. (librdkafka waits until a wall-clock time. If the clock is set back under it, each wait
    /// may last as much longer.)
    ClockHoursAhead,
    ClockHoursBehind,
    /// Steps of seconds in both directions under the running daemon, as NTP may step it.
    ClockSteps,
}

const FAULTS: [DaemonFault; 14] = [
    // The most common fault occurs more often.
    DaemonFault::Kill,
    DaemonFault::Kill,
    DaemonFault::Kill,
    DaemonFault::KillAndWait,
    DaemonFault::KillInRecovery,
    DaemonFault::Terminate,
    DaemonFault::Freeze,
    DaemonFault::ChangeWorkers,
    DaemonFault::DiskScarce,
    DaemonFault::DiskFull,
    DaemonFault::KillOnFullDisk,
    DaemonFault::ClockHoursAhead,
    DaemonFault::ClockHoursBehind,
    DaemonFault::ClockSteps,
];

/// Half an hour; slightly more than the hour that a broker allows a record's timestamp to be ahead; and nearly a day,
/// after which delivered segments would expire.
const CLOCK_OFFSETS_S: [i64; 3] = [1_800, 4_000, 80_000];
/// Maximum step in either direction, in seconds.
const MAX_CLOCK_STEP_S: u64 = 5;

/// From one worker to more than there are partitions.
const WORKERS: [u64; 6] = [1, 2, 3, 5, 8, 16];

/// The schedule of the daemon's faults.
pub type DaemonSchedule = FaultSchedule<DaemonFault>;

impl DaemonSchedule {
    /// The schedule of this seed.
    pub fn of(seed: u64) -> Self {
        Self::new(seed, 1, &FAULTS)
    }
}

/// Injects the daemon's faults.
pub struct DaemonFaults<'a> {
    pub shared: &'a Arc<Shared>,
    pub daemon: &'a mut SupervisedDaemon,
    pub disk: &'a SmallDisk,
    pub clock: &'a FakeClock,
    /// The daemon's `reserve_space`.
    pub reserve: u64,
}

impl DaemonFaults<'_> {
    /// Injects one fault after the other until the time is over. All faults have ended when it returns.
    pub fn run(mut self, schedule: &mut DaemonSchedule, length: Duration) {
        let until = Instant::now() + length;
        while let Some((calm, fault)) = schedule.next(until) {
            self.daemon.supervise_for(calm);
            eprintln!("storm: daemon: {fault:?}");
            self.shared.count(&format!("daemon: {fault:?}"));
            self.inject(fault, &mut schedule.rng);
        }
    }

    fn inject(&mut self, fault: DaemonFault, rng: &mut crate::rng::Rng) {
        match fault {
            DaemonFault::Kill => {
                self.daemon.kill();
                self.daemon.start();
            }
            DaemonFault::KillAndWait => {
                self.daemon.kill();
                std::thread::sleep(rng.millis(500, 6_000));
                self.daemon.start();
            }
            DaemonFault::KillInRecovery => {
                for _ in 0..3 {
                    self.daemon.kill();
                    self.daemon.launch();
                    std::thread::sleep(rng.millis(0, 60));
                }
                self.daemon.await_up();
            }
            DaemonFault::Terminate => {
                self.daemon.stop();
                self.daemon.start();
            }
            DaemonFault::Freeze => {
                self.daemon.restart_if_ended();
                self.daemon.forebay.freeze();
                std::thread::sleep(rng.millis(300, 6_000));
                self.daemon.forebay.thaw();
            }
            DaemonFault::ChangeWorkers => {
                if rng.chance(50) {
                    self.daemon.kill()
                } else {
                    self.daemon.stop()
                }
                self.daemon.forebay.configure("drain.workers", rng.pick(&WORKERS));
                self.daemon.start();
            }
            DaemonFault::DiskScarce => {
                let room = self.reserve / 2 + rng.below(self.reserve / 2);
                self.with_full_disk(DiskSpace::Scarce, room, |this| {
                    this.daemon.supervise_for(rng.millis(1_000, 6_000))
                });
            }
            DaemonFault::DiskFull => {
                self.with_full_disk(DiskSpace::None, 0, |this| {
                    this.daemon.supervise_for(rng.millis(1_000, 6_000))
                });
            }
            DaemonFault::KillOnFullDisk => {
                self.with_full_disk(DiskSpace::None, rng.below(self.reserve), |this| {
                    this.daemon.supervise_for(rng.millis(100, 2_000));
                    this.daemon.kill();
                    this.daemon.launch();
                    this.daemon.supervise_for(rng.millis(100, 2_000));
                })
            }
            DaemonFault::ClockHoursAhead => {
                self.clock.set(rng.pick(&CLOCK_OFFSETS_S));
                self.daemon.supervise_for(rng.millis(1_000, 6_000));
                self.restart_with_clock(0);
            }
            DaemonFault::ClockHoursBehind => {
                self.restart_with_clock(-rng.pick(&CLOCK_OFFSETS_S));
                self.daemon.supervise_for(rng.millis(1_000, 6_000));
                self.clock.set(0);
            }
            DaemonFault::ClockSteps => {
                for _ in 0..4 {
                    self.clock.set(rng.below(2 * MAX_CLOCK_STEP_S) as i64 - MAX_CLOCK_STEP_S as i64);
                    self.daemon.supervise_for(rng.millis(200, 2_000));
                }
                self.clock.set(0);
            }
        }
    }

    fn with_full_disk(&mut self, room: DiskSpace, bytes: u64, meanwhile: impl FnOnce(&mut Self)) {
        self.daemon.set_disk_space(room);
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        self.disk.fill_but(bytes).expect("filling the disk");
        meanwhile(self);
        self.disk.clear().expect("freeing the disk");
        // Failures caused by the full disk appear a little later.
        self.daemon.supervise_for(Duration::from_secs(1));
        self.daemon.await_up();
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        self.daemon.set_disk_space(DiskSpace::Enough);
    }

    fn restart_with_clock(&mut self, seconds: i64) {
        self.daemon.kill();
        self.clock.set(seconds);
        self.daemon.start();
    }
}
