//! Ctrl-C ends a run early; the report covers the requests until then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user has interrupted the run.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the signal handlers. The first signal sets the flag; a second one ends the process at once.
    pub fn listen() -> io::Result<Self> {
        let asked = Arc::<AtomicBool>::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            // In this order: the first signal finds the flag unset here, and sets it below.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Self(asked))
    }

    /// Whether a signal was received.
    pub fn was_received(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
