//! What is allocated, as jemalloc has sampled it.

use super::error::ProfileError;

/// Blocks for the time of a dump, which goes through a temporary file.
#[cfg(feature = "jemalloc")]
pub(super) fn take() -> Result<Vec<u8>, ProfileError> {
    // None unless the process was started with `prof:true`.
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or(ProfileError::HeapOff)?;
    let mut control = control.blocking_lock();
    if !control.activated() {
        return Err(ProfileError::HeapOff);
    }
    control.dump_pprof().map_err(ProfileError::failed)
}

/// The C library's allocator records nothing.
#[cfg(not(feature = "jemalloc"))]
pub(super) fn take() -> Result<Vec<u8>, ProfileError> {
    Err(ProfileError::HeapNotBuilt)
}
