//! Profiles of this process in the format of pprof: protocol buffers, compressed with gzip.
//!
//! - `cpu`: samples of the running threads, for some seconds;
//! - `heap`: current allocations, sampled by the allocator since the start of the process;
//! - `format`: the messages of `profile.proto` that a CPU profile needs.

mod cpu;
mod error;
mod format;
mod heap;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

pub use error::ProfileError;

/// Takes profiles, at most one of each sort at a time. Clones share this limit.
#[derive(Clone, Default)]
pub struct Profiler {
    cpu: Arc<Mutex<()>>,
    heap: Arc<Mutex<()>>,
}

/// Permit to take one profile. Dropping it releases the permit.
pub struct ProfilePermit(OwnedMutexGuard<()>);

impl Profiler {
    /// Acquires the permit for a CPU profile.
    pub fn cpu(&self) -> Result<ProfilePermit, ProfileError> {
        acquire(&self.cpu)
    }

    /// Acquires the permit for a heap profile.
    pub fn heap(&self) -> Result<ProfilePermit, ProfileError> {
        acquire(&self.heap)
    }
}

fn acquire(of: &Arc<Mutex<()>>) -> Result<ProfilePermit, ProfileError> {
    Arc::clone(of).try_lock_owned().map(ProfilePermit).map_err(|_| ProfileError::Busy)
}

impl ProfilePermit {
    /// Samples the running threads for `duration`. Ends early if the returned future is dropped.
    pub async fn take_cpu(self, duration: Duration) -> Result<Vec<u8>, ProfileError> {
        let (alive, caller) = mpsc::channel();
        let taken = self.run_blocking(move || cpu::take(duration, &caller)).await;
        drop(alive);
        taken
    }

    /// Profiles the current allocations.
    pub async fn take_heap(self) -> Result<Vec<u8>, ProfileError> {
        self.run_blocking(heap::take).await
    }

    /// Runs the work on a blocking thread, because it reads symbols from files. The permit is held until the work ends,
    /// even if the caller no longer waits.
    async fn run_blocking(
        self,
        take: impl FnOnce() -> Result<Vec<u8>, ProfileError> + Send + 'static,
    ) -> Result<Vec<u8>, ProfileError> {
        let taken = tokio::task::spawn_blocking(move || {
            let _turn = self.0;
            take()
        });
        taken.await.unwrap_or_else(|error| Err(ProfileError::failed(error)))
    }
}
