//! Sources of keys: TOML text, and overrides from the environment and flags.

use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};

use crate::config_error::{ConfigError, ConfigLocation};

/// Prefix of the variables that set keys.
pub(super) const PREFIX: &str = "FOREBAY__";
/// Prefix of all variables of this program.
pub(super) const PROGRAM_PREFIX: &str = "FOREBAY_";

/// A key set outside the file. Its text is interpreted according to the section's struct.
#[derive(Clone, Debug)]
pub struct Override {
    /// Section, in lower case.
    pub section: String,
    /// Key, in lower case.
    pub key: String,
    /// The value as given.
    pub text: String,
    /// Name of the variable or flag.
    pub origin: String,
}

impl Override {
    /// Possible values of the text, most likely first: a TOML value, a string, a list of strings.
    pub(super) fn interpretations(&self) -> Vec<Value> {
        let literal = format!("value = {}", self.text).parse::<Table>().ok();
        let literal = literal.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        let list = self.text.split(',').map(|item| Value::from(item.trim())).collect();
        literal.into_iter().chain([Value::from(self.text.as_str()), Value::Array(list)]).collect()
    }
}

/// Finds the overrides among the variables: `FOREBAY__SECTION__KEY`. A key may contain two underscores. Every other
/// variable that begins with `FOREBAY_` is included as an override of a section without a name, which is an error.
pub fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Override> {
    let parse = |(name, text): (OsString, OsString)| {
        let origin = name.to_string_lossy().into_owned();
        let path = match origin.strip_prefix(PREFIX) {
            Some(path) => path.to_lowercase(),
            None if origin.starts_with(PROGRAM_PREFIX) && !is_other_variable(&origin) => String::new(),
            None => return None,
        };
        let (section, key) = path.split_once("__").unwrap_or((&path, ""));
        let text = text.to_string_lossy().into_owned();
        Some(Override { section: section.to_owned(), key: key.to_owned(), text, origin })
    };
    let mut overrides: Vec<_> = variables.filter_map(parse).collect();
    // Sorted, because the environment has no order and error messages should.
    overrides.sort_by(|a, b| a.origin.cmp(&b.origin));
    overrides
}

/// Whether a variable with the program's prefix is no setting. Such a variable belongs to a build or to the tests, or a
/// container platform set it for a service called `forebay`, such as `FOREBAY_SERVICE_HOST` and
/// `FOREBAY_PORT_8088_TCP`.
fn is_other_variable(name: &str) -> bool {
    let tests =
        ["FOREBAY_COMMIT", "FOREBAY_PLANTED_FAULT"].contains(&name) || name.starts_with("FOREBAY_TEST_");
    let service = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end));
    let port =
        name.rsplit_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    tests || service || port || name.contains("_SERVICE_PORT_")
}

/// Reads the file. Returns an empty text and adds an error if it cannot be read.
pub(super) fn read_file(path: &Path, mistakes: &mut Vec<ConfigError>) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| {
        let found = format!("{}: {error}", path.display());
        mistakes.push(ConfigError::new("file", "", found, "a readable TOML file"));
        String::new()
    })
}

/// Maximum number of invalid lines before the file is considered to be of another type. Each costs a parse of the whole
/// text.
const MAX_BAD_LINES: usize = 20;

/// Empties the lines that are not TOML, so that the rest can be checked. Each such line adds an error. The other lines
/// keep their numbers.
pub(super) fn without_invalid_lines(text: &str, mistakes: &mut Vec<ConfigError>) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    for _ in 0..MAX_BAD_LINES {
        let source = lines.join("\n");
        let Err(error) = source.parse::<Table>() else { return source };
        let at = error.span().map_or(0, |span| source[..span.start].matches('\n').count());
        let Some(line) = lines.get_mut(at).filter(|line| !line.is_empty()) else {
            mistakes.push(ConfigError::new("file", "", "text that is not TOML", error.message()));
            return String::new();
        };
        // The line itself may hold a secret. Its number and key are enough.
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let key = if is_key { key } else { "" };
        let mistake = ConfigError::new("file", key, "a line that is not TOML", error.message());
        mistakes.push(mistake.with_location(ConfigLocation::Line(at + 1)));
        *line = "";
    }
    let found = format!("more than {MAX_BAD_LINES} lines that are not TOML");
    mistakes.push(ConfigError::new("file", "", found, "a TOML file"));
    String::new()
}

/// Merges `given` into `defaults`, key by key. An array of tables is replaced as a whole.
pub(super) fn merged(mut defaults: Table, given: Table) -> Table {
    for (name, value) in given {
        match (defaults.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => below.extend(above),
            (_, value) => drop(defaults.insert(name, value)),
        }
    }
    defaults
}
