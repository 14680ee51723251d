//! The public listener.
//!
//! ```text
//! routes   the table, and who answers what
//! commands, batch, status · users · login   the handlers
//! access   who calls, and what they may
//! state    what the handlers work with; catalogue: the kinds that may enter; checks: where bodies are checked
//! openapi  the description of the interface
//! ```

pub mod access;
pub mod batch;
pub mod catalogue;
pub mod checks;
mod commands;
mod login;
mod openapi;
mod routes;
pub mod state;
mod status;
mod users;
