//! Exactly-once delivery: every transaction contains records and the positions after them.
//!
//! 1. *Takeover* (`takeover`) runs before anything is sent. The number of ids is made durable in the log. Every id
//!    that may be in use is fenced. Only then are the positions read, up to an end that is determined after the
//!    fencing. Records that Kafka has are marked as done. The log's new epoch is made durable in the log. One
//!    transaction (the *announcement*) rewrites all messages of this log with the new incarnation. Then the log
//!    records that the epoch delivers. From then on, a message of any other incarnation means that another copy took
//!    over.
//! 2. *Producer* (`tx_producer`): each worker makes its producer the only one of its id and reads its own message.
//!    The same step resolves a commit of unknown outcome: either the message is present, or it is not.
//! 3. *Transaction* (`worker`, `tx_sender`, `delivery`): begin, records, positions, all delivery reports, commit.
//!    Only then are its records `sent`. A transaction that fails before the commit is aborted, and sent again from
//!    its first record. A record that Kafka rejects becomes a dead letter first. A partition or topic that accepts no
//!    records holds its lanes (`held_lanes`, `stalls`).
//!
//! `lane_positions`, `checkpoint_message` and `restore_decision` do not use Kafka. They define a position, its
//! encoding, and how far it is trusted.

mod checkpoint_message;
mod checkpoint_table;
mod delivery;
mod held_lanes;
mod lane_positions;
#[cfg(test)]
mod model;
mod restore_decision;
mod retry_timeouts;
mod stalls;
mod takeover;
mod transaction;
mod tx_producer;
mod tx_sender;
mod worker;

pub(super) use takeover::{Purpose, Takeover};
pub(super) use worker::Worker;
