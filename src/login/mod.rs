//! Login with name and password, refresh of tokens, and logout.
//!
//! ```text
//! POST /login ── limits ── busy ── credentials (seen a moment ago?) ── database ── bcrypt ── tokens
//! ```
//!
//! A login does not wait for a database write. Its refresh token is signed and names a session. The session is written
//! to the database only when it is refreshed or ended. The login time is written in the background (`last_login`).

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
