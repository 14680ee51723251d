//! The tokens of services: a file with a line for each, that holds no token.
//!
//! ```text
//! # name   SHA-256 of the token in hexadecimal                                       role
//! billing  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ops      60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752  admin
//! ```
//!
//! `openssl rand -hex 32` makes a token, `printf %s "$TOKEN" | sha256sum` its digest. A plain hash is enough for what
//! nobody can guess.

use std::collections::HashMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

use super::principal::Principal;

/// Whoever needs more than this wants signed tokens.
const MAX_TOKENS: usize = 10_000;

/// What stands for a token wherever one is looked for.
pub(super) type TokenDigest = [u8; 32];

/// The fingerprint of a token that somebody shows.
pub(super) fn digest_of(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

/// Who shows which token.
#[derive(Default)]
pub struct Tokens(HashMap<TokenDigest, Principal>);

/// What is wrong with a line. It is not shown: it may be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// Not of the form above.
    #[error("line {0}: a name, the SHA-256 of a token in hexadecimal, and perhaps `admin`")]
    Malformed(usize),
    /// Two lines with one digest.
    #[error("line {0}: a token that no line before it has")]
    Duplicate(usize),
    /// More than a file may hold.
    #[error("at most {MAX_TOKENS} tokens")]
    TooMany,
}

impl Tokens {
    /// Reads the file's text.
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

    /// Whose token this is. By its digest: how long the look-up takes says nothing about other tokens.
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
    // No user's name holds a colon: a service is never taken for a user of the same name.
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
    fn a_token_is_found_by_its_digest_and_is_never_a_user() {
        let text = format!("# services\n\nbilling {}\nops\t{}  admin\n", digest("a"), digest("b"));
        let tokens = Tokens::parse(&text).unwrap();
        let billing = tokens.find(&digest_of("a")).unwrap();
        assert_eq!((&*billing.name, billing.admin), ("service:billing", false));
        assert!(tokens.find(&digest_of("b")).unwrap().admin);
        assert!(tokens.find(&digest_of("c")).is_none());
        assert!(tokens.find(&digest_of(&digest("a"))).is_none(), "what stands in the file opens nothing");
    }

    #[test]
    fn a_line_that_is_none_is_named_and_not_shown() {
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
