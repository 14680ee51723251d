//! Profiles of this process in the format of pprof: protocol buffers, compressed with gzip.
//!
//! - `cpu`: samples of the threads that run, for some seconds;
//! - `heap`: what is allocated, sampled by the allocator since the start of the process;
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

/// Takes one profile of each sort at a time. Clones share the turns.
#[derive(Clone, Default)]
pub struct Profiler {
    cpu: Arc<Mutex<()>>,
    heap: Arc<Mutex<()>>,
}

/// The right to take a profile, until it is dropped.
pub struct ProfilePermit(OwnedMutexGuard<()>);

impl Profiler {
    /// The turn for a CPU profile.
    pub fn cpu(&self) -> Result<ProfilePermit, ProfileError> {
        acquire(&self.cpu)
    }

    /// The turn for a heap profile.
    pub fn heap(&self) -> Result<ProfilePermit, ProfileError> {
        acquire(&self.heap)
    }
}

fn acquire(of: &Arc<Mutex<()>>) -> Result<ProfilePermit, ProfileError> {
    Arc::clone(of).try_lock_owned().map(ProfilePermit).map_err(|_| ProfileError::Busy)
}

impl ProfilePermit {
    /// Samples the threads that run for this long. Ends early if the returned future is dropped.
    pub async fn take_cpu(self, duration: Duration) -> Result<Vec<u8>, ProfileError> {
        let (alive, caller) = mpsc::channel();
        let taken = self.run_blocking(move || cpu::take(duration, &caller)).await;
        drop(alive);
        taken
    }

    /// What is allocated now.
    pub async fn take_heap(self) -> Result<Vec<u8>, ProfileError> {
        self.run_blocking(heap::take).await
    }

    /// Symbols are read from files. The turn ends with the work, also if nobody waits for it any more.
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
