//! Which passwords may be set.
//!
//! Length and a list of the best known ones, no rule about kinds of characters: that is what NIST SP 800-63B
//! (section 3.1.1.2) advises. The upper bound is bcrypt's: it sees 72 bytes, and a longer password is refused rather
//! than cut.
//!
//! A password is set and compared in one form, RFC 8265's OpaqueString: composed (NFC), because keyboards differ in how
//! they send an accent, and with a plain space for every other one, because some send those too. Nothing else is changed.
//! A hash of another form would be nobody's password; there is no second try with what was typed, which would double the
//! time of a wrong password and tell by it which characters it has.

use icu_properties::props::GeneralCategory;
use zeroize::Zeroizing;

use super::FieldError;
use super::unicode::{category, composed, is_space};
use crate::command::Secret;

/// The rule, for people.
pub const RULE: &str = "at least 8 characters, 5 of them different, and at most 72 bytes in composed UTF-8 (NFC); \
                        not one of the most common passwords, and neither your name nor your e-mail address";
const MIN_CHARACTERS: usize = 8;
const MIN_DISTINCT: usize = 5;
/// What bcrypt sees of a password.
pub const MAX_BYTES: usize = 72;

/// Compared without regard to case. From lists of leaked passwords; only those that the other rules would let pass.
const COMMON: &[&str] = &[
    "1234567890",
    "12345678",
    "123456789",
    "password",
    "password1",
    "password12",
    "password123",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "qwertyuiop",
    "qwerty123",
    "qwerty12345",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "q1w2e3r4",
    "abcd1234",
    "abc12345",
    "letmein1",
    "letmein123",
    "welcome1",
    "welcome123",
    "iloveyou",
    "iloveyou1",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "trustno1",
    "starwars",
    "whatever",
    "changeme",
    "changeme1",
    "computer",
    "internet",
    "dragon123",
    "monkey123",
    "master123",
    "admin123",
    "admin1234",
    "administrator",
    "michelle",
    "jennifer",
    "corvette",
    "mercedes",
    "zaq12wsx",
    "asdfghjkl",
    "asdf1234",
    "qazwsxedc",
    "87654321",
    "987654321",
    "0987654321",
    "11223344",
    "123123123",
    "zxcvbnm1",
    "zxcvbnm123",
    "passwort",
    "passwort1",
    "geheim123",
];

/// The form in which a password is set and compared.
pub fn normalized(text: &str) -> Secret {
    // Most are ASCII, which is in this form already.
    if text.is_ascii() {
        return Secret::new(text.to_owned());
    }
    let spaced = text.chars().map(|character| if is_space(character) { ' ' } else { character });
    let spaced: Zeroizing<String> = Zeroizing::new(spaced.collect());
    Secret::new(composed(&spaced).into_owned())
}

/// Refuses what may not be set, of a password in its normal form. `others`: what belongs to the same user and is known to
/// everybody.
pub fn check(password: &str, others: &[&str]) -> Result<(), FieldError> {
    let refuse = |why: &str| Err(FieldError::new("password", format!("{why}; a password has {RULE}")));
    if password.len() > MAX_BYTES {
        return refuse("it is longer than 72 bytes, and would not be hashed whole");
    }
    if password.contains('\0') {
        return refuse("it holds a NUL, where the hash would end");
    }
    // Only of characters that are defined is the composed form the same in every version of Unicode.
    if password.chars().any(|character| category(character) == GeneralCategory::Unassigned) {
        return refuse("it holds a character that this version of forebay does not know");
    }
    if password.chars().count() < MIN_CHARACTERS {
        return refuse("it is too short");
    }
    let mut characters: Vec<char> = password.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let lower = password.to_lowercase();
    let known = others.iter().any(|other| other.to_lowercase() == lower);
    if characters.len() < MIN_DISTINCT || COMMON.contains(&lower.as_str()) || known {
        return refuse("it is too easy to guess");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_unusual_is_enough() {
        for good in ["correct horse battery staple", "Пароль-ночью", "s3cret-Pa", &"abcdefgh".repeat(9)]
        {
            assert_eq!(check(good, &["ada"]), Ok(()), "{good}");
        }
    }

    #[test]
    fn one_password_has_one_form_however_it_is_sent() {
        let spellings = ["na\u{ef}ve caf\u{e9}", "nai\u{308}ve cafe\u{301}", "na\u{ef}ve\u{3000}cafe\u{301}"];
        for spelling in spellings {
            assert_eq!(normalized(spelling).expose(), "na\u{ef}ve caf\u{e9}");
        }
        for other in ["Plain ASCII\tstays ", "ﬁne", "①", "ＡＢＣ", "Пароль"] {
            assert_eq!(normalized(other).expose(), other, "what looks different is different");
        }
        // 36 letters in 108 bytes, in 72 when composed.
        let decomposed = "e\u{301}a\u{301}i\u{301}o\u{301}u\u{301}y\u{301}".repeat(6);
        assert!(decomposed.len() > MAX_BYTES && check(normalized(&decomposed).expose(), &[]).is_ok());
        assert!(check("abcdefgh\u{378}", &[]).is_err(), "nobody knows its composed form");
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        for bad in [
            "",
            "short12",
            "aaaaaaaa",
            "abababab",
            "PassWord1",
            "12345678",
            "ada.lovelace",
            "ADA@example.org",
        ] {
            let refused = check(bad, &["ada.lovelace", "ada@example.org"]).unwrap_err();
            assert!(refused.detail.contains("at least 8 characters"), "{refused:?}");
        }
    }

    #[test]
    fn more_than_bcrypt_sees_is_refused_and_not_cut() {
        let refused = check(&"abcdefghi".repeat(9), &[]).unwrap_err();
        assert!(refused.detail.contains("72 bytes"), "{refused:?}");
        assert!(check(&"ëabcdefgh".repeat(8), &[]).is_err(), "bytes count, not characters");
        assert!(check("abcdefg\0hij", &[]).is_err());
    }
}
