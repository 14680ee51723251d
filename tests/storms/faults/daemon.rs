//! What happens to the daemon: its process, its disk, its clock, its configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Schedule;
use crate::daemon::{Daemon, Room};
use crate::shared::Shared;
use support::clock::FakeClock;
use support::disk::SmallDisk;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Kill,
    KillAndWait,
    KillInRecovery,
    Terminate,
    Freeze,
    ChangeWorkers,
    DiskScarce,
    DiskFull,
    KillOnFullDisk,
    /// By hours, as a machine that comes up with a wrong clock and is set right: forward while it runs, back by a
    /// restart. (librdkafka waits by the time of day: set back under it, each wait may last as much longer.)
    ClockHoursAhead,
    ClockHoursBehind,
    /// By seconds, to and fro under the running daemon, as NTP may step it.
    ClockSteps,
}

const FAULTS: [Fault; 14] = [
    // The commonest of all comes more often.
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::KillAndWait,
    Fault::KillInRecovery,
    Fault::Terminate,
    Fault::Freeze,
    Fault::ChangeWorkers,
    Fault::DiskScarce,
    Fault::DiskFull,
    Fault::KillOnFullDisk,
    Fault::ClockHoursAhead,
    Fault::ClockHoursBehind,
    Fault::ClockSteps,
];

/// Half an hour, a little more than the hour that a broker lets a record's time be ahead, and nearly a day, after
/// which delivered segments would have to go.
const HOURS_S: [i64; 3] = [1_800, 4_000, 80_000];
/// At most this far to and fro, in seconds.
const STEP_S: u64 = 5;

/// From one worker to more than there are partitions.
const WORKERS: [u64; 6] = [1, 2, 3, 5, 8, 16];

/// What comes when.
pub type DaemonSchedule = Schedule<Fault>;

impl DaemonSchedule {
    /// The one of this seed.
    pub fn of(seed: u64) -> Self {
        Self::new(seed, 1, &FAULTS)
    }
}

/// Who does it.
pub struct DaemonFaults<'a> {
    pub shared: &'a Arc<Shared>,
    pub daemon: &'a mut Daemon,
    pub disk: &'a SmallDisk,
    pub clock: &'a FakeClock,
    /// The daemon's `reserve_space`.
    pub reserve: u64,
}

impl DaemonFaults<'_> {
    /// One after the other until the time is over; everything is well again then.
    pub fn run(mut self, schedule: &mut DaemonSchedule, length: Duration) {
        let until = Instant::now() + length;
        while let Some((calm, fault)) = schedule.next(until) {
            self.daemon.tend_for(calm);
            eprintln!("storm: daemon: {fault:?}");
            self.shared.count(&format!("daemon: {fault:?}"));
            self.strike(fault, &mut schedule.rng);
        }
    }

    fn strike(&mut self, fault: Fault, rng: &mut crate::rng::Rng) {
        match fault {
            Fault::Kill => {
                self.daemon.kill();
                self.daemon.start();
            }
            Fault::KillAndWait => {
                self.daemon.kill();
                std::thread::sleep(rng.millis(500, 6_000));
                self.daemon.start();
            }
            Fault::KillInRecovery => {
                for _ in 0..3 {
                    self.daemon.kill();
                    self.daemon.launch();
                    std::thread::sleep(rng.millis(0, 60));
                }
                self.daemon.await_up();
            }
            Fault::Terminate => {
                self.daemon.stop();
                self.daemon.start();
            }
            Fault::Freeze => {
                self.daemon.tend();
                self.daemon.forebay.freeze();
                std::thread::sleep(rng.millis(300, 6_000));
                self.daemon.forebay.thaw();
            }
            Fault::ChangeWorkers => {
                if rng.chance(50) {
                    self.daemon.kill()
                } else {
                    self.daemon.stop()
                }
                self.daemon.forebay.configure("drain.workers", rng.pick(&WORKERS));
                self.daemon.start();
            }
            Fault::DiskScarce => {
                let room = self.reserve / 2 + rng.below(self.reserve / 2);
                self.with_full_disk(Room::Scarce, room, |this| {
                    this.daemon.tend_for(rng.millis(1_000, 6_000))
                });
            }
            Fault::DiskFull => {
                self.with_full_disk(Room::None, 0, |this| this.daemon.tend_for(rng.millis(1_000, 6_000)));
            }
            Fault::KillOnFullDisk => self.with_full_disk(Room::None, rng.below(self.reserve), |this| {
                this.daemon.tend_for(rng.millis(100, 2_000));
                this.daemon.kill();
                this.daemon.launch();
                this.daemon.tend_for(rng.millis(100, 2_000));
            }),
            Fault::ClockHoursAhead => {
                self.clock.set(rng.pick(&HOURS_S));
                self.daemon.tend_for(rng.millis(1_000, 6_000));
                self.restart_with_clock(0);
            }
            Fault::ClockHoursBehind => {
                self.restart_with_clock(-rng.pick(&HOURS_S));
                self.daemon.tend_for(rng.millis(1_000, 6_000));
                self.clock.set(0);
            }
            Fault::ClockSteps => {
                for _ in 0..4 {
                    self.clock.set(rng.below(2 * STEP_S) as i64 - STEP_S as i64);
                    self.daemon.tend_for(rng.millis(200, 2_000));
                }
                self.clock.set(0);
            }
        }
    }

    fn with_full_disk(&mut self, room: Room, bytes: u64, meanwhile: impl FnOnce(&mut Self)) {
        self.daemon.set_room(room);
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        self.disk.fill_but(bytes).expect("the ballast");
        meanwhile(self);
        self.disk.clear().expect("the ballast goes");
        // What failed for lack of room shows a little later.
        self.daemon.tend_for(Duration::from_secs(1));
        self.daemon.await_up();
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        self.daemon.set_room(Room::Fine);
    }

    fn restart_with_clock(&mut self, seconds: i64) {
        self.daemon.kill();
        self.clock.set(seconds);
        self.daemon.start();
    }
}
