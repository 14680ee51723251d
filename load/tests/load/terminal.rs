//! The tool on a terminal.

use std::io::Read;
use std::thread;

use support::output::terminal;

use crate::server::{Server, ServerReply};
use crate::tool::{command, finish};

/// The test of the summary also covers the case without a terminal, where no bar is shown.
#[test]
fn a_terminal_shows_progress_on_stderr() {
    let server = Server::start(|_| ServerReply::status(200));
    let url = server.url("/");
    let (mut person, program) = terminal();
    let args = ["baseline", "--url", &url, "--rate", "50", "--duration", "1s", "--warm-up", "500ms"];
    let mut command = command(&args);
    command.stderr(program);
    let reader = thread::spawn(move || {
        let (mut shown, mut bytes) = (String::new(), [0; 4096]);
        // Reading fails when the program's end is closed.
        while let Ok(count @ 1..) = person.read(&mut bytes) {
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        shown
    });
    let run = finish(&mut command).assert_exit(0);
    drop(command);
    let shown = reader.join().unwrap();
    assert!(
        shown.contains("warm-up") && shown.contains("measuring") && shown.contains("0 errors"),
        "{shown}"
    );
    assert!(run.out.contains("baseline against") && !run.out.contains("measuring"), "{run:?}");
}
