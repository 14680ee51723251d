//! Who calls: tokens, how they are signed, and what they are still worth.
//!
//! ```text
//! Authorization: Bearer …
//!        │
//!  authenticator ── tokens_file   a service's own token, by its digest
//!        │
//!        ├───────── verified      what was verified a moment ago, until something changes about its user
//!        ├───────── keyring/keys  the signature, by the key that the token names and by no other
//!        └───────── account_state whether its user, password and session are still the same
//! ```
//!
//! A token says who somebody was when it was signed. `cache_generations` brings a change since then here: a
//! component that learns of a change of a user ends the user's generation, and everything remembered in it is checked again.

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
