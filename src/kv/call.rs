//! What is asked of a store, and what it answers: the same for both.

use std::time::Duration;

use super::bucket::{PermitCount, PermitReply, Rate};

/// What became of a key that was to be set only if nothing stood there.
#[derive(Clone, PartialEq, Eq)]
pub enum SetOutcome {
    /// Our value stands there, set now or by an earlier call whose answer was lost.
    Owned,
    /// This one does.
    Taken(Vec<u8>),
}

impl std::fmt::Debug for SetOutcome {
    /// Without the value, which may be anybody's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Owned => "Ours",
            Self::Taken(_) => "Other(…)",
        })
    }
}

/// One change of a value by its owner.
#[derive(Clone)]
pub struct Replacement {
    /// Which.
    pub key: String,
    /// How a value begins that may be replaced.
    pub owner: Vec<u8>,
    /// The new one.
    pub value: Vec<u8>,
    /// How long it lives from now on.
    pub ttl: Duration,
}

/// One key and what to do with it.
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
    /// Whether something was changed.
    Changed(bool),
    Held(SetOutcome),
    Spent(PermitReply),
}

impl Call {
    pub fn new(key: &str, op: Op) -> Self {
        Self { key: key.to_owned(), op }
    }
}

/// What Redis and the store of our own count in.
pub(super) fn millis(ttl: Duration) -> u64 {
    // Nothing lives for no time; Redis refuses it.
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_TTL_MILLIS)
}

/// Thirty years. Redis refuses what does not fit into 64 bits with the present added.
const MAX_TTL_MILLIS: u64 = 1000 * 60 * 60 * 24 * 365 * 30;
