//! What must hold between sections, and between the configuration and the unit file.

use crate::mistake::Mistake;
use crate::units::Span;

use super::Config;

/// With the other phases of a stop this stays below the `TimeoutStopSec` of `systemd/forebay.service`.
pub const LONGEST_GRACE: Span = Span::secs(60);

pub(super) fn validate(config: &Config) -> Vec<Mistake> {
    let grace = config.server.shutdown_grace;
    if grace <= LONGEST_GRACE {
        return Vec::new();
    }
    vec![Mistake::new("server", "shutdown_grace", grace, "at most 60s")]
}
