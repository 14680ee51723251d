//! Reads sections into their structs, key by key, so that one error does not hide the next.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config_error::ConfigError;

use super::key_locations::KeyLocations;
use super::sources::{Override, PREFIX, PROGRAM_PREFIX};
use super::{closest, fields, toml_errors};

/// Takes sections from the sources. Sections and keys that remain are errors.
pub(super) struct Reader {
    tables: Table,
    overrides: Vec<Override>,
    mistakes: Vec<ConfigError>,
    locations: KeyLocations,
    known_sections: Vec<KnownSection>,
}

/// A section that the daemon knows.
struct KnownSection {
    name: String,
    is_list: bool,
    keys: &'static [&'static str],
}

impl Reader {
    pub(super) fn new(
        tables: Table,
        overrides: Vec<Override>,
        mistakes: Vec<ConfigError>,
        places: KeyLocations,
    ) -> Self {
        Self { tables, overrides, mistakes, locations: places, known_sections: Vec::new() }
    }

    /// Reads the section `name`. Invalid keys get their defaults.
    pub(super) fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        self.known_sections.push(KnownSection {
            name: name.to_owned(),
            is_list: false,
            keys: fields::field_names::<T>(),
        });
        let mut keys = match self.tables.remove(name) {
            None => Table::new(),
            Some(Value::Table(keys)) => keys,
            Some(other) => {
                let found = toml_errors::masked_value(name, &other);
                self.mistakes.push(ConfigError::new(name, "", found, format!("a table: [{name}]")));
                Table::new()
            }
        };
        for over in self.overrides.extract_if(.., |over| over.section == name && !over.key.is_empty()) {
            let readings = over.interpretations();
            let literal = readings[0].clone();
            let fits = readings.into_iter().find(|value| check_value::<T>(&over.key, value).is_ok());
            keys.insert(over.key, fits.unwrap_or(literal));
        }
        self.read(name, keys).unwrap_or_default()
    }

    /// Reads the array of tables `name`. Invalid tables are left out.
    pub(super) fn list<T: DeserializeOwned>(&mut self, name: &str) -> Vec<T> {
        self.known_sections.push(KnownSection {
            name: name.to_owned(),
            is_list: true,
            keys: fields::field_names::<T>(),
        });
        let items = match self.tables.remove(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => vec![other],
        };
        let (mut read, mut numbers) = (Vec::new(), Vec::new());
        for (number, item) in items.into_iter().enumerate() {
            let place = format!("{name}[{number}]");
            match item {
                Value::Table(keys) => {
                    if let Some(item) = self.read(&place, keys) {
                        read.push(item);
                        numbers.push(number);
                    }
                }
                other => {
                    let found = toml_errors::masked_value(name, &other);
                    self.mistakes.push(ConfigError::new(&place, "", found, format!("a table: [[{name}]]")));
                }
            }
        }
        self.locations.set_readable_items(name, numbers);
        read
    }

    /// Returns all errors, including those for unknown sections, and the locations of the keys.
    pub(super) fn finish(mut self) -> (Vec<ConfigError>, KeyLocations) {
        self.suggest_keys();
        let sections: Vec<_> = self.known_sections.iter().map(KnownSection::shown).collect();
        let sections = sections.join(", ");
        for section in std::mem::take(&mut self.tables).keys() {
            let meant = self.section_like(section).map(KnownSection::shown);
            let mistake = ConfigError::new(section, "", "an unknown section", &sections);
            self.mistakes.push(mistake.with_suggestion(meant));
        }
        for over in std::mem::take(&mut self.overrides) {
            let mistake = self.unknown_variable(&over, &sections);
            self.mistakes.push(mistake);
        }
        (self.mistakes, self.locations)
    }

    /// Suggests replacements for unknown keys: a similar key of the section, or the same key in another section.
    fn suggest_keys(&mut self) {
        for mistake in self.mistakes.iter_mut().filter(|mistake| toml_errors::is_unknown_key(mistake)) {
            let section = mistake.section.split('[').next().unwrap_or_default();
            let own = self.known_sections.iter().find(|known| known.name == section);
            let near = own.and_then(|known| closest::find_closest(&mistake.key, known.keys.iter().copied()));
            let elsewhere = || {
                let other = self.known_sections.iter().find(|known| known.keys.contains(&&*mistake.key))?;
                Some(format!("`{}` of {}", mistake.key, other.shown()))
            };
            mistake.suggestion =
                near.map(|key| format!("`{key}`")).or_else(elsewhere).map(String::into_boxed_str);
        }
    }

    fn section_like(&self, name: &str) -> Option<&KnownSection> {
        let name = closest::find_closest(name, self.known_sections.iter().map(|known| &*known.name))?;
        self.known_sections.iter().find(|known| known.name == name)
    }

    /// Error about a variable that names no key.
    fn unknown_variable(&self, over: &Override, sections: &str) -> ConfigError {
        let variables: Vec<_> = self.known_sections.iter().flat_map(KnownSection::variables).collect();
        // The common prefix must not make two names similar.
        let name = over.origin.trim_start_matches(PROGRAM_PREFIX);
        let meant =
            closest::find_closest(name, variables.iter().map(|known| known.trim_start_matches(PREFIX)));
        let meant = meant.map(|known| format!("{PREFIX}{known}"));
        let allowed = format!("{PREFIX}SECTION__KEY, with a key of {sections}");
        let found = "an unknown variable";
        ConfigError::new("environment", &over.origin, found, allowed).with_suggestion(meant)
    }

    fn read<T: DeserializeOwned>(&mut self, place: &str, keys: Table) -> Option<T> {
        let (mut good, mut bad) = (Table::new(), Vec::new());
        for (key, value) in keys {
            match check_value::<T>(&key, &value) {
                Ok(()) => drop(good.insert(key, value)),
                Err(error) => {
                    self.mistakes.push(toml_errors::value_error(place, &key, &value, &error));
                    bad.push(key);
                }
            }
        }
        match good.try_into() {
            Ok(section) => Some(section),
            Err(error) => {
                let incomplete = toml_errors::missing_key_error(place, &error);
                // A key with a wrong value is not missing.
                if !bad.contains(&incomplete.key) {
                    self.mistakes.push(incomplete);
                }
                None
            }
        }
    }
}

impl KnownSection {
    fn shown(&self) -> String {
        if self.is_list { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// Names of the variables of this section's keys. A list has none.
    fn variables(&self) -> impl Iterator<Item = String> {
        let keys = if self.is_list { &[] } else { self.keys };
        keys.iter().map(|key| format!("{PREFIX}{}__{}", self.name, key).to_uppercase())
    }
}

/// Checks the value of one key apart from the other keys. Missing keys are ignored.
fn check_value<T: DeserializeOwned>(key: &str, value: &Value) -> Result<(), toml::de::Error> {
    let alone = Table::from_iter([(key.to_owned(), value.clone())]);
    match alone.try_into::<T>() {
        Err(error) if !toml_errors::is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}
