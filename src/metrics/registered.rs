//! Registers a metric.

use prometheus::core::Collector;
use prometheus::{Error, Registry};

/// Registers a metric. Fails if the name is taken, which means that a component registered its metrics twice.
pub(super) fn registered<C: Collector + Clone + 'static>(
    to: &Registry,
    metric: Result<C, Error>,
) -> Result<C, Error> {
    let metric = metric?;
    to.register(Box::new(metric.clone()))?;
    Ok(metric)
}
