//! Fuzzed: TOML text and environment variables.
#![allow(clippy::expect_used, reason = "a broken promise ends the program: that is what fuzzing looks for")]

use super::{Config, environment};

/// Divides the text from the variables, one `NAME=value` a line.
const DIVIDER: &str = "\n---\n";

/// Any text as a configuration has an answer: mistakes in words, or a configuration that can be shown, and that is
/// the same when what is shown is read.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // A schema is a file: what it names is opened.
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
            let shown = config.to_toml().expect("what was read can be shown");
            let again = Config::parse(&shown, Vec::new(), Vec::new());
            assert_eq!(again.1, [], "what is shown can be read");
            assert_eq!(again.0.to_toml().expect("it was shown before"), shown);
        }
        Err(mistakes) => {
            assert!(mistakes.iter().next().is_some());
            assert!(!mistakes.to_string().is_empty());
        }
    }
}
