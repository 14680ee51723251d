//! The file of service levels. All errors in it are reported at once, each with its line.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::quantity::LimitedQuantity;

/// The levels of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Levels in the order of the file.
    pub all: Vec<Level>,
}

/// A limit on a quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The requests to which it applies.
    pub scope: Scope,
    /// Key in the file.
    pub key: &'static str,
    /// The limited quantity.
    pub quantity: LimitedQuantity,
    /// Limit, in the unit of reports.
    pub limit: f64,
}

/// The requests to which a level applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All requests.
    Total,
    /// Requests of one operation.
    Operation(String),
    /// Requests of one phase.
    Phase(String),
}

/// The valid names of a run.
pub struct Names {
    /// Names of the operations.
    pub operations: Vec<String>,
    /// Names of the phases.
    pub phases: Vec<String>,
}

/// Reads and checks a file.
pub fn read(path: &Path, names: &Names) -> anyhow::Result<Levels> {
    let text = fs::read_to_string(path).with_context(|| format!("--levels {}", path.display()))?;
    match parse(&text, names) {
        Ok(levels) => Ok(levels),
        Err(errors) => {
            let lines: Vec<_> =
                errors.iter().map(|(line, what)| format!("{}:{line}: {what}", path.display())).collect();
            bail!("{}", lines.join("\n"))
        }
    }
}

/// Line and text of an error.
type LevelError = (usize, String);

fn parse(text: &str, names: &Names) -> Result<Levels, Vec<LevelError>> {
    let line_of =
        |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count();
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![(line_of(at), error.message().to_owned())]
    })?;
    let mut reader = Reader { names, all: Vec::new(), errors: Vec::new() };
    reader.document(document.get_ref());
    let mut errors: Vec<LevelError> =
        reader.errors.into_iter().map(|(at, what)| (line_of(at), what)).collect();
    if errors.is_empty() && reader.all.is_empty() {
        errors.push((1, "the file contains no level".to_owned()));
    }
    errors.sort();
    if !errors.is_empty() {
        return Err(errors);
    }
    reader.all.sort_by_key(|(at, _)| *at);
    Ok(Levels { all: reader.all.into_iter().map(|(_, level)| level).collect() })
}

struct Reader<'a> {
    names: &'a Names,
    /// Byte offset and level, to restore the order of the file: the parser sorts by name.
    all: Vec<(usize, Level)>,
    /// Byte offset and text of each error.
    errors: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn document(&mut self, document: &DeTable<'_>) {
        for (key, value) in document {
            let at = key.span().start;
            let name: &str = key.get_ref();
            let Some(table) = self.table(name, value) else { continue };
            match name {
                "total" => self.levels(&Scope::Total, table),
                "operation" => {
                    let known = self.names.operations.clone();
                    self.scopes(name, table, &known, Scope::Operation);
                }
                "phase" => {
                    let known = self.names.phases.clone();
                    self.scopes(name, table, &known, Scope::Phase);
                }
                _ => self.unknown_name(at, "table", name, &["total", "operation", "phase"]),
            }
        }
    }

    fn scopes(&mut self, kind: &str, table: &DeTable<'_>, known: &[String], scope: fn(String) -> Scope) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !known.iter().any(|other| other == name) {
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                self.unknown_name(key.span().start, kind, name, &known);
            } else if let Some(table) = self.table(name, value) {
                self.levels(&scope(name.to_owned()), table);
            }
        }
    }

    fn levels(&mut self, scope: &Scope, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let at = key.span().start;
            let Some((key, quantity)) = LimitedQuantity::KEYS.into_iter().find(|(key, _)| *key == name)
            else {
                self.unknown_name(key.span().start, "key", name, &LimitedQuantity::KEYS.map(|(key, _)| key));
                continue;
            };
            match limit(quantity, value.get_ref()) {
                Ok(limit) => self.all.push((at, Level { scope: scope.clone(), key, quantity, limit })),
                Err(expected) => {
                    self.errors.push((value.span().start, format!("{name}: expected {expected}")))
                }
            }
        }
    }

    fn table<'t, 'i>(&mut self, name: &str, value: &'t Spanned<DeValue<'i>>) -> Option<&'t DeTable<'i>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.errors.push((value.span().start, format!("{name}: expected a table such as [total]")));
            return None;
        };
        Some(table)
    }

    fn unknown_name(&mut self, at: usize, what: &str, name: &str, known: &[&str]) {
        self.errors.push((at, format!("no {what} is called {name:?}; valid names: {}", known.join(", "))));
    }
}

fn limit(quantity: LimitedQuantity, value: &DeValue<'_>) -> Result<f64, &'static str> {
    let number = match value {
        DeValue::Integer(integer) => integer.as_str().replace('_', "").parse().ok(),
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
        _ => None,
    };
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    match (quantity, value) {
        (LimitedQuantity::Latency(_), DeValue::String(text)) => {
            let expected = "a duration such as \"250ms\"";
            let duration = humantime::parse_duration(text).map_err(|_| expected)?;
            Ok(duration.as_secs_f64() * 1e3)
        }
        (LimitedQuantity::Latency(_), _) => Err("a duration such as \"250ms\""),
        (LimitedQuantity::ErrorRate, _) => {
            number.filter(|rate| *rate <= 1.0).ok_or("a part of all requests, from 0 to 1, such as 0.01")
        }
        (LimitedQuantity::AchievedRate, _) => number.ok_or("requests per second, such as 950"),
        (LimitedQuantity::Requests, _) => number.ok_or("a number of requests, such as 10000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { operations: vec!["register".to_owned()], phases: vec!["spike".to_owned()] }
    }

    #[test]
    fn levels_of_all_scopes_are_read() {
        let text = "[total]\nerror_rate = 0.01\nachieved_rate = 1_000\n\n[operation.register]\np95 = \"0.5s\"\n\
                    [phase.spike]\nmax = \"1m\"\nrequests = 5\n";
        let levels = parse(text, &names()).unwrap();
        let found: Vec<_> =
            levels.all.iter().map(|level| (level.scope.clone(), level.key, level.limit)).collect();
        let (register, spike) = (Scope::Operation("register".to_owned()), Scope::Phase("spike".to_owned()));
        let expected = [
            (Scope::Total, "error_rate", 0.01),
            (Scope::Total, "achieved_rate", 1_000.0),
            (register, "p95", 500.0),
            (spike.clone(), "max", 60_000.0),
            (spike, "requests", 5.0),
        ];
        assert_eq!(found, expected, "in the order of the file");
    }

    #[test]
    fn every_error_in_a_file_is_reported_with_its_line() {
        let text = "[total]\np95 = 500\nerror_rate = 2\n[operation.reed]\np95 = \"1s\"\n[phase.spike]\np96 = \"1s\"\n\
                    [totl]\n";
        let errors = parse(text, &names()).unwrap_err();
        let lines: Vec<_> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 7, 8], "{errors:?}");
        assert!(errors[2].1.contains("no operation is called \"reed\"; valid names: register"), "{errors:?}");
        assert_eq!(parse("[total]\np95 = \"1s", &names()).unwrap_err()[0].0, 2);
        assert_eq!(parse("", &names()).unwrap_err()[0].1, "the file contains no level");
    }
}
