//! Collects the problems of all components and words them for the list in `crate::problems`.
//!
//! Each function reads a snapshot of its component and does not block. A separate thread runs the checks that need disk
//! I/O (`disk_checks`).

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
