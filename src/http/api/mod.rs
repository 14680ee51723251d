//! The public listener.
//!
//! ```text
//! routes     the table: what answers each route, and who may call it
//! handler    verifies the caller before the handler runs; access: the rules, and the proofs that handlers get
//! commands, batch, status · users/ · login   the handlers
//! admission  which bodies may enter; trial: what would happen to a body
//! receipt    answers to accepted commands; documents: all answers, as types
//! state      what the handlers work with; catalogue: the kinds that may enter; checks: where bodies are checked
//! openapi/   the description of the interface
//! ```

pub mod access;
mod admission_checker;
pub mod batch;
pub mod body_checks;
mod body_format;
pub mod catalogue;
mod commands;
mod documents;
pub mod dry_run;
mod event_reader;
mod handler;
mod login;
mod openapi;
mod parsed_body;
mod receipt;
mod routes;
pub mod state;
mod status;
mod unsupported_media_type;
mod users;
