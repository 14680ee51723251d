//! What every producer of the drain is built from.

use crate::kafka::Config;

/// The same for all workers.
pub(super) struct Link {
    pub(super) config: Config,
    pub(super) bootstrap: String,
}
