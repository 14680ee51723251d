//! The Kafka topics that forebay itself writes to.

use super::user::{USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};

/// Where workers keep the positions of their transactions (`delivery = "exactly-once"`).
pub const CHECKPOINT_TOPIC: &str = "forebay.checkpoints";

/// All of them. A record of another kind would be taken for one of forebay's own.
pub const INTERNAL_TOPICS: [&str; 4] = [USER_TOPIC, USER_RETRY_TOPIC, USER_DEAD_TOPIC, CHECKPOINT_TOPIC];
