//! Faults that tests plant, to see that they are found: a test that finds nothing is not a test.
//!
//! Each is one line at the place it spoils: `if planted(Fault::SkipFlush) { … }`. Without the feature `planted-faults`
//! [`planted`] is `false`, a constant, and nothing of this is in the program. No release has the feature.

/// What can be spoiled. The variant says what the code then does; `TESTING.md` lists who finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A commit returns without `fdatasync`.
    SkipFlush,
    /// A record counts as confirmed when the producer has taken it.
    ConfirmUnsent,
    /// Every segment of every start has the same data key.
    ReuseDataKey,
    /// A segment begins without a flush of its directory.
    SkipDirectoryFlush,
    /// What is decrypted is believed, authentic or not.
    IgnoreTag,
    /// Delivered segments are unlinked with their keys in them.
    SkipShred,
    /// A record is sent when it arrived in a transaction, whatever becomes of that.
    SentBeforeCommit,
    /// The answers of commits are lost now and then. No fault of ours: nobody may notice.
    LoseCommitAnswer,
    /// The answers of commits are lost now and then, and taken for failures.
    GuessCommit,
}

impl Fault {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::SkipFlush,
        Self::ConfirmUnsent,
        Self::ReuseDataKey,
        Self::SkipDirectoryFlush,
        Self::IgnoreTag,
        Self::SkipShred,
        Self::SentBeforeCommit,
        Self::LoseCommitAnswer,
        Self::GuessCommit,
    ];
}

/// Whether this fault is planted now.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub const fn planted(_: Fault) -> bool {
    false
}

#[cfg(feature = "planted-faults")]
pub use switch::{plant, planted};

#[cfg(feature = "planted-faults")]
mod switch {
    use super::Fault;
    use std::cell::Cell;
    use std::sync::OnceLock;

    /// Plants a fault in a whole process, by its name: for tests of the real program.
    const VARIABLE: &str = "FOREBAY_PLANTED_FAULT";

    thread_local! {
        static HERE: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Plants a fault in this thread, or takes it away: simulations run in one thread each, side by side.
    pub fn plant(fault: Option<Fault>) {
        HERE.set(fault);
    }

    /// Whether this fault is planted now.
    pub fn planted(fault: Fault) -> bool {
        static EVERYWHERE: OnceLock<Option<Fault>> = OnceLock::new();
        let everywhere = EVERYWHERE.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            Fault::ALL.iter().copied().find(|fault| format!("{fault:?}") == name)
        });
        HERE.get().or(*everywhere) == Some(fault)
    }
}
