//! The Kafka topics that forebay writes its own records to.

use super::user::{USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};

/// Topic in which workers store the positions of their transactions (`delivery = "exactly-once"`).
pub const CHECKPOINT_TOPIC: &str = "forebay.checkpoints";

/// All topics of forebay. It would treat a record of another kind in them as one of its own.
pub const INTERNAL_TOPICS: [&str; 4] = [USER_TOPIC, USER_RETRY_TOPIC, USER_DEAD_TOPIC, CHECKPOINT_TOPIC];
