//! Who a request is from.

use std::sync::Arc;

use crate::command::Owner;
use crate::units::Timestamp;

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody was asked (`mode = "open"`): counts as an administrator.
    OpenMode,
    /// Somebody who showed a token.
    Authenticated(Principal),
    /// Somebody who showed none.
    Anonymous,
}

/// Somebody who showed a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// A user's name, or `service:NAME`. A user's name holds no colon.
    pub name: Arc<str>,
    /// Whether everything is theirs to see and to change.
    pub admin: bool,
    /// The login that the token came from; none for a token that came from none.
    pub session: Option<Arc<str>>,
    /// When the user was registered ([`Owner`]).
    pub registered_at: Option<Timestamp>,
}

impl Caller {
    /// What is kept with what they ask for.
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::Authenticated(Principal { name, registered_at, .. }) => {
                Some(Owner { name: Arc::clone(name), registered_at: *registered_at })
            }
            Self::OpenMode | Self::Anonymous => None,
        }
    }

    /// The name that they are counted under.
    pub fn name(&self) -> Option<Arc<str>> {
        match self {
            Self::Authenticated(principal) => Some(Arc::clone(&principal.name)),
            Self::OpenMode | Self::Anonymous => None,
        }
    }

    /// Whether everything is theirs to see and to change.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::OpenMode => true,
            Self::Authenticated(principal) => principal.admin,
            Self::Anonymous => false,
        }
    }

    /// Whether they are this user.
    pub fn is(&self, user: &str) -> bool {
        matches!(self, Self::Authenticated(principal) if *principal.name == *user)
    }
}
