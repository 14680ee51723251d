//! A simulated disk with a page cache, a journal of names and every known kind of fault. A seed determines all its
//! behaviour.
//!
//! Readers see the page cache. A write is pending until its file is flushed. If the power fails, each pending sector
//! survives, is lost or is torn. Each pending change of a name survives or is lost, in an order that the file system
//! permits. A failed flush discards its writes and reports them as clean, as Linux does. The next run may still see
//! them, or the kernel may have dropped the page by then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{Mutex, MutexGuard};

use super::rng::SeededRng;

pub const SECTOR: usize = 512;
/// Maximum calls per step. More calls mean that the log is in an endless loop.
const MAX_CALLS: u64 = 200_000;

/// Kills and power failures of all disks so far.
pub static CRASHES: AtomicU64 = AtomicU64::new(0);

/// Kind of call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Flush,
    FlushDir,
    Create,
    Rename,
    Remove,
    SetLen,
}

/// A fault that will occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    pub call: Call,
    /// Calls of this kind that still succeed.
    pub after: u64,
    /// Whether every later call fails too, until the next start.
    pub sticky: bool,
    /// `ENOSPC` instead of `EIO`.
    pub full: bool,
}

/// The changes of names that survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameDurability {
    /// A journal for all directories, as on ext4: all changes up to some moment.
    Journal,
    /// A journal per directory: its changes up to some moment.
    EachDirectory,
    /// Any subset. No known file system does this. A rename is atomic even here.
    Any,
}

/// A pending change of a name.
#[derive(Clone, Debug)]
pub enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Move(PathBuf, PathBuf, usize),
}

impl NameChange {
    /// The directory whose flush makes it durable.
    pub fn dir(&self) -> &Path {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Move(_, path, _)) = self;
        path.parent().unwrap()
    }

    pub fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Unlink(path) => drop(names.remove(path)),
            Self::Move(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// A pending write.
#[derive(Clone)]
pub enum PendingWrite {
    Data(usize, Vec<u8>),
    Size(usize),
}

impl PendingWrite {
    pub fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Data(at, bytes) => put(to, *at, bytes),
            Self::Size(len) => to.resize(*len, 0),
        }
    }
}

/// A file.
#[derive(Clone, Default)]
pub struct Inode {
    /// Content for readers.
    pub view: Vec<u8>,
    /// Content that survives a crash.
    pub durable: Vec<u8>,
    /// Writes since the last flush.
    pub pending: Vec<PendingWrite>,
    /// Sectors that cannot be read until they are written.
    pub unreadable: BTreeSet<usize>,
}

/// State of the disk.
#[derive(Clone)]
pub struct State {
    pub inodes: Vec<Inode>,
    pub names: BTreeMap<PathBuf, usize>,
    pub durable_names: BTreeMap<PathBuf, usize>,
    pub pending_names: Vec<NameChange>,
    pub durability: NameDurability,
    /// Maximum bytes of all named files.
    pub capacity: u64,
    /// Whether some reads and writes are partial or interrupted.
    pub partial_io: bool,
    pub rng: SeededRng,
    pub planned: Option<PlannedFault>,
    pub fired: Option<Call>,
    pub was_full: bool,
    /// Changing calls that still succeed before the process crashes.
    pub calls_left: Option<u64>,
    pub calls: u64,
}

/// The disk. Clones share it.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new(durability: NameDurability, capacity: u64, partial_io: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            durability,
            capacity,
            partial_io,
            rng: SeededRng::new(0),
            planned: None,
            fired: None,
            was_full: false,
            calls_left: None,
            calls: 0,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Begins a step. Random choices depend on its seed only, not on earlier steps.
    pub fn begin(&self, seed: u64) {
        let mut state = self.state();
        state.rng = SeededRng::new(seed);
        state.calls = 0;
        state.fired = None;
    }

    pub fn plan_fault(&self, fault: PlannedFault) {
        self.state().planned = Some(fault);
    }

    /// After `calls` more changing calls, the process has crashed: no call changes the disk.
    pub fn stop_after(&self, calls: u64) {
        self.state().calls_left = Some(calls);
    }

    pub fn has_stopped(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    /// The kind of call that failed in this step, if any.
    pub fn fired(&self) -> Option<Call> {
        self.state().fired
    }

    /// Calls in this step.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Whether the disk was full since the previous call of this function.
    pub fn was_full(&self) -> bool {
        std::mem::take(&mut self.state().was_full)
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// A copy of the durable state, without pending changes.
    pub fn copy(&self) -> Self {
        let copy = Self(Arc::new(Mutex::new(self.state().clone())));
        {
            let mut state = copy.state();
            state.pending_names.clear();
            state.inodes.iter_mut().for_each(|inode| inode.pending.clear());
            state.drop_cache();
        }
        copy
    }

    /// The process is killed, and the machine continues. Pages that a failed flush left in the cache may be dropped
    /// before the next read.
    pub fn kill(&self) {
        CRASHES.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.clear_faults();
        for index in 0..state.inodes.len() {
            if state.rng.one_in(3) {
                let inode = &mut state.inodes[index];
                let mut view = inode.durable.clone();
                inode.pending.iter().for_each(|write| write.apply(&mut view));
                inode.view = view;
            }
        }
    }

    /// The power fails and returns.
    pub fn crash(&self) {
        CRASHES.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.clear_faults();
        let changes = std::mem::take(&mut state.pending_names);
        for change in state.surviving(changes) {
            change.apply(&mut state.durable_names);
        }
        for index in 0..state.inodes.len() {
            let writes = std::mem::take(&mut state.inodes[index].pending);
            let outcome = state.rng.below(4);
            for write in writes {
                state.survive(index, write, outcome);
            }
        }
        state.drop_cache();
    }

    /// Runs `act` without the planned faults.
    pub fn without_faults<T>(&self, act: impl FnOnce() -> T) -> T {
        let planned = {
            let mut state = self.state();
            (state.planned.take(), state.calls_left.take(), state.calls)
        };
        let done = act();
        let mut state = self.state();
        (state.planned, state.calls_left, state.calls) = planned;
        done
    }

    /// Replaces the contents of these directories with those of another disk.
    pub fn restore_dirs(&self, old: &Self, dirs: &[&Path]) {
        let old = old.state();
        let mut state = self.state();
        let inside = |path: &Path| dirs.iter().any(|dir| path.parent() == Some(dir));
        state.pending_names.clear();
        state.names.retain(|path, _| !inside(path));
        for (path, inode) in old.names.iter().filter(|(path, _)| inside(path)) {
            let index = state.inodes.len();
            state.inodes.push(old.inodes[*inode].clone());
            state.names.insert(path.clone(), index);
        }
        state.durable_names = state.names.clone();
    }

    /// Corrupts the disk in one place. Returns the file and the offset, or `None` if the disk has no suitable file.
    pub fn corrupt(&self, corruption: Corruption) -> Option<(PathBuf, usize)> {
        let mut state = self.state();
        let files: Vec<_> = state.durable_names.iter().map(|(path, inode)| (path.clone(), *inode)).collect();
        let in_use =
            |path: &Path| path.extension().is_none_or(|kind| kind == "wal") && !path.ends_with("spare");
        let files: Vec<_> = files
            .into_iter()
            .filter(|(path, inode)| in_use(path) && !state.inodes[*inode].durable.is_empty())
            .collect();
        if files.is_empty() {
            return None;
        }
        let (path, inode) = state.rng.pick(&files).clone();
        let at = state.random_offset(inode);
        let sector = at / SECTOR * SECTOR;
        let end = (sector + SECTOR).min(state.inodes[inode].durable.len());
        let count = state.inodes.len();
        let donor = state.rng.below(count);
        let bit = 1 << state.rng.below(8);
        let other = state.inodes[donor].durable.get(sector..end).map(<[u8]>::to_vec);
        let file = &mut state.inodes[inode];
        match corruption {
            Corruption::Flip => file.durable[at] ^= bit,
            Corruption::Zero => file.durable[sector..end].fill(0),
            Corruption::Misdirected => file.durable[sector..end].copy_from_slice(&other?),
            Corruption::Unreadable => drop(file.unreadable.insert(sector / SECTOR)),
        }
        file.view = file.durable.clone();
        let pending = std::mem::take(&mut file.pending);
        pending.iter().for_each(|write| write.apply(&mut file.view));
        file.pending = pending;
        Some((path, at))
    }
}

/// Kind of corruption of stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// One bit.
    Flip,
    /// A sector of zeros.
    Zero,
    /// A sector of the same offset in another file, which may be removed.
    Misdirected,
    /// A sector that the disk cannot read.
    Unreadable,
}

impl State {
    /// Removes planned faults and the planned crash.
    fn clear_faults(&mut self) {
        self.planned = None;
        self.calls_left = None;
    }

    /// After a crash, readers see the durable state.
    fn drop_cache(&mut self) {
        self.names = self.durable_names.clone();
        self.inodes.iter_mut().for_each(|inode| inode.view.clone_from(&inode.durable));
        self.clear_faults();
    }

    fn surviving(&mut self, changes: Vec<NameChange>) -> Vec<NameChange> {
        match self.durability {
            NameDurability::Journal => {
                let kept = self.rng.below(changes.len() + 1);
                changes.into_iter().take(kept).collect()
            }
            NameDurability::EachDirectory => {
                let dirs: BTreeSet<_> = changes.iter().map(|change| change.dir().to_owned()).collect();
                let mut left: BTreeMap<_, _> =
                    dirs.into_iter().map(|dir| (dir, self.rng.below(changes.len() + 1))).collect();
                let keep = |change: &NameChange| {
                    let left = left.get_mut(change.dir()).unwrap();
                    let kept = *left > 0;
                    *left = left.saturating_sub(1);
                    kept
                };
                changes.into_iter().filter(keep).collect()
            }
            NameDurability::Any => changes.into_iter().filter(|_| self.rng.one_in(2)).collect(),
        }
    }

    /// Applies the outcome of a crash to a pending write. Outcomes: 0 = all sectors survive; 1 = none; 2 = each sector
    /// survives or not; 3 = each sector survives, is lost or is torn.
    pub fn survive(&mut self, inode: usize, write: PendingWrite, outcome: usize) {
        let (at, bytes) = match (write, outcome) {
            (_, 1) => return,
            (write, 0) => return write.apply(&mut self.inodes[inode].durable),
            (PendingWrite::Size(len), _) => {
                if self.rng.one_in(2) {
                    self.inodes[inode].durable.resize(len, 0);
                }
                return;
            }
            (PendingWrite::Data(at, bytes), _) => (at, bytes),
        };
        let mut done = 0;
        while done < bytes.len() {
            let len = (SECTOR - (at + done) % SECTOR).min(bytes.len() - done);
            let kept = match self.rng.below(if outcome == 3 { 3 } else { 2 }) {
                0 => 0,
                1 => len,
                _ => self.rng.below(len + 1),
            };
            put(&mut self.inodes[inode].durable, at + done, &bytes[done..done + kept]);
            done += len;
        }
    }

    pub fn call(&mut self, call: Call) -> io::Result<()> {
        self.calls += 1;
        assert!(self.calls < MAX_CALLS, "endless loop");
        match &mut self.calls_left {
            Some(0) if call != Call::Read => return Err(io::Error::other("the process is dead")),
            Some(left) if call != Call::Read => *left -= 1,
            _ => {}
        }
        let Some(fault) = self.planned.as_mut().filter(|fault| fault.call == call) else {
            return Ok(());
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let PlannedFault { sticky, full, .. } = *fault;
        if !sticky {
            self.planned = None;
        }
        self.fired = Some(call);
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        Err(io::Error::from_raw_os_error(if full { ENOSPC } else { EIO }))
    }

    pub fn used(&self) -> u64 {
        let inodes: BTreeSet<_> = self.names.values().collect();
        inodes.into_iter().map(|&inode| self.inodes[inode].view.len() as u64).sum()
    }

    /// A random offset in a file. Bytes that are not zero are more likely.
    fn random_offset(&mut self, inode: usize) -> usize {
        let len = self.inodes[inode].durable.len();
        let any = self.rng.below(len);
        for _ in 0..8 {
            let at = self.rng.below(len);
            if self.inodes[inode].durable[at] != 0 {
                return at;
            }
        }
        any
    }

    /// Returns the length of a read or write. Sometimes it is interrupted, or shorter than requested.
    pub fn partial_len(&mut self, len: usize) -> io::Result<usize> {
        match self.partial_io {
            true if self.rng.one_in(40) => Err(io::ErrorKind::Interrupted.into()),
            true if len > 1 && self.rng.one_in(40) => Ok(1 + self.rng.below(len - 1)),
            _ => Ok(len),
        }
    }

    pub fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

/// Writes into `to`, which grows if necessary.
pub fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end && !bytes.is_empty() {
        to.resize(end, 0);
    }
    to.get_mut(at..end).unwrap_or_default().copy_from_slice(bytes);
}
