//! File of the service tokens: one line per token, with a digest instead of the token.
//!
//! ```text
//! # name   SHA-256 of the token in hexadecimal                                       role
//! billing  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ops      60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752  admin
//! ```
//!
//! `openssl rand -hex 32` creates a token, and `printf %s "$TOKEN" | sha256sum` its digest. An unsalted hash is enough,
//! because a random token cannot be guessed.

use std::collections::HashMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

use super::principal::Principal;

/// Maximum number of tokens. A larger installation should use signed tokens.
const MAX_TOKENS: usize = 10_000;

/// Digest that identifies a token.
pub(super) type TokenDigest = [u8; 32];

/// Computes the digest of a presented token.
pub(super) fn digest_of(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

/// Principals of the service tokens.
#[derive(Default)]
pub struct Tokens(HashMap<TokenDigest, Principal>);

/// Error in a line. The line is not shown, because it may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The line does not have the documented form.
    #[error("line {0}: expected a name, the SHA-256 of a token in hexadecimal, and optionally `admin`")]
    Malformed(usize),
    /// Two lines have the same digest.
    #[error("line {0}: expected a token that no earlier line has")]
    Duplicate(usize),
    /// The file holds too many tokens.
    #[error("at most {MAX_TOKENS} tokens")]
    TooMany,
}

impl Tokens {
    /// Parses the text of the file.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (digest, principal) = parse_line(line).ok_or(TokensError::Malformed(index + 1))?;
            if tokens.insert(digest, principal).is_some() {
                return Err(TokensError::Duplicate(index + 1));
            }
        }
        if tokens.len() > MAX_TOKENS {
            return Err(TokensError::TooMany);
        }
        Ok(Self(tokens))
    }

    /// The principal of this token. A lookup by digest, so its duration reveals nothing about other tokens.
    pub fn find(&self, fingerprint: &TokenDigest) -> Option<&Principal> {
        self.0.get(fingerprint)
    }
}

fn parse_line(line: &str) -> Option<(TokenDigest, Principal)> {
    let mut words = line.split_whitespace();
    let (name, digest, role) = (words.next()?, words.next()?, words.next());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let sane = name.len() <= 64 && name.bytes().all(plain) && words.next().is_none();
    let admin = match role {
        None => false,
        Some("admin") => true,
        Some(_) => return None,
    };
    let digest = HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).ok()?.try_into().ok()?;
    // A user's name never contains a colon, so a service is never mistaken for a user of the same name.
    let name = format!("service:{name}").into();
    sane.then_some((digest, Principal { name, admin, session: None, registered_at: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(token: &str) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(token))
    }

    #[test]
    fn a_token_is_found_by_digest_and_never_a_user() {
        let text = format!("# services\n\nbilling {}\nops\t{}  admin\n", digest("a"), digest("b"));
        let tokens = Tokens::parse(&text).unwrap();
        let billing = tokens.find(&digest_of("a")).unwrap();
        assert_eq!((&*billing.name, billing.admin), ("service:billing", false));
        assert!(tokens.find(&digest_of("b")).unwrap().admin);
        assert!(tokens.find(&digest_of("c")).is_none());
        assert!(tokens.find(&digest_of(&digest("a"))).is_none(), "a digest is not accepted as a token");
    }

    #[test]
    fn an_invalid_line_is_reported_by_number_without_its_text() {
        let good = digest("a");
        for bad in
            ["billing", "billing secret-token", &format!("billing {good} root"), &format!("b:x {good}")]
        {
            assert_eq!(Tokens::parse(&format!("\n{bad}")).err(), Some(TokensError::Malformed(2)), "{bad}");
        }
        let twice = format!("a {good}\nb {good}");
        assert_eq!(Tokens::parse(&twice).err(), Some(TokensError::Duplicate(2)));
    }
}
