//! Configuration of authentication, section `[auth]`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::Keys;
use super::tokens_file::Tokens;
use crate::config_error::ConfigError;
use crate::secret_file;
use crate::secret_file::SecretFileError;
use crate::units::Span;

const SECTION: &str = "auth";
/// Maximum lifetime of access tokens. A daemon without its database cannot detect a revoked token, so the lifetime
/// limits its use.
pub const MAX_ACCESS_TTL: Span = Span::secs(24 * 3600);
const MAX_REFRESH_TTL: Span = Span::secs(366 * 24 * 3600);
/// Maximum size of a key file. A few keys have a few kilobytes, so a larger file is the wrong one.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Configuration of authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Authentication mode.
    pub mode: Mode,
    /// File with digests of the service tokens.
    pub tokens_file: Option<PathBuf>,
    /// File with the keys that sign and verify tokens. The first key signs.
    pub jwt_key_file: Option<PathBuf>,
    /// Lifetime of an access token.
    pub access_ttl: Span,
    /// Time after its last refresh for which a session can be refreshed without a password.
    pub refresh_ttl: Span,
}

/// Authentication mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No authentication: each caller counts as an administrator.
    #[default]
    Open,
    /// By a service token whose digest is in a file, or by a session token if a signing key exists.
    Token,
    /// By a signed token.
    Jwt,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Open,
            tokens_file: None,
            jwt_key_file: None,
            access_ttl: Span::secs(15 * 60),
            refresh_ttl: Span::secs(24 * 3600),
        }
    }
}

impl Config {
    /// Checks the section and its files. Returns one error per invalid key.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, found: String, allowed: String| {
            mistakes.push(ConfigError::new(SECTION, key, found, allowed));
        };
        match self.mode {
            Mode::Token if self.tokens_file.is_none() => {
                wrong("tokens_file", "nothing".into(), "the path of a file, with mode = \"token\"".into());
            }
            Mode::Jwt if self.jwt_key_file.is_none() => {
                wrong("jwt_key_file", "nothing".into(), "the path of a file, with mode = \"jwt\"".into());
            }
            _ => {}
        }
        if let Some(path) = &self.tokens_file {
            if self.mode != Mode::Token {
                wrong(
                    "tokens_file",
                    display_path(path),
                    "no value, because only mode = \"token\" uses it".into(),
                );
            }
            if let Err(why) = read(path).and_then(|text| Tokens::parse(&text).map_err(|e| e.to_string())) {
                wrong("tokens_file", display_path(path), why);
            }
        }
        if let Some(path) = &self.jwt_key_file
            && let Err(why) =
                read_private(path).and_then(|text| Keys::parse(&text).map_err(|e| e.to_string()))
        {
            wrong("jwt_key_file", display_path(path), why);
        }
        for (key, span, most) in [
            ("access_ttl", self.access_ttl, MAX_ACCESS_TTL),
            ("refresh_ttl", self.refresh_ttl, MAX_REFRESH_TTL),
        ] {
            if span < Span::secs(1) || span > most {
                wrong(key, span.to_string(), format!("1s to {most}"));
            }
        }
        mistakes
    }
}

fn display_path(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("a readable file ({error})"))
}

/// Reads a file with secrets. It must not be readable by others.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = secret_file::read(path, MAX_FILE_BYTES).map_err(|error| match error {
        SecretFileError::Exposed(_) => "a file without read permission for others (chmod 640)".to_owned(),
        error => format!("a readable file ({error})"),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "UTF-8 text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.validate().into_iter().map(|mistake| mistake.key).collect()
    }

    #[test]
    fn the_default_is_valid_and_can_be_read_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn each_mode_requires_its_file() {
        assert_eq!(keys("mode = \"token\""), ["tokens_file"]);
        assert_eq!(keys("mode = \"jwt\""), ["jwt_key_file"]);
        assert_eq!(
            keys(
                "tokens_file = \"/not/there\"\njwt_key_file = \"/not/there\"\naccess_ttl = \"2days\"\nrefresh_ttl = \"0s\""
            ),
            ["tokens_file", "tokens_file", "jwt_key_file", "access_ttl", "refresh_ttl"]
        );
        assert!(toml::from_str::<Config>("mode = \"closed\"").is_err());
    }
}
