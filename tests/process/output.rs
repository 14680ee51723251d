//! Output to a closed pipe or a full disk.

use std::io;
use std::io::Read;
use std::process::Stdio;

use crate::LONG;
use support::output::{closed_pipe, full_disk, full_pipe};
use support::process::Forebay;

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

/// Commands that only print, in the directory of a log.
fn commands() -> (Forebay, [&'static [&'static str]; 6]) {
    let mut forebay = forebay();
    forebay.start();
    assert!(forebay.terminate().success());
    let commands: [&[&str]; 6] = [
        &["check-config"],
        &["drain", "--dry-run"],
        &["--help"],
        &["--version"],
        &["completions", "bash"],
        &["man"],
    ];
    (forebay, commands)
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let (mut forebay, commands) = commands();
    for command in commands {
        forebay = forebay.args(command);
        let (mut said, errors) = io::pipe().unwrap();
        forebay.launch_to(full_disk(), errors);
        assert_eq!(forebay.wait(LONG).code(), Some(1), "{command:?}");
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        assert!(text.contains("standard output") && text.contains("No space left"), "{command:?}: {text}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let (mut forebay, commands) = commands();
    for command in commands {
        forebay = forebay.args(command);
        let (mut said, errors) = io::pipe().unwrap();
        forebay.launch_to(closed_pipe(), errors);
        assert_eq!(forebay.wait(LONG).code(), Some(0), "{command:?}");
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        assert_eq!(text, "", "{command:?}");
    }
}

#[test]
fn an_error_that_cannot_be_printed_keeps_its_exit_code() {
    let mut first = forebay();
    first.start();
    let dir = first.wal_dir().display().to_string();
    let (_not_read, full) = full_pipe();
    let full = || full.try_clone().unwrap().into();
    for errors in [&closed_pipe as &dyn Fn() -> Stdio, &full_disk, &full] {
        let code = |mut forebay: Forebay| {
            forebay.launch_to(Stdio::null(), errors());
            forebay.wait(LONG).code()
        };
        assert_eq!(code(forebay().args(&["sevre"])), Some(64), "usage");
        assert_eq!(code(forebay().set("wal.dri", "x")), Some(64), "configuration");
        assert_eq!(code(forebay().set("wal.dir", dir.clone())), Some(73), "the directory is locked");
    }
}
