//! The command line: errors, completions and the manual.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::tool::{command, file, finish, run};

#[test]
fn errors_on_the_command_line_exit_2_and_send_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let body = file(dir.path(), "body.json", "{\n\"id\":\"{{sec}}\"}");
    let body = body.to_str().unwrap();
    for (args, expected) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["baseline", "--rate", "0"], "above 0"),
        (&["baseline", "--duration", "0s"], "must be above 0"),
        (&["baseline", "--timeout", "1h"], "longer than 10m"),
        (&["baseline", "--url", "example.org"], "not a URL"),
        (&["baseline", "--url", "http://a:b@example.org/"], "--header-file"),
        (&["baseline", "--url", "http://127.0.0.1:1/", "--kind", "order.create"], "cannot be used with"),
        (&["baseline", "--header", "Authorization: Bearer hunter2"], "other users can read command lines"),
        (&["baseline", "--body-file", body], "line 2: {{sec}} is not a placeholder"),
        (&["baseline", "--login", "ada"], "--password-file"),
        (&["baseline", "--users", "--mix", "reed=1"], "no operation is called reed"),
        (&["database-pool", "--kind", "order.create"], "is about users"),
        (&["baseline", "--html", "/not/there/report.html"], "cannot write /not/there/report.html"),
        (&["baseline", "--await-drained", "5s"], "--admin"),
    ] {
        let run = run(args).assert_exit(2);
        assert!(run.out.is_empty() && run.err.contains(expected), "{args:?}: {run:?}");
        assert!(!run.err.contains("hunter2"), "{run:?}");
    }
}

#[test]
fn an_invalid_secret_header_is_not_shown() {
    for (value, expected) in [(&b"hunter2\xff"[..], "not set, or not UTF-8"), (b"hunter2\n", "not printable")]
    {
        let args = ["baseline", "--header-env", "X-Secret=LOAD_SECRET"];
        let run = finish(command(&args).env("LOAD_SECRET", OsStr::from_bytes(value))).assert_exit(2);
        assert!(run.err.contains("--header-env LOAD_SECRET: ") && run.err.contains(expected), "{run:?}");
        assert!(run.out.is_empty() && !run.err.contains("hunter2"), "{run:?}");
    }
}

#[test]
fn completions_and_the_manual_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).assert_exit(0).out.contains("database-pool"));
    }
    let manual = run(&["man"]).assert_exit(0).out;
    assert!(
        manual.contains(".TH forebay") && manual.contains("waits while no connection is free"),
        "{manual}"
    );
}

/// Packages install these pages.
#[test]
fn each_scenario_has_its_own_manual_page() {
    let home = tempfile::tempdir().unwrap();
    let pages = home.path().join("made/for/them");
    run(&["man", pages.to_str().unwrap()]).assert_exit(0);
    for scenario in ["baseline", "concurrent-baseline", "ramp", "spike", "soak", "database-pool"] {
        let page = pages.join(format!("forebay-load-{scenario}.1"));
        let text = std::fs::read_to_string(page).unwrap();
        assert!(text.contains("\\-\\-warm\\-up"), "{text}");
    }
    run(&["man", "/proc/none"]).assert_exit(2);
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    for args in [&["man"][..], &["completions", "bash"], &["--help"]] {
        let mut child = command(args).stdout(std::io::pipe().unwrap().1).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut child = command(args).stdout(full).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2), "{args:?}");
    }
}
