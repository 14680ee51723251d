//! The report: complete, as documented, and without external resources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::server::{Server, ServerReply};
use crate::tool::{file, run};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides/load-testing.md");

/// The members of each form in the guide, with their forms.
type Forms = BTreeMap<String, BTreeMap<String, String>>;

/// Parses the tables under headings such as `### Form: figures`, whose rows begin with a member and its form.
fn documented() -> Forms {
    let mut forms = Forms::new();
    let mut form = None;
    for line in fs::read_to_string(GUIDE).unwrap().lines() {
        if line.starts_with('#') {
            form = line.strip_prefix("### Form: ").map(str::to_owned);
        } else if let (Some(form), Some(row)) = (&form, line.strip_prefix("| `")) {
            let (member, rest) = row.split_once("` | ").unwrap();
            let kind = rest.split(" | ").next().unwrap();
            forms.entry(form.clone()).or_default().insert(member.to_owned(), kind.to_owned());
        }
    }
    // The guide documents a phase as including the figures.
    let figures = forms["figures"].clone();
    forms.get_mut("phase").unwrap().extend(figures);
    forms
}

/// Fails the test unless a value has a form, to its full depth.
fn check(value: &Value, form: &str, forms: &Forms, place: &str) {
    let all = |values: Vec<&Value>, form: &str| {
        assert!(!values.is_empty(), "{place} is empty: its members are not tested");
        values.into_iter().for_each(|value| check(value, form, forms, place));
    };
    if let Some(form) = form.strip_suffix(" or null") {
        assert!(!value.is_null(), "{place} is null: its members are not tested");
        check(value, form, forms, place);
    } else if let Some(form) = form.strip_prefix("list of ") {
        // The last interval may have a late response and no request.
        all(
            value.as_array().unwrap_or_else(|| panic!("{place} is not a list")).iter().take(1).collect(),
            form,
        );
    } else if let Some(form) = form.strip_prefix("map of ") {
        all(value.as_object().unwrap_or_else(|| panic!("{place} is not a map")).values().collect(), form);
    } else if let Some(members) = forms.get(form) {
        let found: BTreeSet<_> =
            value.as_object().unwrap_or_else(|| panic!("{place} is not an object")).keys().collect();
        assert_eq!(found, members.keys().collect(), "members of {place}");
        for (member, form) in members {
            check(&value[member], form, forms, &format!("{place}.{member}"));
        }
    } else {
        let fits = match form {
            "number" => value.is_number(),
            "text" => value.is_string(),
            "boolean" => value.is_boolean(),
            other => panic!("{place}: the guide does not describe the form {other}"),
        };
        assert!(fits, "{place} is not a {form}: {value}");
    }
}

/// A daemon's admin listener, as far as the tool uses it.
fn answer(path: &str) -> ServerReply {
    let body = match path {
        "/admin/backlog" => r#"{"backlog":0,"oldest_age_seconds":0.0,"dead":0}"#,
        "/metrics" => "forebay_wal_append_total 5\n",
        _ => "",
    };
    ServerReply { status: 200, body: body.to_owned(), close: false }
}

/// Runs with everything that a report can contain: phases, errors, levels, Kafka. Returns the JSON and the page.
fn full(dir: &Path) -> (Value, String) {
    let server = Server::start(|request| match request.number % 7 {
        0 if request.path.starts_with("/items") => {
            ServerReply { status: 503, body: r#"{"code":"busy"}"#.to_owned(), close: false }
        }
        _ => answer(&request.path),
    });
    let path = |name: &str| dir.join(name).display().to_string();
    // An existing file is replaced.
    let (report, html) = (path("report.json"), path("report.html"));
    fs::write(&report, "x".repeat(1 << 20)).unwrap();
    let levels = file(dir, "levels.toml", "[total]\nerror_rate = 0.01\nrequests = 1\n").display().to_string();
    // A target that contains markup.
    let (url, admin) = (server.url("/items?name='x'&n=1"), server.url(""));
    let args = [
        "spike",
        "--url",
        &url,
        "--rate",
        "60",
        "--peak",
        "120",
        "--duration",
        "1s",
        "--peak-duration",
        "1s",
    ];
    let more = ["--warm-up", "200ms", "--connections", "4", "--admin", &admin, "--await-drained", "5s"];
    let output = ["--levels", &levels, "--report", &report, "--html", &html];
    let run = run(&[&args[..], &more, &output].concat()).assert_exit(1);
    assert!(run.out.contains("phase peak"), "{run:?}");
    (serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap(), fs::read_to_string(html).unwrap())
}

#[test]
fn the_report_matches_the_guide_and_is_self_contained() {
    let dir = tempfile::tempdir().unwrap();
    let (report, page) = full(dir.path());
    assert_eq!(report["schema"], "forebay-load/1");
    check(&report, "report", &documented(), "report");
    let due: f64 =
        report["phases"].as_array().unwrap().iter().map(|phase| phase["due"].as_f64().unwrap()).sum();
    assert_eq!((due, report["total"]["due"].as_f64().unwrap()), (240.0, 240.0));

    // The target is shown, but not as a link. It is the only address.
    let target = report["settings"]["target"].as_str().unwrap().replace('&', "&amp;").replace('\'', "&#39;");
    let rest = page.replace(&target, "");
    assert!(page.contains(&target) && !page.contains("'x'&n"), "the target is escaped");
    for external in
        ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"]
    {
        assert!(!rest.contains(external), "{external}");
    }
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("color-scheme: light dark"));
    assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (3, 3));
    for shown in ["p50", "p95", "p99", "phase peak", "status_503", "busy", "missed", "confirmed by Kafka"] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(page.matches("<polyline").count() >= 7, "plots of latency, rates and errors");
}
