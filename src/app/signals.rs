//! The signals of a process.
//!
//! SIGTERM and SIGINT stop it in order, and a second one ends it at once, whatever it is busy with. SIGHUP stops what was
//! begun at a terminal, which is gone; daemons read their configuration again. SIGUSR1 and SIGUSR2 do nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From here on SIGUSR1 and SIGUSR2 do nothing; by default they would end the process.
pub fn ignore_user_signals() -> io::Result<()> {
    [SIGUSR1, SIGUSR2].into_iter().try_for_each(ignore)
}

/// From here on SIGHUP does not end the process: for daemons.
pub fn hold_hangup() -> io::Result<()> {
    ignore(SIGHUP)
}

/// By a handler that does nothing of consequence. Programs that this one starts would inherit `SIG_IGN`.
fn ignore(signal: i32) -> io::Result<()> {
    flag::register(signal, Arc::default()).map(drop)
}

/// Hears of each SIGHUP from here on. Called on the runtime.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// The wish that the process stop. Once this exists, the first signal waits until it is asked for, and the second one
/// ends the process with the code that a shell reports for it.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None for daemons.
    hangup: Option<Signal>,
}

impl Signals {
    /// For daemons: SIGTERM and SIGINT. Called on the runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Self::with(|_| Ok(None))
    }

    /// For commands that are begun at a terminal: SIGHUP as well. Called on the runtime.
    pub(super) fn listen_at_terminal() -> io::Result<Self> {
        Self::with(|asked| stopping(SIGHUP, asked).map(Some))
    }

    fn with(hangup: impl FnOnce(&Arc<AtomicBool>) -> io::Result<Option<Signal>>) -> io::Result<Self> {
        let asked = Arc::<AtomicBool>::default();
        let terminate = stopping(SIGTERM, &asked)?;
        let interrupt = stopping(SIGINT, &asked)?;
        Ok(Self { terminate, interrupt, hangup: hangup(&asked)? })
    }

    /// The first one's number.
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

fn stopping(number: i32, asked: &Arc<AtomicBool>) -> io::Result<Signal> {
    // In this order: the first signal finds `asked` false here, and sets it below.
    flag::register_conditional_shutdown(number, 128 + number, Arc::clone(asked))?;
    flag::register(number, Arc::clone(asked))?;
    signal(SignalKind::from_raw(number))
}
