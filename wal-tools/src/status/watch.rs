//! `status --watch`: looks again and again, until somebody or something ends it.

use std::io;
use std::io::IsTerminal;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::anyhow;
use cli_support::Interrupt;
use forebay_wal::control;
use forebay_wal::control::{Answer, AskError, Request};
use serde_json::Value;

use super::frame::Frame;
use super::pace::Recent;
use super::{document, frame};
use crate::open::Log;
use crate::output;
use crate::output::{Outcome, note};

/// How often a wait for an answer looks for an interruption: a person does not notice.
const LOOK: Duration = Duration::from_millis(50);

/// What became of one look.
enum Look {
    /// Figures, all from one source at one moment, and why they are not the daemon's.
    Taken(Value, Option<String>),
    /// The daemon that answered before is gone.
    Stopped,
    /// Somebody wants us to end.
    Interrupted,
}

pub fn run(log: &Log, interval: Duration) -> anyhow::Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let is_terminal = io::stdout().is_terminal();
    let (mut recent, mut has_answered, mut is_first) = (Recent::default(), false, true);
    loop {
        let (document, remark) = match look(log, &interrupt, has_answered)? {
            Look::Taken(document, remark) => (document, remark),
            Look::Stopped => {
                note!("the daemon has stopped");
                return Ok(Outcome::Fine);
            }
            Look::Interrupted => return Ok(Outcome::Fine),
        };
        has_answered |= document["source"] == "daemon";
        let pace = recent.take(&document);
        let frame = Frame {
            dir: &log.dir,
            document: &document,
            pace,
            recent: &recent,
            interval,
            remark: remark.as_deref(),
        };
        let shown = match (log.json, is_terminal) {
            (true, _) => frame.json()?,
            (false, true) => {
                let size = frame::size();
                frame::in_place(&frame.lines(size.1), size, is_first)
            }
            (false, false) => frame.line(),
        };
        match output::all(shown.as_bytes()) {
            Err(error) if is_terminal && is_hung_up(&error) => return Ok(Outcome::Fine),
            written => written?,
        }
        is_first = false;
        if interrupt.within(interval)? {
            return Ok(Outcome::Fine);
        }
    }
}

/// A terminal that is gone: EIO, which the standard library has no name for.
fn is_hung_up(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

fn look(log: &Log, interrupt: &Interrupt, has_answered: bool) -> anyhow::Result<Look> {
    let Some(asked) = ask(log, interrupt)? else { return Ok(Look::Interrupted) };
    let remark = match asked {
        Ok(Answer::Status(Value::Object(exact))) => {
            let mut document = serde_json::json!({ "running": true });
            document::take_over(&mut document, exact);
            return Ok(Look::Taken(document, None));
        }
        Ok(other) => Some(document::not_a_status(&other)),
        Err(error) => Some(error.to_string()),
    };
    let view = log.look()?;
    if !view.live && has_answered {
        return Ok(Look::Stopped);
    }
    // Without a daemon there is nothing to remark: the figures say what they are.
    Ok(Look::Taken(document::of_files(&view)?, remark.filter(|_| view.live)))
}

/// Asks on another thread: a daemon that hangs must not keep us from ending. There is never more than one, because the
/// next look waits for it. None when somebody wants us to end.
fn ask(log: &Log, interrupt: &Interrupt) -> anyhow::Result<Option<Result<Answer, AskError>>> {
    let (tell, told) = mpsc::channel();
    let dir = log.dir.clone();
    std::thread::Builder::new().name("ask".to_owned()).spawn(move || {
        // Nobody listens any more where we are about to end.
        let _ = tell.send(control::ask(&dir, &Request::Status));
    })?;
    loop {
        match told.recv_timeout(LOOK) {
            Ok(asked) => return Ok(Some(asked)),
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt.came() => return Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("the thread that asks the daemon has ended: report this as a bug"));
            }
        }
    }
}
