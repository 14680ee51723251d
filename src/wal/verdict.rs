//! What the end of the last segment means. Torn and damaged are told apart by evidence, never by "it was the last
//! thing that could be read".

/// What recovery sees at the first place where no valid frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// From here on there are only zeros, or the file ends.
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
    /// Flushed bytes changed, up to the end of what was promised.
    DamageToEnd,
    /// Flushed bytes are gone without a trace: this is an older state of the log than its checkpoint has seen.
    Lost,
}

/// The table. A row a case; a test a row.
pub fn judge(evidence: Evidence) -> Verdict {
    match evidence {
        Evidence { rest_blank: true, promised: false, .. } => Verdict::End,
        Evidence { rest_blank: true, promised: true, .. } => Verdict::Lost,
        // Unflushed pages may reach the disk in any order: a valid frame further on proves nothing without a promise.
        Evidence { rest_blank: false, promised: false, .. } => Verdict::Torn,
        Evidence { rest_blank: false, promised: true, later_valid: true } => Verdict::DamageThenMore,
        Evidence { rest_blank: false, promised: true, later_valid: false } => Verdict::DamageToEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rest_blank: bool, promised: bool, later_valid: bool) -> Verdict {
        judge(Evidence { rest_blank, promised, later_valid })
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
