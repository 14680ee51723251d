//! The report of a run: as JSON, as a page, and as text.

mod document;
mod html;
mod plot;
mod summary;
mod text;

pub use document::{DeliveryStats, Document, LevelsReport, LoginCounts, SCHEMA, Settings, ToolStats};
pub use html::page;
pub use plot::number;
pub use summary::{Latency, MeasuredStats, RequestSummary};
pub use text::print;
