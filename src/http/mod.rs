//! HTTP/1.1 on hyper: the public API and the operator's listener.
//!
//! ```text
//! server/  the server of both listeners: connections, limits, TLS, host names, routing, metrics, access log
//! api/     the public listener: commands, users, logins, OpenAPI description
//! admin/   the operator's listener: metrics, backlog, control of the drain, rate limits, status page
//! ```
//!
//! The other files are used by both listeners: headers, bodies, responses, problem documents.
//!
//! hyper parses the messages. No code here parses a message a second time. This module adds what hyper does not have:
//!
//! - time-outs for each phase of a connection,
//! - limits of connections and memory,
//! - problem documents where hyper would send an empty response or none.

mod admin;
mod api;
mod body;
mod config;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod http_response;
mod media_type;
mod metrics;
mod problem;
mod problem_page;
mod readiness;
mod respond;
mod server;
mod services;

pub use admin::overview::{DeadLetterRow, DeadLetterSummary, Instance, Overview, WorkerRow};
pub use admin::routes::Admin;
pub use api::catalogue::Catalogue;
pub use api::dry_run::{DryRun, dry_run};
pub use api::state::{Api, ApiParts};
pub use config::Config;
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use server::bound_socket::BoundSocket;
pub use server::hosts::is_loopback;
pub use server::limits::ConnectionLimits;
pub use server::listener::HttpServer;
pub use server::tls::{Tls, Validity};
pub use services::{AdminService, CommandService, DurableCommands};

#[cfg(test)]
mod tests;
