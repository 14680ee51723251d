//! Settings of all producers of the drain.

use std::sync::Arc;

use crate::kafka::Config;

/// Settings that all workers share.
pub(super) struct ProducerSettings {
    pub(super) config: Config,
    pub(super) bootstrap: String,
}

impl ProducerSettings {
    pub(super) fn new(config: Config, bootstrap: String) -> Arc<Self> {
        Arc::new(Self { config, bootstrap })
    }
}
