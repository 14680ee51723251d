//! The report of a run: as JSON, as a page, and as text.

mod document;
mod figures;
mod html;
mod plot;
mod text;

pub use document::{Document, Kafka, LevelsReport, LoginCounts, SCHEMA, Settings, Tool};
pub use figures::{Figures, Latency, Measured};
pub use html::page;
pub use plot::number;
pub use text::print;
