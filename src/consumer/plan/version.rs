//! Orders two commands by age.

use std::cmp::Ordering;

use crate::command::CommandId;
use crate::db::Version;

/// Whether the command is older than the one whose content is stored.
pub(super) fn is_older(id: &CommandId, than: &Version) -> bool {
    match id.accepted_at().cmp(&than.at) {
        Ordering::Less => true,
        Ordering::Greater => false,
        // One log delivers a name's commands in order. Across logs, the larger id wins.
        Ordering::Equal => {
            than.id.parse::<CommandId>().is_ok_and(|other| !id.is_of_same_log(&other) && *id < other)
        }
    }
}

/// The version of the content that the command writes.
pub(super) fn version_of(id: &CommandId) -> Version {
    Version { at: id.accepted_at(), id: id.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::IdGenerator;
    use crate::units::{Lsn, Timestamp};

    fn id(log: u8, at: u64, random: u8) -> CommandId {
        IdGenerator::new(&[log; 16], &[9; 32]).generate(Timestamp(at), Lsn(1), [random; 9])
    }

    #[test]
    fn newer_is_decided_by_time_then_delivery_order_or_id() {
        assert!(is_older(&id(1, 5, 0), &version_of(&id(2, 6, 0))));
        assert!(!is_older(&id(1, 6, 0), &version_of(&id(2, 5, 0))));
        assert!(!is_older(&id(1, 5, 0), &version_of(&id(1, 5, 9))), "one log: the later delivery is newer");
        assert!(!is_older(&id(1, 5, 9), &version_of(&id(1, 5, 0))));
        assert!(is_older(&id(1, 5, 9), &version_of(&id(2, 5, 0))), "two logs: one of them is newer");
        assert!(!is_older(&id(2, 5, 0), &version_of(&id(1, 5, 9))));
        assert!(!is_older(&id(1, 5, 0), &Version { at: Timestamp(5), id: String::new() }));
    }
}
