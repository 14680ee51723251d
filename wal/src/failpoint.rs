//! Failpoints: mistakes that a test sets, to see that the tests find them. A test that cannot fail proves nothing.
//!
//! Each is one condition at the place that it breaks: `if Failpoint::HalfBatchAccepted.is_set()`. Without the feature
//! `planted-faults`, [`Failpoint::is_set`] is the constant `false`, and the compiler removes the branch. No release has the
//! feature.

use std::io;

/// Makes the enum and the list of its variants from one.
macro_rules! failpoints {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What can be spoiled. The variant says what the code then does; docs/testing/ lists the tests that find it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Failpoint {
            $($(#[$doc])+ $name,)+
        }

        impl Failpoint {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

failpoints! {
    /// A commit returns without `fdatasync`.
    SkipFlush,
    /// Waiters are answered before the flush.
    AnswerBeforeFlush,
    /// What came during the flush is answered by it too.
    CoverAfterFlush,
    /// A failed flush is remembered only after the waiters were told.
    FailureLate,
    /// Of a group whose flush failed, only the first waiter is told.
    FollowersNotTold,
    /// The commit thread ends at a failure and leaves what waits in the queue.
    QueueLeftBehind,
    /// The commit thread is woken before there is something in the queue, not after.
    WakeBeforeEnqueue,
    /// What a waiter that went away held in the queue is not given back.
    CancelledKeepsRoom,
    /// Readers are woken without the lock under which they look.
    WakeWithoutLock,
    /// Readers are woken before the waiters are answered.
    ReadersBeforeAnswers,
    /// The writer is not told that a spare file is ready.
    SpareNotTold,
    /// A record counts as confirmed when the producer has taken it.
    ConfirmUnsent,
    /// A commit returns as if its flush had not failed: it answered before the flush was over.
    FlushErrorIgnored,
    /// A flush that failed is tried again, and believed.
    FlushRetried,
    /// Readers see a group before it is flushed.
    PublishedBeforeFlush,
    /// A failed write or flush does not poison the log.
    FailureNotFinal,
    /// A segment's header is not flushed before its first record.
    HeaderNotFlushed,
    /// The next segment begins before the footer of the last one is flushed.
    SealNotFlushed,
    /// A sealed segment is cut before its footer is durable.
    CutBeforeFooter,
    /// The new size of a sealed segment is not flushed.
    CutNotFlushed,
    /// A start does not flush the size of the last segment, which an earlier one may have left.
    SizeNotFlushed,
    /// Frames promise more than was flushed before them.
    PromiseTooFar,
    /// Frames promise nothing.
    PromiseNotAdvanced,
    /// The promises of frames behind damage are ignored.
    PromiseBehindIgnored,
    /// What the checkpoint saw flushed is not asked for.
    PromiseNotChecked,
    /// The end of a batch is not asked for.
    HalfBatchAccepted,
    /// What a start read is sealed without being written again.
    SurvivorsNotRewritten,
    /// The footer a start writes promises what it wrote again and did not flush.
    FooterPromisesSurvivors,
    /// Type, batch end and lane are not covered by the checksum.
    CrcOmitsType,
    /// The segment's salt is not covered by the checksum.
    CrcOmitsSalt,
    /// The place is not covered by the checksum.
    CrcOmitsOffset,
    /// A length is believed beyond the segment's end.
    LengthNotBounded,
    /// A read error is taken for the end of the file.
    ReadErrorIsEnd,
    /// Bytes that cannot be read are taken for zeros.
    UnreadableIsBlank,
    /// A start does not ask whether an earlier one has listed what it finds damaged.
    ListingForgotten,
    /// The rest of a short write is not written.
    ShortWriteAccepted,
    /// An interrupted write is not tried again.
    InterruptedWriteFails,
    /// A file that replaces another is not flushed before it gets its name.
    ReplacedNotFlushed,
    /// The directory is not flushed after a file was replaced.
    ReplacedDirNotFlushed,
    /// A checkpoint does not wait for the notes of where records were put.
    NotesNotFlushed,
    /// The directory of the notes is not flushed.
    NotesDirNotFlushed,
    /// Notes that could not be written are forgotten.
    NotesForgotten,
    /// A checkpoint is saved before the notes are written.
    CheckpointBeforeNotes,
    /// Segments are retired by a checkpoint that was never saved.
    RetiredBeforeCheckpoint,
    /// Segments are retired before all their records are done.
    IncompleteRetired,
    /// The watermark passes the first record that is not done.
    WatermarkTooFar,
    /// Confirming a record marks those before it.
    BelowMarkedToo,
    /// Numbers of segments that are gone are not remembered as done.
    GapForgotten,
    /// Numbers of a segment whose header is damaged are given again.
    HeadlessNumbersGiven,
    /// Such a segment is moved away before its records are listed.
    HeadlessMovedFirst,
    /// Numbers of dead letters are given again when the log ends below them.
    LetterNumbersGiven,
    /// A start does not count dead letters as done.
    LettersNotMarked,
    /// A record counts as a dead letter before it is stored as one.
    LettersNotStored,
    /// A dead letter is not flushed.
    LettersNotFlushed,
    /// A dead letter that a start read is not written again.
    LettersNotRewritten,
    /// A reader passes damage without listing it.
    DamageSkipped,
    /// The next segment's file is filled again while the writer renames it.
    SpareFilledAnew,
    /// A second process gets the lock.
    NoLock,
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

/// Does something, unless the failpoint that leaves it out is set.
#[inline]
pub fn unless(failpoint: Failpoint, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if failpoint.is_set() { Ok(()) } else { act() }
}

#[cfg(not(feature = "planted-faults"))]
impl Failpoint {
    /// Whether this failpoint is set. Never, in this build.
    #[inline(always)]
    pub const fn is_set(self) -> bool {
        false
    }

    /// Whether this failpoint is set and strikes this time. Never, in this build.
    #[inline(always)]
    pub const fn strikes(self) -> bool {
        false
    }
}

#[cfg(feature = "planted-faults")]
pub use switch::set;

#[cfg(feature = "planted-faults")]
mod switch {
    use super::Failpoint;
    use std::cell::Cell;
    use std::sync::OnceLock;

    /// Sets a failpoint in a whole process, by its name: for tests of the real program.
    const VARIABLE: &str = "FOREBAY_PLANTED_FAULT";

    thread_local! {
        static HERE: Cell<Option<Failpoint>> = const { Cell::new(None) };
        static CHANCES: Cell<u32> = const { Cell::new(0) };
    }

    /// Sets a failpoint in this thread; `None` clears it. Simulations run in one thread each, side by side.
    pub fn set(failpoint: Option<Failpoint>) {
        HERE.set(failpoint);
    }

    impl Failpoint {
        /// Whether this failpoint is set, in this thread or in the whole process.
        pub fn is_set(self) -> bool {
            static EVERYWHERE: OnceLock<Option<Failpoint>> = OnceLock::new();
            let everywhere = EVERYWHERE.get_or_init(|| {
                let name = std::env::var(VARIABLE).ok()?;
                Self::ALL.iter().copied().find(|failpoint| format!("{failpoint:?}") == name)
            });
            HERE.get().or(*everywhere) == Some(self)
        }

        /// Whether this failpoint is set and strikes this time: at every fifth call in this thread. It counts calls
        /// because what is at hand may be the same at each retry.
        pub fn strikes(self) -> bool {
            self.is_set() && CHANCES.replace(CHANCES.get() + 1).is_multiple_of(5)
        }
    }
}
