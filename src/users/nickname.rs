//! Rules for nicknames: free names in any script, never blank.
//!
//! The rules follow RFC 8266, but use the composed form (NFC) instead of NFKC, because a nickname is displayed and not
//! compared. Invisible characters are rejected, because one nickname could look like another. Where scripts and emoji
//! need such a character, it is allowed in the positions where it changes the display (RFC 5892, appendix A, and UAX
//! #31).

use icu_properties::props::{GeneralCategoryGroup, JoiningType};

use super::FieldError;
use super::unicode::{
    category, composed, is_hidden, is_letter, is_mark, is_picture, is_space, is_variation, is_virama, joining,
};

/// The rule for nicknames, as shown to users.
pub const RULE: &str = "1 to 64 characters, at least one of them visible; a mark only after its base character; no \
                        control or direction marks, and joiners only where a script or an emoji needs them";
const MAX_CHARACTERS: usize = 64;

const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';
/// Symbols and letters without a visible shape: braille, music, and hieroglyphs.
const BLANK: [char; 4] = ['\u{2800}', '\u{1d159}', '\u{13441}', '\u{13442}'];
const BLACK_FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';

/// Normalises a nickname: composed and trimmed, with single spaces.
pub fn nickname(text: &str) -> Result<String, FieldError> {
    let words: Vec<&str> = text.trim().split(is_space).filter(|word| !word.is_empty()).collect();
    let nickname = composed(&words.join(" ")).into_owned();
    // One character above the limit is enough to detect excess.
    let characters: Vec<char> = nickname.chars().take(MAX_CHARACTERS + 1).collect();
    let begins = characters.first().is_some_and(|first| !is_mark(*first));
    let is_shown = characters.iter().any(|character| is_visible(*character));
    let is_plain = (0..characters.len()).all(|at| !is_hidden(characters[at]) || is_needed(&characters, at));
    match begins && is_shown && is_plain && characters.len() <= MAX_CHARACTERS {
        true => Ok(nickname),
        false => Err(FieldError::new("nickname", format!("must have {RULE}"))),
    }
}

/// Whether the character is visible by itself. A character newer than the tables counts as an emoji.
fn is_visible(character: char) -> bool {
    let unseen = GeneralCategoryGroup::Mark.union(GeneralCategoryGroup::Separator);
    !unseen.contains(category(character)) && !is_hidden(character) && !BLANK.contains(&character)
}

/// Whether an invisible character changes the display of its neighbours.
fn is_needed(text: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| text[before]);
    let after = text.get(at + 1).copied();
    match text[at] {
        NON_JOINER => before.is_some_and(is_virama) || separates_letters(&text[..at], &text[at + 1..]),
        // After a virama, as in Sinhala; before it, as in Bengali and for touching letters.
        JOINER => {
            let precedes_virama = before.is_some_and(is_letter) && after.is_some_and(is_virama);
            before.is_some_and(is_virama) || precedes_virama || joins_emoji(&text[..at], after)
        }
        character if is_variation(character) => before.is_some_and(is_visible),
        // Separates a vowel from its stem in Mongolian.
        '\u{180e}' => before.is_some_and(is_mongolian) && after.is_some_and(is_mongolian),
        character if is_tag(character) => spells_a_flag(&text[..at], &text[at..]),
        _ => false,
    }
}

/// Whether the position is between letters that would otherwise join, ignoring marks, as in Persian.
fn separates_letters(before: &[char], after: &[char]) -> bool {
    let joins = |character: &char| Some(joining(*character)).filter(|how| *how != JoiningType::Transparent);
    let (left, right) = (before.iter().rev().find_map(joins), after.iter().find_map(joins));
    matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// Whether the position is between two pictures; the first may have a variation selector or skin tone (UAX #29, GB11).
fn joins_emoji(before: &[char], after: Option<char>) -> bool {
    let extends = |character: char| is_variation(character) || matches!(character, '\u{1f3fb}'..='\u{1f3ff}');
    let first = before.iter().rev().copied().find(|character| !extends(*character));
    first.is_some_and(is_picture) && after.is_some_and(is_picture)
}

fn is_mongolian(character: char) -> bool {
    matches!(character, '\u{1820}'..='\u{18aa}') || is_variation(character)
}

fn is_tag(character: char) -> bool {
    matches!(character, '\u{e0020}'..='\u{e007f}')
}

/// Whether a black flag with tags and an end tag spells the flag of a region, such as Scotland's.
fn spells_a_flag(before: &[char], from_here: &[char]) -> bool {
    let first = before.iter().rev().find(|character| !is_tag(**character));
    let last = from_here.iter().take_while(|character| is_tag(**character)).last();
    first == Some(&BLACK_FLAG) && last == Some(&END_OF_TAGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_nicknames_are_valid() {
        let long = "ë".repeat(64);
        for good in [
            "Ada",
            "Zoë 李",
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "ක\u{200d}්ව",
            "র\u{200d}্যাচেল",
            "क्\u{200d}ष",
            "क्\u{200c}ष",
            "ᠠ\u{180e}ᠠ",
            "葛\u{e0100}城",
            "👩\u{200d}👩\u{200d}👧\u{200d}👦",
            "🧑🏽\u{200d}🚀",
            "🏳\u{fe0f}\u{200d}🌈",
            "1\u{fe0f}\u{20e3}",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "שָׁלוֹם",
            "ก็",
            "⠓⠊",
            &long,
        ] {
            assert_eq!(nickname(good).as_deref(), Ok(&*composed(good)), "{good}");
        }
    }

    #[test]
    fn spellings_of_one_nickname_have_one_form() {
        for spelling in [" Zo\u{eb}  Li\t", "Zoe\u{308}\u{a0}Li", "\u{3000}Zoë\u{2003}\u{2003}Li\n"] {
            assert_eq!(nickname(spelling).as_deref(), Ok("Zoë Li"), "{spelling:?}");
        }
        assert_eq!(nickname(&"e\u{308}".repeat(64)).map(|it| it.chars().count()), Ok(64), "counted composed");
    }

    #[test]
    fn invisible_characters_are_rejected() {
        let long = "ë".repeat(65);
        let flag_with_a_message = "🏴\u{e0067}\u{e0062}";
        for bad in [
            "",
            " ",
            "\u{a0}\u{2003}\u{3000}",
            "\u{3164}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{2800}",
            "\u{2800} \u{1d159}",
            "\u{301}",
            "\u{301}Ada",
            "\u{fe0f}",
            "\u{e0100}\u{e0100}",
            "\u{34f}",
            "\u{200c}",
            "\u{200d}\u{200d}",
            "a\tb",
            "a\u{0}b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{202e}b",
            "a\u{200b}",
            "a\u{ad}b",
            "a\u{feff}",
            "a\u{2060}b",
            "a\u{180e}b",
            "a\u{200c}b",
            "a\u{200d}b",
            "می\u{200c}",
            "می\u{200c}\u{200c}خ",
            "👩\u{200d}",
            "\u{200d}👩",
            "👩\u{200d}a",
            "a\u{fe0f}\u{fe0f}",
            "a\u{e0041}\u{e0042}",
            "\u{e0001}a",
            "\u{fff9}a\u{fffa}b\u{fffb}",
            flag_with_a_message,
            &long,
        ] {
            let error = FieldError::new("nickname", format!("must have {RULE}"));
            assert_eq!(nickname(bad), Err(error), "{bad:?}");
        }
    }
}
