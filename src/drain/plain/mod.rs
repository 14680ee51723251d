//! At least once: records are confirmed one by one as they come back.
//!
//! - `worker` turns: its head, its catch-up side, and the `topic_readers` of topics that must go slowly.
//! - `plain_sender` sends a record, or parks a partition or topic (`parked_partitions`) or a key (`parked_keys`).
//! - `unparking` lets parked records go on. `delivery` judges delivery reports.
//! - `reconnecting_producer` builds a new producer when one failed. `primed_partitions` says which partitions may have
//!   several records on their way.

mod delivery;
mod parked_keys;
mod parked_partitions;
mod plain_sender;
mod primed_partitions;
mod reconnecting_producer;
mod topic_readers;
mod unparking;
mod worker;

pub(super) use worker::Worker;
