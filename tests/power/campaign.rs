//! Consecutive runs of a machine on one disk, each ended by a power cut. The test outside of the machine records every
//! response when it arrives, and compares the disk with these records.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::disk::WriteJournal;
use crate::guest_image::{BootFiles, GuestConfig};
use crate::machine::VirtualMachine;
use crate::recovered::{ExpectedCommands, FILLER_BYTES};
use crate::rng::SeededRng;
use crate::{image, recovered};
use support::load::{Load, LoadOptions, SentCommands};
use support::scratch;

/// Runs per disk. The next run begins with an empty disk, because the log and the time to check it grow with each run.
pub const CUTS_PER_DISK: usize = 8;

/// Further instants of each run at which a power cut is simulated, from the disk's journal.
const CHECKED_INSTANTS: usize = 12;

/// One of this many runs is cut before the daemon is ready.
const CUT_AT_START: usize = 4;

/// Maximum writes and flushes of a start before such a cut.
const MAX_START_EVENTS: usize = 60;

/// Maximum boots of a machine that stops before it has mounted its disk.
const MAX_BOOT_ATTEMPTS: usize = 3;

/// Maximum time until the cut. On a busy host the machine accepts fewer commands than planned.
const CUT_TIMEOUT: Duration = Duration::from_secs(30);

/// Name of the initramfs file.
const INITRAMFS: &str = "initramfs";

/// Commands whose status is requested from the machine after its boot. It responds to 400 requests per second. On the
/// host all commands are checked.
const ASKED_IN_MACHINE: usize = 400;

/// A machine whose power is cut repeatedly.
pub struct Campaign<'a> {
    boot_files: &'a BootFiles,
    guest: &'a GuestConfig,
    random: &'a mut SeededRng,
    counts: &'a mut CampaignStats,
    dir: TempDir,
    disk: Vec<u8>,
    sent: SentCommands,
}

/// Counters of a campaign.
#[derive(Clone, Copy, Debug, Default)]
pub struct CampaignStats {
    /// Machines killed.
    pub cuts: usize,
    /// Machines killed before the daemon was ready.
    pub at_start: usize,
    /// Further instants of their runs, each checked on a separate image.
    pub instants: usize,
    /// Commands with a 202.
    pub acknowledged: usize,
    /// Checks after a cut that found an acknowledged command with its content.
    pub checked: usize,
}

impl fmt::Display for CampaignStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, at_start, instants, acknowledged, checked } = self;
        write!(
            f,
            "{cuts} power cuts ({at_start} during a start) and {instants} further instants: {acknowledged} \
             acknowledged records, {checked} checks, 0 lost"
        )
    }
}

/// A run that has ended.
struct EndedRun {
    journal: WriteJournal,
    /// Commands with a 202, each with the latest instant at which the 202 can have arrived.
    acked: Vec<(usize, String, usize)>,
    console: String,
}

impl<'a> Campaign<'a> {
    /// Creates a machine with an empty disk, and does not start it.
    pub fn new(
        boot_files: &'a BootFiles,
        guest: &'a GuestConfig,
        random: &'a mut SeededRng,
        counts: &'a mut CampaignStats,
    ) -> Self {
        let dir = scratch::dir("power");
        let disk = image::blank(dir.path());
        boot_files.write_initramfs(&dir.path().join(INITRAMFS), guest);
        Self { boot_files, guest, random, counts, dir, disk, sent: SentCommands::new() }
    }

    /// Runs the machine until a power cut, and checks the disk. The error describes a violation.
    pub fn run_cycle(&mut self) -> Result<(), String> {
        self.counts.cuts += 1;
        let run = self.run_until_cut()?;
        self.check(&run).map_err(|wrong| format!("{wrong}\n--- the machine's console:\n{}", run.console))
    }

    /// Boots the machine. If the kernel stops before it has mounted the disk, the boot is repeated, because the daemon
    /// is not the cause.
    pub fn boot(&mut self) -> VirtualMachine {
        let disk = std::mem::take(&mut self.disk);
        let initramfs = self.dir.path().join(INITRAMFS);
        for _ in 0..MAX_BOOT_ATTEMPTS {
            let machine =
                VirtualMachine::boot(&self.boot_files.kernel(), &initramfs, disk.clone(), self.dir.path());
            if machine.await_mount() {
                return machine;
            }
            println!("a machine stopped before it mounted its disk:\n{}", machine.cut().1);
        }
        panic!("the machine did not mount its disk in {MAX_BOOT_ATTEMPTS} boots");
    }

    /// The counters so far.
    pub fn counts(&self) -> &CampaignStats {
        self.counts
    }

    /// All commands sent in these runs.
    pub fn sent(&self) -> &SentCommands {
        &self.sent
    }

    /// Boots the machine, puts it under load, and cuts its power.
    fn run_until_cut(&mut self) -> Result<EndedRun, String> {
        let mut machine = self.boot();
        if self.random.below(CUT_AT_START) == 0 {
            machine.await_instant(1 + self.random.below(MAX_START_EVENTS))?;
            self.counts.at_start += 1;
            let (journal, console) = machine.cut();
            return Ok(EndedRun { journal, acked: Vec::new(), console });
        }
        machine.await_ready()?;
        self.counts.checked +=
            recovered::check_acknowledged(&machine.address(), &self.sent, ASKED_IN_MACHINE)?;
        let acked = Arc::new(Mutex::new(Vec::new()));
        let mut plan = LoadOptions::new(machine.address());
        (plan.prefix, plan.padding_bytes) = (format!("cut{}-", self.counts.cuts), FILLER_BYTES);
        let (disk, to) = (machine.disk(), Arc::clone(&acked));
        // The response arrived before the instant is read.
        plan.on_accepted = Some(Arc::new(move |key, number| {
            to.lock().unwrap().push((disk.instant(), key.to_owned(), number));
        }));
        let load = Load::start(&plan);
        load.await_accepted_or(100 + self.random.below(900) as u64, CUT_TIMEOUT);
        let (journal, console) = machine.cut();
        let mut sent = load.stop();
        let acked = std::mem::take(&mut *acked.lock().unwrap());
        self.counts.acknowledged += acked.len();
        self.sent.append(&mut sent);
        Ok(EndedRun { journal, acked, console })
    }

    /// Checks the disk after a cut at the end of the journal, from which the next run continues, and at other
    /// instants.
    fn check(&mut self, run: &EndedRun) -> Result<(), String> {
        let answered = run.acked.iter().map(|(instant, ..)| *instant);
        let answered: Vec<_> = answered.filter(|instant| *instant <= run.journal.end()).collect();
        for _ in 0..CHECKED_INSTANTS {
            let instant = run.journal.choose(&answered, self.random);
            let mut required = self.sent.clone();
            for (_, key, number) in run.acked.iter().filter(|(acked, ..)| *acked > instant) {
                required.get_mut(key).expect("it was sent")[*number] = None;
            }
            self.check_at(&run.journal, instant, &required)?;
            self.counts.instants += 1;
        }
        self.disk = self.check_at(&run.journal, run.journal.end(), &self.sent.clone())?;
        Ok(())
    }

    fn check_at(
        &mut self,
        journal: &WriteJournal,
        instant: usize,
        required: &SentCommands,
    ) -> Result<Vec<u8>, String> {
        let (disk, how) = journal.content_at(instant, self.random);
        let known = ExpectedCommands { required, sent: &self.sent };
        let found = recovered::check(&self.guest.binary, &disk, known);
        self.counts.checked += found.map_err(|wrong| format!("{how}: {wrong}"))?;
        Ok(disk)
    }
}
