//! A command as the log and Kafka see it: its id, its envelope, its lane, and what became of it.

mod digest;
mod envelope;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod id;
mod lane;
mod outcome;
mod owner;
mod requeue;
mod seal;
mod topic;
mod user;

pub use digest::KeyedDigest;
pub use digest::same_bytes;
pub use envelope::Envelope;
pub use envelope::EnvelopeError;
pub use envelope::Repeat;
pub use envelope::headers;
pub use id::CommandId;
pub use id::IdError;
pub use id::IdMint;
pub use lane::LANES;
pub use lane::lane;
pub use outcome::Placement;
pub use outcome::State;
pub use outcome::Status;
pub use owner::Owner;
pub use requeue::Requeued;
pub use requeue::kind_of;
pub use requeue::requeued;
pub use seal::IdSeal;
pub use topic::CHECKPOINT_TOPIC;
pub use topic::OWN_TOPICS;
pub use user::LONGEST_ACTOR;
pub use user::Secret;
pub use user::USER_DEAD_TOPIC;
pub use user::USER_RETRY_TOPIC;
pub use user::USER_TOPIC;
pub use user::UnknownValue;
pub use user::UserKind;
pub use user::UserValue;
pub use user::has_consumer;
pub use user::is_storable_actor;
