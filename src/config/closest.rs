//! Finds the known name that is most similar to an unknown one.

/// Minimum similarity of a suggestion, from 0 to 1. With more than two wrong letters in five, a guess does not help.
const SIMILAR: f64 = 0.6;

/// The most similar name, if one is similar enough. Underscores, hyphens and case are ignored.
pub(super) fn find_closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = normalized(name);
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&name, &normalized(other));
    let rated = names.into_iter().map(|other| (likeness(other), other));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= SIMILAR).then_some(best.1)
}

fn normalized(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_recognised_and_another_word_is_not() {
        let names = ["dir", "segment_size", "segment_max_age", "max_backlog_size"];
        for (name, meant) in [
            ("dri", Some("dir")),
            ("sgement_size", Some("segment_size")),
            ("segment-size", Some("segment_size")),
            ("segmentSize", Some("segment_size")),
            ("backlog_size", Some("max_backlog_size")),
            ("compression", None),
            ("", None),
        ] {
            assert_eq!(find_closest(name, names), meant, "{name}");
        }
    }
}
