//! Locations of keys, for configuration errors.

use std::collections::BTreeMap;

use crate::config_error::{ConfigError, ConfigLocation};

use super::key_lines::KeyLines;
use super::sources::Override;

/// Location of each key of a configuration.
#[derive(Debug, Default)]
pub(super) struct KeyLocations {
    lines: KeyLines,
    /// Variables and flags, by section and key.
    overridden: BTreeMap<(String, String), String>,
    /// Numbers in the file of the list items that could be read, by list.
    items: BTreeMap<String, Vec<usize>>,
}

impl KeyLocations {
    /// Collects the locations in a file and in its overrides.
    pub(super) fn new(text: &str, overrides: &[Override]) -> Self {
        let outside = overrides.iter().map(|over| {
            let Override { section, key, origin, .. } = over.clone();
            ((section, key), origin)
        });
        Self { lines: KeyLines::of(text), overridden: outside.collect(), items: BTreeMap::new() }
    }

    /// Records which items of a list could be read.
    pub(super) fn set_readable_items(&mut self, list: &str, numbers: Vec<usize>) {
        self.items.insert(list.to_owned(), numbers);
    }

    /// Replaces the index of a list item among the readable items by its index in the file.
    pub(super) fn with_file_index(&self, mistake: ConfigError) -> ConfigError {
        let in_file = || {
            let (list, number) = mistake.section.strip_suffix(']')?.split_once('[')?;
            let read: usize = number.parse().ok()?;
            Some(format!("{list}[{}]", self.items.get(list)?.get(read)?))
        };
        match in_file() {
            Some(section) => ConfigError { section, ..mistake },
            None => mistake,
        }
    }

    /// Adds the location to an error.
    pub(super) fn locate(&self, mistake: ConfigError) -> ConfigError {
        if mistake.location.is_some() {
            return mistake;
        }
        let outside = self.overridden.get(&(mistake.section.clone(), mistake.key.clone()));
        let place = match outside {
            Some(name) => Some(ConfigLocation::Override(name.clone())),
            None => self.lines.get(&mistake.section, &mistake.key).map(ConfigLocation::Line),
        };
        ConfigError { location: place.map(Box::new), ..mistake }
    }
}
