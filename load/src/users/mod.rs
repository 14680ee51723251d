//! Users that register, log in and read.

mod operations;
mod population;
mod test_users;

pub use operations::{NAMES, UserOperation};
pub use population::Population;
