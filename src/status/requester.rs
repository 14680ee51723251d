//! Authorization of status requests.

use crate::command::Owner;
use crate::units::Timestamp;

/// Client that requests a status.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requester<'a> {
    /// May see every command. With `mode = "open"` every caller is this.
    Admin,
    /// May see its own commands. A client without a name may see commands sent without a name, because only their
    /// sender received the id.
    Principal(Option<&'a Owner>),
}

impl<'a> Requester<'a> {
    pub fn new(owner: Option<&'a Owner>, admin: bool) -> Self {
        if admin { Self::Admin } else { Self::Principal(owner) }
    }

    /// Whether the client may see a command that `principal` sent.
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
