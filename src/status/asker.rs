//! Who asks about a command, and what each may see.

use crate::command::Owner;
use crate::units::Timestamp;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker<'a> {
    /// May see everything (`mode = "open"` counts every caller as this).
    Admin,
    /// May see what it sent; one that has no name, what nobody by name has sent: who knows such an id was told it.
    Principal(Option<&'a Owner>),
}

impl<'a> Asker<'a> {
    pub fn new(owner: Option<&'a Owner>, admin: bool) -> Self {
        if admin { Self::Admin } else { Self::Principal(owner) }
    }

    /// Whether this is shown of a command that `principal` sent.
    pub fn may_see(
        self,
        principal: Option<&str>,
        registered_at: Option<Timestamp>,
        accepted_at: Timestamp,
    ) -> bool {
        match self {
            Self::Admin => true,
            Self::Principal(None) => principal.is_none(),
            Self::Principal(Some(owner)) => owner.owns(principal, registered_at, accepted_at),
        }
    }
}
