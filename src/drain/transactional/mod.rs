//! Exactly once: every transaction holds records and the positions they lead to.
//!
//! 1. *Takeover* (`takeover`): the number of ids is made durable in the log, every id that may be in use is fenced, and
//!    only then the positions are read, up to an end taken after that. What Kafka has is counted as done. The life is
//!    made durable in the log, and one transaction (the *announcement*) rewrites all messages of this log in its name.
//!    Then the log notes that the life delivers. From then on a message of any other incarnation means that another
//!    copy took over.
//! 2. *Producer* (`tx_producer`): each worker makes its producer the only one of its id and reads its own message. The
//!    same way a commit of unknown outcome is resolved: the message is there, or it is not.
//! 3. *Transaction* (`worker`, `tx_sender`, `delivery`): begin, records, positions, all results, commit. Only then are
//!    its records `sent`. Whatever fails before the commit is aborted and sent again from the first record of the
//!    transaction; a record that Kafka refuses is a dead letter first. A partition or topic that takes nothing holds its
//!    lanes (`held_lanes`, `stalls`).
//!
//! `lane_positions`, `message`, `restore_decision` are without Kafka: what a position is, how it is written, and how far it is
//! believed.

mod checkpoint_table;
mod delivery;
mod held_lanes;
mod lane_positions;
mod message;
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
