//! The section with the current figures.

use std::fmt::Write;
use std::time::Duration;

use super::format::{bytes, duration, rate};
use crate::history::{HistoryView, STEP, Trend};
use crate::problems::number;

/// One figure: name, value and remark.
struct Tile {
    class: &'static str,
    name: &'static str,
    value: String,
    remark: String,
}

/// Renders the section.
pub fn section(view: &HistoryView) -> String {
    let mut html = String::from("<h2 id=\"figures\">Now</h2><dl class=\"tiles\">");
    for Tile { class, name, value, remark } in tiles(view) {
        // A write to a string cannot fail. No text comes from outside, so nothing needs escaping.
        let _ = write!(html, "<div class=\"tile {class}\"><dt>{name}</dt><dd>{value}");
        if !remark.is_empty() {
            let _ = write!(html, "<small>{remark}</small>");
        }
        html += "</dd></div>";
    }
    html += "</dl>";
    html
}

fn tiles(view: &HistoryView) -> Vec<Tile> {
    let now = &view.now;
    let rates = view.rates.as_ref();
    let a_second = |rate_of: fn(&crate::history::Rates) -> f64| {
        rates.map_or("–".to_owned(), |rates| {
            format!("{}<span class=\"unit\">/s</span>", rate(rate_of(rates)))
        })
    };
    let seconds = format!("over the last {} s", STEP.as_secs());
    let oldest = if now.backlog == 0 { "–".to_owned() } else { duration(now.oldest_age) };
    vec![
        Tile {
            class: "in",
            name: "Accepted",
            value: a_second(|rates| rates.accepted),
            remark: seconds.clone(),
        },
        Tile { class: "out", name: "Delivered", value: a_second(|rates| rates.delivered), remark: seconds },
        Tile {
            class: "",
            name: "Backlog",
            value: number(now.backlog),
            remark: format!("{}; {}", bytes(now.backlog_bytes), trend(view)),
        },
        Tile {
            class: "",
            name: "Oldest record waits",
            value: oldest,
            remark: "in flight included".to_owned(),
        },
        flush(view),
        Tile {
            class: if now.dead > 0 { "warning" } else { "" },
            name: "Dead letters",
            value: number(now.dead),
            remark: if now.dead > 0 {
                "▲ waiting for an operator".to_owned()
            } else {
                "none stored".to_owned()
            },
        },
    ]
}

/// The trend of the backlog in words.
fn trend(view: &HistoryView) -> String {
    match view.trend {
        None => "no trend yet".to_owned(),
        Some(Trend::Steady) => "steady".to_owned(),
        Some(Trend::Growing(pace)) => format!("↑ grows by {}/s", rate(pace)),
        Some(Trend::Falling(pace, empty)) => {
            format!("↓ falls by {}/s, empty in about {}", rate(pace), duration(empty))
        }
    }
}

/// Flush time and group size. They determine the cost of an acknowledgement.
fn flush(view: &HistoryView) -> Tile {
    let flushes = view.rates.as_ref().and_then(|rates| rates.flushes);
    let slowest = view.points.iter().filter_map(|point| point.flush_seconds).fold(0.0, f32::max);
    let of_hour = match slowest > 0.0 {
        true => format!(
            "slowest {} s of the hour: {}",
            STEP.as_secs(),
            duration(Duration::from_secs_f32(slowest))
        ),
        false => "no flush in the last hour".to_owned(),
    };
    let (value, remark) = match flushes {
        Some(flushes) => {
            let group = match rate(flushes.records) {
                one if one == "1" => format!("1 record in each; {of_hour}"),
                many => format!("{many} records in each; {of_hour}"),
            };
            (duration(Duration::from_secs_f64(flushes.seconds)), group)
        }
        None => ("–".to_owned(), of_hour),
    };
    Tile { class: "", name: "Flush, on average", value, remark }
}
