//! Who calls: tokens, how they are signed, and what they are still worth.
//!
//! ```text
//! Authorization: Bearer …
//!        │
//!  authenticator ── tokens_file   a service's own token, by its digest
//!        │
//!        ├───────── verified      what was verified a moment ago, until something changes about its user
//!        ├───────── keyring/keys  the signature, by the key that the token names and by no other
//!        └───────── standing      whether its user, password and session are still the same
//! ```
//!
//! A token says who somebody was when it was signed. `marks` is how a change since then gets here: whoever hears that
//! something about a user changed removes the mark, and everything remembered under it is looked at again.

mod authenticator;
mod claims;
mod config;
mod keyring;
mod keys;
mod marks;
mod principal;
mod standing;
mod tokens_file;
mod verified;

pub use authenticator::AuthError;
pub use authenticator::Authenticator;
pub use authenticator::AuthenticatorParts;
pub use claims::Claims;
pub use claims::Use;
pub use config::Config;
pub use config::LONGEST_ACCESS;
pub use config::Mode;
pub use keyring::Keyring;
pub use keys::KeyError;
pub use keys::Keys;
pub use keys::TokenError;
pub use marks::Mark;
pub use marks::Marks;
pub use principal::Caller;
pub use principal::Principal;
pub use standing::password_version;
