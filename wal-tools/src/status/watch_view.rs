//! Output of one sample of `status --watch`: a frame on a terminal, one line elsewhere, or one JSON object.

use std::path::Path;
use std::time::Duration;

use forebay_wal::units::Timestamp;
use indicatif::HumanCount;
use serde_json::Value;

use super::rates::{SampleWindow, StatusRates};
use crate::text_format;

/// Characters of a sparkline, one for each of its eight heights.
const SPARK_CHARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Minimum change in records per second, equal to three records per minute. A smaller change is shown as steady.
const MIN_CHANGE: f64 = 0.05;
/// Indent of the text below a problem.
const INDENT: &str = "    ";
/// Minimum width for which lines are wrapped. A narrower terminal cuts them.
const MIN_COLUMNS: usize = 20;

/// One sample and what is needed to print it.
pub struct WatchView<'a> {
    pub dir: &'a Path,
    pub document: &'a Value,
    pub rates: StatusRates,
    pub samples: &'a SampleWindow,
    pub interval: Duration,
    /// Why the figures are not the daemon's.
    pub fallback_reason: Option<&'a str>,
}

impl WatchView<'_> {
    /// Returns the document and the rates as one line of JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut document = self.document.clone();
        if let (Some(members), Value::Object(pace)) =
            (document.as_object_mut(), serde_json::to_value(self.rates)?)
        {
            members.extend(pace);
        }
        Ok(format!("{document}\n"))
    }

    /// Returns one line of text, for a log or a pipe.
    pub fn line(&self) -> String {
        let StatusRates { accepted_per_second, delivered_per_second, seconds_to_empty, .. } = self.rates;
        let problems: Vec<_> = self.problems().map(|problem| text(problem, "code")).collect();
        let line = format!(
            "{} backlog={} bytes={} oldest={} accepted/s={} delivered/s={} empty_in={} dead={} source={} problems={}",
            self.timestamp(),
            self.number("backlog"),
            self.number("backlog_bytes"),
            self.oldest().replace(' ', ""),
            ungrouped(accepted_per_second),
            ungrouped(delivered_per_second),
            seconds_to_empty.map_or("-".to_owned(), format_seconds).replace(' ', ""),
            self.number("dead"),
            text(self.document, "source"),
            if problems.is_empty() { "none".to_owned() } else { problems.join(",") },
        );
        match self.fallback_reason {
            Some(remark) => format!("{line} remark={:?}\n", text_format::without_control_chars(remark)),
            None => line + "\n",
        }
    }

    /// Returns the lines of a frame, for a terminal.
    pub fn lines(&self, columns: usize) -> Vec<String> {
        let StatusRates { accepted_per_second, delivered_per_second, backlog_growth_per_second, .. } =
            self.rates;
        let backlog = format!(
            "{}, {}",
            records(self.number("backlog")),
            text_format::size(self.number("backlog_bytes"))
        );
        let mut lines = vec![
            format!(
                "forebay {}   {}   every {}, Ctrl-C ends",
                text_format::without_control_chars(&self.dir.display().to_string()),
                self.timestamp(),
                text_format::age(self.interval)
            ),
            String::new(),
            row(
                "accepted",
                &format!("{}/s", rate(accepted_per_second)),
                &sparkline(&self.samples.accepted()),
            ),
            row(
                "delivered",
                &format!("{}/s", rate(delivered_per_second)),
                &sparkline(&self.samples.delivered()),
            ),
            row("backlog", &backlog, &sparkline(&self.samples.backlog())),
            row("trend", &self.trend(backlog_growth_per_second), ""),
            row("oldest", &self.oldest(), ""),
            row("dead letters", &self.number("dead").to_string(), ""),
            row("figures", &self.source(), ""),
        ];
        if self.document["poisoned"] == true {
            lines.push(row("poisoned", "YES: the log accepts no records", ""));
        }
        lines.push(String::new());
        lines.extend(self.problem_lines().iter().flat_map(|line| wrapped(line, columns)));
        lines
    }

    fn trend(&self, growth: Option<f64>) -> String {
        match (growth, self.rates.seconds_to_empty) {
            (None, _) => "unknown until a second sample of a running daemon".to_owned(),
            (Some(growth), _) if growth.abs() < MIN_CHANGE => "→ steady".to_owned(),
            (Some(growth), Some(empty)) => {
                format!("↓ falls by {}/s, empty in about {}", rate(Some(-growth)), format_seconds(empty))
            }
            (Some(growth), None) if growth > 0.0 => format!("↑ grows by {}/s", rate(Some(growth))),
            (Some(_), None) => "→ steady".to_owned(),
        }
    }

    fn source(&self) -> String {
        let source = match self.document["source"] == "daemon" {
            true if self.rates.restarted => "from the daemon, which was restarted since the last sample",
            true => "from the daemon, all at the same time",
            false => "from the files, as of the last checkpoint",
        };
        match self.fallback_reason {
            Some(remark) => format!("{source}: {}", text_format::without_control_chars(remark)),
            None => source.to_owned(),
        }
    }

    fn problem_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for problem in self.problems() {
            let since = text(problem, "since").parse().map_or("-".to_owned(), text_format::ago);
            lines.push(format!(
                "▲ {}, since {since}",
                text_format::without_control_chars(&text(problem, "code"))
            ));
            lines.push(format!("{INDENT}{}", text_format::without_control_chars(&text(problem, "detail"))));
            if let Some(error) = problem["last_error"].as_str() {
                lines.push(format!("{INDENT}last error: {}", text_format::without_control_chars(error)));
            }
        }
        match lines.is_empty() {
            true => vec!["no problems".to_owned()],
            false => lines,
        }
    }

    fn problems(&self) -> impl Iterator<Item = &Value> {
        self.document["problems"].as_array().into_iter().flatten()
    }

    /// Time of the figures: from the daemon's clock if the figures are the daemon's, otherwise from the tool's.
    fn timestamp(&self) -> String {
        match self.document["at"].as_str() {
            Some(at) => at.to_owned(),
            None => Timestamp::now().to_string(),
        }
    }

    fn oldest(&self) -> String {
        match self.number("backlog") {
            0 => "-".to_owned(),
            _ => format_seconds(self.document["oldest_age_seconds"].as_f64().unwrap_or_default()),
        }
    }

    fn number(&self, name: &str) -> u64 {
        self.document[name].as_u64().unwrap_or_default()
    }
}

/// Draws the frame over the previous one. Lines are cut to the terminal, because a line that wraps would move the
/// others down.
pub fn redraw(lines: &[String], (rows, columns): (usize, usize), is_first: bool) -> String {
    let mut shown = String::from(if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    // The last row is left for the cursor.
    for line in lines.iter().take(rows.saturating_sub(1)) {
        shown.extend(line.chars().take(columns));
        shown.push_str("\x1b[K\r\n");
    }
    shown.push_str("\x1b[J");
    shown
}

/// Returns the rows and columns of the terminal.
pub fn terminal_size() -> (usize, usize) {
    let (rows, columns) = console::Term::stdout().size();
    (rows.into(), columns.into())
}

/// Wraps a line between words to `columns`. Every line after the first is indented.
fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let (mut width, limit) = (0, columns.max(MIN_COLUMNS));
    for word in line.split_inclusive(' ') {
        let letters = word.trim_end().chars().count();
        if width + letters > limit && width > INDENT.len() {
            pieces.push(INDENT.to_owned());
            width = INDENT.len();
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push_str(word);
        }
        width += word.chars().count();
    }
    pieces
}

fn row(name: &str, value: &str, line: &str) -> String {
    format!("{name:<14}{value:<32}  {line}").trim_end().to_owned()
}

/// Draws values as a sparkline. The maximum has the full height.
fn sparkline(values: &[f64]) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    let height = |value: f64| if most > 0.0 { (value / most * 7.0).round() as usize } else { 0 };
    values.iter().map(|value| SPARK_CHARS[height(*value).min(7)]).collect()
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{} records", HumanCount(count)) }
}

fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => HumanCount(rate.round() as u64).to_string(),
    }
}

/// Formats a rate for programs, without separators between thousands.
fn ungrouped(rate: Option<f64>) -> String {
    rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"))
}

fn format_seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or("very long".to_owned(), text_format::age)
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_to_the_terminal() {
        let lines = ["↓ falls by 3/s".to_owned(), "two".to_owned(), "three".to_owned()];
        assert_eq!(redraw(&lines, (3, 7), true), "\x1b[2J\x1b[H↓ falls\x1b[K\r\ntwo\x1b[K\r\n\x1b[J");
        assert!(redraw(&lines, (24, 80), false).starts_with("\x1b[H↓ falls by 3/s\x1b[K\r\n"));
    }

    #[test]
    fn a_long_text_continues_on_the_next_line() {
        assert_eq!(wrapped("    one two three four five", 20), ["    one two three ", "    four five"]);
        assert_eq!(wrapped("    short", 20), ["    short"]);
    }

    #[test]
    fn a_sparkline_of_zeros_does_not_divide_by_zero() {
        assert_eq!(sparkline(&[0.0, 0.0]), "▁▁");
        assert_eq!(sparkline(&[0.0, 5.0, 10.0]), "▁▅█");
        assert_eq!(sparkline(&[]), "");
    }
}
