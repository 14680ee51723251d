//! Reasons of dead letters: the text stored in the dead letter, and its code in metrics.

macro_rules! reasons {
    ($($code:literal $text:literal,)*) => {
        /// All codes.
        pub(super) const CODES: &[&str] = &[$($code,)* OTHER];

        /// The code of a reason's text.
        pub(super) fn code_of(text: &str) -> &'static str {
            match text {
                $($text => $code,)*
                _ => OTHER,
            }
        }
    };
}

/// Code of a text that has no code in this file.
const OTHER: &str = "other";

reasons! {
    "topic_unknown" "topic: unknown",
    "topic_not_authorised" "topic: not authorised",
    "topic_invalid_name" "topic: invalid name",
    "record_too_large" "record: too large",
    "record_invalid" "record: invalid",
    "record_against_policy" "record: against the broker's policy",
    "record_format_unsupported" "record: format not supported by the topic",
    "record_unreadable" "envelope",
    "password_missing" "sealed: no password",
    "password_too_long" "sealed: password too long",
    "password_not_hashed" "sealed: not hashed",
    "password_no_hasher" "sealed: nobody hashes here",
    "password_no_user_command" "sealed: no user command",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Files that contain reasons. All reasons have the same form.
    #[test]
    fn every_reason_in_the_code_has_a_code() {
        // Other files define these two: for an envelope that cannot be decoded, and for a text without a code.
        let mut seen = BTreeSet::from(["record_unreadable", OTHER]);
        for file in [
            "drain/deferred_values.rs",
            "drain/value_resolver.rs",
            "kafka/errors.rs",
            "kafka/topic_admin.rs",
            "users/deferred_hasher.rs",
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
            let text = fs::read_to_string(path).unwrap();
            let shipped = text.split("#[cfg(test)]").next().unwrap();
            for literal in shipped.lines().flat_map(|line| line.split('"').skip(1).step_by(2)) {
                if ["topic: ", "record: ", "sealed: "].iter().any(|kind| literal.starts_with(kind)) {
                    assert_ne!(code_of(literal), OTHER, "{literal} in {file}");
                    seen.insert(code_of(literal));
                }
            }
        }
        assert_eq!(code_of("envelope"), "record_unreadable");
        assert_eq!(seen, CODES.iter().copied().collect(), "codes without a reason in the code");
    }
}
