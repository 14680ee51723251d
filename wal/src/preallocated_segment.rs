//! Preallocates the next segment: zero-filled and flushed in advance, outside the commit path.
//!
//! A flush into it then writes data and no metadata. A full disk is detected before anything is accepted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::fs::{File, Fs, OpenMode};
use crate::failpoint::Failpoint;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// File name in the log's directory. It is not in `pending/`, where operators look for undelivered segments.
pub const FILE: &str = "spare";
/// The file is written and flushed in chunks, so that a commit's flush never waits for a whole segment of zeros.
const CHUNK: usize = 1 << 20;

/// Why a segment could not be preallocated.
#[derive(Debug)]
pub enum PreallocateError {
    /// Less than the reserve would stay free.
    OutOfSpace {
        /// Free bytes.
        free: u64,
        /// Needed bytes, including the reserve.
        needed: u64,
    },
    /// An I/O error.
    Io(io::Error),
}

impl PreallocateError {
    /// Whether deleting files would help.
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

/// Preallocates a segment: a zero-filled, flushed file with its own name.
pub fn prepare(fs: &dyn Fs, dir: &Path, size: u64, reserve: u64) -> Result<Arc<dyn File>, PreallocateError> {
    let free = fs.free_space(dir).map_err(PreallocateError::Io)?;
    let needed = size.saturating_add(reserve);
    if free < needed {
        return Err(PreallocateError::OutOfSpace { free, needed });
    }
    let path = dir.join(FILE);
    fill(fs, &path, size).map_err(|e| {
        // A partly filled file would keep the disk full. It has no content; if this fails too, the next start removes
        // it.
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

/// Passes the preallocated segment from the thread that fills it to the writer.
#[derive(Default)]
pub struct PreallocatedSegment {
    state: Mutex<PreallocationState>,
    changed: Condvar,
}

#[derive(Default)]
enum PreallocationState {
    /// None is ready, and the file name is unused.
    #[default]
    Requested,
    Ready(Arc<dyn File>),
    /// The writer has it and has not renamed it yet. Preallocating another one now would empty this one.
    Taken,
    /// The last attempt failed.
    OutOfSpace,
}

/// Why no next segment is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentUnavailable {
    /// It is being preallocated.
    Filling,
    /// It cannot be preallocated: the disk is full, or the system is short of another resource.
    OutOfSpace,
}

impl PreallocatedSegment {
    /// Takes the preallocated segment. Does not block.
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

    /// Why `take` would fail now; `None` if it would succeed.
    pub fn unavailable(&self) -> Option<SegmentUnavailable> {
        match &*self.lock_state() {
            PreallocationState::Ready(_) => None,
            PreallocationState::OutOfSpace => Some(SegmentUnavailable::OutOfSpace),
            PreallocationState::Requested | PreallocationState::Taken => Some(SegmentUnavailable::Filling),
        }
    }

    /// Blocks while a segment is being preallocated, for at most `timeout`. Returns whether one is ready.
    pub fn wait_while_filling(&self, timeout: Duration) -> bool {
        let filling = |slot: &mut PreallocationState| {
            matches!(slot, PreallocationState::Requested | PreallocationState::Taken)
        };
        let waited = self.changed.wait_timeout_while(self.lock_state(), timeout, filling);
        matches!(*waited, PreallocationState::Ready(_))
    }

    /// Reports that the taken file was renamed, so that another one may be preallocated.
    pub fn mark_renamed(&self) {
        self.set(PreallocationState::Requested);
    }

    /// Makes a preallocated segment available.
    pub fn put(&self, file: Arc<dyn File>) {
        self.set(PreallocationState::Ready(file));
    }

    /// Reports that the disk is full.
    pub fn set_out_of_space(&self) {
        self.set(PreallocationState::OutOfSpace);
    }

    /// Blocks until a segment is requested, or `timeout` has passed. Returns whether one is requested.
    pub fn wait_for_request(&self, timeout: Duration) -> bool {
        let wanted = |slot: &PreallocationState| {
            matches!(slot, PreallocationState::Requested | PreallocationState::OutOfSpace)
        };
        let slot = self.lock_state();
        let waited = self.changed.wait_timeout_while(slot, timeout, |slot| !wanted(slot));
        wanted(&waited)
    }

    fn set(&self, to: PreallocationState) {
        let notifies = !(Failpoint::SpareNotTold.is_set() && matches!(to, PreallocationState::Ready(_)));
        *self.lock_state() = to;
        if notifies {
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

    /// Prevents a bug: on a slow disk, a second preallocation emptied the file that the writer was about to rename.
    #[test]
    pub fn a_taken_file_is_not_refilled_before_its_rename() {
        let dir = tempfile::tempdir().unwrap();
        let slot = PreallocatedSegment::default();
        assert!(slot.wait_for_request(Duration::ZERO));
        slot.put(prepare(&RealFs, dir.path(), 4096, 0).unwrap());
        assert!(!slot.wait_for_request(Duration::ZERO), "one is ready");
        slot.take().map(drop).unwrap();
        assert!(!slot.wait_for_request(Duration::ZERO), "the taken file is not renamed yet");
        assert_eq!(slot.take().map(drop), Err(SegmentUnavailable::Filling));
        slot.mark_renamed();
        assert!(slot.wait_for_request(Duration::ZERO));
    }
}
