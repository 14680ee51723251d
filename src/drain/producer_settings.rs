//! What every producer of the drain is built from.

use std::sync::Arc;

use crate::kafka::Config;

/// The same for all workers.
pub(super) struct ProducerSettings {
    pub(super) config: Config,
    pub(super) bootstrap: String,
}

impl ProducerSettings {
    pub(super) fn new(config: Config, bootstrap: String) -> Arc<Self> {
        Arc::new(Self { config, bootstrap })
    }
}
