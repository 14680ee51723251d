//! A disk with a page cache, a journal of names and every fault we know of; what happens on it follows from a seed.
//!
//! A reader sees the page cache. A write is pending until its file is flushed; when the power fails each pending
//! sector survives or not, or is torn, and so does each change of a name, in an order the file system allows. A flush
//! that fails forgets what it should have written and calls it clean, as Linux does; the next life may still see it,
//! or the kernel has dropped the page by then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{Mutex, MutexGuard};

use super::rng::SeededRng;

pub const SECTOR: usize = 512;
/// No step of a life needs as many: a log that goes round in circles is stopped here.
const MAX_CALLS: u64 = 200_000;

/// Kills and power failures of all disks so far: what a run of many lives was worth.
pub static CRASHES: AtomicU64 = AtomicU64::new(0);

/// What can fail.
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

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    pub call: Call,
    /// So many calls of this kind still work.
    pub after: u64,
    /// Whether every later one fails too, until the next start.
    pub sticky: bool,
    /// `ENOSPC` instead of `EIO`.
    pub full: bool,
}

/// Which changes of names survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameDurability {
    /// A journal for all directories, as on ext4: the changes up to some moment.
    Journal,
    /// Each directory by itself: the changes up to some moment.
    EachDirectory,
    /// Any of them. No file system we know does this; a rename is whole even here.
    Any,
}

/// A change of a name that is pending.
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

/// A write that is pending.
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
    /// What a reader sees.
    pub view: Vec<u8>,
    /// What a crash cannot take.
    pub durable: Vec<u8>,
    /// Since the last flush.
    pub pending: Vec<PendingWrite>,
    /// Sectors that cannot be read until they are written.
    pub unreadable: BTreeSet<usize>,
}

/// All of it.
#[derive(Clone)]
pub struct State {
    pub inodes: Vec<Inode>,
    pub names: BTreeMap<PathBuf, usize>,
    pub durable_names: BTreeMap<PathBuf, usize>,
    pub pending_names: Vec<NameChange>,
    pub durability: NameDurability,
    /// Bytes of all named files.
    pub capacity: u64,
    /// Whether writes and reads come in pieces now and then, or are interrupted.
    pub partial_io: bool,
    pub rng: SeededRng,
    pub planned: Option<PlannedFault>,
    pub fired: Option<Call>,
    pub was_full: bool,
    /// Changing calls that still work before the process dies in the middle of its work.
    pub calls_left: Option<u64>,
    pub calls: u64,
}

/// The disk. Clones share it.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new(rules: NameDurability, capacity: u64, pieces: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            durability: rules,
            capacity,
            partial_io: pieces,
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

    /// A new step begins: chance follows from its seed alone, whatever came before.
    pub fn begin(&self, seed: u64) {
        let mut state = self.state();
        state.rng = SeededRng::new(seed);
        state.calls = 0;
        state.fired = None;
    }

    pub fn plan_fault(&self, trouble: PlannedFault) {
        self.state().planned = Some(trouble);
    }

    /// From the `calls`th changing call from now on the process is dead: whatever it does changes nothing.
    pub fn stop_after(&self, calls: u64) {
        self.state().calls_left = Some(calls);
    }

    pub fn has_stopped(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    /// Which call failed in this step, if one did.
    pub fn fired(&self) -> Option<Call> {
        self.state().fired
    }

    /// Calls in this step.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Whether the disk was ever full since this was last asked.
    pub fn was_full(&self) -> bool {
        std::mem::take(&mut self.state().was_full)
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// A copy of everything that would survive if the power failed now and nothing pending did.
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

    /// The process dies, the machine goes on. What a failed flush left in the page cache may be gone by the time
    /// somebody looks.
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

    /// The power fails and comes back.
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
            let fate = state.rng.below(4);
            for write in writes {
                state.survive(index, write, fate);
            }
        }
        state.drop_cache();
    }

    /// Does something during which nothing fails that was planned to.
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

    /// Replaces what lies in these directories by what lay there in another life.
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

    /// Spoils what lies on the disk, in one place. Says what and where; nothing if there is nothing to spoil.
    pub fn corrupt(&self, rot: Corruption) -> Option<(PathBuf, usize)> {
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
        match rot {
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

/// How bytes at rest are spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// One bit.
    Flip,
    /// A sector of zeros.
    Zero,
    /// What belongs to the same place in another file, removed ones included.
    Misdirected,
    /// A sector the disk cannot read.
    Unreadable,
}

impl State {
    /// The process that was to die or to see faults is gone.
    fn clear_faults(&mut self) {
        self.planned = None;
        self.calls_left = None;
    }

    /// After a crash a reader sees what the disk has.
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

    /// Fates of a file's pending writes: all survive, none, each sector by itself, each sector whole or torn.
    pub fn survive(&mut self, inode: usize, write: PendingWrite, fate: usize) {
        let (at, bytes) = match (write, fate) {
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
            let kept = match self.rng.below(if fate == 3 { 3 } else { 2 }) {
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
        assert!(self.calls < MAX_CALLS, "no end to the calls");
        match &mut self.calls_left {
            Some(0) if call != Call::Read => return Err(io::Error::other("the process is dead")),
            Some(left) if call != Call::Read => *left -= 1,
            _ => {}
        }
        let Some(trouble) = self.planned.as_mut().filter(|trouble| trouble.call == call) else {
            return Ok(());
        };
        if trouble.after > 0 {
            trouble.after -= 1;
            return Ok(());
        }
        let PlannedFault { sticky, full, .. } = *trouble;
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

    /// A place in a file, more likely one that says something than one in the middle of zeros.
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

    /// Now and then a read or a write is interrupted, or does less than it was asked to.
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

/// Writes into bytes, which grow if need be.
pub fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end && !bytes.is_empty() {
        to.resize(end, 0);
    }
    to.get_mut(at..end).unwrap_or_default().copy_from_slice(bytes);
}
