//! Normalises each field of a user once, before any check. So indexes can always be used, and two spellings of one
//! address cannot belong to two users.

/// An invalid field, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Name of the field, as sent.
    pub field: String,
    /// What is wrong, and what is valid.
    pub detail: String,
}

impl FieldError {
    /// An error for a broken rule.
    pub fn new(field: &str, detail: impl Into<String>) -> Self {
        Self { field: field.to_owned(), detail: detail.into() }
    }
}

/// The rule for names, as shown to users.
pub const NAME_RULE: &str =
    "1 to 64 letters (a-z, A-Z), digits, `.`, `_` and `-`, the first one a letter or a digit";
const MAX_NAME: usize = 64;
/// RFC 5321: a path of 256 octets with its brackets, a local part of 64.
const MAX_EMAIL: usize = 254;
const MAX_LOCAL: usize = 64;
const MAX_LABEL: usize = 63;
const EMAIL_RULE: &str = "one address such as ada@example.org, in ASCII, at most 254 characters";

/// Normalises a name: trimmed. Names appear in paths, keys and log lines, so few characters are allowed. Nicknames
/// allow free spelling.
pub fn name(text: &str) -> Result<String, FieldError> {
    let name = text.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() <= MAX_NAME && name.bytes().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(FieldError::new("name", format!("must be {NAME_RULE}")))
}

/// Normalises an e-mail address: trimmed and in lower case. The part before the `@` is interpreted by the receiving
/// host (RFC 5321), but no current host distinguishes `Ada` from `ada`.
pub fn email(text: &str) -> Result<String, FieldError> {
    let email = text.trim().to_ascii_lowercase();
    if email.len() <= MAX_EMAIL
        && let Some((local, domain)) = email.split_once('@')
        && is_local_part(local)
        && is_domain(domain)
    {
        return Ok(email);
    }
    Err(FieldError::new("email", format!("must be {EMAIL_RULE}")))
}

/// A dot-atom (RFC 5322). Quoted local parts are rejected; most hosts do not support them either.
fn is_local_part(local: &str) -> bool {
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
    local.len() <= MAX_LOCAL && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.contains('.') && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contain_no_paths_sql_controls_or_direction_marks() {
        for good in ["ada", " Ada.L-1_x ", "7", &"n".repeat(64)] {
            assert_eq!(name(good).as_deref(), Ok(good.trim()));
        }
        let long = "n".repeat(65);
        for bad in [
            "",
            " ",
            "../etc/passwd",
            "a/b",
            "a'; DROP TABLE users; --",
            "a\u{0}b",
            "a\nb",
            "a\u{202e}b",
            "-a",
            ".a",
            "zoë",
            "a b",
            "a:b",
            "%41",
            &long,
        ] {
            assert_eq!(name(bad), Err(FieldError::new("name", format!("must be {NAME_RULE}"))), "{bad}");
        }
    }

    #[test]
    fn spellings_of_one_address_have_one_form() {
        for spelling in ["Ada@Example.ORG", " ada@example.org\n", "ADA@EXAMPLE.ORG"] {
            assert_eq!(email(spelling).as_deref(), Ok("ada@example.org"));
        }
        assert_eq!(email("a+tag@x-y.example.org").as_deref(), Ok("a+tag@x-y.example.org"));
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@localhost",
            "a@b@c.de",
            "a b@c.de",
            "a..b@c.de",
            ".a@c.de",
            "ada@-x.de",
            "ada@x..de",
            "ada@exämple.org",
            "ada@x.de\u{202e}",
            "\"a\"@c.de",
            &long,
        ] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}
