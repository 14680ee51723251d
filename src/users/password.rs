//! Rules for new passwords.
//!
//! The rules are a minimum length and a list of the most common passwords, without rules about kinds of characters, as
//! NIST SP 800-63B (section 3.1.1.2) advises. The upper limit is bcrypt's: it reads 72 bytes. A longer password is
//! rejected rather than truncated.
//!
//! A password is stored and compared in one form, RFC 8265's OpaqueString. It is composed (NFC), because keyboards
//! differ in how they send accents. Every other space becomes a plain space, because some keyboards send those. Nothing
//! else changes. The login does not try the typed form as well: that would double the time of a wrong password, and the
//! time would reveal which characters it contains.

use icu_properties::props::GeneralCategory;
use zeroize::Zeroizing;

use super::FieldError;
use super::unicode::{category, composed, is_space};
use crate::command::Secret;

/// The rules, as shown to users.
pub const RULE: &str = "at least 8 characters, 5 of them different, and at most 72 bytes in composed UTF-8 (NFC); \
                        it must not be a common password, your name or your e-mail address";
const MIN_CHARACTERS: usize = 8;
const MIN_DISTINCT: usize = 5;
/// The maximum number of bytes that bcrypt reads.
pub const MAX_BYTES: usize = 72;

/// Compared case-insensitively. From lists of leaked passwords; only those that the other rules accept.
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

/// The form in which a password is stored and compared.
pub fn normalized(text: &str) -> Secret {
    // Most passwords are ASCII, which is already in this form.
    if text.is_ascii() {
        return Secret::new(text.to_owned());
    }
    let spaced = text.chars().map(|character| if is_space(character) { ' ' } else { character });
    let spaced: Zeroizing<String> = Zeroizing::new(spaced.collect());
    Secret::new(composed(&spaced).into_owned())
}

/// Rejects a password, given in normal form, that breaks a rule. `others`: public values of the same user.
pub fn check(password: &str, others: &[&str]) -> Result<(), FieldError> {
    let refuse = |why: &str| Err(FieldError::new("password", format!("{why}. A password must have {RULE}")));
    if password.len() > MAX_BYTES {
        return refuse("is longer than 72 bytes, and the rest would be ignored");
    }
    if password.contains('\0') {
        return refuse("contains a NUL character, and the rest would be ignored");
    }
    // The composed form is stable across Unicode versions only for assigned characters.
    if password.chars().any(|character| category(character) == GeneralCategory::Unassigned) {
        return refuse("contains a character that this version of forebay does not know");
    }
    if password.chars().count() < MIN_CHARACTERS {
        return refuse("is too short");
    }
    let mut characters: Vec<char> = password.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let lower = password.to_lowercase();
    let known = others.iter().any(|other| other.to_lowercase() == lower);
    if characters.len() < MIN_DISTINCT || COMMON.contains(&lower.as_str()) || known {
        return refuse("is too easy to guess");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_uncommon_passwords_are_valid() {
        for good in ["correct horse battery staple", "Пароль-ночью", "s3cret-Pa", &"abcdefgh".repeat(9)]
        {
            assert_eq!(check(good, &["ada"]), Ok(()), "{good}");
        }
    }

    #[test]
    fn equal_passwords_have_one_form() {
        let spellings = ["na\u{ef}ve caf\u{e9}", "nai\u{308}ve cafe\u{301}", "na\u{ef}ve\u{3000}cafe\u{301}"];
        for spelling in spellings {
            assert_eq!(normalized(spelling).expose(), "na\u{ef}ve caf\u{e9}");
        }
        for other in ["Plain ASCII\tstays ", "ﬁne", "①", "ＡＢＣ", "Пароль"] {
            assert_eq!(normalized(other).expose(), other, "visibly different characters stay different");
        }
        // 36 letters in 108 bytes, in 72 when composed.
        let decomposed = "e\u{301}a\u{301}i\u{301}o\u{301}u\u{301}y\u{301}".repeat(6);
        assert!(decomposed.len() > MAX_BYTES && check(normalized(&decomposed).expose(), &[]).is_ok());
        assert!(check("abcdefgh\u{378}", &[]).is_err(), "its composed form is unknown");
    }

    #[test]
    fn common_passwords_are_rejected() {
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
    fn passwords_beyond_bcrypts_limit_are_rejected() {
        let refused = check(&"abcdefghi".repeat(9), &[]).unwrap_err();
        assert!(refused.detail.contains("72 bytes"), "{refused:?}");
        assert!(check(&"ëabcdefgh".repeat(8), &[]).is_err(), "bytes count, not characters");
        assert!(check("abcdefg\0hij", &[]).is_err());
    }
}
