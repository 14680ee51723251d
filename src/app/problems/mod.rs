//! What the parts of a process say is wrong, put into words for the one list (`crate::problems`).
//!
//! Each function looks at a snapshot that its component offers, and returns at once. What needs the disk is looked at by
//! a thread of its own (`disk_checks`).

mod certificates;
mod delivery;
mod disk_checks;
mod files;
mod kafka;
mod log;
mod report;

pub(super) use certificates::certificates;
pub(super) use delivery::{Pause, consumer, delivery, limits, paused};
pub(super) use disk_checks::{DiskChecks, watch};
pub(super) use files::ConfiguredFiles;
pub(super) use kafka::{Cluster, kafka};
pub(super) use log::{FirstDamage, admission, log};
pub(super) use report::{dependency, last_error, report};
