//! Users that register, log in and read.

mod operations;
mod person;
mod population;

pub use operations::{NAMES, UserOperation};
pub use population::Population;
