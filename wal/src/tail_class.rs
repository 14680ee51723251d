//! What the end of the last segment means. Torn and damaged are told apart by evidence, never by "it was the last
//! thing that could be read".

/// What recovery sees at the first place where no valid frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The disk cannot read bytes of the frame that should lie here: of its header, or of what its length claims.
    pub unreadable: bool,
    /// Bytes lie here, and an earlier start listed the record that should as damaged. What that start saw may be gone:
    /// it overwrites unreadable sectors to write behind them.
    pub listed_as_damaged: bool,
    /// From here on there are only zeros, or the file ends. Bytes that cannot be read do not count.
    pub rest_zero: bool,
    /// The checkpoint, or a valid frame, says that bytes from here on were flushed.
    pub known_durable: bool,
    /// A valid frame lies further on.
    pub valid_frame_follows: bool,
}

/// What recovery does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailClass {
    /// Nothing: the segment simply ends here.
    End,
    /// A crash interrupted a write that nobody was told of: keep it aside, cut.
    Torn,
    /// Flushed bytes changed: quarantine up to the next valid frame and go on behind it.
    DamageBeforeFrame,
    /// Flushed bytes changed, up to the end of what was promised; or bytes that may have been flushed cannot be read.
    DamageToDurableEnd,
    /// Flushed bytes are gone without a trace: this is an older state of the log than its checkpoint has seen.
    OlderThanCheckpoint,
}

/// The table. A row a case; a test a row.
///
/// A crash leaves bytes that are no frame. It hardly ever leaves a sector that cannot be read. The last group of a log
/// is promised by nothing but the next one, so records that were acknowledged may lie in such a sector, and nobody can
/// tell. So it counts as damage without a promise: its numbers are passed and listed, and what follows it is delivered.
/// The price is that a listed record may never have been written, or that a batch nobody was told of is delivered in
/// part. An unreadable sector further on, in the part of the file that was never used, is no evidence of anything: the
/// frame that would come next touches none of it.
pub fn classify_tail(evidence: Evidence) -> TailClass {
    match evidence {
        Evidence { unreadable: true, valid_frame_follows: true, .. } => TailClass::DamageBeforeFrame,
        Evidence { unreadable: true, valid_frame_follows: false, .. } => TailClass::DamageToDurableEnd,
        Evidence { listed_as_damaged: true, valid_frame_follows: true, .. } => TailClass::DamageBeforeFrame,
        Evidence { listed_as_damaged: true, valid_frame_follows: false, .. } => TailClass::DamageToDurableEnd,
        Evidence { rest_zero: true, known_durable: false, .. } => TailClass::End,
        Evidence { rest_zero: true, known_durable: true, .. } => TailClass::OlderThanCheckpoint,
        // Unflushed pages may reach the disk in any order: a valid frame further on proves nothing without a promise.
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

    fn of(rest_blank: bool, promised: bool, later_valid: bool) -> TailClass {
        classify_tail(Evidence {
            unreadable: false,
            listed_as_damaged: false,
            rest_zero: rest_blank,
            known_durable: promised,
            valid_frame_follows: later_valid,
        })
    }

    #[test]
    fn unreadable_bytes_are_damage_whatever_was_promised() {
        for (rest_blank, promised) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |later_valid| {
                classify_tail(Evidence {
                    unreadable: true,
                    listed_as_damaged: false,
                    rest_zero: rest_blank,
                    known_durable: promised,
                    valid_frame_follows: later_valid,
                })
            };
            assert_eq!((of(true), of(false)), (TailClass::DamageBeforeFrame, TailClass::DamageToDurableEnd));
        }
    }

    #[test]
    fn a_listed_record_is_damage_whatever_was_promised() {
        for (rest_blank, promised) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |later_valid| {
                classify_tail(Evidence {
                    unreadable: false,
                    listed_as_damaged: true,
                    rest_zero: rest_blank,
                    known_durable: promised,
                    valid_frame_follows: later_valid,
                })
            };
            assert_eq!((of(true), of(false)), (TailClass::DamageBeforeFrame, TailClass::DamageToDurableEnd));
        }
    }

    #[test]
    fn zeros_nobody_promised_are_the_end() {
        assert_eq!(of(true, false, false), TailClass::End);
    }

    #[test]
    fn zeros_where_bytes_were_promised_are_a_loss() {
        assert_eq!(of(true, true, false), TailClass::OlderThanCheckpoint);
    }

    #[test]
    fn bytes_nobody_promised_are_a_torn_tail() {
        assert_eq!(of(false, false, false), TailClass::Torn);
    }

    #[test]
    fn a_valid_frame_behind_a_hole_does_not_promise_anything_by_itself() {
        assert_eq!(of(false, false, true), TailClass::Torn);
    }

    #[test]
    fn promised_bytes_before_a_valid_frame_are_damage_up_to_it() {
        assert_eq!(of(false, true, true), TailClass::DamageBeforeFrame);
    }

    #[test]
    fn promised_bytes_before_nothing_valid_are_damage_to_the_end() {
        assert_eq!(of(false, true, false), TailClass::DamageToDurableEnd);
    }
}
