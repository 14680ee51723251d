//! The outcome of one command.

/// The outcome of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    /// Applied: it changed something, or the requested state existed already.
    Applied,
    /// Permanently rejected by the rules.
    Rejected,
    /// A repeat: its outcome is already recorded.
    AlreadyDecided,
    /// It cannot be applied now. It goes to the retry topic, after this many attempts.
    Parked { attempts: i32 },
    /// It goes to the retry topic, behind an earlier command of its name.
    ParkedBehind,
    /// It is parked, but its record in the retry topic may be lost. It is sent there again.
    Reparked { attempts: i32 },
    /// Not the first of its name: it goes back to the end of the retry topic. Contains the first command and its
    /// attempts.
    NotFirst { first: String, first_attempts: i32, attempts: i32 },
    /// Read from the retry topic without being parked: its row was deleted after it was settled.
    NotParked,
    /// An old copy of a parked command, read again. A newer copy is in the retry topic.
    StaleCopy,
    /// Dead after the maximum number of attempts.
    Dead { reason: String },
}

impl CommandOutcome {
    /// The metric's label value.
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
