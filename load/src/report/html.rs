//! The report as one HTML page: tables and plots, without scripts and without external resources.

use super::document::{DeliveryStats, Document};
use super::plot::{Plot, Scale, Series, escape, number, put};
use super::summary::{Latency, RequestSummary, TimelinePoint};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(document: &Document) -> String {
    let settings = &document.settings;
    let mut page = String::new();
    // With this policy a browser refuses to load external resources.
    put(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{scenario}: {target}</title>\n<style>\n{STYLE}</style>\n\
         <h1>{scenario}: {target}</h1>\n<p class=\"soft\">{started}, {seconds} s measured after {warm_up} s of warm-up, at \
         most {connections} requests in progress, forebay-load {version}</p>\n",
            scenario = escape(settings.scenario),
            target = escape(&settings.target),
            started = escape(&document.started_at),
            seconds = number(document.phases.iter().map(|phase| phase.seconds).sum()),
            warm_up = number(settings.warm_up_seconds),
            connections = settings.connections,
            version = document.version,
        ),
    );
    if document.interrupted {
        page.push_str("<p class=\"bad\">The run was interrupted.</p>\n");
    }
    levels(&mut page, document);
    stats(&mut page, document);
    plots(&mut page, document);
    errors(&mut page, document);
    if let Some(kafka) = &document.kafka {
        kafka_section(&mut page, kafka);
    }
    tool(&mut page, document);
    page.push_str("</html>\n");
    page
}

fn levels(page: &mut String, document: &Document) {
    let Some(levels) = &document.levels else { return };
    page.push_str("<h2>Service levels</h2>\n<ul>\n");
    for check in &levels.checks {
        let (class, word) = if check.met { ("good", "met") } else { ("bad", "missed") };
        put(page, format_args!("<li><b class=\"{class}\">{word}</b> {}</li>\n", escape(&check.text())));
    }
    page.push_str("</ul>\n");
}

fn stats(page: &mut String, document: &Document) {
    page.push_str(
        "<h2>Results</h2>\n<div class=\"wide\"><table>\n<tr><th>requests</th><th>due</th><th>due/s</th><th>good/s</th>\
         <th>errors</th><th>p50 ms</th><th>p90 ms</th><th>p95 ms</th><th>p99 ms</th><th>p99.9 ms</th><th>max ms</th>\
         <th>service p99 ms</th></tr>\n",
    );
    row(page, "all", &document.total);
    if document.phases.len() > 1 {
        for phase in &document.phases {
            row(page, &format!("phase {}", phase.name), &phase.stats);
        }
    }
    if document.operations.len() > 1 {
        for (name, stats) in &document.operations {
            row(page, &format!("operation {name}"), stats);
        }
    }
    page.push_str(
        "</table></div>\n<p class=\"soft\">Latency counts from the time a request was due, not from when it was sent. \
         Service time counts from when a connection was free.</p>\n",
    );
}

fn row(page: &mut String, name: &str, stats: &RequestSummary) {
    let latency =
        |of: fn(&Latency) -> f64| stats.latency_ms.as_ref().map_or("–".to_owned(), |all| number(of(all)));
    let service = stats.service_ms.as_ref().map_or("–".to_owned(), |all| number(all.p99));
    let errors = stats.due - stats.good;
    let class = if errors > 0 { " class=\"bad\"" } else { "" };
    put(
        page,
        format_args!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{class}>{errors} ({} %)</td>",
            escape(name),
            stats.due,
            number(stats.due_rate),
            number(stats.achieved_rate),
            number(stats.error_rate * 100.0),
        ),
    );
    let columns: [fn(&Latency) -> f64; 6] =
        [|all| all.p50, |all| all.p90, |all| all.p95, |all| all.p99, |all| all.p999, |all| all.max];
    for column in columns {
        put(page, format_args!("<td>{}</td>", latency(column)));
    }
    put(page, format_args!("<td>{service}</td></tr>\n"));
}

fn plots(page: &mut String, document: &Document) {
    let phases: Vec<_> = match document.phases.len() {
        1 => Vec::new(),
        _ => document.phases.iter().map(|phase| (phase.start_seconds, phase.name.clone())).collect(),
    };
    let interval = document.interval_seconds;
    let latency = |name, style, of: fn(&Latency) -> f64| {
        let value = |point: &TimelinePoint| point.latency_ms.as_ref().map(of);
        Series { name, style, values: document.timeline.iter().map(value).collect() }
    };
    let count = |name, style, of: fn(&TimelinePoint) -> u64| {
        let value = |point: &TimelinePoint| Some(of(point) as f64 / interval);
        Series { name, style, values: document.timeline.iter().map(value).collect() }
    };
    let percentiles = vec![
        latency("p50", 0, |all| all.p50),
        latency("p95", 1, |all| all.p95),
        latency("p99", 2, |all| all.p99),
        latency("max", 3, |all| all.max),
    ];
    let rates = vec![count("good", 0, |point| point.good), count("due", 1, |point| point.due)];
    let mut plots = vec![
        ("Latency of requests by due time, ms (logarithmic)", Scale::Log, percentiles),
        ("Requests per second", Scale::Linear, rates),
    ];
    if document.total.due > document.total.good {
        let errors = vec![count("errors", 3, |point| point.errors)];
        plots.push(("Errors per second", Scale::Linear, errors));
    }
    page.push_str("<h2>Over time</h2>\n");
    for (title, scale, series) in plots {
        page.push_str(&Plot { title, interval, scale, series, phases: &phases }.svg());
    }
}

fn errors(page: &mut String, document: &Document) {
    if document.total.errors.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Errors</h2>\n<div class=\"wide\"><table>\n<tr><th>error</th><th>requests</th><th class=\"left\">first error</th></tr>\n",
    );
    for (name, error) in &document.total.errors {
        let first = escape(&error.first);
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td class=\"left\">{first}</td></tr>\n",
                escape(name),
                error.count
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn kafka_section(page: &mut String, kafka: &DeliveryStats) {
    put(
        page,
        format_args!(
            "<h2>Kafka when the run ended</h2>\n<p>{} records accepted since the warm-up began, {} confirmed by Kafka, {} dead \
         letters; {} waited, the oldest for {} s ({} waited before the run).</p>\n",
            kafka.accepted,
            kafka.delivered,
            kafka.dead,
            kafka.backlog,
            number(kafka.oldest_age_seconds),
            kafka.backlog_before
        ),
    );
    if let Some(seconds) = kafka.drained_after_seconds {
        put(page, format_args!("<p>The backlog was empty {} s later.</p>\n", number(seconds)));
    }
}

fn tool(page: &mut String, document: &Document) {
    let (tool, logins) = (&document.tool, &document.logins);
    let lateness = tool.lateness_ms.as_ref().map_or("–".to_owned(), |late| number(late.p99));
    put(
        page,
        format_args!(
            "<h2>The tool itself</h2>\n<p>{} s of CPU, {} µs per request. Requests were dispatched {lateness} ms late at p99; \
         this is part of every latency. Tokens: {} first, {} before expiry, {} after 401. The {} \
         requests of the warm-up are not in these numbers.</p>\n",
            number(tool.cpu_seconds),
            number(tool.cpu_micros_per_request),
            logins.first,
            logins.before_expiry,
            logins.after_401,
            document.warm_up.due
        ),
    );
}
