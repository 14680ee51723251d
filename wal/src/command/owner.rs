//! The owner of a command, distinct from other users who had the same name earlier.

use std::sync::Arc;

use crate::units::Timestamp;

/// The sender of a command, or of a request about one.
///
/// A name does not identify a user: after a deletion, another person may register the same name. The time of the
/// registration distinguishes the two accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// A user's name, or `service:NAME`.
    pub name: Arc<str>,
    /// Time at which the user was registered (`users.created_at`). `None` for services, and for users from an external
    /// token without a login.
    pub registered_at: Option<Timestamp>,
}

impl Owner {
    /// Whether this owner sent a command, according to its record. Some records have no `registered_at`: an older
    /// version wrote them, or the table has no such column. They belong to this owner if accepted at or after the
    /// registration.
    pub fn owns(
        &self,
        sender: Option<&str>,
        registered_at: Option<Timestamp>,
        accepted_at: Timestamp,
    ) -> bool {
        if sender != Some(&*self.name) {
            return false;
        }
        match (self.registered_at, registered_at) {
            (Some(own), Some(senders)) => own == senders,
            (Some(own), None) => own <= accepted_at,
            // The issuer of such tokens decides which user has the name.
            (None, _) => true,
        }
    }

    /// Whether this owner is, or may be, the user registered under this name at this time. Also `true` if the names
    /// differ.
    pub fn may_be(&self, name: &str, registered_at: Timestamp) -> bool {
        *self.name != *name || self.registered_at.is_none_or(|own| own == registered_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(registered_at: Option<u64>) -> Owner {
        Owner { name: "ada".into(), registered_at: registered_at.map(Timestamp) }
    }

    #[test]
    fn a_command_belongs_to_its_account_not_to_its_name() {
        let owns = |own: Option<u64>, sender: Option<&str>, senders: Option<u64>, accepted: u64| {
            owner(own).owns(sender, senders.map(Timestamp), Timestamp(accepted))
        };
        assert!(owns(Some(5), Some("ada"), Some(5), 9));
        assert!(!owns(Some(7), Some("ada"), Some(5), 9), "even if the clocks of two daemons differ");
        assert!(owns(Some(5), Some("ada"), None, 5) && !owns(Some(5), Some("ada"), None, 4));
        assert!(owns(None, Some("ada"), Some(5), 9) && owns(None, Some("ada"), None, 9));
        assert!(!owns(Some(5), Some("bob"), Some(5), 9) && !owns(None, None, None, 9));
        assert!(owner(Some(5)).may_be("ada", Timestamp(5)) && !owner(Some(5)).may_be("ada", Timestamp(7)));
        assert!(owner(Some(5)).may_be("bob", Timestamp(7)) && owner(None).may_be("ada", Timestamp(7)));
    }
}
