//! Service levels and the exit code.

use std::path::Path;

use crate::server::{Server, ServerReply};
use crate::tool::{ToolRun, file, steady};

/// A server that fails every tenth request.
fn server() -> Server {
    Server::start(|request| ServerReply::status(if request.number % 10 == 0 { 503 } else { 200 }))
}

fn run_with_levels(server: &Server, dir: &Path, levels: &str) -> ToolRun {
    let levels = file(dir, "levels.toml", levels);
    steady(&server.url("/"), 100, "500ms", 1, &["--levels", levels.to_str().unwrap()])
}

#[test]
fn the_exit_code_shows_whether_all_levels_are_met() {
    let dir = tempfile::tempdir().unwrap();
    let server = server();
    let met = "[total]\nerror_rate = 0.1\nrequests = 45\nmax = \"1h\"\n";
    let report = run_with_levels(&server, dir.path(), met).assert_exit(0).json();
    assert_eq!(
        (&report["levels"]["met"], report["levels"]["checks"].as_array().unwrap().len()),
        (&true.into(), 3)
    );
    for missed in [
        "error_rate = 0.05",
        "requests = 46",
        "achieved_rate = 91",
        "p95 = \"1us\"",
        "p50 = \"1us\"\nerror_rate = 0.1",
    ] {
        let report =
            run_with_levels(&server, dir.path(), &format!("[total]\n{missed}\n")).assert_exit(1).json();
        assert_eq!(report["levels"]["met"], false, "{missed}");
    }
    let phase =
        run_with_levels(&server, dir.path(), "[phase.steady]\nerror_rate = 0.05\n").assert_exit(1).json();
    assert_eq!(phase["levels"]["checks"][0]["scope"], "phase steady");
    run_with_levels(&server, dir.path(), "[operation.request]\nerror_rate = 0.05\n").assert_exit(1);
}

/// The guide's phases are those of a spike, and its operation is the default kind.
#[test]
fn the_levels_of_the_guide_are_valid() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides/load-testing.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let example = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let levels = file(dir.path(), "levels.toml", example);
    let server = Server::start(|_| ServerReply::status(202));
    let base = server.url("");
    let args =
        ["spike", "--base", &base, "--duration", "100ms", "--peak-duration", "100ms", "--warm-up", "0s"];
    let run = crate::tool::run(&[&args[..], &["--levels", levels.to_str().unwrap()]].concat()).assert_exit(1);
    assert!(run.out.contains("MISSED total: requests 440, at least 40000"), "{run:?}");
    assert!(run.out.contains("phase peak: p99"), "{run:?}");
}

#[test]
fn an_error_in_the_file_is_found_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let server = server();
    let run = run_with_levels(&server, dir.path(), "[total]\np95 = 5\n\n[operation.reed]\np95 = \"1s\"\n")
        .assert_exit(2);
    for expected in
        ["levels.toml:2: p95: expected a duration", "levels.toml:4: no operation is called \"reed\""]
    {
        assert!(run.err.contains(expected), "{run:?}");
    }
    let missing = ["--levels", "/not/there.toml"];
    steady(&server.url("/"), 100, "500ms", 1, &missing).assert_exit(2);
    assert_eq!(server.count("/"), 0);
}

#[test]
fn the_summary_names_missed_levels_and_first_errors() {
    let dir = tempfile::tempdir().unwrap();
    let levels = file(dir.path(), "levels.toml", "[total]\nerror_rate = 0.05\nrequests = 1\n");
    let server = Server::start(|request| match request.number % 10 {
        0 => ServerReply { status: 503, body: r#"{"code":"overloaded"}"#.to_owned(), close: false },
        _ => ServerReply::status(200),
    });
    let url = server.url("/");
    let args = ["baseline", "--url", &url, "--rate", "100", "--duration", "500ms", "--warm-up", "0s"];
    let run = crate::tool::run(&[&args[..], &["--levels", levels.to_str().unwrap()]].concat()).assert_exit(1);
    for expected in [
        "MISSED total: error_rate 0.1, at most 0.05",
        "met    total: requests 45, at least 1",
        "error status_503: 5 requests, first: overloaded",
    ] {
        assert!(run.out.contains(expected), "{}", run.out);
    }
    assert!(run.err.is_empty(), "no progress bar without a terminal: {}", run.err);
}
