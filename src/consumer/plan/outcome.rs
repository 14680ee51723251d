//! What became of one command.

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    /// It changed something, or asked for what is so already.
    Applied,
    /// The database says no, for good.
    Rejected,
    /// Its outcome stands already.
    Repeat,
    /// It cannot be applied now: to the retry topic, to be tried again after this many tries.
    Parked { attempts: i32 },
    /// To the retry topic, behind an earlier command of its name.
    Follows,
    /// It is parked already, and its record in the retry topic may be lost: there again.
    Again { attempts: i32 },
    /// Not its turn: back to the end of the retry topic. Who is first, and how often that one was tried.
    Behind { first: String, first_attempts: i32, attempts: i32 },
    /// In the retry topic without being parked: it was settled and forgotten since.
    Gone,
    /// A copy of a parked command that is read again, while a newer copy is in the retry topic: that one is judged.
    Stale,
    /// Tried often enough.
    Dead { reason: String },
}

impl CommandOutcome {
    /// The value of the metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Repeat | Self::Gone | Self::Stale => "repeat",
            Self::Parked { .. } | Self::Follows | Self::Again { .. } | Self::Behind { .. } => "retry",
            Self::Dead { .. } => "dead",
        }
    }
}
