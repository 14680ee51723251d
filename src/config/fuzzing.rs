//! Fuzz target: TOML text and environment variables.
#![allow(clippy::expect_used, reason = "a violated invariant must end the program, so that fuzzing finds it")]

use super::{Config, environment};

/// Separates the text from the variables, which have the form `NAME=value`, one per line.
const DIVIDER: &str = "\n---\n";

/// Checks that any text yields either readable errors or a configuration that can be printed and that reads back
/// unchanged.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // Skipped, because the file named as a schema would be opened.
    if text.to_lowercase().contains("schema") {
        return;
    }
    let (text, variables) = text.split_once(DIVIDER).unwrap_or((text, ""));
    let variables = variables.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((format!("FOREBAY__{name}").into(), value.into()))
    });
    match Config::read(text, environment(variables), Vec::new()) {
        Ok(config) => {
            let shown = config.to_toml().expect("a valid configuration can be printed");
            let again = Config::parse(&shown, Vec::new(), Vec::new());
            assert_eq!(again.1, [], "a printed configuration is valid");
            assert_eq!(again.0.to_toml().expect("it was printed before"), shown);
        }
        Err(mistakes) => {
            assert!(mistakes.iter().next().is_some());
            assert!(!mistakes.to_string().is_empty());
        }
    }
}
