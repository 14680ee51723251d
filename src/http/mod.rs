//! The doors: HTTP/1.1 on hyper, the public listener and the operator's.
//!
//! ```text
//! server   accepts, bounds, drains           ─┐
//! conn     one connection's life              │ any Site
//! tls      handshakes, certificates           │
//! wire     deadlines and last words on it    ─┘
//! site     what a listener serves; with route and meter: matching, metrics, access log
//! guard    what web pages may not make a browser do; authority, hosts: under which names we are reached
//!   public   POST and GET commands, users, login, health, openapi.json; access: who may
//!   admin    metrics, backlog, drain control, rate limits, status page
//! ```
//!
//! hyper decides what a message is; nothing here parses one a second time. What hyper leaves to its user is here:
//! time-outs for each phase of a connection, caps, and a problem document where it would answer with an empty body
//! or none.

mod access;
mod admin;
mod authority;
mod backend;
mod batch;
mod body;
mod catalogue;
mod checks;
mod commands;
mod config;
mod conn;
mod form;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod headers;
mod hosts;
mod limits;
mod login;
mod meter;
mod openapi;
mod problem;
mod public;
mod readiness;
mod respond;
mod route;
mod server;
mod site;
mod status;
mod tls;
mod users;
mod wire;

pub use admin::Admin;
pub use backend::AdminBackend;
pub use backend::Commands;
pub use backend::Durable;
pub use backend::Readiness;
pub use catalogue::Catalogue;
pub use config::Config;
pub use hosts::is_loopback;
pub use public::Public;
pub use public::PublicParts;
pub use server::HttpServer;
pub use server::Limits;
pub use tls::Tls;

use bytes::Bytes;
use http_body_util::Full;

/// Every answer is built whole before it is sent.
type Answer = hyper::Response<Full<Bytes>>;

#[cfg(test)]
mod tests;
