//! The status page. The daemon renders its HTML, so the page works without the script.
//!
//! Every few seconds, the script requests the same rendered sections as one JSON document and replaces them. All
//! sections of a document show the same moment.
//!
//! - Sections: `problems`, `figures`, `charts` (with `plot`), `tables`, `command`, `about`.
//! - `format`: formats numbers, times and text. `files`: style sheet, script and icon.

mod about;
mod charts;
mod command;
mod figures;
pub(super) mod files;
mod format;
mod plot;
mod problems;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::time::Instant;

use serde::Serialize;

use self::format::{Text, clock, time};
use super::overview::Overview;
use crate::command::CommandStatus;
use crate::status::StatusError;
use crate::units::Timestamp;

/// A look-up of a command for the operator.
pub struct CommandLookup {
    /// The id as the operator typed it.
    pub id: String,
    /// The result.
    pub found: Result<CommandStatus, StatusError>,
}

/// The changing content of the page at one moment.
#[derive(Serialize)]
pub struct Page {
    /// The moment of the content.
    at: Timestamp,
    /// Title of the document. A browser shows it in the tab.
    title: String,
    /// HTML of each section with the section's name, in the order of the page.
    #[serde(serialize_with = "as_map")]
    sections: Vec<(&'static str, String)>,
    #[serde(skip)]
    query: String,
    #[serde(skip)]
    has_lookup: bool,
}

impl Page {
    /// Renders the page. `at` is the current time.
    pub fn new(overview: &Overview, look_up: Option<&CommandLookup>, at: Timestamp) -> Self {
        let now = Instant::now();
        let readiness = &overview.readiness;
        let mut sections = vec![
            ("state", problems::state(overview)),
            ("moment", moment(overview, at)),
            ("announcement", problems::announcement(overview)),
            ("problems", problems::list(&readiness.problems, at)),
        ];
        if let Some(view) = &overview.history {
            sections.push(("figures", figures::section(view)));
            sections.push(("hour", charts::section(view, overview.instance.started_at)));
            sections.push(("topics", tables::topics(overview, view)));
        }
        if !overview.workers.is_empty() {
            sections.push(("workers", tables::workers(&overview.workers)));
        }
        if overview.history.is_some() {
            sections.push(("dead", tables::dead_letters(&overview.dead_letters)));
        }
        let has_look_up = overview.accepts || look_up.is_some();
        if has_look_up {
            let found = look_up.map(|look_up| command::found(&look_up.id, &look_up.found));
            sections.push(("command", found.unwrap_or_default()));
        }
        sections.push(("about", about::section(&overview.instance, &readiness.dependencies, now)));
        let query = look_up.map(|look_up| look_up.id.clone()).unwrap_or_default();
        Self { at, title: problems::title(overview), sections, query, has_lookup: has_look_up }
    }

    /// The complete HTML document.
    pub fn html(&self) -> String {
        let section = |name: &str| {
            let found = self.sections.iter().find(|(own, _)| *own == name);
            found.map_or("", |(_, html)| html.as_str())
        };
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\
             <link rel=\"icon\" href=\"/status/icon.svg\" type=\"image/svg+xml\">\
             <link rel=\"stylesheet\" href=\"/status/page.css\"><script src=\"/status/page.js\" defer></script></head>\
             <body><header><h1><img src=\"/status/icon.svg\" alt=\"\" width=\"28\" height=\"28\">forebay</h1>\
             <div data-live=\"state\">{}</div><p class=\"moment\"><span data-live=\"moment\">{}</span> \
             <a href=\"{}\">Reload</a></p></header><p class=\"hidden\" role=\"status\" data-live=\"announcement\">{}</p>\
             <p id=\"stale\" class=\"note error\" role=\"alert\" hidden></p><main>",
            Text(&self.title),
            section("state"),
            section("moment"),
            if self.query.is_empty() {
                "/".to_owned()
            } else {
                format!("/?command={}", Text(&query(&self.query)))
            },
            section("announcement"),
        );
        for name in ["problems", "figures", "hour", "topics", "workers", "dead"] {
            let content = section(name);
            if !content.is_empty() {
                // A write to a string cannot fail.
                let _ = write!(
                    html,
                    "<section aria-labelledby=\"{name}\" data-live=\"{name}\">{content}</section>"
                );
            }
        }
        if self.has_lookup {
            let _ = write!(
                html,
                "<section aria-labelledby=\"look-up\"><h2 id=\"look-up\">Look up a command</h2><form action=\"/\" \
                 role=\"search\"><label for=\"command\">Command id</label> <input id=\"command\" name=\"command\" \
                 value=\"{}\" autocomplete=\"off\" autocapitalize=\"none\" spellcheck=\"false\" required> \
                 <button>Look up</button></form><div data-live=\"command\">{}</div></section>",
                Text(&self.query),
                section("command"),
            );
        }
        let _ = write!(
            html,
            "<section aria-labelledby=\"about\" data-live=\"about\">{}</section></main></body></html>",
            section("about"),
        );
        html
    }
}

/// The time of the figures, with a warning if they are old.
fn moment(overview: &Overview, at: Timestamp) -> String {
    match &overview.history {
        // If the disk does not respond, no new figures can be taken.
        Some(view) if at.since(view.taken_at).as_secs() >= STALE_S => format!(
            "<strong class=\"stale\">▲ Figures are from {} UTC: the daemon cannot take newer ones.</strong>",
            clock(view.taken_at)
        ),
        _ => format!("As of {}", time(at)),
    }
}

/// Age in seconds from which figures are old. The daemon takes figures every second.
const STALE_S: u64 = 10;

fn query(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn as_map<S: serde::Serializer>(sections: &[(&'static str, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(sections.iter().map(|(name, html)| (name, html)))
}
