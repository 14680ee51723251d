//! Where keys come from: TOML text, and overrides from the environment and flags.

use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};

use crate::config_error::{ConfigError, ConfigLocation};

/// How the variables of keys begin.
pub(super) const PREFIX: &str = "FOREBAY__";
/// How the variables of this program begin.
pub(super) const PROGRAM_PREFIX: &str = "FOREBAY_";

/// One key set outside the file. Its text is read as the section's struct wants it.
#[derive(Clone, Debug)]
pub struct Override {
    /// Section, lower case.
    pub section: String,
    /// Key, lower case.
    pub key: String,
    /// The value as it was written.
    pub text: String,
    /// The variable or flag it came from.
    pub origin: String,
}

impl Override {
    /// What the text may mean, likeliest first: a TOML value, a string, a list of strings.
    pub(super) fn interpretations(&self) -> Vec<Value> {
        let literal = format!("value = {}", self.text).parse::<Table>().ok();
        let literal = literal.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        let list = self.text.split(',').map(|item| Value::from(item.trim())).collect();
        literal.into_iter().chain([Value::from(self.text.as_str()), Value::Array(list)]).collect()
    }
}

/// The overrides among the variables: `FOREBAY__SECTION__KEY`. A key may itself hold two underscores. Every other variable
/// that begins with `FOREBAY_` is there too, as an override of a section without a name: a mistake.
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
    // The environment has no order; mistakes should.
    overrides.sort_by(|a, b| a.origin.cmp(&b.origin));
    overrides
}

/// Whether a variable that begins with our name is no setting: it belongs to a build or to the tests, or a container
/// platform has set it for a service called `forebay`, such as `FOREBAY_SERVICE_HOST` and `FOREBAY_PORT_8088_TCP`.
fn is_other_variable(name: &str) -> bool {
    let tests =
        ["FOREBAY_COMMIT", "FOREBAY_PLANTED_FAULT"].contains(&name) || name.starts_with("FOREBAY_TEST_");
    let service = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end));
    let port =
        name.rsplit_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    tests || service || port || name.contains("_SERVICE_PORT_")
}

/// The file's text; empty, with a mistake, when it cannot be read.
pub(super) fn read_file(path: &Path, mistakes: &mut Vec<ConfigError>) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| {
        let found = format!("{}: {error}", path.display());
        mistakes.push(ConfigError::new("file", "", found, "a readable TOML file"));
        String::new()
    })
}

/// Lines that are no TOML, until a file is taken for something else: each is found by parsing all of it again.
const MAX_BAD_LINES: usize = 20;

/// The text without the lines that are no TOML, so that the rest is checked all the same. Each such line is a mistake, and
/// an empty line in the result: the others keep their numbers.
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
        // The line itself may hold a secret; its number and key say enough.
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

/// `given` laid over `defaults`, key by key; an array of tables is replaced as a whole.
pub(super) fn merged(mut defaults: Table, given: Table) -> Table {
    for (name, value) in given {
        match (defaults.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => below.extend(above),
            (_, value) => drop(defaults.insert(name, value)),
        }
    }
    defaults
}
