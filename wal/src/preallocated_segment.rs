//! The next segment's file, zero-filled and flushed ahead of need, off the commit path.
//!
//! A flush into it then carries data and no metadata, and a full disk is noticed before anything is accepted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::fs::{File, Fs, OpenMode};
use crate::failpoint::Failpoint;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The file's name in the log's directory: not in `pending/`, where an operator looks for what waits.
pub const FILE: &str = "spare";
/// Written and flushed in pieces, so that a commit's flush never waits behind a whole segment of zeros.
const CHUNK: usize = 1 << 20;

/// Why there is no spare file.
#[derive(Debug)]
pub enum PreallocateError {
    /// Filling it would leave less than the reserve.
    OutOfSpace {
        /// Bytes free.
        free: u64,
        /// Bytes needed, reserve included.
        needed: u64,
    },
    /// The disk did not take it.
    Io(io::Error),
}

impl PreallocateError {
    /// Whether giving up files would help.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::OutOfSpace { .. } => true,
            Self::Io(e) => matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
        }
    }
}

impl std::fmt::Display for PreallocateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfSpace { free, needed } => {
                write!(f, "{free} bytes are free; the next segment and the reserve need {needed}")
            }
            Self::Io(e) => write!(f, "the next segment cannot be filled: {e}"),
        }
    }
}

/// Makes the spare file: zero-filled, flushed, under a name of its own.
pub fn prepare(fs: &dyn Fs, dir: &Path, size: u64, reserve: u64) -> Result<Arc<dyn File>, PreallocateError> {
    let free = fs.free_space(dir).map_err(PreallocateError::Io)?;
    let needed = size.saturating_add(reserve);
    if free < needed {
        return Err(PreallocateError::OutOfSpace { free, needed });
    }
    let path = dir.join(FILE);
    fill(fs, &path, size).map_err(|e| {
        // Whatever was filled would keep the disk full. It holds nothing; if this fails too, the next start does it.
        let _ = fs.remove(&path);
        PreallocateError::Io(e)
    })
}

fn fill(fs: &dyn Fs, path: &Path, size: u64) -> io::Result<Arc<dyn File>> {
    let file = fs.open(path, OpenMode::Create)?;
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let piece = (size - at).min(CHUNK as u64) as usize;
        file.write_all_at(&zeros[..piece], at)?;
        file.sync_data()?;
        at += piece as u64;
    }
    file.sync_all()?;
    Ok(file)
}

/// Hands the spare file from the thread that fills it to the writer.
#[derive(Default)]
pub struct PreallocatedSegment {
    state: Mutex<PreallocationState>,
    changed: Condvar,
}

#[derive(Default)]
enum PreallocationState {
    /// There is none, and the name is free.
    #[default]
    Requested,
    Ready(Arc<dyn File>),
    /// The writer has it and has not renamed it yet: whoever filled another one now would empty this one.
    Taken,
    /// The last attempt failed.
    OutOfSpace,
}

/// Why there is no next segment at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentUnavailable {
    /// It is being filled.
    Filling,
    /// It cannot be filled: the disk is full, or the system is short of something.
    OutOfSpace,
}

impl PreallocatedSegment {
    /// Takes the file, without waiting for one.
    pub fn take(&self) -> Result<Arc<dyn File>, SegmentUnavailable> {
        let mut slot = self.lock_state();
        match &*slot {
            PreallocationState::Ready(file) => {
                let file = Arc::clone(file);
                *slot = if Failpoint::SpareFilledAnew.is_set() {
                    PreallocationState::Requested
                } else {
                    PreallocationState::Taken
                };
                Ok(file)
            }
            PreallocationState::OutOfSpace => Err(SegmentUnavailable::OutOfSpace),
            PreallocationState::Requested | PreallocationState::Taken => Err(SegmentUnavailable::Filling),
        }
    }

    /// Why `take` would fail now; `None` if it would not.
    pub fn unavailable(&self) -> Option<SegmentUnavailable> {
        match &*self.lock_state() {
            PreallocationState::Ready(_) => None,
            PreallocationState::OutOfSpace => Some(SegmentUnavailable::OutOfSpace),
            PreallocationState::Requested | PreallocationState::Taken => Some(SegmentUnavailable::Filling),
        }
    }

    /// Blocks while a file is being filled, for `patience` at most. Says whether one is ready.
    pub fn wait_while_filling(&self, patience: Duration) -> bool {
        let filling = |slot: &mut PreallocationState| {
            matches!(slot, PreallocationState::Requested | PreallocationState::Taken)
        };
        let waited = self.changed.wait_timeout_while(self.lock_state(), patience, filling);
        matches!(*waited, PreallocationState::Ready(_))
    }

    /// The file that was taken has its own name now: another one may be filled.
    pub fn mark_renamed(&self) {
        self.set(PreallocationState::Requested);
    }

    /// Hands a file over.
    pub fn put(&self, file: Arc<dyn File>) {
        self.set(PreallocationState::Ready(file));
    }

    /// Says that there is no room.
    pub fn set_out_of_space(&self) {
        self.set(PreallocationState::OutOfSpace);
    }

    /// Blocks until a file is wanted, or `timeout` is over. Says whether one is.
    pub fn wait_for_request(&self, timeout: Duration) -> bool {
        let wanted = |slot: &PreallocationState| {
            matches!(slot, PreallocationState::Requested | PreallocationState::OutOfSpace)
        };
        let slot = self.lock_state();
        let waited = self.changed.wait_timeout_while(slot, timeout, |slot| !wanted(slot));
        wanted(&waited)
    }

    fn set(&self, to: PreallocationState) {
        let told = !(Failpoint::SpareNotTold.is_set() && matches!(to, PreallocationState::Ready(_)));
        *self.lock_state() = to;
        if told {
            self.changed.notify_all();
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, PreallocationState> {
        self.state.lock()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fs::RealFs;
    use super::*;

    /// Without it, a busy disk made the filler empty the file that the writer was about to rename.
    #[test]
    pub fn a_taken_file_is_not_filled_anew_before_it_has_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let slot = PreallocatedSegment::default();
        assert!(slot.wait_for_request(Duration::ZERO));
        slot.put(prepare(&RealFs, dir.path(), 4096, 0).unwrap());
        assert!(!slot.wait_for_request(Duration::ZERO), "one is ready");
        slot.take().map(drop).unwrap();
        assert!(!slot.wait_for_request(Duration::ZERO), "it still has the name");
        assert_eq!(slot.take().map(drop), Err(SegmentUnavailable::Filling));
        slot.mark_renamed();
        assert!(slot.wait_for_request(Duration::ZERO));
    }
}
