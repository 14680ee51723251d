//! Why there is no profile.

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// One at a time: two would count each other's samples.
    #[error("another profile is being taken")]
    Busy,
    /// The allocator records nothing.
    #[error("heap profiling is off")]
    HeapOff,
    /// This build has an allocator that cannot record.
    #[error("this build has no heap profiling")]
    HeapNotBuilt,
    /// The system or a library failed.
    #[error("{0}")]
    Failed(String),
}

impl ProfileError {
    /// Of any error of a library.
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}
