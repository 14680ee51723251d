//! The caller of a request.

use std::sync::Arc;

use crate::command::Owner;
use crate::units::Timestamp;

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Authentication is off (`mode = "open"`). The caller counts as an administrator.
    OpenMode,
    /// The caller presented a valid token.
    Authenticated(Principal),
    /// The caller presented no token.
    Anonymous,
}

/// A caller that presented a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Name of the user, or `service:NAME`. A user's name never contains a colon.
    pub name: Arc<str>,
    /// Whether the caller is an administrator.
    pub admin: bool,
    /// Session of the token. `None` for a token without a session.
    pub session: Option<Arc<str>>,
    /// Registration time of the user ([`Owner`]).
    pub registered_at: Option<Timestamp>,
}

impl Caller {
    /// The owner stored with the caller's commands.
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::Authenticated(Principal { name, registered_at, .. }) => {
                Some(Owner { name: Arc::clone(name), registered_at: *registered_at })
            }
            Self::OpenMode | Self::Anonymous => None,
        }
    }

    /// The name under which requests are counted.
    pub fn name(&self) -> Option<Arc<str>> {
        match self {
            Self::Authenticated(principal) => Some(Arc::clone(&principal.name)),
            Self::OpenMode | Self::Anonymous => None,
        }
    }

    /// Whether the caller is an administrator.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::OpenMode => true,
            Self::Authenticated(principal) => principal.admin,
            Self::Anonymous => false,
        }
    }

    /// Whether the caller is this user.
    pub fn is(&self, user: &str) -> bool {
        matches!(self, Self::Authenticated(principal) if *principal.name == *user)
    }
}
