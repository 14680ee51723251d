//! Errors of profiling.

/// Why a profile could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Only one profile at a time, because two would count each other's samples.
    #[error("another profile is being taken")]
    Busy,
    /// The allocator does not record allocations.
    #[error("heap profiling is off")]
    HeapOff,
    /// The allocator of this build cannot record allocations.
    #[error("this build has no heap profiling")]
    HeapNotBuilt,
    /// The operating system or a library failed.
    #[error("{0}")]
    Failed(String),
}

impl ProfileError {
    /// Wraps an error of a library.
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}
