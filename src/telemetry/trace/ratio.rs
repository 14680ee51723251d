//! Fraction of requests that are sampled.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fraction from 0 to 1, after validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleRatio(pub f64);

/// Configurations are compared. A valid one holds no NaN: see [`SampleRatio::is_valid`].
impl Eq for SampleRatio {}

impl SampleRatio {
    /// Whether the value is from 0 to 1.
    pub fn is_valid(self) -> bool {
        (0.0..=1.0).contains(&self.0)
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
