//! A command in the log and in Kafka: its id, envelope, lane and status.

mod digest;
mod envelope;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod headers;
mod id;
mod id_seal;
mod kafka_headers;
mod lane;
mod media_type;
mod owner;
mod requeue;
mod status;
mod topics;
mod user;

pub use digest::{KeyedDigest, constant_time_eq};
pub use envelope::{Envelope, EnvelopeError, RequestDigest};
pub use headers::Headers;
pub use id::{CommandId, IdError, IdGenerator};
pub use id_seal::IdSeal;
pub use kafka_headers::headers;
pub use lane::{LANES, lane};
pub use media_type::is_json;
pub use owner::Owner;
pub use requeue::{RequeuedRecord, kind_of, requeued_record};
pub use status::{CommandState, CommandStatus, KafkaPosition};
pub use topics::{CHECKPOINT_TOPIC, INTERNAL_TOPICS};
pub use user::{
    MAX_ACTOR_CHARS, Secret, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC, UnknownValue, UserKind,
    UserValue, has_consumer, is_storable_actor,
};
