//! What the end of the last segment means. Torn and damaged are told apart by evidence, never by "it was the last
//! thing that could be read".

/// What recovery sees at the first place where no valid frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The disk cannot read bytes of the frame that should lie here: of its header, or of what its length claims.
    pub unreadable: bool,
    /// Bytes lie here, and an earlier start listed the record that should as damaged. What that start saw may be gone:
    /// it overwrites unreadable sectors to write behind them.
    pub listed: bool,
    /// From here on there are only zeros, or the file ends. Bytes that cannot be read do not count.
    pub rest_blank: bool,
    /// The checkpoint, or a valid frame, says that bytes from here on were flushed.
    pub promised: bool,
    /// A valid frame lies further on.
    pub later_valid: bool,
}

/// What recovery does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the segment simply ends here.
    End,
    /// A crash interrupted a write that nobody was told of: keep it aside, cut.
    Torn,
    /// Flushed bytes changed: quarantine up to the next valid frame and go on behind it.
    DamageThenMore,
    /// Flushed bytes changed, up to the end of what was promised; or bytes that may have been flushed cannot be read.
    DamageToEnd,
    /// Flushed bytes are gone without a trace: this is an older state of the log than its checkpoint has seen.
    Lost,
}

/// The table. A row a case; a test a row.
///
/// A crash leaves bytes that are no frame. It hardly ever leaves a sector that cannot be read. The last group of a log
/// is promised by nothing but the next one, so records that were acknowledged may lie in such a sector, and nobody can
/// tell. So it counts as damage without a promise: its numbers are passed and listed, and what follows it is delivered.
/// The price is that a listed record may never have been written, or that a batch nobody was told of is delivered in
/// part. An unreadable sector further on, in the part of the file that was never used, is no evidence of anything: the
/// frame that would come next touches none of it.
pub fn judge(evidence: Evidence) -> Verdict {
    match evidence {
        Evidence { unreadable: true, later_valid: true, .. } => Verdict::DamageThenMore,
        Evidence { unreadable: true, later_valid: false, .. } => Verdict::DamageToEnd,
        Evidence { listed: true, later_valid: true, .. } => Verdict::DamageThenMore,
        Evidence { listed: true, later_valid: false, .. } => Verdict::DamageToEnd,
        Evidence { rest_blank: true, promised: false, .. } => Verdict::End,
        Evidence { rest_blank: true, promised: true, .. } => Verdict::Lost,
        // Unflushed pages may reach the disk in any order: a valid frame further on proves nothing without a promise.
        Evidence { rest_blank: false, promised: false, .. } => Verdict::Torn,
        Evidence { rest_blank: false, promised: true, later_valid: true, .. } => Verdict::DamageThenMore,
        Evidence { rest_blank: false, promised: true, later_valid: false, .. } => Verdict::DamageToEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rest_blank: bool, promised: bool, later_valid: bool) -> Verdict {
        judge(Evidence { unreadable: false, listed: false, rest_blank, promised, later_valid })
    }

    #[test]
    fn unreadable_bytes_are_damage_whatever_was_promised() {
        for (rest_blank, promised) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |later_valid| {
                judge(Evidence { unreadable: true, listed: false, rest_blank, promised, later_valid })
            };
            assert_eq!((of(true), of(false)), (Verdict::DamageThenMore, Verdict::DamageToEnd));
        }
    }

    #[test]
    fn a_listed_record_is_damage_whatever_was_promised() {
        for (rest_blank, promised) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |later_valid| {
                judge(Evidence { unreadable: false, listed: true, rest_blank, promised, later_valid })
            };
            assert_eq!((of(true), of(false)), (Verdict::DamageThenMore, Verdict::DamageToEnd));
        }
    }

    #[test]
    fn zeros_nobody_promised_are_the_end() {
        assert_eq!(of(true, false, false), Verdict::End);
    }

    #[test]
    fn zeros_where_bytes_were_promised_are_a_loss() {
        assert_eq!(of(true, true, false), Verdict::Lost);
    }

    #[test]
    fn bytes_nobody_promised_are_a_torn_tail() {
        assert_eq!(of(false, false, false), Verdict::Torn);
    }

    #[test]
    fn a_valid_frame_behind_a_hole_does_not_promise_anything_by_itself() {
        assert_eq!(of(false, false, true), Verdict::Torn);
    }

    #[test]
    fn promised_bytes_before_a_valid_frame_are_damage_up_to_it() {
        assert_eq!(of(false, true, true), Verdict::DamageThenMore);
    }

    #[test]
    fn promised_bytes_before_nothing_valid_are_damage_to_the_end() {
        assert_eq!(of(false, true, false), Verdict::DamageToEnd);
    }
}
