//! The list of current problems. The status page, `/readyz`, `/admin/backlog`, `wal-tools status`, systemd, the log and
//! the metrics all show this list, so they cannot disagree.
//!
//! An observer describes the present as a set of [`Observation`]s. [`Problems::refresh`] compares that set with the
//! list:
//! a new observation starts a problem, and a missing one ends it. Components therefore never report an end.
//!
//! - `code`: the stable names; `observation`: the input of observers; `registry`: the list; `metrics`: its gauges;
//!   `summary`: the list in one line; `format`: numbers and durations.

mod code;
mod format;
mod metrics;
mod observation;
mod registry;
mod summary;

pub use code::{Code, Severity};
pub use format::{number, span};
pub use metrics::ProblemMetrics;
pub use observation::Observation;
pub use registry::{Problem, Problems};
pub use summary::summary;
