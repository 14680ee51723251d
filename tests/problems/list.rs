//! Helpers that compare the list of problems on all surfaces.

use forebay::control;
use forebay::control::{ControlResponse, Request};
use serde_json::Value;

use support::daemon::{LONG, backlog, metric};
use support::process::Forebay;
use support::wait;

/// Entries with this code in `/readyz`.
pub fn entries(forebay: &Forebay, code: &str) -> Vec<Value> {
    of_code(&forebay.admin_http().get("/readyz").unwrap().json()["problems"], code)
}

/// Waits for an entry with this code and returns the first one.
pub fn await_problem(forebay: &Forebay, code: &str) -> Value {
    let found = wait::poll(LONG, || entries(forebay, code).into_iter().next());
    found.unwrap_or_else(|| panic!("no {code}: {}\n{}", backlog(forebay), forebay.log()))
}

/// Waits until no surface shows the problem, and its end is logged with a duration.
pub fn await_end(forebay: &Forebay, code: &str) {
    wait::until_true("the problem ends", LONG, || entries(forebay, code).is_empty());
    assert_eq!(metric(forebay, &gauge(code)), 0.0);
    // A separate thread writes the log.
    wait::until_true("its end is logged", LONG, || !lines(forebay, "problem.ended", code).is_empty());
    let ended = lines(forebay, "problem.ended", code);
    assert_eq!(ended.len(), 1, "logged once: {ended:?}");
    assert!(ended[0].contains("\"level\":\"INFO\"") && ended[0].contains("\"duration_s\":"), "{ended:?}");
}

/// Asserts that every surface shows this entry in the same way, and that its start is logged once.
pub fn assert_on_all_surfaces(forebay: &Forebay, entry: &Value) {
    let code = entry["code"].as_str().unwrap();
    assert_eq!(entry["runbook"], format!("docs/runbook.md#{code}"));
    assert!(entry["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{entry}");
    assert!(!entry["detail"].as_str().unwrap().is_empty(), "{entry}");
    let is_it = |other: &Value| other["since"] == entry["since"] && other["runbook"] == entry["runbook"];
    let public = forebay.http().get("/readyz").unwrap().json();
    assert!(of_code(&public["problems"], code).iter().all(|shown| shown["last_error"].is_null()), "{public}");
    let Ok(ControlResponse::Status(status)) = control::send_request(&forebay.wal_dir(), &Request::Status)
    else {
        panic!("the status request of `wal-tools status` failed");
    };
    for document in [&public, &backlog(forebay), &status] {
        assert!(of_code(&document["problems"], code).iter().any(is_it), "{document}");
    }
    assert_eq!(metric(forebay, &gauge(code)), 1.0);
    wait::until_true("its start is logged", LONG, || !lines(forebay, "problem.started", code).is_empty());
    let started = lines(forebay, "problem.started", code);
    assert_eq!(started.len(), 1, "logged once: {started:?}");
    assert!(!started[0].contains("\"level\":\"INFO\""), "{started:?}");
}

/// Log lines with this event and code.
pub fn lines(forebay: &Forebay, event: &str, code: &str) -> Vec<String> {
    let (event, code) = (format!("\"event\":\"{event}\""), format!("\"code\":\"{code}\""));
    let log = forebay.log();
    log.lines().filter(|line| line.contains(&event) && line.contains(&code)).map(str::to_owned).collect()
}

/// Value of `forebay_dependency_up`.
pub fn is_up(forebay: &Forebay, dependency: &str) -> bool {
    metric(forebay, &format!("forebay_dependency_up{{dependency=\"{dependency}\"}}")) == 1.0
}

pub fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry[member].as_str().unwrap_or_else(|| panic!("no {member}: {entry}"))
}

fn gauge(code: &str) -> String {
    format!("forebay_problem{{code=\"{code}\"}}")
}

fn of_code(problems: &Value, code: &str) -> Vec<Value> {
    let problems = problems.as_array().unwrap_or_else(|| panic!("no list: {problems}"));
    problems.iter().filter(|problem| problem["code"] == code).cloned().collect()
}
