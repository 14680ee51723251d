//! What became of one command.

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    /// It changed something, or asked for what is so already.
    Applied,
    /// The database says no, for good.
    Rejected,
    /// Its outcome stands already.
    AlreadyDecided,
    /// It cannot be applied now: to the retry topic, to be tried again after this many tries.
    Parked { attempts: i32 },
    /// To the retry topic, behind an earlier command of its name.
    ParkedBehind,
    /// It is parked already, and its record in the retry topic may be lost: there again.
    Reparked { attempts: i32 },
    /// Not its turn: back to the end of the retry topic. Who is first, and how often that one was tried.
    NotFirst { first: String, first_attempts: i32, attempts: i32 },
    /// In the retry topic without being parked: it was settled and forgotten since.
    NotParked,
    /// A copy of a parked command that is read again, while a newer copy is in the retry topic: that one is judged.
    StaleCopy,
    /// Tried often enough.
    Dead { reason: String },
}

impl CommandOutcome {
    /// The value of the metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::AlreadyDecided | Self::NotParked | Self::StaleCopy => "repeat",
            Self::Parked { .. } | Self::ParkedBehind | Self::Reparked { .. } | Self::NotFirst { .. } => {
                "retry"
            }
            Self::Dead { .. } => "dead",
        }
    }
}
