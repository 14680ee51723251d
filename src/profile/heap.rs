//! Heap profile: current allocations, as sampled by jemalloc.

use super::error::ProfileError;

/// Takes the profile. Blocks for the duration of a dump, which is written to a temporary file.
#[cfg(feature = "jemalloc")]
pub(super) fn take() -> Result<Vec<u8>, ProfileError> {
    // `None` unless the process was started with `prof:true`.
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or(ProfileError::HeapOff)?;
    let mut control = control.blocking_lock();
    if !control.activated() {
        return Err(ProfileError::HeapOff);
    }
    control.dump_pprof().map_err(ProfileError::failed)
}

/// The allocator of the C library does not record allocations.
#[cfg(not(feature = "jemalloc"))]
pub(super) fn take() -> Result<Vec<u8>, ProfileError> {
    Err(ProfileError::HeapNotBuilt)
}
