//! One mistake in the configuration, in words a person can act on.

use std::fmt;

/// Where a mistake is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the configuration file, from 1.
    Line(usize),
    /// An environment variable or a flag.
    Outside(String),
}

/// What is wrong with one key. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is written. `None` for a key that is not set, or whose place is not known.
    pub place: Option<Box<Place>>,
    /// The section, without brackets.
    pub section: String,
    /// The key; empty when the section itself is at fault.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
    /// The name that was probably meant.
    pub meant: Option<Box<str>>,
}

impl Mistake {
    /// A mistake from anything that can be displayed.
    pub fn new(section: &str, key: &str, found: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self {
            place: None,
            section: section.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            allowed: allowed.to_string(),
            meant: None,
        }
    }

    /// The same, with the place where it is written.
    pub fn at(self, place: Place) -> Self {
        Self { place: Some(Box::new(place)), ..self }
    }

    /// The same, with the name that was probably meant.
    pub fn meaning(self, meant: Option<String>) -> Self {
        Self { meant: meant.map(String::into_boxed_str), ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_deref() {
            Some(Place::Line(line)) => write!(f, "line {line}: ")?,
            Some(Place::Outside(name)) => write!(f, "{name}: ")?,
            None => {}
        }
        let space = if self.key.is_empty() { "" } else { " " };
        write!(f, "[{}]{space}{}: found {}", self.section, self.key, self.found)?;
        if let Some(meant) = &self.meant {
            write!(f, ", did you mean {meant}?")?;
        }
        write!(f, "; allowed: {}", self.allowed)
    }
}
