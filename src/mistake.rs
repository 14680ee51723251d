//! One mistake in the configuration, in words a person can act on.

use std::fmt;

/// What is wrong with one key. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The section, without brackets.
    pub section: String,
    /// The key; empty when the section itself is at fault.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

impl Mistake {
    /// A mistake from anything that can be displayed.
    pub fn new(section: &str, key: &str, found: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self {
            section: section.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            allowed: allowed.to_string(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.key.is_empty() { "" } else { " " };
        write!(f, "[{}]{space}{}: found {}; allowed: {}", self.section, self.key, self.found, self.allowed)
    }
}
