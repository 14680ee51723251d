//! Spans of sampled requests, from the request to the database, and their export by OTLP.
//!
//! A request is sampled once, where it enters the system (`start_request`). Its `traceparent` carries the decision: in
//! the record of the log, in the header of the Kafka record, and from there to the consumer. All later components
//! continue a trace (`sampled_parent`) and never start one.
//!
//! Spans are created afterwards, from times recorded on the way. An unsampled request costs one branch per step. The
//! spans of a sampled request go to a bounded queue, and a separate thread exports them. Components never wait for that
//! thread: if the queue is full, a span is dropped and counted.

mod client;
mod context;
mod endpoint;
mod export;
mod flush_times;
mod metrics;
mod queue;
mod ratio;
mod span;
#[cfg(test)]
pub(crate) mod testing;
mod tracer;

pub use context::TraceContext;
pub use endpoint::Endpoint;
pub use export::ExportThread;
pub use metrics::Metrics;
pub use ratio::SampleRatio;
pub use span::{Kind, Span};
pub use tracer::{SampledRequest, Tracer};
