//! Classifies the end of the last segment. Evidence distinguishes a torn tail from damage, never the mere position at
//! the end of the log.

/// The evidence at the first offset without a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The disk cannot read bytes of the frame expected here: of its header, or of the length in it.
    pub unreadable: bool,
    /// The bytes are not all zeros, and an earlier start listed the expected record as damaged. What that start saw may
    /// be overwritten: to write after unreadable sectors, it overwrites them.
    pub listed_as_damaged: bool,
    /// Only zeros, or the end of the file, follow. Unreadable bytes count as zeros.
    pub rest_zero: bool,
    /// According to the checkpoint or a valid frame, bytes from here on were flushed.
    pub known_durable: bool,
    /// A valid frame follows somewhere after this offset.
    pub valid_frame_follows: bool,
}

/// The class of a tail, and with it the action of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailClass {
    /// The segment simply ends here. No action.
    End,
    /// A crash interrupted a write that was not acknowledged. The bytes are copied to quarantine and cut.
    Torn,
    /// Flushed bytes changed. They are quarantined up to the next valid frame, and reading continues there.
    DamageBeforeFrame,
    /// Flushed bytes changed, up to the durable offset; or bytes cannot be read that may have been flushed.
    DamageToDurableEnd,
    /// Flushed bytes are missing without a trace: the log is older than its checkpoint.
    OlderThanCheckpoint,
}

/// Classifies a tail. Each row of the table has a test.
///
/// A crash leaves bytes that are not a frame, but hardly ever an unreadable sector. The last group of a log is covered
/// by no durable offset, because only the next group contains one. Acknowledged records may therefore be in an
/// unreadable sector, and nothing can prove it. So such a sector counts as damage without a durable offset. Its numbers
/// are skipped and listed, and the records after it are delivered. The price: a listed record may never have been
/// written, or a batch that was not acknowledged may be delivered in part.
///
/// An unreadable sector further on, in the unused part of the file, is no evidence, because the next expected frame has
/// no byte in it.
pub fn classify_tail(evidence: Evidence) -> TailClass {
    match evidence {
        Evidence { unreadable: true, valid_frame_follows: true, .. } => TailClass::DamageBeforeFrame,
        Evidence { unreadable: true, valid_frame_follows: false, .. } => TailClass::DamageToDurableEnd,
        Evidence { listed_as_damaged: true, valid_frame_follows: true, .. } => TailClass::DamageBeforeFrame,
        Evidence { listed_as_damaged: true, valid_frame_follows: false, .. } => TailClass::DamageToDurableEnd,
        Evidence { rest_zero: true, known_durable: false, .. } => TailClass::End,
        Evidence { rest_zero: true, known_durable: true, .. } => TailClass::OlderThanCheckpoint,
        // Unflushed pages may reach the disk in any order, so a later valid frame proves nothing without a durable
        // offset.
        Evidence { rest_zero: false, known_durable: false, .. } => TailClass::Torn,
        Evidence { rest_zero: false, known_durable: true, valid_frame_follows: true, .. } => {
            TailClass::DamageBeforeFrame
        }
        Evidence { rest_zero: false, known_durable: true, valid_frame_follows: false, .. } => {
            TailClass::DamageToDurableEnd
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rest_zero: bool, known_durable: bool, valid_frame_follows: bool) -> TailClass {
        classify_tail(Evidence {
            unreadable: false,
            listed_as_damaged: false,
            rest_zero,
            known_durable,
            valid_frame_follows,
        })
    }

    #[test]
    fn unreadable_bytes_are_always_damage() {
        for (rest_zero, known_durable) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |valid_frame_follows| {
                classify_tail(Evidence {
                    unreadable: true,
                    listed_as_damaged: false,
                    rest_zero,
                    known_durable,
                    valid_frame_follows,
                })
            };
            assert_eq!((of(true), of(false)), (TailClass::DamageBeforeFrame, TailClass::DamageToDurableEnd));
        }
    }

    #[test]
    fn a_listed_record_is_always_damage() {
        for (rest_zero, known_durable) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |valid_frame_follows| {
                classify_tail(Evidence {
                    unreadable: false,
                    listed_as_damaged: true,
                    rest_zero,
                    known_durable,
                    valid_frame_follows,
                })
            };
            assert_eq!((of(true), of(false)), (TailClass::DamageBeforeFrame, TailClass::DamageToDurableEnd));
        }
    }

    #[test]
    fn zeros_above_the_durable_offset_are_the_end() {
        assert_eq!(of(true, false, false), TailClass::End);
    }

    #[test]
    fn zeros_below_the_durable_offset_are_a_loss() {
        assert_eq!(of(true, true, false), TailClass::OlderThanCheckpoint);
    }

    #[test]
    fn bytes_above_the_durable_offset_are_a_torn_tail() {
        assert_eq!(of(false, false, false), TailClass::Torn);
    }

    #[test]
    fn a_later_valid_frame_alone_proves_no_durability() {
        assert_eq!(of(false, false, true), TailClass::Torn);
    }

    #[test]
    fn durable_bytes_before_a_valid_frame_are_damage() {
        assert_eq!(of(false, true, true), TailClass::DamageBeforeFrame);
    }

    #[test]
    fn durable_bytes_before_no_valid_frame_are_damage() {
        assert_eq!(of(false, true, false), TailClass::DamageToDurableEnd);
    }
}
