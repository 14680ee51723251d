//! Spans of sampled requests, from the request to the database, and their export by OTLP.
//!
//! A request is sampled once, where it enters (`enter`). The decision travels in its `traceparent`: in the record of the
//! log, in the header of the Kafka record, and with it to the consumer. Everything behind the entrance continues a trace
//! (`continued`) and never begins one.
//!
//! Spans are made after the fact, from times that were noted on the way. A request that is not sampled costs each step one
//! branch. A span of a sampled one goes into a bounded queue, and a thread of its own exports it. Nobody waits for that
//! thread: a span that finds the queue full is dropped and counted.

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
