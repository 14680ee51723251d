//! Lanes, workers, dead letters.

mod bell;
mod config;
mod gates;
mod partition;
mod suspects;
mod topics;
mod window;

pub use config::Config;
pub use config::Guarantee;
pub use config::Workers;
