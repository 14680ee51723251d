//! The lives of a machine on one disk, each ended by a power cut, and what is held against the oracle: this side of
//! the machine's network, where every answer is written down when it arrives.

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

/// Lives of one disk. Then another begins with an empty one: the log and the time to check it grow with each.
pub const CUTS_PER_DISK: usize = 8;

/// Instants of each life at which power is cut again, on the disk's tape.
const CHECKED_INSTANTS: usize = 12;

/// One life of so many is cut before the daemon is ready.
const CUT_AT_START: usize = 4;

/// Most writes and flushes a start is given before such a cut.
const MAX_START_EVENTS: usize = 60;

/// How often a machine that stands still before it has mounted its disk is given power again.
const MAX_BOOT_ATTEMPTS: usize = 3;

/// A machine on a busy host is cut before so many commands were accepted as were meant to be.
const CUT_TIMEOUT: Duration = Duration::from_secs(30);

/// The file's name.
const INITRAMFS: &str = "initramfs";

/// Commands a machine is asked for after its boot: it answers 400 a second. On the host all are looked for.
const ASKED_IN_MACHINE: usize = 400;

/// A machine whose power is cut again and again.
pub struct Campaign<'a> {
    kit: &'a BootFiles,
    guest: &'a GuestConfig,
    random: &'a mut SeededRng,
    counts: &'a mut CampaignStats,
    dir: TempDir,
    disk: Vec<u8>,
    sent: SentCommands,
}

/// What was done and seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct CampaignStats {
    /// Machines killed.
    pub cuts: usize,
    /// Of those, before the daemon was ready.
    pub at_start: usize,
    /// Further instants of their lives, each checked on an image of its own.
    pub instants: usize,
    /// 202s.
    pub acknowledged: usize,
    /// How often one of those was looked for after a cut, and found with its content.
    pub checked: usize,
}

impl fmt::Display for CampaignStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, at_start, instants, acknowledged, checked } = self;
        write!(
            f,
            "{cuts} power cuts ({at_start} during a start) and {instants} further instants: {acknowledged} \
             acknowledged records, looked for {checked} times, lost 0"
        )
    }
}

/// A life that has ended.
struct EndedRun {
    tape: WriteJournal,
    /// Its 202s, each with the instant by which it had arrived.
    heard: Vec<(usize, String, usize)>,
    console: String,
}

impl<'a> Campaign<'a> {
    /// A machine with an empty disk; nothing runs yet.
    pub fn new(
        kit: &'a BootFiles,
        guest: &'a GuestConfig,
        random: &'a mut SeededRng,
        counts: &'a mut CampaignStats,
    ) -> Self {
        let dir = scratch::dir("power");
        let disk = image::blank(dir.path());
        kit.write_initramfs(&dir.path().join(INITRAMFS), guest);
        Self { kit, guest, random, counts, dir, disk, sent: SentCommands::new() }
    }

    /// One life, ended by a power cut. What is wrong afterwards, if anything.
    pub fn run_cycle(&mut self) -> Result<(), String> {
        self.counts.cuts += 1;
        let life = self.run_until_cut()?;
        self.check(&life).map_err(|wrong| format!("{wrong}\n--- the machine's console:\n{}", life.console))
    }

    /// Gives power. A kernel that stands still before it has touched the disk says nothing about the daemon: once more.
    pub fn boot(&mut self) -> VirtualMachine {
        let disk = std::mem::take(&mut self.disk);
        let initramfs = self.dir.path().join(INITRAMFS);
        for _ in 0..MAX_BOOT_ATTEMPTS {
            let machine = VirtualMachine::boot(&self.kit.kernel(), &initramfs, disk.clone(), self.dir.path());
            if machine.await_mount() {
                return machine;
            }
            println!("a machine stood still before it mounted its disk:\n{}", machine.cut().1);
        }
        panic!("no machine mounts the disk, {MAX_BOOT_ATTEMPTS} times");
    }

    /// What was done and seen so far.
    pub fn counts(&self) -> &CampaignStats {
        self.counts
    }

    /// All that was sent in these lives.
    pub fn sent(&self) -> &SentCommands {
        &self.sent
    }

    /// Boots, works, cuts.
    fn run_until_cut(&mut self) -> Result<EndedRun, String> {
        let mut machine = self.boot();
        if self.random.below(CUT_AT_START) == 0 {
            machine.await_instant(1 + self.random.below(MAX_START_EVENTS))?;
            self.counts.at_start += 1;
            let (tape, console) = machine.cut();
            return Ok(EndedRun { tape, heard: Vec::new(), console });
        }
        machine.await_ready()?;
        self.counts.checked +=
            recovered::check_acknowledged(&machine.address(), &self.sent, ASKED_IN_MACHINE)?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut plan = LoadOptions::new(machine.address());
        (plan.prefix, plan.padding_bytes) = (format!("cut{}-", self.counts.cuts), FILLER_BYTES);
        let (disk, to) = (machine.disk(), Arc::clone(&heard));
        // The answer is older than the instant.
        plan.on_accepted = Some(Arc::new(move |key, number| {
            to.lock().unwrap().push((disk.instant(), key.to_owned(), number));
        }));
        let load = Load::start(&plan);
        load.await_accepted_or(100 + self.random.below(900) as u64, CUT_TIMEOUT);
        let (tape, console) = machine.cut();
        let mut sent = load.stop();
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        self.counts.acknowledged += heard.len();
        self.sent.append(&mut sent);
        Ok(EndedRun { tape, heard, console })
    }

    /// Cuts the tape at its end, which is where the next life goes on, and at other instants.
    fn check(&mut self, life: &EndedRun) -> Result<(), String> {
        let answered = life.heard.iter().map(|(instant, ..)| *instant);
        let answered: Vec<_> = answered.filter(|instant| *instant <= life.tape.end()).collect();
        for _ in 0..CHECKED_INSTANTS {
            let instant = life.tape.choose(&answered, self.random);
            let mut owed = self.sent.clone();
            for (_, key, number) in life.heard.iter().filter(|(heard, ..)| *heard > instant) {
                owed.get_mut(key).expect("it was sent")[*number] = None;
            }
            self.check_at(&life.tape, instant, &owed)?;
            self.counts.instants += 1;
        }
        self.disk = self.check_at(&life.tape, life.tape.end(), &self.sent.clone())?;
        Ok(())
    }

    fn check_at(
        &mut self,
        tape: &WriteJournal,
        instant: usize,
        owed: &SentCommands,
    ) -> Result<Vec<u8>, String> {
        let (disk, how) = tape.content_at(instant, self.random);
        let known = ExpectedCommands { owed, sent: &self.sent };
        let found = recovered::check(&self.guest.binary, &disk, known);
        self.counts.checked += found.map_err(|wrong| format!("{how}: {wrong}"))?;
        Ok(disk)
    }
}
