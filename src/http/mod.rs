//! HTTP/1.1 on hyper: the public API and the operators' listener.
//!
//! ```text
//! server/  a listener: accepts, bounds, drains; TLS; host names and origins; routing, metrics and access log
//!          of whatever it serves
//! api/     the public listener: commands, users, logins, the description of the interface
//! admin/   the operators' listener: metrics, backlog, drain control, rate limits, status page
//! ```
//!
//! The files beside them are what both listeners need: headers, bodies, answers, problem documents.
//!
//! hyper decides what a message is; nothing here parses one a second time. What hyper leaves to its user is here:
//! time-outs for each phase of a connection, caps, and a problem document where it would answer with an empty body
//! or none.

mod admin;
mod answer;
mod api;
mod backend;
mod body;
mod config;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod media_type;
mod metrics;
mod problem;
mod problem_page;
mod readiness;
mod respond;
mod server;

pub use admin::overview::{DeadLetter, DeadLetters, Instance, Overview, Worker};
pub use admin::routes::Admin;
pub use api::catalogue::Catalogue;
pub use api::state::{Api, ApiParts};
pub use api::trial::{Trial, examine};
pub use backend::{AdminService, CommandService, Durable};
pub use config::Config;
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use server::endpoint::Endpoint;
pub use server::hosts::is_loopback;
pub use server::limits::ConnectionLimits;
pub use server::listener::HttpServer;
pub use server::tls::{Tls, Validity};

#[cfg(test)]
mod tests;
