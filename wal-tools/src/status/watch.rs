//! `status --watch`: takes samples until a signal, the end of the daemon, or the end of the output.

use std::io;
use std::io::IsTerminal;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::anyhow;
use cli_support::Interrupt;
use forebay_wal::control;
use forebay_wal::control::{ControlResponse, Request, RequestError};
use serde_json::Value;

use super::rates::SampleWindow;
use super::watch_view::WatchView;
use super::{document, watch_view};
use crate::log_context::LogContext;
use crate::output;
use crate::output::{ExitOutcome, note};

/// Interval at which a wait for a response checks for an interruption, too short for an operator to notice.
const INTERRUPT_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Result of one sample.
enum PollResult {
    /// The figures, all from one source and one point in time, and the reason why they are not the daemon's.
    Status(Value, Option<String>),
    /// The daemon that responded earlier has stopped.
    Stopped,
    /// A signal was received.
    Interrupted,
}

pub fn run(log: &LogContext, interval: Duration) -> anyhow::Result<ExitOutcome> {
    let interrupt = Interrupt::listen()?;
    let is_terminal = io::stdout().is_terminal();
    let (mut recent, mut has_responded, mut is_first) = (SampleWindow::default(), false, true);
    loop {
        let (document, remark) = match poll(log, &interrupt, has_responded)? {
            PollResult::Status(document, remark) => (document, remark),
            PollResult::Stopped => {
                note!("the daemon has stopped");
                return Ok(ExitOutcome::Fine);
            }
            PollResult::Interrupted => return Ok(ExitOutcome::Fine),
        };
        has_responded |= document["source"] == "daemon";
        let pace = recent.add(&document);
        let frame = WatchView {
            dir: &log.dir,
            document: &document,
            rates: pace,
            samples: &recent,
            interval,
            fallback_reason: remark.as_deref(),
        };
        let shown = match (log.json, is_terminal) {
            (true, _) => frame.json()?,
            (false, true) => {
                let size = watch_view::terminal_size();
                watch_view::redraw(&frame.lines(size.1), size, is_first)
            }
            (false, false) => frame.line(),
        };
        match output::write_stdout(shown.as_bytes()) {
            Err(error) if is_terminal && is_hung_up(&error) => return Ok(ExitOutcome::Fine),
            written => written?,
        }
        is_first = false;
        if interrupt.wait(interval)? {
            return Ok(ExitOutcome::Fine);
        }
    }
}

/// Whether the terminal was closed: EIO, for which the standard library has no name.
fn is_hung_up(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

fn poll(log: &LogContext, interrupt: &Interrupt, has_responded: bool) -> anyhow::Result<PollResult> {
    let Some(response) = request_status(log, interrupt)? else { return Ok(PollResult::Interrupted) };
    let remark = match response {
        Ok(ControlResponse::Status(Value::Object(exact))) => {
            let mut document = serde_json::json!({ "running": true });
            document::merge_daemon_status(&mut document, exact);
            return Ok(PollResult::Status(document, None));
        }
        Ok(other) => Some(document::not_a_status(&other)),
        Err(error) => Some(error.to_string()),
    };
    let view = log.view()?;
    if !view.live && has_responded {
        return Ok(PollResult::Stopped);
    }
    // Without a daemon there is no remark, because `source` already names the files.
    Ok(PollResult::Status(document::from_files(&view)?, remark.filter(|_| view.live)))
}

/// Requests the status on another thread, so that a daemon that hangs cannot block the end of the tool. At most one
/// such thread exists, because the next sample waits for it. Returns `None` after a signal.
fn request_status(
    log: &LogContext,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Result<ControlResponse, RequestError>>> {
    let (sender, receiver) = mpsc::channel();
    let dir = log.dir.clone();
    std::thread::Builder::new().name("status".to_owned()).spawn(move || {
        // The receiver no longer exists if the tool is about to end.
        let _ = sender.send(control::send_request(&dir, &Request::Status));
    })?;
    loop {
        match receiver.recv_timeout(INTERRUPT_CHECK_INTERVAL) {
            Ok(response) => return Ok(Some(response)),
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt.was_received() => return Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("the thread that queries the daemon has ended: report this as a bug"));
            }
        }
    }
}
