//! A single configuration error: where it is, what was found and what is allowed.

use std::fmt;

/// Location of a configuration error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigLocation {
    /// Line of the configuration file, counted from 1.
    Line(usize),
    /// Name of an environment variable or command-line option.
    Override(String),
}

/// An error about one configuration key. Never contains a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Location of the value. `None` if the key is not set or the location is unknown.
    pub location: Option<Box<ConfigLocation>>,
    /// Name of the section, without brackets.
    pub section: String,
    /// Name of the key. Empty if the error is about the section itself.
    pub key: String,
    /// The value found.
    pub actual: String,
    /// The values allowed.
    pub allowed: String,
    /// A known name that is similar to the one found.
    pub suggestion: Option<Box<str>>,
}

impl ConfigError {
    /// Creates an error from displayable values.
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

    /// Adds the location.
    pub fn with_location(self, place: ConfigLocation) -> Self {
        Self { location: Some(Box::new(place)), ..self }
    }

    /// Adds a suggested name.
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
