//! Signal handling.
//!
//! - SIGTERM and SIGINT stop the process in order. A second one ends it at once.
//! - SIGHUP stops a command that was started at a terminal, because the terminal has closed. Daemons reload their
//!   configuration.
//! - SIGUSR1 and SIGUSR2 have no effect.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// After this call SIGUSR1 and SIGUSR2 have no effect. By default they would end the process.
pub fn ignore_user_signals() -> io::Result<()> {
    [SIGUSR1, SIGUSR2].into_iter().try_for_each(ignore)
}

/// After this call SIGHUP does not end the process. For daemons.
pub fn ignore_hangup() -> io::Result<()> {
    ignore(SIGHUP)
}

/// Installs a handler without effect. `SIG_IGN` is not used, because child processes would inherit it.
fn ignore(signal: i32) -> io::Result<()> {
    flag::register(signal, Arc::default()).map(drop)
}

/// Receives every SIGHUP after this call. Must be called on the runtime.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Receives requests to stop. While this exists, the first signal is held until [`Signals::next`] is called. The second
/// one ends the process with the exit code that a shell reports for that signal.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` for daemons.
    hangup: Option<Signal>,
}

impl Signals {
    /// For daemons: SIGTERM and SIGINT. Must be called on the runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Self::with(|_| Ok(None))
    }

    /// For commands started at a terminal: SIGHUP in addition. Must be called on the runtime.
    pub(super) fn listen_at_terminal() -> io::Result<Self> {
        Self::with(|stop_requested| stopping(SIGHUP, stop_requested).map(Some))
    }

    fn with(hangup: impl FnOnce(&Arc<AtomicBool>) -> io::Result<Option<Signal>>) -> io::Result<Self> {
        let stop_requested = Arc::<AtomicBool>::default();
        let terminate = stopping(SIGTERM, &stop_requested)?;
        let interrupt = stopping(SIGINT, &stop_requested)?;
        Ok(Self { terminate, interrupt, hangup: hangup(&stop_requested)? })
    }

    /// Waits for the first signal and returns its number.
    pub(super) async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => SIGINT,
            _ = hangup => SIGHUP,
        }
    }
}

fn stopping(number: i32, stop_requested: &Arc<AtomicBool>) -> io::Result<Signal> {
    // The order matters: the first signal finds `stop_requested` false here, and sets it below.
    flag::register_conditional_shutdown(number, 128 + number, Arc::clone(stop_requested))?;
    flag::register(number, Arc::clone(stop_requested))?;
    signal(SignalKind::from_raw(number))
}
