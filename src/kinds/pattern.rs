//! Generates a short text that matches a regular expression, for examples.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// Preferred characters of a class.
const PREFERRED: [char; 3] = ['a', 'A', '0'];
/// Maximum length of the text, in bytes.
const MAX_BYTES: usize = 1_000;
/// Maximum number of evaluated parts of a pattern. Nested repetitions multiply.
const MAX_STEPS: usize = 10_000;

/// Generates a text of at least `min_length` characters that matches `pattern`. Returns `None` if the pattern is not
/// supported (for example, look-ahead) or a limit is exceeded. The text may not match, because word boundaries are
/// ignored.
pub(super) fn example_text(pattern: &str, min_length: usize) -> Option<String> {
    let expression = regex_syntax::parse(pattern).ok()?;
    // First with the minimum of each repetition, then with one, then with enough for `min_length`.
    [0, 1, min_length].into_iter().find_map(|repeats| {
        let mut text = Text { bytes: String::new(), repeats, steps_left: MAX_STEPS };
        text.write(&expression)?;
        (text.bytes.chars().count() >= min_length).then_some(text.bytes)
    })
}

struct Text {
    bytes: String,
    /// Preferred count of each repetition.
    repeats: usize,
    steps_left: usize,
}

impl Text {
    /// Appends text that matches `expression`. `None` if a limit is exceeded, or if the pattern matches bytes that are
    /// not characters.
    fn write(&mut self, expression: &Hir) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        match expression.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => self.bytes.push_str(str::from_utf8(&literal.0).ok()?),
            HirKind::Class(class) => self.bytes.push(member(class)?),
            HirKind::Repetition(Repetition { min, max, sub, .. }) => {
                let most = max.map_or(usize::MAX, |max| max as usize);
                for _ in 0..self.repeats.clamp((*min as usize).min(most), most) {
                    self.write(sub)?;
                }
            }
            HirKind::Capture(capture) => self.write(&capture.sub)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part))?,
            HirKind::Alternation(choices) => self.write(choices.first()?)?,
        }
        (self.bytes.len() <= MAX_BYTES).then_some(())
    }
}

/// One character of a class.
fn member(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else { return None };
    let has = |character: &char| class.iter().any(|range| (range.start()..=range.end()).contains(character));
    PREFERRED.into_iter().find(has).or_else(|| class.iter().next().map(|range| range.start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_matches_the_pattern() {
        for (pattern, min_length, expected) in [
            ("^[A-Z]{3}$", 0, Some("AAA")),
            ("^ord-[0-9]+$", 0, Some("ord-0")),
            ("^[a-z]*$", 4, Some("aaaa")),
            (r"^\d{4}-(0[1-9]|1[0-2])$", 0, Some("0000-01")),
            ("^(?=x)x$", 0, None),
            ("^[a-z]{2}$", 3, None),
            ("^a{2000}$", 0, None),
            ("^((a?){1000}){1000}$", 0, None),
        ] {
            assert_eq!(example_text(pattern, min_length).as_deref(), expected, "{pattern}");
        }
    }
}
