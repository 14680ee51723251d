//! Service levels of a run.

mod check;
mod file;
mod quantity;

pub use check::{LevelCheck, check_levels};
pub use file::{Levels, Names, read};
