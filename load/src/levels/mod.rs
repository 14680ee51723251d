//! Service levels: what a run has to reach.

mod check;
mod file;
mod limit;

pub use check::{Check, judge};
pub use file::{Levels, Names, read};
