//! Calls to a store and their replies; the same for both stores.

use std::time::Duration;

use super::bucket::{PermitCount, PermitReply, Rate};

/// The result of setting a key only if it is absent.
#[derive(Clone, PartialEq, Eq)]
pub enum SetOutcome {
    /// The caller's value is stored: set now, or by an earlier call whose reply was lost.
    Owned,
    /// Another value is stored.
    Taken(Vec<u8>),
}

impl std::fmt::Debug for SetOutcome {
    /// Omits the value, which may belong to another daemon.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Owned => "Ours",
            Self::Taken(_) => "Other(…)",
        })
    }
}

/// A change of a value by its owner.
#[derive(Clone)]
pub struct Replacement {
    /// The key.
    pub key: String,
    /// Prefix that the current value must have.
    pub owner: Vec<u8>,
    /// The new value.
    pub value: Vec<u8>,
    /// Time to live of the new value.
    pub ttl: Duration,
}

/// An operation on one key.
pub(super) struct Call {
    pub key: String,
    pub op: Op,
}

pub(super) enum Op {
    Get,
    Set {
        value: Vec<u8>,
        ttl: Duration,
    },
    SetIfAbsent {
        value: Vec<u8>,
        ttl: Duration,
    },
    Replace {
        owner: Vec<u8>,
        value: Vec<u8>,
        ttl: Duration,
    },
    Refresh {
        owner: Vec<u8>,
        ttl: Duration,
    },
    Remove {
        owner: Vec<u8>,
    },
    Delete,
    /// `at`: microseconds, instead of the store's own clock.
    Spend {
        rate: Rate,
        want: PermitCount,
        at: Option<u64>,
    },
}

pub(super) enum Reply {
    Value(Option<Vec<u8>>),
    /// Whether a value was changed.
    Changed(bool),
    Held(SetOutcome),
    Spent(PermitReply),
}

impl Call {
    pub fn new(key: &str, op: Op) -> Self {
        Self { key: key.to_owned(), op }
    }
}

/// A time to live in milliseconds, the unit of both stores.
pub(super) fn millis(ttl: Duration) -> u64 {
    // A time to live of zero is not possible; Redis refuses it.
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_TTL_MILLIS)
}

/// Thirty years. Redis refuses a time to live if the resulting instant exceeds 64 bits.
const MAX_TTL_MILLIS: u64 = 1000 * 60 * 60 * 24 * 365 * 30;
