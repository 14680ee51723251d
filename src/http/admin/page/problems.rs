//! The first sections of the page: the state of the daemon and the list of problems.

use std::fmt::Write;

use super::format::{Text, capital, time};
use crate::http::admin::overview::Overview;
use crate::problems::{Problem, Severity, number, span};
use crate::units::Timestamp;

/// The state as a badge with colour, symbol and text.
pub fn state(overview: &Overview) -> String {
    let (readiness, does) = (&overview.readiness, activity(overview));
    let count = readiness.problems.len();
    let (class, symbol, words) = match (readiness.ready, count) {
        (true, 0) => ("ok", "✓", does.to_owned()),
        (true, _) => ("warning", "▲", format!("{does}, {}", count_text(count))),
        (false, _) => {
            let reason = readiness.reason.unwrap_or_default().replace('_', " ");
            ("error", "■", format!("{does}: {reason}"))
        }
    };
    format!("<p class=\"badge {class}\"><span aria-hidden=\"true\">{symbol}</span> {}</p>", Text(&words))
}

/// Text that a screen reader announces when it changes. It has no durations, because they change all the time.
pub fn announcement(overview: &Overview) -> String {
    let does = activity(overview);
    let titles: Vec<_> = overview.readiness.problems.iter().map(|problem| problem.code.title()).collect();
    match titles.len() {
        0 => format!("{does}. No problems."),
        count => format!("{does}. {}: {}.", Text(&count_text(count)), Text(&titles.join(", "))),
    }
}

/// The current activity of the process.
fn activity(overview: &Overview) -> &'static str {
    match (overview.accepts, overview.readiness.ready) {
        (true, true) => "Accepting commands",
        (true, false) => "Refusing commands",
        (false, true) => "Applying commands",
        (false, false) => "Not applying commands",
    }
}

/// Title of the page. It shows the state, so that an operator can tell many open tabs apart.
pub fn title(overview: &Overview) -> String {
    let readiness = &overview.readiness;
    match (readiness.ready, readiness.problems.first()) {
        (true, None) => "forebay: no problems".to_owned(),
        (_, Some(first)) => {
            format!("({}) {} – forebay", readiness.problems.len(), capital(first.code.title()))
        }
        (false, None) => format!("{} – forebay", activity(overview)),
    }
}

/// The list of problems.
pub fn list(problems: &[Problem], now: Timestamp) -> String {
    let mut html = String::from("<h2 id=\"problems\">Problems</h2>");
    if problems.is_empty() {
        html += "<p class=\"note ok\"><span aria-hidden=\"true\">✓</span> No problems.</p>";
        return html;
    }
    html += "<ul class=\"problems\">";
    problems.iter().for_each(|problem| entry(&mut html, problem, now));
    html += "</ul>";
    html
}

fn entry(html: &mut String, problem: &Problem, now: Timestamp) {
    let Problem { code, since, detail, last_error, runbook, .. } = problem;
    let (class, symbol, severity) = match code.severity() {
        Severity::Error => ("error", "■", "Error"),
        Severity::Warning => ("warning", "▲", "Warning"),
    };
    let (title, lasted) = (capital(code.title()), span(now.since(*since)));
    // A write to a string cannot fail.
    let _ = write!(
        html,
        "<li class=\"problem {class}\"><h3><span class=\"severity\"><span aria-hidden=\"true\">{symbol}</span> \
         {severity}</span> {title}</h3><p class=\"when\">for {lasted}, since {since}</p><p>{detail}</p>",
        since = time(*since),
        detail = Text(&sentence(detail)),
    );
    if let Some(error) = last_error {
        let _ = write!(html, "<p class=\"error-text\">Last error: <code>{}</code></p>", Text(error));
    }
    let _ = write!(html, "<p class=\"what-to-do\">What to do: <code>{}</code></p></li>", Text(runbook));
}

/// Adds a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{end}", capital(text))
}

fn count_text(problems: usize) -> String {
    match problems {
        1 => "1 problem".to_owned(),
        many => format!("{} problems", number(many as u64)),
    }
}
