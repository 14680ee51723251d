//! Whose a command is, told apart from other users who have had the same name.

use std::sync::Arc;

use crate::units::Timestamp;

/// Who sent a command, or asks about one.
///
/// A name alone does not say who that is: a deleted user's name may be registered again, by somebody else. The instant
/// at which the account was registered tells the two apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// A user's name, or `service:NAME`.
    pub name: Arc<str>,
    /// When the user was registered (`users.created_at`). None for services, and for users whom a token names that came
    /// from no login.
    pub registered_at: Option<Timestamp>,
}

impl Owner {
    /// Whether a command is theirs, by what its record says of its sender. A record of a version that did not write
    /// `registered_at`, or of a table that does not have it, is theirs from their registration on.
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
            // Whoever signs such tokens says who has the name.
            (None, _) => true,
        }
    }

    /// Whether they are, or may be, the user who was registered under this name at this instant; also true for
    /// everybody of another name.
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
    fn a_command_belongs_to_the_account_that_sent_it_and_to_no_other_of_its_name() {
        let owns = |own: Option<u64>, sender: Option<&str>, senders: Option<u64>, accepted: u64| {
            owner(own).owns(sender, senders.map(Timestamp), Timestamp(accepted))
        };
        assert!(owns(Some(5), Some("ada"), Some(5), 9));
        assert!(!owns(Some(7), Some("ada"), Some(5), 9), "whatever the clocks of two daemons say");
        assert!(owns(Some(5), Some("ada"), None, 5) && !owns(Some(5), Some("ada"), None, 4));
        assert!(owns(None, Some("ada"), Some(5), 9) && owns(None, Some("ada"), None, 9));
        assert!(!owns(Some(5), Some("bob"), Some(5), 9) && !owns(None, None, None, 9));
        assert!(owner(Some(5)).may_be("ada", Timestamp(5)) && !owner(Some(5)).may_be("ada", Timestamp(7)));
        assert!(owner(Some(5)).may_be("bob", Timestamp(7)) && owner(None).may_be("ada", Timestamp(7)));
    }
}
