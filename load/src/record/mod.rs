//! What was measured.

mod cell;
mod recorder;
mod sample;

pub use cell::{Cell, histogram, record};
pub use recorder::{Recorder, Shape, Slot};
pub use sample::{Outcome, Sample};
