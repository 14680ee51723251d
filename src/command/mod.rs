//! A command as the log and Kafka see it: its id, its envelope, its lane, and what became of it.

mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod id;
mod lane;
mod outcome;
mod requeue;

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
pub use requeue::Requeued;
pub use requeue::kind_of;
pub use requeue::requeued;
