//! Authentication: tokens, their signatures, and whether they are still valid.
//!
//! ```text
//! Authorization: Bearer …
//!        │
//!  authenticator ── tokens_file   digests of the service tokens
//!        │
//!        ├───────── token_cache   tokens verified recently, until their user changes
//!        ├───────── keyring/keys  the signature, checked only with the key that the token names
//!        └───────── account_state whether its user, password and session are unchanged
//! ```
//!
//! A token describes its user at the time of signing. `cache_generations` handles later changes: a component that
//! learns of a change of a user ends the user's generation, and all cached facts of that generation are checked again.

mod account_state;
mod authenticator;
mod cache_generations;
mod claims;
mod config;
mod keyring;
mod keys;
mod metrics;
mod principal;
mod token_cache;
mod tokens_file;

pub use account_state::password_version;
pub use authenticator::{AuthError, Authenticator, AuthenticatorParts};
pub use cache_generations::{CacheGenerations, Generation};
pub use claims::{Claims, TokenUse};
pub use config::{Config, MAX_ACCESS_TTL, Mode};
pub use keyring::Keyring;
pub use keys::{KeyError, Keys, TokenError};
pub use metrics::Metrics;
pub use principal::{Caller, Principal};
