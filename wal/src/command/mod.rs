//! A command as the log and Kafka see it: its id, its envelope, its lane, and what became of it.

mod digest;
mod envelope;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod headers;
mod id;
mod kafka_headers;
mod lane;
mod media_type;
mod outcome;
mod owner;
mod requeue;
mod seal;
mod topic;
mod user;

pub use digest::{KeyedDigest, same_bytes};
pub use envelope::{Envelope, EnvelopeError, Repeat};
pub use headers::Headers;
pub use id::{CommandId, IdError, IdMint};
pub use kafka_headers::headers;
pub use lane::{LANES, lane};
pub use media_type::is_json;
pub use outcome::{Placement, State, Status};
pub use owner::Owner;
pub use requeue::{Requeued, kind_of, requeued};
pub use seal::IdSeal;
pub use topic::{CHECKPOINT_TOPIC, OWN_TOPICS};
pub use user::{
    LONGEST_ACTOR, Secret, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC, UnknownValue, UserKind, UserValue,
    has_consumer, is_storable_actor,
};
