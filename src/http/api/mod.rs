//! The public listener.
//!
//! ```text
//! routes             the route table: handler and access rule of each route
//! handler            verifies the caller before a handler runs
//! access             the access rules, and the proofs that handlers receive
//! commands, status, users/, login   the handlers
//! admission_checker  decides which commands are accepted
//! body_format        the format of a body; batch: one command per line; event_reader: CloudEvents
//! body_checks        runs the checks of bodies
//! dry_run            checks a body without a running daemon
//! receipt            responses to accepted commands
//! documents          response documents
//! state              dependencies of the handlers
//! catalogue          the accepted kinds
//! openapi/           the OpenAPI description
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
