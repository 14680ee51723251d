//! The share of requests that are sampled.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number from 0 to 1, once it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleRatio(pub f64);

/// A configuration is compared with itself. It has no NaN: see [`SampleRatio::is_valid`].
impl Eq for SampleRatio {}

impl SampleRatio {
    /// Whether it is a share.
    pub fn is_valid(self) -> bool {
        (0.0..=1.0).contains(&self.0)
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
