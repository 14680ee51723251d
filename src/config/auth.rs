//! Section `[auth]`: who may call.

use serde::Deserialize;
use serde::Serialize;

use crate::mistake::Mistake;

/// Configuration of authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How callers show who they are.
    pub mode: Mode,
}

/// How callers show who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not at all: each caller counts as an administrator.
    #[default]
    Open,
    /// By a token from a file.
    Token,
    /// By a signed token.
    Jwt,
}

impl Config {
    /// What is wrong with the section by itself.
    pub fn validate(&self) -> Vec<Mistake> {
        let found = match self.mode {
            Mode::Open => return Vec::new(),
            Mode::Token => "\"token\"",
            Mode::Jwt => "\"jwt\"",
        };
        vec![Mistake::new("auth", "mode", found, "\"open\": this version has no other")]
    }
}
