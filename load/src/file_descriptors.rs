//! Raising the descriptor limit for the connections.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides the connections: reports, timers, the runtime.
const OTHER_DESCRIPTORS: u64 = 64;

/// Raises the soft limit as far as necessary and allowed by the hard limit.
pub fn raise_limit(connections: usize) -> anyhow::Result<()> {
    let needed = connections as u64 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        bail!(
            "{connections} connections need {needed} open files: raise `ulimit -n`, or lower --connections"
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })?;
    Ok(())
}
