//! Where keys come from: TOML text, and overrides from the environment and flags.

use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};

use crate::mistake::Mistake;

const PREFIX: &str = "FOREBAY__";

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
    pub(super) fn readings(&self) -> Vec<Value> {
        let literal = format!("value = {}", self.text).parse::<Table>().ok();
        let literal = literal.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        let list = self.text.split(',').map(|item| Value::from(item.trim())).collect();
        literal.into_iter().chain([Value::from(self.text.as_str()), Value::Array(list)]).collect()
    }
}

/// The overrides among the variables: `FOREBAY__SECTION__KEY`. A key may itself hold two underscores.
pub fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Override> {
    let parse = |(name, text): (OsString, OsString)| {
        let origin = name.to_string_lossy().into_owned();
        let path = origin.strip_prefix(PREFIX)?.to_lowercase();
        let (section, key) = path.split_once("__").unwrap_or((&path, ""));
        let text = text.to_string_lossy().into_owned();
        Some(Override { section: section.to_owned(), key: key.to_owned(), text, origin })
    };
    let mut overrides: Vec<_> = variables.filter_map(parse).collect();
    // The environment has no order; mistakes should.
    overrides.sort_by(|a, b| a.origin.cmp(&b.origin));
    overrides
}

/// The file's text; empty, with a mistake, when it cannot be read.
pub(super) fn text(path: &Path, mistakes: &mut Vec<Mistake>) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| {
        let found = format!("{}: {error}", path.display());
        mistakes.push(Mistake::new("file", "", found, "a readable TOML file"));
        String::new()
    })
}

/// Lines that are no TOML, until a file is taken for something else: each is found by parsing all of it again.
const MAX_BAD_LINES: usize = 20;

/// Parses TOML. A line that is none is a mistake and left out, so that the rest is checked all the same.
pub(super) fn table(text: &str, mistakes: &mut Vec<Mistake>) -> Table {
    let mut lines: Vec<&str> = text.lines().collect();
    for _ in 0..MAX_BAD_LINES {
        let source = lines.join("\n");
        let error = match source.parse::<Table>() {
            Ok(table) => return table,
            Err(error) => error,
        };
        let at = error.span().map_or(0, |span| source[..span.start].matches('\n').count());
        let Some(line) = lines.get_mut(at).filter(|line| !line.is_empty()) else {
            mistakes.push(Mistake::new("file", "", "text that is not TOML", error.message()));
            return Table::new();
        };
        // The line itself may hold a secret; its number and key say enough.
        let key = line.split('=').next().unwrap_or_default().trim();
        mistakes.push(Mistake::new("file", &format!("line {}", at + 1), format!("`{key}`"), error.message()));
        *line = "";
    }
    let found = format!("more than {MAX_BAD_LINES} lines that are not TOML");
    mistakes.push(Mistake::new("file", "", found, "a TOML file"));
    Table::new()
}

/// `given` laid over `defaults`, key by key; an array of tables is replaced as a whole.
pub(super) fn layered(mut defaults: Table, given: Table) -> Table {
    for (name, value) in given {
        match (defaults.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => below.extend(above),
            (_, value) => drop(defaults.insert(name, value)),
        }
    }
    defaults
}
