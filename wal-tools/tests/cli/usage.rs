//! Behaviour common to all commands: exit codes, output streams, completions and the manual.

use std::process::{Command, Stdio};

use crate::support::*;

#[test]
fn usage_errors_exit_2_and_print_nothing_to_stdout() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["status"][..], &["list"], &["frobnicate"], &["show"], &["list", "--state", "lost"]] {
        let run = run(dir.path(), args).assert_exit(2);
        assert!(run.out.is_empty() && !run.err.is_empty(), "{run:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file was created");
}

#[test]
fn an_interval_has_limits_and_requires_watch() {
    let dir = tempfile::tempdir().unwrap();
    for interval in ["0", "499ms", "3601", "soon"] {
        let said = run(dir.path(), &["status", "--watch", "--interval", interval]).assert_exit(2).err;
        assert!(said.contains("--interval"), "{said}");
    }
    assert!(run(dir.path(), &["status", "--interval", "1s"]).assert_exit(2).err.contains("--watch"));
}

/// For example a directory next to the log's.
#[test]
fn a_directory_without_a_log_is_reported_with_one_cause() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| run(&dir.path().join(name), &["status"]).assert_exit(2).err;
    assert!(run("").contains("is not a log: it has no directory pending/"));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let said = run("file");
    assert_eq!(said.matches("Not a directory").count(), 1, "{said}");
}

#[test]
fn the_directory_is_found_by_environment_or_default() {
    let home = tempfile::tempdir().unwrap();
    TestLog::start(&home.path().join("forebay-data/wal")).accept_many(2);
    TestLog::start(&home.path().join("elsewhere")).accept_many(5);
    let records = |dir: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wal-tools"));
        command.current_dir(home.path()).args(["list", "--json"]).env_remove("FOREBAY__WAL__DIR");
        command.envs(dir.map(|dir| ("FOREBAY__WAL__DIR", dir)));
        command.output().unwrap().stdout.split(|&byte| byte == b'\n').count() - 1
    };
    assert_eq!((records(None), records(Some("elsewhere"))), (2, 5));
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    TestLog::start(dir.path()).accept_many(2_000);
    let mut child = command(dir.path(), &["--json", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_closed_pipe_keeps_the_exit_code_of_findings() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_many(50);
    // Without a checkpoint the tool prints a finding.
    daemon.checkpoint();
    drop(daemon);
    for args in [&["completions", "bash"][..], &["man"], &["--help"], &["export"], &["verify"]] {
        let run = run_with(dir.path(), args, closed_pipe(), Stdio::piped()).assert_exit(0);
        assert!(run.err.is_empty(), "{args:?}: {run:?}");
    }
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    run_with(dir.path(), &["verify"], closed_pipe(), Stdio::piped()).assert_exit(1);
    run_with(dir.path(), &["repair"], closed_pipe(), Stdio::piped()).assert_exit(1);
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    TestLog::start(dir.path()).accept_many(50);
    let commands: [&[&str]; 12] = [
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
        &["status"],
        &["--json", "status"],
        &["segments"],
        &["list"],
        &["show", "1"],
        &["tail"],
        &["verify"],
        &["export"],
    ];
    for args in commands {
        let run = run_with(dir.path(), args, full_disk(), Stdio::piped()).assert_exit(2);
        assert!(run.err.contains("No space left"), "{args:?}: {run:?}");
    }
}

#[test]
fn an_error_that_cannot_be_printed_keeps_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["status"][..], &["frobnicate"]] {
        run_with(dir.path(), args, Stdio::piped(), closed_pipe()).assert_exit(2);
        run_with(dir.path(), args, Stdio::piped(), full_disk()).assert_exit(2);
    }
}

#[test]
fn completions_and_the_manual_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(dir.path(), &["completions", shell]).assert_exit(0).out.contains("requeue"));
    }
    let manual = run(dir.path(), &["man"]).assert_exit(0).out;
    assert!(manual.contains(".TH wal") && manual.contains("payload"), "{manual}");
}

/// Packages install them.
#[test]
fn each_command_has_a_manual_page_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let pages = home.path().join("made/for/them");
    run(home.path(), &["man", pages.to_str().unwrap()]).assert_exit(0);
    let page = |command: &str| std::fs::read_to_string(pages.join(format!("wal-tools{command}.1"))).unwrap();
    for command in ["status", "verify", "repair", "dead", "dead-requeue", "replay", "bench-disk", "rekey"] {
        let text = page(&format!("-{command}"));
        assert!(text.contains(&format!(".TH wal-tools-{command} 1")), "{text}");
    }
    assert!(page("").contains("wal\\-tools\\-status(1)"));
    run(home.path(), &["man", "/proc/none"]).assert_exit(2);
}

#[test]
fn a_key_cannot_send_control_codes_to_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    TestLog::start(dir.path()).accept("order.create", "\u{1b}[2Jgone\nnext");
    let listed = run(dir.path(), &["list"]).assert_exit(0).out;
    assert!(!listed.contains('\u{1b}') && listed.lines().count() == 2, "{listed}");
}
