//! At least once: records are confirmed one by one as they come back.
//!
//! - `worker` turns: its head, its catch-up side, and the `asides` of topics that must go slowly.
//! - `sender` sends, or holds back a partition or topic (`gates`) or a key (`slots`); `reopening` lets them go on.
//! - `outcome` judges results; `outlet` is a producer that is built anew when it failed.
//! - `introductions` says which partitions may have several records on their way.

mod asides;
mod gates;
mod introductions;
mod outcome;
mod outlet;
mod reopening;
mod sender;
mod slots;
mod worker;

pub(super) use worker::Worker;
