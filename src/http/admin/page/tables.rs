//! The sections with tables: topics, workers and dead letters.

use std::fmt::Write;

use super::format::{Text, duration, rate, time};
use crate::history::HistoryView;
use crate::http::admin::overview::{DeadLetterRow, DeadLetterSummary, Overview, WorkerRow};
use crate::problems::number;

/// Backlog and rates of each topic, and why records are held back.
pub fn topics(overview: &Overview, view: &HistoryView) -> String {
    let mut html = String::from("<h2 id=\"topics\">Topics</h2>");
    open(&mut html, "Topics", &["Topic", "#Backlog", "#Accepted/s", "#Delivered/s", "Held back"]);
    for (topic, reading) in &view.now.topics {
        let rates =
            view.rates.as_ref().and_then(|rates| rates.topics.get(topic)).copied().unwrap_or_default();
        let held = overview.held_back.get(topic).map_or("–", String::as_str);
        // A write to a string cannot fail.
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            Text(topic),
            number(reading.backlog),
            rate(rates.accepted),
            rate(rates.delivered),
            Text(held)
        );
    }
    close(&mut html);
    html
}

/// State of each drain worker.
pub fn workers(workers: &[WorkerRow]) -> String {
    let busy = workers.iter().filter(|worker| worker.state == "running").count();
    let in_flight = workers.iter().map(|worker| worker.in_flight as u64).sum();
    let mut html = format!(
        "<h2 id=\"workers\">Workers</h2><p class=\"hint\">{} workers, {busy} of them running; {} records sent and not \
         confirmed.</p>",
        workers.len(),
        number(in_flight)
    );
    let headings =
        ["Worker", "State", "Lanes of 256", "#In flight", "#Held back", "Without confirmation for"];
    open(&mut html, "Workers", &headings);
    for worker in workers {
        let without = match worker.unconfirmed_for {
            none if none.is_zero() => "–".to_owned(),
            long => duration(long),
        };
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td>\
             <td class=\"text\">{without}</td></tr>",
            worker.index,
            worker.state,
            Text(&worker.lanes),
            number(worker.in_flight as u64),
            number(worker.parked)
        );
    }
    close(&mut html);
    html
}

/// Number of dead letters, their reasons, and the newest ones.
pub fn dead_letters(letters: &DeadLetterSummary) -> String {
    let mut html = String::from("<h2 id=\"dead\">Dead letters</h2>");
    let since_start = letters.since_start.iter().filter(|(_, count)| *count > 0);
    let reasons: Vec<_> = since_start.map(|(reason, count)| format!("{} {reason}", number(*count))).collect();
    let reasons = match reasons.is_empty() {
        true => "none since the start".to_owned(),
        false => format!("since the start: {}", reasons.join(", ")),
    };
    let _ = write!(html, "<p class=\"hint\">{} stored; {}.", number(letters.stored), Text(&reasons));
    if letters.stored > 0 {
        html += " <code>wal-tools dead list</code> shows all, <code>wal-tools dead requeue</code> sends them again.";
    }
    html += "</p>";
    if !letters.newest.is_empty() {
        open(&mut html, "The newest dead letters", &["#Record", "Kind", "Reason", "Since", "#Attempts"]);
        letters.newest.iter().for_each(|letter| dead_letter(&mut html, letter));
        close(&mut html);
    }
    html
}

fn dead_letter(html: &mut String, letter: &DeadLetterRow) {
    let DeadLetterRow { lsn, kind, died_at, reason, attempts } = letter;
    let _ = write!(
        html,
        "<tr><th scope=\"row\">{lsn}</th><td class=\"text\">{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td>\
         <td>{attempts}</td></tr>",
        Text(kind.as_deref().unwrap_or("–")),
        Text(reason),
        time(*died_at)
    );
}

/// Starts a table. It scrolls separately if it is wider than the page. A heading with the prefix `#` is for a column of
/// numbers.
fn open(html: &mut String, name: &str, headings: &[&str]) {
    let _ = write!(
        html,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}, table\"><table><thead><tr>"
    );
    for heading in headings {
        let (class, heading) = match heading.strip_prefix('#') {
            Some(number) => ("", number),
            None => (" class=\"text\"", *heading),
        };
        let _ = write!(html, "<th scope=\"col\"{class}>{heading}</th>");
    }
    html.push_str("</tr></thead><tbody>");
}

fn close(html: &mut String) {
    html.push_str("</tbody></table></div>");
}
