//! No core files: a crash would write passwords, tokens and keys that are in memory to a disk.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// Too small for any core file, and what tells the kernel not to call a handler such as systemd-coredump either, which a
/// limit of 0 does not (core(5), `fs/coredump.c`).
const NO_CORE: u64 = 1;

/// From here on a crash leaves no core. Whoever needs one attaches a debugger.
pub(super) fn forbid() {
    let maximum = getrlimit(Resource::Core).maximum;
    let limit = Rlimit { current: Some(maximum.map_or(NO_CORE, |most| most.min(NO_CORE))), maximum };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!(%error, "a crash may leave a core file with secrets in it");
    }
}
