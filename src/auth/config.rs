//! Section `[auth]`: who may call.

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
/// Nothing takes back an access token that is shown to a daemon without its database, so none lives longer.
pub const MAX_ACCESS_TTL: Span = Span::secs(24 * 3600);
const MAX_REFRESH_TTL: Span = Span::secs(366 * 24 * 3600);
/// Some keys have some kilobytes; more than this is another file.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Configuration of authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How callers show who they are.
    pub mode: Mode,
    /// Digests of the tokens of services.
    pub tokens_file: Option<PathBuf>,
    /// Keys that sign and verify tokens; the first one signs.
    pub jwt_key_file: Option<PathBuf>,
    /// How long an access token is good for.
    pub access_ttl: Span,
    /// How long a login can be prolonged without a password, from the last time it was.
    pub refresh_ttl: Span,
}

/// How callers show who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not at all: each caller counts as an administrator.
    #[default]
    Open,
    /// By a token whose digest stands in a file, or one of a login where there is a key to sign it.
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
    /// Everything that is wrong with the section. Reads its files.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, found: String, allowed: String| {
            mistakes.push(ConfigError::new(SECTION, key, found, allowed));
        };
        match self.mode {
            Mode::Token if self.tokens_file.is_none() => {
                wrong("tokens_file", "nothing".into(), "a file, with mode = \"token\"".into());
            }
            Mode::Jwt if self.jwt_key_file.is_none() => {
                wrong("jwt_key_file", "nothing".into(), "a file, with mode = \"jwt\"".into());
            }
            _ => {}
        }
        if let Some(path) = &self.tokens_file {
            if self.mode != Mode::Token {
                wrong("tokens_file", display_path(path), "nothing: only mode = \"token\" reads it".into());
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
    fs::read_to_string(path).map_err(|error| format!("a file that can be read ({error})"))
}

/// The same of a file with secrets.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = secret_file::read(path, MAX_FILE_BYTES).map_err(|error| match error {
        SecretFileError::Exposed(_) => "a file that not everybody may read (chmod 640)".to_owned(),
        error => format!("a file that can be read ({error})"),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "a text".to_owned())?;
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
    fn the_default_is_right_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn a_mode_says_which_file_it_needs() {
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
