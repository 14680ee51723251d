//! Ctrl-C and other signals that end a program, for programs that must clean up first.

use std::io;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the user has interrupted the program.
#[derive(Clone)]
pub struct Interrupt {
    received: Arc<AtomicBool>,
    /// Receives one byte per signal.
    wakes: Arc<UnixStream>,
}

impl Interrupt {
    /// Installs the signal handlers. The first signal sets the flag; a second one ends the process at once.
    pub fn listen() -> io::Result<Self> {
        let asked = Arc::<AtomicBool>::default();
        let (wakes, wake) = UnixStream::pair()?;
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            // In this order: the first signal finds the flag unset here, and sets it below.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        Ok(Self { received: asked, wakes: Arc::new(wakes) })
    }

    /// Whether a signal was received.
    pub fn was_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits for a signal for at most `timeout`, which must not be zero. Returns whether a signal was received.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        if !self.was_received() {
            self.wakes.set_read_timeout(Some(timeout))?;
            match (&*self.wakes).read(&mut [0]) {
                Err(error) if is_time_out(&error) => {}
                read => drop(read?),
            }
        }
        Ok(self.was_received())
    }
}

fn is_time_out(error: &io::Error) -> bool {
    // A signal can interrupt the read before its byte arrives.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
