//! Failpoints: deliberate bugs, which show that the tests can find them. A test that cannot fail proves nothing.
//!
//! Faults that a file system can produce are produced there (`faulty_fs`). Each other failpoint is one condition at the
//! place that it breaks: `if Failpoint::HalfBatchAccepted.is_set()`. Without the feature `planted-faults`,
//! [`Failpoint::is_set`] is the constant `false`, and the compiler removes the branch. No release has the feature.

/// Generates the enum and the list of its variants.
macro_rules! failpoints {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The failpoints. `docs/testing/` lists the tests that find each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Failpoint {
            $($(#[$doc])+ $name,)+
        }

        impl Failpoint {
            /// All failpoints.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

failpoints! {
    // File system faults, produced by `faulty_fs`.
    /// The flush of a commit does not reach the disk.
    SkipFlush,
    /// The flush of a commit fails, and reports success.
    FlushErrorIgnored,
    /// The flush of a commit fails, is retried, and reports the success of the retry.
    FlushRetried,
    /// The flush of a segment's header does not reach the disk.
    HeaderNotFlushed,
    /// The flush of a footer does not reach the disk.
    SealNotFlushed,
    /// A sealed segment is cut before its footer is written.
    CutBeforeFooter,
    /// The flush of a sealed segment's new size does not reach the disk.
    CutNotFlushed,
    /// The flush of a size that an earlier start may have left does not reach the disk.
    SizeNotFlushed,
    /// The flush of the directory of a new segment does not reach the disk.
    SkipDirectoryFlush,
    /// A start's write of a record that the file shows already does not reach the disk.
    SurvivorsNotRewritten,
    /// A read error is reported as the end of the file.
    ReadErrorIsEnd,
    /// An unreadable sector is read as zeros.
    UnreadableIsBlank,
    /// A short write is reported as a whole one.
    ShortWriteAccepted,
    /// An interrupted write is reported as a failed one.
    InterruptedWriteFails,
    /// The flush of a file that will replace another does not reach the disk.
    ReplacedNotFlushed,
    /// The flush of the directory of a replaced file does not reach the disk.
    ReplacedDirNotFlushed,
    /// The flush of the delivery index does not reach the disk.
    NotesNotFlushed,
    /// The flush of the delivery index's directory does not reach the disk.
    NotesDirNotFlushed,
    /// A failed write of the delivery index is reported as successful.
    NotesForgotten,
    /// A saved checkpoint does not get its name.
    RetiredBeforeCheckpoint,
    /// The write of a dead letter does not reach the file.
    LettersNotStored,
    /// The flush of a dead letter does not reach the disk.
    LettersNotFlushed,
    /// A start's write of a dead letter that the file shows already does not reach the disk.
    LettersNotRewritten,
    /// The write that destroys the key of a delivered segment does not reach the file.
    SkipShred,

    // Faults of the commit path.
    /// Waiters are notified before the flush.
    AnswerBeforeFlush,
    /// Requests that arrive during the flush are acknowledged by it too.
    CoverAfterFlush,
    /// A failed flush is recorded only after the waiters were notified.
    FailureLate,
    /// Only the first waiter of a group is notified of a failed flush.
    FollowersNotTold,
    /// The commit thread ends at a failure and leaves requests in the queue.
    QueueLeftBehind,
    /// The commit thread is woken before the request is in the queue, not after.
    WakeBeforeEnqueue,
    /// The queue does not release the space of a cancelled request.
    CancelledKeepsRoom,
    /// Readers are woken without the lock under which they check.
    WakeWithoutLock,
    /// Readers are woken before the waiters are notified.
    ReadersBeforeAnswers,
    /// Readers see a group before it is flushed.
    PublishedBeforeFlush,
    /// A failed write or flush does not poison the log.
    FailureNotFinal,
    /// The writer is not notified that a preallocated segment is ready.
    SpareNotTold,
    /// The next segment's file is preallocated again while the writer renames it.
    SpareFilledAnew,

    // Faults of formats, recovery and checkpoints.
    /// Durable offsets of frames cover more than was flushed before them.
    PromiseTooFar,
    /// Durable offsets of frames are always 0.
    PromiseNotAdvanced,
    /// Durable offsets of frames after damage are ignored.
    PromiseBehindIgnored,
    /// The durable position of the checkpoint is not checked.
    PromiseNotChecked,
    /// The end of a batch is not checked.
    HalfBatchAccepted,
    /// The footer that a start writes covers records that were rewritten and not flushed.
    FooterPromisesSurvivors,
    /// Type, end of batch and lane are not covered by the checksum.
    CrcOmitsType,
    /// The segment's salt is not covered by the checksum.
    CrcOmitsSalt,
    /// The offset is not covered by the checksum.
    CrcOmitsOffset,
    /// A length beyond the segment's end is accepted.
    LengthNotBounded,
    /// A start ignores damage that an earlier start listed.
    ListingForgotten,
    /// A checkpoint is saved before the delivery index is written.
    CheckpointBeforeNotes,
    /// Segments are retired before all their records are done.
    IncompleteRetired,
    /// The watermark passes the first record that is not done.
    WatermarkTooFar,
    /// Confirming a record marks the records before it.
    BelowMarkedToo,
    /// The LSNs of deleted segments are not remembered as done.
    GapForgotten,
    /// The LSNs of a segment with a damaged header are assigned again.
    HeadlessNumbersGiven,
    /// A segment with a damaged header is moved before its records are listed.
    HeadlessMovedFirst,
    /// The LSNs of dead letters are assigned again if the log ends below them.
    LetterNumbersGiven,
    /// A start does not count dead letters as done.
    LettersNotMarked,
    /// A reader skips damage without listing it.
    DamageSkipped,
    /// A second process gets the lock.
    NoLock,
    /// Every segment of every start has the same data key.
    ReuseDataKey,
    /// Decrypted bytes are accepted without authentication.
    IgnoreTag,

    // Faults of the drain.
    /// A record counts as confirmed when the producer has accepted it.
    ConfirmUnsent,
    /// A record counts as sent when it was written in a transaction, even if the transaction is not committed.
    SentBeforeCommit,
    /// Responses to commits are lost now and then. This is not a bug of the daemon: no test may fail.
    LoseCommitAnswer,
    /// Responses to commits are lost now and then, and treated as failures.
    GuessCommit,
}

#[cfg(not(feature = "planted-faults"))]
impl Failpoint {
    /// Whether this failpoint is set. Never, in this build.
    #[inline(always)]
    pub const fn is_set(self) -> bool {
        false
    }

    /// Whether this failpoint is set and triggers this time. Never, in this build.
    #[inline(always)]
    pub const fn triggers(self) -> bool {
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

    /// Environment variable that sets a failpoint, by its name, in the whole process: for tests of the real program.
    const ENV_VARIABLE: &str = "FOREBAY_PLANTED_FAULT";

    thread_local! {
        static THREAD_FAILPOINT: Cell<Option<Failpoint>> = const { Cell::new(None) };
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }

    /// Sets a failpoint in this thread; `None` clears it. Simulations run in parallel, in one thread each.
    pub fn set(failpoint: Option<Failpoint>) {
        THREAD_FAILPOINT.set(failpoint);
    }

    impl Failpoint {
        /// Whether this failpoint is set, in this thread or in the whole process.
        pub fn is_set(self) -> bool {
            static PROCESS_FAILPOINT: OnceLock<Option<Failpoint>> = OnceLock::new();
            let everywhere = PROCESS_FAILPOINT.get_or_init(|| {
                let name = std::env::var(ENV_VARIABLE).ok()?;
                Self::ALL.iter().copied().find(|failpoint| format!("{failpoint:?}") == name)
            });
            THREAD_FAILPOINT.get().or(*everywhere) == Some(self)
        }

        /// Whether this failpoint is set and triggers this time: at every fifth call in this thread. Calls are counted,
        /// because the data may be the same at each retry.
        pub fn triggers(self) -> bool {
            self.is_set() && CALLS.replace(CALLS.get() + 1).is_multiple_of(5)
        }
    }
}
