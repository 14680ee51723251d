//! The summary as text for a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::document::Document;
use super::plot::number;
use super::summary::{Latency, RequestSummary};

/// The summary as text.
pub fn print(document: &Document) -> String {
    let settings = &document.settings;
    let seconds: f64 = document.phases.iter().map(|phase| phase.seconds).sum();
    let mut text = format!(
        "{} against {}: {} s measured after {} s of warm-up\n\n",
        settings.scenario,
        settings.target,
        number(seconds),
        number(settings.warm_up_seconds)
    );
    for line in stats(document).lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for (name, error) in &document.total.errors {
        let first =
            if error.first.is_empty() { String::new() } else { format!(", first: {}", plain(&error.first)) };
        let _ = writeln!(text, "error {name}: {} requests{first}", error.count);
    }
    if let Some(kafka) = &document.kafka {
        let _ = writeln!(
            text,
            "Kafka: {} accepted, {} delivered, {} dead, {} waiting when the run ended",
            kafka.accepted, kafka.delivered, kafka.dead, kafka.backlog
        );
    }
    if let Some(levels) = &document.levels {
        text.push('\n');
        for check in &levels.checks {
            let word = if check.met { "met   " } else { "MISSED" };
            let _ = writeln!(text, "{word} {}", check.text());
        }
    }
    text
}

fn stats(document: &Document) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "",
        "DUE",
        "DUE/s",
        "GOOD/s",
        "ERRORS",
        "P50 ms",
        "P95 ms",
        "P99 ms",
        "MAX ms",
        "SERVICE P99",
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if document.phases.len() > 1 {
        for phase in &document.phases {
            table.add_row(row(&format!("phase {}", phase.name), &phase.stats));
        }
    }
    if document.operations.len() > 1 {
        for (name, stats) in &document.operations {
            table.add_row(row(name, stats));
        }
    }
    table.add_row(row("all", &document.total));
    table
}

fn row(name: &str, stats: &RequestSummary) -> Vec<String> {
    let latency = |all: &Option<Latency>, of: fn(&Latency) -> f64| {
        all.as_ref().map_or("-".to_owned(), |all| number(of(all)))
    };
    vec![
        name.to_owned(),
        stats.due.to_string(),
        number(stats.due_rate),
        number(stats.achieved_rate),
        (stats.due - stats.good).to_string(),
        latency(&stats.latency_ms, |all| all.p50),
        latency(&stats.latency_ms, |all| all.p95),
        latency(&stats.latency_ms, |all| all.p99),
        latency(&stats.latency_ms, |all| all.max),
        latency(&stats.service_ms, |all| all.p99),
    ]
}

/// External text, without control characters that affect a terminal.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
