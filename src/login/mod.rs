//! Login: a name and a password for a pair of tokens, the pair for the next one, and the end of it.
//!
//! ```text
//! POST /login ── limits ── busy ── credentials (seen a moment ago?) ── database ── bcrypt ── tokens
//! ```
//!
//! A login writes nothing that it waits for: its refresh token is signed and names a session of which the database
//! learns when it is prolonged or ended. That it happened is written behind (`last_login`).

mod config;
mod credential_cache;
mod error;
mod last_login;
mod login_limiter;
mod metrics;
mod service;
mod session;

pub use config::Config;
pub use error::LoginError;
pub use last_login::{LastLoginConfig, LastLogins};
pub use metrics::Metrics;
pub use service::{Login, LoginParts};
pub use session::TokenPair;
