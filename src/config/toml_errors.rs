//! Turns errors of the TOML deserializer into configuration errors, without revealing secrets.

use toml::de::Error;
use toml::{Table, Value};

use crate::config_error::ConfigError;

const MASK: &str = "***";
const UNKNOWN_KEY: &str = "an unknown key";

/// Parts of key names whose values are secret. Keys that name a file with secrets, or the way in which passwords are
/// hashed, are not secret.
const SECRET: [&str; 8] =
    ["password", "secret", "token", "passphrase", "credential", "jaas", ".pem", "oauthbearer.config"];

fn is_secret(key: &str) -> bool {
    let shown = ["file", "files", "location", "ttl", "size", "url", "password_cost", "password_hashing"];
    !shown.iter().any(|end| key.ends_with(end)) && SECRET.iter().any(|part| key.contains(part))
}

/// The value as TOML, or a mask if it is secret.
pub(super) fn masked_value(key: &str, value: &Value) -> String {
    let mut table = Table::from_iter([(key.to_owned(), value.clone())]);
    mask(&mut table);
    let shown = table.remove(key).map(|masked| masked.to_string()).unwrap_or_default();
    // A URL in a key of another type. The type for URLs masks its own password.
    if shown.contains("://") && shown.contains('@') { MASK.to_owned() } else { shown }
}

/// Masks every secret in the table, at any depth.
pub(super) fn mask(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => mask(inner),
            Value::Array(items) => items.iter_mut().filter_map(Value::as_table_mut).for_each(mask),
            _ => {}
        }
        if is_secret(key) {
            *value = MASK.into();
        }
    }
}

pub(super) fn is_missing(error: &Error) -> bool {
    error.message().starts_with("missing field")
}

/// Whether the error is about an unknown key.
pub(super) fn is_unknown_key(mistake: &ConfigError) -> bool {
    mistake.actual == UNKNOWN_KEY
}

/// Creates the error about the value of one key.
pub(super) fn value_error(place: &str, key: &str, value: &Value, error: &Error) -> ConfigError {
    let message = error.message();
    let allowed = ["expected ", " is not "].iter().find_map(|mark| Some(message.split_once(mark)?.1));
    let allowed = match value.as_str() {
        Some(text) if is_secret(key) => allowed.unwrap_or(message).replace(text, MASK),
        _ => allowed.unwrap_or(message).to_owned(),
    };
    let found = match message.starts_with("unknown field") && message.contains(&format!("`{key}`")) {
        true => UNKNOWN_KEY.to_owned(),
        false => masked_value(key, value),
    };
    ConfigError::new(place, key, found, allowed)
}

/// Creates the error about a missing required key.
pub(super) fn missing_key_error(place: &str, error: &Error) -> ConfigError {
    let key = error.message().split('`').nth(1).unwrap_or_default();
    ConfigError::new(place, key, "nothing", "a value, because the key is required")
}
