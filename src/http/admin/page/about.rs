//! The section about the process: start, configuration, and state of the dependencies.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use super::format::{Text, time};
use crate::http::admin::overview::Instance;
use crate::problems::span;

/// Renders the section.
pub fn section(instance: &Instance, dependencies: &BTreeMap<&'static str, String>, now: Instant) -> String {
    let mut html = String::from("<h2 id=\"about\">This daemon</h2><dl class=\"facts\">");
    let mut fact = |name: &str, value: &dyn std::fmt::Display| {
        // A write to a string cannot fail.
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    let up = span(now.saturating_duration_since(instance.started));
    fact("Started", &format_args!("{}, {up} ago", time(instance.started_at)));
    for (name, value) in &instance.facts {
        fact(name, &Text(value));
    }
    for (name, state) in dependencies {
        fact(&format!("Dependency: {name}"), &Text(state));
    }
    html += "</dl>";
    html
}
