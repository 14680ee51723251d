//! Reads sections into their structs, key by key, so that one mistake does not hide the next.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::mistake::Mistake;

use super::sources::Override;
use super::toml_errors;

/// Takes sections out of the sources; what nobody took is a mistake.
pub(super) struct Reader {
    tables: Table,
    overrides: Vec<Override>,
    mistakes: Vec<Mistake>,
    known: Vec<String>,
}

impl Reader {
    pub(super) fn new(tables: Table, overrides: Vec<Override>, mistakes: Vec<Mistake>) -> Self {
        Self { tables, overrides, mistakes, known: Vec::new() }
    }

    /// The section `name`; keys with mistakes have their defaults.
    pub(super) fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        self.known.push(format!("[{name}]"));
        let mut keys = match self.tables.remove(name) {
            None => Table::new(),
            Some(Value::Table(keys)) => keys,
            Some(other) => {
                let found = toml_errors::shown(name, &other);
                self.mistakes.push(Mistake::new(name, "", found, format!("a table: [{name}]")));
                Table::new()
            }
        };
        for over in self.overrides.extract_if(.., |over| over.section == name) {
            let readings = over.readings();
            let literal = readings[0].clone();
            let fits = readings.into_iter().find(|value| probe::<T>(&over.key, value).is_ok());
            keys.insert(over.key, fits.unwrap_or(literal));
        }
        self.read(name, keys).unwrap_or_default()
    }

    /// The tables of the array `name`; those with mistakes are left out.
    pub(super) fn list<T: DeserializeOwned>(&mut self, name: &str) -> Vec<T> {
        self.known.push(format!("[[{name}]]"));
        let items = match self.tables.remove(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => vec![other],
        };
        let mut read = Vec::new();
        for (number, item) in items.into_iter().enumerate() {
            let place = format!("{name}[{number}]");
            match item {
                Value::Table(keys) => read.extend(self.read(&place, keys)),
                other => {
                    let found = toml_errors::shown(name, &other);
                    self.mistakes.push(Mistake::new(&place, "", found, format!("a table: [[{name}]]")));
                }
            }
        }
        read
    }

    /// All mistakes, with those that nobody looked for.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        let known = self.known.join(", ");
        for (section, _) in self.tables {
            self.mistakes.push(Mistake::new(&section, "", "an unknown section", &known));
        }
        for over in self.overrides {
            let found = format!("{}, which names no section with single keys", over.origin);
            self.mistakes.push(Mistake::new(&over.section, &over.key, found, &known));
        }
        self.mistakes
    }

    fn read<T: DeserializeOwned>(&mut self, place: &str, keys: Table) -> Option<T> {
        let mut good = Table::new();
        for (key, value) in keys {
            match probe::<T>(&key, &value) {
                Ok(()) => drop(good.insert(key, value)),
                Err(error) => self.mistakes.push(toml_errors::mistake(place, &key, &value, &error)),
            }
        }
        match good.try_into() {
            Ok(section) => Some(section),
            Err(error) => {
                self.mistakes.push(toml_errors::incomplete(place, &error));
                None
            }
        }
    }
}

/// Whether `key` may have this value, seen apart from the other keys: that some are missing does not count.
fn probe<T: DeserializeOwned>(key: &str, value: &Value) -> Result<(), toml::de::Error> {
    let alone = Table::from_iter([(key.to_owned(), value.clone())]);
    match alone.try_into::<T>() {
        Err(error) if !toml_errors::is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}
