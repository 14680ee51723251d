//! The daemon at a terminal.

use std::io::Read;

use support::output::terminal;
use support::process::Forebay;

/// Output up to the end of the start, in a terminal with colours.
fn shown_by(forebay: Forebay) -> String {
    let (mut person, program) = terminal();
    let mut forebay = forebay.env("TERM", "xterm");
    forebay.launch_to(program.try_clone().unwrap(), program);
    let (mut shown, mut bytes) = (String::new(), [0; 4096]);
    while !shown.contains("To stop: Ctrl-C") || !shown.contains("accepting commands") {
        let count = person.read(&mut bytes).unwrap();
        shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    forebay.signal("INT");
    // Later output must be read, because a full terminal buffer blocks the daemon.
    std::thread::spawn(move || while person.read(&mut bytes).is_ok_and(|count| count > 0) {});
    assert_eq!(forebay.wait(crate::LONG).code(), Some(0));
    shown
}

#[test]
fn a_terminal_shows_readable_lines_without_warnings_of_libraries() {
    let shown = shown_by(Forebay::new(env!("CARGO_BIN_EXE_forebay")).env("NO_COLOR", "1"));
    assert!(!shown.contains("crate feature"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colours are off: {shown}");
    let line = shown.lines().find(|line| line.contains("accepting commands")).unwrap();
    assert!(line.contains(" INFO ") && !line.starts_with('{'), "{line}");
}

#[test]
fn levels_have_colours_at_a_terminal_that_shows_them() {
    let shown = shown_by(Forebay::new(env!("CARGO_BIN_EXE_forebay")).env("NO_COLOR", ""));
    assert!(shown.contains("\u{1b}[32m INFO\u{1b}[0m"), "{shown:?}");
}
