//! At-least-once delivery: each record is confirmed in the log as soon as Kafka confirms it.
//!
//! - `worker` runs the turns: its main reader, its catch-up reader, and the `topic_readers` of topics that must be
//!   sent slowly.
//! - `plain_sender` sends a record, or parks a partition or topic (`parked_partitions`) or a key (`parked_keys`).
//! - `unparking` releases parked records. `delivery` evaluates delivery reports.
//! - `reconnecting_producer` builds a new producer when one failed. `primed_partitions` records which partitions may
//!   have several records in flight.

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
