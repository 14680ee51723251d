//! One mistake in the configuration, in words a person can act on.

use std::fmt;

/// Where a mistake is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigLocation {
    /// A line of the configuration file, from 1.
    Line(usize),
    /// An environment variable or a flag.
    Override(String),
}

/// What is wrong with one key. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is written. `None` for a key that is not set, or whose place is not known.
    pub location: Option<Box<ConfigLocation>>,
    /// The section, without brackets.
    pub section: String,
    /// The key; empty when the section itself is at fault.
    pub key: String,
    /// What stands there.
    pub actual: String,
    /// What may stand there.
    pub allowed: String,
    /// The name that was probably meant.
    pub suggestion: Option<Box<str>>,
}

impl ConfigError {
    /// A mistake from anything that can be displayed.
    pub fn new(section: &str, key: &str, found: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self {
            location: None,
            section: section.to_owned(),
            key: key.to_owned(),
            actual: found.to_string(),
            allowed: allowed.to_string(),
            suggestion: None,
        }
    }

    /// The same, with the place where it is written.
    pub fn with_location(self, place: ConfigLocation) -> Self {
        Self { location: Some(Box::new(place)), ..self }
    }

    /// The same, with the name that was probably meant.
    pub fn with_suggestion(self, meant: Option<String>) -> Self {
        Self { suggestion: meant.map(String::into_boxed_str), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location.as_deref() {
            Some(ConfigLocation::Line(line)) => write!(f, "line {line}: ")?,
            Some(ConfigLocation::Override(name)) => write!(f, "{name}: ")?,
            None => {}
        }
        let space = if self.key.is_empty() { "" } else { " " };
        write!(f, "[{}]{space}{}: found {}", self.section, self.key, self.actual)?;
        if let Some(meant) = &self.suggestion {
            write!(f, ", did you mean {meant}?")?;
        }
        write!(f, "; allowed: {}", self.allowed)
    }
}
