//! The section with the last hour: charts, each with a summary in words, and a table with all values.

use std::fmt::Write;
use std::time::Duration;

use super::format::{Text, capital, duration, minute, rate, time};
use super::plot;
use super::plot::{HEIGHT, WIDTH};
use crate::history::{HOUR, HistoryView, Point};
use crate::problems::number;
use crate::units::Timestamp;

/// Number of intervals on the time axis. For a full hour, each is a quarter of an hour.
const QUARTERS: u64 = 4;
/// Rows of the table. Each covers five minutes.
const ROWS: u64 = 12;

/// One line of a chart.
struct Series {
    class: &'static str,
    name: &'static str,
    is_area: bool,
    of: fn(&Point) -> f64,
}

/// One chart.
struct Chart {
    title: &'static str,
    series: Vec<Series>,
    scale: fn(f64) -> f64,
    unit: fn(f64) -> String,
    /// The unit for the script, which shows the values at the pointer.
    unit_name: &'static str,
}

/// Renders the section.
pub fn section(view: &HistoryView, started_at: Timestamp) -> String {
    let minutes = plot::window(view).as_secs() / 60;
    let mut html = match minutes {
        60 => String::from("<h2 id=\"hour\">The last hour</h2>"),
        _ => format!("<h2 id=\"hour\">The last {minutes} minutes</h2>"),
    };
    let _ = write!(
        html,
        "<p class=\"hint\">The daemon records these values in memory. It started at {}, keeps one hour at most, and starts \
         again at each restart. Times are UTC. Shaded: times with a problem.</p><div class=\"charts\">",
        time(started_at)
    );
    charts().iter().for_each(|chart| draw(&mut html, chart, view));
    html += "</div>";
    table(&mut html, view);
    html
}

fn charts() -> [Chart; 3] {
    let accepted =
        Series { class: "in", name: "accepted", is_area: false, of: |point| point.accepted.into() };
    let delivered =
        Series { class: "out", name: "delivered", is_area: true, of: |point| point.delivered.into() };
    let backlog =
        Series { class: "backlog", name: "backlog", is_area: true, of: |point| point.backlog as f64 };
    let age =
        Series { class: "age", name: "oldest record", is_area: true, of: |point| point.oldest_age.into() };
    let seconds = |value| duration(Duration::try_from_secs_f64(value).unwrap_or_default());
    [
        Chart {
            title: "Records/s",
            series: vec![delivered, accepted],
            scale: plot::round_top,
            unit: |value| format!("{}/s", rate(value)),
            unit_name: "/s",
        },
        Chart {
            title: "Backlog in records",
            series: vec![backlog],
            scale: plot::round_top,
            unit: rate,
            unit_name: "",
        },
        Chart {
            title: "Oldest record waits",
            series: vec![age],
            scale: plot::round_span,
            unit: seconds,
            unit_name: "s",
        },
    ]
}

fn draw(html: &mut String, chart: &Chart, view: &HistoryView) {
    let values = |series: &Series| view.points.iter().map(series.of).fold(0.0, f64::max);
    let top = (chart.scale)(chart.series.iter().map(values).fold(0.0, f64::max));
    let words: Vec<_> = chart.series.iter().map(|series| in_words(series, chart, view)).collect();
    let _ = write!(html, "<figure><figcaption><strong>{}</strong>", chart.title);
    for series in chart.series.iter().rev().filter(|_| chart.series.len() > 1) {
        let shape = if series.is_area { "area" } else { "line" };
        let _ = write!(
            html,
            " <span class=\"legend\"><span class=\"key {} {shape}\" aria-hidden=\"true\"></span>{}</span>",
            series.class, series.name
        );
    }
    let _ = write!(
        html,
        "</figcaption><div class=\"plot\"><div class=\"y\" aria-hidden=\"true\"><span>{}</span><span>{}</span>\
         <span>0</span></div><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{} over time. {}\" data-from=\"{}\" data-until=\"{}\" data-top=\"{top}\" data-unit=\"{}\">",
        (chart.unit)(top),
        (chart.unit)(top / 2.0),
        chart.title,
        Text(&words.join(" ")),
        view.taken_at.saturating_sub(plot::window(view)),
        view.taken_at,
        chart.unit_name,
    );
    for (from, to) in plot::problem_periods(view) {
        let width = to - from;
        let _ = write!(
            html,
            "<rect class=\"problem-period\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
        );
    }
    for at in [0.0, HEIGHT / 2.0, HEIGHT] {
        let _ = write!(html, "<path class=\"grid\" d=\"M0 {at}H{WIDTH}\"/>");
    }
    for Series { class, name, is_area, of } in &chart.series {
        if *is_area {
            let _ = write!(html, "<path class=\"area {class}\" d=\"{}\"/>", plot::area(view, top, of));
        }
        let line = plot::line(view, top, of);
        let _ = write!(html, "<path class=\"line {class}\" data-name=\"{name}\" d=\"{line}\"/>");
    }
    html.push_str("<path class=\"cursor\"/></svg><div class=\"x\" aria-hidden=\"true\">");
    for quarter in 0..QUARTERS {
        let ago = Duration::from_secs(plot::window(view).as_secs() * (QUARTERS - quarter) / QUARTERS);
        let _ = write!(html, "<span>{}</span>", minute(view.taken_at.saturating_sub(ago)));
    }
    let _ = write!(
        html,
        "<span>now</span></div></div><p class=\"words\">{}</p></figure>",
        Text(&words.join(" "))
    );
}

/// A summary of the chart for screen readers: the current value, and the maximum with its time.
fn in_words(series: &Series, chart: &Chart, view: &HistoryView) -> String {
    let highest = view.points.iter().map(|point| ((series.of)(point), point));
    let highest = highest.max_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some((most, when)) = highest else {
        return format!("{}: nothing recorded yet.", capital(series.name));
    };
    let now = view.points.last().map_or(0.0, series.of);
    let ago = view.now.at.saturating_duration_since(when.at);
    let at = minute(view.taken_at.saturating_sub(ago));
    let (name, unit) = (capital(series.name), chart.unit);
    match most > 0.0 {
        true => format!("{name}: {} now, highest {} at {at}.", unit(now), unit(most)),
        false => format!("{name}: none in this time."),
    }
}

fn table(html: &mut String, view: &HistoryView) {
    html.push_str(
        "<details id=\"hour-table\"><summary id=\"hour-summary\">The last hour as a table, in steps of five minutes</summary>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The last hour as a table\"><table><thead><tr>\
         <th scope=\"col\">Until</th><th scope=\"col\">Accepted/s</th><th scope=\"col\">Delivered/s</th>\
         <th scope=\"col\">Largest backlog</th><th scope=\"col\">Oldest record</th><th scope=\"col\">Flush, slowest</th>\
         <th scope=\"col\">Problems</th></tr></thead><tbody>",
    );
    let seconds = HOUR.as_secs() / ROWS;
    for row in 0..ROWS {
        let ago = Duration::from_secs(row * seconds);
        let newest = ago..ago + Duration::from_secs(seconds);
        let points = view.points.iter();
        let points: Vec<_> = points
            .filter(|point| newest.contains(&view.now.at.saturating_duration_since(point.at)))
            .collect();
        if !points.is_empty() {
            let until = minute(view.taken_at.saturating_sub(ago));
            html.push_str(&table_row(&until, &points));
        }
    }
    html.push_str("</tbody></table></div></details>");
}

fn table_row(until: &str, points: &[&Point]) -> String {
    let mean = |of: fn(&Point) -> f32| {
        points.iter().map(|point| f64::from(of(point))).sum::<f64>() / points.len() as f64
    };
    let most = |of: fn(&Point) -> f32| points.iter().map(|point| of(point)).fold(0.0, f32::max);
    let span = |seconds: f32| duration(Duration::try_from_secs_f32(seconds).unwrap_or_default());
    let flush = most(|point| point.flush_seconds.unwrap_or_default());
    format!(
        "<tr><th scope=\"row\">{until}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        rate(mean(|point| point.accepted)),
        rate(mean(|point| point.delivered)),
        number(points.iter().map(|point| point.backlog).max().unwrap_or_default()),
        span(most(|point| point.oldest_age)),
        if flush > 0.0 { span(flush) } else { "–".to_owned() },
        points.iter().map(|point| point.problems).max().unwrap_or_default(),
    )
}
